"""tempopb.StreamingQuerier asked by a real gRPC client (grpcio, protobuf), as Grafana's streaming does: same port as HTTP."""

import os
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2

from harness import Server, now

# message: number name type, "*" repeated, "{}" map<string, type>. KeyValue is OTLP's.
MESSAGES = """
SearchRequest: 1 tags string{} | 2 min_ms uint32 | 3 max_ms uint32 | 4 limit uint32 | 5 start uint32 | 6 end uint32 | 8 query string | 9 spss uint32
SearchResponse: 1 traces Trace* | 2 metrics Metrics
Trace: 1 trace_id string | 2 root_service string | 3 root_name string | 4 start uint64 | 5 duration_ms uint32 | 6 set SpanSet | 7 sets SpanSet* | 8 services Stats{}
SpanSet: 1 spans Span* | 2 matched uint32 | 3 attributes KeyValue*
Span: 1 span_id string | 2 name string | 3 start uint64 | 4 duration uint64 | 5 attributes KeyValue*
Stats: 1 spans uint32 | 2 errors uint32
Metrics: 1 traces uint32 | 2 bytes uint64 | 3 blocks uint32 | 4 completed uint32 | 5 total uint32 | 7 spans uint64
TagsRequest: 1 scope string | 2 query string | 3 start uint32 | 4 end uint32 | 5 limit uint32
Tags: 1 names string*
Scope: 1 name string | 2 tags string*
TagsV2: 1 scopes Scope*
ValuesRequest: 1 tag string | 2 query string | 3 start uint32 | 4 end uint32 | 5 limit uint32
Values: 1 values string*
Value: 1 type string | 2 value string
ValuesV2: 1 values Value*
RangeRequest: 1 query string | 2 start uint64 | 3 end uint64 | 4 step uint64 | 16 exemplars uint32 | 17 max_series uint32 | 18 instant bool
Sample: 1 value double | 2 ms int64
Exemplar: 1 labels KeyValue* | 2 value double | 3 ms int64
Series: 1 labels KeyValue* | 2 samples Sample* | 4 exemplars Exemplar*
Range: 1 series Series* | 2 metrics Metrics | 3 status uint32 | 4 message string
InstantRequest: 1 query string | 2 start uint64 | 3 end uint64
InstantSeries: 1 labels KeyValue* | 2 value double
Instant: 1 series InstantSeries* | 2 metrics Metrics | 3 status uint32 | 4 message string
"""
METHODS = {"Search": ("SearchRequest", "SearchResponse"), "SearchTags": ("TagsRequest", "Tags"),
           "SearchTagsV2": ("TagsRequest", "TagsV2"), "SearchTagValues": ("ValuesRequest", "Values"),
           "SearchTagValuesV2": ("ValuesRequest", "ValuesV2"), "MetricsQueryRange": ("RangeRequest", "Range"),
           "MetricsQueryInstant": ("InstantRequest", "Instant")}


def make_classes():
    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field_type.TYPE_STRING, "uint32": field_type.TYPE_UINT32, "uint64": field_type.TYPE_UINT64,
               "int64": field_type.TYPE_INT64, "double": field_type.TYPE_DOUBLE, "bool": field_type.TYPE_BOOL}
    key_value = common_pb2.KeyValue.DESCRIPTOR
    proto = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3", dependency=[key_value.file.name])

    def add(message, number, name, kind):
        f = message.field.add(name=name, number=int(number), label=field_type.LABEL_OPTIONAL)
        if kind.endswith("{}"):
            entry = message.nested_type.add(name=name.capitalize() + "Entry")
            entry.options.map_entry = True
            add(entry, 1, "key", "string")
            add(entry, 2, "value", kind[:-2])
            f.label, f.type, f.type_name = field_type.LABEL_REPEATED, field_type.TYPE_MESSAGE, f".t.{message.name}.{entry.name}"
            return
        if kind.endswith("*"):
            f.label, kind = field_type.LABEL_REPEATED, kind[:-1]
        if kind in scalars:
            f.type = scalars[kind]
        else:
            f.type, f.type_name = field_type.TYPE_MESSAGE, "." + key_value.full_name if kind == "KeyValue" else f".t.{kind}"

    for line in MESSAGES.strip().splitlines():
        name, fields = line.split(": ", 1)
        message = proto.message_type.add(name=name)
        for text in fields.split(" | "):
            add(message, *text.split())
    pool = descriptor_pool.Default()
    pool.Add(proto)
    return {m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName("t." + m.name)) for m in proto.message_type}


TYPES = make_classes()


def send(channel, start_ns, traces, spans):
    request = trace_service_pb2.ExportTraceServiceRequest()
    rs = request.resource_spans.add()
    rs.resource.attributes.add(key="service.name").value.string_value = "shop"
    out = rs.scope_spans.add().spans
    for t in range(traces):
        for i in range(spans):
            s = out.add(trace_id=(t + 1).to_bytes(16, "big"), span_id=(t * spans + i + 1).to_bytes(8, "big"), name=f"op{i}",
                        kind=2, start_time_unix_nano=start_ns + t * 1000 + i, end_time_unix_nano=start_ns + t * 1000 + i + 5_000_000)
            if i:
                s.parent_span_id = (t * spans + 1).to_bytes(8, "big")
            s.attributes.add(key="n").value.int_value = t % 7
            s.attributes.add(key="text").value.string_value = "x" * 100
    trace_service_pb2_grpc.TraceServiceStub(channel).Export(request, timeout=30)


def main():
    with Server() as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        def call(name, timeout=20, metadata=(), **fields):
            request, answer = METHODS[name]
            method = channel.unary_stream(f"/tempopb.StreamingQuerier/{name}", request_serializer=lambda m: m.SerializeToString(),
                                          response_deserializer=TYPES[answer].FromString)
            return method(TYPES[request](**fields), timeout=timeout, metadata=metadata)

        def fails(code, text, name, **fields):
            try:
                list(call(name, **fields))
            except grpc.RpcError as error:
                assert error.code() == code and text in error.details(), (error.code(), error.details())
                return
            raise AssertionError(f"{name} {fields} did not fail")

        # The health check of Grafana's data source, on an empty server.
        t = int(now())
        messages = list(call("Search", query="{}", start=t - 900, end=t, limit=1))
        assert len(messages) == 1 and not messages[0].traces and messages[0].metrics.completed == 1, messages

        send(channel, (t - 60) * 10**9, traces=3000, spans=4)
        window = {"start": t - 600, "end": t + 60}
        messages = list(call("Search", query="{ name = `op1` && .n = 3 } | select(.text, status)", limit=10, spss=2, **window))
        traces = [x for m in messages for x in m.traces]
        assert len(traces) == 10 and len({x.trace_id for x in traces}) == 10, traces
        one = traces[0]
        assert one.root_service == "shop" and one.root_name == "op0" and one.duration_ms == 5, one
        assert one.sets[0].matched == 1 and one.sets[0] == one.set and one.sets[0].spans[0].name == "op1", one
        assert one.services["shop"].spans == 4, one
        values = {a.key: a.value for a in one.sets[0].spans[0].attributes}
        assert values["n"].int_value == 3 and values["status"].string_value == "unset" and len(values["text"].string_value) == 100
        # Grafana's limit on messages is 4 MiB: a large answer comes in several, each trace once, the newest first.
        messages = list(call("Search", query="{ } | select(.text) with(most_recent=true)", limit=3000, spss=100, **window))
        sizes, ids = [m.ByteSize() for m in messages], [x.trace_id for m in messages for x in m.traces]
        assert len(messages) > 2 and max(sizes) < 2 << 20, sizes
        assert ids == sorted(ids, reverse=True) and len(set(ids)) == 3000, len(ids)
        assert messages[-1].metrics.completed == messages[-1].metrics.total == 1 and messages[-1].metrics.spans == 12000
        legacy = list(call("Search", tags={"text": "xxx", "name": "op2"}, min_ms=1, limit=5, **window))
        assert len(legacy[-1].traces) == 5 and not legacy[-1].traces[0].sets, legacy
        # The same as over HTTP.
        http = server.get("/api/search", {"q": "{ .n = 6 }", "limit": 3000, **window})
        ids = {x.trace_id for m in call("Search", query="{ .n = 6 }", limit=3000, **window) for x in m.traces}
        assert ids == {x["traceID"] for x in http["traces"]} and len(ids) == 428, len(ids)

        tags = list(call("SearchTags"))[-1]
        assert list(tags.names) == ["n", "service.name", "text"], tags
        scopes = {s.name: list(s.tags) for s in list(call("SearchTagsV2"))[-1].scopes}
        assert scopes["resource"] == ["service.name"] and scopes["span"] == ["n", "text"] and "span:name" in scopes["intrinsic"]
        assert [s.name for s in list(call("SearchTagsV2", scope="span"))[-1].scopes] == ["span"]
        assert list(list(call("SearchTagValues", tag="n"))[-1].values) == [str(i) for i in range(7)]
        got = [(v.type, v.value) for v in list(call("SearchTagValuesV2", tag=".n", query="{ .n > 4 }"))[-1].values]
        assert sorted(got) == [("int", "5"), ("int", "6")], got

        ns = {"start": (t - 600) * 10**9, "end": t * 10**9}
        series = [s for m in call("MetricsQueryRange", query="{ } | count_over_time() by (span.n)", step=60 * 10**9, **ns) for s in m.series]
        assert len(series) == 7 and sum(x.value for s in series for x in s.samples) == 12000, series
        assert series[0].labels[0].key == "span.n" and series[0].samples[0].ms % 60000 == 0, series[0]
        exemplars = [e for s in series for e in s.exemplars]
        assert exemplars and exemplars[0].labels[0].key == "trace:id" and exemplars[0].ms // 1000 == t - 60, exemplars
        instant = list(call("MetricsQueryInstant", query="{ name = `op0` } | count_over_time()", **ns))
        assert len(instant) == 1 and instant[0].series[0].value == 3000, instant

        code = grpc.StatusCode
        fails(code.INVALID_ARGUMENT, "parse error at line 1", "Search", query="{")
        fails(code.INVALID_ARGUMENT, "not a metrics query", "MetricsQueryRange", query="{}", **ns)
        fails(code.INVALID_ARGUMENT, "invalid scope: bogus", "SearchTagsV2", scope="bogus")
        fails(code.INVALID_ARGUMENT, "start must be before end", "Search", query="{}", start=5, end=4)
        other = list(call("Search", query="{}", limit=5, metadata=(("x-scope-orgid", "nobody"),), **window))
        assert not other[-1].traces

        # A client that goes away in the middle: the server gives up and goes on.
        stream = call("Search", query="{ } | select(.text) with(most_recent=true)", limit=3000, spss=100, **window)
        next(stream)
        stream.cancel()
        started = time.monotonic()
        assert len(list(call("Search", query="{}", limit=1, **window))[-1].traces) == 1
        assert time.monotonic() - started < 10
    print("tempo_stream: ok")


if __name__ == "__main__":
    main()
    os._exit(0)
