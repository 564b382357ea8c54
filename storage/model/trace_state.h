/* trace_state.h - what a span's W3C trace state says of its sampling. */
#pragma once

#include "storage/base/str.h"

/* How many spans one stands for, as OpenTelemetry's consistent sampling writes it: "ot=th:c" says
 * that of 2^56 random numbers those below c (followed by zeros) lost. 1 to 2^56; 1 without such a
 * word, or with one that is not well formed. */
double trace_state_weight(str state);
