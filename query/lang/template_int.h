/* template_int.h - values, tree and state of templates: private to the template_*.c files. */
#pragma once

#include "query/lang/template.h"
#include "storage/base/regex.h"
#include "storage/base/vec.h"

/* ---- values ---- */

enum tval_kind {
    TVAL_NIL,
    TVAL_STR,
    TVAL_INT,
    TVAL_FLOAT,
    TVAL_BOOL,
    TVAL_TIME, // ns
    TVAL_LIST,
    TVAL_MAP,
    TVAL_ROOT, // the labels, not looked at yet
};

struct tval {
    enum tval_kind kind;
    union {
        str s;
        int64_t i; // INT, TIME
        double f;
        bool b;
        struct {
            const struct tval *v;
            size_t n;
        } list;
        struct {
            const struct tpair *v; // sorted by key
            size_t n;
            bool of_strings; // a missing key is ""
        } map;
    };
};

struct tpair {
    str key;
    struct tval value;
};

static inline struct tval tval_str(str s)
{
    return (struct tval){.kind = TVAL_STR, .s = s};
}
static inline struct tval tval_int(int64_t i)
{
    return (struct tval){.kind = TVAL_INT, .i = i};
}
static inline struct tval tval_float(double f)
{
    return (struct tval){.kind = TVAL_FLOAT, .f = f};
}
static inline struct tval tval_bool(bool b)
{
    return (struct tval){.kind = TVAL_BOOL, .b = b};
}

/* ---- tree ---- */

struct tpipe;
struct tlist;

enum targ_kind { TARG_FIELD, TARG_VAR, TARG_FUNC, TARG_CONST, TARG_DOT, TARG_PIPE };

struct targ {
    enum targ_kind kind;
    uint32_t pos, end; // in the text
    str name;          // VAR ("$x"), FUNC
    const str *chain;  // FIELD, VAR, PIPE: .a.b
    size_t n_chain;
    const struct tfunc *func;
    struct tval value; // CONST
    const struct tpipe *pipe;
};

struct tcmd {
    const struct targ *v;
    size_t n;
    uint32_t pos, end;
};

struct tpipe {
    const struct tcmd *v;
    size_t n;
    str decl[2];
    size_t n_decl;
    bool assigns; // = instead of :=
};

enum tnode_kind {
    TNODE_TEXT,
    TNODE_PIPE,
    TNODE_IF,
    TNODE_RANGE,
    TNODE_WITH,
    TNODE_CALL, // {{template "name" pipe}}
    TNODE_BREAK,
    TNODE_CONTINUE,
};

struct tnode {
    enum tnode_kind kind;
    uint32_t pos;
    str text; // TEXT; CALL: the name
    const struct tpipe *pipe;
    const struct tlist *body, *otherwise;
};

struct tlist {
    VEC(struct tnode) v;
};

struct tdefine {
    str name;
    const struct tlist *body;
};

struct tregex {
    str pattern;
    struct regex *re;
};

struct template
{
    struct arena *arena;
    str text;
    const char *name;
    const struct tlist *root;
    VEC(struct tdefine) defines;
    VEC(str) fields;
    struct template_facts facts;
    VEC(struct tregex) regexes; // at most LIMIT_TEMPLATE_REGEXES
};

/* ---- running ---- */

struct tvar {
    str name;
    struct tval value;
};

struct texec {
    struct template *t;
    const struct template_env *env;
    struct arena *a; // scratch
    struct buf *out;
    struct err *err;
    VEC(struct tvar) vars;
    unsigned depth;
    uint64_t steps;
};

/* A function: `args` holds n values. false with x->err set to the bare reason. */
typedef bool tfunc_run(struct texec *x, const struct tval *args, size_t n, struct tval *out);
struct tfunc {
    const char *name;
    tfunc_run *run;
    uint8_t min, max; // arguments; max 255 = any number
};
const struct tfunc *tfunc_find(str name);         // template_funcs.c, or NULL
const struct tfunc *tfunc_find_number(str name);  // template_numbers.c, or NULL
const struct tfunc *tfunc_find_builtin(str name); // template_builtin.c, or NULL

/* Arguments of functions, template_funcs.c: kinds or an error; conversions never fail. */
bool targs_texts(struct texec *x, const struct tval *args, size_t from, size_t to);
bool targ_is_int(struct texec *x, const struct tval *v);
double tval_to_float(const struct tval *v);
int64_t tval_to_int(const struct tval *v);
bool texec_give(struct tval *out, str s); // returns true

bool tval_true(const struct tval *v);
const char *tval_type(const struct tval *v); // "string", "int", ...
/* As %v. */
void tval_print(struct texec *x, struct buf *b, const struct tval *v);
str tval_text(struct texec *x, const struct tval *v);
/* ROOT becomes a MAP. */
struct tval tval_whole(struct texec *x, const struct tval *v);
bool tval_field(struct texec *x, const struct tval *v, str name, struct tval *out);
/* fmt.Sprintf. */
str tval_printf(struct texec *x, str format, const struct tval *args, size_t n);

/* Sets x->err, returns false. */
bool texec_fail(struct texec *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Compiled patterns stay in the template. */
bool texec_regex(struct texec *x, str pattern, struct regex **out);

/* Go's layouts ("2006-01-02T15:04:05Z07:00"); UTC only. */
str ttime_format(struct arena *a, str layout, int64_t t_ns);
bool ttime_parse(str layout, str text, int64_t *out_ns);
