"""trivet against Debian's Prometheus: the same series by remote write into both, the same expressions to both.

    TRIVET=build/release/trivet python3 tests/bench/prometheus_peer.py [--hours 24] [--scale 8] [--runs 5] [--all]
    TRIVET=build/release/trivet python3 tests/bench/prometheus_peer.py --hours 0.5 --scale 170 --batch 1 --memory

Prints, one a line: samples, series, seconds of CPU and of time to take them in, bytes on disk, resident memory (also
without mapped files), then for each way of asking - a range at step 60 s, one instant; warm, and cold, which is the
first time after a restart - the ratio trivet / Prometheus of every expression and their geometric mean. Time is that of
the client, from request to the last byte, over one connection, the least of the runs; CPU time is the server's, of all
its threads. Values are compared on the way as in tests/e2e/prometheus_values.py; the first line that begins with
"differs" is a bug. scale 8 is about 4,800 series at a time. Takes some minutes and 1 GB below TMPDIR. The second form
only writes and reports: memory of 100,000 active series that are sent scrape by scrape."""

import argparse
import math
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Server  # noqa: E402
from prom_data import STEP_MS, Lab  # noqa: E402
from prom_expressions import everything  # noqa: E402
from prom_peer import Client, Prometheus, compare, wait_for  # noqa: E402


def cpu_seconds(pid):
    """Of all threads, finer than /proc/PID/stat."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


def memory_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        lines = dict(line.split(":", 1) for line in f if line.startswith(("VmRSS", "RssAnon", "VmHWM")))
    return tuple(int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "RssAnon", "VmHWM"))


def disk_mb(folder):
    total = 0
    for at, _, names in os.walk(folder):
        total += sum(os.stat(os.path.join(at, name)).st_blocks * 512 for name in names)
    return total / 2**20


class Side:
    """One of the two servers, its client and what it has cost."""

    def __init__(self, name, server, folder):
        self.name, self.server, self.folder = name, server, folder
        self.wall = self.cpu = 0.0
        self.connect()

    def connect(self):
        self.client = Client(self.server.port)

    @property
    def pid(self):
        return self.server.process.pid

    def take(self, body):
        wall, cpu = time.perf_counter(), cpu_seconds(self.pid)
        self.client.write(body)
        self.wall += time.perf_counter() - wall
        self.cpu += cpu_seconds(self.pid) - cpu

    def ask(self, expr, when, runs):
        """(body, least seconds, least seconds of CPU)"""
        wall, cpu, body = math.inf, math.inf, b""
        for _ in range(runs):
            c, w = cpu_seconds(self.pid), time.perf_counter()
            body = self.client.query(expr, **when)
            wall = min(wall, time.perf_counter() - w)
            cpu = min(cpu, cpu_seconds(self.pid) - c)
        return body, wall, cpu

    def settle(self):
        """Until the background is quiet."""
        last = [cpu_seconds(self.pid), time.monotonic()]

        def quiet():
            time.sleep(2)
            now = cpu_seconds(self.pid)
            busy, last[0] = now - last[0], now
            return busy < 0.1

        wait_for(quiet, 300)

    def report(self, what):
        rss, anon, peak = memory_mb(self.pid)
        print(f"{what} {self.name}: resident {rss:.0f} MB, without files {anon:.0f} MB, at most {peak:.0f} MB;"
              f" disk {disk_mb(self.folder):.1f} MB", flush=True)


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def measure(sides, what, when, runs, show_all):
    theirs, ours = sides
    rows, wrong_ones = [], 0
    for group, expr in everything():
        want, wall_a, cpu_a = theirs.ask(expr, when, runs)
        got, wall_b, cpu_b = ours.ask(expr, when, runs)
        wrong, _, _ = compare(want, got)
        if wrong:
            wrong_ones += 1
            print(f"differs {what} {group}: {expr}\n    " + "\n    ".join(wrong[:3]))
        rows.append((wall_b / wall_a, cpu_b / max(cpu_a, 1e-6), wall_a, wall_b, expr))
    rows.sort(reverse=True)
    print(f"{what}: {len(rows)} expressions, {wrong_ones} differ; trivet / prometheus, geometric mean:"
          f" time {mean([r[0] for r in rows]):.3f}, CPU {mean([r[1] for r in rows]):.3f};"
          f" worst {rows[0][0]:.2f}; above 1: {sum(r[0] > 1 for r in rows)};"
          f" sums {sum(r[2] for r in rows):.3f} s, {sum(r[3] for r in rows):.3f} s", flush=True)
    for ratio, cpu, wall_a, wall_b, expr in rows if show_all else rows[:12]:
        print(f"  {ratio:6.3f} time {cpu:6.3f} CPU  {wall_a * 1e3:9.2f} ms {wall_b * 1e3:9.2f} ms  {expr}")


def load(sides, lab, batch):
    samples = 0
    for body, n in lab.requests(batch):
        samples += n
        for side in sides:
            side.take(body)
    print(f"samples {samples}")
    for side in sides:
        print(f"taken in by {side.name}: {side.wall:.1f} s, CPU {side.cpu:.1f} s,"
              f" {samples / side.cpu / 1e6:.2f} M samples per second of CPU", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--scale", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=40, help="scrapes in one request")
    parser.add_argument("--memory", action="store_true", help="no queries")
    parser.add_argument("--all", action="store_true", help="every expression, not only the slowest")
    options = parser.parse_args()
    if not Prometheus.is_installed():
        print("prometheus is not installed")
        return 77
    scrapes = int(options.hours * 3600 * 1000 / STEP_MS)
    start_ms = (int(time.time()) // 60 * 60 - scrapes * STEP_MS // 1000 - 60) * 1000
    lab = Lab(start_ms, scrapes, scale=options.scale)
    end = lab.end_ms // 1000 - 8
    grid = {"grid": (start_ms // 1000 + 7, end, 60)}
    with Server() as server, Prometheus() as peer:
        theirs, ours = Side("prometheus", peer, peer.folder + "/tsdb"), Side("trivet", server, server.data_dir)
        sides = (theirs, ours)
        load(sides, lab, options.batch)
        if options.memory:
            for side in sides:
                side.report("at the end of writing")
        for side in sides:
            side.settle()
            side.report("after writing")
        if options.memory:
            return 0
        measure(sides, "range warm", grid, options.runs, options.all)
        measure(sides, "instant warm", {"at": end}, options.runs, options.all)
        for side in sides:
            side.report("after queries")
        peer.stop(keep=True)
        server.process.terminate()
        server.process.wait()
        for side in sides:
            began = time.monotonic()
            side.server.start()
            print(f"{side.name} is ready after {time.monotonic() - began:.2f} s")
            side.connect()
            side.settle()
        measure(sides, "range cold", grid, 1, options.all)
    return 0


if __name__ == "__main__":
    sys.exit(main())
