/* otlp_json.h - OTLP/JSON to OTLP protobuf, driven by a schema table: then one decoder serves both
 * spellings.
 *
 * Rules (OTLP's JSON mapping): lowerCamelCase keys, unknown keys are skipped, null means absent;
 * ids are hex (any case), other bytes base64; 64-bit integers as string or number; enums as number
 * (names are accepted); doubles may be "NaN", "Infinity",
 * "-Infinity". Nesting is bounded by the JSON reader. */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/model/batch.h"

/* Transcodes one Export*ServiceRequest of a signal. Appends to out; `scratch` for unescaping.
 * ERR_INVALID with the place. */
MUST_USE bool otlp_json_to_protobuf(enum signal signal, str json, struct arena *scratch,
                                    struct buf *out, struct err *err);
