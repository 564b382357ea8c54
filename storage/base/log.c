#include "storage/base/log.h"
