"""kill -9 in the middle of load, again and again on one folder: after each restart every acknowledged record is
there, none twice. ROUNDS (environment, default 8) sets how often."""

import json
import os
import random
import shutil
import tempfile
import threading
import time
import urllib.request

from harness import Server

ROUNDS = int(os.environ.get("ROUNDS", "8"))
WRITERS = 3
LINES = 20  # a request


class Load(threading.Thread):
    """Pushes batches of log lines, spans and metric points one after another and notes what was acknowledged."""

    def __init__(self, server, name, acknowledged):
        super().__init__()
        self.server, self.name, self.acknowledged = server, name, acknowledged
        self.stopped = False

    def post(self, path, body, ok):
        request = urllib.request.Request(
            self.server.url + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with urllib.request.urlopen(request, timeout=5) as reply:
            assert reply.status == ok

    def run(self):
        batch = 0
        while not self.stopped:
            key = f"{self.name}-{batch}"
            batch += 1
            t = time.time_ns()
            try:
                self.post(
                    "/loki/api/v1/push",
                    {
                        "streams": [
                            {
                                "stream": {"app": "kill"},
                                "values": [[str(t + i), f"batch {key} line {i}"] for i in range(LINES)],
                            }
                        ]
                    },
                    204,
                )
                self.acknowledged["logs"].append(key)
                trace_id = random.randbytes(16).hex()
                self.post(
                    "/v1/traces",
                    {
                        "resourceSpans": [
                            {
                                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "kill"}}]},
                                "scopeSpans": [
                                    {
                                        "spans": [
                                            {
                                                "traceId": trace_id,
                                                "spanId": f"{i + 1:016x}",
                                                "name": key,
                                                "kind": 1,
                                                "startTimeUnixNano": str(t),
                                                "endTimeUnixNano": str(t + 1000),
                                            }
                                            for i in range(LINES)
                                        ]
                                    }
                                ],
                            }
                        ]
                    },
                    200,
                )
                self.acknowledged["traces"].append(trace_id)
                self.post(
                    "/v1/metrics",
                    {
                        "resourceMetrics": [
                            {
                                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "kill"}}]},
                                "scopeMetrics": [
                                    {
                                        "metrics": [
                                            {
                                                "name": "kill_gauge",
                                                "gauge": {
                                                    "dataPoints": [
                                                        {
                                                            "timeUnixNano": str(t),
                                                            "asDouble": 1,
                                                            "attributes": [
                                                                {"key": "batch", "value": {"stringValue": key}}
                                                            ],
                                                        }
                                                    ]
                                                },
                                            }
                                        ]
                                    }
                                ],
                            }
                        ]
                    },
                    200,
                )
                self.acknowledged["metrics"].append(key)
            except (OSError, AssertionError):
                return


def check(server, acknowledged, since):
    """Counts by batch: LINES for each acknowledged one; a batch without an answer may be there whole or not at all."""
    t = time.time_ns()
    counts = {}
    start = since
    while True:  # forward pages
        reply = server.get(
            "/loki/api/v1/query_range",
            {"query": '{app="kill"}', "start": start, "end": t + 10**9, "limit": 5000, "direction": "forward"},
        )
        rows = sorted(v for s in reply["data"]["result"] for v in s["values"])
        for _, line in ((r[0], r[1]) for r in rows):
            counts.setdefault(line.split()[1], []).append(line)
        if len(rows) < 5000:
            break
        last = int(rows[-1][0])
        start = last + 1
        rest = server.get(
            "/loki/api/v1/query_range", {"query": '{app="kill"}', "start": last, "end": last + 1, "limit": 5000}
        )
        more = {(v[0], v[1]) for s in rest["data"]["result"] for v in s["values"]} - {(r[0], r[1]) for r in rows}
        for _, line in more:
            counts.setdefault(line.split()[1], []).append(line)
    for key in acknowledged["logs"]:
        assert len(counts.get(key, [])) == LINES, f"log batch {key}: {len(counts.get(key, []))} of {LINES} lines"
    for key, lines in counts.items():
        assert (
            len(lines) == LINES == len(set(lines))
        ), f"log batch {key}: {len(lines)} lines, {len(set(lines))} different"
    for trace_id in acknowledged["traces"]:
        trace = server.get(f"/api/traces/{trace_id}")
        spans = [span["spanId"] for batch in trace["batches"] for ss in batch["scopeSpans"] for span in ss["spans"]]
        assert len(spans) == LINES == len(set(spans)), f"trace {trace_id}: {len(spans)} spans"
    result = server.get("/api/v1/query", {"query": "count_over_time(kill_gauge[1h])", "time": t / 1e9 + 1})["data"][
        "result"
    ]
    points = {r["metric"]["batch"]: int(r["value"][1]) for r in result}
    for key in acknowledged["metrics"]:
        assert points.get(key) == 1, f"metric {key}: {points.get(key)} points"
    assert all(n == 1 for n in points.values())
    return len(counts), len(acknowledged["traces"]), len(points)


def main():
    data_dir = tempfile.mkdtemp(prefix="trivet-kill-")
    acknowledged = {"logs": [], "traces": [], "metrics": []}
    since = time.time_ns()
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    random.seed(seed)
    try:
        for round_ in range(ROUNDS):
            server = Server(data_dir=data_dir)
            load = [Load(server, f"{round_}.{i}", acknowledged) for i in range(WRITERS)]
            for writer in load:
                writer.start()
            time.sleep(random.uniform(0.05, 0.8))
            server.kill()
            for writer in load:
                writer.stopped = True
                writer.join()
        with Server(data_dir=data_dir) as server:
            found = check(server, acknowledged, since)
        with Server(data_dir=data_dir) as server:  # and once more, from what the last start made of it
            assert check(server, acknowledged, since) == found
    except AssertionError:
        print(f"seed {seed}, data kept in {data_dir}")
        raise
    shutil.rmtree(data_dir)
    print(
        f"{ROUNDS} kills; found {found[0]} log batches, {found[1]} traces, {found[2]} points: "
        "all acknowledged ones, none twice"
    )


main()
