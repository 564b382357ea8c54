#include "storage/base/prng.h"
