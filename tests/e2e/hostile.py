"""Hostile input costs bounded memory and gets a clear error: nesting, bombs, huge headers, thousands of idle
connections, slow and broken clients. The server stays up, its memory under the ceiling."""

import gzip
import io
import json
import os
import resource
import socket
import struct
import time
import zlib

from harness import Server, until
from prom_data import encode_labels, field, snappy, varint

MEMORY_MB = 128
GRPC = int(os.environ.get("GRPC_MESSAGES", "3000"))  # 100000 takes about a minute
IDLE = int(os.environ.get("IDLE_CONNECTIONS", "10000"))


def raw(server, data, wait=5, half_close=False):
    """Sends bytes, returns what comes back until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as s:
        out = b""
        try:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                out += piece
        except (socket.timeout, ConnectionError):
            pass
        return out


def nested_protobuf(depth):
    """An OTLP trace whose one attribute is a list in a list in a list."""

    def field(n, body):
        size, out = len(body), b""
        while size > 127:
            out += bytes([size & 127 | 128])
            size >>= 7
        return bytes([n << 3 | 2]) + out + bytes([size]) + body

    value = field(1, b"x")
    for _ in range(depth):
        value = field(5, field(1, value))
    attribute = field(1, b"deep") + field(2, value)
    span = field(1, b"\x01" * 16) + field(2, b"\x02" * 8) + field(5, b"n") + field(9, attribute)
    return field(1, field(2, field(2, span)))


def nesting(server):
    for depth in (100, 20000):
        status, body, _ = server.ask(
            "/v1/traces", data=nested_protobuf(depth), headers={"Content-Type": "application/x-protobuf"}
        )
        assert status == 400 or (status == 200 and body), (depth, status, body)
        value = '{"arrayValue":{"values":[' * depth + '{"stringValue":"x"}' + "]}}" * depth
        text = (
            '{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"%s","spanId":"%s","name":"n",'
            '"attributes":[{"key":"deep","value":%s}]}]}]}]}'
            % ("01" * 16, "02" * 8, value)
        )
        status, body, _ = server.ask("/v1/traces", data=text.encode(), headers={"Content-Type": "application/json"})
        assert status == 400 or (status == 200 and b"partialSuccess" in body), (depth, status, body[:200])
        status, body, _ = server.ask("/api/v1/query", {"query": "(" * min(depth, 5000) + "1" + ")" * min(depth, 5000)})
        assert status in (200, 400), (status, body[:200])
        status, body, _ = server.ask(
            "/loki/api/v1/query", {"query": "(" * min(depth, 5000) + "vector(1)" + ")" * min(depth, 5000)}
        )
        assert status in (200, 400), (status, body[:200])
        status, body, _ = server.ask(
            "/api/search", {"q": "{" + "(" * min(depth, 5000) + "true" + ")" * min(depth, 5000) + "}"}
        )
        assert status in (200, 400), (status, body[:200])


def bombs(server):
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as f:
        for _ in range(1024):
            f.write(b"\0" * (1 << 20))  # 1 GiB of zeros
    bodies = {"gzip": packed.getvalue(), "deflate": zlib.compress(b"\0" * (200 << 20), 9)}
    for coding, body in bodies.items():
        for path, kind in (("/v1/logs", "application/x-protobuf"), ("/v1/metrics", "application/json")):
            status, reply, _ = server.ask(path, data=body, headers={"Content-Type": kind, "Content-Encoding": coding})
            assert status == 413, (coding, path, status, reply)
    # a snappy block that claims 4 GB
    status, reply, _ = server.ask(
        "/api/v1/write",
        data=b"\xff\xff\xff\xff\x0f" + b"x" * 100,
        headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
    )
    assert status in (400, 413), (status, reply)
    status, reply, _ = server.ask(
        "/v1/logs", data=b"x", headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "br"}
    )
    assert status == 415, (status, reply)
    status, reply, _ = server.ask("/v1/logs", data=b"x", headers={"Content-Type": "text/plain"})
    assert status == 415, (status, reply)
    status, reply, _ = server.ask("/v1/logs", data=b"\xff\xff\xff", headers={"Content-Type": "application/x-protobuf"})
    assert status == 400 and reply, (status, reply)


def large_write(server):
    """A body far above what is decoded at a time: each series arrives, what is refused is counted over all of it; of a malformed
    one nothing is stored."""

    def series(i, name="large_write"):
        when = int(time.time() * 1000) if 0 < i < 19_999 else 1000  # the first and the last are too old
        sample = b"\x09" + struct.pack("<d", i) + b"\x10" + varint(when)
        return field(1, encode_labels({"__name__": name, "row": f"{i:0100}"}) + field(2, sample))

    def send(body):
        kind = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
        return server.ask("/api/v1/write", data=snappy(body), headers=kind)[:2]

    body = b"".join(map(series, range(20_000)))
    status, reply = send(body)
    assert status == 400 and b"2 errors like: " in reply, (status, reply)
    status, reply = send(b"".join(series(i, "large_malformed") for i in range(20_000)) + b"\x0f")
    assert status == 400 and b"malformed" in reply, (status, reply)
    malformed = json.loads(server.ask("/api/v1/query", {"query": "large_malformed"})[1])["data"]["result"]
    assert malformed == [], malformed
    query = {"query": "count(large_write) + sum(large_write)"}
    result = json.loads(server.ask("/api/v1/query", query)[1])["data"]["result"]
    assert result[0]["value"][1] == str(19_998 + sum(range(1, 19_999))), result


def headers(server):
    big = b"GET /ready HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * (1 << 20) + b"\r\n\r\n"
    reply = raw(server, big)
    assert reply == b"" or b" 431 " in reply.split(b"\r\n")[0], reply[:100]
    line = b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    reply = raw(server, line)
    assert reply == b"" or b" 414 " in reply.split(b"\r\n")[0] or b" 431 " in reply.split(b"\r\n")[0], reply[:100]
    # 60 KiB of query is fine
    query = "up or " * 9000 + "up"
    assert server.ask("/api/v1/query", {"query": query[:50000]})[0] in (200, 400)
    reply = raw(
        server,
        b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nContent-Type: application/json\r\n\r\n",
    )
    assert b" 413 " in reply.split(b"\r\n")[0], reply[:100]
    for garbage in (
        b"\0" * 100,
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 50,
        b"GET\r\n\r\n",
    ):
        raw(server, garbage, wait=1)


def idle_connections(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(IDLE, hard - 200 if hard != resource.RLIM_INFINITY else IDLE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, wanted + 200)), hard))
    sockets = []
    try:
        for _ in range(wanted):
            s = socket.socket()
            s.settimeout(5)
            try:
                s.connect(("127.0.0.1", server.port))
            except OSError:
                break
            sockets.append(s)
        assert len(sockets) >= min(wanted, 500), len(sockets)
        rss = server.rss_mb()
        for s in sockets[:50]:  # and those there are can be closed by the server, but a new client is served or told
            s.close()
        time.sleep(0.3)
        assert server.ask("/ready")[0] in (200, 503)
        print(f"{len(sockets)} idle connections: {rss:.1f} MB resident")
        assert rss < MEMORY_MB, rss
    finally:
        for s in sockets:
            s.close()


def attr(key, value):
    return {"key": key, "value": {"stringValue": value}}


def post_json(server, path, body):
    started = time.monotonic()
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, reply, _ = server.ask(path, data=text, headers={"Content-Type": "application/json"})
    assert time.monotonic() - started < 10, (path, "slow")
    return status, json.loads(reply) if reply[:1] == b"{" else reply


def rejected(reply):
    return sum(int(v) for k, v in reply.get("partialSuccess", {}).items() if k.startswith("rejected"))


def push(server, stream, line, meta=None):
    entry = [str(time.time_ns()), line] + ([meta] if meta else [])
    return post_json(server, "/loki/api/v1/push", {"streams": [{"stream": stream, "values": [entry]}]})


def attributes(server):
    """What is too large for the case files: server/ingest/README.md has the rules."""
    now = time.time_ns()
    kib64, mib = "v" * 65536, "w" * (1 << 20)
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": mib, "startTimeUnixNano": str(now),
            "endTimeUnixNano": str(now), "attributes": [attr("kept", kib64), attr("cut", mib), attr("k" * 1024, "x"),
                                                        attr("k" * 1025, "x")] + [attr(f"a{i}", "x") for i in range(2000)]}
    status, reply = post_json(server, "/v1/traces", {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    assert (status, reply) == (200, {}), (status, reply)
    status, body, _ = server.ask("/api/v2/traces/" + "ab" * 16)
    found = json.loads(body)["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    values = {a["key"]: a["value"]["stringValue"] for a in found["attributes"]}
    assert values["kept"] == kib64 and values["cut"] == mib[:65536] and found["name"] == mib[:65536]
    assert len(values) == 1024 and "k" * 1024 in values and "k" * 1025 not in values
    assert found["droppedAttributesCount"] == 2004 - 1024, found["droppedAttributesCount"]

    logs = [{"timeUnixNano": str(now), "body": {"stringValue": mib[:n]}} for n in (1 << 20, 1000)]
    logs += [{"timeUnixNano": str(now), "body": {"stringValue": mib + "!"}},
             {"timeUnixNano": str(now), "body": {"stringValue": "meta"}, "attributes": [attr("a", kib64)]},
             {"timeUnixNano": str(now), "body": {"stringValue": "many"}, "attributes": [attr(f"a{i}", "x") for i in range(1000)]}]
    status, reply = post_json(server, "/v1/logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]})
    assert status == 200 and rejected(reply) == 3, (status, reply)
    for stream, line, want in (({"n" * 1024: "x"}, "l", 204), ({"n" * 1025: "x"}, "l", 400), ({"v": "x" * 4096}, "l", 204),
                               ({"v": "x" * 4097}, "l", 400), ({f"a{i}": "x" for i in range(1000)}, "l", 400),
                               ({"a": "x"}, mib, 204), ({"a": "x"}, mib + "!", 400)):
        assert push(server, stream, line)[0] == want, (len(str(stream)), len(line), want)
    assert push(server, {"a": "x"}, "l", {"m": kib64})[0] == 400

    def points(*sets):
        data = [{"timeUnixNano": str(now), "asDouble": 1, "attributes": s} for s in sets]
        body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "big", "gauge": {"dataPoints": data}}]}]}]}
        return post_json(server, "/v1/metrics", body)

    status, reply = points([attr("n" * 1024, "x")], [attr("n" * 1025, "x")], [attr("v", "x" * 4096)],
                           [attr("v", kib64)], [attr(f"a{i}", "x") for i in range(1000)], [])
    assert status == 200 and rejected(reply) == 3, (status, reply)
    status, reply = points(*[[attr(f"a{i}", "x") for i in range(1024)]] * 100)  # refused before names are compared
    assert status == 200 and rejected(reply) == 100, (status, reply)

    for path in ("/v1/logs", "/v1/traces", "/v1/metrics"):
        for body in (b"{}", b'{"resourceLogs":[{}],"resourceSpans":[{}],"resourceMetrics":[{}]}'):
            status, reply, _ = server.ask(path, data=body, headers={"Content-Type": "application/json"})
            assert status in (200, 204), (path, status, reply)
        assert server.ask(path, data=b"", headers={"Content-Type": "application/x-protobuf"}, method="POST")[0] in (
            200,
            204,
        )


def shapes(server):
    """Bodies that are small on the wire and cost time or memory when read carelessly."""
    for body in (b"[" * 1000000, b'{"a":' * 200000, b'{"resourceLogs":' + b"[" * 500000,
                 b'{"resourceSpans":[' + b"{}," * 1000000 + b"x", b'{"streams":[{"stream":{"a":"' + b"\\u00" * 200000):
        for path in ("/v1/logs", "/v1/traces", "/loki/api/v1/push"):
            status, reply = post_json(server, path, body)
            assert status in (400, 413), (path, body[:20], status, reply)
    digits = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"d","gauge":{"dataPoints":[{"asDouble":%s}]}}]}]}]}'
    for number in (b"1" * 2000000, b"0." + b"1" * 2000000, b"1e" + b"1" * 1000000):
        assert post_json(server, "/v1/metrics", digits % number)[0] in (200, 400)
    status, reply = post_json(server, "/v1/logs", b'{"resourceLogs":[' + b",".join([b"{}"] * 1000000) + b"]}")
    assert status in (200, 413, 429), (status, reply)

    twice = gzip.compress(gzip.compress(b"{}"))
    windows = b"\x28\xb5\x2f\xfd\x00\xa0\x09\x00\x00x"  # zstd, a window of 1 GiB, one byte
    members = gzip.compress(b"") * 100000
    for coding, body, want in (("gzip", twice, (400,)), ("gzip, gzip", twice, (400, 415)), ("zstd", windows, (400, 413)),
                               ("gzip", members, (400, 413)), ("zstd", b"\x28\xb5\x2f\xfd" * 100000, (400,)),
                               ("snappy", b"\x80\x80\x80\x80\x04" + b"\xfe\xff\x00" * 100000, (400, 413))):
        started = time.monotonic()
        status, reply, _ = server.ask(
            "/v1/logs", data=body, headers={"Content-Type": "application/json", "Content-Encoding": coding}
        )
        assert status in want and time.monotonic() - started < 5, (coding, body[:10], status, reply)

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/api/v1/query", "/api/v1/series", "/loki/api/v1/query"):
        for one in (b"match[]=up&", b"&", b"a=b&", b"%25=%25&"):
            status, reply, _ = server.ask(path, data=b"query=1&" + one * 200000, headers=form)
            assert status in (400, 422) or one == b"&", (path, one, status, reply[:100])
    assert server.ask("/api/v1/query?query=1&" + "a=b&" * 10000)[0] in (200, 400, 414, 422, 431)


def h2_frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def hpack_literal(how, name, value):
    def text(s):
        n, out = len(s), b""
        if n < 127:
            return bytes([n]) + s
        n -= 127
        while n > 127:
            out += bytes([n & 127 | 128])
            n >>= 7
        return b"\x7f" + out + bytes([n]) + s

    return bytes([how]) + text(name) + text(value)


H2_START = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2_frame(4, 0, 0, b"")
H2_POST = b"\x83\x86\x84" + hpack_literal(0, b"host", b"x")


def http2(server):
    """Header blocks that unpack to megabytes, that never end; frames of nothing."""
    bomb = H2_POST + hpack_literal(0x40, b"x", b"y" * 3800) + b"\xbe" * 12000  # 45 MB in one frame
    ask = b"".join(h2_frame(1, 5, 1 + 2 * i, bomb if i == 0 else H2_POST + b"\xbe" * 16000) for i in range(50))
    raw(server, H2_START + ask, wait=2)
    endless = h2_frame(1, 1, 1, H2_POST) + h2_frame(9, 0, 1, hpack_literal(0, b"a", b"b" * 16000)) * 2000
    raw(server, H2_START + endless, wait=2)
    raw(server, H2_START + h2_frame(1, 1, 1, H2_POST) + h2_frame(9, 0, 1, b"") * 200000, wait=2)
    for kind in (h2_frame(4, 0, 0, b""), h2_frame(6, 0, 0, b"12345678"), h2_frame(8, 0, 0, b"\0\0\0\1")):
        raw(server, H2_START + kind * 100000, wait=2)
    raw(server, H2_START + h2_frame(1, 4, 1, H2_POST) + h2_frame(0, 0, 1, b"") * 200000, wait=2)
    flood = b"".join(
        h2_frame(1, 5, 1 + 2 * i, H2_POST) + h2_frame(3, 0, 1 + 2 * i, b"\0\0\0\x08") for i in range(20000)
    )
    raw(server, H2_START + flood, wait=2)


def tiny_messages(server):
    """Many gRPC calls of a few bytes, and many messages in one call."""
    import grpc

    path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(path)
        waiting, failed = [], 0
        for _ in range(GRPC):
            waiting.append(call.future(b"\x0a\x00"))
            if len(waiting) == 100:
                failed += sum(f.exception() is not None for f in waiting)
                waiting = []
        failed += sum(f.exception() is not None for f in waiting)
        assert failed == 0, failed
        stream = channel.stream_unary(path)
        try:
            stream(iter([b""] * 1000), timeout=20)
        except grpc.RpcError as e:
            assert e.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT,
                                grpc.StatusCode.INTERNAL), e


def slow_bodies():
    """A byte now and then does not hold a connection and its memory for ever; honest ones are served."""
    with Server("--memory", f"{MEMORY_MB}M", "--net-body-timeout", "1s") as server:
        head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
        clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        for s in clients:
            s.sendall(head + b"{" * 1000)
        alive, started = set(clients), time.monotonic()
        while alive and time.monotonic() - started < 10:
            for s in list(alive):
                try:
                    s.sendall(b" ")
                    s.setblocking(False)
                    if s.recv(1000) == b"":
                        alive.discard(s)
                except BlockingIOError:
                    s.setblocking(True)
                except OSError:
                    alive.discard(s)
            assert server.ask("/ready")[0] == 200
            time.sleep(0.2)
        assert not alive, len(alive)
        for s in clients:
            s.close()
        print(f"100 slow bodies ended after {time.monotonic() - started:.1f} s")


def export_zeros(server, n):
    """Status code and trailers of a gRPC export of n bytes that say nothing."""
    import grpc

    path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        try:
            # field 15, which nobody knows, of n bytes
            size, rest = b"", n
            while rest > 127:
                size, rest = size + bytes([rest & 127 | 128]), rest >> 7
            channel.unary_unary(path)(b"\x7a" + size + bytes([rest]) + b"\0" * n, timeout=10)
            return grpc.StatusCode.OK, {}
        except grpc.RpcError as e:
            return e.code(), dict(e.trailing_metadata())


def full_memory():
    """Bodies that never end take the memory: the others are told to come back, and when, and are served then."""
    with Server("--memory", "64M") as server:
        head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 16000000\r\n\r\n"
        holders = []
        for _ in range(12):
            s = socket.create_connection(("127.0.0.1", server.port))
            s.settimeout(2)
            holders.append(s)
            try:
                s.sendall(head + b" " * 8_000_000)
            except OSError:
                pass  # told to go before it said all
        json_type = {"Content-Type": "application/json"}
        status, reply, answer = server.ask("/v1/logs", data=b"{}" + b" " * 8_000_000, headers=json_type)
        assert status == 429 and int(answer["Retry-After"]) >= 1 and b"memory" in reply, (status, reply, answer)
        code, trailers = export_zeros(server, 3_000_000)
        assert code.name == "RESOURCE_EXHAUSTED", code
        assert b"google.rpc.RetryInfo" in trailers["grpc-status-details-bin"], trailers
        assert server.ask("/ready")[0] == 200
        assert server.rss_mb() < 64 + 8, server.rss_mb()
        for s in holders:
            s.close()
        until(lambda: export_zeros(server, 3_000_000)[0].name == "OK", "gRPC served again")
        status, reply, _ = server.ask("/v1/logs", data=b"{}" + b" " * 8_000_000, headers=json_type)
        assert status == 200, (status, reply)
        print("full memory: refused with a time to come back, served after")


def main():
    with Server("--memory", f"{MEMORY_MB}M") as server:
        start = server.rss_mb()
        steps = (nesting, bombs, large_write, headers, attributes, shapes, http2, tiny_messages, idle_connections)
        for step in steps:
            step(server)
            assert server.ask("/ready")[0] == 200
            print(f"{step.__name__}: {server.rss_mb():.1f} MB resident (started with {start:.1f})")
            assert server.rss_mb() < MEMORY_MB + 32
    slow_bodies()
    full_memory()
    print("ok")


main()
