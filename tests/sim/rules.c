/* rules.c - retention classes of a life: sets of rules that the store is given in turn, and an
 * oracle of its own that says which class a row belongs to. See life.h.
 *
 * Rows differ by group (label of series and streams; status and name of spans, real_signals.h) and
 * by parity (metadata of lines). A rule says beside its matcher which groups and rows that holds.
 */
#include "tests/sim/life.h"

#define ALL_GROUPS  0xFFFFFu
#define TENS        0xFFC00u // 10 to 19
#define BELOW_FIVE  0x0001Fu
#define MULTIPLE_3  0x49249u // group % 3 == 0
#define ONE_OF_FOUR 0x22222u // group % 4 == 1
#define EVEN_GROUPS 0x55555u
#define EVEN_ROWS   1u
#define ODD_ROWS    2u
#define ALL_ROWS    3u

static const char *const class_names[RULE_CLASSES] = {"", "short", "long", "odd"};

struct rule {
    size_t set;
    enum signal signal;
    unsigned class_no;
    enum matcher_op op;
    const char *label, *value;
    uint32_t groups;
    unsigned rows;
    int hours, kib; // 0 = no limit
};

static const struct rule rules[] = {
    {1, SIGNAL_METRICS, 1, MATCH_RE, "group", "[0-4]", BELOW_FIVE, ALL_ROWS, 8, 0},
    {1, SIGNAL_METRICS, 2, MATCH_RE, "group", "1.", TENS, ALL_ROWS, 0, 0},
    {1, SIGNAL_LOGS, 1, MATCH_RE, "group", "[0-4]", BELOW_FIVE, ALL_ROWS, 8, 0},
    {1, SIGNAL_LOGS, 3, MATCH_EQ, "parity", "odd", ALL_GROUPS, ODD_ROWS, 12, 0},
    {1, SIGNAL_LOGS, 2, MATCH_RE, "group", "1.", TENS, ALL_ROWS, 0, 0},
    {1, SIGNAL_TRACES, 1, MATCH_EQ, "status", "error", MULTIPLE_3, ALL_ROWS, 8, 0},
    {1, SIGNAL_TRACES, 2, MATCH_EQ, "name", "op1", ONE_OF_FOUR, ALL_ROWS, 0, 0},

    {2, SIGNAL_METRICS, 1, MATCH_EQ, "group", "3", 1u << 3, ALL_ROWS, 4, 0},
    {2, SIGNAL_METRICS, 2, MATCH_RE, "group", ".*", ALL_GROUPS, ALL_ROWS, 40, 0},
    {2, SIGNAL_LOGS, 3, MATCH_NE, "parity", "odd", ALL_GROUPS, EVEN_ROWS, 15, 0},
    {2, SIGNAL_TRACES, 2, MATCH_RE, "name", "op[02]", EVEN_GROUPS, ALL_ROWS, 0, 0},
    {2, SIGNAL_TRACES, 1, MATCH_EQ, "status", "error", MULTIPLE_3, ALL_ROWS, 30, 0},

    {3, SIGNAL_METRICS, 2, MATCH_RE, "group", "1.", TENS, ALL_ROWS, 0, 150},
    {3, SIGNAL_LOGS, 3, MATCH_EQ, "parity", "odd", ALL_GROUPS, ODD_ROWS, 0, 150},
    {3, SIGNAL_TRACES, 1, MATCH_EQ, "status", "error", MULTIPLE_3, ALL_ROWS, 0, 200},
};

static const struct rule *rule_of(size_t set, enum signal signal, unsigned class_no)
{
    for (size_t i = 0; i < COUNTOF(rules); i++)
        if (rules[i].set == set && rules[i].signal == signal && rules[i].class_no == class_no)
            return &rules[i];
    return NULL;
}

int64_t rules_age(const struct life *l, enum signal signal, unsigned class_no)
{
    const struct rule *r = class_no > 0 ? rule_of(l->rule_set, signal, class_no) : NULL;
    return r ? r->hours * TINY_HOUR : l->o.retention_ns[signal];
}

bool rules_has_room(const struct life *l, enum signal signal, unsigned class_no)
{
    const struct rule *r = class_no > 0 ? rule_of(l->rule_set, signal, class_no) : NULL;
    return r && r->kib > 0;
}

void rules_deinit(struct life *l)
{
    for (size_t i = 0; i < l->o.n_classes; i++)
        matcher_deinit(&l->matchers[i]);
    l->o.n_classes = 0;
}

void rules_use(struct life *l, size_t set)
{
    size_t n = 0;
    rules_deinit(l);
    for (size_t i = 0; i < COUNTOF(rules); i++) {
        const struct rule *r = &rules[i];
        struct err err = ERR_OK;
        if (r->set != set)
            continue;
        ASSERT(n < SIM_RULES);
        CHECK(l, matcher_init(&l->matchers[n], r->op, str_c(r->label), str_c(r->value), &err), "%s",
              err.text);
        l->classes[n] = (struct retention_class){.signal = r->signal,
                                                 .name = str_c(class_names[r->class_no]),
                                                 .matchers = {&l->matchers[n], 1},
                                                 .age_ns = r->hours * TINY_HOUR,
                                                 .max_bytes = (uint64_t)r->kib * KIB};
        n++;
    }
    l->rule_set = set;
    l->o.classes = l->classes;
    l->o.n_classes = n;
}

void rules_note(struct life *l, size_t b)
{
    struct batch_model *m = &l->batches[b];
    for (unsigned parity = 0; parity < 2; parity++) {
        unsigned class_no = 0;
        for (size_t i = 0; l->has_rules && i < COUNTOF(rules) && class_no == 0; i++)
            if (rules[i].set == l->rule_set && rules[i].signal == m->signal &&
                rules[i].groups >> b % REAL_GROUPS & 1 && rules[i].rows >> parity & 1)
                class_no = rules[i].class_no;
        m->classes[parity] |= 1u << class_no;
    }
}

/* Seals everything by the old rules, so that nothing can be in a class of the new ones. */
static bool seal_all(struct life *l)
{
    struct err err = ERR_OK;
    bool has_budget = l->o.max_bytes_total > 0;
    for (int k = 0; k < SIGNAL_COUNT; k++)
        has_budget = has_budget || l->o.max_bytes[k] > 0;
    if (l->faulty || l->rots || has_budget || prng_below(&l->r, 2) == 0)
        return false;
    CHECK(l, store_maintain(l->s, true, &err), "%s", err.text);
    return true;
}

void step_rules(struct life *l)
{
    static const int hours[] = {0, 20, 60};
    struct err err = ERR_OK;
    bool is_sealed = seal_all(l);
    model_excuse(l);
    rules_use(l, prng_below(&l->r, RULE_SETS));
    l->o.retention_ns[prng_below(&l->r, SIGNAL_COUNT)] =
        hours[prng_below(&l->r, COUNTOF(hours))] * TINY_HOUR;
    LOG_DEBUG("sim_rules", "set=%zu sealed=%d", l->rule_set, is_sealed);
    CHECK(l, store_retention_set(l->s, &l->o, &err), "%s", err.text);
    for (size_t b = 0; !is_sealed && b < l->n_batches; b++)
        rules_note(l, b);
    l->rule_changes++;
}
