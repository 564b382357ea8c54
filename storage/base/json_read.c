#include "storage/base/json_read.h"
