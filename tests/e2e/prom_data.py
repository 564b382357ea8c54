"""Series as a home lab's Prometheus scrapes them, as remote write requests: node_exporter, cAdvisor (pods come and
go, with stale markers), services with classic histograms and runtime metrics (processes restart, counters with them),
probes. Seeded: the same arguments give the same bytes. Only the standard library."""

import array
import bisect
import itertools
import random
import struct

STEP_MS = 15_000
STALE = struct.pack("<Q", 0x7FF0000000000002)
BOUNDS = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
GIB = 2**30


def varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(raw):
    """Valid and not smaller: one literal."""
    return varint(len(raw)) + b"\xfc" + struct.pack("<I", len(raw) - 1) + raw


def encode_labels(labels):
    return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()) if v)


# How a value goes on: generators of one float per scrape. `restarts` are scrapes at which the process starts anew.


def constant(_, value):
    return itertools.repeat(float(value))


def steps_of(_, value, every, to):
    for i in itertools.count():
        yield float(value if i // every % 2 == 0 else to)


def counter(r, rate, restarts=(), start=None, digits=0):
    """Has counted for an hour when it is first seen: Prometheus 2 and 3 extrapolate young counters differently."""
    v, mean = float(start or int(rate * 3600)), rate * STEP_MS / 1000
    for i in itertools.count():
        v = 0.0 if i in restarts else v
        grown = mean * (0.5 + r.random())
        v = round(v + grown, digits) if digits else v + int(grown + r.random())
        yield v


def rare(r, chance, restarts=()):
    v = 0.0
    for i in itertools.count():
        v = 0.0 if i in restarts else v
        v += r.random() < chance
        yield v


def wander(r, low, high, quantum):
    v = (low + high) / 2
    for _ in itertools.count():
        v += (r.random() - 0.5) * (high - low) / 50
        v = min(max(v, low), high)
        yield round(v / quantum) * quantum if quantum >= 1 else round(v, 4)


def histogram(r, rate, median, restarts=()):
    """Lists of the buckets' cumulated counts, the sum and the count, which all belong together."""
    edges = [float(b) for b in BOUNDS]
    counts, total = [0] * len(edges), 0.0
    for i in itertools.count():
        if i in restarts:
            counts, total = [0] * len(edges), 0.0
        fresh = int(rate * STEP_MS / 1000 * r.random() * 2 + r.random())
        for _ in range(fresh if i else int(rate * 3600)):
            took = median * r.lognormvariate(0, 1)
            counts[bisect.bisect_left(edges, took)] += 1
            total += took
        cumulated = list(itertools.accumulate(counts))
        yield [*map(float, cumulated), round(total, 6), float(cumulated[-1])]


class Target:
    """What is scraped together: the same times, never at a full second, now and then some ms late."""

    def __init__(self, lab, labels, alive=None):
        self.lab, self.labels = lab, labels
        self.r = random.Random(f"{lab.seed} {sorted(labels.items())}")
        self.shift = self.r.randrange(1, STEP_MS // 1000) * 1000 + self.r.randrange(1, 991)
        self.alive = alive or (0, lab.scrapes)
        self.series = []  # (encoded labels, values) or ([encoded labels...], lists of values)
        self.restarts = set()

    def restart_at(self, *scrapes):
        self.restarts.update(scrapes)

    def add(self, metric, make, *args, **labels):
        values = make(self.r, *args)
        self.series.append((encode_labels({"__name__": metric, **self.labels, **labels}), values))

    def count(self, metric, rate, digits=0, start=None, **labels):
        self.add(metric, counter, rate, self.restarts, start, digits, **labels)

    def observe(self, metric, rate, median, **labels):
        rows = [{"__name__": metric + "_bucket", "le": le} for le in BOUNDS] + [
            {"__name__": metric + "_sum"}, {"__name__": metric + "_count"}]
        encoded = [encode_labels({**row, **self.labels, **labels}) for row in rows]
        self.series.append((encoded, histogram(self.r, rate, median, self.restarts)))

    def times(self, first, last):
        late = [self.r.randrange(1, 9) if self.r.random() < 0.02 else 0 for _ in range(first, last)]
        return [self.lab.start_ms + self.shift + i * STEP_MS + late[i - first] for i in range(first, last)]

    def write(self, out, first, last):
        """Appends TimeSeries messages of the scrapes [first, last) that it lives in."""
        a, b = max(first, self.alive[0]), min(last, self.alive[1])
        if a >= b:
            return 0
        dies = self.alive[1] <= last and self.alive[1] < self.lab.scrapes
        stamps = [b"\x10" + varint(t) for t in self.times(a, b)]
        template = b"".join(b"\x12\x10\x09" + bytes(8) + stamp for stamp in stamps)
        width = len(template) // (b - a)
        n = 0
        for labels, values in self.series:
            rows = list(itertools.islice(values, b - a))
            many = isinstance(labels, list)
            for k, name in enumerate(labels if many else [labels]):
                packed = array.array("d", [row[k] for row in rows] if many else rows).tobytes()
                packed = packed[:-8] + STALE if dies else packed
                samples = bytearray(template)
                for byte in range(8):
                    samples[3 + byte::width] = packed[byte::8]
                out.append(field(1, name + bytes(samples)))
                n += b - a
        return n


class Lab:
    """scale 1 is about 600 series at a time."""

    def __init__(self, start_ms, scrapes, scale=1, seed=7):
        self.start_ms, self.scrapes, self.scale, self.seed = start_ms, scrapes, scale, seed
        self.r = random.Random(seed)
        self.targets = []
        for i in range(max(1, scale)):
            self.node(i)
            self.containers(i)
        for i in range(2 * max(1, scale)):
            self.service(i)
        self.probes()

    @property
    def end_ms(self):
        return self.start_ms + self.scrapes * STEP_MS

    def target(self, alive=None, **labels):
        t = Target(self, labels, alive)
        self.targets.append(t)
        return t

    def requests(self, batch=40, most=8 << 20):
        """(body, samples) in order of time: what a sender with a queue sends."""
        for first in range(0, self.scrapes, batch):
            out, n = [], 0
            for t in self.targets:
                n += t.write(out, first, min(first + batch, self.scrapes))
                if sum(map(len, out)) > most:
                    yield snappy(b"".join(out)), n
                    out, n = [], 0
            if out:
                yield snappy(b"".join(out)), n

    # ---- what is scraped ----

    def about_scrapes(self, t, down=None):
        if down:
            t.add("up", steps_of, 1, down, 0)
        else:
            t.add("up", constant, 1)
        t.add("scrape_duration_seconds", wander, 0.01, 0.2, 0.0001)
        t.add("scrape_samples_scraped", constant, 400)

    def node(self, i):
        t = self.target(job="node", instance=f"node-{i}.lab:9100", cluster="home")
        if i % 2 == 1:
            t.restart_at(self.scrapes // 3)
        self.about_scrapes(t, down=self.scrapes // 2 if i == 0 else None)
        for cpu in range(4):
            for mode, rate in [("idle", 0.8), ("iowait", 0.01), ("irq", 0.001), ("nice", 0.002), ("softirq", 0.004),
                               ("steal", 0.0005), ("system", 0.05), ("user", 0.12)]:
                t.count("node_cpu_seconds_total", rate, 2, cpu=str(cpu), mode=mode)
        ram = (8 + 8 * (i % 3)) * GIB
        t.add("node_memory_MemTotal_bytes", constant, ram)
        for what, share in [("MemFree", 0.1), ("MemAvailable", 0.5), ("Buffers", 0.03), ("Cached", 0.3), ("Slab", 0.05),
                            ("SReclaimable", 0.04), ("Active", 0.3), ("Inactive", 0.2), ("Dirty", 0.001)]:
            t.add(f"node_memory_{what}_bytes", wander, ram * share * 0.7, ram * share * 1.3, 4096)
        t.add("node_memory_SwapTotal_bytes", constant, 2 * GIB)
        t.add("node_memory_SwapFree_bytes", wander, 1.5 * GIB, 2 * GIB, 4096)
        self.node_disks(t)
        self.node_system(t, i)

    def node_disks(self, t):
        for mount, device, size, kind in [("/", "/dev/sda2", 100, "ext4"), ("/boot", "/dev/sda1", 1, "ext4"),
                                          ("/srv", "/dev/sdb1", 2000, "xfs"), ("/run", "tmpfs", 1, "tmpfs")]:
            at = {"mountpoint": mount, "device": device, "fstype": kind}
            t.add("node_filesystem_size_bytes", constant, size * GIB, **at)
            t.add("node_filesystem_avail_bytes", wander, size * GIB * 0.2, size * GIB * 0.6, 4096, **at)
            t.add("node_filesystem_free_bytes", wander, size * GIB * 0.25, size * GIB * 0.65, 4096, **at)
            t.add("node_filesystem_files", constant, size * 65536, **at)
            t.add("node_filesystem_files_free", wander, size * 50000, size * 60000, 1, **at)
            t.add("node_filesystem_readonly", constant, 0, **at)
        for device, busy in [("sda", 1), ("sdb", 3)]:
            for what, rate, digits in [
                    ("reads_completed_total", 20, 0), ("writes_completed_total", 35, 0), ("read_bytes_total", 4e5, 0),
                    ("written_bytes_total", 9e5, 0), ("read_time_seconds_total", 0.02, 3),
                    ("write_time_seconds_total", 0.09, 3), ("io_time_seconds_total", 0.06, 3),
                    ("io_time_weighted_seconds_total", 0.11, 3)]:
                t.count("node_disk_" + what, rate * busy, digits, device=device)

    def node_system(self, t, i):
        for device, load in [("lo", 1), ("eth0", 50), ("wlan0", 3)]:
            for way in ("receive", "transmit"):
                t.count(f"node_network_{way}_bytes_total", 2000 * load, device=device)
                t.count(f"node_network_{way}_packets_total", 9 * load, device=device)
                t.add(f"node_network_{way}_errs_total", rare, 0.001 * load, t.restarts, device=device)
                t.add(f"node_network_{way}_drop_total", rare, 0.002 * load, t.restarts, device=device)
            t.add("node_network_up", constant, 1, device=device)
            t.add("node_network_speed_bytes", constant, 125_000_000, device=device)
        for name, high in [("node_load1", 4), ("node_load5", 3), ("node_load15", 2)]:
            t.add(name, wander, 0.1, high, 0.01)
        for name, rate in [("node_context_switches_total", 8000), ("node_intr_total", 4000), ("node_forks_total", 5),
                           ("node_vmstat_pgfault", 900), ("node_vmstat_pgmajfault", 0.4), ("node_vmstat_pswpin", 0.1),
                           ("node_vmstat_pswpout", 0.2), ("node_netstat_Tcp_InSegs", 300),
                           ("node_netstat_Tcp_OutSegs", 310), ("node_netstat_Tcp_RetransSegs", 0.2)]:
            t.count(name, rate)
        for name, low, high in [("node_procs_running", 1, 9), ("node_procs_blocked", 0, 2),
                                ("node_filefd_allocated", 1800, 2600), ("node_netstat_Tcp_CurrEstab", 20, 90),
                                ("node_sockstat_TCP_tw", 0, 60), ("node_nf_conntrack_entries", 300, 900)]:
            t.add(name, wander, low, high, 1)
        t.add("node_filefd_maximum", constant, 9223372036854775807)
        t.add("node_nf_conntrack_entries_limit", constant, 262144)
        for what in ("cpu_waiting", "io_stalled", "memory_waiting"):
            t.count(f"node_pressure_{what}_seconds_total", 0.01, 6)
        for chip in ("0000:00:18_3", "nvme_nvme0"):
            t.add("node_hwmon_temp_celsius", wander, 30, 70, 0.1, chip=chip, sensor="temp1")
        t.add("node_timex_offset_seconds", wander, -0.001, 0.001, 0.0001)
        boot = self.start_ms / 1000
        t.add("node_boot_time_seconds", steps_of, boot - 86400 * 9, self.scrapes // 3, boot + self.scrapes * 5)
        t.add("node_time_seconds", counter, 1, (), boot, 3)
        t.add("node_uname_info", constant, 1, nodename=f"node-{i}", release=f"6.1.0-{i % 3}", machine="x86_64")
        for unit in ("ssh", "cron", "docker", "nginx"):
            for state in ("active", "failed"):
                t.add("node_systemd_unit_state", constant, int(state == "active"), name=unit + ".service", state=state)

    def containers(self, i):
        """Twelve containers on one node; some pods are replaced by others with a new name."""
        node = f"node-{i}"
        up = self.target(job="kubelet", metrics_path="/metrics/cadvisor", instance=node + ".lab:10250")
        self.about_scrapes(up)
        up.add("machine_memory_bytes", constant, (8 + 8 * (i % 3)) * GIB)
        up.add("machine_cpu_cores", constant, 4)
        for c in range(12):
            lives = [(0, self.scrapes)]
            if c % 4 == 3:  # three lives, the second begins before the first has ended
                third = self.scrapes // 3
                lives = [(0, third + 7), (third, 2 * third), (2 * third + 5, self.scrapes)]
            for life, alive in enumerate(lives):
                self.container(up, node, c, f"app-{c}-{self.r.randrange(16**5):05x}", life, alive)

    def container(self, up, node, c, pod, life, alive):
        t = self.target(alive, **up.labels, namespace=["shop", "media", "monitoring"][c % 3], pod=pod,
                        container=f"app-{c}", image=f"registry.lab/app-{c}:1.{life}", node=node)
        t.shift = up.shift
        t.count("container_cpu_usage_seconds_total", 0.02 * (c + 1), 6, cpu="total")
        t.count("container_cpu_cfs_periods_total", 10)
        t.count("container_cpu_cfs_throttled_periods_total", 0.3 * (c % 3))
        for name, high in [("working_set_bytes", 300), ("rss", 250), ("cache", 90), ("usage_bytes", 420)]:
            t.add("container_memory_" + name, wander, high << 18, high << 20, 4096)
        t.add("container_spec_memory_limit_bytes", constant, (512 << 20) if c % 2 else 0)
        t.add("container_spec_cpu_quota", constant, 50000)
        t.add("container_spec_cpu_period", constant, 100000)
        for way in ("receive", "transmit"):
            t.count(f"container_network_{way}_bytes_total", 5000 * (c + 1), interface="eth0")
            t.add(f"container_network_{way}_packets_dropped_total", rare, 0.001, interface="eth0")
        for way in ("reads", "writes"):
            t.count(f"container_fs_{way}_bytes_total", 900 * c, device="/dev/sda")
        t.add("container_start_time_seconds", constant, (self.start_ms + alive[0] * STEP_MS) // 1000)
        t.add("container_oom_events_total", rare, 0.0005)

    def service(self, i):
        name, replica = f"service-{i // 2}", i % 2
        t = self.target(job=name, instance=f"10.0.{i // 2}.{replica}:8080", cluster="home")
        if replica == 1:
            t.restart_at(self.scrapes // 2, self.scrapes // 2 + 9)
        self.about_scrapes(t)
        for handler, rate in [("/api/v1/items", 4), ("/api/v1/cart", 1), ("/login", 0.2), ("/healthz", 0.07)]:
            at = {"handler": handler, "method": "POST" if handler == "/login" else "GET"}
            for code, share in [("200", 1), ("404", 0.05), ("500", 0.012)]:
                t.count("http_requests_total", rate * share, code=code, **at)
            t.observe("http_request_duration_seconds", rate, 0.03 * (1 + i % 5), **at)
        t.observe("rpc_client_duration_seconds", 0.5, 0.2, method="Get")
        t.add("http_requests_in_flight", wander, 0, 20, 1)
        t.add("go_goroutines", wander, 40, 200, 1)
        t.add("go_memstats_heap_inuse_bytes", wander, 10 << 20, 60 << 20, 8192)
        t.count("go_memstats_alloc_bytes_total", 3e6)
        t.count("process_cpu_seconds_total", 0.05, 2)
        t.add("process_resident_memory_bytes", wander, 40 << 20, 90 << 20, 4096)
        t.add("process_open_fds", wander, 10, 60, 1)
        t.add("process_max_fds", constant, 1048576)
        t.add("process_start_time_seconds", steps_of, self.start_ms // 1000 - 5000, self.scrapes // 2,
              self.start_ms // 1000 + self.scrapes * 7)
        for quantile in ("0", "0.25", "0.5", "0.75", "1"):
            t.add("go_gc_duration_seconds", wander, 0.00001, 0.002 * (1 + float(quantile)), 0.0001, quantile=quantile)

    def probes(self):
        for i in range(3 * max(1, self.scale)):
            t = self.target(job="blackbox", instance=f"https://site-{i}.example")
            self.about_scrapes(t)
            t.add("probe_success", steps_of, 1, 50 + 13 * i, i % 3 != 0)
            t.add("probe_duration_seconds", wander, 0.05, 0.9, 0.001)
            t.add("probe_http_status_code", steps_of, 200, 50 + 13 * i, 200 if i % 3 else 503)
            t.add("probe_ssl_earliest_cert_expiry", constant, self.start_ms // 1000 + 86400 * (9 + i))
