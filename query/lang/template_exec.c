/* template_exec.c - running a template: nodes, pipelines, values.
 *
 * Every node and call is a step; steps, output and nesting are bounded, so a template over a
 * hostile line ends. Errors have Go's shape: position, the command, the reason. See template.h. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "query/lang/print.h"
#include "query/lang/template_int.h"
#include "storage/base/num.h"
#include "storage/model/limits.h"

enum tflow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE, FLOW_ERROR };

bool texec_fail(struct texec *x, const char *fmt, ...)
{
    va_list args;
    char text[ERR_TEXT_MAX];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(x->err, ERR_EXEC, "%s", text);
}

/* ---- positions in errors ---- */

static void put_pipe(struct buf *b, const struct template *t, const struct tpipe *pipe);

/* An operand as Go prints the node: its text, single blanks in parentheses. */
// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void put_operand(struct buf *b, const struct template *t, const struct targ *arg)
{
    if (arg->kind != TARG_PIPE) {
        buf_add(b, str_sub(t->text, arg->pos, arg->end));
        return;
    }
    buf_add_char(b, '(');
    put_pipe(b, t, arg->pipe);
    buf_add_char(b, ')');
    for (size_t i = 0; i < arg->n_chain; i++) {
        buf_add_char(b, '.');
        buf_add(b, arg->chain[i]);
    }
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void put_command(struct buf *b, const struct template *t, const struct tcmd *cmd)
{
    for (size_t i = 0; i < cmd->n; i++) {
        if (i > 0)
            buf_add_char(b, ' ');
        put_operand(b, t, &cmd->v[i]);
    }
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static void put_pipe(struct buf *b, const struct template *t, const struct tpipe *pipe)
{
    for (size_t i = 0; i < pipe->n_decl; i++) {
        buf_fmt(b, "%s" STR_FMT, i > 0 ? ", " : "", STR_ARG(pipe->decl[i]));
        if (i + 1 == pipe->n_decl)
            buf_add(b, pipe->assigns ? STR(" = ") : STR(" := "));
    }
    for (size_t i = 0; i < pipe->n; i++) {
        if (i > 0)
            buf_add(b, STR(" | "));
        put_command(b, t, &pipe->v[i]);
    }
}

/* Puts position and node in front of the reason; `call` names the function that failed. */
static bool fail_node(struct texec *x, uint32_t pos, const struct buf *node, const char *call)
{
    str text = x->t->text, what = buf_str(node);
    size_t line = 1, start = 0;
    for (size_t i = 0; i < pos; i++) {
        if (text.p[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    err_in(x->err, "template: %s:%zu:%zu: executing \"%s\" at <" STR_FMT ">%s%s", x->t->name, line,
           pos - start, x->t->name, STR_ARG(what), call != NULL ? ": error calling " : "",
           call != NULL ? call : "");
    return false;
}

static bool fail_arg(struct texec *x, const struct targ *arg)
{
    struct buf node;
    buf_init(&node, ERR_TEXT_MAX);
    put_operand(&node, x->t, arg);
    fail_node(x, arg->at, &node, NULL);
    buf_deinit(&node);
    return false;
}

static bool fail_cmd(struct texec *x, const struct tcmd *cmd, const char *call)
{
    struct buf node;
    buf_init(&node, ERR_TEXT_MAX);
    put_command(&node, x->t, cmd);
    fail_node(x, cmd->pos, &node, call);
    buf_deinit(&node);
    return false;
}

static bool step(struct texec *x)
{
    if (++x->steps > LIMIT_TEMPLATE_STEPS)
        return texec_fail(x, "template: %s: more than %d steps", x->t->name, LIMIT_TEMPLATE_STEPS);
    if (x->out->over)
        return texec_fail(x, "template: %s: more output than %zu bytes", x->t->name, x->out->max);
    if (x->a->over)
        return texec_fail(x, "template: %s: out of memory", x->t->name);
    return true;
}

/* ---- values ---- */

bool tval_true(const struct tval *v)
{
    switch (v->kind) {
    case TVAL_STR:
        return v->s.n > 0;
    case TVAL_INT:
        return v->i != 0;
    case TVAL_FLOAT:
        return v->f != 0;
    case TVAL_BOOL:
        return v->b;
    case TVAL_LIST:
        return v->list.n > 0;
    case TVAL_MAP:
        return v->map.n > 0;
    case TVAL_TIME:
    case TVAL_ROOT:
        return true;
    case TVAL_NIL:
        break;
    }
    return false;
}

const char *tval_type(const struct tval *v)
{
    static const char *const names[] = {
        [TVAL_NIL] = "nil",
        [TVAL_STR] = "string",
        [TVAL_INT] = "int",
        [TVAL_FLOAT] = "float64",
        [TVAL_BOOL] = "bool",
        [TVAL_TIME] = "time.Time",
        [TVAL_LIST] = "[]interface {}",
        [TVAL_MAP] = "map[string]interface {}",
        [TVAL_ROOT] = "map[string]string",
    };
    if (v->kind == TVAL_INT && v->wide)
        return "int64";
    if (v->kind == TVAL_MAP && v->map.of_strings)
        return "map[string]string";
    return names[v->kind];
}

struct tval tval_whole(struct texec *x, const struct tval *v)
{
    if (v->kind != TVAL_ROOT)
        return *v;
    struct labels all = x->env->all(x->env->ctx, x->a);
    struct tpair *pairs = arena_array(x->a, struct tpair, all.n);
    for (size_t i = 0; i < all.n; i++)
        pairs[i] = (struct tpair){all.v[i].name, tval_str(all.v[i].value)};
    return (struct tval){.kind = TVAL_MAP, .map = {pairs, all.n, true}};
}

// NOLINTNEXTLINE(misc-no-recursion): values come out of JSON, whose reader bounds the nesting
void tval_print(struct texec *x, struct buf *b, const struct tval *v)
{
    char text[NUM_TEXT_MAX];
    struct tval map;
    switch (v->kind) {
    case TVAL_NIL:
        buf_add(b, STR("<nil>"));
        break;
    case TVAL_STR:
        buf_add(b, v->s);
        break;
    case TVAL_INT:
        buf_add(b, num_print_i64(text, v->i));
        break;
    case TVAL_FLOAT:
        buf_add(b, num_print_f64_go(text, v->f));
        break;
    case TVAL_BOOL:
        buf_add(b, v->b ? STR("true") : STR("false"));
        break;
    case TVAL_TIME:
        buf_add(b, ttime_format(x->a, STR("2006-01-02 15:04:05.999999999 -0700 MST"), &v->t));
        break;
    case TVAL_LIST:
        buf_add_char(b, '[');
        for (size_t i = 0; i < v->list.n; i++) {
            if (i > 0)
                buf_add_char(b, ' ');
            tval_print(x, b, &v->list.v[i]);
        }
        buf_add_char(b, ']');
        break;
    case TVAL_MAP:
    case TVAL_ROOT:
        map = tval_whole(x, v);
        buf_add(b, STR("map["));
        for (size_t i = 0; i < map.map.n; i++) {
            if (i > 0)
                buf_add_char(b, ' ');
            buf_add(b, map.map.v[i].key);
            buf_add_char(b, ':');
            tval_print(x, b, &map.map.v[i].value);
        }
        buf_add_char(b, ']');
        break;
    }
}

str tval_text(struct texec *x, const struct tval *v)
{
    struct buf b;
    if (v->kind == TVAL_STR)
        return v->s;
    buf_init(&b, LIMIT_TEMPLATE_OUT);
    tval_print(x, &b, v);
    str s = arena_dup(x->a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

bool tval_field(struct texec *x, const struct tval *v, str name, struct tval *out)
{
    str value = {0};
    if (v->kind == TVAL_ROOT) {
        if (!x->env->get(x->env->ctx, name, &value))
            value = (str){0};
        *out = tval_str(value);
        return true;
    }
    if (v->kind == TVAL_MAP) {
        *out = (struct tval){.kind = v->map.of_strings ? TVAL_STR : TVAL_NIL};
        for (size_t i = 0; i < v->map.n; i++)
            if (str_eq(v->map.v[i].key, name))
                *out = v->map.v[i].value;
        return true;
    }
    if (v->kind == TVAL_NIL)
        return texec_fail(x, "nil data; no entry for key \"" STR_FMT "\"", STR_ARG(name));
    return texec_fail(x, "can't evaluate field " STR_FMT " in type %s", STR_ARG(name),
                      tval_type(v));
}

const struct tzone *texec_zone(struct texec *x, str name)
{
    struct template *t = x->t;
    for (size_t i = 0; i < t->zones.n; i++)
        if (str_eq(t->zones.v[i].name, name))
            return t->zones.v[i].zone;
    if (t->zones.n == LIMIT_TEMPLATE_ZONES) // names made of data: they stay for this line only
        return tzone_open(x->a, name);
    const struct tzone *zone = tzone_open(t->arena, name);
    vec_push(&t->zones, t->arena, (struct tzone_name){arena_dup(t->arena, name), zone});
    return zone;
}

bool texec_regex(struct texec *x, str pattern, struct regex **out)
{
    struct template *t = x->t;
    struct err err = ERR_OK;
    for (size_t i = 0; i < t->regexes.n; i++) {
        if (str_eq(t->regexes.v[i].pattern, pattern)) {
            *out = t->regexes.v[i].re;
            return true;
        }
    }
    struct regex *re;
    if (!regex_open(pattern, 0, &re, &err))
        return texec_fail(x, "%s", err.text);
    struct tregex entry = {arena_dup(t->arena, pattern), re};
    if (t->regexes.n == LIMIT_TEMPLATE_REGEXES) { // patterns made of data: the oldest goes
        regex_close(t->regexes.v[0].re);
        memmove(t->regexes.v, t->regexes.v + 1, (t->regexes.n - 1) * sizeof entry);
        t->regexes.n--;
    }
    vec_push(&t->regexes, t->arena, entry);
    *out = re;
    return true;
}

/* ---- pipelines ---- */

static bool eval_pipe(struct texec *x, const struct tpipe *pipe, const struct tval *dot,
                      struct tval *out);

static const struct tval *find_var(const struct texec *x, str name)
{
    for (size_t i = x->vars.n; i-- > 0;)
        if (str_eq(x->vars.v[i].name, name))
            return &x->vars.v[i].value;
    return NULL;
}

/* The node that errors of a chain name: of a pipeline or a call it is what was looked at last. */
static bool fail_chain(struct texec *x, const struct targ *arg)
{
    if (arg->kind == TARG_FIELD || arg->kind == TARG_VAR)
        return fail_arg(x, arg);
    struct targ last = *x->at;
    if (last.kind == TARG_FUNC) {
        last.n_chain = 0;
        last.end = last.pos + (uint32_t)last.name.n;
    }
    return fail_arg(x, &last);
}

static bool follow(struct texec *x, const struct targ *arg, struct tval v, struct tval *out)
{
    bool is_any = false; // came out of a map of anything: that is all its type says
    for (size_t i = 0; i < arg->n_chain; i++) {
        struct tval next;
        str name = arg->chain[i];
        bool has_fields = v.kind == TVAL_MAP || v.kind == TVAL_ROOT;
        if (!is_any && v.kind == TVAL_NIL && arg->kind == TARG_PIPE)
            continue; // what a call has not given has no fields either
        if (is_any && v.kind == TVAL_NIL)
            texec_fail(x, "nil pointer evaluating interface {}." STR_FMT, STR_ARG(name));
        else if (is_any && !has_fields)
            texec_fail(x, "can't evaluate field " STR_FMT " in type interface {}", STR_ARG(name));
        else if (tval_field(x, &v, name, &next))
            has_fields = true;
        if (!has_fields || (is_any && v.kind == TVAL_NIL))
            return fail_chain(x, arg);
        is_any = v.kind == TVAL_MAP && !v.map.of_strings;
        v = next;
    }
    *out = v;
    return true;
}

/* ---- arguments ---- */

static char type_of(const struct tfunc *f, size_t i)
{
    size_t n = strlen(f->types);
    return f->types[MIN(i, n - 1)];
}

static const char *type_name(char type)
{
    return type == 's' ? "string" : type == 'i' ? "int" : type == 'f' ? "float64" : "time.Time";
}

/* A constant takes the type that is wanted, when it can. */
static bool fit_const(struct texec *x, const struct targ *arg, char type, struct tval *v)
{
    bool is_number = v->kind == TVAL_INT || v->kind == TVAL_FLOAT;
    if (v->kind == TVAL_NIL) {
        texec_fail(x, "cannot assign nil to %s", type_name(type));
    } else if (type == 's') {
        if (v->kind == TVAL_STR)
            return true;
        texec_fail(x, "expected string; found ");
    } else if (type == 'i') {
        if (v->kind == TVAL_FLOAT && v->f == floor(v->f) && fabs(v->f) < 9e18)
            *v = tval_int((int64_t)v->f);
        if (v->kind == TVAL_INT)
            return true;
        texec_fail(x, "expected integer; found ");
    } else if (type == 'f') {
        if (v->kind == TVAL_INT)
            *v = tval_float((double)v->i);
        if (is_number)
            return true;
        texec_fail(x, "expected float; found ");
    } else {
        texec_fail(x, "can't handle ");
    }
    if (v->kind != TVAL_NIL) {
        str text = str_sub(x->t->text, arg->pos, arg->end);
        char reason[ERR_TEXT_MAX];
        snprintf(reason, sizeof reason, "%s" STR_FMT, x->err->text, STR_ARG(text));
        texec_fail(x, "%s%s", reason, type == 't' ? " for arg of type time.Time" : "");
    }
    return fail_arg(x, arg);
}

static bool fit_value(struct texec *x, char type, const struct tval *v)
{
    static const struct {
        char type;
        enum tval_kind kind;
    } kinds[] = {{'s', TVAL_STR}, {'i', TVAL_INT}, {'f', TVAL_FLOAT}, {'t', TVAL_TIME}};
    for (size_t i = 0; i < COUNTOF(kinds); i++)
        if (kinds[i].type == type && kinds[i].kind == v->kind && !(type == 'i' && v->wide))
            return true;
    if (v->kind == TVAL_NIL)
        texec_fail(x, "invalid value; expected %s", type_name(type));
    else
        texec_fail(x, "wrong type for value; expected %s; got %s", type_name(type), tval_type(v));
    return fail_arg(x, x->at);
}

static bool fit(struct texec *x, const struct tfunc *f, size_t i, const struct targ *arg,
                struct tval *v)
{
    char type = type_of(f, i);
    if (type == 'a')
        return true;
    return arg != NULL && arg->kind == TARG_CONST ? fit_const(x, arg, type, v)
                                                  : fit_value(x, type, v);
}

static bool count_args(struct texec *x, const struct targ *fn, size_t n)
{
    const struct tfunc *f = fn->func;
    if (n >= f->min && (f->max == 255 || n <= f->max))
        return true;
    if (f->max == 255 && f->min > 0)
        texec_fail(x, "wrong number of args for %s: want at least %d got %zu", f->name, f->min, n);
    else
        texec_fail(x, "wrong number of args for %s: want %d got %zu", f->name, f->max, n);
    return fail_arg(x, fn);
}

static bool call(struct texec *x, const struct tcmd *cmd, const struct targ *fn,
                 const struct tval *args, size_t n, struct tval *out)
{
    if (!step(x))
        return false;
    if (fn->func->run(x, args, n, out))
        return true;
    return cmd != NULL
               ? fail_cmd(x, cmd, fn->func->name)
               : fail_cmd(x, &(struct tcmd){.v = fn, .n = 1, .pos = fn->pos}, fn->func->name);
}

/* A function without arguments as an operand: what follows it are fields of its result. */
static bool call_operand(struct texec *x, const struct targ *fn, struct tval *out)
{
    struct tval v;
    return count_args(x, fn, 0) && call(x, NULL, fn, NULL, 0, &v) && follow(x, fn, v, out);
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool eval_arg(struct texec *x, const struct targ *arg, const struct tval *dot,
                     struct tval *out)
{
    struct tval v;
    x->at = arg;
    switch (arg->kind) {
    case TARG_CONST:
        *out = arg->value;
        return true;
    case TARG_DOT:
        *out = *dot;
        return true;
    case TARG_FIELD:
        return follow(x, arg, *dot, out);
    case TARG_VAR: {
        const struct tval *var = find_var(x, arg->name);
        v = var != NULL ? *var : (struct tval){0};
        return follow(x, arg, v, out);
    }
    case TARG_PIPE:
        return eval_pipe(x, arg->pipe, dot, &v) && follow(x, arg, v, out);
    case TARG_FUNC:
        return call_operand(x, arg, out);
    }
    return true;
}

/* and, or stop at the first argument that decides. */
// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool eval_logic(struct texec *x, const struct tcmd *cmd, const struct tval *dot,
                       const struct tval *final, struct tval *out)
{
    bool is_or = str_is(cmd->v[0].name, "or");
    if (cmd->n == 1 && final == NULL)
        return count_args(x, &cmd->v[0], 0);
    for (size_t i = 1; i < cmd->n; i++) {
        if (!eval_arg(x, &cmd->v[i], dot, out))
            return false;
        if (tval_true(out) == is_or)
            return true;
    }
    if (final != NULL)
        *out = *final;
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool eval_command(struct texec *x, const struct tcmd *cmd, const struct tval *dot,
                         const struct tval *final, struct tval *out)
{
    const struct targ *first = &cmd->v[0];
    if (first->kind != TARG_FUNC) {
        if (cmd->n == 1 && final == NULL) {
            if (first->kind == TARG_CONST && first->value.kind == TVAL_NIL) {
                texec_fail(x, "nil is not a command");
                return fail_arg(x, first);
            }
            return eval_arg(x, first, dot, out);
        }
        if (first->n_chain > 0)
            texec_fail(x, STR_FMT " is not a method but has arguments",
                       STR_ARG(first->chain[first->n_chain - 1]));
        else
            texec_fail(x, "can't give argument to non-function " STR_FMT,
                       STR_ARG(str_sub(x->t->text, first->pos, first->end)));
        return fail_arg(x, first);
    }
    if (cmd->n == 1 && final == NULL)
        return eval_arg(x, first, dot, out);
    x->at = first;
    if (str_is(first->name, "and") || str_is(first->name, "or"))
        return eval_logic(x, cmd, dot, final, out);
    if (!count_args(x, first, cmd->n - 1 + (final != NULL)))
        return false;
    struct tval *args = arena_array(x->a, struct tval, cmd->n);
    size_t n = 0;
    for (size_t i = 1; i < cmd->n; i++, n++)
        if (!eval_arg(x, &cmd->v[i], dot, &args[n]) ||
            !fit(x, first->func, n, &cmd->v[i], &args[n]))
            return false;
    if (final != NULL) {
        args[n] = *final;
        if (!fit(x, first->func, n, NULL, &args[n]))
            return false;
        n++;
    }
    return call(x, cmd, first, args, n, out);
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool eval_commands(struct texec *x, const struct tpipe *pipe, const struct tval *dot,
                          struct tval *out)
{
    struct tval v = {0};
    for (size_t i = 0; i < pipe->n; i++) {
        struct tval next;
        if (!eval_command(x, &pipe->v[i], dot, i > 0 ? &v : NULL, &next))
            return false;
        v = next;
    }
    *out = v;
    return true;
}

static void set_var(struct texec *x, const struct tpipe *pipe, str name, struct tval v)
{
    for (size_t i = x->vars.n; pipe->assigns && i-- > 0;) {
        if (str_eq(x->vars.v[i].name, name)) {
            x->vars.v[i].value = v;
            return;
        }
    }
    vec_push(&x->vars, x->a, (struct tvar){name, v});
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static bool eval_pipe(struct texec *x, const struct tpipe *pipe, const struct tval *dot,
                      struct tval *out)
{
    if (!step(x) || !eval_commands(x, pipe, dot, out))
        return false;
    if (pipe->n_decl == 1)
        set_var(x, pipe, pipe->decl[0], *out);
    return true;
}

/* ---- nodes ---- */

static enum tflow run_list(struct texec *x, const struct tlist *list, const struct tval *dot);

static void range_vars(struct texec *x, const struct tpipe *pipe, struct tval key, struct tval v)
{
    if (pipe->n_decl == 2) {
        set_var(x, pipe, pipe->decl[0], key);
        set_var(x, pipe, pipe->decl[1], v);
    } else if (pipe->n_decl == 1) {
        set_var(x, pipe, pipe->decl[0], v);
    }
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static enum tflow run_range(struct texec *x, const struct tnode *node, const struct tval *dot)
{
    struct tval over;
    if (!step(x) || !eval_commands(x, node->pipe, dot, &over))
        return FLOW_ERROR;
    over = tval_whole(x, &over);
    size_t n = over.kind == TVAL_LIST  ? over.list.n
               : over.kind == TVAL_MAP ? over.map.n
               : over.kind == TVAL_INT ? (size_t)MAX(over.i, 0)
                                       : 0;
    if (over.kind != TVAL_LIST && over.kind != TVAL_MAP && over.kind != TVAL_INT &&
        over.kind != TVAL_NIL) {
        texec_fail(x, "range can't iterate over " STR_FMT, STR_ARG(tval_text(x, &over)));
        fail_cmd(x, &node->pipe->v[0], NULL);
        return FLOW_ERROR;
    }
    if (over.kind == TVAL_INT && node->pipe->n_decl == 2) {
        texec_fail(x, "can't use " STR_FMT " to iterate over more than one variable",
                   STR_ARG(tval_text(x, &over)));
        fail_cmd(x, &node->pipe->v[0], NULL);
        return FLOW_ERROR;
    }
    if (n == 0)
        return node->otherwise != NULL ? run_list(x, node->otherwise, dot) : FLOW_ON;
    for (size_t i = 0; i < n; i++) {
        size_t vars = x->vars.n;
        struct tval key = tval_int((int64_t)i), v = key;
        if (over.kind == TVAL_LIST)
            v = over.list.v[i];
        if (over.kind == TVAL_MAP) {
            key = tval_str(over.map.v[i].key);
            v = over.map.v[i].value;
        }
        range_vars(x, node->pipe, key, v);
        enum tflow flow = step(x) ? run_list(x, node->body, &v) : FLOW_ERROR;
        x->vars.n = vars;
        if (flow == FLOW_ERROR)
            return flow;
        if (flow == FLOW_BREAK)
            break;
    }
    return FLOW_ON;
}

// NOLINTNEXTLINE(misc-no-recursion): depth is counted against LIMIT_TEMPLATE_CALLS
static enum tflow run_call(struct texec *x, const struct tnode *node, const struct tval *dot)
{
    struct tval arg = {0};
    if (node->pipe != NULL && !eval_pipe(x, node->pipe, dot, &arg))
        return FLOW_ERROR;
    for (size_t i = x->t->defines.n; i-- > 0;) {
        if (!str_eq(x->t->defines.v[i].name, node->text))
            continue;
        if (++x->depth > LIMIT_TEMPLATE_CALLS) {
            texec_fail(x, "template: %s: exceeded maximum template depth (%d)", x->t->name,
                       LIMIT_TEMPLATE_CALLS);
            return FLOW_ERROR;
        }
        size_t vars = x->vars.n;
        vec_push(&x->vars, x->a, (struct tvar){STR("$"), arg});
        enum tflow flow = run_list(x, x->t->defines.v[i].body, &arg);
        x->vars.n = vars;
        x->depth--;
        return flow;
    }
    struct buf b;
    buf_init(&b, ERR_TEXT_MAX);
    buf_add(&b, STR("{{template "));
    print_quoted(&b, node->text);
    if (node->pipe != NULL) {
        buf_add_char(&b, ' ');
        put_pipe(&b, x->t, node->pipe);
    }
    buf_add(&b, STR("}}"));
    texec_fail(x, "template \"" STR_FMT "\" not defined", STR_ARG(node->text));
    fail_node(x, node->pos, &b, NULL);
    buf_deinit(&b);
    return FLOW_ERROR;
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static enum tflow run_branch(struct texec *x, const struct tnode *node, const struct tval *dot)
{
    struct tval v;
    size_t vars = x->vars.n;
    enum tflow flow = FLOW_ON;
    if (!eval_pipe(x, node->pipe, dot, &v))
        return FLOW_ERROR;
    if (tval_true(&v))
        flow = run_list(x, node->body, node->kind == TNODE_WITH ? &v : dot);
    else if (node->otherwise != NULL)
        flow = run_list(x, node->otherwise, dot);
    x->vars.n = vars;
    return flow;
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static enum tflow run_node(struct texec *x, const struct tnode *node, const struct tval *dot)
{
    struct tval v;
    switch (node->kind) {
    case TNODE_TEXT:
        buf_add(x->out, node->text);
        return FLOW_ON;
    case TNODE_PIPE:
        if (!eval_pipe(x, node->pipe, dot, &v))
            return FLOW_ERROR;
        if (node->pipe->n_decl == 0) {
            if (v.kind == TVAL_NIL)
                buf_add(x->out, STR("<no value>"));
            else
                tval_print(x, x->out, &v);
        }
        return FLOW_ON;
    case TNODE_IF:
    case TNODE_WITH:
        return run_branch(x, node, dot);
    case TNODE_RANGE:
        return run_range(x, node, dot);
    case TNODE_CALL:
        return run_call(x, node, dot);
    case TNODE_BREAK:
        return FLOW_BREAK;
    case TNODE_CONTINUE:
        return FLOW_CONTINUE;
    }
    return FLOW_ON;
}

// NOLINTNEXTLINE(misc-no-recursion): the parser bounds the depth of trees
static enum tflow run_list(struct texec *x, const struct tlist *list, const struct tval *dot)
{
    for (size_t i = 0; i < list->v.n; i++) {
        enum tflow flow = run_node(x, &list->v.v[i], dot);
        if (flow != FLOW_ON)
            return flow;
    }
    return FLOW_ON;
}

bool template_run(struct template *t, const struct template_env *env, struct arena *scratch,
                  struct buf *out, struct err *err)
{
    struct tval root = {.kind = TVAL_ROOT};
    struct texec x = {.t = t, .env = env, .a = scratch, .out = out, .err = err};
    vec_push(&x.vars, scratch, (struct tvar){STR("$"), root});
    return run_list(&x, t->root, &root) != FLOW_ERROR && step(&x);
}
