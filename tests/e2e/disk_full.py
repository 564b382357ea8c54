"""A full disk, on a small tmpfs in a mount namespace of its own: nothing acknowledged is lost by it, queries go on, writers are
told to come again, and it ends by itself.

  own      more data than fits: the oldest goes, the newest is there
  foreign  somebody else's file takes all that is left: writes are refused, nothing is removed in vain; kill -9 and a start while
           full; the file goes, and all is well without help
  budget   --disk-total smaller than what comes: the folder never grows beyond it

Ends with 77 (skipped) where neither root nor user namespaces may mount. LONG=1 sends ten times as much. Scenarios by name as arguments."""

import base64
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

from harness import Server, until

SCALE = 10 if os.environ.get("LONG") else 1
SKIPPED = 77
LINE = 4000  # bytes, so that lines are most of a request
LINES = 64
MB = 1 << 20


def enter_namespace():
    """Starts this script again where mounts are its own and end with it."""
    if os.environ.get("DISK_FULL_INSIDE"):
        return
    for how in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            probe = subprocess.run([*how, "sh", "-c", "mount -t tmpfs -o size=1m none /mnt && touch /mnt/x"], capture_output=True)
        except OSError:
            break
        if probe.returncode == 0:
            os.environ["DISK_FULL_INSIDE"] = "1"
            os.execvp("unshare", [*how, sys.executable, *sys.argv])
    print("skipped: neither root nor a user namespace may mount a tmpfs here")
    sys.exit(SKIPPED)


class Disk:
    """A tmpfs of its own size."""

    def __init__(self, megabytes):
        self.path = tempfile.mkdtemp(prefix="trivet-disk-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", self.path], check=True)
        self.data = os.path.join(self.path, "data")
        self.foreign = os.path.join(self.path, "foreign")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=True)
        os.rmdir(self.path)

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def fill(self):
        """A foreign file takes every free byte."""
        with open(self.foreign, "ab", buffering=0) as f:
            for step in (MB, 4096):
                try:
                    while True:
                        f.write(b"x" * step)
                except OSError:
                    pass

    def used(self):
        """Bytes of the data folder as du counts them."""
        total = 0
        for folder, _, files in os.walk(self.data):
            for name in files:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total


class Load:
    """Pushes lines that hardly compress, and remembers which batches were acknowledged."""

    def __init__(self, server):
        self.server = server
        self.acked = []
        self.refused = 0
        self.sent = 0
        self.answers = {}
        self.next = 0

    def push(self):
        key = f"b{self.next}"
        self.next += 1
        noise = base64.b64encode(random.randbytes(LINE * LINES * 3 // 4)).decode()
        t = time.time_ns()
        values = [[str(t + i), f"batch={key} {noise[i * LINE:(i + 1) * LINE]}"] for i in range(LINES)]
        body = json.dumps({"streams": [{"stream": {"app": "full"}, "values": values}]}).encode()
        status, text, headers = self.server.ask("/loki/api/v1/push", data=body, headers={"Content-Type": "application/json"})
        self.answers[status] = self.answers.get(status, 0) + 1
        if status == 204:
            self.acked.append(key)
            self.sent += len(body)
            return True
        assert status in (429, 503), f"push: {status} {text[:300]!r}"
        assert int(headers["Retry-After"]) >= 1, f"{status} without Retry-After"
        self.refused += 1
        return False


def batches(server, since):
    """Batches and their numbers of lines, as queries see them."""
    rows = server.get("/loki/api/v1/query", {"query": 'sum by (batch) (count_over_time({app="full"} | regexp "^batch=(?P<batch>b[0-9]+) " [1h]))',
                                             "time": time.time_ns() + 10**9})["data"]["result"]
    return {r["metric"]["batch"]: int(float(r["value"][1])) for r in rows}


def check_all(server, load, what):
    found = batches(server, 0)
    lost = [k for k in load.acked if found.get(k) != LINES]
    assert not lost, f"{what}: {len(lost)} of {len(load.acked)} acknowledged batches are not whole: {lost[:5]} {[found.get(k) for k in lost[:5]]}"


def check_newest(server, load, n, what):
    found = batches(server, 0)
    for key in load.acked[-n:]:
        assert found.get(key) == LINES, f"{what}: {key} has {found.get(key)} lines ({len(found)} of {len(load.acked)} batches are there)"
    assert all(v == LINES for v in found.values()), f"{what}: a batch is not whole"
    return len(found)


def metric(server, name):
    _, body, _ = server.ask("/metrics")
    return sum(float(m) for m in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", body.decode(), re.M))


def events(server, name):
    return len(re.findall(rf"event={name}\b", server.log_text()))


def check_other_events(server):
    """While the disk is full nothing is repeated in the log: a few lines, not one a failure."""
    noise = events(server, "log_write_failed") + events(server, "seal_failed") + events(server, "maintenance_failed")
    assert noise <= 2, f"{noise} lines about failures"


def grpc_status(server):
    try:
        import grpc
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as pb, logs_service_pb2_grpc as stub
    except ImportError:
        return "UNAVAILABLE"
    request = pb.ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for _ in range(300):
        record = scope.log_records.add(time_unix_nano=time.time_ns())
        record.body.string_value = base64.b64encode(random.randbytes(3000)).decode()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        try:
            stub.LogsServiceStub(channel).Export(request, timeout=10)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name


def own():
    with Disk(40) as disk, Server("--disk-keep-free", "2M", data_dir=disk.data) as server:
        load = Load(server)
        while load.sent < 100 * MB * SCALE:
            if not load.push():
                time.sleep(0.1)
                assert load.refused < 600 * SCALE, f"{load.refused} refusals: {load.answers}"
            if load.next % 25 == 0:
                check_newest(server, load, 4, "under load")
        kept = check_newest(server, load, 20, "at the end")
        assert metric(server, "trivet_store_expired_total") > 0
        told, over = events(server, "disk_full"), events(server, "disk_full_over")
        phases = int(metric(server, "trivet_store_disk_full_total"))
        assert min(phases, 1) <= told <= phases and over <= phases  # the log drops lines that come too often
        check_other_events(server)
        server.kill()
        server.start()
        check_newest(server, load, 20, "after kill -9")
        until(load.push, "an accepted write")
        print(f"own: {load.sent // MB} MB into 40 MB, answers {load.answers}, {kept} of {len(load.acked)} batches kept, "
              f"{phases} full phases")


def foreign():
    with Disk(40) as disk, Server("--disk-keep-free", "2M", "--log-level", "info", data_dir=disk.data) as server:
        load = Load(server)
        for _ in range(16):
            assert load.push()
        disk.fill()
        for _ in range(60):
            load.push()
            if load.refused >= 20:
                break
        assert load.refused >= 20, load.answers
        assert grpc_status(server) == "UNAVAILABLE"
        assert metric(server, "trivet_store_disk_full") == 1
        check_all(server, load, "while full")
        assert events(server, "disk_full") == 1
        assert events(server, "disk_full_over") == 0
        time.sleep(3)  # seals and the keeper try and fail
        check_all(server, load, "while full, later")
        check_other_events(server)
        for _ in range(2):  # what is full stays full over a kill
            server.kill()
            server.start()
            check_all(server, load, "started on a full disk")
            for _ in range(5):
                load.push()
        assert metric(server, "trivet_store_disk_full") == 1
        assert events(server, "disk_full") == 1
        os.unlink(disk.foreign)
        until(lambda: metric(server, "trivet_store_disk_full") == 0, "the end of the full disk without any write", 10)
        assert events(server, "disk_full_over") == 1
        for _ in range(8):
            assert load.push(), load.answers
        check_all(server, load, "after it")
        assert grpc_status(server) == "OK"
        check_other_events(server)
        server.kill()
        server.start()
        check_all(server, load, "after it and a kill")
        print(f"foreign: answers {load.answers}, all {len(load.acked)} acknowledged batches are there")


def budget():
    limit, slack = 24 * MB, 1 * MB
    with Disk(200) as disk, Server("--disk-total", "24M", "--disk-keep-free", "0", data_dir=disk.data) as server:
        load = Load(server)
        most, stop = [0], threading.Event()

        def watch():
            while not stop.is_set():
                most[0] = max(most[0], disk.used())
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            while load.sent < 100 * MB * SCALE:
                if not load.push():
                    time.sleep(0.1)
                    assert load.refused < 600 * SCALE, load.answers
                if load.next % 50 == 0:
                    check_newest(server, load, 4, "under load")
        finally:
            stop.set()
            watcher.join()
        kept = check_newest(server, load, 10, "at the end")
        assert most[0] <= limit + slack, f"{most[0] / MB:.1f} MB of {limit / MB:.0f} MB"
        print(f"budget: {load.sent // MB} MB into 24 MB, at most {most[0] / MB:.1f} MB on disk, answers {load.answers}, "
              f"{kept} of {len(load.acked)} batches kept")


def main():
    enter_namespace()
    for scenario in (own, foreign, budget):
        if not sys.argv[1:] or scenario.__name__ in sys.argv[1:]:
            started = time.monotonic()
            scenario()
            print(f"  {time.monotonic() - started:.1f} s")


main()
