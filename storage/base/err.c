#include "storage/base/err.h"
