"""The same remote-written series in Debian's Prometheus and here, the expressions of prom_expressions.py asked of
both: the answers must be equal to the last bits. Short: two hours of some hundred series; tests/bench/prometheus_peer.py
does the same with a day of 5,000 and compares times."""

import os
import sys
import time

from harness import Server
from prom_data import STEP_MS, Lab
from prom_expressions import everything
from prom_peer import SKIP, Client, Prometheus, compare

SCRAPES = 480


def main():
    if not Prometheus.is_installed():
        print("prometheus is not installed")
        return SKIP
    start_ms = (int(time.time()) // 60 * 60 - SCRAPES * STEP_MS // 1000 - 60) * 1000
    lab = Lab(start_ms, SCRAPES, scale=1)
    end = lab.end_ms // 1000
    grid = (start_ms / 1000 + 307, end - 8, 67)  # never on a sample or on a full minute: see prom_expressions.py
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
    print(f"{len(everything())} expressions, {points} points, {empty} empty answers, at most {most} ULP apart")
    assert not failed, "\n".join([f"{len(failed)} differ"] + failed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
