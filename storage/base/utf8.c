#include "storage/base/utf8.h"
