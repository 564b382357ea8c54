"""trivet import: metrics and logs of the past, in whatever order, through a running server and into a directory; twice
changes nothing; interrupted goes on; Retry-After is honoured; faults are told with file, line and column."""

import gzip
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer

from harness import TRIVET, Server, now

DAY = 86400
WORK = tempfile.mkdtemp(prefix="trivet-import-")


def run(*args, code=0, data=None):
    done = subprocess.run([TRIVET, "import", *args], input=data, capture_output=True, timeout=120)
    assert done.returncode == code, (args, done)
    return done.stdout.decode() + done.stderr.decode()


def path(name, data):
    full = os.path.join(WORK, name)
    data = data if isinstance(data, bytes) else data.encode()
    with open(full, "wb") as f:
        f.write(gzip.compress(data) if name.endswith(".gz") else data)
    return full


def openmetrics(times, value):
    lines = ["# TYPE old counter", "# HELP old What was."]
    lines += [f'old_total{{n="{i}"}} {value(t)} {t}' for t in times for i in range(3)]
    return "\n".join(lines + ["# EOF", ""])


def points(server, query, start, end, step):
    data = server.get("/api/v1/query_range", {"query": query, "start": start, "end": end, "step": step})["data"]
    return {(r["metric"].get("n"), int(t)): float(v) for r in data["result"] for t, v in r["values"]}


def lines(server, query, start, end):
    found = server.get("/loki/api/v1/query_range", {
        "query": query, "start": int(start * 1e9), "end": int(end * 1e9), "limit": 5000,
        "direction": "forward"})["data"]["result"]
    return sorted((int(t), line) for stream in found for t, line in stream["values"])


def check_metrics(server):
    end = int(now()) // 60 * 60
    times = [end - 30 * DAY + i * 60 for i in range(240)] + [end - 3600 + i * 60 for i in range(30)]
    value = lambda t: t % 1000
    # The newest first, then the past backwards and shuffled, then all of it again.
    run("openmetrics", "--to", server.url, path("new.om", openmetrics(times[240:], value)))
    old = times[:240]
    for part in range(4):
        some = old[(3 - part) * 60:(4 - part) * 60]
        random.Random(part).shuffle(some)
        text = run("openmetrics", "--to", server.url, path(f"{part}.om.gz", openmetrics(some, value)))
        assert "ok: 180 records" in text, text
    run("openmetrics", "--to", server.url, path("all.om", openmetrics(times, value)))
    got = points(server, "old_total", old[0], old[-1], 60)
    assert got == {(str(i), t): value(t) for t in old for i in range(3)}, len(got)
    assert points(server, 'count_over_time(old_total{n="1"}[4h])', old[-1], old[-1], 60) == {("1", old[-1]): 240}
    assert server.get("/api/v1/metadata", {"metric": "old_total"})["data"]["old_total"][0]["help"] == "What was."
    # Text format, by its end; and what is no such text.
    run("openmetrics", "--to", server.url, "--label", "via=text", path("p.txt", f"plain 5 {old[0]}000\n"))
    assert points(server, 'plain{via="text"}', old[0], old[0], 60) == {(None, old[0]): 5}
    fault = run("openmetrics", "--to", server.url, path("bad.om", "a 1 1\nb{x=1} 2 2\n# EOF\n"), code=1)
    assert "bad.om:2:5: expected a text in quotes" in fault, fault
    fault = run("openmetrics", "--to", server.url, path("ancient.om", "a 1 1\n# EOF\n"), code=1)
    assert "1 records refused" in fault, fault
    fault = run("openmetrics", "--to", server.url, "--format", "openmetrics",
                path("x.om", "# EOF\n# more\n"), code=1)
    assert "x.om:2:1: text behind" in fault, fault
    fault = run("openmetrics", "--to", "http://127.0.0.1:1", path("y.om", f"a 1 {end}\n# EOF\n"), code=1)
    assert "127.0.0.1:1: Connection refused" in fault, fault
    assert "trivet import logs" in run("--help") and "say what" in run("nothing", code=2)


def check_logs(server):
    at = int(now()) - 20 * DAY
    iso = lambda t: datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    text = "".join(f"{iso(at + i // 10)}Z INFO request {i}\n" for i in range(45000))
    plain = path("app.log", text)
    to = ("--to", server.url)
    assert "ok: 45000 records" in run("logs", *to, plain)
    assert "ok: 45000 records" in run("logs", *to, plain)  # again: nothing new
    count = lambda q: sum(int(r["value"][1]) for r in server.get("/loki/api/v1/query", {
        "query": f"sum(count_over_time({q}[30d]))", "time": int(now() * 1e9)})["data"]["result"])
    assert count(f'{{filename="{plain}"}}') == 45000
    found = lines(server, f'{{job="import"}} |= "request 12345"', at, at + 5000)
    assert found == [((at + 1234) * 10**9 + 5, f"{iso(at + 1234)}Z INFO request 12345")], found
    # JSON lines, gzip; exported by logcli; from standard input.
    run("logs", *to, "--label", "job=json", path("app.json.gz", "".join(
        json.dumps({"ts": at + i, "level": "error", "msg": f"m{i}"}) + "\n" for i in range(100))))
    assert count('{job="json"} | detected_level="error"') == 100
    run("logs", *to, "--format", "json", "--line-key", "msg", "-", data=b'{"msg":"short","ts":%d}\n' % at)
    assert lines(server, '{filename="-"}', at, at + 1) == [(at * 10**9, "short")]
    run("logs", *to, path("logcli.jsonl", json.dumps(
        {"labels": {"app": "shop"}, "line": "was here", "timestamp": f"{iso(at)}.000000007Z"}) + "\n"))
    assert lines(server, '{app="shop"}', at, at + 1) == [(at * 10**9 + 7, "was here")]
    fault = run("logs", *to, "--format", "json", path("bad.json", '{"ts":1}\nno\n'), code=1)
    assert "bad.json:2:1: no JSON object" in fault, fault


def check_resume(server):
    """A state from which a grown file goes on; one of another file or target is not used."""
    at = int(now()) - 5 * DAY
    state = os.path.join(WORK, "state")
    args = ("--to", server.url, "--resume", state)
    head = "".join(f"{at + i} first {i}\n" for i in range(10))
    log = path("grow.log", f"{datetime.fromtimestamp(at, timezone.utc).isoformat()} begin\n" + head)
    assert "ok: 11 records" in run("logs", *args, log)
    assert "ok: 0 records" in run("logs", *args, log)
    with open(log, "a") as f:
        f.write("grown\n")
    assert "ok: 1 records" in run("logs", *args, log)
    assert [line for _, line in lines(server, f'{{filename="{log}"}}', at, at + 60)][-1] == "grown"
    path("grow.log", "another file\n")
    assert "ok: 1 records" in run("logs", *args, log)
    assert "is the state of" in run("logs", "--resume", state, "--data-dir", WORK + "/d", log, code=1)


class Busy(BaseHTTPRequestHandler):
    """Answers 429 with Retry-After twice, then 503, then takes it; one request is cut off."""

    answers, seen = [429, 503, 0, 204, 204], []

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Busy.seen.append(time.monotonic())
        answer = Busy.answers.pop(0) if Busy.answers else 204
        if answer:
            self.send_response(answer)
            self.send_header("Retry-After", "1")
            self.end_headers()

    def log_message(self, *args):
        pass


def check_busy():
    server = HTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = run("openmetrics", "--to", f"http://127.0.0.1:{server.server_port}", path("busy.om", "a 1 1\n# EOF\n"))
    server.shutdown()
    waits = [b - a for a, b in zip(Busy.seen, Busy.seen[1:])]
    assert "ok: 1 records" in text and len(Busy.seen) == 4 and min(waits[:2]) >= 1, (text, waits)


def check_directory():
    """Killed in the middle, started again: everything is there once."""
    folder, state = os.path.join(WORK, "data"), os.path.join(WORK, "dir.state")
    end = int(now()) // 60 * 60
    value = lambda t: t % 77
    times = [end - 40 * DAY + i for i in range(60000)]
    file = path("big.om", openmetrics(times, value))
    args = [TRIVET, "import", "openmetrics", "--data-dir", folder, "--resume", state, file]
    killed = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while not os.path.exists(state) and time.monotonic() < deadline:
        time.sleep(0.001)
    killed.kill()
    killed.communicate()
    kept = ("--retention-metrics", "90d")
    assert "ok: " in run(*args[2:], *kept)
    with Server(*kept, data_dir=folder) as server:
        got = server.get("/api/v1/query", {"query": "sum(count_over_time(old_total[2d]))", "time": times[-1]})
        assert got["data"]["result"][0]["value"][1] == str(3 * len(times)), got
        assert "another trivet uses" in run("openmetrics", "--data-dir", folder, file, code=1)


def main():
    kept = ("--retention-metrics", "90d", "--retention-logs", "90d")
    with Server(*kept) as server:
        check_metrics(server)
        check_logs(server)
        check_resume(server)
    check_busy()
    check_directory()
    shutil.rmtree(WORK)
    print("ok")


main()
