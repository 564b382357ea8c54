"""What Grafana sends on Save & test, on page load and in its editors, to an empty and to a filled server."""

import json
import time
import urllib.parse

from harness import Server, now

GRAFANA = {"User-Agent": "Grafana/13.0.0", "X-Grafana-Org-Id": "1", "Accept-Encoding": "gzip"}
FORM = {**GRAFANA, "Content-Type": "application/x-www-form-urlencoded"}


def prometheus(server):
    status, body, _ = server.ask(
        "/api/v1/query", data=b"query=1%2B1&time=4", headers={**FORM, "Accept-Encoding": "identity"}
    )
    reply = json.loads(body)
    assert status == 200 and reply["data"] == {"resultType": "scalar", "result": [4, "2"]}, body
    info = server.get("/api/v1/status/buildinfo")["data"]
    assert all(
        isinstance(info[k], str) for k in ("version", "revision", "branch", "buildUser", "buildDate", "goVersion")
    )
    assert "features" not in info
    ms = int(now() * 1000)  # the probe on page load sends milliseconds where seconds belong
    assert server.get("/api/v1/query_exemplars", {"query": "test", "start": ms - 1000, "end": ms}) == {
        "status": "success",
        "data": [],
    }
    assert server.get("/api/v1/rules") == {"status": "success", "data": {"groups": []}}
    assert server.get("/api/v1/metadata", {"limit": 1000})["status"] == "success"
    # label values by POST with the parameters in the URL
    status, body, _ = server.ask(
        "/api/v1/label/__name__/values",
        {"limit": 40000, "start": int(now()) - 3600, "end": int(now()) + 600},
        data=b"",
        headers=FORM,
        method="POST",
    )
    assert status == 200, body
    status, body, _ = server.ask("/api/v1/query", {"query": "sum("})
    reply = json.loads(body)
    assert (
        status == 400 and reply["errorType"] == "bad_data" and "parse error" in reply["error"] and "data" not in reply
    ), body
    status, body, _ = server.ask("/api/v1/query_range", {"query": "up", "start": 0, "end": 100000, "step": 1})
    assert status == 400 and b"11,000 points" in body
    status, body, _ = server.ask("/api/v1/series")
    assert status == 400 and b"no match[] parameter provided" in body
    status, body, _ = server.ask("/api/v1/labels", {"match[]": "{}"})
    assert status == 400, body
    status, body, _ = server.ask("/api/nothing")
    assert status == 404 and body.strip() == b"404 page not found"


def loki(server):
    reply = server.get(
        "/loki/api/v1/query", {"direction": "backward", "query": "vector(1)+vector(1)", "time": "4000000000"}
    )
    result = reply["data"]["result"]
    assert reply["data"]["resultType"] == "vector" and len(result) == 1 and result[0]["value"][1] == "2", reply
    assert server.get("/loki/api/v1/labels")["status"] == "success"
    status, body, headers = server.ask("/loki/api/v1/query_range", {"query": "{"})
    assert status == 400 and headers["Content-Type"].startswith("text/plain") and b"parse error" in body, body
    reply = server.get(
        "/loki/api/v1/query_range", {"query": '{a="b"}', "start": int((now() - 60) * 1e9), "end": int(now() * 1e9)}
    )
    assert reply["data"]["resultType"] == "streams" and reply["data"]["result"] == [], reply
    stats = server.get(
        "/loki/api/v1/index/stats", {"query": '{a="b"}', "start": int((now() - 60) * 1e9), "end": int(now() * 1e9)}
    )
    assert stats == {"streams": 0, "chunks": 0, "bytes": 0, "entries": 0}
    assert "version" in server.get("/loki/api/v1/status/buildinfo")
    assert server.get("/prometheus/api/v1/rules")["data"] == {"groups": []}
    status, body, _ = server.ask("/api/prom/rules/test/test")
    assert status == 404 and b"page not found" in body


def tempo(server):
    status, body, _ = server.ask("/api/echo")
    assert status == 200 and body.strip() == b"echo"
    unknown = "0123456789abcdef0123456789abcdef"
    status, body, headers = server.ask(f"/api/v2/traces/{unknown}", headers={"Accept": "application/protobuf"})
    assert status == 200 and body[:2] == b"\x0a\x00" and headers["Content-Type"] == "application/protobuf", (
        status,
        body,
    )
    assert server.get(f"/api/v2/traces/{unknown}") == {"trace": {}, "metrics": {}}
    assert server.ask(f"/api/traces/{unknown}")[0] == 404
    status, body, _ = server.ask("/api/traces/xyz")
    assert status == 400 and b"hex characters" in body
    reply = server.get("/api/search", {"q": "{}", "limit": 20, "spss": 3, "start": int(now()) - 900, "end": int(now())})
    assert reply["traces"] == [], reply
    allowed = {
        "inspectedTraces",
        "inspectedBytes",
        "totalBlocks",
        "completedJobs",
        "totalJobs",
        "totalBlockBytes",
        "inspectedSpans",
    }
    assert set(reply["metrics"]) <= allowed, reply
    status, body, _ = server.ask("/api/search", {"q": "{"})
    assert status == 400 and body.startswith(b"invalid TraceQL query: parse error at line 1, col"), body
    scopes = server.get("/api/v2/search/tags", {"limit": 5000})["scopes"]
    assert any(s["name"] == "intrinsic" and "rootServiceName" in s["tags"] for s in scopes)
    values = server.get("/api/v2/search/tag/status/values", {"limit": 5000, "q": "{resource.x= }"})["tagValues"]
    assert {"type": "keyword", "value": "error"} in values, values
    tag = urllib.parse.quote("resource.service.name", safe="")
    assert server.get(f"/api/v2/search/tag/{tag}/values", {"q": "{}"})["tagValues"] == []
    assert server.get("/api/search/tags")["tagNames"] == []
    assert "version" in server.get("/api/status/buildinfo")
    assert server.ask("/api/search", {"q": "{}", "limit": 0})[0] == 400


def ours(server):
    assert server.ask("/ready")[0] == 200 and server.ask("/-/ready")[0] == 200 and server.ask("/-/healthy")[0] == 200
    status, body, headers = server.ask("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain") and b"trivet_" in body
    assert b"retention" in server.ask("/config")[1]


def loki_push(server):
    t = time.time_ns()
    body = {
        "streams": [
            {
                "stream": {"app": "x", "env": "lab"},
                "values": [[str(t + i), f"line {i} level=info", {"trace_id": "abc"}] for i in range(5)],
            }
        ]
    }
    status, reply, _ = server.ask(
        "/loki/api/v1/push", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    assert status == 204 and reply == b"", (status, reply)
    window = {"start": t - 10**9, "end": t + 10**9}
    for direction in ("forward", "backward"):
        plain = server.get(
            "/loki/api/v1/query_range", {"query": '{app="x"}', "limit": 3, "direction": direction, **window}
        )
        rows = [v for s in plain["data"]["result"] for v in s["values"]]
        wanted = [0, 1, 2] if direction == "forward" else [4, 3, 2]
        assert [int(r[0]) - t for r in rows] == wanted and all(len(r) == 2 for r in rows), plain
        assert plain["data"]["result"][0]["stream"]["trace_id"] == "abc"
    volume = server.get(
        "/loki/api/v1/query_range",
        {
            "query": 'sum by (level, detected_level) (count_over_time({app="x"} | drop __error__[1m]))',
            "step": "60000ms",
            "start": t - 120 * 10**9,
            "end": t + 120 * 10**9,
            "direction": "backward",
        },
    )
    assert volume["data"]["resultType"] == "matrix" and volume["data"]["result"][0]["metric"] == {
        "detected_level": "info"
    }, volume
    stats = server.get("/loki/api/v1/index/stats", {"query": '{app="x"}', **window})
    assert stats["entries"] == 5 and stats["streams"] == 1, stats
    # the context view asks with start = end
    names = server.get("/loki/api/v1/labels", {"start": t + 1, "end": t + 1})["data"]
    assert {"app", "env", "service_name"} <= set(names), names


def main():
    with Server() as server:
        prometheus(server)
        loki(server)
        tempo(server)
        ours(server)
        loki_push(server)
        prometheus(server)
    print("ok")


main()
