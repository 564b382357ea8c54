#include "storage/base/queue.h"
