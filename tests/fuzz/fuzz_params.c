/* fuzz_params.c - any text as a time, duration or trace id of the three APIs: within its bounds; a
 * time prints as itself, and every dialect that knows RFC 3339 reads the same. */
// links: trivet_api
#include <time.h>

#include "server/api/params.h"

/* Of times that 64 bits of nanoseconds hold. */
static void check_rfc3339(struct arena *a, int64_t ns)
{
    time_t s = (time_t)(ns_to_ms_floor(ns) / 1000 - (ns_to_ms_floor(ns) % 1000 < 0));
    struct tm tm;
    int64_t again;
    char text[64];
    ASSERT(gmtime_r(&s, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) > 0);
    str whole = arena_fmt(a, "%s.%09lldZ", text, (long long)(ns - (int64_t)s * NS_PER_S));
    ASSERT(time_parse_rfc3339(whole, &again) && again == ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    str s = str_of((const char *)data, n);
    int64_t ns, ms, loki;
    uint8_t id[16];
    struct arena a;
    struct err err = ERR_OK;
    arena_init(&a, MIB, NULL);
    if (time_parse_rfc3339(s, &ns)) {
        if (ns > INT64_MIN + NS_PER_S && ns < INT64_MAX)
            check_rfc3339(&a, ns);
        ASSERT(time_parse_loki(s, &loki) && loki == ns);
        int64_t floor_ms = MIN(MAX(ns_to_ms_floor(ns), TIME_MIN_MS), TIME_MAX_MS);
        ASSERT(time_parse_prom(s, &ms) && ms == floor_ms);
    }
    ASSERT(!time_parse_prom(s, &ms) || (ms >= TIME_MIN_MS && ms <= TIME_MAX_MS));
    ASSERT(duration_parse_prom(s, &ns, &err) || err.text[0]);
    ASSERT(trace_id_parse(s, id, &err) ? n > 0 && n <= 32 : err.text[0] != 0);
    arena_deinit(&a);
    return 0;
}
