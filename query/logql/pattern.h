/* pattern.h - pattern expressions "<ip> - <_> [<time>]": literals and captures. Of the pattern
 * parser and of the line filters |> and !>. Nodes live in the arena. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/err.h"

struct pattern_node {
    bool is_capture;
    str text; // literal, or the capture's name; empty for <_>
};

struct pattern {
    const struct pattern_node *v;
    size_t n;
    size_t n_names; // named captures
};

/* For the parser: at least one named capture, none twice, no two side by side. ERR_INVALID. */
MUST_USE bool lq_pattern_parse(struct arena *a, str text, struct pattern *out, struct err *err);
/* For filters: no named captures. The empty text matches nothing. */
MUST_USE bool lq_pattern_parse_filter(struct arena *a, str text, struct pattern *out,
                                      struct err *err);
/* Calls found() for each named capture in order; stops at the first literal that is missing. */
void lq_pattern_captures(const struct pattern *p, str line,
                         void (*found)(void *ctx, size_t node, str value), void *ctx);
bool lq_pattern_test(const struct pattern *p, str line);
