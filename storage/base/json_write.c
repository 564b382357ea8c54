#include "storage/base/json_write.h"
