/* selector.h - a label selector on its own, as configuration writes it: {job="a", level=~"x|y"}.
 *
 * Names may have dots (resource.service.name) or be quoted; values are Go strings in any quotes.
 * The languages have selectors of their own grammars; this is what they have in common. */
#pragma once

#include "storage/model/matcher.h"

/* Reads one selector at the start of `text`; blanks around it are skipped and *used tells where the
 * rest begins (NULL: nothing may follow). At least one matcher. Strings are copied into the arena,
 * where the list lies, too; regexes are the caller's: matchers_deinit. ERR_INVALID with
 * line:column.
 */
MUST_USE bool selector_parse(str text, struct arena *a, struct matchers *out, size_t *used,
                             struct err *err);
