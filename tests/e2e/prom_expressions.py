"""Expressions as dashboards and alerts ask them of the series of prom_data.py: panels of a node_exporter dashboard,
cAdvisor, RED (rate, errors, duration) of services, probes, runtime, burn rates of service level objectives.
Ours; ranges and steps are such that no sample and no inner step of a subquery falls exactly on the left end of a
window, where Prometheus 2 and 3 differ."""

NODE = """
(1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))) * 100
sum by (instance, mode) (rate(node_cpu_seconds_total{mode!="idle"}[5m]))
sum by (mode) (rate(node_cpu_seconds_total[5m])) / scalar(count(count by (instance, cpu) (node_cpu_seconds_total)))
100 * avg without (cpu) (irate(node_cpu_seconds_total{mode="iowait"}[5m]))
max by (instance) (rate(node_cpu_seconds_total{mode="steal"}[15m]))
count by (instance) (node_cpu_seconds_total{mode="system"})
1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes
node_memory_MemTotal_bytes - node_memory_MemFree_bytes - node_memory_Buffers_bytes - node_memory_Cached_bytes - node_memory_SReclaimable_bytes
(node_memory_SwapTotal_bytes - node_memory_SwapFree_bytes) / (node_memory_SwapTotal_bytes > 0)
avg_over_time(node_memory_MemAvailable_bytes[1h])
sum(node_memory_MemTotal_bytes) - sum(node_memory_MemAvailable_bytes)
100 - node_filesystem_avail_bytes{fstype!~"tmpfs|overlay"} * 100 / node_filesystem_size_bytes{fstype!~"tmpfs|overlay"}
predict_linear(node_filesystem_avail_bytes{mountpoint="/"}[6h], 4 * 3600)
predict_linear(node_filesystem_avail_bytes{fstype!="tmpfs"}[1h], 86400) < 0
1 - node_filesystem_files_free{fstype!="tmpfs"} / node_filesystem_files
node_filesystem_readonly{mountpoint=~"/|/srv"} == 1
min by (instance) (node_filesystem_avail_bytes / node_filesystem_size_bytes)
deriv(node_filesystem_free_bytes{mountpoint="/srv"}[1h])
sum by (instance) (rate(node_disk_read_bytes_total[5m]) + rate(node_disk_written_bytes_total[5m]))
rate(node_disk_io_time_seconds_total{device=~"sd.*|nvme.*"}[5m])
rate(node_disk_read_time_seconds_total[5m]) / rate(node_disk_reads_completed_total[5m])
rate(node_disk_write_time_seconds_total[5m]) / rate(node_disk_writes_completed_total[5m])
topk(3, rate(node_disk_io_time_weighted_seconds_total[10m]))
rate(node_network_receive_bytes_total{device!="lo"}[5m]) * 8
-rate(node_network_transmit_bytes_total{device!="lo"}[5m]) * 8
sum by (instance) (irate(node_network_receive_packets_total{device!~"lo|veth.*"}[2m]))
increase(node_network_receive_errs_total[1h]) + increase(node_network_transmit_errs_total[1h]) > 0
rate(node_network_receive_drop_total[30m]) / rate(node_network_receive_packets_total[30m])
rate(node_network_transmit_bytes_total[5m]) / on (instance, device) node_network_speed_bytes
node_load1 / on (instance) count by (instance) (node_cpu_seconds_total{mode="idle"})
node_load5 > 1.5 and on (instance) node_load15 > 1
node_time_seconds - node_boot_time_seconds
changes(node_boot_time_seconds[2h])
node_uname_info * on (instance) group_left () (node_time_seconds - node_boot_time_seconds)
rate(node_context_switches_total[5m])
rate(node_vmstat_pgmajfault[5m]) and rate(node_vmstat_pgfault[5m]) > 500
rate(node_netstat_Tcp_RetransSegs[10m]) / rate(node_netstat_Tcp_OutSegs[10m])
node_filefd_allocated / node_filefd_maximum
node_nf_conntrack_entries / node_nf_conntrack_entries_limit
max_over_time(node_hwmon_temp_celsius[30m]) - min_over_time(node_hwmon_temp_celsius[30m])
quantile_over_time(0.95, node_hwmon_temp_celsius{chip=~"nvme.*"}[1h])
rate(node_pressure_io_stalled_seconds_total[5m])
abs(node_timex_offset_seconds) > 0.0001
sum by (name) (node_systemd_unit_state{state="failed"}) or sum by (name) (node_systemd_unit_state{state="active"})
stddev(node_load1) + stdvar(node_load5)
label_replace(node_load1, "host", "$1", "instance", "([^:]+):.*")
quantile(0.9, node_load1)
sort_desc(node_memory_MemAvailable_bytes)
"""

CADVISOR = """
sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))
sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{container!=""}[5m]))
topk(5, sum by (pod) (rate(container_cpu_usage_seconds_total[5m])))
sum by (node) (rate(container_cpu_usage_seconds_total[5m])) / on (node) group_left () label_replace(machine_cpu_cores, "node", "$1", "instance", "(.+)\\\\.lab:.*")
sum by (container) (container_memory_working_set_bytes{namespace="shop"})
container_memory_working_set_bytes / (container_spec_memory_limit_bytes > 0) > 0.3
max by (pod) (max_over_time(container_memory_rss[1h]))
sum by (namespace) (container_memory_cache) / sum by (namespace) (container_memory_usage_bytes)
sum(container_memory_working_set_bytes) by (instance) / on (instance) machine_memory_bytes
bottomk(3, sum by (pod) (container_memory_usage_bytes))
sum by (pod) (increase(container_cpu_cfs_throttled_periods_total[5m])) / sum by (pod) (increase(container_cpu_cfs_periods_total[5m]))
sum by (container) (rate(container_cpu_usage_seconds_total[5m])) / sum by (container) (container_spec_cpu_quota / container_spec_cpu_period)
sum by (namespace) (rate(container_network_receive_bytes_total[5m]))
-sum by (namespace) (irate(container_network_transmit_bytes_total{interface="eth0"}[5m]))
sum by (pod) (increase(container_network_receive_packets_dropped_total[1h])) > 0
sum by (container) (rate(container_fs_reads_bytes_total{device=~"/dev/.*"}[5m]) + rate(container_fs_writes_bytes_total[5m]))
time() - container_start_time_seconds{namespace="media"}
count by (namespace) (container_start_time_seconds)
count(count by (pod) (container_memory_rss)) by ()
increase(container_oom_events_total[6h]) > 0
count_over_time(container_memory_rss{container="app-3"}[20m])
absent_over_time(container_memory_rss{container="app-99"}[5m])
count by (image) (container_memory_rss unless container_memory_rss > 1.8e8)
group by (namespace, container) (container_memory_cache)
"""

RED = """
sum by (job) (rate(http_requests_total[5m]))
sum by (job, handler) (rate(http_requests_total[2m]))
sum by (code) (increase(http_requests_total[1h]))
sum by (job) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (job) (rate(http_requests_total[5m]))
1 - sum(rate(http_requests_total{code=~"5..|404"}[5m])) / sum(rate(http_requests_total[5m]))
histogram_quantile(0.99, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))
histogram_quantile(0.5, sum by (le) (rate(http_request_duration_seconds_bucket{handler="/api/v1/items"}[5m])))
histogram_quantile(0.9, sum by (handler, le) (rate(http_request_duration_seconds_bucket[10m]))) > 0.1
histogram_quantile(0.95, rate(http_request_duration_seconds_bucket{job="service-0"}[5m]))
sum by (job) (rate(http_request_duration_seconds_sum[5m])) / sum by (job) (rate(http_request_duration_seconds_count[5m]))
(sum by (job) (rate(http_request_duration_seconds_bucket{le="0.1"}[5m])) + sum by (job) (rate(http_request_duration_seconds_bucket{le="0.5"}[5m]))) / 2 / sum by (job) (rate(http_request_duration_seconds_count[5m]))
sum by (le) (rate(http_request_duration_seconds_bucket[5m]))
sum by (le) (increase(http_request_duration_seconds_bucket{job=~"service-[01]"}[5m]))
topk(5, sum by (job, handler) (rate(http_request_duration_seconds_sum[15m])))
sum(http_requests_in_flight) by (job)
max_over_time(sum(http_requests_in_flight)[30m:1m])
avg_over_time(http_requests_in_flight[10m])
sum by (job) (rate(http_requests_total[5m])) - sum by (job) (rate(http_requests_total[5m] offset 1h))
sum by (job) (rate(http_requests_total[5m])) / sum by (job) (avg_over_time(rate(http_requests_total[5m])[1h:5m]))
resets(http_requests_total{handler="/api/v1/items",code="200"}[1h])
histogram_quantile(0.9, sum by (method, le) (rate(rpc_client_duration_seconds_bucket[5m])))
rate(go_memstats_alloc_bytes_total[5m])
go_memstats_heap_inuse_bytes / process_resident_memory_bytes
rate(process_cpu_seconds_total[5m]) * 100
process_open_fds / process_max_fds
avg by (job) (delta(go_goroutines[10m]))
max by (quantile) (go_gc_duration_seconds)
time() - process_start_time_seconds
avg(probe_success) * 100
probe_success == 0
avg_over_time(probe_success[1h]) * 100
probe_duration_seconds > bool 0.5
(probe_ssl_earliest_cert_expiry - time()) / 86400
count_values("code", probe_http_status_code)
sum(up) by (job) / count(up) by (job)
up == 0
min_over_time(up{job="node"}[5m]) == 0
changes(up[1h]) > 0
sum by (job) (scrape_samples_scraped)
avg by (job) (scrape_duration_seconds) > on () group_left () avg(scrape_duration_seconds)
last_over_time(scrape_duration_seconds{job="blackbox"}[10m])
ceil(clamp_max(http_requests_in_flight, 15)) + floor(clamp(go_goroutines, 50, 100))
sum by (__name__) ({__name__=~"node_network_(receive|transmit)_bytes_total"})
{job="blackbox",__name__=~"probe_.*"}
present_over_time(http_requests_in_flight[1m])
sum_over_time(http_requests_in_flight[30m]) / count_over_time(http_requests_in_flight[30m])
stddev_over_time(probe_duration_seconds[1h])
round(http_requests_in_flight / 3, 0.1)
idelta(node_sockstat_TCP_tw[5m])
hour() * 60 + minute()
"""

SLO_ERRORS = 'sum(rate(http_requests_total{{job="service-0",code=~"5.."}}[{w}]))'
SLO_ALL = 'sum(rate(http_requests_total{{job="service-0"}}[{w}]))'
LATENCY = ('1 - sum(rate(http_request_duration_seconds_bucket{{job="service-0",le="0.1"}}[{w}]))'
           ' / sum(rate(http_request_duration_seconds_count{{job="service-0"}}[{w}]))')


def slo():
    """Burn rates of errors and of slow requests over the usual windows, alerts of two windows, what is left."""
    ratio = f"{SLO_ERRORS} / {SLO_ALL}"
    out = [ratio.format(w=w) for w in ("5m", "30m", "1h", "2h", "6h")]
    out += [LATENCY.format(w=w) for w in ("5m", "30m", "1h", "2h", "6h")]
    for short, long, factor in (("5m", "1h", 14), ("30m", "6h", 7), ("2h", "6h", 2)):
        out.append(f"({ratio.format(w=short)}) > ({factor} * (1 - 0.9995))"
                   f" and ({ratio.format(w=long)}) > ({factor} * (1 - 0.9995))")
    errors = 'sum(increase(http_requests_total{job="service-0",code=~"5.."}[12h]) or vector(0))'
    out.append(f'((1 - 0.9995) - ({errors} / sum(increase(http_requests_total{{job="service-0"}}[12h])))) / (1 - 0.9995)')
    out.append('sum by (handler) (rate(http_requests_total{job="service-0",code=~"5.."}[1h]))'
               ' / sum by (handler) (rate(http_requests_total{job="service-0"}[1h]))')
    out.append('sum(count_over_time(http_requests_in_flight{job="service-0"}[1h]))')
    out.append('avg_over_time((1 - sum(rate(http_requests_total{job="service-0",code=~"5.."}[5m]))'
               ' / sum(rate(http_requests_total{job="service-0"}[5m])))[6h:5m])')
    out.append('absent(http_requests_total{job="service-99"})')
    return out


def lines(text):
    return text.strip().splitlines()


def everything():
    """(group, expression)"""
    groups = (("node", lines(NODE)), ("cadvisor", lines(CADVISOR)), ("red", lines(RED)), ("slo", slo()))
    return [(group, text) for group, texts in groups for text in texts]


if __name__ == "__main__":
    for line in everything():
        print(*line, sep="\t")
