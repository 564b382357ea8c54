#!/usr/bin/env bash
# From a fresh Debian 12 or Raspberry Pi OS to a running trivet: installs what the build needs, builds, starts trivet in the
# foreground on the default ports with ./data. Further arguments go to `trivet serve`. The second run takes seconds.
set -eu
cd "$(dirname "$0")/.."

packaging/install-deps.sh build
build=${TRIVET_BUILD_DIR:-build/release}
if [ ! -f "$build/build.ninja" ]; then
    cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DTRIVET_TESTS=OFF >/dev/null
fi
echo "building (the first time takes a minute or two)"
ninja -C "$build" trivet | tail -n 1

if [ "${TRIVET_QUICKSTART_BUILD_ONLY:-}" = 1 ]; then
    exit 0
fi

cat <<'TEXT'

trivet is starting. It listens on this machine only; use --listen ADDR:PORT to change that.

  Send telemetry   OTLP/gRPC  http://127.0.0.1:4317      OTLP/HTTP  http://127.0.0.1:4318
                   Prometheus remote write  http://127.0.0.1:9090/api/v1/write
                   Loki push                http://127.0.0.1:3100/loki/api/v1/push

  An app with an OpenTelemetry SDK needs just this:
                   export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
                   export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_SERVICE_NAME=my-app

  Grafana          add three data sources, no plugin, no login:
                   Prometheus  http://127.0.0.1:9090
                   Loki        http://127.0.0.1:3100
                   Tempo       http://127.0.0.1:3200
                   or let Grafana load packaging/grafana/provisioning (see packaging/grafana/README.md)

  Try it           curl 'http://127.0.0.1:9090/api/v1/query?query=up'
                   curl  http://127.0.0.1:9090/metrics

Ctrl-C stops it; the data stays in ./data.

TEXT
exec "$build/trivet" serve --data-dir ./data "$@"
