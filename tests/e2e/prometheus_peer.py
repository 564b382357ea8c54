"""Prometheus itself as the client: it scrapes itself and sends everything on by remote write, then
promtool asks both servers the same questions and both must print the same. Then a second Prometheus without data
of its own reads trivet's by remote read, and must answer the same, too."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from harness import Server

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 900ms, external_labels: {{site: home}}}}
scrape_configs:
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:{own}"]}}]
remote_write:
  - url: http://127.0.0.1:{peer}/api/v1/write
    queue_config: {{batch_send_deadline: 500ms}}
    metadata_config: {{send_interval: 2s}}
"""
READER = """
remote_read:
  - {{url: "http://127.0.0.1:{peer}/api/v1/read", read_recent: true}}
"""
HISTORY = 12  # scrapes before the questions: windows at the begin of a series have changed between versions
SKIP = 77  # CTest: not run

INSTANT = [
    "up",
    "count({job=\"prometheus\"})",
    "sum(rate(prometheus_http_requests_total[5s])) by (code)",
    "histogram_quantile(0.9, sum by (le) (prometheus_http_request_duration_seconds_bucket))",
    "topk(3, prometheus_http_requests_total)",
    "go_gc_duration_seconds / ignoring(quantile) group_left go_gc_duration_seconds_count",
    "max_over_time(go_goroutines[5s]) - min_over_time(go_goroutines[5s])",
    "prometheus_build_info * on(instance) group_left(version) up",
    "scalar(go_threads) > bool 1",
    "prometheus_tsdb_head_samples_appended_total[5s]",
    "absent(nothing)",
]
RANGE = [
    "rate(prometheus_tsdb_head_samples_appended_total[5s])",
    "sum by (job) (scrape_samples_scraped)",
    "changes(process_start_time_seconds[5s]) or vector(7)",
]

READ = [
    "up",
    "go_memstats_alloc_bytes",
    "prometheus_http_request_duration_seconds_bucket{handler=~\"/(metrics|-/ready)\"}",
    "go_gc_duration_seconds",
    "absent(nothing)",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def promtool(port, command, *args, expr=None):
    line = ["promtool", "query", command, *args, f"http://127.0.0.1:{port}"]
    out = subprocess.run(line + ([expr] if expr is not None else []), capture_output=True, text=True, timeout=20)
    assert out.returncode == 0, (line, expr, out.stderr)
    # trivet sees the external label, Prometheus does not add it to what it answers
    lines = out.stdout.replace(', site="home"', "").replace('site="home", ', "").replace('{site="home"}', "{}")
    return sorted(lines.splitlines())


def same(own, peer, command, *args, expr=None):
    want, got = promtool(own, command, *args, expr=expr), promtool(peer, command, *args, expr=expr)
    assert want == got, f"{command} {args} {expr}\nprometheus: {want}\ntrivet:     {got}"


def compare(own, server, t):
    peer = server.port
    for expr in INSTANT:
        same(own, peer, "instant", f"--time={t}", expr=expr)
    for expr in RANGE:
        same(own, peer, "range", f"--start={t - 4}", f"--end={t}", "--step=1s", expr=expr)
    same(own, peer, "series", "--match=go_gc_duration_seconds", f"--start={t - 4}", f"--end={t}")
    same(own, peer, "labels", f"--start={t - 4}", f"--end={t}", expr="quantile")
    meta = server.get("/api/v1/metadata?metric=go_goroutines")["data"]
    assert meta["go_goroutines"][0]["type"] == "gauge", meta


def wait_ready(port):
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the reading prometheus did not become ready")


def compare_reader(server, folder, t, log):
    own = free_port()
    with open(os.path.join(folder, "reader.yml"), "w") as f:
        f.write(READER.format(peer=server.port))
    process = subprocess.Popen(
        ["prometheus", f"--config.file={f.name}", f"--storage.tsdb.path={folder}/reader",
         f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_ready(own)
        for expr in READ:
            same(own, server.port, "range", f"--start={t - 4}", f"--end={t}", "--step=1s", expr=expr)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def wait_for_history(server):
    """A time until which everything has arrived, with enough before it."""
    for _ in range(300):
        result = server.get("/api/v1/query?query=count_over_time(up[1m])")["data"]["result"]
        if result and float(result[0]["value"][1]) >= HISTORY + 3:
            return int(time.time()) - 2
        time.sleep(0.1)
    raise RuntimeError("remote write brought too little:\n" + server.log_text())


def main():
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        print("prometheus and promtool are not installed")
        return SKIP
    folder = tempfile.mkdtemp(prefix="trivet-peer-")
    own = free_port()
    with Server() as server, open(os.path.join(folder, "log"), "w+") as log:
        with open(os.path.join(folder, "prometheus.yml"), "w") as f:
            f.write(CONFIG.format(own=own, peer=server.port))
        process = subprocess.Popen(
            ["prometheus", f"--config.file={f.name}", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=subprocess.STDOUT)
        try:
            t = wait_for_history(server)
            compare(own, server, t)
            compare_reader(server, folder, t, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)
        log.seek(0)
        complaints = [line for line in log if "remote" in line and ("level=error" in line or "level=warn" in line)]
        assert not complaints, complaints
    shutil.rmtree(folder)
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
