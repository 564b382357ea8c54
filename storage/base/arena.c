#include "storage/base/arena.h"
