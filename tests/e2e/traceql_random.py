"""Random TraceQL over random traces: the server's answers against the naive evaluator of traceql_naive.py.

    traceql_random.py [SEED [QUERIES]]     (default: TRACEQL_SEED, TRACEQL_QUERIES, or 1, 400: some seconds)

The spans of a trace come in several requests, in any order. A search must give the same spansets, metrics the same
series, times and values. The second half is asked after a restart. On a difference the query and both are printed."""

import json
import math
import os
import random
import sys
import time

from harness import Server
from traceql_naive import S, Queries, encode, make_traces, series_key

TRACES = 60
REQUESTS = 4
CLOSE = 1e-9  # of the larger value, or of 1


def send(server, r, traces):
    requests = [[] for _ in range(REQUESTS)]
    for spans in traces:
        for s in spans:
            r.choice(requests).append(s)
    for spans in requests:
        status, body, _ = server.ask("/v1/traces", data=json.dumps(encode(spans)).encode(),
                                     headers={"Content-Type": "application/json"})
        assert (status, body) == (200, b"{}"), (status, body)


def check_search(server, queries, traces, start):
    text, find = queries.search()
    want = {}
    for spans in traces:
        groups = find(spans)
        if groups:
            want[spans[0].trace_id.lstrip("0")] = sorted(sorted(s.span_id for s in g) for g in groups)
    answer = server.get("/api/search", {"q": text, "start": start - 10, "end": start + 20, "limit": 1000, "spss": 0})
    got = {t["traceID"].lstrip("0"): sorted(sorted(s["spanID"] for s in g["spans"]) for g in t["spanSets"])
           for t in answer["traces"]}
    for g in (g for t in answer["traces"] for g in t["spanSets"]):
        assert g["matched"] == len(g["spans"]), text
    for t in sorted(set(got) | set(want)):
        assert got.get(t) == want.get(t), f"{text}\ntrace {t}\ngot  {got.get(t)}\nwant {want.get(t)}"


def label(value):
    (kind, v), = value.items()
    return int(v) if kind == "intValue" else float(v) if kind == "doubleValue" else v


def read_series(answer, end, is_instant):
    out = {}
    for s in answer["series"]:
        key = series_key([(x["key"], label(x["value"])) for x in s["labels"]])
        assert key not in out, f"twice: {key}"
        out[key] = {end: s.get("value", 0)} if is_instant else \
            {int(x["timestampMs"]) // 1000: x.get("value", 0) for x in s.get("samples", [])}
    return out


def check_metrics(server, r, queries, traces, start):
    text, run = queries.metrics()
    step, start, is_instant = r.choice([1, 2, 3, 5, 7]), start + r.randrange(-3, 3), r.random() < 0.25
    end = start + r.randrange(2, 10)
    if is_instant:
        cells, seconds = [end], end - start

        def cell_of(ns):
            return end if start * S <= ns <= end * S else None
    else:
        first, last, seconds = start // step * step, math.ceil(end / step) * step, step
        cells = list(range(first, last + 1, step))

        def cell_of(ns):  # a cell is named by its end, which belongs to it
            cell = -(-ns // (step * S)) * step
            return cell if first <= cell <= last else None
    want = run(traces, cells, cell_of, seconds)
    if want is None:
        return False
    params = {"q": text, "start": start, "end": end}
    answer = server.get("/api/metrics/query" if is_instant else "/api/metrics/query_range",
                        params if is_instant else {**params, "step": f"{step}s", "exemplars": 0})
    got = read_series(answer, end, is_instant)
    for key in sorted(set(got) | set(want), key=str):
        g, w = got.get(key), want.get(key)
        same = g is not None and w is not None and set(g) == set(w) and \
            all(abs(g[c] - w[c]) <= CLOSE * max(1, abs(g[c]), abs(w[c])) for c in g)
        assert same, f"{text} of {start}..{end} by {step}\nseries {key}\ngot  {g}\nwant {w}"
    return True


def main():
    seed = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TRACEQL_SEED", "1"))
    n = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TRACEQL_QUERIES", "400"))
    r = random.Random(seed)
    start = int(time.time()) - 600
    traces = make_traces(r, start * S, TRACES)
    queries, unsure = Queries(r), 0
    with Server("--generator-enabled", "false") as server:
        send(server, r, traces)
        for i in range(n):
            if i == n // 2:
                server.process.terminate()
                server.process.wait()
                server.start()
            if i % 2 == 0:
                check_search(server, queries, traces, start)
            elif not check_metrics(server, r, queries, traces, start):
                unsure += 1
    print(f"seed {seed}: {n} queries over {sum(map(len, traces))} spans, {unsure} of them left out for ties")


if __name__ == "__main__":
    main()
