"""PromQL on floats as its documentation defines it, step by step and slowly: the judge of promql_random.py.

Nothing is shared with the engine: every step evaluates the tree anew from lists of (time, value), sums are exact
(math.fsum), deviations are taken from the mean in a second pass. A vector is a list of Element; times are whole
milliseconds."""

import math
import re
from dataclasses import dataclass, replace

LOOKBACK_MS = 300_000
NAN = math.nan


class Refused(Exception):
    """The expression has no value: the server must answer with an error, too."""


@dataclass(frozen=True)
class Element:
    name: str
    labels: tuple  # sorted pairs, without the name
    v: float
    drop: bool = False  # the name goes from the final result

    def with_value(self, v):
        return replace(self, v=v, drop=True)


@dataclass(frozen=True)
class Series:
    name: str
    labels: tuple
    samples: tuple  # (ms, value), None for a stale marker


def keep(labels, names, without=False):
    return tuple((k, v) for k, v in labels if (k in names) != without)


def finish(vector):
    out = {}
    for e in vector:
        key = (("__name__", e.name),) * (bool(e.name) and not e.drop) + e.labels
        if key in out:
            raise Refused("same labelset")
        out[key] = e.v
    return out


# ---- functions over windows: samples [(ms, v)], window (start, end] ----


def extrapolated(samples, start, end, counter, per_second):
    if len(samples) < 2:
        return None
    (t0, f0), (tn, fn) = samples[0], samples[-1]
    v = fn - f0
    if counter:
        v = total([v] + [a for (_, a), (_, b) in zip(samples, samples[1:]) if b < a])
    covered = (tn - t0) / 1000
    mean = covered / (len(samples) - 1)
    left, right = (t0 - start) / 1000, (end - tn) / 1000
    left = mean / 2 if left >= 1.1 * mean else left
    right = mean / 2 if right >= 1.1 * mean else right
    if counter and v > 0 and f0 >= 0:
        left = min(left, covered * f0 / v)
    v *= (covered + left + right) / covered
    return v / ((end - start) / 1000) if per_second else v


def instant_change(samples, is_rate):
    if len(samples) < 2:
        return None
    (ta, a), (tb, b) = samples[-2:]
    if not is_rate:
        return b - a
    return (b if b < a else b - a) / ((tb - ta) / 1000)


def quantile(phi, values):
    if not values or math.isnan(phi):
        return NAN
    if phi < 0 or phi > 1:
        return -math.inf if phi < 0 else math.inf
    values = sorted(values, key=lambda v: (not math.isnan(v), v))
    rank = phi * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(values) - 1)
    return values[low] * (1 - (rank - low)) + values[high] * (rank - low)


def total(values):
    try:
        return math.fsum(values)
    except ValueError:  # both infinities
        return NAN


def least(values):
    return min((v for v in values if not math.isnan(v)), default=NAN)


def most(values):
    return max((v for v in values if not math.isnan(v)), default=NAN)


def mean(values):
    return total(values) / len(values)


def variance(values):
    middle = mean(values)
    return total((v - middle) ** 2 for v in values) / len(values)


def line(samples, at):
    """Slope and value at `at` of the least squares."""
    xs, ys = [(t - at) / 1000 for t, _ in samples], [v for _, v in samples]
    if all(y == ys[0] for y in ys):
        return 0.0, ys[0]
    mx, my = mean(xs), mean(ys)
    slope = total((x - mx) * (y - my) for x, y in zip(xs, ys)) / total((x - mx) ** 2 for x in xs)
    return slope, my - slope * mx


def pairs(samples, check):
    return float(sum(check(a, b) for (_, a), (_, b) in zip(samples, samples[1:])))


def values_of(samples):
    return [v for _, v in samples]


OVER_WINDOW = {  # (samples, start, end, parameter) -> value or None
    "rate": lambda s, a, b, _: extrapolated(s, a, b, True, True),
    "increase": lambda s, a, b, _: extrapolated(s, a, b, True, False),
    "delta": lambda s, a, b, _: extrapolated(s, a, b, False, False),
    "irate": lambda s, a, b, _: instant_change(s, True),
    "idelta": lambda s, a, b, _: instant_change(s, False),
    "changes": lambda s, a, b, _: pairs(s, lambda x, y: x != y),
    "resets": lambda s, a, b, _: pairs(s, lambda x, y: y < x),
    "deriv": lambda s, a, b, _: line(s, b)[0] if len(s) > 1 else None,
    "predict_linear": lambda s, a, b, p: line(s, b)[1] + line(s, b)[0] * p if len(s) > 1 else None,
    "avg_over_time": lambda s, a, b, _: mean(values_of(s)),
    "sum_over_time": lambda s, a, b, _: total(values_of(s)),
    "min_over_time": lambda s, a, b, _: least(values_of(s)),
    "max_over_time": lambda s, a, b, _: most(values_of(s)),
    "count_over_time": lambda s, a, b, _: float(len(s)),
    "present_over_time": lambda s, a, b, _: 1.0,
    "last_over_time": lambda s, a, b, _: s[-1][1],
    "first_over_time": lambda s, a, b, _: s[0][1],
    "stddev_over_time": lambda s, a, b, _: math.sqrt(variance(values_of(s))),
    "stdvar_over_time": lambda s, a, b, _: variance(values_of(s)),
    "quantile_over_time": lambda s, a, b, p: quantile(p, values_of(s)),
    "mad_over_time": lambda s, a, b, _: quantile(
        0.5, [abs(v - quantile(0.5, values_of(s))) for v in values_of(s)]),
    "ts_of_max_over_time": lambda s, a, b, _: max(s, key=lambda x: (x[1], x[0]))[0] / 1000,
    "ts_of_first_over_time": lambda s, a, b, _: s[0][0] / 1000,
}
KEEPS_NAME = ("last_over_time", "first_over_time")
AGGREGATES = {
    "sum": total, "avg": mean, "min": least, "max": most, "count": lambda v: float(len(v)), "group": lambda v: 1.0,
    "stddev": lambda v: math.sqrt(variance(v)), "stdvar": variance,
}


def divide(a, b):
    if b == 0:
        return NAN if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


ARITHMETIC = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": divide}
COMPARE = {"==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, ">": lambda a, b: a > b,
           "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}

# ---- nodes: text() is the query, at(data, ms) its value: a vector, or a float for scalars ----


@dataclass
class Modifiers:
    offset_s: int = 0
    at_ms: int = None
    at_word: str = ""  # start() or end(), which are at_ms

    def text(self):
        out = f" @ {self.at_word or f'{self.at_ms / 1000:.3f}'}" if self.at_ms is not None else ""
        return out + (f" offset {'-' * (self.offset_s < 0)}{abs(self.offset_s)}s" if self.offset_s else "")

    def time(self, t):
        return (t if self.at_ms is None else self.at_ms) - self.offset_s * 1000


@dataclass
class Selector:
    name: str
    matchers: list  # (label, operator, value, predicate)
    mods: Modifiers

    def body(self):
        inside = ",".join(f'{k}{op}"{v}"' for k, op, v, _ in self.matchers)
        return self.name + ("{" + inside + "}" if inside else "")

    def text(self):
        return self.body() + self.mods.text()

    def series(self, data):
        for s in data:
            labels = dict(s.labels)
            if s.name == self.name and all(p(labels.get(k, "")) for k, _, _, p in self.matchers):
                yield s

    def at(self, data, t):
        end, out = self.mods.time(t), []
        for s in self.series(data):
            found = [v for when, v in s.samples if end - LOOKBACK_MS < when <= end]
            if found and found[-1] is not None:
                out.append(Element(s.name, s.labels, found[-1]))
        return out


@dataclass
class Window:
    selector: Selector
    range_s: int

    def text(self):
        return f"{self.selector.body()}[{self.range_s}s]{self.selector.mods.text()}"

    def windows(self, data, t):
        end = self.selector.mods.time(t)
        start = end - self.range_s * 1000
        for s in self.selector.series(data):
            inside = [(when, v) for when, v in s.samples if start < when <= end and v is not None]
            if inside:
                yield Element(s.name, s.labels, 0), inside, start, end


def interpolated(a, b, t, counter):
    """Between two samples; a counter that drops began anew at the first of them."""
    (ta, x), (tb, y) = a, b
    x = 0.0 if counter and y < x else x
    return x + (y - x) * (t - ta) / (tb - ta)


@dataclass
class ExtendedWindow:
    """func(selector[range] anchored), or smoothed: from end to end, nothing is extrapolated."""

    func: str  # rate, increase, delta; anchored also changes, resets
    selector: Selector
    range_s: int
    mode: str

    def text(self):
        return f"{self.func}({self.selector.body()}[{self.range_s}s] {self.mode}{self.selector.mods.text()})"

    def points(self, samples, start, end):
        """(ms, value) at both ends and between them, or None."""
        there = [s for s in samples if s[1] is not None and start - LOOKBACK_MS < s[0] < end + LOOKBACK_MS]
        before, inside = [s for s in there if s[0] <= start], [s for s in there if start < s[0] <= end]
        behind = [s for s in there if s[0] > end] if self.mode == "smoothed" else []
        counter = self.func != "delta"
        if not inside and not (before and behind):
            return None
        if self.mode == "anchored":
            return [(start, (before or inside)[-1 if before else 0][1])] + inside + [(end, inside[-1][1])]
        left = interpolated(before[-1], (inside + behind)[0], start, counter) if before else inside[0][1]
        right = interpolated((before + inside)[-1], behind[0], end, counter) if behind else inside[-1][1]
        return [(start, left)] + inside + [(end, inside[-1][1] if inside and inside[-1][0] == end else right)]

    def at(self, data, t):
        end, out = self.selector.mods.time(t), []
        start = end - self.range_s * 1000
        for s in self.selector.series(data):
            points = self.points(s.samples, start, end)
            if points is None:
                continue
            values = values_of(points)
            if self.func in ("changes", "resets"):
                v = pairs(points, (lambda x, y: x != y) if self.func == "changes" else (lambda x, y: y < x))
            else:
                drops = [a for a, b in zip(values, values[1:]) if b < a] if self.func != "delta" else []
                # both ends between the same two samples of a drop: it was before them
                v = total([values[-1], -values[0]] + drops)
                v = v / self.range_s if self.func == "rate" else v
            out.append(Element(s.name, s.labels, v, True))
        return out


@dataclass
class Subquery:
    inner: object
    range_s: int
    step_s: int
    mods: Modifiers

    def text(self):
        return f"({self.inner.text()})[{self.range_s}s:{self.step_s}s]{self.mods.text()}"

    def windows(self, data, t):
        end = self.mods.time(t)
        start, step = end - self.range_s * 1000, self.step_s * 1000
        rows = {}
        for when in range((start // step + 1) * step, end + 1, step):
            value = self.inner.at(data, when)
            for e in [Element("", (), value)] if isinstance(value, float) else value:
                rows.setdefault((e.name, e.labels, e.drop), []).append((when, e.v))
        for (name, labels, drop), samples in rows.items():
            yield Element(name, labels, 0, drop), samples, start, end


@dataclass
class OverWindow:
    func: str
    window: object
    param: float = None

    def text(self):
        inner = self.window.text()
        if self.func == "quantile_over_time":
            return f"{self.func}({self.param}, {inner})"
        return f"{self.func}({inner}{f', {self.param}' if self.param is not None else ''})"

    def at(self, data, t):
        out = []
        for e, samples, start, end in self.window.windows(data, t):
            # predict_linear looks from the time of evaluation, not from the shifted window
            v = OVER_WINDOW[self.func](samples, start, end, self.param) if self.func != "predict_linear" else (
                None if len(samples) < 2 else line(samples, t)[1] + line(samples, t)[0] * self.param)
            if v is not None:
                out.append(replace(e, v=v, drop=e.drop or self.func not in KEEPS_NAME))
        return out


@dataclass
class Number:
    v: float

    def text(self):
        return repr(self.v)

    def at(self, _data, _t):
        return self.v


@dataclass
class Time:
    def text(self):
        return "time()"

    def at(self, _data, t):
        return t / 1000


@dataclass
class ScalarOf:
    inner: object

    def text(self):
        return f"scalar({self.inner.text()})"

    def at(self, data, t):
        vector = self.inner.at(data, t)
        return vector[0].v if len(vector) == 1 else NAN


@dataclass
class Map:
    """A function of one value: what, text with {} for the argument."""

    form: str
    f: object
    inner: object

    def text(self):
        return self.form.format(self.inner.text())

    def at(self, data, t):
        return [e.with_value(self.f(e.v)) for e in self.inner.at(data, t)]


@dataclass
class Timestamp:
    """timestamp() of something that is no plain selector: the time of evaluation."""

    inner: object

    def text(self):
        return f"timestamp({self.inner.text()})"

    def at(self, data, t):
        if not isinstance(self.inner, Selector):
            return [e.with_value(t / 1000) for e in self.inner.at(data, t)]
        end, out = self.inner.mods.time(t), []
        for s in self.inner.series(data):
            found = [x for x in s.samples if end - LOOKBACK_MS < x[0] <= end]
            if found and found[-1][1] is not None:
                out.append(Element(s.name, s.labels, found[-1][0] / 1000, True))
        return out


@dataclass
class PartOf:
    """histogram_count() or _sum() of sums of native histograms: the same sums of the parts, series name/part."""

    part: str
    inner: object

    def text(self):
        return f"histogram_{self.part}({self.inner.text()})"

    def at(self, data, t):
        parts = [replace(s, name=s.name.split("/")[0]) for s in data if s.name.endswith("/" + self.part)]
        return [e.with_value(e.v) for e in self.inner.at(parts, t)]


@dataclass
class LabelReplace:
    inner: Selector
    target: str
    form: str  # Python's, with \1
    source: str
    pattern: str

    def text(self):
        form = re.sub(r"\\(\d)", r"${\1}", self.form)
        return f'label_replace({self.inner.text()}, "{self.target}", "{form}", "{self.source}", "{self.pattern}")'

    def at(self, data, t):
        out, there = [], set()
        for e in self.inner.at(data, t):
            labels = dict(e.labels)
            match = re.fullmatch(self.pattern, labels.get(self.source, ""))
            if match:
                labels[self.target] = match.expand(self.form)
            labels = tuple(sorted((k, v) for k, v in labels.items() if v))
            if labels in there:
                raise Refused("same labelset")
            there.add(labels)
            out.append(replace(e, labels=labels))
        return out


@dataclass
class CountValues:
    inner: object  # without rounding
    clause: str
    names: tuple

    def text(self):
        return f'count_values {self.clause} ({", ".join(self.names)}) ("v", {self.inner.text()})'

    def at(self, data, t):
        groups = {}
        for e in self.inner.at(data, t):
            labels = dict(keep(e.labels, self.names, self.clause == "without"))
            labels["v"] = repr(int(e.v)) if e.v == int(e.v) else repr(e.v)
            key = tuple(sorted(labels.items()))
            groups[key] = groups.get(key, 0.0) + 1
        return [Element("", labels, v) for labels, v in groups.items()]


@dataclass
class Absent:
    inner: object  # not a selector: the result has no labels then

    def text(self):
        return f"absent(({self.inner.text()}) > -1e300)"

    def at(self, data, t):
        there = [e for e in self.inner.at(data, t) if e.v > -1e300]
        return [] if there else [Element("", (), 1.0)]


@dataclass
class Aggregate:
    op: str
    clause: str  # "", "by", "without"
    names: tuple
    inner: object
    param: float = None

    def text(self):
        clause = f" {self.clause} ({', '.join(self.names)})" if self.clause else ""
        return f"{self.op}{clause} ({f'{self.param}, ' if self.param is not None else ''}{self.inner.text()})"

    def at(self, data, t):
        groups = {}
        for e in self.inner.at(data, t):
            key = keep(e.labels, self.names, self.clause == "without") if self.clause else ()
            groups.setdefault(key, []).append(e)
        out = []
        for labels, elements in groups.items():
            if self.op in ("topk", "bottomk"):
                elements = sorted(elements, key=lambda e: e.v, reverse=self.op == "topk")
                out += elements[:max(0, int(self.param))]
            else:
                values = [e.v for e in elements]
                v = quantile(self.param, values) if self.op == "quantile" else AGGREGATES[self.op](values)
                out.append(Element("", labels, v))
        return out


@dataclass
class Binary:
    op: str
    left: object
    right: object
    is_bool: bool = False
    on: tuple = None  # names, or
    ignoring: tuple = None
    group: str = ""  # left, right
    include: tuple = ()
    fill: tuple = (None, None)  # left, right

    def text(self):
        out = f"({self.left.text()}) {self.op}" + (" bool" if self.is_bool else "")
        for word, names in (("on", self.on), ("ignoring", self.ignoring)):
            out += f" {word} ({', '.join(names)})" if names is not None else ""
        out += f" group_{self.group} ({', '.join(self.include)})" if self.group else ""
        for side, v in zip(("left", "right"), self.fill):
            out += f" fill_{side} ({v})" if v is not None else ""
        return f"{out} ({self.right.text()})"

    def at(self, data, t):
        a, b = self.left.at(data, t), self.right.at(data, t)
        if isinstance(a, float) and isinstance(b, float):
            return float((ARITHMETIC | COMPARE)[self.op](a, b))
        if isinstance(a, float) or isinstance(b, float):
            return self.with_scalar(a, b)
        if self.op in ("and", "or", "unless"):
            return self.sets(a, b)
        return self.match(a, b)

    def with_scalar(self, a, b):
        out = []
        for e in b if isinstance(a, float) else a:
            x, y = (a, e.v) if isinstance(a, float) else (e.v, b)
            if self.op in ARITHMETIC:
                out.append(e.with_value(ARITHMETIC[self.op](x, y)))
            elif self.is_bool:
                out.append(e.with_value(float(COMPARE[self.op](x, y))))
            elif COMPARE[self.op](x, y):
                out.append(e)
        return out

    def key(self, e):
        return keep(e.labels, self.on) if self.on is not None else keep(e.labels, self.ignoring or (), True)

    def sets(self, a, b):
        there = {self.key(e) for e in (a if self.op == "or" else b)}
        if self.op == "or":
            return a + [e for e in b if self.key(e) not in there]
        return [e for e in a if (self.key(e) in there) == (self.op == "and")]

    def filled(self, side, other, v):
        """With partners made up for what the other side has alone."""
        there = {self.key(e) for e in side}
        missing = {self.key(e) for e in other} - there if v is not None else ()
        return side + [Element("", key, v, True) for key in sorted(missing)]

    def match(self, a, b):
        if not (a and b) and (self.fill == (None, None) or not (a or b)):
            return []
        # as upstream: left is the many side
        left, right = reversed(self.fill) if self.group == "right" else self.fill
        a, b = self.filled(a, b, left), self.filled(b, a, right)
        many, one = (b, a) if self.group == "right" else (a, b)
        partner = {}
        for e in one:
            if self.key(e) in partner:
                raise Refused("many-to-many")
            partner[self.key(e)] = e
        out, taken = [], set()
        for e in many:
            p = partner.get(self.key(e))
            if p is None:
                continue
            x, y = (p.v, e.v) if self.group == "right" else (e.v, p.v)
            name, labels, drop = self.result_labels(e, p)
            mark = labels if self.group else self.key(e)
            if mark in taken:
                raise Refused("multiple matches")
            taken.add(mark)
            if self.op in ARITHMETIC:
                out.append(Element(name, labels, ARITHMETIC[self.op](x, y), True))
            elif self.is_bool:
                out.append(Element(name, labels, float(COMPARE[self.op](x, y)), True))
            elif COMPARE[self.op](x, y):
                out.append(Element(name, labels, x, drop))  # the left value, also with group_right
        return out

    def result_labels(self, e, p):
        if not self.group:
            return ("" if self.on is not None else e.name), self.key(e), e.drop
        labels = dict(e.labels)
        for name in self.include:
            labels.pop(name, None)
            if dict(p.labels).get(name):
                labels[name] = dict(p.labels)[name]
        return e.name, tuple(sorted(labels.items())), e.drop
