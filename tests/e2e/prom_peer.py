"""Debian's Prometheus beside trivet: starts it, feeds both, asks both, compares answers value by value."""

import http.client
import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

SKIP = 77  # CTest: not run
ULPS = 64  # sums run in another order and are compensated here: the last bits may differ
ROUNDING = 1e-12  # of the largest value of the series: what subtraction leaves of such bits


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, seconds):
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.05)


class Prometheus:
    """On a free port, with remote write in; stopped by its own pid."""

    def __init__(self, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="trivet-prometheus-")
        self.port = free_port()
        self.log_path = os.path.join(self.folder, "log")
        config = os.path.join(self.folder, "prometheus.yml")
        with open(config, "w") as f:
            f.write("global: {}\n")
        self.start()

    @staticmethod
    def is_installed():
        return shutil.which("prometheus") is not None

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/tsdb",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
                 "--enable-feature=promql-at-modifier,promql-negative-offset"], stdout=log, stderr=subprocess.STDOUT)
        wait_for(self.is_ready, 120)

    def is_ready(self):
        if self.process.poll() is not None:
            with open(self.log_path) as f:
                raise RuntimeError("prometheus ended:\n" + f.read()[-2000:])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    def stop(self, keep=False):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)
        if not keep:
            shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, tb):
        self.stop()


class Client:
    """One connection that stays open."""

    def __init__(self, port):
        self.port = port
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def send(self, method, path, body=None, headers=None):
        self.http.request(method, path, body, headers or {})
        reply = self.http.getresponse()
        return reply.status, reply.read()

    def write(self, body):
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
                   "X-Prometheus-Remote-Write-Version": "0.1.0"}
        while True:
            status, text = self.send("POST", "/api/v1/write", body, headers)
            if status == 429 or status == 503:
                time.sleep(0.1)
                continue
            assert status in (200, 204), (self.port, status, text)
            return

    def query(self, expr, grid=None, at=None):
        """The body; grid (start, end, step) in seconds, or one time."""
        if grid:
            params = {"query": expr, "start": grid[0], "end": grid[1], "step": grid[2]}
        else:
            params = {"query": expr, "time": at}
        path = "/api/v1/" + ("query_range?" if grid else "query?") + urllib.parse.urlencode(params)
        status, body = self.send("GET", path)
        if status != 200:
            raise AssertionError(f"port {self.port}: {status} {body[:300]!r} for {expr}")
        return body


def ordinal(x):
    n = struct.unpack("<q", struct.pack("<d", x))[0]
    return n if n >= 0 else -(n & 0x7FFFFFFFFFFFFFFF)


def series_of(body):
    data = json.loads(body)["data"]
    if data["resultType"] == "scalar":
        return {"": [(data["result"][0], float(data["result"][1]))]}
    out = {}
    for s in data["result"]:
        points = s["values"] if "values" in s else [s["value"]]
        out[json.dumps(s["metric"], sort_keys=True)] = [(t, float(v)) for t, v in points]
    return out


def differ(a, b, largest):
    """None if equal as stated above, else a text; also the distance in ULPs."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return None, 0
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return f"{a!r} != {b!r}", 0
    ulps = abs(ordinal(a) - ordinal(b))
    if ulps <= ULPS:
        return None, ulps
    if abs(a - b) <= ROUNDING * largest:
        return None, 0
    return f"{a!r} != {b!r} ({ulps} ULP)", ulps


def compare(want_body, got_body):
    """(differences as texts, points compared, largest distance in ULPs)"""
    want, got = series_of(want_body), series_of(got_body)
    wrong = [f"only in one: {name}" for name in sorted(want.keys() ^ got.keys())]
    points, most = 0, 0
    for name in want.keys() & got.keys():
        a, b = want[name], got[name]
        if [t for t, _ in a] != [t for t, _ in b]:
            odd = sorted({t for t, _ in a} ^ {t for t, _ in b})
            wrong.append(f"{name}: {len(a)} points, {len(b)} here; first at {odd[0] if odd else '?'}")
            continue
        largest = max((abs(v) for _, v in a if math.isfinite(v)), default=0)
        for (t, x), (_, y) in zip(a, b):
            text, ulps = differ(x, y, largest)
            most = max(most, ulps)
            if text:
                wrong.append(f"{name} at {t}: {text}")
                break
        points += len(a)
    return wrong, points, most
