"""SIGHUP: what can change while running changes, what cannot is named, and a broken file changes nothing."""

import os
import signal
import tempfile

from harness import Server, until

GOOD = """\
log_level: debug
query:
  timeout: 30s
retention:
  logs: 3d
  classes:
    - {name: noise, signal: logs, match: '{detected_level="debug"}', age: 1h}
disk:
  total: 2GiB
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trivet.yaml")

        def write(text):
            with open(path, "w") as f:
                f.write(text)

        write("retention:\n  logs: 5d\n")
        with Server("--config", path) as server:
            def reload(text, expected):
                seen = server.log_text().count(expected)
                write(text)
                server.process.send_signal(signal.SIGHUP)
                until(lambda: server.log_text().count(expected) > seen, expected)

            def config():
                return server.ask("/config")[1].decode()

            assert "logs: 5d" in config()
            reload(GOOD, "event=reload ")
            now = config()
            for part in ("logs: 3d", "noise", "total: 2GiB", "log_level: debug"):
                assert part in now, (part, now)
            line = [x for x in server.log_text().splitlines() if "event=reload " in x][-1]
            assert "needs_restart=\"query.timeout" in line, line

            reload("retention:\n  logs: soon\n", "event=reload_failed")
            assert config() == now
            assert "trivet.yaml:2" in server.log_text()
            assert server.ask("/ready")[0] == 200

            reload(GOOD.replace("noise", "bad name!"), "event=reload_failed")
            assert config() == now
    print("ok")


if __name__ == "__main__":
    main()
