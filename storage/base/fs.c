#include "storage/base/fs.h"
