"""systemd's journal over POST /upload: a body without end, stored as it comes; binary fields; what is large; faults; a
server that stops. And systemd-journal-upload itself, where the package systemd-journal-remote is installed."""

import gzip
import http.client
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

from harness import Server, now, until

TOOLS = "/lib/systemd/"


def entry(i, message, **fields):
    out = b"__REALTIME_TIMESTAMP=%d\n_HOSTNAME=box\n_SYSTEMD_UNIT=app.service\nPRIORITY=4\n" % (
        (int(now()) - 3600) * 1000000 + i)
    for name, value in fields.items():
        out += name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return out + (b"MESSAGE=%s\n\n" % message.encode() if message is not None else b"\n")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def count(server, query):
    result = server.get("/loki/api/v1/query", {"query": f"sum(count_over_time({query}[2h]))"})["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def opened(server, headers=b""):
    s = socket.create_connection(("127.0.0.1", server.port))
    s.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.fdo.journal\r\n" + headers +
              b"Transfer-Encoding: chunked\r\n\r\n")
    return s


def check_endless(server):
    """What was sent can be asked for while the request goes on; it may be far larger than net.max_body."""
    s = opened(server)
    data = entry(0, "first") + entry(1, None, MESSAGE=b"two\nlines \xff", BLOB=b"x" * 300000)
    for at in range(0, len(data), 7919):
        s.sendall(chunk(data[at:at + 7919]))
    until(lambda: count(server, '{job="systemd-journal", hostname="box", unit="app.service", level="warn"}') == 2,
          "entries of an open request")
    for i in range(3):  # slowly
        half = entry(2 + i, f"slow {i}")
        s.sendall(chunk(half[:50]))
        time.sleep(0.1)
        s.sendall(chunk(half[50:]))
        until(lambda: count(server, '{job="systemd-journal"} |= "slow"') == i + 1, "a slow entry")
    n = 100000
    for at in range(0, n, 1000):
        s.sendall(chunk(b"".join(entry(100 + at + i, f"many {at + i} " + "x" * 200) for i in range(1000))))
    s.sendall(chunk(entry(10, None, MESSAGE=b"y" * 3000000)) + chunk(entry(11, "after what was too large")))
    s.sendall(b"0\r\n\r\n")
    assert s.recv(1000).startswith(b"HTTP/1.1 202"), "no 202"
    s.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    assert s.recv(1000).startswith(b"HTTP/1.1 200"), "the connection is not good for more"
    assert count(server, '{job="systemd-journal"} |= "many"') == n
    assert count(server, '{job="systemd-journal"} |= "after what was too large"') == 1


def check_packed(server):
    """A compressed journal, in pieces of any size, stored as it comes: members or frames behind each other, as
    systemd-journal-upload makes one of each of its buffers."""
    packers = {"gzip": gzip.compress}
    if shutil.which("zstd"):
        packers["zstd"] = lambda data: subprocess.run(["zstd", "-q", "-c"], input=data, check=True,
                                                      capture_output=True).stdout
    for name, pack in packers.items():
        s = opened(server, b"Content-Encoding: %s\r\n" % name.encode())
        first = pack(entry(40, f"packed {name} 0"))
        for at in range(0, len(first), 7):
            s.sendall(chunk(first[at:at + 7]))
        query = '{job="systemd-journal"} |= "packed %s"' % name
        until(lambda: count(server, query) == 1, f"an entry of an open {name}")
        many = b"".join(entry(41 + i, f"packed {name} {i + 1} " + "z" * 3000) for i in range(5000))
        s.sendall(b"".join(chunk(pack(many[at:at + 4000001])) for at in range(0, len(many), 4000001)) + b"0\r\n\r\n")
        reply = s.recv(1000)
        assert reply.startswith(b"HTTP/1.1 202") and b"accept-encoding: zstd" in reply, reply
        assert count(server, query) == 5001, count(server, query)
        s = opened(server, b"Content-Encoding: %s\r\n" % name.encode())
        s.sendall(chunk(first[:-3]) + b"0\r\n\r\n")
        assert b" 400 " in s.recv(1000), "a cut journal is taken"
    s = opened(server, b"Content-Encoding: xz\r\n")
    s.sendall(chunk(b"\xfd7zXZ\0"))
    assert b" 415 " in s.recv(1000)


def check_others(server):
    s = opened(server)
    s.sendall(chunk(entry(20, "before a fault") + b"{} is no field\n"))
    assert s.recv(1000).startswith(b"HTTP/1.1 400"), "no 400"
    until(lambda: count(server, '{job="systemd-journal"} |= "before a fault"') == 1, "what came before a fault")
    s = opened(server)
    s.sendall(chunk(entry(21, "and gone")))
    s.close()
    until(lambda: count(server, '{job="systemd-journal"} |= "and gone"') == 1, "what came before the client went")
    client = http.client.HTTPConnection("127.0.0.1", server.port)
    client.request("POST", "/upload", entry(22, "with a length"))
    assert client.getresponse().status == 202
    assert count(server, '{job="systemd-journal"} |= "with a length"') == 1


def check_stop(server):
    s = opened(server)
    s.sendall(chunk(entry(30, "before the stop")))
    until(lambda: count(server, '{job="systemd-journal"} |= "before the stop"') == 1, "an entry")
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert s.recv(1000).startswith(b"HTTP/1.1 503"), "no 503"
    server.process.wait(timeout=20)
    assert time.monotonic() - began < 5, "an upload holds the stop up"


def check_real(server):
    if not os.path.exists(TOOLS + "systemd-journal-upload"):
        print("no systemd-journal-upload here")
        return
    folder = tempfile.mkdtemp(prefix="trivet-journal-")
    os.chmod(folder, 0o755)
    export, journal = folder + "/in", folder + "/system.journal"
    boot = b"_BOOT_ID=4ec25ce5f1d84f62a0bb5b3b1b8c1b9d\n_MACHINE_ID=4ec25ce5f1d84f62a0bb5b3b1b8c1b9e\n"
    with open(export, "wb") as f:
        for i in range(500):
            fields = {"BINARY": b"a\nb\x00c"} if i % 7 == 0 else {}
            f.write(b"__CURSOR=s=4ec25ce5f1d84f62a0bb5b3b1b8c1b9d;i=%x\n__MONOTONIC_TIMESTAMP=%d\n" % (i + 1, i + 1))
            f.write(boot + entry(1000 + i, f"real {i}", **fields))
    subprocess.run([TOOLS + "systemd-journal-remote", "-o", journal, export], check=True, timeout=30,
                   capture_output=True)
    done = subprocess.run([TOOLS + "systemd-journal-upload", "--url", server.url, "--file", journal,
                           f"--save-state={folder}/state", "--follow=no"], timeout=60, capture_output=True)
    assert done.returncode == 0, done
    assert count(server, '{job="systemd-journal", unit="app.service"} |= "real"') == 500, done
    live = subprocess.Popen([TOOLS + "systemd-journal-upload", "--url", server.url, "--file", journal, "--follow"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(1)
    assert live.poll() is None, live.communicate()
    assert count(server, '{job="systemd-journal"} |= "real"') == 500  # the same again
    live.terminate()
    live.communicate()
    shutil.rmtree(folder)


def main():
    with Server("--net-max-body", "1MiB") as server:
        check_endless(server)
        check_packed(server)
        check_others(server)
        check_real(server)
        check_stop(server)
    print("ok")


main()
