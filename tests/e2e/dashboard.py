"""Every panel of the Grafana dashboard shows data: its queries, filled in the way Grafana does it, asked of a server
that the demo app reports to. Also: the provisioning files are valid, and every data source that they name exists."""

import glob
import json
import os
import re
import time

import yaml
from harness import Server, now, until
from shop import HERE, Shop

GRAFANA = os.path.join(HERE, "..", "..", "packaging", "grafana")
# What Grafana puts in the place of its variables: "All" of the service list, the shortest interval of the data source.
VARIABLES = {"$service": ".+", "$__rate_interval": "1m0s", "$__auto": "15s", "$__interval": "15s"}


def load_yaml(path):
    with open(os.path.join(GRAFANA, path)) as f:
        return yaml.safe_load(f)


def uids_in(node):
    """(type or None, uid) of every reference to a data source below node."""
    if isinstance(node, dict):
        if isinstance(node.get("datasourceUid"), str):
            yield None, node["datasourceUid"]
        if isinstance(node.get("datasource"), dict):
            yield node["datasource"]["type"], node["datasource"]["uid"]
        for child in node.values():
            yield from uids_in(child)
    elif isinstance(node, list):
        for child in node:
            yield from uids_in(child)


def check_files(dashboards):
    sources = load_yaml("provisioning/datasources/trivet.yaml")
    types = {source["uid"]: source["type"] for source in sources["datasources"]}
    assert sources["apiVersion"] == 1 and sorted(types.values()) == ["loki", "prometheus", "tempo"], types
    assert sum(bool(source.get("isDefault")) for source in sources["datasources"]) == 1
    for kind, uid in [*uids_in(sources), *uids_in(dashboards)]:
        assert uid in types and kind in (None, types[uid]), f"{kind} {uid} is not among {types}"
    for dashboard in dashboards:
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids)), ids
    folder = load_yaml("provisioning/dashboards/trivet.yaml")["providers"][0]["options"]["path"]
    compose = load_yaml("compose.yaml")["services"]
    assert any(volume.split(":")[1] == folder for volume in compose["grafana"]["volumes"]), folder
    assert set(compose["grafana"]["depends_on"]) <= set(compose)


def fill(text):
    for name in sorted(VARIABLES, key=len, reverse=True):
        text = text.replace(name, VARIABLES[name])
    assert "$" not in text, f"unknown variable in {text}"
    return text


def ask(server, target):
    """The numbers or rows that Grafana would draw."""
    kind, end = target["datasource"]["type"], now()
    if kind == "prometheus":
        reply = server.get(
            "/api/v1/query_range", {"query": fill(target["expr"]), "start": end - 60, "end": end, "step": 1}
        )
        return [float(v) for series in reply["data"]["result"] for _, v in series["values"]]
    if kind == "loki":
        reply = server.get(
            "/loki/api/v1/query_range",
            {
                "query": fill(target["expr"]),
                "start": int((end - 60) * 1e9),
                "end": int(end * 1e9),
                "step": "1000ms",
                "limit": target.get("maxLines", 100),
                "direction": "backward",
            },
        )
        return [value[1] for series in reply["data"]["result"] for value in series["values"]]
    query, window = fill(target["query"]), {"start": int(end) - 60, "end": int(end) + 1}
    if "metricsQueryType" in target:
        reply = server.get("/api/metrics/query_range", {"q": query, "step": "5s", **window})
        return [sample["value"] for series in reply["series"] for sample in series["samples"] if sample.get("value")]
    return server.get("/api/search", {"q": query, "limit": target["limit"], "spss": target["spss"], **window})["traces"]


def check_panels(server, dashboard):
    for variable in dashboard["templating"]["list"]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
        values = until(
            lambda: server.get(f"/api/v1/label/{label}/values", {"match[]": metric})["data"], variable["name"]
        )
        assert values == ["shop"], values
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            got = until(lambda: ask(server, target), f'panel "{panel["title"]}" to show data', 30)
            # A quantile or a share of nothing is NaN: data, but nothing to see.
            assert not all(isinstance(v, float) and v != v for v in got), f'panel "{panel["title"]}": {got}'


def main():
    dashboards = []
    for path in glob.glob(os.path.join(GRAFANA, "dashboards", "*.json")):
        with open(path) as f:
            dashboards.append(json.load(f))
    assert dashboards
    check_files(dashboards)
    with Server() as server:
        shop = Shop(server)
        try:
            for _ in range(4):  # rates want counters that rise between two exports
                for item in ["tea", "broken", "milk"]:
                    shop.post(f"/orders/{item}")
                time.sleep(1.1)
            shop.post("/flush")
            for dashboard in dashboards:
                check_panels(server, dashboard)
        finally:
            shop.stop()
    print("ok")


main()
