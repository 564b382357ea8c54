#include "tests/sim/fs_sim.h"
