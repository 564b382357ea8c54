/* session.c - which protocol does a new connection speak? */
#include "server/net/session.h"

enum sniff session_sniff(str first_bytes)
{
    /* No method of HTTP/1 begins with "PRI"; PROPFIND and PROPPATCH differ in the third byte. */
    str mark = str_sub(HTTP2_PREFACE, 0, 3);
    size_t n = MIN(first_bytes.n, mark.n);
    if (!str_eq(str_sub(first_bytes, 0, n), str_sub(mark, 0, n)))
        return SNIFF_HTTP1;
    return n == mark.n ? SNIFF_HTTP2 : SNIFF_MORE;
}
