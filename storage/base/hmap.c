#include "storage/base/hmap.h"
