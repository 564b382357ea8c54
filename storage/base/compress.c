#include "storage/base/compress.h"
