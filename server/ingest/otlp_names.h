/* otlp_names.h - OTLP names as Prometheus and Loki spell them. Source of the rules: Prometheus'
 * OTLP receiver with its default translation (underscores, suffixes) and Loki's OTLP endpoint. All
 * results live in the arena or borrow. */
#pragma once

#include "storage/model/labels.h"

/* Metric name with unit and type suffixes: tokens of [a-zA-Z0-9:], unit words, "total" for
 * monotonic sums, "ratio" for gauges of unit 1. Empty when nothing is left of the name. */
str otlp_metric_name(struct arena *a, str name, str unit, bool is_monotonic, bool is_gauge);
/* The unit as words: "ms" -> "milliseconds", "By/s" -> "bytes_per_second"; for metadata. */
str otlp_unit_words(struct arena *a, str unit);
/* Label of a metric: other characters become '_' each, a leading digit gets "key_", one leading '_'
 * gets "key". */
str otlp_label_name(struct arena *a, str name);
/* Loki's label and metadata names: runs of other characters become one '_', a leading digit gets
 * "key_", __x__ stays so. Empty when there is no letter or digit. */
str loki_label_name(struct arena *a, str name);
