#include "storage/base/num.h"
