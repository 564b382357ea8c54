#include "storage/base/hash.h"
