"""Hostile input costs bounded memory and gets a clear error: nesting, bombs, huge headers, thousands of idle
connections, slow and broken clients. The server stays up, its memory under the ceiling."""

import gzip
import io
import json
import os
import resource
import socket
import time
import zlib

from harness import Server

MEMORY_MB = 128
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


def attributes(server):
    """64 KiB values, a thousand labels, empty everything, invalid UTF-8."""
    huge = "v" * 65536
    text = {
        "resourceLogs": [
            {
                "resource": {"attributes": [{"key": f"a{i}", "value": {"stringValue": "x"}} for i in range(1000)]},
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "timeUnixNano": str(time.time_ns()),
                                "body": {"stringValue": huge},
                                "attributes": [{"key": "k" * 1024, "value": {"stringValue": huge}}],
                            }
                        ]
                    }
                ],
            }
        ]
    }
    status, body, _ = server.ask(
        "/v1/logs", data=json.dumps(text).encode(), headers={"Content-Type": "application/json"}
    )
    assert status in (200, 204, 400), (status, body)
    for path in ("/v1/logs", "/v1/traces", "/v1/metrics"):
        for body in (b"{}", b'{"resourceLogs":[{}],"resourceSpans":[{}],"resourceMetrics":[{}]}'):
            status, reply, _ = server.ask(path, data=body, headers={"Content-Type": "application/json"})
            assert status in (200, 204), (path, status, reply)
        assert server.ask(path, data=b"", headers={"Content-Type": "application/x-protobuf"}, method="POST")[0] in (
            200,
            204,
        )
    status, body, _ = server.ask(
        "/loki/api/v1/push",
        data=b'{"streams":[{"stream":{"app":"\xff\xfe"},"values":[["1","\xff"]]}]}',
        headers={"Content-Type": "application/json"},
    )
    assert status in (204, 400), (status, body)


def main():
    with Server("--memory", f"{MEMORY_MB}M") as server:
        start = server.rss_mb()
        for step in (nesting, bombs, headers, attributes, idle_connections):
            step(server)
            assert server.ask("/ready")[0] == 200
            print(f"{step.__name__}: {server.rss_mb():.1f} MB resident (started with {start:.1f})")
            assert server.rss_mb() < MEMORY_MB + 32
    print("ok")


main()
