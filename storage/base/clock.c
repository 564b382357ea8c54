#include "storage/base/clock.h"
