#!/usr/bin/env python3
"""tidy.py - the rules that a machine keeps: who may include whom, where a library may be seen, which
functions are banned, and what every file looks like.

Usage: tests/tidy.py [--notes] [root]. Prints `file:line: what is wrong; the cure`, one line each, and exits 1 if
there is any. Lines that begin with `note:` are advice and do not fail (--notes
spells them out). Standard library only.

The tables below are the law: a change of the layering is a change of a table, in the commit that needs it.
"""
import os
import re
import sys

# --- who may include whom ------------------------------------------------------------------------
# (files: longest matching prefix wins, headers of ours that they may include: prefixes or full paths).
# limits.h is numbers only and includes nothing, so everybody may read it.
EVERYBODY = ["storage/model/limits.h"]
BASE = ["storage/base/"]
MODEL = BASE + ["storage/model/"]
CODEC = MODEL + ["storage/codec/"]
STORE = MODEL + ["storage/store.h"]
LANG_BELOW = MODEL + ["query/query.h"]
LANGUAGE = STORE + ["query/query.h", "query/lang/", "query/vector/"]
# What handlers get from the server: one request's exchange, and the services and lanes behind it.
HANDLER = ["server/net/http.h", "server/net/exchange.h", "server/net/ws.h", "server/services.h", "server/work.h", "server/wire/"]

LAYERS = {
    "storage/base/": BASE,
    "storage/model/": MODEL,
    "storage/codec/": CODEC,
    "storage/engine/": CODEC + ["storage/engine/", "storage/store.h"],
    "storage/store.h": MODEL,
    "query/": STORE + ["query/query.h"],
    "query/lang/": LANG_BELOW + ["query/lang/"],
    "query/vector/": LANG_BELOW + ["query/vector/"],
    "query/promql/": LANGUAGE + ["query/promql/"],
    "query/logql/": LANGUAGE + ["query/logql/"],
    "query/traceql/": LANGUAGE + ["query/traceql/"],
    "server/net/": BASE + ["server/net/", "server/work.h"],
    "server/wire/": MODEL + ["server/wire/"],
    "server/derive/": STORE + ["server/derive/", "query/lang/selector.h"],
    "server/ingest/": STORE + HANDLER + ["server/ingest/", "server/derive/derive.h"],
    "server/api/": STORE + HANDLER + ["query/", "server/net/url.h", "server/api/", "web/assets.h"],
    "server/config_classes.c": STORE + ["server/", "query/lang/selector.h"],
    "server/": STORE + ["query/query.h", "server/", "web/assets.h"],
    "web/": BASE + ["web/"],
    "tests/": [""],
}

# --- one library, one place ----------------------------------------------------------------------
# header pattern -> files (prefixes) that may include it, besides tests/.
LIBRARIES = {
    r"pcre2\.h": ["storage/base/regex.c"],
    r"zstd\.h|zlib\.h|lz4frame\.h|snappy-c\.h": ["storage/base/compress.c"],
    r"xxhash\.h": ["storage/base/hash.c"],
    r"sanitizer/.*": ["storage/base/arena.h"],
    r"sqlite3\.h": ["storage/engine/segment", "storage/engine/sqlite"],
    r"uv\.h": ["server/net/listener.c", "server/net/conn.c", "server/app.c", "server/work.c",
               "server/syslog_server.c"],
    r"llhttp\.h": ["server/net/http1.c"],
    r"nghttp2/.*": ["server/net/http2.c"],
    r"openssl/.*": ["server/net/tls.c"],
    r"protobuf-c/.*": ["server/wire/", "server/ingest/"],
    r"yaml\.h": ["server/config"],
    r"cmocka\.h|jansson\.h|setjmp\.h": [],  # tests only
}
# The C library, POSIX, Linux, and what the compiler brings.
LIBC = set("""assert ctype dirent endian errno fcntl fenv float getopt inttypes langinfo limits locale malloc math poll
pthread pwd grp sched semaphore signal spawn stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn
string strings termios threads time unistd wchar wctype utime glob ftw fnmatch netdb ifaddrs
immintrin nmmintrin emmintrin smmintrin tmmintrin xmmintrin x86intrin wmmintrin cpuid arm_acle arm_neon""".split())
LIBC_FOLDERS = ("sys/", "arpa/", "net/", "netinet/", "linux/", "asm/")
GENERATED = re.compile(r"\.pb-c\.h$")  # lives in the build tree; wire and its users see it

# --- banned functions ----------------------------------------------------------------------------
# name -> (files that may use it, cure). Calls only; comments and literals do not count.
BANNED = {
    "strcpy strcat stpcpy gets": ([], "use str, buf or str_to_c: they know where the memory ends"),
    "strncpy strncat": ([], "use str_to_c: it says whether the text fits and always ends it"),
    "sprintf vsprintf": ([], "use snprintf, buf_fmt or arena_fmt"),
    "strtok strtok_r": ([], "use str_split"),
    "atoi atol atoll atof sscanf vsscanf": ([], "use the strict parsers of storage/base/num.h"),
    "strtol strtoll strtoul strtoull strtod strtof": (["storage/base/num"], "use storage/base/num.h"),
    "setlocale": ([], "numbers on the wire know no locale; nothing of ours does"),
    "setjmp longjmp alloca": ([], "return an error; take memory from an arena"),
    "malloc calloc realloc reallocarray strdup strndup": (["storage/base/arena.c"], "use an arena or mem_alloc"),
    "free": (["storage/base/arena.c"], "use mem_free; memory of a library goes back through its own function"),
    "rand srand random srandom drand48 rand_r": ([], "use the struct prng that was passed in"),
    "localtime_r": (["server/syslog_server.c"], "UTC by gmtime_r; syslog alone needs the machine's zone"),
    "time gettimeofday localtime": ([], "use the struct clock that was passed in; UTC by gmtime_r"),
    # Besides base: whoever waits on a condition needs the deadline in the terms of the system's clock.
    "clock_gettime": (["storage/base/", "server/net/reply.c", "server/work.c", "storage/engine/writer.c"],
                      "use the struct clock that was passed in"),
    "getenv": (["server/config", "server/main.c", "server/app.c"], "configuration is read in server/config.c"),
    "system popen": ([], "no shell is ever started"),
    "assert": ([], "use ASSERT (always on) or static_assert"),
    "abort": (["storage/base/err.c", "storage/base/arena.c"], "use ASSERT for what the program guarantees"),
    "exit _exit": (["server/main.c", "server/cmd_", "server/app.c"], "return an error; only main ends the process"),
    "printf puts putchar": (["server/main.c", "server/cmd_", "server/config"], "log, or write into a sink"),
}
BANNED_BY_NAME = {name: (ok, cure) for names, (ok, cure) in BANNED.items() for name in names.split()}
# A macro that evaluates an argument twice, with an argument that changes something.
TWICE = re.compile(r"\b(MIN|MAX)\((?:[^();]|\([^()]*\))*(?:\+\+|--)")
CALL = re.compile(r"(?<![\w.>])(" + "|".join(map(re.escape, BANNED_BY_NAME)) + r")\s*\(")

# --- what every file looks like ------------------------------------------------------------------
PRODUCT = ("storage/", "query/", "server/", "web/")
COLUMNS = 120
LINES_FAIL, LINES_NOTE = 1200, 1000
TEXT = (".c", ".h", ".md", ".py", ".txt", ".cmake", ".proto", ".sh", ".js", ".css", ".html", ".yml", ".yaml")
# The project speaks only of itself: no paths and words of the place where it was made.
FOREIGN = re.compile(r"/work/(?:main|shared)|/tmp/w/|helper agent|language model", re.IGNORECASE)
TODO = re.compile(r"\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\))")
OURSELVES = ("tests/tidy.py", "tests/tidy_test.py")  # they have to name what they look for
SKIP_FOLDERS = re.compile(r"^(?:\..*|build.*|__pycache__|node_modules|data|corpus)$")
LITERALS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


class Report:
    def __init__(self):
        self.failures, self.notes = [], []

    def fail(self, path, line, what, cure):
        self.failures.append((path, line, f"{what}; {cure}"))

    def note(self, text):
        self.notes.append(text)


def files_below(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not SKIP_FOLDERS.match(f))
        for name in sorted(names):
            if name.endswith(TEXT) and not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), root)


def blank_literals(text):
    """Comments and literals become spaces; line numbers stay."""
    return LITERALS.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def layer_of(path):
    fits = [prefix for prefix in LAYERS if path.startswith(prefix)]
    return max(fits, key=len) if fits else None


def starts_with_any(path, prefixes):
    return any(path.startswith(p) for p in prefixes)


def check_own_include(report, root, path, line, header):
    layer = layer_of(path)
    if layer is None:
        report.fail(path, line, "this folder has no row in LAYERS", "add one in tests/tidy.py")
    elif GENERATED.search(header):
        if not starts_with_any(path, ["server/wire/", "server/ingest/", "tests/"]):
            report.fail(path, line, f"{header} is generated", "only server/wire and server/ingest see wire types")
    elif not os.path.exists(os.path.join(root, header)):
        report.fail(path, line, f'"{header}" does not exist', "give the path from the root; use <> for libraries")
    elif not starts_with_any(header, LAYERS[layer] + EVERYBODY):
        may = ", ".join(LAYERS[layer])
        report.fail(path, line, f"{layer} must not include {header} (it may: {may})",
                    "move the code up or the thing it needs down, or pass it in")


def check_library_include(report, path, line, header):
    stem = header[:-2] if header.endswith(".h") else header
    if stem in LIBC or header.startswith(LIBC_FOLDERS):
        if not (header == "setjmp.h" and not path.startswith("tests/")):
            return
    for pattern, places in LIBRARIES.items():
        if re.fullmatch(pattern, header):
            if not path.startswith("tests/") and not starts_with_any(path, places):
                where = ", ".join(places) or "tests"
                report.fail(path, line, f"<{header}> belongs to {where} only", "use the module that wraps it")
            return
    report.fail(path, line, f"<{header}> is not a known library",
                "ours go in quotes; a new one needs a row in LIBRARIES")


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def check_includes(report, root, path, text):
    first_own = None
    for m in INCLUDE.finditer(text):
        line = text.count("\n", 0, m.start()) + 1
        if m.group(1):
            first_own = first_own or (line, m.group(1))
            check_own_include(report, root, path, line, m.group(1))
        else:
            check_library_include(report, path, line, m.group(2))
    own_header = path[:-2] + ".h"
    if path.endswith(".c") and os.path.exists(os.path.join(root, own_header)):
        m = INCLUDE.search(text)
        if not m or m.group(1) != own_header:
            line = text.count("\n", 0, m.start()) + 1 if m else 1
            report.fail(path, line, "the own header does not come first",
                        f'start with #include "{own_header}": it must stand alone')


def check_calls(report, path, code):
    for m in CALL.finditer(code):
        allowed, cure = BANNED_BY_NAME[m.group(1)]
        if not starts_with_any(path, allowed):
            report.fail(path, code.count("\n", 0, m.start()) + 1, f"{m.group(1)}() is banned", cure)
    for m in TWICE.finditer(code):
        report.fail(path, code.count("\n", 0, m.start()) + 1, f"{m.group(1)} evaluates ++ or -- twice",
                    "count in a statement of its own")


def check_shape(report, path, text):
    name = os.path.basename(path)
    if not text.startswith(f"/* {name} - "):
        report.fail(path, 1, "no header comment", f'open with "/* {name} - what it does, why this way" as STYLE asks')
    if path.endswith(".h") and "#pragma once" not in text:
        report.fail(path, 1, "no include guard", "put #pragma once behind the header comment")


def check_lines(report, path, lines):
    is_code = path.endswith((".c", ".h"))
    wide = [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS]
    if wide and path.endswith((".py", ".sh", ".cmake")):
        report.note(f"{path}: {len(wide)} lines above {COLUMNS} columns, the first is {wide[0]}")
    for number, line in enumerate(lines, 1):
        if is_code and len(line) > COLUMNS:
            report.fail(path, number, f"{len(line)} columns", f"break the line at {COLUMNS}")
        if is_code and line != line.rstrip():
            report.fail(path, number, "blanks at the end of the line", "cut them off")
        if path.endswith((".c", ".h")) and "\t" in line:
            report.fail(path, number, "a tab", "indent with 4 spaces")
        if path not in OURSELVES and TODO.search(line):
            report.fail(path, number, "an open end without an issue", "write TODO(#number), or do it now")
        if path not in OURSELVES and FOREIGN.search(line):
            report.fail(path, number, "a word that is no part of the project", "say it in the project's own terms")
    if path.endswith((".c", ".h")):
        if len(lines) > LINES_FAIL:
            report.fail(path, LINES_FAIL, f"{len(lines)} lines", f"split by topic; the limit is {LINES_FAIL}")
        elif len(lines) > LINES_NOTE:
            report.note(f"{path}: {len(lines)} lines; think of splitting it by topic")


def check_twin(report, root, path, without_test):
    if path.endswith(".c") and path.startswith(("storage/", "query/", "server/")):
        twin = "tests/unit/" + path[:-2] + "_test.c"
        if not os.path.exists(os.path.join(root, twin)):
            without_test.append(path)


def check_file(report, root, path, without_test):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        text = f.read()
    check_lines(report, path, text.split("\n"))
    if not path.endswith((".c", ".h")):
        return
    check_includes(report, root, path, text)
    if path.startswith(PRODUCT):
        check_calls(report, path, blank_literals(text))
        check_shape(report, path, text)
        check_twin(report, root, path, without_test)


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--notes"]
    root = os.path.abspath(args[0] if args else os.path.join(os.path.dirname(__file__), ".."))
    report, without_test, count = Report(), [], 0
    for path in files_below(root):
        try:
            check_file(report, root, path.replace(os.sep, "/"), without_test)
            count += 1
        except FileNotFoundError:
            continue  # removed while we looked
    for text in report.notes:
        print(f"note: {text}")
    if without_test:
        names = " ".join(without_test) if "--notes" in sys.argv else "tests/tidy.py --notes names them"
        print(f"note: {len(without_test)} sources without a unit test of their name; {names}")
    for path, line, text in sorted(set(report.failures)):
        print(f"{path}:{line}: {text}")
    print(f"tidy: {count} files, {len(report.failures)} to mend, {len(report.notes)} notes")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
