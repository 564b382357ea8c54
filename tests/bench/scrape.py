"""Records what exporters say as a corpus for `bench_metrics file:PATH`: real values, which no generator has.

    python3 tests/bench/scrape.py OUT SECONDS URL...

Asks every URL once a second and appends; SIGINT ends it early, what is written stays good. The series of the first
round are the corpus; those that are not there in every round are left out by the reader. The times' jitter is real, the
reader stretches the seconds to scrapes every 15 s.

Format (little endian): the line "corpus SERIES TARGETS", then a line "TARGET NAME{LABELS}" for every series, then
rows: for every target the ms by which the scrape was late (float64), for every series its value (float64; a NaN with
payload 1 is "not there")."""

import array
import re
import struct
import sys
import time
import urllib.request

ABSENT = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
LINE = re.compile(rb'([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?) ([^ \n]+)')


def ask(url):
    with urllib.request.urlopen(url, timeout=0.9) as reply:
        return dict(LINE.fullmatch(line).groups() for line in reply.read().split(b"\n") if line and line[0] != 35)


def main():
    path, seconds, urls = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    names = [(i, name) for i, url in enumerate(urls) for name in ask(url)]
    with open(path, "wb") as out:
        out.write(b"corpus %d %d\n" % (len(names), len(urls)))
        out.writelines(b"%d %s\n" % (target, name) for target, name in names)
        begin = time.time() + 1
        for second in range(seconds):
            time.sleep(max(0, begin + second - time.time()))
            late, values = [], []
            for url in urls:
                late.append(round((time.time() - begin - second) * 1000))
                try:
                    values.append(ask(url))
                except OSError:
                    values.append({})
            row = array.array("d", late)
            row.extend(float(values[target].get(name, ABSENT)) for target, name in names)
            out.write(row.tobytes())
            out.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
