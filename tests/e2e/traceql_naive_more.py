"""More of what random TraceQL is about: arithmetic between metrics, compare(), what a search says of its traces and spans, names and
values of attributes. Worked out as plainly as in traceql_naive.py."""

from traceql_naive import ATTRIBUTES, KINDS, MS, STATUSES, Queries, hashable, series_key, typed

NAME = ("__name__", "str")


def number_text(v):
    return f"({v})" if v < 0 else str(v)


def name_of(series):
    """Of one series without other labels."""
    (k, kind, v), = next(iter(series))
    return v if (k, kind) == NAME else None


def is_plain(series):
    return len(series) == 1 and len(next(iter(series))) == 1 and name_of(series) is not None


def bare(key):
    return tuple(x for x in key if x[:2] != NAME)


WORK = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b if b else None}


def combine(op, a, b):
    """Two answers of metrics: series with the same labels, or a single one without any with each of the other side."""
    out = {}

    def add(key, x, y):
        cells = {c: WORK[op](x[c], y[c]) for c in x if c in y}
        cells = {c: v for c, v in cells.items() if v is not None}
        if cells:
            out[key] = cells

    if is_plain(a) and is_plain(b):
        add(series_key([("__name__", f"({name_of(a)} {op} {name_of(b)})")]), *a.values(), *b.values())
    elif is_plain(a):
        for key, cells in b.items():
            add(key, next(iter(a.values())), cells)
    elif is_plain(b):
        for key, cells in a.items():
            add(key, cells, next(iter(b.values())))
    else:
        by_bare = {bare(k): v for k, v in b.items()}
        for key, cells in a.items():
            if bare(key) in by_bare:
                add(bare(key), cells, by_bare[bare(key)])
    return out


class MoreQueries(Queries):
    def math(self):
        """As Queries.metrics."""
        r = self.r
        (a, f), op = self.metrics(), r.choice("+-*/")
        if r.random() < 0.4:
            n, first = r.choice([1, 2, 0.5, -3, 0]), r.random() < 0.5

            def scalar(*arguments):
                series = f(*arguments)
                if series is None:
                    return None
                out = {k: {c: WORK[op](n, v) if first else WORK[op](v, n) for c, v in d.items()} for k, d in series.items()}
                out = {k: {c: v for c, v in d.items() if v is not None} for k, d in out.items()}
                return {k: d for k, d in out.items() if d}

            return (f"{n} {op} ({a})" if first else f"({a}) {op} {number_text(n)}" if n >= 0 else f"({a}) {op} {n}"), scalar
        b, g = self.metrics()

        def run(*arguments):
            left, right = f(*arguments), g(*arguments)
            return None if left is None or right is None else combine(op, left, right)

        return f"({a}) {op} ({b})", run

    def compare(self):
        """(text, f): f(traces, cells, cell of a time) gives the series of COMPARED."""
        text, find = self.search()
        chosen, g = self.condition(1)

        def run(traces, cells, cell_of):
            out, totals = {}, {}
            for spans in traces:
                for s in (s for group in find(spans) for s in group):
                    cell, side = cell_of(s.start), "selection" if g(s) else "baseline"
                    if cell is None:
                        continue
                    for field, get in COMPARED.items():
                        v = get(s)
                        if v is None:
                            continue
                        count(out, side, field, v, cell)
                        count(totals, side + "_total", field, "nil", cell)
            out.update(totals)
            return {k: {c: d.get(c, 0) for c in cells} for k, d in out.items()}

        def count(out, side, field, v, cell):
            d = out.setdefault(series_key([("__meta_type", side), (field, v)]), {})
            d[cell] = d.get(cell, 0) + 1

        return f"{text} | compare({{ {chosen} }}, 1000)", run

    def values(self):
        """(field, filter, f): f(traces) gives the values as texts with their types, of spans that meet the filter."""
        field = self.r.choice(list(VALUES))
        text, f = self.condition(self.r.randrange(2))

        def run(traces):
            found = {typed(hashable(v)) for spans in traces for s in spans if f(s) for v in VALUES[field](s)}
            out = set()
            for kind, v in found:
                for x in v if kind == "tuple" else (v,):
                    text = str(x).lower() if isinstance(x, bool) else f"{x:g}" if isinstance(x, float) else str(x)
                    out.add((TYPE_NAMES[type(x)], text))
            return out - {("string", "")}

        return field, f"{{ {text} }}", run


COMPARED = {
    "resource.service.name": lambda s: s.resource["service.name"], "name": lambda s: s.name, "kind": lambda s: KINDS[s.kind],
    "status": lambda s: STATUSES[s.status], "resource.n": lambda s: s.resource.get("n"),
}
TYPE_NAMES = {str: "string", int: "int", float: "float", bool: "bool"}
VALUES = {
    "name": lambda s: [s.name], "resource.service.name": lambda s: [s.resource["service.name"]],
    "statusMessage": lambda s: [s.message], "instrumentation:name": lambda s: [s.scope_name],
    "event:name": lambda s: [e[0] for e in s.events],
    **{k: ATTRIBUTES[k] for k in ("span.n", "span.m", 'span."a b"', "resource.n", "event.k", "link.k", "instrumentation.m")},
}


def go_duration(ns):
    """As Go prints durations below a minute."""
    if ns == 0:
        return "0s"
    for unit, scale in (("s", 10 ** 9), ("ms", MS), ("\u00b5s", 1000), ("ns", 1)):
        if ns >= scale:
            return f"{ns / scale:.9f}".rstrip("0").rstrip(".") + unit
    return ""


def any_value(v):
    if isinstance(v, list):
        return {"arrayValue": {"values": [any_value(x) for x in v]}}
    key = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}[type(v)]
    return {key: str(v) if key == "intValue" else v}


SELECTED = {  # what select() adds to a span: key, value or None
    "span.n": ("n", lambda s: s.attrs.get("n")), "span.m": ("m", lambda s: s.attrs.get("m")),
    'span."a b"': ("a b", lambda s: s.attrs.get("a b")), "resource.service.name": ("service.name", lambda s: s.resource["service.name"]),
    "status": ("status", lambda s: STATUSES[s.status]), "kind": ("kind", lambda s: KINDS[s.kind]),
    "rootName": ("rootName", lambda s: s.root_name), "span:childCount": ("span:childCount", lambda s: s.children),
    "traceDuration": ("traceDuration", lambda s: go_duration(s.trace_duration)),
}


def facts_of(spans):
    """What a search says of a trace, whatever it asks for."""
    start, stats = min(s.start for s in spans), {}
    for s in spans:
        one = stats.setdefault(s.resource["service.name"], [0, 0])
        one[0] += 1
        one[1] += s.status == 2
    roots = [s for s in spans if s.parent_id == ""]
    return {"rootServiceName": spans[0].root_service if roots else "<root span not yet received>",
            "rootTraceName": spans[0].root_name, "startTimeUnixNano": str(start),
            "durationMs": (max(s.start + s.duration for s in spans) - start) // MS, "serviceStats": stats}


def legacy(r):
    """(tags, parameters, f): a search by tags of old clients; f(spans of a trace) tells whether it is found."""
    tests = r.sample([
        (f"service.name={r.choice('xyz')}", lambda spans, v: any(v in s.resource["service.name"] for s in spans)),
        (f"name={r.choice('abcde')}", lambda spans, v: any(v in s.name for s in spans)),
        (f"status.code={r.choice(STATUSES)}", lambda spans, v: any(v == STATUSES[s.status] for s in spans)),
        ("error=true", lambda spans, _: any(s.status == 2 for s in spans)),
        (f"root.name={r.choice('abc')}", lambda spans, v: v in spans[0].root_name),
        (f"root.service.name={r.choice('xyz')}", lambda spans, v: v in spans[0].root_service),
        ("n=u", lambda spans, v: any(isinstance(x, str) and v in x for s in spans for x in flat(s.attrs.get("n")))),
    ], r.randrange(1, 4))
    low, high = r.choice([0, 0, 100, 2000]), r.choice([0, 0, 3000, 6000])
    parameters = {**({"minDuration": f"{low}ms"} if low else {}), **({"maxDuration": f"{high}ms"} if high else {})}

    def found(spans):
        return all(f(spans, text.partition("=")[2]) for text, f in tests) and \
            low * MS <= spans[0].trace_duration and (not high or spans[0].trace_duration <= high * MS)

    return " ".join(t for t, _ in tests), parameters, found


def flat(v):
    return v if isinstance(v, list) else [] if v is None else [v]


def part_of(spans, matches, above, below):
    """Ids of the matches, their ancestors (so many levels of them) and what is so many levels below."""
    keep = set()
    for s in matches:
        keep.update([s.span_id], [a.span_id for a in s.above[:above]])
        keep.update(o.span_id for o in spans if s in o.above[:below])
    return sorted(keep)


def names_of(spans, f):
    """Names of attributes of the spans that meet f, by scope."""
    out = {"resource": set(), "span": set(), "event": set(), "link": set(), "instrumentation": set()}
    for s in (s for s in spans if f(s)):
        out["span"].update(s.attrs)
        out["resource"].update(s.resource)
        out["instrumentation"].update(s.scope)
        out["event"].update(k for e in s.events for k in e[-1])
        out["link"].update(k for e in s.links for k in e[-1])
    return {k: sorted(v) for k, v in out.items() if v}
