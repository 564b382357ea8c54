/* template.h - text templates as Go writes them ("{{.user | upper}}"), over a map of labels.
 *
 * The subset of Go's text/template that makes sense over strings: fields, variables, pipelines,
 * if/else if/with/range/define/template/break/continue, trimming, comments; its built-in functions
 * and those that log queries know. A missing field is the empty string.
 *
 * A template is parsed once and belongs to one thread; regexes of its functions are kept in it.
 * Output, steps and nesting are bounded (LIMIT_TEMPLATE_*). */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/model/labels.h"

struct template;

/* What a template sees. `all` gives every label, sorted by name; it may use `a`. */
struct template_env {
    void *ctx;
    bool (*get)(void *ctx, str name, str *value);
    struct labels (*all)(void *ctx, struct arena *a);
    str line;
    int64_t t_ns;
    int64_t now_ns;
};

/* Template in `a`; the text must live as long. `name` shows in errors, which are Go's: "template:
 * line:1: unclosed action". */
MUST_USE bool template_parse(struct arena *a, str text, const char *name, struct template **out,
                             struct err *err);
void template_close(void *t); // gives regexes back; memory is the arena's. Also for query_defer
/* Appends to out; scratch memory may be released afterwards. On ERR_EXEC out holds a part. */
MUST_USE bool template_run(struct template *t, const struct template_env *env,
                           struct arena *scratch, struct buf *out, struct err *err);

struct template_facts {
    const str *fields; // names of labels it may look at
    size_t n_fields;
    bool uses_all;    // looks at the map as a whole
    str single_field; // it is just {{.name}}; p NULL when not
};
const struct template_facts *template_facts(const struct template *t);
