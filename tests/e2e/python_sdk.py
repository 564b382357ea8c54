"""The demo app (FastAPI with the OpenTelemetry Python SDK) over OTLP/gRPC or OTLP/HTTP (environment OTLP), with
cumulative or delta temporality (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE); every signal is found again by
trace id, TraceQL, LogQL and PromQL, also after a restart."""

import os
import re
import subprocess
import time

import signals
from harness import Server, now, until
from shop import Shop

PROTOCOL = os.environ.get("OTLP", "http/protobuf")
IS_DELTA = os.environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE") == "delta"


def place_orders(shop):
    placed = failed = None
    counts = {"placed": 0, "failed": 0}
    for item in ["tea", "coffee", "milk", "broken", "sugar"] * 4:
        status, reply = shop.post(f"/orders/{item}")
        counts["placed" if status == 200 else "failed"] += 1
        if status == 200:
            placed = reply["trace_id"]
        elif item == "broken":
            failed = reply["detail"]["trace_id"]
        if item == "sugar":
            shop.post("/flush")
    return placed, failed, counts


def check_traces(server, placed, failed):
    spans = signals.find_trace(server, placed, "charge card")
    root = [span for span in spans if "parentSpanId" not in span]
    assert len(root) == 1 and root[0]["kind"] == "SPAN_KIND_SERVER", spans
    trace = signals.search(
        server, '{ resource.service.name = "shop" && span.order.item != "broken" && name = "charge card" }', placed
    )
    assert trace["rootServiceName"] == "shop" and trace["spanSets"][0]["matched"] == 1, trace
    trace = signals.search(server, '{ status = error && span.order.item = "broken" }', failed)
    assert trace["serviceStats"]["shop"]["errorCount"] >= 1, trace
    signals.search(server, "{ kind = server && duration > 1ns } ", placed)
    found = server.get(
        "/api/search", {"q": '{ resource.service.name = "nobody" }', "start": int(now()) - 900, "end": int(now()) + 60}
    )
    assert found["traces"] == []
    tags = server.get("/api/v2/search/tags", {"limit": 5000})
    scopes = {scope["name"]: scope["tags"] for scope in tags["scopes"]}
    assert (
        "service.name" in scopes["resource"] and "order.item" in scopes["span"] and "duration" in scopes["intrinsic"]
    ), scopes
    values = server.get("/api/v2/search/tag/span.order.item/values", {"limit": 5000})["tagValues"]
    assert {"type": "string", "value": "broken"} in values, values


def check_logs(server, placed, failed):
    rows = signals.logs(server, f'{{service_name="shop"}} | trace_id="{placed}"', placed)
    assert any("placed" in value[1] for _, value in rows), rows
    rows = signals.logs(server, f'{{service_name="shop"}} |= "declined" | trace_id="{failed}"', failed)
    stream, value = rows[0]
    assert stream["service_name"] == "shop" and "declined" in value[1]
    assert value[2]["structuredMetadata"]["detected_level"] == "error", value
    values = server.get("/loki/api/v1/label/service_name/values")["data"]
    assert "shop" in values
    counted = server.get(
        "/loki/api/v1/query", {"query": 'sum by (service_name) (count_over_time({service_name="shop"}[15m]))'}
    )
    assert int(counted["data"]["result"][0]["value"][1]) >= 20, counted


def check_metrics(server, counts):
    def orders():
        result = signals.instant(server, 'sum by (status) (orders_total{job="shop"})')
        got = {r["metric"]["status"]: float(r["value"][1]) for r in result}
        return got if got == {k: v for k, v in counts.items() if v} else None

    until(orders, f"orders_total to be {counts}")
    if IS_DELTA:
        _, text, _ = server.ask("/metrics")
        assert re.search(rb'trivet_delta_points_total\{result="added"\} [1-9]', text), text
    buckets = signals.instant(server, 'sum(order_duration_seconds_bucket{le="+Inf"})')
    assert float(buckets[0]["value"][1]) == sum(counts.values()), buckets
    quantile = signals.instant(server, "histogram_quantile(0.5, sum by (le) (order_duration_seconds_bucket))")
    assert 0 < float(quantile[0]["value"][1]) < 10, quantile
    assert signals.instant(server, 'target_info{job="shop"}')[0]["metric"]["service_version"] == "1.0"
    assert signals.instant(server, 'sum({__name__=~"http_server_.*_count", job="shop"})')
    meta = server.get("/api/v1/metadata", {"metric": "orders_total"})["data"]
    assert meta["orders_total"][0]["type"] == "counter" and "outcome" in meta["orders_total"][0]["help"], meta
    exemplars = server.get(
        "/api/v1/query_exemplars", {"query": "order_duration_seconds_bucket", "start": now() - 900, "end": now() + 60}
    )
    ids = [e["labels"]["trace_id"] for series in exemplars["data"] for e in series["exemplars"]]
    assert ids, exemplars
    signals.find_trace(server, ids[0], "charge card")


def check_all(server, placed, failed, counts):
    check_traces(server, placed, failed)
    check_logs(server, placed, failed)
    check_metrics(server, counts)


def main():
    with Server(keep=True) as server:
        shop = Shop(server, PROTOCOL)
        try:
            placed, failed, counts = place_orders(shop)
            check_all(server, placed, failed, counts)
        finally:
            shop.stop()
        data_dir = server.data_dir
    time.sleep(0.1)
    with Server(data_dir=data_dir) as server:  # all of it is still there
        check_traces(server, placed, failed)
        check_logs(server, placed, failed)
    subprocess.run(["rm", "-rf", data_dir], check=True)
    print("ok")


main()
