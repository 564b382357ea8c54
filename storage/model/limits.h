/* limits.h - every limit of the product: number, unit, reason, what happens beyond it.
 *
 * Limits that belong to one type sit beside it (VALUE_DEPTH_MAX in value.h, HIST_BUCKETS_MAX in
 * hist.h, JSON_DEPTH_MAX in base/json_write.h, REGEX_SET_MAX in base/regex.h); everything else is
 * here. Rules of invalid UTF-8: what names a thing (label names, values of series labels) is
 * refused, because a repair could make one series of two; what is content (log lines, values of
 * stream labels and metadata, attributes, span names) is repaired with U+FFFD. */
#pragma once

#include "storage/base/base.h"

/* ---- labels: refused with the record, counted, first reason told ---- */

/* Bytes of a label name. Loki's default, and 16 times what the semantic conventions need. */
#define LIMIT_LABEL_NAME      1024
#define LIMIT_LABEL_NAME_TEXT "label name longer than 1024 bytes"
/* Bytes of a label value of series and streams. Loki stops at 2048; OTLP resource attributes such
 * as process.command_args are longer now and then. */
#define LIMIT_LABEL_VALUE      4096
#define LIMIT_LABEL_VALUE_TEXT "label value longer than 4096 bytes"
/* Labels of one series or stream. OTLP metrics with promoted resource attributes reach about 40;
 * beyond 128 somebody puts data into labels. */
#define LIMIT_LABELS      128
#define LIMIT_LABELS_TEXT "more than 128 labels"

/* Bytes of the reasons that remote write 2.0 hears, one for each refused record: an answer that
 * nobody reads to its end must not take a request's memory. */
#define LIMIT_REASONS (16 * KIB)

/* ---- log records ---- */

/* Bytes of a line; larger lines are refused (Loki: 256 KB). One block must hold several. */
#define LIMIT_LINE      MIB
#define LIMIT_LINE_TEXT "log line longer than 1 MiB"
/* Entries and bytes (names and values) of one line's structured metadata; more is refused. */
#define LIMIT_META_ENTRIES      256
#define LIMIT_META_ENTRIES_TEXT "more than 256 structured metadata entries"
#define LIMIT_META_BYTES        (64 * KIB)
#define LIMIT_META_BYTES_TEXT   "structured metadata larger than 64 KiB"

/* ---- spans and attributes: cut and counted in dropped_*, never a reason to lose the span ---- */

/* Attributes of one resource, scope, span, event or link. OTLP SDKs stop at 128. */
#define LIMIT_ATTRS 1024
/* Bytes of an attribute key; longer keys drop the attribute. */
#define LIMIT_ATTR_KEY 1024
/* Bytes of a string or bytes value, of span names, status messages and the like; longer ones are
 * cut at a UTF-8 border. Stack traces fit. */
#define LIMIT_ATTR_VALUE (64 * KIB)
/* Events and links of one span; the first ones stay. */
#define LIMIT_SPAN_EVENTS 1024
#define LIMIT_SPAN_LINKS  1024
/* Lists of keys of one request's spans that get a number (struct span's `shape`); tables by it are
 * a few KiB. Spans with other lists go the slower way. */
#define LIMIT_SPAN_SHAPES 4096

/* ---- metric metadata and exemplars ---- */

/* Bytes of a metric's help text; longer ones are cut at a UTF-8 border. */
#define LIMIT_META_HELP 4096
/* Labels of one exemplar, and bytes of all of them. OpenMetrics says 128 characters; OTLP's
 * filtered attributes need more. Larger ones are refused. */
#define LIMIT_EXEMPLAR_LABELS 32
#define LIMIT_EXEMPLAR_BYTES  2048
#define LIMIT_EXEMPLAR_TEXT   "exemplar labels above 32 entries or 2048 bytes"

/* ---- text made of values ---- */

/* Bytes of one attribute value written as text (lists and maps as JSON): far above LIMIT_LINE, so
 * that its check is the one that speaks; bounds the scratch buffer only. */
#define LIMIT_VALUE_TEXT (64 * MIB)

/* ---- network (sizes that the configuration sets have their defaults in server/config.c) ---- */

/* Bytes of an answer that is collected before it is sent: with a length, without holding a worker
 * while the client reads. Longer ones are streamed with back-pressure. */
#define LIMIT_REPLY (8 * MIB)
/* A piece of an answer on its way from worker to loop, and how many may wait once an answer is
 * streamed: bounds a slow client's memory to 256 KiB. */
#define LIMIT_REPLY_PIECE  (64 * KIB)
#define LIMIT_REPLY_PIECES 4
/* Answers below this are not worth gzip: one TCP segment either way. */
#define LIMIT_GZIP_MIN 1400
/* Bytes of a body that must come within each net.body_timeout, or its end: about 550 bytes a second
 * with the default. A byte now and then would hold memory that others need. */
#define LIMIT_BODY_STEP (16 * KIB)
/* Bytes of a body without end that wait while those before them are handled; beyond, the socket is
 * not read. */
#define LIMIT_BODY_PART (256 * KIB)
/* Header fields of a request; beyond: 431. Browsers and proxies send some thirty. */
#define LIMIT_HEADERS 256
/* Bytes taken from a pipelining client while its first request is being answered; beyond, the
 * socket is not read. */
#define LIMIT_PIPELINE (64 * KIB)
/* Bytes of one message that a WebSocket client sends; beyond: close code 1009. Tails want none. */
#define LIMIT_WS_MESSAGE (64 * KIB)
/* A WebSocket client that is pinged every second and says nothing for so long is gone. */
#define LIMIT_WS_SILENT_MS 60000
/* Streams of one HTTP/2 connection at a time: what gRPC libraries expect at least is 100. */
#define LIMIT_H2_STREAMS 128
/* Stream and connection windows of HTTP/2: an upload of 16 MiB waits for few window updates. */
#define LIMIT_H2_WINDOW      MIB
#define LIMIT_H2_CONN_WINDOW (4 * MIB)
/* Resets by the client that are not paid back by finished streams: then the connection ends with
 * ENHANCE_YOUR_CALM ("rapid reset"). */
#define LIMIT_H2_RESETS 256
/* Tails of one tenant at a time; ERR_LIMIT. Loki's default. */
#define LIMIT_TAILS 10
/* Bytes of what one look of a tail sends at most, and bytes that its client has not taken yet above
 * which nothing new is made for it: what is more is dropped, and told. About 1 MiB per client. */
#define LIMIT_TAIL_BYTES (512 * KIB)
#define LIMIT_TAIL_QUEUE (512 * KIB)
/* Entries of one look, and of those dropped that are told one by one. */
#define LIMIT_TAIL_ENTRIES 10000
#define LIMIT_TAIL_DROPPED 1000
/* How long a tail may last. Loki's default of tail_max_duration. */
#define LIMIT_TAIL_NS (3600 * NS_PER_S)
/* Generations whose memory one tail keeps while nobody reads it; beyond, the oldest is let go and
 * its reader told. Reads come five times a second, generations once in minutes. */
#define LIMIT_TAIL_PINS 4
/* Tenants that one query of the Loki API asks together (X-Scope-OrgID: a|b): 400 beyond. Each is
 * read after the other. */
#define LIMIT_QUERY_TENANTS 64
/* Bytes of one syslog message; what is behind them is cut. Eight times what RFC 5424 asks for. */
#define LIMIT_SYSLOG_MESSAGE (64 * KIB)
#define LIMIT_JOURNAL_PACKED \
    (2 * GIB) // bytes of a compressed journal that wait: above any net.max_body
/* Connections of syslog senders; more are closed at once. Each may hold one unfinished message. */
#define LIMIT_SYSLOG_CONNECTIONS 1000
/* Bytes of syslog messages that wait to be stored: above, datagrams are dropped (and counted), and
 * connections are not read. */
#define LIMIT_SYSLOG_WAITING (4 * MIB)
/* URL query and form parameters of one request: 400 beyond. Grafana's longest has some hundred. */
#define LIMIT_PARAMS 10000
/* Bytes discarded, and time waited, after an answer that closes a connection whose request is still
 * arriving, so that the client reads the answer before it sees the close. */
#define LIMIT_LINGER_BYTES (64 * MIB)
#define LIMIT_LINGER_MS    2000

/* ---- storage/base: readers of foreign text ---- */

/* Backtracking steps of one regex match, plus a share per subject byte so that long lines can be
 * scanned at all. A hostile pattern costs about 0.2 ms (JIT) or 0.9 ms until it is ERR_LIMIT. */
#define LIMIT_REGEX_STEPS          100000
#define LIMIT_REGEX_STEPS_PER_BYTE 4
/* KiB of backtracking memory of one match without JIT; beyond: ERR_LIMIT. */
#define LIMIT_REGEX_HEAP_KIB 32768
/* Bytes of one pattern: a dashboard variable with a few thousand values fits; beyond: ERR_LIMIT. */
#define LIMIT_REGEX_PATTERN ((size_t)256 * 1024)
/* Nesting of groups in one pattern (the parser recurses once a level); beyond: ERR_INVALID. */
#define LIMIT_REGEX_DEPTH 200
/* RE2's own bound on x{n,m}, nested counts multiplied; beyond: ERR_INVALID. */
#define LIMIT_REGEX_REPEAT 1000
/* Nesting of a JSON text that is read: one bit a level in the reader; beyond: a reader error. */
#define LIMIT_JSON_DEPTH 64
/* log2 of the largest zstd window that a foreign frame may ask for: 8 MiB, RFC 8878's advice. */
#define LIMIT_ZSTD_WINDOW_LOG 23

/* Bytes of one query's text, so that positions fit 32 bits and trees stay in proportion; ERR_LIMIT.
 * Generated dashboards reach some ten KiB. */
#define LIMIT_QUERY_TEXT MIB

/* ---- queries: defaults of struct query_limits, all settable ---- */

/* Bytes of one query's arena; ERR_LIMIT. Half of the default memory ceiling. */
#define LIMIT_QUERY_MEMORY (128 * MIB)
/* Samples that one query loads; ERR_LIMIT with Prometheus' text. Prometheus' default. */
#define LIMIT_QUERY_SAMPLES 50000000
/* Series of one result; the memory limit is the one that protects, this keeps replies usable. */
#define LIMIT_QUERY_SERIES 100000
/* Wall time of one query; ERR_TIMEOUT. Prometheus' default. */
#define LIMIT_QUERY_TIMEOUT_NS (120 * NS_PER_S)
/* How far an instant selector looks back. Prometheus' default. */
#define QUERY_LOOKBACK_MS (5 * 60 * MS_PER_S)
/* Log lines of one reply. Loki's default. */
#define LIMIT_QUERY_ENTRIES 5000
/* Lines that one question for patterns reads; the counts of more are estimated. */
#define LIMIT_PATTERN_LINES 48000
/* Clusters of one level while patterns are sought, and patterns of one answer. Loki's numbers. */
#define LIMIT_PATTERNS 300
/* Points per series of a range query. Prometheus' number. */
#define LIMIT_QUERY_STEPS 11000
/* Distinct warnings and infos that are kept; the APIs show 10 of each. */
#define LIMIT_QUERY_NOTES 1000
/* Spans that a selection remembers to know copies of them: a head full, 4 MiB. */
#define LIMIT_QUERY_REPEATS 131072

/* ---- storage: label tables and metrics ---- */

/* Decoded bytes of one blob of 256 label sets in a segment: 256 x LIMIT_LABELS x the longest pair
 * fits, so that nothing accepted can fail to seal. */
#define LIMIT_LABEL_BLOB (256 * MIB)
/* Exemplars of one tenant's generation; more are left out (counted by the head, no fault of the
 * sender's). 200 bytes each, about 20 MiB at most. */
#define LIMIT_HEAD_EXEMPLARS 100000
/* Raw names that are remembered per living series (16 bytes each): one for each sender of it, and
 * those of processes that were restarted since. Beyond it old ones are forgotten. */
#define LIMIT_RAW_PER_SERIES 8
/* Decoded bytes of one metrics batch in the log: above what a 64 MiB request can need. */
#define LIMIT_METRICS_LOG (192 * MIB)

/* ---- OTLP: totals of delta series ---- */

/* Without a point for so long a total is forgotten: export intervals are a minute, rarely ten. The
 * next point begins a new one, with a start time. */
#define DELTA_IDLE_NS (3600 * NS_PER_S)
/* Buckets of the total of an exponential histogram; beyond, its resolution is halved. SDKs stop at
 * 160 in one interval. */
#define DELTA_BUCKETS_MAX 320

/* ---- query languages ---- */

/* Nesting of an expression, counted in grammar rules entered by parser and evaluator: a stack of
 * some hundred KiB at most. Refused as a parse error. Hand-written queries stay below 20. */
#define LIMIT_AST_DEPTH 300

/* ---- TraceQL ---- */

/* Different attributes in one query: each is up to five columns that every block must give. */
#define LIMIT_TRACEQL_FIELDS 500
/* Intervals of one metrics query; more is refused, as by Tempo. */
#define LIMIT_TRACEQL_STEPS 10000
/* Exemplars of one metrics query: Tempo's ceiling. */
#define LIMIT_TRACEQL_EXEMPLARS 100
/* Distinct values of one attribute that compare() counts apart; the rest is in the totals only. */
#define LIMIT_COMPARE_VALUES 10000
/* Attributes that compare() looks at. */
#define LIMIT_COMPARE_ATTRS 1000

/* ---- LogQL ---- */

/* Bytes of one query. Loki's number. */
#define LIMIT_LOGQL_QUERY 131072
/* Bytes of lines that are a section of time for a thread of its own, at least: at its ends it
 * decodes blocks that its neighbour decodes, too. */
#define LIMIT_LOGQL_SECTION (128 * MIB)

/* ---- storage engine ---- */

/* Retention classes of a store, all signals together: each makes files of its own at every seal, so
 * a dozen is what a small disk bears. The configuration is refused beyond. */
#define LIMIT_RETENTION_CLASSES 16
/* Bytes of a class's name: it is a folder's and a metric label's. */
#define LIMIT_CLASS_NAME 32
/* Matchers of one class; more is no selection any more. Refused. */
#define LIMIT_CLASS_MATCHERS 16

/* Deletions of one tenant that wait for their bytes to go: each is looked at for every file that a
 * query reads. Beyond: ERR_LIMIT, until some are done. */
#define LIMIT_DELETIONS 256
/* Deletions that are done and still listed. */
#define LIMIT_DELETIONS_DONE 64
/* Matchers and line filters of one deletion, each, and bytes of its texts. Refused. */
#define LIMIT_DELETION_PARTS 32
#define LIMIT_DELETION_TEXT  (32 * KIB)

/* Tenants of one store: each costs three heads. Beyond it ERR_LIMIT. */
#define LIMIT_TENANTS 4096
/* Frozen generations of one signal that wait for their seal; beyond it writes get ERR_BUSY, so that
 * memory stays bounded when sealing cannot keep up. */
#define LIMIT_FROZEN 8
/* Log bytes of one generation: bounds the time of a replay; beyond it the generation is frozen. */
#define LIMIT_GENERATION_LOG (512 * MIB)
/* Gathered log bytes of one signal before a group is cut: bounds the writer's memory. */
#define LIMIT_GROUP_BYTES (8 * MIB)
/* Interval mode: log bytes that are written and not yet synced, and how long a sync may run, before
 * writes get ERR_BUSY: what a power cut can take stays bounded on a disk that hangs. A slow card
 * needs a second for a few MiB. */
#define LIMIT_UNSYNCED_BYTES (64 * MIB)
#define LIMIT_SYNC_NS        (15 * NS_PER_S)
/* How far a write budget may stretch: the sync interval (what a power cut takes), the age of a head
 * and its size (replay at start; memory pressure seals earlier all the same), and small segments
 * that wait for their merge (each costs a query that touches it some 60 us). */
#define LIMIT_STRETCH_SYNC_NS (60 * NS_PER_S)
#define LIMIT_STRETCH_SEAL_NS (4 * 3600 * NS_PER_S)
#define LIMIT_STRETCH_SIZE    4
#define LIMIT_UNMERGED        500
/* Batches that wait for the writer. Lanes are few and each waits for its own, so this never fills
 * in the product. */
#define LIMIT_WRITER_QUEUE 1024
/* Of one run of a template over one line: nodes and calls; bytes of its output (what `repeat` and
 * padding may make, too); calls of {{template}} inside each other; patterns kept compiled. Beyond:
 * the line gets TemplateFormatErr. */
#define LIMIT_TEMPLATE_STEPS   100000
#define LIMIT_TEMPLATE_OUT     MIB
#define LIMIT_TEMPLATE_CALLS   50
#define LIMIT_TEMPLATE_REGEXES 32
#define LIMIT_TEMPLATE_ZONES   8          // time zones kept by one template
#define LIMIT_TZ_NAME          64         // bytes of a time zone's name; the longest has 32
#define LIMIT_TZ_FILE          (64 * KIB) // bytes of its file; the largest has 4 KiB

/* ---- derived metrics ---- */

/* Bytes of a label value made of a span's name or attributes; longer ones are cut at a UTF-8
 * border, as Tempo does. */
#define LIMIT_DERIVE_VALUE 2048
/* Bytes of all values of one label set: the most that names, values and dimensions can come to. */
#define LIMIT_DERIVE_KEY (256 * KIB)
/* One span stands for so many at most, whatever its sampler says: a wild ratio must not drown all
 * that was counted. */
#define LIMIT_DERIVE_WEIGHT 1e9
/* Spans that are remembered, so that a batch sent again is not counted again: some seconds at full
 * load, and 512 KiB. A power of two. */
#define LIMIT_DERIVE_SEEN 65536
/* Series of one write to the store: bounds its memory (some 300 KiB). */
#define LIMIT_DERIVE_WRITE 2048
