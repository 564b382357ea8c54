"""The Node program over OTLP/HTTP JSON; its span, log line and metrics are found again."""

import os
import subprocess

import signals
from harness import Server, until

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    with Server() as server:
        run = subprocess.run(
            ["node", os.path.join(HERE, "node_app.mjs"), server.url], capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 0, run.stderr
        trace_id = run.stdout.strip().splitlines()[-1]
        spans = signals.find_trace(server, trace_id, "run job")
        job = next(span for span in spans if span["name"] == "run job")
        attributes = {a["key"]: a["value"] for a in job["attributes"]}
        assert attributes["job.id"] == {"intValue": "42"} and attributes["job.ratio"] == {
            "doubleValue": 0.5
        }, attributes
        assert attributes["job.urgent"] == {"boolValue": True}, attributes
        assert attributes["job.tags"] == {
            "arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}
        }, attributes
        assert job["events"][0]["name"] == "picked up", job
        for query in [
            "{ span.job.id = 42 }",
            "{ span.job.ratio > 0.4 }",
            "{ span.job.urgent = true }",
            '{ status = error && name = "write file" }',
            '{ resource.host.name =~ "la." && span.job.id > 41 }',
        ]:
            signals.search(server, query, trace_id)
        rows = signals.logs(server, f'{{service_name="node-worker"}} |= "took long" | trace_id="{trace_id}"', trace_id)
        meta = rows[0][1][2]["structuredMetadata"]
        assert meta["detected_level"] == "warn" and meta["severity_text"] == "WARN" and meta["job_id"] == "42", rows
        done = until(lambda: signals.instant(server, 'jobs_done_total{kind="nightly"}'), "jobs_done_total")
        assert done[0]["value"][1] == "7" and done[0]["metric"]["instance"] == "one", done
        assert signals.instant(server, "queue_length")[0]["value"][1] == "2"
        assert signals.instant(server, "job_size_bytes_sum")[0]["value"][1] == "300"
    print("ok")


main()
