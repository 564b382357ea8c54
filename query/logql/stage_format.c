/* stage_format.c - line_format and label_format: templates and renames.
 *
 * A template that fails leaves line or label as they are and sets __error__. All templates of one
 * label_format see the labels as they were when the first of them ran. */
#include "query/logql/pipeline.h"

#include "query/lang/template.h"
#include "storage/model/limits.h"

#define FORMAT_ERR STR("TemplateFormatErr")

struct format {
    struct template *t;
    struct buf *out;
};

static bool get_label(void *ctx, str name, str *value)
{
    return lq_line_get(ctx, lq_name(name), value);
}

static struct labels all_labels(void *ctx, struct arena *a)
{
    return lq_line_all(ctx, a);
}

static void free_buf(void *b)
{
    buf_deinit(b);
}

static bool compile_template(struct query *q, str text, const char *name, struct lq_pipe *pipe,
                             struct format *out, struct err *err)
{
    if (!template_parse(&q->arena, text, name, &out->t, err))
        return false;
    query_defer(q, template_close, out->t);
    out->out = arena_new(&q->arena, struct buf);
    buf_init(out->out, LIMIT_TEMPLATE_OUT);
    query_defer(q, free_buf, out->out);
    const struct template_facts *facts = template_facts(out->t);
    for (size_t i = 0; i < facts->n_fields; i++)
        vec_push(&pipe->required, &q->arena, facts->fields[i]);
    pipe->needs_all = pipe->needs_all || facts->uses_all;
    pipe->reads_line = pipe->reads_labels = true;
    return true;
}

/* The text lives in the line's scratch memory. false: the template failed. */
static bool run_template(const struct format *f, struct lq_line *l, struct template_env *env,
                         str *text)
{
    const struct template_facts *facts = template_facts(f->t);
    struct err err = ERR_OK;
    if (facts->single_field.p != NULL) {
        if (!env->get(env->ctx, facts->single_field, text))
            *text = (str){0};
        return true;
    }
    env->line = l->text;
    env->t_ns = l->t_ns;
    env->now_ns = l->q->now_ns;
    buf_clear(f->out);
    if (template_run(f->t, env, &l->scratch, f->out, &err)) {
        *text = arena_dup(&l->scratch, buf_str(f->out));
        return true;
    }
    lq_line_fail(l, FORMAT_ERR, arena_dup(&l->scratch, str_c(err.text)));
    return false;
}

/* ---- line_format ---- */

static bool run_line_format(const struct lq_stage *s, struct lq_line *l, bool *keep,
                            struct err *err)
{
    struct template_env env = {.ctx = l, .get = get_label, .all = all_labels};
    str text;
    (void)keep, (void)err;
    if (run_template(s->state, l, &env, &text))
        l->text = text;
    return true;
}

bool lq_compile_line_format(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                            struct lq_stage *out, struct err *err)
{
    struct format *f = arena_new(&q->arena, struct format);
    if (!compile_template(q, s->text, "line", pipe, f, err))
        return err_in(err, "invalid line template");
    pipe->makes_line = true;
    *out = (struct lq_stage){.run = run_line_format, .state = f};
    return true;
}

/* ---- label_format ---- */

struct label_step {
    struct lq_name label, source; // source: of a rename
    bool is_rename;
    struct format format;
};

struct label_format {
    const struct label_step *v;
    size_t n;
};

static bool get_frozen(void *ctx, str name, str *value)
{
    const struct labels *l = ctx;
    *value = labels_get(*l, name);
    return value->p != NULL;
}

static struct labels all_frozen(void *ctx, struct arena *a)
{
    (void)a;
    return *(const struct labels *)ctx;
}

static void rename_label(struct lq_line *l, const struct label_step *step)
{
    str value;
    enum line_cat cat; // errors are no labels here
    if (!lq_line_get_cat(l, step->source, &value, &cat))
        return;
    lq_line_claim(l, step->label, value);
    lq_line_del(l, step->source);
}

static bool run_label_format(const struct lq_stage *s, struct lq_line *l, bool *keep,
                             struct err *err)
{
    const struct label_format *f = s->state;
    struct labels frozen = {0};
    bool is_frozen = false;
    (void)keep, (void)err;
    for (size_t i = 0; i < f->n; i++) {
        const struct label_step *step = &f->v[i];
        struct template_env env = {.ctx = l, .get = get_label, .all = all_labels};
        str text;
        if (step->is_rename) {
            rename_label(l, step);
            continue;
        }
        if (!is_frozen && f->n > 1) {
            frozen = lq_line_all(l, &l->scratch);
            is_frozen = true;
        }
        if (is_frozen)
            env = (struct template_env){.ctx = &frozen, .get = get_frozen, .all = all_frozen};
        if (run_template(&step->format, l, &env, &text))
            lq_line_claim(l, step->label, text);
    }
    return true;
}

static bool compile_step(struct query *q, const struct label_fmt *f, struct lq_pipe *pipe,
                         struct label_step *out, struct err *err)
{
    *out = (struct label_step){.label = lq_name(f->label), .is_rename = f->is_rename};
    if (str_eq(f->label, ERROR_LABEL))
        return err_set(err, ERR_INVALID, "__error__ cannot be formatted");
    if (f->is_rename) {
        out->source = lq_name(f->value);
        vec_push(&pipe->required, &q->arena, f->value);
        return true;
    }
    if (!compile_template(q, f->value, "label", pipe, &out->format, err))
        return err_in(err, "invalid template for label '" STR_FMT "'", STR_ARG(f->label));
    return true;
}

bool lq_compile_label_format(struct query *q, const struct stage *s, struct lq_pipe *pipe,
                             struct lq_stage *out, struct err *err)
{
    struct label_format *f = arena_new(&q->arena, struct label_format);
    struct label_step *v = arena_array(&q->arena, struct label_step, s->n_formats);
    for (size_t i = 0; i < s->n_formats; i++) {
        for (size_t k = 0; k < i; k++)
            if (str_eq(s->formats[i].label, s->formats[k].label))
                return err_set(err, ERR_INVALID,
                               "multiple label name '" STR_FMT
                               "' not allowed in a single format operation",
                               STR_ARG(s->formats[i].label));
        if (!compile_step(q, &s->formats[i], pipe, &v[i], err))
            return false;
    }
    *f = (struct label_format){v, s->n_formats};
    pipe->reads_labels = true;
    *out = (struct lq_stage){.run = run_label_format, .state = f};
    return true;
}
