#include "storage/base/dur.h"
