"""The same remote-written series in Debian's Prometheus and here, the expressions of prom_expressions.py asked of
both: the answers must be equal to the last bits. Short: two hours of some hundred series; tests/bench/prometheus_peer.py
does the same with a day of 5,000 and compares times."""

import os
import shutil
import subprocess
import sys
import time

from harness import Server
from prom_data import STEP_MS, Lab
from prom_expressions import everything
from prom_peer import SKIP, Client, Prometheus, compare

SCRAPES = 480


def promtool(*args, text=None):
    out = subprocess.run(["promtool", *args], input=text, capture_output=True, timeout=30)
    assert out.returncode == 0, (args, out.stdout, out.stderr)
    return sorted(out.stdout.decode().splitlines())


def with_promtool(server, peer, grid):
    """Prometheus' own client: prints the same from both, and finds nothing wrong with what we say about ourselves."""
    first, last = f"--start={grid[0]:.0f}", f"--end={grid[1]}"
    for args, rest in [
            (["instant", f"--time={grid[1]}"], ["sum by (job) (up)"]),
            (["instant", f"--time={grid[1]}"], ['http_requests_total{code="500"}[2m]']),
            (["range", first, last, "--step=97s"], ["sum by (job) (go_goroutines)"]),
            (["series", "--match=up", '--match=node_load1{job="node"}', first, last], []),
            (["labels", first, last], ["namespace"])]:
        want, got = (promtool("query", *args, f"http://127.0.0.1:{port}", *rest) for port in (peer.port, server.port))
        assert want == got and want, (args, rest, want, got)
    status, body, _ = server.ask("/metrics")
    assert status == 200 and body
    promtool("check", "metrics", text=body)


def main():
    if not Prometheus.is_installed():
        print("prometheus is not installed")
        return SKIP
    start_ms = (int(time.time()) // 60 * 60 - SCRAPES * STEP_MS // 1000 - 60) * 1000
    lab = Lab(start_ms, SCRAPES, scale=1)
    end = lab.end_ms // 1000
    # Never on a sample nor, odd seconds with an even step, on a full minute: the left end of a subquery's window would
    # be one of its steps, which Prometheus 2 takes and 3 and we do not (see prom_expressions.py).
    grid = (start_ms / 1000 + 307, end - 7, 66)
    failed, empty, points, most = [], 0, 0, 0
    with Server() as server, Prometheus() as peer:
        ours, theirs = Client(server.port), Client(peer.port)
        for body, _ in lab.requests():
            theirs.write(body)
            ours.write(body)
        for group, expr in everything():
            for when in ({"grid": grid}, {"at": grid[1]}):
                wrong, n, ulps = compare(theirs.query(expr, **when), ours.query(expr, **when))
                points, empty, most = points + n, empty + (n == 0), max(most, ulps)
                if n == 0 and os.environ.get("SHOW_EMPTY"):
                    print("empty:", expr, when)
                if wrong:
                    failed.append(f"{group}: {expr}\n    " + "\n    ".join(wrong[:5]))
        if shutil.which("promtool"):
            with_promtool(server, peer, grid)
    print(f"{len(everything())} expressions, {points} points, {empty} empty answers, at most {most} ULP apart")
    assert not failed, "\n".join([f"{len(failed)} differ"] + failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
