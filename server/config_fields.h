/* config_fields.h - the one table of what can be configured; config.c reads and prints by it. */
#pragma once

#include "server/config.h"

enum field_type {
    FIELD_TEXT,
    FIELD_LIST,     // of texts; a stronger source replaces the whole list
    FIELD_COUNT,    // integer
    FIELD_SIZE,     // bytes: "64MiB"; "none" is 0 where the minimum is 0
    FIELD_DURATION, // ns: "15d", "1m30s"; "none" is 0 where the minimum is 0
    FIELD_LEVEL,    // log level
    FIELD_SYNC,     // sync mode
    FIELD_NAMES,    // how OTLP names are translated
    FIELD_DELTA,    // what becomes of delta points
    FIELD_RATE,     // bytes a day: "500M/day"; "none" is 0
    FIELD_CLASSES,  // config_classes.h; a stronger source replaces the whole list
    FIELD_SWITCH,   // true or false
};

struct field {
    const char *path;
    enum field_type type;
    size_t offset;
    const char *value; // the default
    uint64_t min, max; // of numbers, in bytes or ns
    bool is_live;      // a reload changes it
    const char *help;
};

#define CONFIG_FIELDS_MAX 256

extern const struct field config_fields[];
extern const size_t n_config_fields; // at most CONFIG_FIELDS_MAX
