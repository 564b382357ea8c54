"""Grafana's own Prometheus plugin, from npm, asks a trivet for names, values, metadata and variables. By hand, because
its packages take half a gigabyte: grafana.py DIR [--install]; DIR gets the packages."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from harness import TRIVET, Server  # noqa: E402

WANTED = {
    "exemplars": True,
    "metrics": ["latency_bucket", "requests_total"],
    "histograms": ["latency_bucket"],
    "keys": ["__name__", "code", "job", "le"],
    "keysOf": ["__name__", "code", "job"],
    "values": ["200", "500"],
    "valuesOf": ["500"],
    "labelNames": ["__name__", "code", "job", "le"],
    "labelNamesOf": ["code", "job"],
    "labelValues": ["200", "500"],
    "labelValuesOf": ["500"],
    "names": ["requests_total"],
    "result": ['{code="200"} 590', '{code="500"} 59'],
    "series": ['requests_total{code="500",job="shop"}'],
    "filterKeys": ["__name__", "code", "job"],
    "filterValues": ["200", "500"],
}


def exposition():
    now = int(time.time())
    lines = ["# TYPE requests counter", "# HELP requests Answered."]
    for code, step in (("200", 10), ("500", 1)):
        lines += [f'requests_total{{job="shop",code="{code}"}} {i * step} {now - 3540 + i * 60}' for i in range(60)]
    lines.append("# TYPE latency histogram")
    for le in ("0.1", "1.0", "+Inf"):
        lines += [f'latency_bucket{{job="shop",le="{le}"}} {i} {now - 3540 + i * 60}' for i in range(60)]
    return "\n".join(lines + ["# EOF", ""])


def prepare(folder):
    """The packages, and the test with the plugin's modules in one file."""
    if "--install" in sys.argv:
        os.makedirs(folder, exist_ok=True)
        shutil.copy(os.path.join(HERE, "package.json"), folder)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--legacy-peer-deps"], cwd=folder, check=True)
        subprocess.run(["node", "node_modules/esbuild/install.js"], cwd=folder, check=True)
    for name in ("browser.mjs", "prometheus.mjs"):
        shutil.copy(os.path.join(HERE, name), folder)
    loaders = [f"--loader:.{kind}=empty" for kind in ("css", "svg", "ttf", "png")]
    subprocess.run(
        ["node_modules/.bin/esbuild", "prometheus.mjs", "--bundle", "--platform=browser", "--format=esm", "--log-level=error",
         "--outfile=bundle.mjs", "--alias:@plugin=./node_modules/@grafana/prometheus/dist/esm",
         "--define:process.env.NODE_ENV=\"test\"", *loaders], cwd=folder, check=True)


def main():
    folder = os.path.abspath(sys.argv[1])
    prepare(folder)
    server = Server()
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".om") as file:
            file.write(exposition())
            file.flush()
            subprocess.run([TRIVET, "import", "openmetrics", "--to", server.url, file.name], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run = subprocess.run(["node", "browser.mjs", "./bundle.mjs"], cwd=folder, capture_output=True, text=True, timeout=120,
                             env={**os.environ, "TRIVET_URL": server.url})
        answers = [line for line in run.stdout.splitlines() if line.startswith('{"POST"')]
        assert answers, run.stdout[-2000:] + run.stderr[-2000:]
        answers = json.loads(answers[0])
        for method in ("POST", "GET", "SEARCH"):
            for what, wanted in WANTED.items():
                assert answers[method][what] == wanted, f"{method} {what}: {answers[method][what]} instead of {wanted}"
            assert "requests_total counter Answered." in answers[method]["metadata"], answers[method]["metadata"]
        failed = [r for r in answers["requests"] if not r.endswith(" 200")]
        assert not failed, failed
        assert any("api/v1/search/" in r for r in answers["requests"]), "the search API was not asked"
        print(f"ok: {len(answers['requests'])} requests of Grafana's plugin")
    finally:
        server.stop()


main()
