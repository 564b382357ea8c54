"""The languages' conformance cases, when they are beside the project: CONFORMANCE=<folder> conformance.py promql|logql|traceql.

The runners and their cases are no part of the project. What fails must be one of the few cases below, each of which copies a
plain fault of the original; a case that passes again must be taken out here."""

import os
import re
import subprocess
import sys

TRIVET = os.environ.get("TRIVET", "build/release/trivet")
SERVE = f"{TRIVET} serve --data-dir {{dir}} --retention none --listen 127.0.0.1:"
RUNS = {
    # language: (runner's arguments, pattern of a failing case, known ones)
    "promql": (["--testdata", "promql", "--verbose", "--server", SERVE + "{port}"], r"^  (\S+\.test:\d+): ", {}),
    "logql": (["--server", SERVE + "{port}"], r"^FAIL (?:eval|parse) (\S+?):", {
        "labelfilters-01/q09": "Loki prints 1024B as 1.0kB on the way to itself and reads 1000 back",
        "labelfilters-01/q22": "Loki looks for `b.*` anywhere in a label, other patterns are anchored",
        "sm-01/q04": "the same with `t.*`",
    }),
    "traceql": (["--server", SERVE + "{http_port} --listen 127.0.0.1:{otlp_http_port}"], r"^FAIL (\S+)", {
        "arith-020": "Tempo folds 2 ^ 3 to 9",
    }),
}


def main():
    language = sys.argv[1]
    folder = os.environ.get("CONFORMANCE")
    if not folder or not os.path.isdir(folder):
        print("no CONFORMANCE folder: skipped")
        sys.exit(77)
    arguments, pattern, known = RUNS[language]
    run = subprocess.run([sys.executable, f"{language}_conformance.py", *arguments], cwd=folder, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(run.stdout[-4000:])
    totals = re.search(rf"^{language}: passed (\d+) of (\d+)$", run.stdout, re.M)
    assert totals, "the runner came to no end"
    failed = set(re.findall(pattern, run.stdout, re.M))
    assert int(totals.group(2)) > 1000, "hardly a case was run"
    assert len(failed) == int(totals.group(2)) - int(totals.group(1)), f"{totals.group(0)}, but {failed} by name"
    assert failed <= set(known), f"failing now: {sorted(failed - set(known))}"
    assert set(known) <= failed, f"passing now, take them out: {sorted(set(known) - failed)}"
    print("ok")


if __name__ == "__main__":
    main()
