/* otlp_names.h - OTLP names as Prometheus and Loki spell them. Source of the rules: Prometheus'
 * OTLP receiver with its translation strategies and Loki's OTLP endpoint. All results live in the
 * arena or borrow. */
#pragma once

#include "storage/model/labels.h"

/* Prometheus' translation_strategy, in the order of ingest.otlp_names. */
enum otlp_naming {
    NAMING_UNDERSCORES,       // UnderscoreEscapingWithSuffixes
    NAMING_UNDERSCORES_PLAIN, // UnderscoreEscapingWithoutSuffixes
    NAMING_UTF8,              // NoUTF8EscapingWithSuffixes
    NAMING_RAW                // NoTranslation
};
static inline bool otlp_naming_escapes(enum otlp_naming n)
{
    return n == NAMING_UNDERSCORES || n == NAMING_UNDERSCORES_PLAIN;
}

/* Metric name with unit and type suffixes: tokens of [a-zA-Z0-9:], unit words, "total" for
 * monotonic sums, "ratio" for gauges of unit 1 (NAMING_UNDERSCORES); the others as the strategies
 * say. Empty when nothing is left of the name. */
str otlp_metric_name(struct arena *a, enum otlp_naming naming, str name, str unit,
                     bool is_monotonic, bool is_gauge);
/* The unit as words: "ms" -> "milliseconds", "By/s" -> "bytes_per_second"; for metadata. */
str otlp_unit_words(struct arena *a, str unit);
/* Label of a metric: other characters become '_' each (join: a run becomes one), a leading digit
 * gets "key_", one leading '_' gets "key" (not with keep_leading). */
str otlp_label_name(struct arena *a, str name, bool keep_leading, bool join);
/* Loki's label and metadata names: runs of other characters become one '_', a leading digit gets
 * "key_", __x__ stays so. Empty when there is no letter or digit. */
str loki_label_name(struct arena *a, str name);
