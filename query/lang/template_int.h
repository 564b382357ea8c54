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
    TVAL_TIME,
    TVAL_LIST,
    TVAL_MAP,
    TVAL_ROOT, // the labels, not looked at yet
};

/* A point in time with the zone it is shown in; years from 0 to 9999. */
struct ttime {
    int64_t s; // Unix seconds
    int32_t ns;
    int32_t offset_s; // east of UTC
    str zone;         // name; empty: UTC, or its offset when there is one
};

struct tval {
    enum tval_kind kind;
    bool wide; // INT: Go's int64, which is no int
    union {
        str s;
        int64_t i; // INT
        struct ttime t;
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
    uint32_t at;       // where errors place it
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

struct tzone_name {
    str name;
    const struct tzone *zone;
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
    VEC(struct tregex) regexes;   // at most LIMIT_TEMPLATE_REGEXES
    VEC(struct tzone_name) zones; // at most LIMIT_TEMPLATE_ZONES
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
    const struct targ *at; // the operand evaluated last: where errors of types are
};

/* A function: `args` holds n values of the kinds its row names. false with x->err set to the bare
 * reason. */
typedef bool tfunc_run(struct texec *x, const struct tval *args, size_t n, struct tval *out);
struct tfunc {
    const char *name;
    tfunc_run *run;
    uint8_t min, max;  // arguments; max 255 = any number
    const char *types; // of each argument: s text, i integer, f number, t time, a any; the last
                       // one is also that of all further ones
};
const struct tfunc *tfunc_find(str name); // template_funcs.c, or NULL
/* The function of that name in a table, or NULL. */
static inline const struct tfunc *tfunc_in(const struct tfunc *table, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(name, str_c(table[i].name)))
            return &table[i];
    return NULL;
}
const struct tfunc *tfunc_find_number(str name);  // template_numbers.c, or NULL
const struct tfunc *tfunc_find_builtin(str name); // template_builtin.c, or NULL

/* Conversions of arguments never fail: what is no number is 0. */
double tval_to_float(const struct tval *v);
int64_t tval_to_int(const struct tval *v);
/* An integer of Go's source: 10, -1_000, 0x1f, 0b1, 0o17, 017. */
MUST_USE bool ttext_int(str s, int64_t *out);
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
/* Compiled patterns and time zones stay in the template. */
bool texec_regex(struct texec *x, str pattern, struct regex **out);
const struct tzone *texec_zone(struct texec *x, str name);

/* ---- times: Go's layouts ("2006-01-02T15:04:05Z07:00") ---- */

#define TTIME_ZERO ((struct ttime){.s = -62135596800}) // year 1: Go's zero time
struct ttime ttime_of_ns(int64_t ns);
str ttime_format(struct arena *a, str layout, const struct ttime *t);
/* Times that do not name a zone are in `zone`. Names of the result live in `a`. */
struct tzone;
bool ttime_parse(struct arena *a, str layout, str text, const struct tzone *zone,
                 struct ttime *out);

/* A zone of the system's database, template_zone.c; UTC when there is none of this name. */
struct tzone {
    const struct tzone_step *steps; // by time; the first has no beginning
    size_t n;
};
const struct tzone *tzone_open(struct arena *a, str name);
/* What holds at a point in time, or at a local time (of two, the earlier offset). */
void tzone_at(const struct tzone *z, int64_t s, int32_t *offset_s, str *name);
void tzone_at_local(const struct tzone *z, int64_t local_s, int32_t *offset_s, str *name);

/* Unicode's simple mappings, template_case.c. */
uint32_t tcase_upper(uint32_t c);
uint32_t tcase_lower(uint32_t c);
