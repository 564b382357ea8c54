"""Random expressions over random series: the server's answers against the naive evaluator of promql_naive.py.

    promql_random.py [SEED [EXPRESSIONS]]     (default: PROMQL_SEED, PROMQL_EXPRESSIONS, or 1, 400: some seconds)

Series have gaps, stale markers, resets, times on and off full steps. An answer must have the same series, steps and
values (to the rounding of sums), or both sides must refuse; one step asked alone must be what it was among others. The
second half is asked after a restart. On a difference the expression and both values are printed. Comparisons between
vectors and functions with steps in their values only take exact operands, so that rounding decides nothing."""

import json
import math
import os
import random
import re
import struct
import sys
import time
from urllib.parse import urlencode

from harness import Server
from promql_naive import (OVER_WINDOW, Absent, Aggregate, Binary, CountValues, ExtendedWindow, LabelReplace, Map,
                          Modifiers, Number, OverWindow, PartOf, Refused, ScalarOf, Selector, Series, Subquery, Time,
                          Timestamp, Window, finish)
from prom_data import STALE, encode_labels, field, snappy, varint
from prom_peer import Client

STEP_S = 15
SAMPLES = 120
CLOSE = 1e-9  # of the larger value, or of 1
CLOSE_TIMES = 1e-6  # where times of the clock are computed with: a second has 9 digits less


def make_data(r, start_ms):
    """Values are whole numbers with a fraction of their own (n/64): sums are exact, no two series tie."""
    out = []
    for name in ("a_total", "b"):
        for k in range(9):
            labels = {"x": str(k % 3), "y": str(k // 3 % 3)}
            labels = {key: v for key, v in labels.items() if v != "0" or key == "x"}
            fraction = (k + 9 * (name == "b")) / 64
            steady, v, samples = r.random() < 0.5, r.randrange(50), []
            for i in range(SAMPLES):
                v = v + r.randrange(0, 9) if name == "a_total" else r.randrange(-40, 40)
                v = 0 if name == "a_total" and r.random() < 0.02 else v
                if r.random() < 0.05:
                    continue
                t = start_ms + i * STEP_S * 1000 + (0 if steady else r.randrange(0, 9000))
                samples.append((t, None if r.random() < 0.03 else v + fraction))
            out.append(Series(name, tuple(sorted(labels.items())), tuple(samples)))
    return out


def make_histograms(r, start_ms):
    """Native ones with buckets 0 to 3; what is asked of them are counts and sums: series h/count, h/sum."""
    out, parts = [], []
    for k in range(6):
        labels = tuple(sorted({"x": str(k % 3), "y": str(k // 3)}.items()))
        counts, body, samples = [0] * 4, encode_labels({"__name__": "h", **dict(labels)}), []
        for i in range(SAMPLES):
            counts = [n + r.randrange(0, 5) for n in counts] if r.random() > 0.03 else [0] * 4
            if r.random() < 0.05:
                continue
            t, v = start_ms + i * STEP_S * 1000 + r.randrange(0, 9000), sum(counts) * 1.5
            deltas = b"".join(varint(2 * (b - a) if b >= a else 2 * (a - b) - 1) for a, b in zip([0] + counts, counts))
            body += field(4, b"\x08" + varint(sum(counts)) + b"\x19" + struct.pack("<d", v) + b"\x30\x00"
                          + field(11, b"\x10\x04") + field(12, deltas) + b"\x78" + varint(t))
            samples.append((t, float(sum(counts)), v))
        out.append(field(1, body))
        parts += [Series("h/count", labels, tuple((t, n) for t, n, _ in samples)),
                  Series("h/sum", labels, tuple((t, v) for t, _, v in samples))]
    return snappy(b"".join(out)), parts


def encode(data):
    out = []
    for s in data:
        body = encode_labels({"__name__": s.name, **dict(s.labels)})
        for t, v in s.samples:
            value = STALE if v is None else struct.pack("<d", v)
            body += field(2, b"\x09" + value + b"\x10" + varint(t))
        out.append(field(1, body))
    return snappy(b"".join(out))


class Maker:
    """Expressions by chance; depth bounds them."""

    def __init__(self, r, start_ms, end_ms, grid):
        self.r, self.start_ms, self.end_ms, self.grid = r, start_ms, end_ms, grid

    def modifiers(self):
        mods = Modifiers()
        if self.r.random() < 0.2:
            mods.offset_s = self.r.choice([15, 60, 301, -30])
        if self.r.random() < 0.1:
            mods.at_ms = self.r.randrange(self.start_ms, self.end_ms)
            mods.at_word = self.r.choice(["", "start()", "end()"])
            mods.at_ms = {"start()": self.grid[0], "end()": self.grid[1]}.get(mods.at_word, mods.at_ms)
        return mods

    def matcher(self):
        label, value = self.r.choice("xy"), self.r.choice(["0", "1", "2", "", "1|2", ".+", "[01]"])
        if self.r.random() < 0.5:
            value = value if len(value) < 2 else "1"
            return self.r.choice([(label, "=", value, lambda v: v == value), (label, "!=", value, lambda v: v != value)])
        match = re.compile(value).fullmatch
        return self.r.choice([(label, "=~", value, lambda v: bool(match(v))), (label, "!~", value, lambda v: not match(v))])

    def selector(self):
        matchers = [self.matcher() for _ in range(self.r.choice([0, 0, 1, 1, 2]))]
        return Selector(self.r.choice(["a_total", "b"]), matchers, self.modifiers())

    def window(self, depth):
        if depth > 0 and self.r.random() < 0.25:
            range_s = self.r.choice([60, 120, 300])
            return Subquery(self.vector(depth - 1), range_s, self.r.choice([15, 30, 37, 60]), self.modifiers())
        return Window(self.selector(), self.r.choice([15, 30, 60, 100, 300, 600]))

    def over_window(self, depth):
        func = self.r.choice(sorted(OVER_WINDOW))
        param = {"predict_linear": 60.0, "quantile_over_time": self.r.choice([0.0, 0.3, 0.5, 1.0, 1.5])}.get(func)
        window = self.window(depth)
        if isinstance(window, Subquery) and func in ("changes", "resets", "ts_of_max_over_time", "rate", "increase",
                                                     "irate"):
            window.inner = self.exact(depth - 1)
        return OverWindow(func, window, param)

    def names(self):
        return tuple(sorted(self.r.sample(["x", "y", "z"], self.r.randrange(0, 3))))

    def exact(self, depth):
        """Values without rounding."""
        if depth <= 0 or self.r.random() < 0.5:
            return self.selector()
        if self.r.random() < 0.5:
            func = self.r.choice(["min_over_time", "max_over_time", "last_over_time", "count_over_time"])
            return OverWindow(func, Window(self.selector(), self.r.choice([30, 60, 300])))
        return Aggregate(self.r.choice(["sum", "min", "max", "count"]), self.r.choice(["by", "without"]), self.names(),
                         self.exact(depth - 1))

    def aggregate(self, depth):
        clause = self.r.choice(["", "by", "without"])
        names = self.names() if clause else ()
        op = self.r.choice(["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "topk",
                            "bottomk"])
        if op in ("topk", "bottomk"):
            return Aggregate(op, clause, names, self.selector(), float(self.r.randrange(0, 4)))
        param = self.r.choice([0.0, 0.25, 0.9, 1.0, -1.0]) if op == "quantile" else None
        return Aggregate(op, clause, names, self.vector(depth - 1), param)

    def matching(self):
        out = {}
        if self.r.random() < 0.5:
            out[self.r.choice(["on", "ignoring"])] = self.names()
        return out

    def binary(self, depth):
        kind = self.r.randrange(4)
        if kind == 0:
            return Binary(self.r.choice(["and", "or", "unless"]), self.vector(depth - 1), self.vector(depth - 1),
                          **self.matching())
        if kind == 1:
            scalar, vector = self.scalar(depth - 1), self.exact(depth - 1)
            sides = (scalar, vector) if self.r.random() < 0.3 else (vector, scalar)
            if self.r.random() < 0.5:
                return Binary(self.r.choice("+-*/"), *sides)
            # a fraction that no value has
            sides = tuple(s if s is vector else Number(self.r.randrange(-40, 99) + 0.3) for s in sides)
            return Binary(self.r.choice(["<", ">", "==", "!=", "<=", ">="]), *sides, is_bool=self.r.random() < 0.4)
        args = self.matching()
        if args and self.r.random() < 0.6:
            args["group"] = self.r.choice(["left", "right"])
            free = [n for n in ("x", "y") if n not in args.get("on", ())]
            args["include"] = tuple(n for n in free if self.r.random() < 0.3)
        if self.r.random() < 0.25 and (kind == 2 or "group" not in args):
            args["fill"] = self.r.choice([(None, 0.5), (2.0, None), (0.0, 1.0)])
        if kind == 2:
            return Binary(self.r.choice("+-*/"), self.vector(depth - 1), self.vector(depth - 1), **args)
        if "fill" in args:
            return Binary(self.r.choice(["<", ">", "=="]), self.exact(depth - 1), self.exact(depth - 1), is_bool=True,
                          **args)
        return Binary(self.r.choice(["<", ">", "==", "!=", "<=", ">="]), self.exact(depth - 1), self.exact(depth - 1),
                      is_bool=self.r.random() < 0.4, **args)

    def scalar(self, depth):
        kind = self.r.randrange(4)
        if kind == 0:
            return Time()
        if kind == 1 and depth > 0:
            return ScalarOf(self.vector(depth - 1))
        return Number(float(self.r.randrange(-5, 20)))

    def mapped(self, depth):
        form, f, exact = self.r.choice([
            ("abs({})", abs, False), ("-({})", lambda v: -v, False), ("clamp({}, -3, 20)",
                                                                      lambda v: max(-3.0, min(20.0, v)), False),
            ("clamp_min({}, 5)", lambda v: max(5.0, v), False), ("ceil({})", lambda v: float(math.ceil(v)), True),
            ("floor({})", lambda v: float(math.floor(v)), True), ("sgn({})", lambda v: float((v > 0) - (v < 0)), True),
            ("round({}, 0.25)", lambda v: math.floor(v * 4 + 0.5) / 4, True)])
        return Map(form, f, self.exact(depth - 1) if exact else self.finite(depth - 1))

    def finite(self, depth):
        return self.exact(depth) if self.r.random() < 0.5 else OverWindow("avg_over_time", Window(self.selector(), 60))

    def extended(self):
        mode = self.r.choice(["anchored", "smoothed"])
        func = self.r.choice(["rate", "increase", "delta"] + ["changes", "resets"] * (mode == "anchored"))
        selector = self.selector()
        selector.name = "a_total" if mode == "smoothed" and func != "delta" else selector.name  # no counters below 0
        return ExtendedWindow(func, selector, self.r.choice([15, 30, 60, 100, 300]), mode)

    def histograms(self):
        selector = self.selector()
        selector.name = "h"
        inner = self.r.choice([selector, OverWindow(self.r.choice(["sum_over_time", "avg_over_time", "last_over_time"]),
                                                    Window(selector, self.r.choice([15, 60, 300])))])
        if self.r.random() < 0.6:
            inner = Aggregate(self.r.choice(["sum", "avg"]), self.r.choice(["by", "without"]), self.names(), inner)
        return PartOf(self.r.choice(["count", "sum"]), inner)

    def labelled(self, depth):
        if self.r.random() < 0.4:
            return CountValues(self.exact(depth - 1), self.r.choice(["by", "without"]), self.names())
        return LabelReplace(self.selector(), self.r.choice("xz"), self.r.choice(["c", r"\1", r"\1c", ""]),
                            self.r.choice("xy"), self.r.choice(["(.*)", "([01])", "(.)|(..)"]))

    def vector(self, depth):
        if depth <= 0:
            return self.selector()
        pick = self.r.randrange(15)
        if pick == 12:
            return self.extended()
        if pick == 13:
            return self.histograms()
        if pick == 14:
            return self.labelled(depth)
        if pick < 4:
            return self.over_window(depth)
        if pick < 7:
            return self.aggregate(depth)
        if pick < 10:
            return self.binary(depth)
        if pick == 10:
            return self.mapped(depth)
        return self.r.choice([Absent(self.exact(depth - 1)), Timestamp(self.exact(depth - 1)), self.selector()])


def expected(node, data, times):
    """{(labels, ms): value}, or None where it must be refused."""
    out = {}
    try:
        for t in times:
            for labels, v in finish(node.at(data, t)).items():
                out[labels, t] = v
    except Refused:
        return None
    return out


def answered(client, text, grid):
    params = {"query": text, "start": grid[0] / 1000, "end": grid[1] / 1000, "step": grid[2] / 1000}
    status, body = client.send("GET", "/api/v1/query_range?" + urlencode(params))
    reply = json.loads(body)
    if status == 422:
        return None, reply["error"]
    assert status == 200, (text, reply)
    out = {}
    for s in reply["data"]["result"]:
        labels = tuple(sorted(s["metric"].items()))
        for t, v in s["values"]:
            out[labels, round(t * 1000)] = float(v)
    return out, ""


def instant(client, text, t):
    status, body = client.send("GET", "/api/v1/query?" + urlencode({"query": text, "time": t / 1000}))
    if status == 422:
        return None
    data = json.loads(body)["data"]["result"]
    return {(tuple(sorted(s["metric"].items())), t): float(s["value"][1]) for s in data}


def unlike_range(client, text, got, t):
    """One step asked alone must be what it is among others. (start() and end() are other times then.)"""
    alone = instant(client, text, t)
    if got is None or alone is None or "start()" in text or "end()" in text:
        return None
    among = {key: v for key, v in got.items() if key[1] == t}
    same = among.keys() == alone.keys() and all(close(v, alone[key], CLOSE) for key, v in among.items())
    return None if same else f"alone at {t}: {alone}, among others: {among}"


def close(a, b, rounding):
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= rounding * max(1, abs(a), abs(b))


def difference(text, want, got, error):
    rounding = CLOSE_TIMES if re.search("time\\(\\)|timestamp|ts_of", text) else CLOSE
    if want is None or got is None:
        return None if want is got else f"refused by {'us' if want is not None else 'the judge'} only: {error}"
    for key in sorted(want.keys() ^ got.keys()):
        return f"{key}: {'missing' if key in want else 'too much'}, {want.get(key, got.get(key))}"
    for key, v in want.items():
        if not close(v, got[key], rounding):
            return f"{key}: {v!r} wanted, {got[key]!r} found"
    return None


def main():
    seed = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("PROMQL_SEED", "1"))
    n = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("PROMQL_EXPRESSIONS", "400"))
    start_ms = (int(time.time()) - 3600) // 60 * 60_000
    failed = refused = points = 0
    with Server() as server:
        client = Client(server.port)
        r = random.Random(seed)
        data = make_data(r, start_ms)
        client.write(encode(data))
        body, parts = make_histograms(r, start_ms)
        client.write(body)
        data += parts
        for i in range(n):
            if i == n // 2:
                server.process.terminate()
                server.process.wait(timeout=60)
                server.start()
                client = Client(server.port)
            r = random.Random(f"{seed} {i}")
            first = start_ms + r.choice([0, 300_000, 427_001, 900_000])
            step = r.choice([15_000, 30_000, 47_000, 300_000])
            times = [first + k * step for k in range(r.choice([1, 5, 9]))]
            maker = Maker(r, start_ms, start_ms + SAMPLES * STEP_S * 1000, (times[0], times[-1]))
            node = maker.vector(r.choice([1, 2, 2, 3]))
            text = node.text()
            want = expected(node, data, times)
            got, error = answered(client, text, (times[0], times[-1], step))
            problem = difference(text, want, got, error) or unlike_range(client, text, got, r.choice(times))
            refused += want is None
            points += len(want or ())
            if problem:
                failed += 1
                print(f"seed {seed} number {i}: {text}\n    steps {times[0]} + {step} x {len(times)}: {problem}")
    print(f"{n} expressions, {refused} refused, {points} points, {failed} differ")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
