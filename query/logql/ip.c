/* ip.c - addresses in text. Candidates are found by shape (a digit with a point close behind it, a
 * colon close by), then read strictly; ports behind an address do not hinder. Any thread. */
#include "query/logql/ip.h"

#include <arpa/inet.h>

#include "storage/base/num.h"

#define ADDR_TEXT_MAX 64 // longest text of an address that is read

static bool read_addr(str s, uint8_t out[16], bool *is_v6)
{
    char text[ADDR_TEXT_MAX];
    if (!str_to_c(s, text, sizeof text))
        return false;
    *is_v6 = str_find_char(s, ':') != SIZE_MAX;
    memset(out, 0, 16);
    return inet_pton(*is_v6 ? AF_INET6 : AF_INET, text, out) == 1;
}

static bool read_block(str s, size_t slash, struct lq_ip *ip)
{
    uint64_t bits;
    if (!num_parse_u64(str_sub(s, slash + 1, s.n), &bits) ||
        !read_addr(str_sub(s, 0, slash), ip->first, &ip->is_v6) || bits > (ip->is_v6 ? 128 : 32))
        return false;
    size_t n = ip->is_v6 ? 16 : 4;
    for (size_t i = 0; i < n; i++) {
        size_t fixed = bits > i * 8 ? MIN(bits - i * 8, 8) : 0;
        uint8_t mask = (uint8_t)(0xff00 >> fixed);
        ip->first[i] &= mask;
        ip->last[i] = (uint8_t)(ip->first[i] | (uint8_t)~mask);
    }
    return true;
}

static bool read_range(str s, size_t dash, struct lq_ip *ip)
{
    bool last_v6;
    return read_addr(str_trim(str_sub(s, 0, dash)), ip->first, &ip->is_v6) &&
           read_addr(str_trim(str_sub(s, dash + 1, s.n)), ip->last, &last_v6) &&
           last_v6 == ip->is_v6 && memcmp(ip->first, ip->last, 16) <= 0;
}

bool lq_ip_parse(str text, struct lq_ip *out, struct err *err)
{
    struct lq_ip ip = {0};
    bool ok;
    size_t slash = str_find_char(text, '/'), dash = str_find_char(text, '-');
    if (dash != SIZE_MAX) {
        ok = read_range(text, dash, &ip);
    } else if (slash != SIZE_MAX) {
        ok = read_block(text, slash, &ip);
    } else {
        ok = read_addr(text, ip.first, &ip.is_v6);
        memcpy(ip.last, ip.first, sizeof ip.last);
    }
    if (!ok)
        return err_set(err, ERR_INVALID, "ip: invalid pattern: \"" STR_FMT "\"", STR_ARG(text));
    *out = ip;
    return true;
}

static size_t run_v4(str s, size_t at)
{
    size_t i = at;
    while (i < s.n && (char_is_digit(s.p[i]) || s.p[i] == '.'))
        i++;
    return i - at;
}

static size_t run_v6(str s, size_t at)
{
    size_t i = at;
    while (i < s.n && (char_is_hex(s.p[i]) || s.p[i] == ':' || s.p[i] == '.'))
        i++;
    return i - at;
}

static bool near(str s, size_t at, size_t from, size_t to, char c)
{
    for (size_t i = at + from; i <= at + to && i < s.n; i++)
        if (s.p[i] == c)
            return true;
    return false;
}

static bool fits(const struct lq_ip *ip, str text)
{
    uint8_t addr[16];
    bool is_v6;
    while (text.n > 0 && text.p[text.n - 1] == '.') // the end of a sentence
        text.n--;
    return read_addr(text, addr, &is_v6) && is_v6 == ip->is_v6 &&
           memcmp(addr, ip->first, 16) >= 0 && memcmp(addr, ip->last, 16) <= 0;
}

bool lq_ip_test(const struct lq_ip *ip, str text)
{
    for (size_t i = 0; i < text.n;) {
        size_t n = 0;
        if (char_is_digit(text.p[i]) && near(text, i, 1, 3, '.'))
            n = run_v4(text, i);
        else if (text.p[i] == ':' || (char_is_hex(text.p[i]) && near(text, i, 1, 4, ':')))
            n = run_v6(text, i);
        if (n > 0 && fits(ip, str_sub(text, i, i + n)))
            return true;
        i += n > 0 ? n : 1;
    }
    return false;
}
