"""Starts the real binary on free ports and asks it things; everything is stopped by its own pid."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

TRIVET = os.environ.get("TRIVET", "build/release/trivet")


class Server:
    """trivet on 127.0.0.1, one free port that answers everything, a folder of its own."""

    def __init__(self, *args, data_dir=None, keep=False):
        self.args = args
        self.own_dir = data_dir is None
        self.data_dir = data_dir or tempfile.mkdtemp(prefix="trivet-e2e-")
        self.keep = keep
        self.process = None
        self.start()

    def start(self):
        self.log = open(os.path.join(tempfile.gettempdir(), f"trivet-e2e-{os.getpid()}-{time.time_ns()}.log"), "w+")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [TRIVET, "serve", "--data-dir", self.data_dir, "--listen", "127.0.0.1:0", *self.args],
            stdout=self.log, stderr=subprocess.STDOUT)
        self.port = self.wait_ready()
        self.ready_seconds = time.monotonic() - started
        self.url = f"http://127.0.0.1:{self.port}"

    def wait_ready(self):
        for _ in range(1500):
            text = self.log_text()
            match = re.search(r"event=ready .*listen=\"?127\.0\.0\.1:(\d+)", text)
            if match:
                return int(match.group(1))
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"trivet did not become ready:\n{self.log_text()}")

    def log_text(self):
        with open(self.log.name) as f:
            return f.read()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise RuntimeError("trivet did not stop on SIGTERM")
        code = self.process.returncode
        if self.own_dir and not self.keep:
            shutil.rmtree(self.data_dir, ignore_errors=True)
        self.log.close()
        os.unlink(self.log.name)
        return code

    def rss_mb(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) / 1024

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc, tb):
        if exc_type:
            sys.stderr.write(self.log_text()[-4000:])
        code = self.stop()
        if not exc_type and code != 0:
            raise RuntimeError(f"trivet ended with exit code {code}")

    def ask(self, path, params=None, data=None, headers=None, method=None):
        """(status, body bytes, headers); never raises for a status."""
        url = self.url + path + ("?" + urllib.parse.urlencode(params, doseq=True) if params else "")
        request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read(), reply.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    def get(self, path, params=None, **kw):
        """Parsed JSON of a 200."""
        status, body, _ = self.ask(path, params, **kw)
        if status != 200:
            raise AssertionError(f"{path} {params}: {status} {body[:500]!r}")
        return json.loads(body)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(check, what, seconds=20):
    """Repeats check() until it gives something true; its last error is shown otherwise."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            result = check()
            if result:
                return result
            last = result
        except AssertionError as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"waited {seconds} s for {what}: {last!r}")


def now():
    return time.time()
