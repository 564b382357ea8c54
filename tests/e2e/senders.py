"""What other programs send, in their wire form: the shapes of tests/cases/http/senders.case as JSON, as gzipped protobuf over HTTP
and over gRPC (plain and gzipped) with the headers of these programs; each way has a tenant of its own and all see the same.

Then what Grafana's data source takes from it: strict JSON of searches, traces without a missing submessage, the service graph."""

import base64
import gzip
import json
import os
import re

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from harness import Server, now, until

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../cases/http/senders.case")
EPOCH = 1700000000  # the clock of the case files
SIGNALS = {
    "/v1/traces": (trace_service_pb2.ExportTraceServiceRequest, trace_service_pb2.ExportTraceServiceResponse, trace_service_pb2_grpc.TraceServiceStub),
    "/v1/metrics": (metrics_service_pb2.ExportMetricsServiceRequest, metrics_service_pb2.ExportMetricsServiceResponse, metrics_service_pb2_grpc.MetricsServiceStub),
    "/v1/logs": (logs_service_pb2.ExportLogsServiceRequest, logs_service_pb2.ExportLogsServiceResponse, logs_service_pb2_grpc.LogsServiceStub),
}
AGENTS = {
    "telemetrygen": "OTel OTLP Exporter Go/1.38.0 grpc-go/1.76.0",
    "xk6": "OpenTelemetry Collector/latest (linux/amd64) grpc-go/1.70.0",
    "Beyla": "OpenTelemetry Collector/latest (linux/amd64) grpc-go/1.73.0",
}
SEARCH_FIELDS = {
    "": {"traces", "metrics"},
    "traces": {"traceID", "rootServiceName", "rootTraceName", "startTimeUnixNano", "durationMs", "spanSet", "spanSets", "serviceStats"},
    "spanSets": {"spans", "matched", "attributes"},
    "spans": {"spanID", "name", "startTimeUnixNano", "durationNanos", "attributes"},
    "metrics": {"inspectedTraces", "inspectedBytes", "totalBlocks", "completedJobs", "totalJobs", "totalBlockBytes", "inspectedSpans"},
}


def shapes(shift_ns):
    """(sender, path, body) of each request of the case file, moved to now."""
    text = open(CASES, encoding="utf-8").read()
    for sender, path, body in re.findall(r"^== (\w+)[^\n]*\nPOST (\S+)\n[^\n]*\n\n(.*?)\n-- 200", text, re.M | re.S):
        def move(match):
            return match.group(1) + str(int(match.group(2)) + shift_ns)

        yield sender, path, re.sub(r'(UnixNano":")(\d+)', move, body)


def to_message(cls, body):
    """OTLP's JSON has ids in hex, protobuf's in base64."""
    def as_base64(match):
        return match.group(1) + base64.b64encode(bytes.fromhex(match.group(2))).decode() + '"'

    return json_format.Parse(re.sub(r'("(?:traceId|spanId|parentSpanId)":")([0-9a-f]+)"', as_base64, body), cls())


def send(server, channel, way, sender, path, body):
    request_cls, reply_cls, stub = SIGNALS[path]
    request = to_message(request_cls, body)
    headers = {"X-Scope-OrgID": way, "User-Agent": AGENTS[sender], "Authorization": "Basic Og=="}
    if way == "json":
        status, reply, _ = server.ask(path, data=body.encode(), headers={**headers, "Content-Type": "application/json"})
        assert status == 200 and json.loads(reply) == {}, (status, reply)
    elif way == "http":
        headers |= {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
        status, reply, _ = server.ask(path, data=gzip.compress(request.SerializeToString()), headers=headers)
        assert status == 200 and not reply_cls.FromString(reply).HasField("partial_success"), (status, reply)
    else:
        metadata = [("x-scope-orgid", way), ("authorization", headers["Authorization"])]
        compression = grpc.Compression.Gzip if way == "grpc-gzip" else grpc.Compression.NoCompression
        reply = stub(channel).Export(request, timeout=20, metadata=metadata, compression=compression)
        assert not reply.HasField("partial_success"), reply


def strict(reply):
    """Grafana refuses a search whose answer has a field that it does not know."""
    def check(kind, value):
        assert set(value) <= SEARCH_FIELDS[kind], (kind, value)

    check("", reply)
    check("metrics", reply["metrics"])
    for trace in reply["traces"]:
        check("traces", trace)
        for spans in [trace["spanSet"], *trace["spanSets"]]:
            check("spanSets", spans)
            for span in spans["spans"]:
                check("spans", span)


def trace(server, tenant, trace_id):
    """As Grafana's plugin reads it; what is a nil pointer there is an assertion here."""
    headers = {"Accept": "application/protobuf", "X-Scope-OrgID": tenant}
    status, body, _ = server.ask(f"/api/v2/traces/{trace_id}", headers=headers)
    assert status == 200 and body[0] == 0x0A, (status, body[:20])
    status, body, _ = server.ask(f"/api/traces/{trace_id}", headers=headers)
    data = trace_pb2.TracesData.FromString(body)
    names = []
    for rs in data.resource_spans:
        assert rs.HasField("resource") and rs.resource.attributes and rs.scope_spans, rs
        for ss in rs.scope_spans:
            assert ss.HasField("scope") and ss.spans, ss
            for span in ss.spans:
                assert span.HasField("status") and len(span.trace_id) == 16 and len(span.span_id) == 8, span
                names.append(span.name)
    return sorted(names)


def see(server, tenant, start):
    """All that is compared between the ways."""
    headers = {"X-Scope-OrgID": tenant}
    window = {"start": start - 600, "end": start + 60}

    def search(q):
        reply = server.get("/api/search", {"q": q, "spss": 10, **window}, headers=headers)
        strict(reply)
        return sorted((t["traceID"], t.get("rootServiceName"), t.get("durationMs", 0), str(t["spanSets"])) for t in reply["traces"])

    def metric(q):
        result = server.get("/api/v1/query", {"query": q, "time": start + 1}, headers=headers)["data"]["result"]
        return sorted((sorted(r["metric"].items()), r["value"][1]) for r in result)

    ids = {t[0] for t in search("{}")}
    logs = server.get("/loki/api/v1/query_range", {"query": '{service_name="telemetrygen"}', **window}, headers=headers)["data"]["result"]
    return {
        "traces": {i: trace(server, tenant, i) for i in sorted(ids)},
        "search": search("{ kind = client } | select(status, resource.k6)"),
        "structure": search("{ kind = server } >> { kind = client }"),
        "metrics": [metric(q) for q in ("gen_gauge", "gen_sum_total", "gen_histogram_bucket", "histogram_count(gen_exponential)")],
        "logs": [(s["stream"], [v[1] for v in s["values"]]) for s in logs],
    }


def graph(server, tenant):
    query = "sum by (client, server, connection_type) (traces_service_graph_request_total)"
    result = server.get("/api/v1/query", {"query": query}, headers={"X-Scope-OrgID": tenant})["data"]["result"]
    return sorted((r["metric"].get("client"), r["metric"].get("server"), r["metric"].get("connection_type", ""), r["value"][1]) for r in result)


GRAPH = [
    ("frontend", "products", "", "1"),
    ("products", "postgres", "database", "1"),
    ("shop-backend", "article-service", "", "1"),
    ("telemetrygen", "telemetrygen", "", "1"),
    ("user", "frontend", "virtual_node", "1"),
]


def main():
    with Server("--generator-interval", "1s") as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        start = int(now())
        ways = ("json", "http", "grpc", "grpc-gzip")
        for way in ways:
            for shape in shapes((start - EPOCH) * 10**9):
                send(server, channel, way, *shape)
        seen = {way: see(server, way, start) for way in ways}
        wanted = seen["json"]
        assert [len(t) for t in wanted["traces"].values()] == [3, 2, 3, 6], wanted["traces"]
        assert all(wanted["metrics"]) and wanted["logs"] and wanted["structure"], wanted
        for way in ways[1:]:
            assert seen[way] == wanted, (way, seen[way], wanted)
        for way in ways:
            until(lambda: graph(server, way) == GRAPH, f"the service graph of {way}")
    print("ok")


main()
