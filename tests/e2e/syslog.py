"""Syslog over UDP and TCP, from util-linux' logger where it is installed and from sockets: fields, both framings, cut
messages; a flood over TCP loses nothing, over UDP what is lost is counted; what waits at the end is stored."""

import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from harness import Server, now, until

UDP = TCP = ACME = None


def start(**kw):
    global UDP, TCP, ACME
    server = Server("--syslog-listen", "udp://127.0.0.1:0", "--syslog-listen", "tcp://127.0.0.1:0",
                    "--syslog-listen", "tcp://127.0.0.1:0/acme", **kw)
    found = {(kind, tenant): ("127.0.0.1", int(port)) for kind, port, tenant in
             re.findall(r"address=\"?(udp|tcp)://127\.0\.0\.1:(\d+)\"? tenant=\"?(\w+)", server.log_text())}
    UDP, TCP, ACME = found["udp", "default"], found["tcp", "default"], found["tcp", "acme"]
    return server


def lines(server, query):
    result = server.get("/loki/api/v1/query_range", {
        "query": query, "start": int((now() - 3600) * 1e9), "end": int((now() + 600) * 1e9), "limit": 5000})
    return sorted((line, stream["stream"]) for stream in result["data"]["result"] for _, line in stream["values"])


def count(server, query):
    result = server.get("/loki/api/v1/query", {"query": f"sum(count_over_time({query}[2h]))"})["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def metric(server, name):
    text = server.ask("/metrics")[1].decode()
    return sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.M))


def send_udp(*messages):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for m in messages:
            s.sendto(m.encode(), UDP)


def send_tcp(data, to=None):
    with socket.create_connection(to or TCP) as s:
        s.sendall(data)


def check_tenants(server):
    """What comes to a listener with a tenant is that tenant's; both at once."""
    for i in range(20):
        send_tcp(f"<14>Jan  1 00:00:00 h a: ours {i}\n".encode(), ACME)
        send_tcp(f"<14>Jan  1 00:00:00 h a: common {i}\n".encode())

    def of(tenant):
        query = {"query": 'sum(count_over_time({app="a"} |~ "ours|common" [10d]))', "time": int(now())}
        result = server.get("/loki/api/v1/query", query, headers={"X-Scope-OrgID": tenant})["data"]["result"]
        return int(result[0]["value"][1]) if result else 0

    until(lambda: of("acme") == 20 and of("default") == 20, "lines of two tenants")


def check_fields(server):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    send_udp(f'<165>1 {stamp} web shop 7 ID1 [x@1 k="v\\"w"] five')
    send_udp(time.strftime("<11>%b %e %H:%M:%S router kernel: three"))
    five = until(lambda: lines(server, '{job="syslog", host="web", app="shop"}'), "RFC 5424")
    assert five[0][0] == "five", five
    want = {"facility": "local4", "severity": "notice", "proc_id": "7", "msg_id": "ID1", "sd_x_1_k": 'v"w',
            "detected_level": "info", "service_name": "shop"}
    assert want.items() <= five[0][1].items(), five
    three = until(lambda: lines(server, '{job="syslog", host="router"} | detected_level="error"'), "RFC 3164")
    assert (three[0][0], three[0][1]["app"]) == ("three", "kernel"), three


def check_frames(server):
    send_tcp(b"<14>app1: one\n<14>app1: two\n<14>app1: last, without an end")
    counted = [b"<14>app2: %d\nwith a line end" % i for i in range(3)]
    send_tcp(b"".join(b"%d %s" % (len(m), m) for m in counted))
    until(lambda: count(server, '{app="app1"}') == 3, "lines")
    until(lambda: count(server, '{app="app2"} |= "with a line end"') == 3, "counted frames")
    send_tcp(b"<14>app3: " + b"x" * 200000 + b"\n<14>app3: behind\n")
    until(lambda: count(server, '{app="app3"}') == 2, "what is cut and what follows")
    assert metric(server, "trivet_syslog_cut_total") == 1


def check_logger(server):
    if not shutil.which("logger"):
        print("no logger here")
        return
    for i, args in enumerate((["-d", "--rfc5424"], ["-d", "--rfc3164"], ["-T", "--rfc5424"], ["-T", "--rfc3164"],
                              ["-T", "--rfc5424", "--octet-count"])):
        port = str(UDP[1] if args[0] == "-d" else TCP[1])
        subprocess.run(["logger", "-n", "127.0.0.1", "-P", port, *args, "-t", "tool", "-p", "daemon.warning",
                        f"hello {i}"], check=True, timeout=10)
    found = until(lambda: (got := lines(server, '{app="tool"}')) and len(got) == 5 and got, "logger")
    assert [line for line, _ in found] == [f"hello {i}" for i in range(5)], found
    assert all(labels["detected_level"] == "warn" and labels["host"] == socket.gethostname().split(".")[0]
               for _, labels in found), found


def check_floods(server):
    n = 60000
    send_tcp(b"".join(b"<14>flood: line %d of a flood\n" % i for i in range(n)))
    until(lambda: count(server, '{app="flood"}') == n, "the flood over TCP")
    before = metric(server, "trivet_syslog_dropped_total")
    server.process.send_signal(signal.SIGSTOP)  # so that some are dropped
    send_udp(*[f"<14>burst: {i}" for i in range(n)])
    server.process.send_signal(signal.SIGCONT)

    looks = 0

    def settled():  # the kernel tells what it dropped with the next datagram that it does not drop
        nonlocal looks
        send_udp("<14>look: at the drops")
        looks += 1
        time.sleep(0.1)
        kept, dropped = count(server, '{app="burst"}'), metric(server, "trivet_syslog_dropped_total") - before
        return kept + count(server, '{app="look"}') + dropped == n + looks and dropped > 0 and (kept, dropped)

    print("kept, dropped:", until(settled, "the burst over UDP, kept or counted"))


def main():
    folder = tempfile.mkdtemp(prefix="trivet-syslog-")
    with start(data_dir=folder) as server:
        check_fields(server)
        check_tenants(server)
        check_frames(server)
        check_logger(server)
        check_floods(server)
        with socket.create_connection(TCP) as s:
            s.sendall(b"<14>late: unfinished")
            until(lambda: metric(server, "trivet_syslog_connections") == 1, "the connection")
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(timeout=20)
    with start(data_dir=folder) as server:
        assert count(server, '{app="late"}') == 1
    shutil.rmtree(folder)
    print("ok")


main()
