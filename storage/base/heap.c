#include "storage/base/heap.h"
