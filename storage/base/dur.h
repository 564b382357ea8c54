/* dur.h - durations and byte sizes in the dialects that appear on the wire. */
#pragma once

#include "storage/base/err.h"

/* Prometheus: y w d h m s ms in falling order, each once, integers ("1h30m"); ms out. "0" is 0. */
MUST_USE bool dur_parse_prom(str s, int64_t *out_ms, struct err *err);
/* Go time.ParseDuration: [-]decimal units ns us µs ms s m h ("1.5h", "-2ms"); ns out. */
MUST_USE bool dur_parse_go(str s, int64_t *out_ns, struct err *err);
/* Configuration: the Prometheus form, else the Go form; ns out. */
MUST_USE bool dur_parse_any(str s, int64_t *out_ns, struct err *err);
/* Sizes for configuration: 512, 64K, 20MB, 1GiB (K M G T P E, with or without i, are powers of
 * 1024). */
MUST_USE bool size_parse(str s, uint64_t *out, struct err *err);
/* go-humanize: any case, "3 kB", "2,048", k = 1000, Ki = 1024, decimals truncated. (LogQL bytes) */
MUST_USE bool size_parse_humanize(str s, uint64_t *out, struct err *err);
str dur_print_prom(char *dst, int64_t ms); // "1h30m", "0s"; dst[64]
str dur_print_go(char *dst, int64_t ns); // Go Duration.String(): "1.5s", "250ms", "1h2m3s"; dst[64]
str size_print(char *dst, uint64_t n);   // "64MiB", "1.5GiB", "512B"; dst[64]
