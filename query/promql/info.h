/* info.h - info(): labels of info series added to other series. Private to this folder. */
#pragma once

#include "query/promql/eval.h"

bool call_info(struct eval *e, const struct node *n, struct result *out, struct err *err);
/* For a call of info: the selector of the info series that it reads. False for other calls. */
bool info_selector(const struct node *call, struct node *out);
