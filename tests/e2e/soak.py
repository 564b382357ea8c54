"""A server that lives long on a small machine: steady telemetry of all three signals, a dashboard that refreshes, somebody who
follows every line, with --memory 64M, small disk budgets and short retention. Ends by itself.

    soak.py --seconds 1800 --out DIR        (default 1800 s; in the test run 20 s)

Each second one row goes into DIR/soak.csv: resident memory, descriptors, threads, bytes and files on disk, records sent, answers
and their times. At the end the run fails when
  - a line that was acknowledged did not come by in the tail, or came twice, or a request failed;
  - memory passed the ceiling, or the disk its budget;
  - memory, descriptors, threads or disk still grow after the warm-up (runs of a quarter of an hour and more: a line is laid through the
    rows; what it gains by the end, seen against the noise, must stay below the tolerance)."""

import argparse
import csv
import json
import os
import random
import re
import statistics
import struct
import tempfile
import threading
import time

from harness import Server

MB = 2**20
MEMORY_MB, SLACK_MB = 64, 8
DISK_MB, DISK_SLACK = 12, 2  # small, so that a generation lasts a minute or so; merges lie beside their inputs for a moment
SERIES, LINES, TRACES, SPANS = 1500, 1200, 20, 12  # a second
CHURN_SECONDS = 60  # a rollout: pods get new names
PODS = 30
FLAT_SECONDS = 900  # shorter runs tell their slopes only: retention must have begun to work

# What may be gained from the end of the warm-up to the end of the run.
TOLERANCE = {"rss_kb": 5 * 1024, "fds": 8, "threads": 1, "disk_bytes": 3 * MB, "files": 60}


# ---- telemetry ----

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


def counters(name, count, t_ns, value, pods):
    """One cumulative sum with `count` points; a third of them as hard to pack as values get, so that generations are short."""
    stamp = b"\x19" + struct.pack("<Q", t_ns)
    points = b"".join(field(1, stamp + b"\x21" + struct.pack("<d", value + (random.random() if i % 3 == 0 else i % 7))
                            + field(7, attribute("pod", pods[i % len(pods)])) + field(7, attribute("path", f"/api/{i // len(pods)}")))
                      for i in range(count))
    metric = field(1, name.encode()) + field(7, points + b"\x10\x02\x18\x01")
    return field(1, field(1, field(1, attribute("service.name", "soak"))) + field(2, field(2, metric)))


def histogram(t_ns, value):
    """What the dashboard's latency panel draws."""
    return {"resourceMetrics": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "soak"}}]},
            "scopeMetrics": [{"metrics": [{"name": "http.server.request.duration", "unit": "s", "histogram": {
                "aggregationTemporality": 2, "dataPoints": [{
                    "timeUnixNano": str(t_ns), "count": str(value * 10), "sum": value * 1.5,
                    "bucketCounts": [str(value * 6), str(value * 3), str(value)], "explicitBounds": [0.1, 0.5],
                    "attributes": [{"key": "http.response.status_code", "value": {"stringValue": code}}]} for code in ("200", "500")]}}]}]}]}


def trace(t_ns):
    trace_id = random.randbytes(16).hex()
    return [{"traceId": trace_id, "spanId": f"{i + 1:016x}", "parentSpanId": f"{i:016x}" if i else "", "name": f"step {i}", "kind": 2,
             "startTimeUnixNano": str(t_ns + i * 1000), "endTimeUnixNano": str(t_ns + 10**6 * (SPANS - i)),
             "status": {"code": 2 if i == 3 and random.random() < 0.1 else 0},
             "attributes": [{"key": "url.path", "value": {"stringValue": f"/orders/{random.randrange(10**6)}"}},
                            {"key": "http.response.status_code", "value": {"intValue": str(random.choice((200, 200, 404, 500)))}}]}
            for i in range(SPANS)]


class Sender(threading.Thread):
    """Every second one request of each kind, sent again until it is taken."""

    def __init__(self, soak):
        super().__init__()
        self.soak, self.server = soak, soak.server
        self.lines = self.samples = self.spans = self.told_to_wait = 0
        self.newest_ns = 0

    def post(self, path, body, kind):
        while not self.soak.failed:
            status, reply, _ = self.server.ask(path, data=body, headers={"Content-Type": kind})
            if status in (200, 204):
                assert b"rejected" not in reply, reply
                return
            assert status in (429, 503), (path, status, reply[:300])
            self.told_to_wait += 1
            time.sleep(0.1)

    def turn(self, second, pods):
        t, as_json = time.time_ns(), "application/json"
        self.post("/v1/metrics", counters("soak.requests", SERIES, t, second * 10.0, pods), "application/x-protobuf")
        self.post("/v1/metrics", json.dumps(histogram(t, second + 1)).encode(), as_json)
        self.samples += SERIES
        t = max(time.time_ns(), self.newest_ns + 1)
        lines = [[str(t + i), f"level={random.choice(('info', 'info', 'warn', 'error'))} n={self.lines + i} user={random.randrange(10**9)} "
                  f"path=/orders/{random.randrange(10**5)} took={random.random():.6f}s msg=\"an order of {random.randrange(99)} things\""]
                 for i in range(LINES)]
        self.post("/loki/api/v1/push", json.dumps({"streams": [{"stream": {"service_name": "soak"}, "values": lines}]}).encode(), as_json)
        self.lines += LINES
        self.newest_ns = t + LINES
        spans = [span for _ in range(TRACES) for span in trace(time.time_ns())]
        self.post("/v1/traces", json.dumps({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "soak"}}]},
            "scopeSpans": [{"spans": spans}]}]}).encode(), as_json)
        self.spans += len(spans)

    def run(self):
        with self.soak.guard():
            started, second = time.monotonic(), 0
            while not self.soak.stopped:
                rollout = second // CHURN_SECONDS
                self.turn(second, [f"frontend-{rollout:04d}-{i:02d}" for i in range(PODS)])
                second += 1
                time.sleep(max(0, started + second - time.monotonic()))
                if time.monotonic() - started > second + 5:
                    started = time.monotonic() - second  # a slow machine: no rush afterwards


# ---- readers ----

class Tail(threading.Thread):
    """Follows the lines: each acknowledged one comes by once, in order."""

    def __init__(self, soak):
        super().__init__()
        self.soak, self.server, self.next, self.last_ns = soak, soak.server, 0, 0

    def turn(self, start_ns):
        reply = self.soak.ask("/loki/api/v1/query_range", {"query": '{service_name="soak"}', "limit": 5000, "direction": "forward",
                                                           "start": max(start_ns, self.last_ns + 1), "end": time.time_ns() + 10**10})
        if reply is None:
            return 0
        rows = sorted((int(t), line) for stream in reply["data"]["result"] for t, line in stream["values"])
        for t, line in rows:
            n = int(re.search(r" n=(\d+) ", line).group(1))
            assert n == self.next, f"line {n} where {self.next} was expected"
            self.next, self.last_ns = n + 1, t
        return len(rows)

    def run(self):
        start_ns = time.time_ns()
        with self.soak.guard():
            while not self.soak.stopped:
                if self.turn(start_ns) < 5000:
                    time.sleep(0.5)
            while self.next < self.soak.sender.lines and not self.soak.sender.is_alive():
                assert self.turn(start_ns) > 0, f"{self.next} of {self.soak.sender.lines} lines came by"


def panels(t):
    """The dashboard of packaging/grafana and what its variables and Explore ask besides."""
    prom, ns = {"start": t - 900, "end": t, "step": 15}, 10**9
    loki, tempo = {"start": int(t - 900) * ns, "end": int(t) * ns}, {"start": int(t) - 900, "end": int(t) + 1}
    duration = '{__name__=~"http_server_(request_)?duration_(milli)?seconds_count",job=~".+"}[1m]'
    return [
        ("/api/v1/query_range", {"query": f"sum by (job) (rate({duration}))", **prom}),
        ("/api/v1/query_range", {"query": "1000 * histogram_quantile(0.95, sum by (job, le) (rate(http_server_request_duration_seconds_bucket[1m])))", **prom}),
        ("/api/v1/query_range", {"query": "sum by (pod) (rate(soak_requests_total[1m]))", **prom}),
        ("/api/v1/query_range", {"query": "topk(5, sum by (path) (rate(soak_requests_total[5m])))", **prom}),
        ("/api/v1/query", {"query": 'count by (__name__) ({__name__=~".+"})', "time": t}),
        ("/api/v1/label/pod/values", {"start": t - 900, "end": t}),
        ("/api/v1/series", {"match[]": "http_server_request_duration_seconds_count", "start": t - 900, "end": t}),
        ("/loki/api/v1/query_range", {"query": 'sum by (detected_level) (count_over_time({service_name=~".+"}[15s]))', "step": "15s", **loki}),
        ("/loki/api/v1/query_range", {"query": '{service_name=~".+"} |= "level=error"', "limit": 100, "direction": "backward", **loki}),
        ("/loki/api/v1/query_range", {"query": 'sum by (level) (rate({service_name="soak"} | logfmt | took > 0.9s [1m]))', "step": "15s",
                                      "start": int(t - 120) * ns, "end": int(t) * ns}),
        ("/loki/api/v1/labels", loki),
        ("/api/metrics/query_range", {"q": '{ resource.service.name =~ ".+" } | rate() by (resource.service.name)', "step": "15s", **tempo}),
        ("/api/search", {"q": "{ status = error }", "limit": 20, "spss": 3, **tempo}),
        ("/api/search", {"q": "{ span.http.response.status_code = 500 } && { duration > 5ms }", "limit": 20, "spss": 3, **tempo}),
        ("/api/v2/search/tags", tempo),
        ("/metrics", {}),
    ]


class Dashboard(threading.Thread):
    """Refreshes every five seconds, one panel after the other."""

    def __init__(self, soak):
        super().__init__()
        self.soak = soak

    def run(self):
        with self.soak.guard():
            while not self.soak.stopped:
                for path, params in panels(time.time()):
                    self.soak.ask(path, params)
                    if self.soak.stopped:
                        return
                time.sleep(5)


# ---- watching ----

def tree(path):
    """(bytes, files) below path."""
    size = files = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.stat(os.path.join(folder, name)).st_size
                files += 1
            except FileNotFoundError:
                pass
    return size, files


def slope(rows, key):
    """Gain per hour by the least squares, and what the line gains over all rows."""
    t = [row["t"] for row in rows]
    v = [row[key] for row in rows]
    mean_t, mean_v = statistics.fmean(t), statistics.fmean(v)
    per_second = sum((x - mean_t) * (y - mean_v) for x, y in zip(t, v)) / (sum((x - mean_t) ** 2 for x in t) or 1)
    return per_second * 3600, per_second * (t[-1] - t[0])


class Soak:
    def __init__(self, server, seconds, out):
        self.server, self.seconds, self.out = server, seconds, out
        self.failed, self.stopped = None, False
        self.lock, self.times, self.busy = threading.Lock(), [], 0
        self.sender, self.tail, self.dashboard = Sender(self), Tail(self), Dashboard(self)

    def guard(self):
        soak = self

        class Guard:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, _):
                if error is not None:
                    soak.failed = soak.failed or error
                    soak.stopped = True
                return True
        return Guard()

    def ask(self, path, params):
        """Parsed answer, or None when the server says: later."""
        started = time.monotonic()
        status, body, _ = self.server.ask(path, params)
        with self.lock:
            self.times.append(time.monotonic() - started)
            self.busy += status in (429, 503)
        assert status in (200, 429, 503), (path, params, status, body[:300])
        return json.loads(body) if status == 200 and path != "/metrics" else None

    def row(self, t):
        with open(f"/proc/{self.server.process.pid}/status") as f:
            status = f.read()
        with self.lock:
            times, self.times = sorted(self.times), []
        size, files = tree(self.server.data_dir)
        number = lambda key: int(re.search(key + r":\s+(\d+)", status).group(1))
        return {
            "t": round(t, 1), "rss_kb": number("VmRSS"), "peak_kb": number("VmHWM"), "threads": number("Threads"),
            "fds": len(os.listdir(f"/proc/{self.server.process.pid}/fd")), "disk_bytes": size, "files": files,
            "lines": self.sender.lines, "samples": self.sender.samples, "spans": self.sender.spans, "tailed": self.tail.next,
            "told_to_wait": self.sender.told_to_wait, "busy": self.busy, "answers": len(times),
            "ms_median": round(statistics.median(times) * 1000, 1) if times else 0,
            "ms_max": round(times[-1] * 1000, 1) if times else 0,
        }

    def run(self):
        rows, started = [], time.monotonic()
        threads = [self.sender, self.tail, self.dashboard]
        with open(os.path.join(self.out, "soak.csv"), "w", newline="") as f:
            table = None
            for thread in threads:
                thread.start()
            while not self.stopped and time.monotonic() - started < self.seconds:
                time.sleep(max(0, started + len(rows) + 1 - time.monotonic()))
                rows.append(self.row(time.monotonic() - started))
                table = table or csv.DictWriter(f, rows[0].keys())
                if len(rows) == 1:
                    table.writeheader()
                table.writerow(rows[-1])
                f.flush()
        self.stopped = True
        for thread in threads:
            thread.join()
        if self.failed:
            raise self.failed
        return rows


def judge(rows, seconds):
    """Prints the slopes; returns what is wrong."""
    warm = [row for row in rows if row["t"] >= (max(seconds / 3, 450) if seconds >= FLAT_SECONDS else seconds / 3)] or rows
    wrong = []
    for key, most in TOLERANCE.items():
        per_hour, gained = slope(warm, key)
        print(f"{key}: {min(r[key] for r in warm)} to {max(r[key] for r in warm)}, {per_hour:+.0f} an hour, {gained:+.0f} in {warm[-1]['t'] - warm[0]['t']:.0f} s")
        if seconds >= FLAT_SECONDS and gained > most:
            wrong.append(f"{key} grows: {gained:+.0f}, allowed {most}")
    peak, disk = max(r["peak_kb"] for r in rows) / 1024, max(r["disk_bytes"] for r in rows) / MB
    if peak > MEMORY_MB + SLACK_MB:
        wrong.append(f"{peak:.1f} MB resident at most")
    if disk > DISK_MB * DISK_SLACK:
        wrong.append(f"{disk:.1f} MB on disk at most")
    last = rows[-1]
    print(f"{last['lines']} lines, {last['samples']} samples, {last['spans']} spans; told to wait {last['told_to_wait']} times, "
          f"{sum(r['answers'] for r in rows)} answers, busy {last['busy']}; at most {peak:.1f} MB resident, {disk:.1f} MB on disk; "
          f"median answer {statistics.median(r['ms_median'] for r in rows if r['answers']):.1f} ms, slowest {max(r['ms_max'] for r in rows):.0f} ms")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS", 1800)))
    parser.add_argument("--out", default=None)
    args = parser.parse_args()
    out = args.out or tempfile.mkdtemp(prefix="trivet-soak-")
    os.makedirs(out, exist_ok=True)
    part = f"{DISK_MB // 3}M"
    with Server("--memory", f"{MEMORY_MB}M", "--retention", "5m", "--disk-total", f"{DISK_MB}M", "--disk-metrics", part,
                "--disk-logs", part, "--disk-traces", part) as server:
        rows = Soak(server, args.seconds, out).run()
        wrong = judge(rows, args.seconds)
    print(f"rows: {out}/soak.csv")
    assert not wrong, wrong
    print("ok")


if __name__ == "__main__":
    main()
