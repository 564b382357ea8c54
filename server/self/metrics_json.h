/* metrics_json.h - our own metrics as JSON, in the shape that protobuf's JSON mapping gives to
 * io.prometheus.client.MetricFamily: what /api/v1/status/self_metrics of Prometheus answers. */
#pragma once

#include "storage/base/err.h"
#include "storage/base/json_write.h"
#include "storage/base/regex.h"

/* An array of families into j, from the text of metrics_write. Families whose name the pattern does
 * not match are left out; pattern NULL: none is. Any thread. */
MUST_USE bool metrics_json(struct json *j, str text, const struct regex *pattern, struct err *err);
