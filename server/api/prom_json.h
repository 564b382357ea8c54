/* prom_json.h - how Prometheus writes samples, label sets and results as JSON; also used by Loki's
 * metric answers. */
#pragma once

#include "query/promql/promql.h"
#include "storage/base/json_write.h"

void prom_json_labels(struct json *j, struct labels l); // {"a":"b"}
void prom_json_time(struct json *j, int64_t ms);        // 1.5 s is 1.500
void prom_json_value(struct json *j, double v);         // "1e+21", "NaN", "+Inf"
void prom_json_hist(struct json *j, struct arena *a, const struct hist *h);
/* [{"metric":{...},"value":[t,"v"]}, ...] of the present cells of a one-step matrix. */
void prom_json_vector(struct json *j, struct arena *a, const struct matrix *m);
/* [{"metric":{...},"values":[...],"histograms":[...]}, ...] */
void prom_json_matrix(struct json *j, struct arena *a, const struct matrix *m);
void prom_json_series(struct json *j, struct arena *a, const struct promql_series *s, size_t n);
