#include "storage/base/regex.h"
