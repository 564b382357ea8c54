/* fuzz_import_state.c - any bytes as the state of an import: read or refused; what is read is
 * written as a file that says the same. */
// links: trivet_server trivet_sim
#include "server/import_state.h"
#include "tests/sim/fs_sim.h"

static bool open_state(struct fs *fs, struct import_state **s)
{
    struct err err = ERR_OK;
    return import_state_open(fs, STR("state"), STR("logs"), STR("here"), s, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fs_sim *sim = fs_sim_open(1);
    struct fs *fs = fs_sim_fs(sim);
    struct import_state *s[2] = {0};
    struct import_mark mark = {.offset = n, .n[3] = INT64_MIN, .text = STR("\n\"")};
    str head = STR("{\"import\":\"logs\",\"to\":\"here\"}\n");
    struct file *f;
    struct err err = ERR_OK;
    ASSERT(fs_open(fs, STR("state"), FS_WRITE | FS_CREATE, &f, &err));
    ASSERT(fs_pwrite(fs, f, head, 0, &err) &&
           fs_pwrite(fs, f, str_of((const char *)data, n), head.n, &err));
    fs_close(fs, f);
    if (open_state(fs, &s[0]) && import_state_set(s[0], STR("new"), &mark, true, &err)) {
        ASSERT(open_state(fs, &s[1]));
        const struct import_mark *a = import_state_find(s[0], STR("a"));
        const struct import_mark *b = import_state_find(s[1], STR("a"));
        ASSERT(!a == !b &&
               (!a || (a->offset == b->offset && a->first == b->first &&
                       memcmp(a->n, b->n, sizeof(a->n)) == 0 && str_eq(a->text, b->text))));
        import_state_close(s[1]);
    }
    import_state_close(s[0]);
    fs_sim_close(sim);
    return 0;
}
