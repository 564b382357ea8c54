/* lz4.h - LZ4 frames in: what OTLP exporters may send as Content-Encoding lz4.
 *
 * Source: the LZ4 frame and block format descriptions. Dictionaries are not known. */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"

/* Appends at most max bytes to out; frames, and those to be skipped, may follow each other; every
 * checksum that is there is looked at. ERR_TOO_LARGE, ERR_INVALID; then out may hold a part. */
MUST_USE bool lz4_decode(str in, size_t max, struct buf *out, struct err *err);
