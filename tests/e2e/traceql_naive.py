"""Random traces, random TraceQL, and what each query finds in them, worked out span by span.

Everything is done the slow and plain way: ancestors by walking up, relations by trying all pairs, quantiles by sorting.
A query is a text with a function that takes the spans of one trace (Queries.search) or all of them (Queries.metrics)."""

import math
import re

KINDS = ["unspecified", "internal", "server", "client", "producer", "consumer"]
STATUSES = ["unset", "ok", "error"]
ORDERS = {"=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
          ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}
RELATIONS = [">", ">>", "<", "<<", "~"]
MS = 10 ** 6
S = 10 ** 9


class Span:
    """attrs, resource, scope: dicts; events and links: lists of (name or (trace id, span id), attributes)."""

    def __init__(self, trace_id, span_id, parent_id):
        self.trace_id, self.span_id, self.parent_id = trace_id, span_id, parent_id
        self.attrs, self.resource, self.scope, self.events, self.links = {}, {}, {}, [], []


def make_value(r):
    return r.choice([r.randrange(5), r.randrange(5), r.choice([0.5, 1.0, 2.5]), r.choice(["u", "v", "uv", ""]),
                     r.random() < 0.5, [1, 3], [0.5, 2.5], ["u", "w"], [True]])


def make_span(r, i, trace_id, spans, start_ns, chain):
    if i == 0:
        parent = "" if r.random() < 0.85 else "f" * 16
    elif r.random() < 0.06:
        parent = r.choice(["", f"{0xdead000 + i:016x}"])
    else:
        parent = (spans[-1] if chain else r.choice(spans)).span_id
    span = Span(trace_id, trace_id[8:16] + f"{i + 1:08x}", parent)
    span.start, span.duration = start_ns + r.randrange(5 * S), r.choice([0, r.randrange(S), 100 * MS])
    span.name, span.kind, span.status = r.choice("abcd"), r.randrange(6), r.randrange(3)
    span.message = r.choice(["", "", "boom"])
    span.resource["service.name"] = r.choice("xyz")
    span.scope_name = r.choice(["", "lib", "other"])
    for key, chance in (("n", 0.7), ("m", 0.5), ("a b", 0.3)):
        if r.random() < chance:
            span.attrs[key] = make_value(r) if r.random() < 0.4 else r.randrange(5)
    if r.random() < 0.3:
        span.resource["n"] = r.randrange(5)
    if r.random() < 0.2:
        span.scope["m"] = r.randrange(5)
    for _ in range(r.choice([0, 0, 1, 2])):
        span.events.append((r.choice(["retry", "fail"]), r.randrange(4) * 10 * MS,
                            {"k": r.randrange(3)} if r.random() < 0.6 else {}))
    if r.random() < 0.2:
        span.links.append((f"{r.randrange(1, 9):032x}", f"{r.randrange(1, 9):016x}", {"k": r.randrange(3)}))
    return span


def make_traces(r, start_ns, n):
    """Chains, bushes, several roots, none, spans whose parents are not there; in random order."""
    traces = []
    for k in range(n):
        trace_id, chain, spans = f"{r.getrandbits(96) | 1 << 90:024x}{k + 1:08x}", r.random() < 0.4, []
        for i in range(r.choice([1, 2, 3, 5, 8, 15, 40])):
            spans.append(make_span(r, i, trace_id, spans, start_ns, chain))
        r.shuffle(spans)
        know_trace(spans)
        traces.append(spans)
    return traces


def know_trace(spans):
    by_id = {s.span_id: s for s in spans}
    roots = [s for s in spans if s.parent_id == ""]
    first = min(roots, key=lambda s: s.start) if roots else None
    for s in spans:
        s.parent = by_id.get(s.parent_id)
    for s in spans:
        s.above, at = [], s
        while at.parent:
            at = at.parent
            s.above.append(at)
        s.numbered = at.parent_id == ""
        s.children = sum(o.parent is s for o in spans) if roots else 0
        s.trace_duration = max(o.start + o.duration for o in spans) - min(o.start for o in spans)
        s.root_name, s.root_service = (first.name, first.resource["service.name"]) if first else ("", "")


def encode(spans):
    """One resource and scope a span, as OTLP JSON."""
    def any_value(v):
        if isinstance(v, list):
            return {"arrayValue": {"values": [any_value(x) for x in v]}}
        key = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}[type(v)]
        return {key: str(v) if key == "intValue" else v}

    def attributes(d):
        return [{"key": k, "value": any_value(v)} for k, v in d.items()]

    return {"resourceSpans": [
        {"resource": {"attributes": attributes(s.resource)}, "scopeSpans": [
            {"scope": {"name": s.scope_name, "attributes": attributes(s.scope)}, "spans": [{
                "traceId": s.trace_id, "spanId": s.span_id, "parentSpanId": s.parent_id, "name": s.name, "kind": s.kind,
                "startTimeUnixNano": str(s.start), "endTimeUnixNano": str(s.start + s.duration),
                "status": {"code": s.status, "message": s.message}, "attributes": attributes(s.attrs),
                "events": [{"name": name, "timeUnixNano": str(s.start + at), "attributes": attributes(a)}
                           for name, at, a in s.events],
                "links": [{"traceId": t, "spanId": i, "attributes": attributes(a)} for t, i, a in s.links]}]}]}
        for s in spans]}


# ---- values


def event_values(s, key):
    return [a[key] for _, _, a in s.events if key in a]


def link_values(s, key):
    return [a[key] for _, _, a in s.links if key in a]


def unscoped(s, key):
    """The first scope that has it decides."""
    for d in (s.attrs, s.resource):
        if key in d:
            return [d[key]]
    for values in (event_values(s, key), link_values(s, key)):
        if values:
            return values
    return [s.scope[key]] if key in s.scope else []


def has(d, key):
    return [d[key]] if key in d else []


ATTRIBUTES = {
    "span.n": lambda s: has(s.attrs, "n"), "span.m": lambda s: has(s.attrs, "m"),
    'span."a b"': lambda s: has(s.attrs, "a b"), "resource.n": lambda s: has(s.resource, "n"),
    ".n": lambda s: unscoped(s, "n"), ".m": lambda s: unscoped(s, "m"), ".k": lambda s: unscoped(s, "k"),
    "event.k": lambda s: event_values(s, "k"), "link.k": lambda s: link_values(s, "k"),
    "instrumentation.m": lambda s: has(s.scope, "m"), "resource.service.name": lambda s: has(s.resource, "service.name"),
    "span.nosuch": lambda s: [],
}
TEXTS = {
    "name": (lambda s: [s.name], "abcd"), "span:name": (lambda s: [s.name], "abcd"),
    "statusMessage": (lambda s: [s.message], ["", "boom"]), "rootName": (lambda s: [s.root_name], ["a", "b", ""]),
    "trace:rootService": (lambda s: [s.root_service], "xyz"), "instrumentation:name": (lambda s: [s.scope_name], ["lib", ""]),
    "event:name": (lambda s: [e[0] for e in s.events], ["retry", "fail", "none"]),
    "link:spanID": (lambda s: [i for _, i, _ in s.links], [f"{3:016x}"]),
    "span:parentID": (lambda s: [s.parent_id], [""]),
}
NUMBERS = {
    "duration": lambda s: [s.duration], "traceDuration": lambda s: [s.trace_duration],
    "event:timeSinceStart": lambda s: [at for _, at, _ in s.events], "span:childCount": lambda s: [s.children],
}


def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def comparable(a, b):
    return is_number(a) and is_number(b) or type(a) is type(b) and not is_number(a)


def meets(op, v, literal, strict):
    """One stored value against a literal; strict: the literal's type decides (attributes)."""
    if isinstance(v, list):
        items = [meets(op, x, literal, strict) for x in v]
        return (all if op in ("!=", "!~") else any)(items) and len(items) > 0
    if op in ("=~", "!~"):
        return isinstance(v, str) and (re.fullmatch(literal, v, re.S) is not None) == (op == "=~")
    if strict and type(v) is not type(literal) or not comparable(v, literal):
        return False
    return ORDERS[op](v, literal)


def written(v):
    if isinstance(v, bool):
        return "true" if v else "false"
    return f'"{v}"' if isinstance(v, str) else str(v)


def related(op, left, right):
    """Is right a child, descendant, parent, ancestor or sibling of left?"""
    if not (left.numbered and right.numbered):
        return False
    if op in (">", "<"):
        return right.parent is left if op == ">" else left.parent is right
    if op in (">>", "<<"):
        return left in right.above if op == ">>" else right in left.above
    both_roots = left.parent_id == "" and right.parent_id == ""
    return left is not right and (both_roots or (left.parent is not None and left.parent is right.parent))


def aggregate(name, values):
    if name == "avg":
        return sum(values) / len(values)
    return {"min": min, "max": max, "sum": sum}[name](values)


def calculate(sign, a, b):
    """As Go does it: integers are divided towards zero; None: there is no result."""
    if sign in "/%" and b == 0:
        if isinstance(a, int) and isinstance(b, int):
            return None
        if sign == "%":
            return math.nan
        return math.nan if a == 0 else math.copysign(math.inf, a)
    if sign == "^":
        try:
            v = float(a) ** b
        except (ZeroDivisionError, OverflowError):
            return math.inf
        v = math.nan if isinstance(v, complex) else v
        return int(v) if isinstance(a, int) and isinstance(b, int) and math.isfinite(v) else v
    if sign in "/%" and isinstance(a, int) and isinstance(b, int):
        whole = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return whole if sign == "/" else a - b * whole
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b, "%": lambda: math.fmod(a, b)}[sign]()


def one_number(s, key):
    values = has(s.attrs, key)
    return values[0] if values and is_number(values[0]) else None


def quantile(values, q):
    """Of the counts of buckets that end at powers of two; inside of one on the logarithm."""
    buckets = {}
    for v in values:
        buckets[(v - 1).bit_length()] = buckets.get((v - 1).bit_length(), 0) + 1
    want, seen, low = max(1, math.ceil(q * len(values))), 0, None
    for bucket in sorted(buckets):
        low = bucket - 1 if low is None else low
        if seen + buckets[bucket] == want:
            return 2.0 ** bucket
        if seen + buckets[bucket] > want:
            return 2.0 ** (low + (want - seen) / buckets[bucket] * (bucket - low))
        seen, low = seen + buckets[bucket], bucket
    return 0.0


def hashable(v):
    return tuple(v) if isinstance(v, list) else v


def typed(v):
    """1, 1.0 and True are three values."""
    return type(v).__name__, v


class Queries:
    def __init__(self, r):
        self.r = r

    # ---- one span

    def leaf(self):
        r = self.r
        kind = r.randrange(11)
        if kind <= 2:
            field, get = r.choice(list(ATTRIBUTES.items()))
            literal = make_value(r)
            while isinstance(literal, list):
                literal = make_value(r)
            ops = ["=", "!="] if isinstance(literal, bool) else list(ORDERS)
            if isinstance(literal, str) and r.random() < 0.4:
                op, literal = r.choice(["=~", "!~"]), r.choice(["u.*", "u|v", "v?", ".*w"])
            else:
                op = r.choice(ops)
            flip = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
            text = f"{field} {op} {written(literal)}"
            if op in flip and r.random() < 0.2:
                text = f"{written(literal)} {flip[op]} {field}"
            return text, lambda s: any(meets(op, v, literal, True) for v in get(s))
        if kind == 3:
            field, (get, choices) = r.choice(list(TEXTS.items()))
            op, literal = r.choice(list(ORDERS)), r.choice(choices)
            return f'{field} {op} "{literal}"', lambda s: any(ORDERS[op](v, literal) for v in get(s))
        if kind == 4:
            field, get = r.choice(list(NUMBERS.items()))
            op, literal = r.choice(list(ORDERS)), r.choice([0, 1, 2, 10 * MS, 100 * MS, 3 * S])
            text = r.choice([str(literal), f"{literal}ns"]) if literal < MS else r.choice([f"{literal // MS}ms", str(literal)])
            return f"{field} {op} {text}", lambda s: any(ORDERS[op](v, literal) for v in get(s))
        if kind == 5:
            words, get = r.choice([(STATUSES, lambda s: s.status), (KINDS, lambda s: s.kind)])
            op, literal = r.choice(["=", "!="]), r.randrange(len(words))
            return (f"{'status' if words is STATUSES else 'span:kind'} {op} {words[literal]}",
                    lambda s: ORDERS[op](get(s), literal))
        if kind == 6:
            return self.existence()
        if kind == 7:
            return r.choice([("nestedSetParent < 0", lambda s: s.parent_id == ""),
                             ("nestedSetParent > 0", lambda s: s.numbered and s.parent_id != ""),
                             ("nestedSetLeft = 0", lambda s: not s.numbered),
                             ("nestedSetRight > nestedSetLeft", lambda s: s.numbered)])
        if kind == 8:
            field = r.choice(["span.n", "span.m"])
            get = ATTRIBUTES[field]
            return r.choice([(field, lambda s: any(v is True for v in get(s))),
                             (f"!{field}", lambda s: any(v is False for v in get(s)))])
        if kind == 9:
            return self.two_fields()
        return self.arithmetic()

    def existence(self):
        field = self.r.choice(list(ATTRIBUTES))
        get, exists = ATTRIBUTES[field], self.r.random() < 0.5
        if exists or field == "resource.service.name":
            return f"{field} != nil", lambda s: len(get(s)) > 0
        if field in ("event.k", "link.k"):  # one that has none
            return f"{field} = nil", lambda s: any("k" not in o[-1] for o in (s.events if field == "event.k" else s.links))
        return f"{field} = nil", lambda s: len(get(s)) == 0

    def two_fields(self):
        """Values of attributes meet as they are; lists with single values by their elements."""
        r = self.r
        left, right, op = r.choice(["span.n", ".m", "event.k"]), r.choice(["span.m", "resource.n", "link.k"]), r.choice(list(ORDERS))

        def one(a, b):
            if isinstance(a, list) and isinstance(b, list):
                return ORDERS[op](a, b) and [type(x) for x in a] == [type(x) for x in b] if op == "=" else \
                    op == "!=" and not (a == b and [type(x) for x in a] == [type(x) for x in b])
            if isinstance(a, list) or isinstance(b, list):
                pairs = [one(x, y) for x in (a if isinstance(a, list) else [a]) for y in (b if isinstance(b, list) else [b])]
                return (all if op == "!=" else any)(pairs)
            if isinstance(a, bool) and isinstance(b, bool) or comparable(a, b):
                return ORDERS[op](a, b)
            return False

        return f"{left} {op} {right}", lambda s: any(one(a, b) for a in ATTRIBUTES[left](s) for b in ATTRIBUTES[right](s))

    def arithmetic(self):
        r = self.r
        sign, plus, times, op = r.choice("+-*/%^"), r.choice([1, 2, 0.5, 3]), r.choice([1, 2, 3]), r.choice(list(ORDERS))
        minus = r.random() < 0.3

        def test(s):
            n, m = one_number(s, "n"), one_number(s, "m")
            if n is None or m is None:
                return False
            v = calculate(sign, -n if minus else n, plus)
            return v is not None and ORDERS[op](v, m * times)

        if r.random() < 0.3:  # attributes on both sides of the sign
            def both(s):
                n, m = one_number(s, "n"), one_number(s, "m")
                v = None if n is None or m is None else calculate(sign, n, m)
                return v is not None and ORDERS[op](v, times)

            return f"span.n {sign} span.m {op} {times}", both
        return f"{'-' if minus else ''}span.n {sign} {plus} {op} span.m * {times}", test

    def condition(self, depth):
        if depth == 0 or self.r.random() < 0.4:
            return self.leaf()
        (a, f), (b, g) = self.condition(depth - 1), self.condition(depth - 1)
        if self.r.random() < 0.15 and a.lstrip("!") not in ATTRIBUTES:  # of an attribute that is not there: nothing
            return f"!({a})", lambda s: not f(s)
        if self.r.random() < 0.5:
            return f"({a}) && ({b})", lambda s: f(s) and g(s)
        return f"({a}) || ({b})", lambda s: f(s) or g(s)

    # ---- one trace

    def filter(self):
        if self.r.random() < 0.15:
            return "{ }", list
        text, f = self.condition(self.r.randrange(3))
        return f"{{ {text} }}", lambda spans: [s for s in spans if f(s)]

    def spanset(self, depth):
        r = self.r
        if depth == 0 or r.random() < 0.3:
            return self.filter()
        (a, f), (b, g) = self.spanset(depth - 1), self.spanset(depth - 1)
        relation, form = r.choice(RELATIONS), r.choice(["", "", "!", "&"])
        op = r.choice(["&&", "||", form + relation, form + relation, form + relation])

        def run(spans):
            left, right = f(spans), g(spans)
            if op == "&&" and not (left and right):
                return []
            if op in ("&&", "||"):
                return [s for s in spans if s in left or s in right]
            hit = [y for y in right if any(related(relation, x, y) for x in left)]
            if form == "!":
                return [y for y in right if y not in hit]
            if form == "&":
                return [s for s in spans if s in hit or (s in left and any(related(relation, s, y) for y in right))]
            return hit

        return f"({a}) {op} ({b})", run

    def stage(self, first):
        r = self.r
        kind = r.randrange(5)
        if kind == 0:
            text, f = self.filter()
            return text, lambda groups: [g for g in map(f, groups) if g]
        if kind == 1:
            op, n = r.choice(list(ORDERS)), r.randrange(1, 6)
            return f"count() {op} {n}", lambda groups: [g for g in groups if ORDERS[op](len(g), n)]
        if kind == 2:
            op, name, n = r.choice(list(ORDERS)), r.choice(["avg", "min", "max", "sum"]), r.choice([1, 2, 3, 2.5])
            text, get = r.choice([
                ("span.n", lambda s: one_number(s, "n")), ("span.n * 2", lambda s: times(one_number(s, "n"), 2)),
                ("span.n + span.m", lambda s: plus(one_number(s, "n"), one_number(s, "m"))),
                ("duration / 100ms", lambda s: s.duration / (100 * MS)), ("span:childCount", lambda s: s.children)])
            if text == "duration / 100ms":
                n = 100  # far from what is there but 0

            def times(a, b):
                return None if a is None else a * b

            def plus(a, b):
                return None if a is None or b is None else a + b

            def keep(groups):
                numbers = [[v for v in map(get, g) if v is not None] for g in groups]
                return [g for g, values in zip(groups, numbers) if values and ORDERS[op](aggregate(name, values), n)]

            return f"{name}({text}) {op} {n}", keep
        if kind == 3 or first:
            field, get = r.choice([
                ("resource.service.name", lambda s: s.resource["service.name"]), ("kind", lambda s: s.kind),
                ("rootName", lambda s: s.root_name), ("span:childCount", lambda s: s.children),
                ("span.m", lambda s: repr(s.attrs.get("m"))), ("name = \"a\"", lambda s: s.name == "a"),
                ("span:childCount * 2 - 1", lambda s: s.children), ("duration > 500ms", lambda s: s.duration > 500 * MS),
                (".n", lambda s: repr(next(iter(unscoped(s, "n")), None))), ("statusMessage", lambda s: s.message)])

            def split(groups):
                out = []
                for g in groups:
                    parts = {}
                    for s in g:
                        parts.setdefault(get(s), []).append(s)
                    out += parts.values()
                return out

            return f"by({field})", split
        return "coalesce()", lambda groups: [[s for g in groups for s in g]] if groups else []

    def search(self):
        """(text, f): f(spans of a trace) gives the spansets."""
        text, f = self.spanset(self.r.randrange(3))
        stages = [self.stage(i == 0) for i in range(self.r.choice([0, 0, 1, 1, 2]))]

        def run(spans):
            groups = [g for g in [f(spans)] if g]
            for _, stage in stages:
                groups = stage(groups)
            return groups

        return " | ".join([text] + [t for t, _ in stages]), run

    # ---- metrics

    def group_field(self):
        return self.r.choice([
            ("resource.service.name", lambda s: s.resource["service.name"]), ("kind", lambda s: KINDS[s.kind]),
            ("name", lambda s: s.name), ("status", lambda s: STATUSES[s.status]), ("rootName", lambda s: s.root_name),
            ("resource.n", lambda s: s.resource.get("n")), ("instrumentation.m", lambda s: s.scope.get("m")),
            ("span:childCount", lambda s: s.children), ("statusMessage", lambda s: s.message),
            ("span.n", lambda s: hashable(s.attrs.get("n"))), (".n", lambda s: hashable(next(iter(unscoped(s, "n")), None))),
            ('span."a b"', lambda s: hashable(s.attrs.get("a b"))), ("rootServiceName", lambda s: s.root_service)])

    def function(self):
        """(text, name, value of a span or None, is in seconds, quantile, fields)"""
        r = self.r
        name = r.choice(["rate", "count_over_time", "min_over_time", "max_over_time", "avg_over_time", "sum_over_time",
                         "quantile_over_time", "histogram_over_time"])
        field, get, in_seconds = r.choice([("duration", lambda s: s.duration, True), ("span.n", lambda s: one_number(s, "n"), False),
                                           ("traceDuration", lambda s: s.trace_duration, True)])
        q = r.choice([0, 0.1, 0.5, 0.9, 1])
        fields = dict(self.group_field() for _ in range(r.choice([0, 0, 1, 1, 2])))
        if name in ("rate", "count_over_time"):
            argument, get = "", lambda s: 1
        else:
            argument = f"{field}, {q}" if name == "quantile_over_time" else field
        by = f" by ({', '.join(fields)})" if fields else ""
        return f"{name}({argument}){by}", name, get, in_seconds, q, fields

    def metrics(self):
        """(text, f): f(traces, cells, cell of a time, seconds of a cell) gives {labels: {cell: value}}, None: not sure."""
        text, find = self.search()
        call, name, get, in_seconds, q, fields = self.function()
        seconds_stages = [self.second() for _ in range(self.r.choice([0, 0, 0, 1, 2]))]

        def labels(key):
            named = [(k, v) for k, (_, v) in zip(fields, key) if v is not None]
            return named or ([(next(iter(fields)), "nil")] if fields else [])

        def run(traces, cells, cell_of, seconds):
            groups = {}
            for spans in traces:
                for s in (s for g in find(spans) for s in g):
                    cell, v = cell_of(s.start), get(s)
                    bucketed = name in ("quantile_over_time", "histogram_over_time")
                    if cell is None or v is None or (bucketed and (not isinstance(v, int) or v < 2)):
                        continue
                    groups.setdefault(tuple(typed(f(s)) for f in fields.values()), {}).setdefault(cell, []).append(v)
            if not fields and not groups and name in ("rate", "count_over_time"):
                groups[()] = {}
            out = {}
            for key, by_cell in groups.items():
                finish(out, labels(key), by_cell, cells, seconds)
            for _, stage in seconds_stages:
                out = stage(out, cells) if out is not None else None
            return out

        def finish(out, base, by_cell, cells, seconds):
            scale = S if in_seconds else 1
            plain = series_key(base or [("__name__", name)])
            if name in ("rate", "count_over_time"):
                out[plain] = {c: len(by_cell.get(c, [])) / (seconds if name == "rate" else 1) for c in cells}
            elif name == "quantile_over_time":
                out[series_key(base + [("p", float(q))])] = {c: quantile(by_cell.get(c, []), q) / scale for c in cells}
            elif name == "histogram_over_time":
                for bucket in {(v - 1).bit_length() for values in by_cell.values() for v in values}:
                    out[series_key(base + [("__bucket", 2.0 ** bucket / scale)])] = {
                        c: sum((v - 1).bit_length() == bucket for v in by_cell.get(c, [])) for c in cells}
            else:
                out[plain] = {c: aggregate(name.split("_")[0], values) / scale for c, values in by_cell.items()}

        return " ".join([f"{text} | {call}"] + [t for t, _ in seconds_stages]), run

    def second(self):
        r = self.r
        if r.random() < 0.5:
            op, n = r.choice(list(ORDERS)), r.choice([0, 1, 2, 0.5])

            def keep(series, _):
                out = {k: {c: v for c, v in d.items() if ORDERS[op](v, n)} for k, d in series.items()}
                return {k: d for k, d in out.items() if d}

            return f"{op} {n}", keep
        name, n = r.choice(["topk", "bottomk"]), r.choice([1, 2, 3])

        def rank(series, cells):
            out = {}
            for c in cells:
                ranked = sorted(((d[c], k) for k, d in series.items() if c in d), reverse=name == "topk", key=lambda x: x[0])
                if len(ranked) > n and ranked[n - 1][0] == ranked[n][0]:
                    return None  # who is kept is a matter of names
                for v, k in ranked[:n]:
                    out.setdefault(k, {})[c] = v
            return out

        return f"| {name}({n})", rank


def series_key(labels):
    """Of labels with typed values: 1 is not True, not 1.0."""
    return tuple(sorted((k, type(v).__name__, v) for k, v in labels))
