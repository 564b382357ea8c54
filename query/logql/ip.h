/* ip.h - ip("..."): one address, a CIDR block or a range a-b, of IPv4 or IPv6. */
#pragma once

#include "storage/base/err.h"

struct lq_ip {
    uint8_t first[16], last[16]; // inclusive, network order; IPv4 in the first 4
    bool is_v6;
};

/* ERR_INVALID "ip: invalid pattern". */
MUST_USE bool lq_ip_parse(str text, struct lq_ip *out, struct err *err);
/* Does any address inside the text fit? */
bool lq_ip_test(const struct lq_ip *ip, str text);
