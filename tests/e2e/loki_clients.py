"""Loggers that push to Loki, as people use them: winston-loki and pino-loki (npm), python-logging-loki (PyPI). What they
send is found again, with its labels and levels."""

import logging
import os
import subprocess

import logging_loki
from harness import Server, now, until

HERE = os.path.dirname(os.path.abspath(__file__))


def rows(server, query):
    result = server.get("/loki/api/v1/query_range", {
        "query": query, "start": int((now() - 3600) * 1e9), "end": int((now() + 600) * 1e9), "direction": "forward"})
    return sorted((line, stream["stream"]) for stream in result["data"]["result"] for _, line in stream["values"])


def check_node(server):
    run = subprocess.run(["node", os.path.join(HERE, "loki_clients.mjs"), server.url], capture_output=True, text=True,
                         timeout=60)
    assert run.returncode == 0, (run.stdout, run.stderr)
    for batched in ("true", "false"):
        found = until(lambda: len(r := rows(server, '{job="winston", batched="%s"}' % batched)) == 2 and r, "winston's lines")
        errors = rows(server, '{job="winston", batched="%s", level="error"} | json | attempt=3' % batched)
        assert len(errors) == 1 and errors[0][1]["detected_level"] == "error", found
        boot = rows(server, '{module="boot", batched="%s"} |= "started"' % batched)
        assert len(boot) == 1 and "é" in boot[0][0], found
    found = until(lambda: len(r := rows(server, '{job="pino"}')) == 2 and r, "pino's lines")
    slow = rows(server, '{job="pino", module="boot", detected_level="warn"} | json') or rows(
        server, '{job="pino", module="boot"} | detected_level=~"warn|warning" | json')
    assert len(slow) == 1 and slow[0][1]["code"] == "7", found
    assert len(rows(server, '{job="pino"} | trace_id="abc1"')) == 1, found


def check_python(server):
    handler = logging_loki.LokiHandler(url=server.url + "/loki/api/v1/push", tags={"application": "py-app"}, version="1")
    errors = []
    handler.handleError = errors.append
    logger = logging.getLogger("shop.cart")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    logger.warning("cart %s is\nempty", "é7")
    try:
        raise KeyError("no such item")
    except KeyError:
        logger.exception("lookup", extra={"tags": {"shop-id": "9"}})
    assert errors == [], errors
    found = rows(server, '{application="py-app", logger="shop.cart"}')
    assert [line.split("\n")[0] for line, _ in found] == ["cart é7 is", "lookup"], found
    assert {s["detected_level"] for _, s in found} == {"warn", "error"}, found
    assert rows(server, '{shop_id="9", severity="error"} |= "KeyError"'), found


def main():
    with Server() as server:
        check_python(server)
        check_node(server)
    print("ok")


main()
