"""The demo app (FastAPI with the OpenTelemetry Python SDK) as a client: a small shop that exports to one server."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

from harness import free_port, until

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "packaging", "grafana", "demo")


class Shop:
    def __init__(self, server, protocol="http/protobuf"):
        self.port = free_port()
        env = dict(
            os.environ,
            OTEL_SERVICE_NAME="shop",
            OTEL_EXPORTER_OTLP_ENDPOINT=server.url,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_INSECURE="true",
            OTEL_METRIC_EXPORT_INTERVAL="1000",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), "--log-level", "warning"],
            cwd=DEMO,
            env=env,
        )
        until(self.is_up, "the demo app", 60)

    def is_up(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/openapi.json", timeout=2).status == 200
        except OSError:
            return False

    def post(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=b"", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
