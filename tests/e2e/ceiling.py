"""The memory ceiling: with --memory 64M, twenty hostile queries at once while telemetry of all three signals arrives.

Resident memory, sampled all the time and taken from the kernel's high-water mark, stays within the ceiling and a little for the
program itself; nothing acknowledged is lost; honest queries answer during and after it; memory falls back. Refusals are the
documented ones: 422 (Prometheus), 400 (Loki, Tempo), 429 or 503 for what shall come again.

Resident memory is sampled, as CI's containers give out no cgroup of their own to limit; where there is systemd, the same under a
real limit is TRIVET=<script>, which runs `exec systemd-run --user --scope -p MemoryMax=72M -p MemorySwapMax=0 trivet "$@"`.

LONG=1 fills ten times as much and asks ten times as often. LOAD: the sender of tests/bench/load.c. KEEP=1 prints every answer."""

import json
import os
import random
import re
import struct
import subprocess
import threading
import time
import urllib.parse

from harness import Server, until

MEMORY_MB = int(os.environ.get("MEMORY_MB", "64"))
SLACK_MB = 8  # program, libraries, stacks, and what the allocator cannot help to keep
LONG = bool(os.environ.get("LONG"))
SCALE = 10 if LONG else 1
ROUNDS = int(os.environ.get("ROUNDS", "20" if LONG else "2"))
LOAD = os.environ.get("LOAD", "")
VERBOSE = bool(os.environ.get("KEEP"))
ALLOWED = {200, 400, 422, 429, 503}
BIG_TRACE = random.randbytes(16)


# ---- protobuf by hand: a hundred thousand points a second is too much for the generated classes ----

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(n, body):
    return varint(n << 3 | 2) + varint(len(body)) + body


def attribute(key, value):
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def wide_metrics(first, n, t_ns):
    """n series that differ in every label: the index is what grows."""
    points = b"".join(field(1, b"\x19" + struct.pack("<Q", t_ns) + b"\x21" + struct.pack("<d", i)
                            + field(7, attribute("pod", f"shop-frontend-7c9f8d5b4-{i:07d}")) + field(7, attribute("path", f"/api/v1/{i % 997}")))
                      for i in range(first, first + n))
    metric = field(1, b"wide_gauge") + field(5, points)
    return field(1, field(1, field(1, attribute("service.name", "wide"))) + field(2, field(2, metric)))


def big_trace(first, n, t_ns):
    spans = b"".join(field(2, field(1, BIG_TRACE) + field(2, struct.pack(">Q", i + 1)) + field(5, b"step %d" % (i % 50))
                             + b"\x39" + struct.pack("<Q", t_ns + i * 1000) + b"\x41" + struct.pack("<Q", t_ns + i * 1000 + 500)
                             + field(9, attribute("item", f"number {i}"))) for i in range(first, first + n))
    return field(1, field(1, field(1, attribute("service.name", "batch"))) + field(2, spans))


# ---- watching ----

class Watch(threading.Thread):
    """Samples resident memory every 50 ms; tells the highest value since it was last asked."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.pid, self.highest, self.stopped = server, server.process.pid, 0, False

    def read(self, key):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(key + r":\s+(\d+) kB", f.read()).group(1)) / 1024

    def run(self):
        while not self.stopped:
            try:
                self.highest = max(self.highest, self.read("VmRSS"))
            except (OSError, AttributeError):
                return
            time.sleep(0.05)

    def phase(self, name):
        highest, self.highest = self.highest, 0
        print(f"{name}: at most {highest:.1f} MB, now {self.read('VmRSS'):.1f} MB, high-water mark {self.read('VmHWM'):.1f} MB", flush=True)
        if VERBOSE:
            counters = self.server.ask("/metrics")[1].decode()
            print("  " + ", ".join(f"{name} {kind} {int(value) / 2**20:.1f}" for kind, name, value in re.findall(
                r'trivet_memory_(used|peak)_bytes{budget="(\w+)"} (\d+)', counters)), flush=True)


# ---- load ----

def post(server, path, body, kind="application/x-protobuf", may_be_refused=False):
    """Sends until it is taken; returns how often it was told to come again. A new series that the index has no memory for is
    refused, not acknowledged: it may be sent again when others have been forgotten."""
    for again in range(2000):
        status, reply, _ = server.ask(path, data=body, headers={"Content-Type": kind})
        if status in (200, 204) and b"rejected" not in reply:
            return again
        if b"(memory)" in reply and may_be_refused:
            return again
        assert status in (200, 400, 429, 503) if b"(memory)" in reply else status in (429, 503), (path, status, reply[:300])
        time.sleep(0.05)
    raise AssertionError(f"{path}: no room for ever")


def sender(server, mode, requests):
    return subprocess.Popen([LOAD, mode, f"127.0.0.1:{server.port}", str(server.process.pid), str(requests)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def refused(server):
    """Series and streams that did not fit, by reason."""
    counters = server.ask("/metrics")[1].decode()
    return {reason: sum(int(n) for n in re.findall(r'trivet_store_refused_total{signal="\w+",reason="%s"} (\d+)' % reason, counters))
            for reason in ("limit", "memory", "malformed")}


def senders(server, plan, watch):
    running = [(mode, sender(server, mode, n)) for mode, n in plan]
    for mode, process in running:
        text = process.communicate()[0]
        assert process.returncode == 0, f"{mode}: {text}"
        print("  " + text.splitlines()[0])
    watch.phase("filled with " + ", ".join(mode for mode, _ in plan))


class Keeper(threading.Thread):
    """Writes small batches of all three signals and counts what was acknowledged."""

    def __init__(self, server, name):
        super().__init__()
        self.server, self.name = server, name
        self.lines = self.points = self.told_to_wait = 0
        self.traces, self.error, self.stopped = [], None, False

    def run(self):
        try:
            while not self.stopped:
                self.turn()
        except Exception as error:  # told by the main thread
            self.error = error

    def turn(self):
        t = time.time_ns()
        as_json = "application/json"
        self.told_to_wait += post(self.server, "/loki/api/v1/push", json.dumps({"streams": [{"stream": {"app": "keeper", "writer": self.name}, "values": [
            [str(t + i), f"line {self.lines + i}"] for i in range(20)]}]}).encode(), as_json)
        self.lines += 20
        trace_id = random.randbytes(16)
        self.told_to_wait += post(self.server, "/v1/traces", json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": trace_id.hex(), "spanId": f"{i + 1:016x}", "name": "keep", "startTimeUnixNano": str(t), "endTimeUnixNano": str(t + 1000)}
            for i in range(5)]}]}]}).encode(), as_json)
        self.traces.append(trace_id.hex())
        self.told_to_wait += post(self.server, "/v1/metrics", json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
            {"name": "keeper_points", "gauge": {"dataPoints": [{"timeUnixNano": str(t), "asDouble": 1,
             "attributes": [{"key": "writer", "value": {"stringValue": self.name}}]}]}}]}]}]}).encode(), as_json)
        self.points += 1

    def check(self, server):
        """Right behind the last query: memory may take a moment to fall back."""
        def get(path, params=None):
            return until(lambda: server.get(path, params), path, seconds=30)
        t = time.time() + 2
        reply = get("/loki/api/v1/query", {"query": 'sum(count_over_time({app="keeper", writer="%s"}[1h]))' % self.name, "time": t})
        lines = int(float(reply["data"]["result"][0]["value"][1]))
        assert lines == self.lines, f"{lines} of {self.lines} lines of {self.name}"
        reply = get("/api/v1/query", {"query": 'count_over_time(keeper_points{writer="%s"}[1h])' % self.name, "time": t})
        points = int(reply["data"]["result"][0]["value"][1])
        assert points == self.points, f"{points} of {self.points} points of {self.name}"
        for trace_id in self.traces:
            trace = get(f"/api/traces/{trace_id}")
            assert sum(len(ss["spans"]) for b in trace["batches"] for ss in b["scopeSpans"]) == 5, trace_id


# ---- queries ----

def hostile(t):
    month, ns = t - 30 * 86400, 10**9
    whole = {"start": int(t - 7 * 86400) * ns, "end": int(t + 60) * ns}
    prom = {"start": month, "end": t}
    steps = {"start": t - 10000, "end": t, "step": 1}
    return [
        ("/api/v1/query_range", {"query": '{__name__=~".+"}', **prom, "step": 300}),
        ("/api/v1/query_range", {"query": '{__name__=~".+"}', **steps}),
        ("/api/v1/query_range", {"query": 'sum by (pod) (rate({__name__=~".+"}[1h]))', **steps}),
        ("/api/v1/query", {"query": 'count_values("v", {__name__=~".+"})', "time": t}),
        ("/api/v1/query_range", {"query": 'count_values("v", {__name__=~".+"})', **steps}),
        ("/api/v1/query_range", {"query": 'topk(100000, {__name__=~".+"})', **steps}),
        ("/api/v1/query", {"query": "max_over_time(sum_over_time(rate(wide_gauge[5m])[1h:1s])[30d:1s])", "time": t}),
        ("/api/v1/query", {"query": 'quantile_over_time(0.5, {__name__=~".+"}[30d:1s])', "time": t}),
        ("/api/v1/query_range", {"query": '{__name__=~".+"} * on (pod) group_left () wide_gauge', **steps}),
        ("/api/v1/query_range", {"query": 'label_replace({__name__=~".+"}, "x", "$1$1$1$1", "pod", "(.*)")', **steps}),
        ("/api/v1/series", {"match[]": '{__name__=~".+"}', "start": month, "end": t}),
        ("/api/v1/label/pod/values", {"start": month, "end": t}),
        ("/loki/api/v1/query_range", {"query": '{service_name=~".+"} |~ ".*a.*b.*"', "limit": 5000, **whole}),
        ("/loki/api/v1/query_range", {"query": 'sum by (trace_id, msg, ts) (count_over_time({app=~".+"} | logfmt [1h]))', "step": 1, **whole}),
        ("/loki/api/v1/query_range", {"query": '{app=~".+"} | logfmt | line_format "{{.msg}}{{.msg}}{{.msg}}{{.path}}"', "limit": 5000, **whole}),
        ("/loki/api/v1/query", {"query": 'topk(100000, count_over_time({app=~".+"} | logfmt [7d]))', "time": t}),
        ("/api/search", {"q": "{}", "limit": 10000, "spss": 100, "start": int(t) - 7 * 86400, "end": int(t) + 60}),
        ("/api/search", {"q": "{} >> {}", "limit": 10000, "start": int(t) - 7 * 86400, "end": int(t) + 60}),
        ("/api/metrics/query_range", {"q": "{} | rate() by (span.item, span.url.path)", "step": "60s", "start": int(t) - 86400, "end": int(t) + 60}),
        (f"/api/traces/{BIG_TRACE.hex()}", {}),
        (f"/api/v2/traces/{BIG_TRACE.hex()}", {}),
        ("/api/v2/search/tag/span.item/values", {"start": int(t) - 7 * 86400, "end": int(t) + 60}),
    ]


def honest(server):
    """A dashboard's panels: small, and answered whatever the others do (a busy moment may say: again)."""
    t = time.time()
    for path, params in (
            ("/api/v1/query_range", {"query": "sum(rate(node_subsystem_metric1_bytes_total[5m]))", "start": t - 900, "end": t, "step": 15}),
            ("/loki/api/v1/query_range", {"query": '{app="keeper"} |= "line 1"', "limit": 20, "start": int(t - 60) * 10**9, "end": int(t + 60) * 10**9}),
            ("/api/search", {"q": '{ name = "keep" }', "limit": 5, "start": int(t) - 60, "end": int(t) + 60})):
        def check():
            status, body, _ = server.ask(path, params)
            assert status == 200, (path, status, body[:300])
            return True
        until(check, path, seconds=30)


class Ask(threading.Thread):
    def __init__(self, server, path, params):
        super().__init__()
        self.server, self.path, self.params = server, path, params
        self.status, self.body, self.bytes = 0, b"", 0

    def run(self):
        try:
            started = time.monotonic()
            self.status, body, _ = self.server.ask(self.path, self.params)
            self.body, self.bytes, self.seconds = body[:300], len(body), time.monotonic() - started
        except Exception as error:
            self.status, self.body = -1, repr(error).encode()

    def check(self):
        if VERBOSE or self.status not in ALLOWED:
            print(f"  {self.status} {self.bytes} bytes {urllib.parse.unquote(self.path)} {self.params.get('query', self.params.get('q', ''))}: {self.body!r}")
        if self.status == -1 and b"IncompleteRead" in self.body:
            return  # an answer that ran over its share half-way: cut, never completed wrongly
        assert self.status in ALLOWED, (self.path, self.params, self.status, self.body)
        is_prom = self.path.startswith("/api/v1")
        if self.status in (400, 422) and b"memory" in self.body:
            assert self.status == (422 if is_prom else 400), (self.path, self.status, self.body)
            assert re.search(rb"\(query\.memory(_all)?\)|\(memory\)", self.body), self.body


def main():
    slack = SLACK_MB
    with Server("--memory", f"{MEMORY_MB}M") as server:
        watch = Watch(server)
        watch.start()
        time.sleep(0.2)
        watch.phase("idle")
        n = 20 * SCALE
        senders(server, [("remote-write", n), ("loki-push", n)], watch)
        senders(server, [("otlp-metrics", n), ("otlp-logs", n), ("otlp-traces", n * 2)], watch)
        keepers = [Keeper(server, f"w{i}") for i in range(2)]
        for keeper in keepers:
            keeper.start()
        t = time.time_ns()
        waits = 0
        for minute in range(3):
            for first in range(0, 50000 * SCALE, 5000):
                waits += post(server, "/v1/metrics", wide_metrics(first, 5000, t - (3 - minute) * 60 * 10**9), may_be_refused=True)
        watch.phase(f"{50000 * SCALE} series, told to wait {waits} times, refused {refused(server)}")
        assert refused(server)["malformed"] == refused(server)["limit"] == 0, refused(server)
        assert (refused(server)["memory"] > 0) == LONG or MEMORY_MB != 64, refused(server)
        waits = 0
        for first in range(0, 100000, 5000):
            waits += post(server, "/v1/traces", big_trace(first, 5000, t))
        watch.phase(f"a trace of 100,000 spans, told to wait {waits} times")
        for round_ in range(ROUNDS):
            background = [sender(server, mode, 10) for mode in ("remote-write", "loki-push", "otlp-traces")]
            asks = [Ask(server, path, params) for path, params in hostile(time.time())]
            for ask in asks:
                ask.start()
            honest(server)
            for ask in asks:
                ask.join()
            for process in background:
                text = process.communicate()[0]
                # load takes a refused series for a failure; its own may have been forgotten while the bomb's filled the index
                assert process.returncode == 0 or LONG and "status 400" in text and refused(server)["memory"] > 0, text
            assert server.process.poll() is None, "the process is gone"
            counts = {}
            for ask in asks:
                counts[ask.status] = counts.get(ask.status, 0) + 1
                ask.check()
            watch.phase(f"round {round_}: {len(asks)} hostile queries, by status {counts}")
        for keeper in keepers:
            keeper.stopped = True
        for keeper in keepers:
            keeper.join()
            assert keeper.error is None, keeper.error
        honest(server)
        for keeper in keepers:
            keeper.check(server)
        print(f"kept: {sum(k.lines for k in keepers)} lines, {sum(len(k.traces) for k in keepers)} traces, {sum(k.points for k in keepers)} points; "
              f"told to wait {sum(k.told_to_wait for k in keepers)} times")
        peak = watch.read("VmHWM")
        until(lambda: watch.read("VmRSS") < MEMORY_MB * 3 / 4, "memory to fall back", seconds=20)
        watch.phase("afterwards")
        watch.stopped = True
        assert peak <= MEMORY_MB + slack, f"{peak:.1f} MB resident at most, allowed {MEMORY_MB} + {slack}"
    print("ok")


if __name__ == "__main__":
    main()
