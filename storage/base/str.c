#include "storage/base/str.h"
