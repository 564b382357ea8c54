/* frame_format.h - numbers of the frame layout that writer and reader share; see frame.h. */
#pragma once

#include <float.h>

#include "storage/base/base.h"

#define FRAME_COUNTS 1 // flag: each series has its own count

#define FRAME_MODE_XOR  0xFF
#define FRAME_MODE_HIST 0xFE

enum { FRAME_CONSTANT, FRAME_DELTA, FRAME_DELTA2, FRAME_NEIGHBOUR };
enum { FRAME_PLANES, FRAME_SPLIT, FRAME_SPARSE };

#define FRAME_HAS_ULP        1
#define FRAME_HAS_EXCEPTIONS 2
#define FRAME_HAS_UNIT       4
#define FRAME_EXTRAS         7 // all of them

#define FRAME_ESCAPE    255
#define FRAME_SHIFT_MAX 56 // bits_put and bits_get do at most this many at once

/* |m| stays below, so that adding the magic number rounds to an integer and shows it in the low
 * mantissa bits. */
#define FRAME_M_MAX      2251799813685248.0 // 2^51
#define FRAME_MAGIC      6755399441055744.0 // 1.5 * 2^52
#define FRAME_FINITE_MAX DBL_MAX

#define FRAME_EXPONENTS 16
static const double frame_pow10[FRAME_EXPONENTS] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
