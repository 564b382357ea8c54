"""A small shop that sends all three signals by OTLP: requests are traced automatically, orders are counted, their
duration goes into a histogram with exemplars, and log lines carry the trace id. All settings are the standard OTEL_*
variables. The load is a service of its own, so traces cross two.

Run:  OTEL_SERVICE_NAME=demo-shop uvicorn app:app --port 8000
Load: OTEL_SERVICE_NAME=demo-customers python app.py http://127.0.0.1:8000
"""

import logging
import os
import random
import sys
import time

from fastapi import FastAPI, HTTPException
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter


def set_up():
    resource = Resource.create({"service.version": "1.0", "deployment.environment.name": "demo"})
    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=1000))
    trace.set_tracer_provider(tracer_provider)
    meter_provider = MeterProvider(
        resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())]
    )
    metrics.set_meter_provider(meter_provider)
    logger_provider = LoggerProvider(resource=resource)
    logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(), schedule_delay_millis=1000))
    set_logger_provider(logger_provider)
    logging.getLogger().addHandler(LoggingHandler(level=logging.INFO, logger_provider=logger_provider))
    logging.getLogger().setLevel(logging.INFO)
    return tracer_provider, meter_provider, logger_provider


PROVIDERS = set_up()
LOG = logging.getLogger("shop")
TRACER = trace.get_tracer("shop")
METER = metrics.get_meter("shop")
ORDERS = METER.create_counter("orders", unit="1", description="Orders by outcome")
DURATION = METER.create_histogram("order.duration", unit="s", description="Time to place an order")

app = FastAPI()


@app.post("/orders/{item}")
def place_order(item: str):
    started = time.monotonic()
    with TRACER.start_as_current_span(
        "charge card", attributes={"payment.provider": "demo", "order.item": item}
    ) as span:
        time.sleep(random.uniform(0.001, 0.01))
        failed = item == "broken" or random.random() < 0.02
        if failed:
            span.set_status(trace.StatusCode.ERROR, "card declined")
            span.add_event("declined", {"reason": "demo"})
        status = "failed" if failed else "placed"
        ORDERS.add(1, {"status": status})
        DURATION.record(time.monotonic() - started, {"status": status})
        trace_id = format(span.get_span_context().trace_id, "032x")
        if failed:
            LOG.error("order for %s failed: card declined", item, extra={"order.item": item})
            raise HTTPException(status_code=502, detail={"error": "card declined", "trace_id": trace_id})
        LOG.info("order for %s placed", item, extra={"order.item": item})
        return {"status": status, "trace_id": trace_id}


@app.post("/flush")
def flush():
    """Sends everything now (tests do not wait for intervals)."""
    return {"flushed": all(provider.force_flush() is not False for provider in PROVIDERS)}


FastAPIInstrumentor.instrument_app(app, excluded_urls="/flush")


def generate_load(base_url):
    import httpx
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument()  # its spans are the roots of the shop's
    logging.getLogger("httpx").setLevel(logging.WARNING)
    items = ["tea", "coffee", "milk", "sugar", "broken"]
    with httpx.Client(base_url=base_url) as client:
        while True:
            try:
                client.post(f"/orders/{random.choice(items)}")
            except httpx.TransportError as error:
                LOG.warning("the shop does not answer: %s", error)
            time.sleep(random.uniform(0.05, 0.5))


if __name__ == "__main__":
    generate_load(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
