"""The numbers of traces against the real binary: a corpus over OTLP/HTTP, then each kind of question, warm and after a restart
with cold caches. One table: what, target, measured.

    traces.py --build BUILD [--spans 10000000] [--rate 1000] [--memory 128M] [--dir DIR] [--only ingest|query] [--quick]

BUILD holds trivet and tests/bench/load (a Release build). The spans are those of tests/support/span_corpus.h, the newest one at the
time of the start, --rate of them a second of their own time. CPU is that of the server's threads together (schedstat, ns); wall is
what the client waits, best of five for warm. Needs about 40 bytes a span in DIR; it is removed at the end unless --keep is given."""

import argparse
import glob
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

RUNS = 5
SPANS_A_REQUEST = 950


class Server:
    def __init__(self, binary, folder, memory):
        self.binary, self.folder, self.memory = binary, folder, memory
        self.start()

    def start(self):
        self.log = open(self.folder + ".log", "w+")
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data-dir", self.folder, "--listen", "127.0.0.1:0", "--memory", self.memory,
             "--log-level", "debug"], stdout=self.log, stderr=subprocess.STDOUT)
        self.pid = self.process.pid
        for _ in range(3000):
            match = re.search(r"event=ready .*listen=\"?127\.0\.0\.1:(\d+)", open(self.folder + ".log").read())
            if match:
                break
            time.sleep(0.01)
        self.port = int(match.group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)
        self.log.close()

    def cpu(self):
        total = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            try:
                total += int(open(path).read().split()[0])
            except OSError:
                pass
        return total / 1e9

    def rss_mb(self, what="VmRSS"):
        return int(re.search(what + r":\s+(\d+) kB", open(f"/proc/{self.pid}/status").read()).group(1)) / 1024

    def get(self, path, **params):
        """(body, wall seconds, CPU seconds)"""
        headers = {"Accept": params.pop("accept", "application/json")}
        target = path + ("?" + urllib.parse.urlencode(params) if params else "")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.connect()
        cpu, begin = self.cpu(), time.perf_counter()
        connection.request("GET", target, headers=headers)
        reply = connection.getresponse()
        body = reply.read()
        wall = time.perf_counter() - begin
        time.sleep(0.005)
        cpu = self.cpu() - cpu
        connection.close()
        if reply.status != 200:
            raise RuntimeError(f"{target}: {reply.status} {body[:300]!r}")
        return body, wall, cpu

    def settle(self):
        """Until nothing is sealed or merged any more."""
        quiet, last = 0, -1.0
        while quiet < 4:
            time.sleep(1)
            now = self.cpu()
            quiet = quiet + 1 if now - last < 0.02 else 0
            last = now


rows = []


def row(what, target, measured):
    rows.append((what, target, measured))
    print(f"{what:58} {target:>22}   {measured}", flush=True)


def drop_caches():
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        return "dropped"
    except OSError:
        return "kept"


def advise_away(folder):
    for path in glob.glob(folder + "/**/*.db", recursive=True):
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load(build, server, mode, requests, seconds=None):
    args = [f"{build}/tests/bench/load", mode, f"127.0.0.1:{server.port}", str(server.pid), str(requests)]
    return subprocess.Popen(args + ([str(seconds)] if seconds else []), stdout=subprocess.PIPE, text=True)


def disk(folder):
    files = glob.glob(folder + "/**/*.db", recursive=True)
    return sum(os.path.getsize(f) for f in files), len(files)


def ingest(options, server, spans):
    """Fills the store; returns the ids of some traces."""
    requests = spans // SPANS_A_REQUEST
    process = load(options.build, server, "otlp-traces", requests, spans / options.rate)
    text = process.communicate()[0]
    if process.returncode != 0:
        raise RuntimeError("load failed")
    records = int(re.search(r"records=(\d+)", text).group(1))
    row("OTLP/HTTP ingest, spans/s of one core (seals, merges included)", ">= 400,000",
        re.search(r"records_per_cpu_second=(\d+)", text).group(1))
    row("  wall, one connection", "", re.search(r"records_per_wall_second=(\d+)", text).group(1) + "/s")
    row("  peak resident, traces only", "<= 128 MB", f"{server.rss_mb('VmHWM'):.0f} MB")
    cpu = server.cpu()
    server.settle()
    row("  CPU until settled afterwards", "", f"{server.cpu() - cpu:.1f} s = {(server.cpu() - cpu) / records * 1e9:.0f} ns/span")
    return records, re.findall(r"trace=([0-9a-f]{32}) t=(\d+)", text)


def three_signals(options, server):
    """All three at once, as fast as they go."""
    jobs = [load(options.build, server, "otlp-traces", 1000, 600), load(options.build, server, "otlp-metrics", 400),
            load(options.build, server, "otlp-logs", 400)]
    for job in jobs:
        if job.wait() != 0:
            raise RuntimeError("load failed")
    row("peak resident, three signals at once", "<= 128 MB", f"{server.rss_mb('VmHWM'):.0f} MB")


def timed(server, what, target, path, check=None, **params):
    first = server.get(path, **params)
    best_wall, best_cpu = first[1], first[2]
    for _ in range(RUNS):
        body, wall, cpu = server.get(path, **params)
        best_wall, best_cpu = min(best_wall, wall), min(best_cpu, cpu)
    note = check(body) if check else f"{len(body)} bytes"
    row(what, target, f"{best_wall * 1e3:.1f} ms wall, {best_cpu * 1e3:.1f} ms CPU (first {first[1] * 1e3:.1f})  {note}")


def traces_of(body):
    answer = json.loads(body)
    return f"{len(answer.get('traces', []))} traces, {answer['metrics'].get('inspectedTraces', '?')} inspected"


def series_of(body):
    return f"{len(json.loads(body)['series'])} series"


def values_of(body):
    return f"{len(json.loads(body)['tagValues'])} values"


def by_id(server, label, target, ids):
    walls, cpus = [], []
    for trace, _ in ids:
        _, wall, cpu = server.get(f"/api/v2/traces/{trace}", accept="application/protobuf")
        walls.append(wall)
        cpus.append(cpu)
    walls.sort()
    row(label, target, f"median {walls[len(walls) // 2] * 1e3:.1f} ms, worst {walls[-1] * 1e3:.1f}; CPU median "
        f"{sorted(cpus)[len(cpus) // 2] * 1e3:.1f} ms")


def questions(server, now, hours):
    hour = {"start": now - 3600, "end": now}
    whole = {"start": now - int(hours * 3600) - 600, "end": now + 60}
    search = "/api/search"
    three = '{ resource.service.name="checkout" && span.http.response.status_code=500 && duration>50ms }'
    timed(server, "three conditions, newest 20, all spans", "", search, traces_of, q=three, limit=20, **whole)
    timed(server, "three conditions, all matches (limit 10000), all spans", "25 ms CPU for 2M", search, traces_of, q=three, limit=10000,
          **whole)
    timed(server, '{ service && duration > 1s } newest 20, all spans', "< 50 ms", search, traces_of,
          q='{ resource.service.name = "frontend" && duration > 1s }', limit=20, **whole)
    timed(server, '{ service && duration > 1s } rare service, all spans', "< 50 ms", search, traces_of,
          q='{ resource.service.name = "ads" && duration > 1s }', limit=20, **whole)
    timed(server, "{ } newest 20, all spans", "", search, traces_of, q="{}", limit=20, **whole)
    timed(server, "{ error } >> { client }, newest 20, 1 h", "", search, traces_of, q="{ status = error } >> { kind = client }", limit=20,
          **hour)
    timed(server, "structural without a match, 1 h", "", search, traces_of,
          q='{ name = "no such" } >> { kind = client }', limit=20, **hour)
    timed(server, "{ kind = server } > { status = error } | count() > 2, 1 h", "", search, traces_of,
          q="{ kind = server } > { status = error } | count() > 2", limit=20, **hour)
    timed(server, "{ status = error } | rate() by (service), 1 h", "< 200 ms", "/api/metrics/query_range", series_of,
          q="{ status = error } | rate() by (resource.service.name)", step="15s", **hour)
    timed(server, "{ } | rate(), 1 h", "", "/api/metrics/query_range", series_of, q="{ } | rate()", step="15s", **hour)
    timed(server, "{ } | quantile_over_time(duration, .9) by (name), 1 h", "", "/api/metrics/query_range", series_of,
          q="{ } | quantile_over_time(duration, .9) by (name)", step="60s", **hour)
    timed(server, "values of resource.service.name, all spans", "", "/api/v2/search/tag/resource.service.name/values", values_of, **whole)
    timed(server, "values of span.http.route, all spans", "", "/api/v2/search/tag/span.http.route/values", values_of, **whole)
    timed(server, "tags, all spans", "", "/api/v2/search/tags", None, **whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--memory", default="128M")
    parser.add_argument("--dir")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    base = options.dir or tempfile.mkdtemp(prefix="trivet-bench-")
    folder = os.path.join(base, "data")
    server = Server(f"{options.build}/trivet", folder, options.memory)
    try:
        now = int(time.time())
        records, ids = ingest(options, server, options.spans)
        size, files = disk(folder)
        row("stored, segments only (heads sealed or not)", "", f"{size / records:.1f} B/span in {files} files")
        hours = records / options.rate / 3600
        by_id(server, f"trace by id, {records / 1e6:.1f} M spans, warm (1st round)", "< 5 ms", ids)
        by_id(server, "trace by id, warm (2nd round)", "< 5 ms", ids)
        questions(server, now, hours)
        row("resident after the questions", "<= 128 MB", f"{server.rss_mb():.0f} MB, peak {server.rss_mb('VmHWM'):.0f} MB")
        server.stop()
        size, files = disk(folder)
        row("stored, everything sealed", "<= 30 B/span", f"{size / records:.1f} B/span in {files} files")
        advise_away(folder)
        how = drop_caches()
        begin = time.perf_counter()
        server.start()
        row("start, caches " + how, "", f"{(time.perf_counter() - begin) * 1e3:.0f} ms")
        for trace in ids[:1]:
            _, wall, cpu = server.get(f"/api/v2/traces/{trace[0]}", accept="application/protobuf")
            row("trace by id, cold, the first request", "< 50 ms", f"{wall * 1e3:.1f} ms wall, {cpu * 1e3:.1f} ms CPU")
        by_id(server, "trace by id, cold, the next ones", "< 50 ms", ids[1:])
        three_signals(options, server)
    finally:
        if server.process.poll() is None:
            server.stop()
        if not options.keep:
            shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
