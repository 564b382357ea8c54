"""Live tail with the npm package ws as the client: what was there first, then what arrives, each line once; late lines,
slow clients, limits, errors, the end. With TAIL_SECONDS=n also what 1,000 lines a second to ten clients cost."""

import collections
import json
import os
import subprocess
import threading
import time

from harness import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))
now_ns = time.time_ns


class Client:
    """One tail; `lines` in the order of arrival as (app, ns, line), everything else by kind."""

    def __init__(self, server, query, headers=None, path="/loki/api/v1/tail", **params):
        from urllib.parse import urlencode
        url = f"ws://127.0.0.1:{server.port}{path}?" + urlencode({"query": query, **params})
        self.process = subprocess.Popen(
            ["node", os.path.join(HERE, "tail_client.mjs"), url, json.dumps(headers or {})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.events = collections.defaultdict(list)
        self.frames, self.lines, self.dropped = [], [], 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for text in self.process.stdout:
            event = json.loads(text)
            if event["event"] == "message":
                frame = json.loads(event["value"])
                self.frames.append(frame)
                self.dropped += len(frame.get("dropped_entries") or [])
                for stream in frame["streams"]:
                    for value in stream["values"]:
                        self.lines.append((stream["stream"].get("app"), int(value[0]), value[1]))
            self.events[event["event"]].append(event["value"])

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def wait(self, kind, seconds=20):
        until(lambda: self.events[kind], f"event {kind} (there are {dict(self.events)})", seconds)
        return self.events[kind][0]

    def opened(self):
        assert self.wait("open") == ""  # no extensions: compression was asked for and not offered
        return self

    def close(self):
        if self.process.poll() is None:
            self.say("close")
        self.process.wait(timeout=20)
        self.thread.join(timeout=20)


def push(server, app, values):
    body = json.dumps({"streams": [{"stream": {"app": app}, "values": [[str(v[0]), *v[1:]] for v in values]}]})
    status, text, _ = server.ask("/loki/api/v1/push", data=body.encode(), headers={"Content-Type": "application/json"})
    assert status == 204, text


def check_refusals(server):
    cases = [
        ({"query": '{app="a"'}, "parse error at line 1, col 9"),
        ({"query": 'count_over_time({app="a"}[1m])'}, "only log selector is supported"),
        ({"query": '{app="a"}', "delay_for": 6}, "delay_for can't be greater than 5"),
        ({"query": '{app="a"}', "limit": 0}, "limit must be a positive value"),
        ({"query": '{app="a"}', "limit": 5001}, "max entries limit per query exceeded"),
        ({"query": '{app="a"}', "start": "x"}, "could not parse 'start' parameter"),
    ]
    for params, text in cases:
        query = params.pop("query")
        status, kind, body = Client(server, query, **params).wait("refused")
        assert (status, kind) == (400, "text/plain; charset=utf-8") and text in body, (status, kind, body)
    status, body, _ = server.ask("/loki/api/v1/tail", {"query": '{app="a"}'})
    assert status == 400 and b"'upgrade' token not found in 'Connection' header" in body, (status, body)


def check_order(server):
    """The last ones since the start, then what arrives, late or not; old path; labels by category."""
    t = now_ns()
    tenant = Client(server, '{app="first"}').opened()  # nobody has written yet
    push(server, "a", [(t - 9, "one", {"trace_id": "t1"}), (t - 8, "two"), (t - 7, "three")])
    push(server, "b", [(t - 6, "four level=info")])
    client = Client(server, '{app=~"a|b"}', limit=3, start=t - 100).opened()
    until(lambda: len(client.lines) == 3, "the first entries")
    assert sorted(client.lines, key=lambda l: l[1]) == [("a", t - 8, "two"), ("a", t - 7, "three"),
                                                        ("b", t - 6, "four level=info")], client.lines
    old = Client(server, '{app=~"a|b"} | logfmt | level="info" | line_format "<{{.level}}>"', path="/api/prom/tail",
                 headers={"X-Loki-Response-Encoding-Flags": "categorize-labels"}).opened()
    until(lambda: old.frames, "a frame with labels by category")
    assert old.frames[0]["encodingFlags"] == ["categorize-labels"]
    assert old.frames[0]["streams"] == [{"stream": {"app": "b", "service_name": "b"}, "values": [
        [str(t - 6), "<info>", old.frames[0]["streams"][0]["values"][0][2]]]}], old.frames
    assert old.frames[0]["streams"][0]["values"][0][2]["parsed"]["level"] == "info"
    client.say("text")  # clients have nothing to say, but may
    push(server, "a", [(t - 600 * 10**9, "late"), (t, "now")])
    push(server, "c", [(t, "not asked for")])
    push(server, "first", [(t, "first")])
    until(lambda: len(client.lines) == 5, "live entries")
    assert client.lines[3:] == [("a", t - 600 * 10**9, "late"), ("a", t, "now")], client.lines
    until(lambda: tenant.lines == [("first", t, "first")], "the line of a new tenant")
    time.sleep(2.5)
    assert 2 <= len(client.events["ping"]) <= 6 + time.time_ns() // 10**9 - t // 10**9, client.events["ping"]
    assert len(client.lines) == 5 and len(old.lines) == 1
    for c in (client, old, tenant):
        c.close()
        assert c.events["close"] == [[1000, ""]], c.events["close"]


def check_interleaved(server):
    """Entries of several streams come in order of time, a stream as often as that takes."""
    t = now_ns()
    body = json.dumps({"streams": [{"stream": {"app": app}, "values": [[str(t + k), f"{app}{k}"] for k in ks]}
                                   for app, ks in (("x", (1, 3, 5)), ("y", (2, 4)))]}).encode()
    ask = {"data": body, "headers": {"Content-Type": "application/json"}}
    live = Client(server, '{app=~"x|y"}').opened()
    time.sleep(0.5)
    assert server.ask("/loki/api/v1/push", **ask)[0] == 204
    back = Client(server, '{app=~"x|y"}').opened()
    for c in (live, back):
        until(lambda c=c: len(c.lines) == 5, "five entries")
        assert [line[2] for line in c.lines] == ["x1", "y2", "x3", "y4", "x5"], c.lines
        assert [len(s["values"]) for s in c.frames[0]["streams"]] == [1] * 5, c.frames
        c.close()


def check_delay(server):
    client = Client(server, '{app="d"}', delay_for=2).opened()
    time.sleep(1)
    started = time.monotonic()
    push(server, "d", [(now_ns(), "x")])
    until(lambda: client.lines, "a delayed line")
    assert 1.9 < time.monotonic() - started < 4, time.monotonic() - started
    client.close()


def check_each_once(server):
    """Tails that begin in the middle of a stream of pushes miss nothing of it and repeat nothing."""
    sent = []

    def feed():
        for i in range(240):
            t = now_ns()
            batch = [(t + k - (k % 7) * 10**9, f"line {i} {k}") for k in range(20)]
            push(server, "once", batch)
            sent.extend(line for _, line in batch)

    feeder = threading.Thread(target=feed)
    feeder.start()
    clients = []
    while feeder.is_alive() and len(clients) < 5:
        clients.append(Client(server, '{app="once"}', limit=5000))
        time.sleep(0.3)
    feeder.join()
    for c in clients:
        until(lambda: len(c.lines) >= len(sent), f"{len(sent)} lines")
    time.sleep(0.5)
    for c in clients:
        lines = [line for _, _, line in c.lines]
        assert len(set(lines)) == len(lines), [k for k, n in collections.Counter(lines).items() if n > 1][:5]
        assert set(lines) == set(sent), sorted(set(sent) - set(lines))[:5]
        c.close()


def check_limit(server):
    clients = [Client(server, '{app="a"}').opened() for _ in range(10)]
    status, _, body = Client(server, '{app="a"}').wait("refused")
    assert (status, body) == (400, "max concurrent tail requests limit exceeded, count > limit (11 > 10)"), body
    for c in clients:
        c.close()
    until(lambda: Client(server, '{app="none"}', headers={"X-Test": "1"}).opened().close() is None, "room again")


def check_slow(server):
    """A client that stops reading costs a bounded queue; what it missed is told, and it goes on."""
    client = Client(server, '{app="slow"}').opened()
    time.sleep(0.5)
    client.say("pause")
    time.sleep(0.5)
    before = server.rss_mb()
    filler = "x" * 900
    for i in range(60):
        t = now_ns()
        push(server, "slow", [(t + k, f"{i} {k} {filler}") for k in range(500)])
    time.sleep(1)
    grown = server.rss_mb() - before
    client.say("resume")
    until(lambda: client.dropped > 0, "dropped entries")
    push(server, "slow", [(now_ns(), "the end")])
    until(lambda: client.lines and client.lines[-1][2] == "the end", "the end")
    assert len(client.lines) < 30000, len(client.lines)
    entry = next(f for f in client.frames if f.get("dropped_entries"))["dropped_entries"][0]
    assert entry["labels"]["app"] == "slow" and entry["timestamp"].isdigit(), entry
    print(f"slow client: {len(client.lines)} lines, {client.dropped} told as dropped, server grew {grown:.0f} MB")
    client.close()


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server, seconds):
    def run(clients):
        before, started, n = cpu_seconds(server), time.monotonic(), 0
        while time.monotonic() - started < seconds:
            t = now_ns()
            push(server, "cost", [(t + k, f'level=info msg="request {n + k}" took=12ms') for k in range(100)])
            n += 100
            time.sleep(max(0, started + n / 1000 - time.monotonic()))
        return (cpu_seconds(server) - before) / (time.monotonic() - started) * 100, n

    alone, _ = run([])
    clients = [Client(server, '{app="cost"}', limit=1).opened() for _ in range(10)]
    time.sleep(1)
    rss = server.rss_mb()
    load, n = run(clients)
    until(lambda: all(len(c.lines) >= n for c in clients), "all lines at all clients")
    print(f"1,000 lines/s: {alone:.1f} % of a core without tails, {load:.1f} % with ten, "
          f"{rss:.0f} MB resident before, {server.rss_mb():.0f} MB after {n} lines")
    for c in clients:
        c.close()


def main():
    with Server() as server:
        check_refusals(server)
        check_order(server)
        check_interleaved(server)
        check_delay(server)
        check_each_once(server)
        check_limit(server)
        check_slow(server)
        if os.environ.get("TAIL_SECONDS"):
            measure(server, float(os.environ["TAIL_SECONDS"]))
        last = Client(server, '{app="a"}').opened()
    assert last.wait("close") == [1001, "server is stopping"]
    print("tail: ok")


if __name__ == "__main__":
    main()
