"""The syslog daemons of Debian, as processes of their own: rsyslog and syslog-ng send a file's lines over UDP and TCP, in
both formats and framings, while the server stops and comes back; syslog-ng's HTTP destination pushes to Loki's API.
Skipped (77) where neither is installed. RSYSLOGD and SYSLOG_NG name them elsewhere, *_MODULES their modules' folders."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from harness import Server, now, until

LINES = 3000
RSYSLOGD = os.environ.get("RSYSLOGD") or shutil.which("rsyslogd", path="/usr/sbin:/usr/bin:/sbin")
SYSLOG_NG = os.environ.get("SYSLOG_NG") or shutil.which("syslog-ng", path="/usr/sbin:/usr/bin:/sbin")
SPECIAL = 'quotes " and \\ é'


def start(data_dir=None, ports=(0, 0)):
    server = Server("--syslog-listen", f"udp://127.0.0.1:{ports[0]}", "--syslog-listen", f"tcp://127.0.0.1:{ports[1]}",
                    data_dir=data_dir)
    found = dict(re.findall(r"address=\"?(udp|tcp)://127\.0\.0\.1:(\d+)", server.log_text()))
    return server, (int(found["udp"]), int(found["tcp"]))


def count(server, query):
    result = server.get("/loki/api/v1/query", {"query": f"sum(count_over_time({query}[2h]))"})["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def lines(server, query):
    result = server.get("/loki/api/v1/query_range", {
        "query": query, "start": int((now() - 3600) * 1e9), "end": int((now() + 600) * 1e9), "limit": 5000})
    return sorted(line for stream in result["data"]["result"] for _, line in stream["values"])


def write(path, text):
    with open(path, "a", encoding="utf-8") as f:
        f.write(text)


class Daemon:
    """A syslog daemon in a folder of its own; stopped by its own pid."""

    def __init__(self, command, folder):
        self.log = open(folder + "/daemon.log", "w+b")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        self.process.wait(timeout=20)
        if kind:
            self.log.seek(0)
            sys.stderr.write(self.log.read().decode(errors="replace"))


def rsyslog(folder, udp, tcp):
    queue = 'queue.type="LinkedList" queue.size="100000" action.resumeRetryCount="-1" action.resumeInterval="1"'
    outputs = [f'protocol="udp" port="{udp}" template="marked0"',
               f'protocol="tcp" port="{tcp}" template="marked1" {queue}',
               f'protocol="tcp" port="{tcp}" template="marked2" TCP_Framing="octet-counted" {queue}']
    forms = ["<%PRI%>%TIMESTAMP% %HOSTNAME% sender0:%msg:::sp-if-no-1st-sp%%msg%",
             "<%PRI%>%TIMESTAMP:::date-rfc3339% %HOSTNAME% sender1:%msg:::sp-if-no-1st-sp%%msg%",
             "<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% sender2 %PROCID% %MSGID% %STRUCTURED-DATA% %msg%"]
    text = f'global(workDirectory="{folder}" maxMessageSize="64k" localHostname="box" ' \
           'parser.escapeControlCharactersOnReceive="off")\nmodule(load="imfile")\n' \
           f'input(type="imfile" File="{folder}/in.log" Tag="file:" Severity="warning" Facility="local3")\n'
    for i, form in enumerate(forms):
        text += f'template(name="marked{i}" type="string" string="{form}")\n'
        text += f'action(type="omfwd" target="127.0.0.1" {outputs[i]})\n'
    write(folder + "/rsyslog.conf", text)
    modules = os.environ.get("RSYSLOG_MODULES")
    return Daemon([RSYSLOGD, "-n", "-f", folder + "/rsyslog.conf", "-i", folder + "/pid"] +
                  (["-M", modules] if modules else []), folder)


def syslog_ng(folder, udp, tcp, http):
    text = f"""@version: {syslog_ng_version()}
options {{ keep-hostname(yes); stats-freq(0); time-reopen(1); }};
source s {{ file("{folder}/in.log" flags(no-parse) follow-freq(0.1) program-override("sender")); }};
destination d0 {{ network("127.0.0.1" transport(udp) port({udp}) persist-name("p0")); }};
destination d1 {{ network("127.0.0.1" transport(tcp) port({tcp}) persist-name("p1")); }};
destination d2 {{ syslog("127.0.0.1" transport(tcp) port({tcp}) persist-name("p2")); }};
template body {{ template('{{"stream":{{"job":"syslog-ng","program":"$PROGRAM"}},"values":[["${{S_UNIXTIME}}000000000","$MSG"]]}}');
  template-escape(yes); }};
destination d3 {{ http(url("http://127.0.0.1:{http}/loki/api/v1/push") method("POST") headers("Content-Type: application/json")
  batch-lines(100) batch-timeout(200) retries(30) time-reopen(1) body-prefix("{{\\"streams\\":[") delimiter(",") body-suffix("]}}")
  body("$(template body)")); }};
log {{ source(s); destination(d0); destination(d1); destination(d2); destination(d3); }};
"""
    write(folder + "/syslog-ng.conf", text)
    modules = os.environ.get("SYSLOG_NG_MODULES")
    return Daemon([SYSLOG_NG, "-F", "--no-caps", "-f", folder + "/syslog-ng.conf", "-R", folder + "/persist", "-c",
                   folder + "/ctl", "-p", folder + "/pid"] + (["--module-path", modules] if modules else []), folder)


def syslog_ng_version():
    out = subprocess.run([SYSLOG_NG, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"(\d+\.\d+)", out).group(1)


def check_rsyslog(folder):
    """What a daemon had not handed over when the server stopped comes when it is there again (but over UDP)."""
    data = tempfile.mkdtemp(prefix="trivet-e2e-")
    server, ports = start(data)
    write(folder + "/in.log", "")
    with rsyslog(folder, *ports):
        write(folder + "/in.log", f"plain\n{SPECIAL}\n{{\"level\":\"error\"}}\n{'x' * 20000}\n")
        for i in range(3):
            query = '{job="syslog", host="box", app="sender%d"}' % i
            until(lambda: count(server, query) == 4, f"rsyslog's lines, {i}")
            found = lines(server, query + ' | severity="warning" | facility="local3"')
            assert found == sorted(["plain", SPECIAL, '{"level":"error"}', "x" * 20000]), (i, found)
        server.stop()
        write(folder + "/in.log", "".join(f"while it was away {i}\n" for i in range(LINES)))
        time.sleep(0.5)
        server, _ = start(data, ports)
        for i in (1, 2):
            query = '{job="syslog", app="sender%d"} |= "while it was away"' % i
            until(lambda: count(server, query) >= LINES, f"what waited in rsyslog, {i}", 30)
            assert count(server, query) == LINES
    server.stop()
    shutil.rmtree(data)


def check_syslog_ng(folder):
    server, ports = start()
    write(folder + "/in.log", "")
    with syslog_ng(folder, *ports, server.port):
        write(folder + "/in.log", f"plain\n{SPECIAL}\n{'x' * 20000}\n" + "".join(f"many {i}\n" for i in range(LINES)))
        until(lambda: count(server, '{job="syslog", app="sender"} |= "many"') == 3 * LINES, "syslog-ng's lines", 30)
        until(lambda: count(server, '{job="syslog-ng", program="sender"} |= "many"') == LINES, "syslog-ng's pushes", 30)
        few = sorted(["plain", SPECIAL, "x" * 20000])
        assert lines(server, '{job="syslog", app="sender"} != "many"') == sorted(3 * few)
        assert lines(server, '{job="syslog-ng"} != "many"') == few
    server.stop()


def main():
    if not RSYSLOGD and not SYSLOG_NG:
        print("neither rsyslogd nor syslog-ng here")
        sys.exit(77)
    for program, check in ((RSYSLOGD, check_rsyslog), (SYSLOG_NG, check_syslog_ng)):
        if not program:
            print("no program for " + check.__name__)
            continue
        folder = tempfile.mkdtemp(prefix="trivet-e2e-")
        check(folder)
        shutil.rmtree(folder)
    print("ok")


main()
