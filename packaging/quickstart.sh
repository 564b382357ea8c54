#!/usr/bin/env bash
# From a fresh Debian 12 or Raspberry Pi OS to a running trivet: installs what the build needs, builds, starts trivet in
# the foreground with ./data. Further arguments go to `trivet serve`. The second run takes seconds.
# TRIVET_BUILD_DIR: where to build (build/release). TRIVET_QUICKSTART_BUILD_ONLY=1: stop before starting.
set -eu
cd "$(dirname "$0")/.."

packaging/install-deps.sh build
build=${TRIVET_BUILD_DIR:-build/release}
log=$build.log
mkdir -p "$build"
if [ ! -f "$build/build.ninja" ]; then
    cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTRIVET_TESTS=OFF -DTRIVET_WERROR=OFF >"$log" 2>&1 || {
        cat "$log" >&2
        exit 1
    }
fi
if [ ! -x "$build/trivet" ]; then
    echo "building: two minutes on two cores of a PC, longer on a Raspberry Pi"
fi
if [ -t 1 ]; then
    ninja -C "$build" trivet # one line that counts
else
    ninja -C "$build" trivet >"$log" 2>&1 || {
        tail -n 40 "$log" >&2
        exit 1
    }
fi

if [ "${TRIVET_QUICKSTART_BUILD_ONLY:-}" = 1 ]; then
    exit 0
fi

cat <<'TEXT'

trivet is starting on its default ports, reachable from this machine only (--listen ADDR:PORT changes that).

  Send telemetry   OTLP/gRPC  http://127.0.0.1:4317      OTLP/HTTP  http://127.0.0.1:4318
                   Prometheus remote write  http://127.0.0.1:9090/api/v1/write
                   Loki push                http://127.0.0.1:3100/loki/api/v1/push
                   Zipkin                   http://127.0.0.1:9411/api/v2/spans

  An app with an OpenTelemetry SDK needs just this:
                   export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
                   export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_SERVICE_NAME=my-app

  Grafana          add three data sources, no plugin, no login:
                   Prometheus  http://127.0.0.1:9090
                   Loki        http://127.0.0.1:3100
                   Tempo       http://127.0.0.1:3200    (and Jaeger, if you like: http://127.0.0.1:16686)
                   or let Grafana load packaging/grafana/provisioning (see packaging/grafana/README.md)

  Try it           curl -H 'Content-Type: application/json' http://127.0.0.1:3100/loki/api/v1/push \
                     -d '{"streams":[{"stream":{"app":"hello"},"values":[["'$(date +%s%N)'","hello, trivet"]]}]}'
                   curl -G http://127.0.0.1:3100/loki/api/v1/query_range --data-urlencode 'query={app="hello"}'

Ctrl-C stops it; the data stays in the folder data/ beside this program's sources.

TEXT
exec "$build/trivet" serve --data-dir ./data "$@"
