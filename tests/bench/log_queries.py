"""log_queries.py - what searches over a folder of bench_logs cost a server, through Loki's HTTP API.

    python3 tests/bench/log_queries.py TRIVET FOLDER [--cold] [--only WORD]

Starts TRIVET on the folder (which it may merge further) and prints per query: milliseconds of CPU
of the whole server and of the wall clock, the best and the median of the runs, lines and blocks
that the answer's statistics name. --cold asks once each, the page cache of the folder dropped and
the server started anew before every query.
"""
import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

RUNS = 5
ALL = '{kind=~".+"}'


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, trivet, folder):
        self.trivet, self.folder = trivet, folder
        self.start()

    def start(self):
        self.port = free_port()
        self.process = subprocess.Popen(
            [self.trivet, "serve", "--data-dir", self.folder, "--listen", f"127.0.0.1:{self.port}",
             "--retention", "none", "--log-level", "error", "--query-timeout", "5m"])
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready"):
                    return
            except OSError:
                time.sleep(0.05)
        self.stop()
        sys.exit("the server does not start")

    def cpu(self):  # ns, all threads
        total = 0
        tasks = f"/proc/{self.process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total

    def rss(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(x.split()[1]) / 1000 for x in f if x.startswith("VmHWM"))

    def get(self, path, **args):
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(args)}"
        try:
            with urllib.request.urlopen(url, timeout=300) as r:
                return json.load(r)["data"]
        except urllib.error.HTTPError as e:
            sys.exit(f"{url}: {e.read().decode()}")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


def drop_cache(folder):
    for where, _, files in os.walk(folder):
        for name in files:
            fd = os.open(os.path.join(where, name), os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def span(server):
    """Time range of the folder, ns."""
    out = []
    for direction in ("forward", "backward"):
        data = server.get("/loki/api/v1/query_range", query=ALL, limit=1, direction=direction,
                          start=0, end=int(2e18))
        out.append(int(data["result"][0]["values"][0][0]))
    return out[0], out[1] + 1


def trace_of(server, start, end):
    """A trace id from the middle."""
    data = server.get("/loki/api/v1/query_range", query='{kind="json"} | trace_id != ""', limit=1,
                      direction="forward", start=(start + end) // 2, end=end)
    return data["result"][0]["stream"]["trace_id"]


def cases(trace, start, end):
    seconds = (end - start) // 10**9 + 1
    lines = lambda q, limit=5000: ("/loki/api/v1/query_range",
                                   {"query": q, "limit": limit, "start": start, "end": end})
    value = lambda q: ("/loki/api/v1/query", {"query": q, "time": end})
    graph = lambda q: ("/loki/api/v1/query_range",
                       {"query": q, "start": start, "end": end, "step": "60s"})
    return [
        ("trace id", lines(f'{ALL} |= "{trace}"')),
        ("trace id in metadata", lines(f'{ALL} | trace_id="{trace}"')),
        ("rare word", lines(f'{ALL} |= "OutOfMemoryError"')),
        ("common word, limit 100", lines(f'{ALL} |= "error"', 100)),
        ("common word, count", value(f'sum(count_over_time({ALL} |= "error" [{seconds}s]))')),
        ("common word, count by minute", graph(f'sum(count_over_time({ALL} |= "error" [1m]))')),
        ("IP address", lines(f'{ALL} |= "147.133.228.75"')),
        ("mixed substring", lines(f'{ALL} |= `user_id":807,`')),
        ("count everything", value(f"sum(count_over_time({ALL}[{seconds}s]))")),
        ("count everything by minute", graph(f"sum(count_over_time({ALL}[1m]))")),
        ("newest 100 lines", lines(ALL, 100)),
        ("json, sum by level",
         graph('sum by (level) (count_over_time({kind="json"} | json [1m]))')),
        ("json, one field",
         graph('sum by (level) (count_over_time({kind="json"} | json level="level" [1m]))')),
    ]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("trivet")
    p.add_argument("folder")
    p.add_argument("--cold", action="store_true")
    p.add_argument("--only", default="")
    o = p.parse_args()
    server = Server(o.trivet, o.folder)
    try:
        ask_all(server, o)
    finally:
        server.stop()


def ask_all(server, o):
    start, end = span(server)
    trace = trace_of(server, start, end)
    print(f"{'query':32} {'CPU ms':>9} {'median':>9} {'wall ms':>9} {'median':>9}  lines seen, MB "
          "seen, MB/s of a core")
    for name, (path, args) in cases(trace, start, end):
        if o.only not in name:
            continue
        cpu, wall = [], []
        for _ in range(1 if o.cold else RUNS):
            if o.cold:
                server.stop()
                drop_cache(o.folder)
                server.start()
            cpu0, wall0 = server.cpu(), time.monotonic_ns()
            data = server.get(path, **args)
            wall.append((time.monotonic_ns() - wall0) / 1e6)
            cpu.append((server.cpu() - cpu0) / 1e6)
        seen = data["stats"]["summary"]
        mb = seen["totalBytesProcessed"] / 1e6
        print(f"{name:32} {min(cpu):9.2f} {statistics.median(cpu):9.2f} {min(wall):9.2f} "
              f"{statistics.median(wall):9.2f}  {seen['totalLinesProcessed']}, {mb:.1f}, "
              f"{mb / min(cpu) * 1000:.0f}", flush=True)
    print(f"peak memory {server.rss():.0f} MB")


if __name__ == "__main__":
    main()
