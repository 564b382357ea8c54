#include "storage/base/buf.h"
