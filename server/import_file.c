/* import_file.c - see import_file.h. */
#include "server/import_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/clock.h"
#include "storage/base/compress.h"

#define PIECE (64 * KIB) // of compressed bytes that are read at once

struct import_file {
    int fd;
    uint64_t read, size;
    int64_t time_ns;
    struct gunzip *gunzip; // NULL: plain
    bool is_sniffed, is_at_end, has_failed;
    struct err fault; // told when all lines before it are handed out
    size_t n_in;      // compressed bytes, or the first ones
    str in;           // of them, not used yet
    size_t n, given;  // of the block: filled, handed out
    char packed[PIECE];
    char block[IMPORT_BLOCK];
};

bool import_file_open(const char *path, struct import_file **out, struct err *err)
{
    struct stat st;
    bool is_stdin = str_is(str_c(path), "-");
    int fd = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "open");
    if (fstat(fd, &st) != 0) {
        (void)err_errno(err, "stat");
        close(fd);
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        close(fd);
        return err_set(err, ERR_INVALID, "is a folder");
    }
    struct import_file *f = mem_alloc(sizeof *f);
    memset(f, 0, offsetof(struct import_file, packed)); // the rest is filled before it is read
    f->fd = fd;
    f->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    f->time_ns = S_ISREG(st.st_mode) ? (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec
                                     : clock_now_ns(clock_real());
    *out = f;
    return true;
}

void import_file_close(struct import_file *f)
{
    if (!f)
        return;
    gunzip_close(f->gunzip);
    close(f->fd);
    mem_free(f);
}

static bool read_some(struct import_file *f, char *dst, size_t cap, size_t *n, struct err *err)
{
    ssize_t got;
    do
        got = read(f->fd, dst, cap);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_errno(err, "read");
    *n = (size_t)got;
    f->read += *n;
    return true;
}

/* The first bytes say whether it is gzip. A pipe may give them one by one. */
static bool sniff(struct import_file *f, struct err *err)
{
    size_t got = 1;
    while (f->n_in < 2 && got > 0) {
        if (!read_some(f, f->packed + f->n_in, PIECE - f->n_in, &got, err))
            return false;
        f->n_in += got;
    }
    f->in = str_of(f->packed, f->n_in);
    if (str_starts(f->in, STR("\x1f\x8b")))
        f->gunzip = gunzip_open();
    f->is_sniffed = true;
    return true;
}

/* More text at the block's end; *n 0: the end of the file. */
static bool fill(struct import_file *f, size_t *n, struct err *err)
{
    char *dst = f->block + f->n;
    size_t cap = sizeof f->block - f->n;
    *n = 0;
    if (!f->is_sniffed && !sniff(f, err))
        return false;
    if (!f->gunzip && f->in.n > 0) { // what sniffing read
        *n = MIN(cap, f->in.n);
        memcpy(dst, f->in.p, *n);
        f->in = str_sub(f->in, *n, f->in.n);
        return true;
    }
    if (!f->gunzip)
        return read_some(f, dst, cap, n, err);
    for (;;) {
        if (f->in.n == 0) {
            if (!read_some(f, f->packed, PIECE, &f->n_in, err))
                return false;
            f->in = str_of(f->packed, f->n_in);
        }
        bool is_end = f->in.n == 0;
        if (is_end && !gunzip_is_whole(f->gunzip))
            return err_set(err, ERR_INVALID, "the compressed file ends early");
        if (is_end)
            return true;
        if (!gunzip_feed(f->gunzip, &f->in, dst, cap, n, err))
            return false;
        if (*n > 0)
            return true;
    }
}

/* Until the block is full or the file at its end. */
static void fill_block(struct import_file *f)
{
    while (!f->is_at_end && !f->has_failed && f->n < sizeof f->block) {
        size_t n;
        f->has_failed = !fill(f, &n, &f->fault);
        if (f->has_failed)
            break;
        f->n += n;
        f->is_at_end = n == 0;
    }
}

static void drop_front(struct import_file *f, size_t n)
{
    memmove(f->block, f->block + n, f->n - n);
    f->n -= n;
}

/* The block begins with a line that does not fit it: leaves out all of that. */
static uint64_t pass_line(struct import_file *f)
{
    uint64_t passed = 0;
    for (;;) {
        size_t end = str_find_char(str_of(f->block, f->n), '\n');
        size_t n = end == SIZE_MAX ? f->n : end + 1;
        drop_front(f, n);
        passed += n;
        fill_block(f);
        if (end != SIZE_MAX || f->n == 0)
            return passed;
    }
}

bool import_file_next(struct import_file *f, str *out, uint64_t *passed, struct err *err)
{
    drop_front(f, f->given);
    *passed = 0;
    fill_block(f);
    size_t last = str_rfind_char(str_of(f->block, f->n), '\n');
    if (last == SIZE_MAX && f->n == sizeof f->block) {
        *passed = pass_line(f);
        last = str_rfind_char(str_of(f->block, f->n), '\n');
    }
    f->given = f->is_at_end ? f->n : last == SIZE_MAX ? 0 : last + 1;
    if (f->has_failed && f->given == 0) {
        *err = f->fault;
        return false;
    }
    *out = str_of(f->block, f->given);
    return true;
}

bool import_file_tail(const char *path, char *dst, size_t cap, str *out, struct err *err)
{
    struct import_file *f;
    str text;
    size_t n = 0;
    if (!import_file_open(path, &f, err))
        return false;
    bool ok = f->size > 0 && sniff(f, err);
    if (ok && !f->gunzip) {
        off_t from = f->size > cap ? (off_t)(f->size - cap) : 0;
        ssize_t got = pread(f->fd, dst, cap, from);
        n = got > 0 ? (size_t)got : 0;
    }
    bool is_more = ok && f->gunzip;
    uint64_t passed;
    while (is_more && (ok = import_file_next(f, &text, &passed, err)) &&
           (text.n > 0 || passed > 0)) {
        str tail = str_sub(text, text.n - MIN(text.n, cap), text.n);
        memmove(dst, tail.p, tail.n); // whole lines: a block holds the last one
        n = tail.n;
    }
    import_file_close(f);
    *out = str_of(dst, n);
    return ok;
}

void import_file_progress(const struct import_file *f, uint64_t *done, uint64_t *all)
{
    *done = f->read;
    *all = f->size;
}

int64_t import_file_time_ns(const struct import_file *f)
{
    return f->time_ns;
}
