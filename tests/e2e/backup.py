"""`trivet backup` of a server under load: every line that was acknowledged before the backup began is in the copy,
once; a backup that is killed leaves a good copy behind, and the next one goes on. The lines are of several
retention classes, and long enough to be sealed while it runs."""

import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request

from harness import TRIVET, Server


CONFIG = """\
retention:
  logs: 30d
  classes:
    - {name: short, signal: logs, match: '{kind="short"}', age: 10d}
    - {name: odd, signal: logs, match: '{parity="odd"}', age: 60d}
"""
NOISE = random.Random(1).randbytes(1000).hex()


class Load(threading.Thread):
    """Pushes lines 0, 1, 2, ... until told to stop."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.done, self.stopped = server, 0, False

    def run(self):
        while not self.stopped:
            first = self.done
            t = time.time_ns()
            streams = {"short": [], "long": []}
            for i in range(50):
                n = first + i
                meta = {"parity": "odd"} if n % 2 else {}
                at = random.randrange(len(NOISE) - 1000)
                streams["short" if n % 3 == 0 else "long"].append([str(t + i), f"line {n} {NOISE[at:at + 1000]}", meta])
            body = {"streams": [{"stream": {"app": "backup", "kind": k}, "values": v} for k, v in streams.items()]}
            request = urllib.request.Request(self.server.url + "/loki/api/v1/push", json.dumps(body).encode(),
                                             {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as reply:
                assert reply.status == 204
            self.done = first + 50


def backup(data, copy):
    return subprocess.run([TRIVET, "backup", "--data-dir", data, "--to", copy], capture_output=True, text=True)


def lines_of(url):
    found, end = [], time.time_ns() + 10**9
    while True:
        page = json.load(urllib.request.urlopen(
            f"{url}/loki/api/v1/query_range?query=%7Bapp%3D%22backup%22%7D&limit=5000&start=0&end={end}"))
        values = [v for s in page["data"]["result"] for v in s["values"]]
        found += [v[1] for v in values]
        if len(values) < 5000:
            return found
        end = min(int(v[0]) for v in values)


def check_copy(copy, at_least, at_most):
    done = subprocess.run([TRIVET, "check", "--data-dir", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with Server(data_dir=copy) as server:
        lines = lines_of(server.url)
    numbers = sorted(int(line.split()[1]) for line in lines)
    assert numbers == list(range(len(numbers))), "lines are missing or doubled"
    assert at_least <= len(numbers) <= at_most, (at_least, len(numbers), at_most)
    return len(numbers)


def main():
    base = tempfile.mkdtemp(prefix="trivet-backup-")
    data, copy = os.path.join(base, "data"), os.path.join(base, "copy")
    os.mkdir(data)
    try:
        config = os.path.join(base, "trivet.yaml")
        with open(config, "w") as f:
            f.write(CONFIG)
        with Server("--config", config, data_dir=data) as server:
            load = Load(server)
            load.start()
            for _ in range(2):
                time.sleep(0.5)
                before = load.done
                done = backup(data, copy)
                assert done.returncode == 0, done.stderr
                check_copy(copy, before, load.done + 50)
            # Killed at some moment: what is there is some whole state; the next one is complete.
            for wait in (0.001, 0.004, 0.008, 0.015):
                process = subprocess.Popen([TRIVET, "backup", "--data-dir", data, "--to", copy],
                                           stdout=subprocess.DEVNULL)
                time.sleep(wait)
                process.kill()
                process.wait()
                before = check_copy(copy, before, load.done + 50)
            before = load.done
            assert backup(data, copy).returncode == 0
            load.stopped = True
            load.join()
            n = check_copy(copy, before, load.done)
            refused = backup(data, os.path.join(data, "copy"))
            assert refused.returncode == 1 and "cannot be in" in refused.stderr, refused.stderr
            refused = backup(data, base)
            assert refused.returncode == 1, refused.stdout
            assert subprocess.run([TRIVET, "backup"], capture_output=True).returncode == 2
        print(f"ok: {n} lines")
    finally:
        shutil.rmtree(base, ignore_errors=True)


main()
