/* http_post.h - one POST to an http:// address, blocking, a connection each: for the command line.
 * The answer is read whole. No TLS. Threads: any. */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"

struct http_url {
    char host[256], port[8]; // host without brackets
    char path[1024];         // "/" when the address has none
    bool has_path;
};
/* ERR_INVALID: not http://host[:port][/path]. */
MUST_USE bool http_url_parse(str text, struct http_url *out, struct err *err);

struct http_answer {
    int status;
    int64_t retry_after_s; // 0: not said
    struct buf text;       // the caller inits and deinits it; what is over its max is cut
};
/* `headers` are whole lines with "\r\n". ERR_UNAVAILABLE: no connection, or it ended early: worth
 * another try. */
MUST_USE bool http_post(const struct http_url *url, str headers, str body, struct http_answer *out,
                        struct err *err);
