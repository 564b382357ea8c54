#include "storage/base/sink.h"
