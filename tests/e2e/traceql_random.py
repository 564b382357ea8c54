"""Random TraceQL over random traces: the server's answers against the naive evaluator of traceql_naive.py.

    traceql_random.py [SEED [QUERIES]]     (default: TRACEQL_SEED, TRACEQL_QUERIES, or 1, 400: some seconds)

The spans of a trace come in several requests, in any order. A search must give the same spansets, metrics the same
series, times and values. The second half is asked after a restart. On a difference the query and both are printed."""

import base64
import json
import math
import os
import random
import sys
import time
import urllib.parse

from harness import Server
from traceql_naive import S, encode, hashable, make_traces, series_key
from traceql_naive_more import COMPARED, SELECTED, MoreQueries, any_value, facts_of, legacy, names_of, part_of

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


def check_facts(server, queries, traces, start):
    """Of the traces that a search finds, and the attributes that it was asked to add to their spans."""
    text, find = queries.search()
    fields = queries.r.sample(list(SELECTED), queries.r.randrange(1, 4))
    answer = server.get("/api/search", {"q": f"{text} | select({', '.join(fields)})", "start": start - 10, "end": start + 20,
                                        "limit": 1000, "spss": 0})
    got = {t["traceID"].lstrip("0"): t for t in answer["traces"]}
    times = [int(t["startTimeUnixNano"]) for t in answer["traces"]]
    assert times == sorted(times, reverse=True), text
    for spans in traces:
        t = got.pop(spans[0].trace_id.lstrip("0"), None)
        assert (t is not None) == bool(find(spans)), f"{text}\n{spans[0].trace_id}"
        if t is None:
            continue
        have = {"rootTraceName": "", "durationMs": 0,
                **{k: t[k] for k in t if k in ("rootServiceName", "rootTraceName", "startTimeUnixNano", "durationMs")},
                "serviceStats": {k: [v["spanCount"], v.get("errorCount", 0)] for k, v in t["serviceStats"].items()}}
        assert have == facts_of(spans), f"{text}\n{have}\n{facts_of(spans)}"
        assert t["spanSet"] == t["spanSets"][0], text
        by_id = {s.span_id: s for s in spans}
        for one in (one for group in t["spanSets"] for one in group["spans"]):
            s, have = by_id[one["spanID"]], {a["key"]: a["value"] for a in one.get("attributes", [])}
            assert (int(one["startTimeUnixNano"]), int(one.get("durationNanos", 0))) == (s.start, s.duration), text
            for key, get in (SELECTED[f] for f in fields):
                want = get(s)
                if want is not None and have.get(key) != any_value(want):  # a filter may name another scope's
                    assert key in ("n", "m") and have.get(key), f"{text} select {fields}: {key} of {s.span_id}: {have}, not {want}"
    assert not got, text


def check_values(server, queries, traces, start):
    field, text, run = queries.values()
    answer = server.get(f"/api/v2/search/tag/{urllib.parse.quote(field)}/values", {"q": text, "start": start - 10, "end": start + 20})
    got = {(v["type"], v["value"]) for v in answer["tagValues"]}
    assert got == run(traces), f"{field} {text}\ngot  {sorted(got)}\nwant {sorted(run(traces))}"


def check_limit(server, queries, traces, start):
    """The newest with the hint, as many without."""
    text, find = queries.search()
    limit, hint, spss = queries.r.randrange(1, 8), queries.r.random() < 0.6, queries.r.randrange(1, 4)
    answer = server.get("/api/search", {"q": text + (" with(most_recent=true)" if hint else ""), "start": start - 10,
                                        "end": start + 20, "limit": limit, "spss": spss})
    starts = {spans[0].trace_id.lstrip("0"): min(s.start for s in spans) for spans in traces if find(spans)}
    got = [t["traceID"].lstrip("0") for t in answer["traces"]]
    assert len(got) == len(set(got)) == min(limit, len(starts)) and set(got) <= set(starts), f"{text} {limit}\n{got}\n{starts}"
    if hint:
        want = sorted(starts.values(), reverse=True)[:limit]
        assert [starts[t] for t in got] == want, f"{text} {limit}\n{got}\n{starts}"
    for g in (g for t in answer["traces"] for g in t["spanSets"]):
        assert len(g["spans"]) == min(spss, g["matched"]), text


def check_legacy(server, r, traces, start):
    tags, parameters, found = legacy(r)
    answer = server.get("/api/search", {"tags": tags, **parameters, "start": start - 10, "end": start + 20, "limit": 1000})
    got = {t["traceID"].lstrip("0") for t in answer["traces"]}
    want = {spans[0].trace_id.lstrip("0") for spans in traces if found(spans)}
    assert got == want, f"{tags} {parameters}\ngot  {got - want}\nwant {want - got}"


def check_part(server, queries, traces):
    """A trace by its id, and what of it a filter leaves."""
    r = queries.r
    text, f = queries.filter()
    spans, above, below = r.choice(traces), r.choice([0, 1, 2, 99]), r.choice([0, 0, 1, 2])
    parameters = {"q": text, "match_depth": below}
    if above:
        parameters.update({"keep_hierarchy": "true", **({} if above == 99 else {"ancestor_depth": above})})
    answer = server.get(f"/api/v2/traces/{spans[0].trace_id}", parameters)
    got = sorted(base64.b64decode(s["spanId"]).hex() for b in answer["trace"].get("resourceSpans", [])
                 for scope in b["scopeSpans"] for s in scope["spans"])
    want = part_of(spans, f(spans), above, below)
    assert got == want, f"{spans[0].trace_id} {parameters}\ngot  {got}\nwant {want}"


def check_names(server, queries, traces, start):
    text, f = queries.condition(queries.r.randrange(2))
    answer = server.get("/api/v2/search/tags", {"q": f"{{ {text} }}", "start": start - 10, "end": start + 20})
    got = {s["name"]: sorted(s["tags"]) for s in answer["scopes"] if s["name"] != "intrinsic"}
    want = names_of([s for spans in traces for s in spans], f)
    assert got == want, f"{text}\ngot  {got}\nwant {want}"


def label(value):
    (kind, v), = value.items()
    if kind == "arrayValue":
        return hashable([label(x) for x in v["values"]])
    return int(v) if kind == "intValue" else float(v) if kind == "doubleValue" else v


def read_series(answer, end, is_instant):
    out = {}
    for s in answer["series"]:
        key = series_key([(x["key"], label(x["value"])) for x in s["labels"]])
        assert key not in out, f"twice: {key}"
        out[key] = {end: s.get("value", 0)} if is_instant else \
            {int(x["timestampMs"]) // 1000: x.get("value", 0) for x in s.get("samples", [])}
    return out


def check_metrics(server, r, queries, traces, start, what):
    text, run = {"metrics": queries.metrics, "math": queries.math, "compare": queries.compare}[what]()
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
    want = run(traces, cells, cell_of) if what == "compare" else run(traces, cells, cell_of, seconds)
    if want is None:
        return False
    params = {"q": text, "start": start, "end": end}
    answer = server.get("/api/metrics/query" if is_instant else "/api/metrics/query_range",
                        params if is_instant else {**params, "step": f"{step}s", "exemplars": 0})
    got = read_series(answer, end, is_instant)
    if what == "compare":
        got = {k: v for k, v in got.items() if any(name in COMPARED for name, _, _ in k)}
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
    queries, unsure = MoreQueries(r), 0
    with Server("--generator-enabled", "false") as server:
        send(server, r, traces)
        for i in range(n):
            if i == n // 2:
                server.process.terminate()
                server.process.wait()
                server.start()
            kind = i % 12
            if kind in (0, 3):
                check_search(server, queries, traces, start)
            elif kind == 5:
                check_facts(server, queries, traces, start)
            elif kind == 6:
                check_values(server, queries, traces, start)
            elif kind == 8:
                check_limit(server, queries, traces, start)
            elif kind == 9:
                check_legacy(server, r, traces, start)
            elif kind == 10:
                check_part(server, queries, traces)
            elif kind == 11:
                check_names(server, queries, traces, start)
            elif not check_metrics(server, r, queries, traces, start, {2: "math", 4: "compare"}.get(kind, "metrics")):
                unsure += 1
    print(f"seed {seed}: {n} queries over {sum(map(len, traces))} spans, {unsure} of them left out for ties")


if __name__ == "__main__":
    main()
