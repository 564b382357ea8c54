#include "storage/base/rd.h"
