#!/usr/bin/env python3
"""tidy_test.py - plants one fault of each kind and looks whether tidy.py finds it, and nothing else."""
import contextlib
import io
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tidy  # noqa: E402

GOOD = {
    "storage/base/str.h": "/* str.h - borrowed. */\n#pragma once\n#include <string.h>\n",
    "storage/base/str.c": '/* str.c - more of it. */\n#include "storage/base/str.h"\n',
    "storage/model/limits.h": "/* limits.h - numbers. */\n#pragma once\n",
    "server/net/http.h": '/* http.h - requests. */\n#pragma once\n#include "storage/base/str.h"\n',
    "query/promql/eval.h": '/* eval.h - values. */\n#pragma once\n#include "storage/base/str.h"\n',
}


def product(body):
    return {"storage/base/x.c": "/* x.c - an example. */\n" + body}


CASES = [  # extra files, part of the expected message
    ({}, None),
    (product('/* strcpy(a, b) */ // gets(x)\nconst char *s = "sprintf(";\n'), None),
    (product("static_assert(1);\nruntime(x);\nq->free(x);\n"), None),
    (product('#include "storage/model/limits.h"\n'), None),
    (product("// TODO(#12): later\n"), None),
    (product('#include "server/net/http.h"\n'), "x.c:2: storage/base/ must not include server/net/http.h"),
    (product('#include "storage/base/none.h"\n'), '"storage/base/none.h" does not exist'),
    (product("#include <sqlite3.h>\n"), "<sqlite3.h> belongs to"),
    (product("#include <cmocka.h>\n"), "<cmocka.h> belongs to tests only"),
    (product("#include <setjmp.h>\n"), "<setjmp.h> belongs to tests only"),
    (product("#include <curl/curl.h>\n"), "<curl/curl.h> is not a known library"),
    (product("\n\nint i = atoi(s);\n"), "x.c:4: atoi() is banned"),
    (product("free (p);\n"), "free() is banned"),
    (product("// TODO: later\n"), "an open end without an issue"),
    (product("int a; \n"), "blanks at the end"),
    (product("\tint a;\n"), "a tab"),
    (product("int " + "a" * 120 + ";\n"), "125 columns"),
    (product("int a = MIN(b, v[--n]);\n"), "MIN evaluates ++ or -- twice"),
    (product("int a = MIN(f(b), v[n]);\nn--;\n"), None),
    (product("int a;\n" * 1200), "x.c:1200: 1202 lines"),
    (product("// see /work/main/notes\n"), "no part of the project"),
    ({"storage/base/y.c": "int a;\n"}, "y.c:1: no header comment"),
    ({"storage/base/y.h": "/* y.h - y. */\n"}, "y.h:1: no include guard"),
    ({"storage/base/str.c": "/* str.c - s. */\n#include <string.h>\n"}, "str.c:2: the own header does not come first"),
    ({"lib/z.c": '#include "storage/base/str.h"\n'}, "no row in LAYERS"),
    ({"query/logql/a.c": '/* a.c - a. */\n#include "query/promql/eval.h"\n'}, "query/logql/ must not include"),
    ({"server/api/a.c": '/* a.c - a. */\n#include "query/promql/eval.h"\n'}, None),
]


class TidyTest(unittest.TestCase):
    def run_tidy(self, extra):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**GOOD, **extra}.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as f:
                    f.write(text)
            out, argv = io.StringIO(), sys.argv
            sys.argv = ["tidy.py", root]
            try:
                with contextlib.redirect_stdout(out):
                    code = tidy.main()
            finally:
                sys.argv = argv
            return code, [line for line in out.getvalue().splitlines()[:-1] if not line.startswith("note:")]

    def test_cases(self):
        for extra, want in CASES:
            with self.subTest(extra=str(extra)[:80]):
                code, lines = self.run_tidy(extra)
                self.assertEqual(code, 1 if want else 0, lines)
                self.assertEqual(len(lines), 1 if want else 0, lines)
                if want:
                    self.assertIn(want, lines[0])


if __name__ == "__main__":
    unittest.main()
