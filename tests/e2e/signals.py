"""Finds one order of the demo shop again in all three signals, the way Grafana's data sources ask."""

import base64
import json

from harness import now, until


def find_trace(server, trace_id, span_name):
    """Trace by id in both versions and both encodings, by TraceQL, and its tags."""

    def v2():
        trace = server.get(f"/api/v2/traces/{trace_id}", headers={"Accept": "application/json"})
        spans = [
            span for rs in trace["trace"].get("resourceSpans", []) for ss in rs["scopeSpans"] for span in ss["spans"]
        ]
        return spans if any(span["name"] == span_name for span in spans) else None

    spans = until(v2, f"trace {trace_id}")
    assert all(base64.b64decode(span["traceId"]).hex() == trace_id for span in spans)
    v1 = server.get(f"/api/traces/{trace_id}")
    assert sum(len(ss["spans"]) for batch in v1["batches"] for ss in batch["scopeSpans"]) == len(spans)
    status, body, headers = server.ask(f"/api/v2/traces/{trace_id}", headers={"Accept": "application/protobuf"})
    assert status == 200 and headers["Content-Type"] == "application/protobuf" and body[:1] == b"\x0a"

    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    status, body, _ = server.ask(f"/api/traces/{trace_id}", headers={"Accept": "application/protobuf"})
    data = TracesData.FromString(body)
    names = [span.name for rs in data.resource_spans for ss in rs.scope_spans for span in ss.spans]
    assert span_name in names and len(names) == len(spans)
    for rs in data.resource_spans:
        assert rs.HasField("resource") and any(a.key == "service.name" for a in rs.resource.attributes)
        for ss in rs.scope_spans:
            assert ss.HasField("scope") and all(span.HasField("status") for span in ss.spans)
    return spans


def search(server, query, trace_id):
    def check():
        found = server.get(
            "/api/search", {"q": query, "limit": 20, "spss": 3, "start": int(now()) - 900, "end": int(now()) + 60}
        )
        traces = {t["traceID"].zfill(32): t for t in found["traces"]}
        return traces.get(trace_id)

    return until(check, f"{query} to find {trace_id}")


def logs(server, query, trace_id):
    """Log lines of one trace by LogQL on structured metadata."""

    def check():
        reply = server.get(
            "/loki/api/v1/query_range",
            {
                "query": query,
                "limit": 100,
                "direction": "backward",
                "start": int((now() - 900) * 1e9),
                "end": int((now() + 60) * 1e9),
            },
            headers={"X-Loki-Response-Encoding-Flags": "categorize-labels"},
        )
        data = reply["data"]
        assert data["resultType"] == "streams" and data["encodingFlags"] == ["categorize-labels"]
        rows = [(stream["stream"], value) for stream in data["result"] for value in stream["values"]]
        return rows or None

    rows = until(check, query)
    for stream, value in rows:
        assert len(value) == 3 and value[2]["structuredMetadata"]["trace_id"] == trace_id, json.dumps(rows)[:500]
    return rows


def instant(server, query):
    reply = server.get("/api/v1/query", {"query": query, "time": now() + 1})
    assert reply["status"] == "success", reply
    return reply["data"]["result"]
