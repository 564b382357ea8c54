/* config_classes.c - see config_classes.h. */
#include "server/config_classes.h"

#include "query/lang/selector.h"

void class_draft_deinit(struct class_draft *d)
{
    matchers_deinit(&d->rule.matchers);
    *d = (struct class_draft){0};
}

static bool set_signal(struct class_draft *d, str text, struct err *err)
{
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (str_eq(text, str_c(signal_name((enum signal)i)))) {
            d->rule.signal = (enum signal)i;
            d->has_signal = true;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "not one of metrics, logs, traces");
}

/* `used` as selector_parse has it. */
static bool set_match(struct config *c, struct class_draft *d, str text, size_t *used,
                      struct err *err)
{
    struct err here = ERR_OK;
    if (!selector_parse(text, &c->arena, &d->rule.matchers, used, &here))
        return err_set(err, ERR_INVALID, "at column %u: %s", here.col, here.text);
    d->match = arena_dup(&c->arena, used ? str_trim(str_sub(text, 0, *used)) : text);
    d->has_match = true;
    return true;
}

static bool set_key(struct config *c, struct class_draft *d, str key, str text, struct err *err)
{
    bool is_new = str_is(key, "name")     ? d->rule.name.n == 0
                  : str_is(key, "signal") ? !d->has_signal
                  : str_is(key, "match")  ? !d->has_match
                  : str_is(key, "age")    ? !d->has_age
                                          : !d->has_size;
    if (!is_new)
        return err_set(err, ERR_INVALID, "given twice");
    if (str_is(key, "signal"))
        return set_signal(d, text, err);
    if (str_is(key, "match"))
        return set_match(c, d, text, NULL, err);
    if (str_is(key, "age"))
        return d->has_age = config_read_age(text, &d->rule.age_ns, err);
    if (str_is(key, "size"))
        return d->has_size = config_read_size(text, &d->rule.max_bytes, err);
    if (!str_is(key, "name"))
        return err_set(err, ERR_INVALID, "unknown key (name, signal, match, age, size)");
    d->rule.name = arena_dup(&c->arena, text);
    return text.n > 0 || err_set(err, ERR_INVALID, "must not be empty");
}

bool class_draft_set(struct config *c, struct class_draft *d, str key, str text, struct err *err)
{
    return set_key(c, d, key, text, err) ||
           err_in(err, "retention.classes: " STR_FMT " \"" STR_FMT "\"",
                  STR_ARG(str_sub(key, 0, 100)), STR_ARG(str_sub(text, 0, 100)));
}

static bool check_draft(const struct config *c, const struct class_draft *d, struct err *err)
{
    if (d->rule.name.n == 0 || !d->has_signal || !d->has_match || !d->has_age)
        return err_set(err, ERR_INVALID, "an entry needs name, signal, match and age");
    if (!retention_class_check(&d->rule, err))
        return false;
    for (size_t i = 0; i < c->classes.n; i++)
        if (c->classes.v[i].signal == d->rule.signal && str_eq(c->classes.v[i].name, d->rule.name))
            return err_set(err, ERR_INVALID, "two classes of %s are called " STR_FMT,
                           signal_name(d->rule.signal), STR_ARG(d->rule.name));
    return c->classes.n < LIMIT_RETENTION_CLASSES ||
           err_set(err, ERR_INVALID, "more than %d classes", LIMIT_RETENTION_CLASSES);
}

bool class_draft_add(struct config *c, struct class_draft *d, struct err *err)
{
    if (!check_draft(c, d, err))
        return err_in(err, "retention.classes");
    c->classes.match[c->classes.n] = d->match;
    c->classes.v[c->classes.n++] = d->rule;
    *d = (struct class_draft){0};
    return true;
}

void config_classes_clear(struct config *c)
{
    for (size_t i = 0; i < c->classes.n; i++)
        matchers_deinit(&c->classes.v[i].matchers);
    c->classes.n = 0;
}

/* ---- the text form ---- */

static str take_word(str *rest)
{
    str word;
    *rest = str_trim(*rest);
    return rest->n > 0 && str_split(rest, ' ', &word) ? word : (str){0};
}

static bool add_text(struct config *c, struct class_draft *d, str text, struct err *err)
{
    str rest = text, signal = take_word(&rest), name = take_word(&rest);
    size_t used = 0;
    if (!class_draft_set(c, d, STR("signal"), signal, err) ||
        !class_draft_set(c, d, STR("name"), name, err))
        return false;
    if (!set_match(c, d, rest, &used, err))
        return err_in(err, "retention.classes: match \"" STR_FMT "\"",
                      STR_ARG(str_sub(rest, 0, 100)));
    rest = str_sub(rest, used, rest.n);
    str age = take_word(&rest), size = take_word(&rest);
    if (!class_draft_set(c, d, STR("age"), age, err) ||
        (size.n > 0 && !class_draft_set(c, d, STR("size"), size, err)))
        return false;
    if (take_word(&rest).n > 0)
        return err_set(err, ERR_INVALID,
                       "retention.classes: too many words (SIGNAL NAME {MATCHERS} AGE [SIZE])");
    return class_draft_add(c, d, err);
}

bool config_classes_add(struct config *c, str text, struct err *err)
{
    str line;
    while (text.n > 0 && str_split(&text, '\n', &line)) {
        struct class_draft d = {0};
        if (str_trim(line).n == 0)
            continue;
        bool ok = add_text(c, &d, str_trim(line), err);
        class_draft_deinit(&d);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- printing ---- */

/* In single quotes where that says the same: selectors are full of double ones. */
static void print_match(struct buf *out, str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < 0x20 || text.p[i] > 0x7E) {
            config_print_quoted(out, text);
            return;
        }
    }
    buf_add_char(out, '\'');
    for (size_t i = 0; i < text.n; i++) {
        buf_add_char(out, text.p[i]);
        if (text.p[i] == '\'')
            buf_add_char(out, '\'');
    }
    buf_add_char(out, '\'');
}

void config_classes_print(const struct config_classes *l, const char *indent, struct buf *out)
{
    if (l->n == 0)
        buf_add(out, STR(" []"));
    for (size_t i = 0; i < l->n; i++) {
        const struct retention_class *r = &l->v[i];
        buf_fmt(out, "\n%s- {name: " STR_FMT ", signal: %s, match: ", indent, STR_ARG(r->name),
                signal_name(r->signal));
        print_match(out, l->match[i]);
        buf_add(out, STR(", age: "));
        config_print_age(out, r->age_ns);
        if (r->max_bytes > 0) {
            buf_add(out, STR(", size: "));
            config_print_size(out, r->max_bytes);
        }
        buf_add_char(out, '}');
    }
}
