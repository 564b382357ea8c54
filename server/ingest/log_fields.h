/* log_fields.h - fields that Loki derives for log entries: service_name of a stream, detected_level
 * of an entry. */
#pragma once

#include "storage/model/labels.h"

/* service_name from the stream's labels (service, app, container, ...), or "unknown_service". */
str detect_service_name(struct labels stream);
/* Which values tell the level of an entry: names say that, so entries of the same names need ask
 * only once. */
struct level_source {
    const str *field;  // of a level field; NULL: there is none
    const str *number; // of severity_number
};
/* Stream labels first, then metadata in parts; of equal names a later part's counts, empty values
 * do not. Points into the sets. */
struct level_source level_source(struct labels stream, const struct labels *meta, size_t n_parts);
/* The level by these values, else by the line; as detect_level. */
str level_by(const str *field, const str *number, str line);
/* The level of an entry: from stream labels, then metadata (severity_number too), else the line;
 * "unknown" when nothing tells. Metadata comes in parts; of equal names a later part's counts.
 * Static text, or a borrowed value that is not a known level. */
str detect_level(struct labels stream, const struct labels *meta, size_t n_parts, str line);
