/* filter.h - which spans are counted, by selectors as configuration writes them:
 *
 *     {kind="server", resource.service.name=~"shop.*"} {span.http.route="/pay"}
 *
 * A span passes when one of the selectors to include matches it (or there is none) and none of
 * those to exclude. Names are those of retention classes: status, kind, name, service, span.KEY,
 * resource.KEY; kinds and statuses go by both their names, "server" and "SPAN_KIND_SERVER".
 * Unchanged after opening. */
#pragma once

#include "storage/model/batch.h"
#include "storage/model/matcher.h"

struct span_filter {
    VEC(struct matchers) include, exclude;
};

/* The lists lie in the arena; the regexes are the filter's. ERR_INVALID names what is wrong; then
 * there is nothing to close. */
MUST_USE bool span_filter_open(struct span_filter *f, str include, str exclude, struct arena *a,
                               struct err *err);
void span_filter_close(struct span_filter *f);

/* Texts of values are made in the arena and are gone afterwards. */
bool span_filter_passes(const struct span_filter *f, const struct span *s, struct attrs resource,
                        struct arena *a);
