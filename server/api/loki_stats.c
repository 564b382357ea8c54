/* loki_stats.c - the "stats" object of Loki's answers, in its whole shape: Grafana's query
 * inspector and `logcli --stats` show every number of it.
 *
 * What a query here counts stands where Loki counts the same: lines and bytes of the head as those
 * of the ingester, of segments as those of the store, blocks as chunks. Distributed parts, caches
 * of answers and bloom gateways do not exist here, so their numbers are 0, as in a Loki without
 * them. */
#include "server/api/loki_priv.h"

struct number {
    const char *name;
    uint64_t value;
};

static void kv(struct json *j, const char *name, int64_t value)
{
    json_key(j, str_c(name));
    json_i64(j, value);
}

static void write_numbers(struct json *j, const struct number *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kv(j, v[i].name, (int64_t)MIN(v[i].value, (uint64_t)INT64_MAX));
}

static void begin(struct json *j, const char *name)
{
    json_key(j, str_c(name));
    json_object(j);
}

static void seconds(struct json *j, const char *name, int64_t ns)
{
    json_key(j, str_c(name));
    json_f64(j, (double)ns / 1e9);
}

static void flag(struct json *j, const char *name)
{
    json_key(j, str_c(name));
    json_bool(j, false);
}

static void summary(struct json *j, const struct api_call *c, int64_t took_ns, size_t entries)
{
    const struct scan_stats *s = &c->q.scan;
    double took = (double)MAX(took_ns, 1) / 1e9;
    const struct number before[] = {
        {"bytesProcessedPerSecond", (uint64_t)((double)s->bytes / took)},
        {"linesProcessedPerSecond", (uint64_t)((double)s->lines / took)},
        {"totalBytesProcessed", s->bytes},
        {"totalLinesProcessed", s->lines},
    };
    const struct number after[] = {
        {"subqueries", 0},
        {"totalEntriesReturned", entries},
        {"splits", 0},
        {"shards", 0},
        {"totalPostFilterLines", s->kept},
        {"totalStructuredMetadataBytesProcessed", 0}, // not counted apart from lines
    };
    begin(j, "summary");
    write_numbers(j, before, COUNTOF(before));
    seconds(j, "execTime", took_ns);
    seconds(j, "queueTime", c->req->waited_ns);
    write_numbers(j, after, COUNTOF(after));
    json_object_end(j);
}

/* Lines and bytes of one of the two places. */
struct place {
    uint64_t blocks, read; // that could matter; that were decoded
    uint64_t head_lines, head_bytes, lines, bytes, kept;
};

static void dataobj(struct json *j)
{
    static const char *const names[] = {"prePredicateDecompressedRows",
                                        "prePredicateDecompressedBytes",
                                        "prePredicateDecompressedStructuredMetadataBytes",
                                        "postPredicateRows",
                                        "postPredicateDecompressedBytes",
                                        "postPredicateStructuredMetadataBytes",
                                        "postFilterRows",
                                        "pagesScanned",
                                        "pagesDownloaded",
                                        "pagesDownloadedBytes",
                                        "pageBatches",
                                        "totalRowsAvailable",
                                        "totalPageDownloadTime"};
    begin(j, "dataobj");
    for (size_t i = 0; i < COUNTOF(names); i++)
        kv(j, names[i], 0);
    json_object_end(j);
}

static void store(struct json *j, const struct place *p)
{
    const struct number chunks[] = {
        {"totalChunksRef", p->blocks},
        {"totalChunksDownloaded", p->read},
        {"chunksDownloadTime", 0}, // reading and decoding are one
    };
    const struct number chunk[] = {
        {"headChunkBytes", p->head_bytes},
        {"headChunkLines", p->head_lines},
        {"decompressedBytes", p->bytes},
        {"decompressedLines", p->lines},
        {"compressedBytes", 0},
        {"totalDuplicates", 0},
        {"postFilterLines", p->kept},
        {"headChunkStructuredMetadataBytes", 0},
        {"decompressedStructuredMetadataBytes", 0},
    };
    const struct number rest[] = {
        {"chunkRefsFetchTime", 0},
        {"congestionControlLatency", 0},
        {"pipelineWrapperFilteredLines", 0},
    };
    begin(j, "store");
    write_numbers(j, chunks, COUNTOF(chunks));
    flag(j, "queryReferencedStructuredMetadata");
    flag(j, "queryUsedV2Engine");
    begin(j, "chunk");
    write_numbers(j, chunk, COUNTOF(chunk));
    json_object_end(j);
    write_numbers(j, rest, COUNTOF(rest));
    dataobj(j);
    json_object_end(j);
}

static void ingester(struct json *j, const struct place *p)
{
    const struct number numbers[] = {
        {"totalReached", 0}, // the one process is none of them
        {"totalChunksMatched", 0},
        {"totalBatches", 0},
        {"totalLinesSent", 0},
    };
    begin(j, "ingester");
    write_numbers(j, numbers, COUNTOF(numbers));
    store(j, p);
    json_object_end(j);
}

static void caches(struct json *j)
{
    static const char *const names[] = {
        "chunk",        "index",        "result",      "statsResult",
        "volumeResult", "seriesResult", "labelResult", "instantMetricResult"};
    static const struct number none[] = {{"entriesFound", 0},  {"entriesRequested", 0},
                                         {"entriesStored", 0}, {"bytesReceived", 0},
                                         {"bytesSent", 0},     {"requests", 0},
                                         {"downloadTime", 0},  {"queryLengthServed", 0}};
    begin(j, "cache");
    for (size_t i = 0; i < COUNTOF(names); i++) {
        begin(j, names[i]);
        write_numbers(j, none, COUNTOF(none));
        json_object_end(j);
    }
    json_object_end(j);
}

static void index_numbers(struct json *j, const struct place *stored)
{
    const struct number numbers[] = {
        {"totalChunks", stored->blocks},
        {"postFilterChunks", stored->read},
        {"shardsDuration", 0},
    };
    const struct number rest[] = {
        {"totalStreams", 0},
        {"chunkRefsLookupTime", 0},
        {"bloomFilterTime", 0},
    };
    begin(j, "index");
    write_numbers(j, numbers, COUNTOF(numbers));
    flag(j, "usedBloomFilters");
    write_numbers(j, rest, COUNTOF(rest));
    json_object_end(j);
}

void loki_write_stats(struct json *j, struct api_call *c, int64_t started_ns, size_t entries)
{
    const struct scan_stats *s = &c->q.scan;
    int64_t took_ns = clock_mono_ns(c->svc->clock) - started_ns;
    // What came through is not told apart: it counts where lines were read at all.
    const struct place stored = {
        .blocks = s->blocks - s->head_blocks + s->blocks_skipped,
        .read = s->blocks - s->head_blocks,
        .lines = s->lines - s->head_lines,
        .bytes = s->bytes - s->head_bytes,
        .kept = s->lines > s->head_lines ? s->kept : 0,
    };
    const struct place head = {
        .head_lines = s->head_lines,
        .head_bytes = s->head_bytes,
        .kept = s->kept - stored.kept,
    };
    begin(j, "stats");
    summary(j, c, took_ns, entries);
    begin(j, "querier");
    store(j, &stored);
    seconds(j, "querierExecTime", took_ns);
    json_object_end(j);
    ingester(j, &head);
    caches(j);
    index_numbers(j, &stored);
    json_object_end(j);
}
