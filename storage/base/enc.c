#include "storage/base/enc.h"
