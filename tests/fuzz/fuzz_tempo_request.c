// fuzz_tempo_request.c - any bytes as a request of Tempo's gRPC service (first byte: which): each
// parameter once, and old searches by tags become TraceQL that parses; or refused with a text.
//
// links: trivet_api
#include "server/api/tempo_priv.h"

static void check_params(const struct http_param *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            ASSERT(!str_eq(v[i].name, v[k].name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct query_limits limits;
    const struct traceql_expr *e;
    struct api_call c = {0};
    struct err err = ERR_OK;
    str tags = {0}, text;
    if (n == 0)
        return 0;
    query_limits_default(&limits);
    query_init(&c.q, clock_real(), NULL, NULL, &limits, NULL);
    if (tempo_message_read(&c.q.arena, (enum tempo_message)(data[0] % TEMPO_MESSAGES),
                           str_of((const char *)data + 1, n - 1), &c.params, &c.n_params, &err)) {
        check_params(c.params, c.n_params);
        (void)api_param(&c, STR("tags"), &tags);
        if (tempo_legacy_query(&c, tags, &text, &err))
            ASSERT(traceql_parse(&c.q, text, &e, &err) || err.code == ERR_LIMIT);
    }
    ASSERT(err.code == ERR_NONE || err.text[0]);
    query_deinit(&c.q);
    return 0;
}
