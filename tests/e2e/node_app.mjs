// A Node program with the OpenTelemetry JavaScript SDK over OTLP/HTTP JSON: one traced job with a log line, a counter and a
// histogram. Prints the trace id. argv[2] is the server's URL.
import { createRequire } from "node:module";

// The clients live in the build folder, not beside this file.
const require = createRequire(process.env.E2E_DIR + "/package.json");
const { trace, context, SpanStatusCode } = require("@opentelemetry/api");
const { SeverityNumber } = require("@opentelemetry/api-logs");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { NodeTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-node");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-http");
const { MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { OTLPMetricExporter } = require("@opentelemetry/exporter-metrics-otlp-http");
const { LoggerProvider, BatchLogRecordProcessor } = require("@opentelemetry/sdk-logs");
const { OTLPLogExporter } = require("@opentelemetry/exporter-logs-otlp-http");

const url = process.argv[2];
const resource = resourceFromAttributes({ "service.name": "node-worker", "service.instance.id": "one", "host.name": "lab" });
const tracers = new NodeTracerProvider({
  resource,
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url: `${url}/v1/traces` }))],
});
tracers.register();
const meters = new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter({ url: `${url}/v1/metrics` }), exportIntervalMillis: 60000 })],
});
const loggers = new LoggerProvider({ resource });
loggers.addLogRecordProcessor(new BatchLogRecordProcessor(new OTLPLogExporter({ url: `${url}/v1/logs` })));

const meter = meters.getMeter("jobs");
const jobs = meter.createCounter("jobs.done", { unit: "1", description: "Jobs done" });
const sizes = meter.createHistogram("job.size", { unit: "By" });
const queue = meter.createUpDownCounter("queue.length");

const span = trace.getTracer("jobs", "2.0").startSpan("run job", {
  attributes: { "job.id": 42, "job.ratio": 0.5, "job.urgent": true, "job.tags": ["a", "b"] },
});
context.with(trace.setSpan(context.active(), span), () => {
  span.addEvent("picked up", { queue: "high" });
  const child = trace.getTracer("jobs").startSpan("write file");
  child.setStatus({ code: SpanStatusCode.ERROR, message: "disk slow" });
  child.end();
  loggers.getLogger("jobs").emit({
    severityNumber: SeverityNumber.WARN, severityText: "WARN", body: "job 42 took long", attributes: { "job.id": 42 },
    context: context.active(),
  });
});
for (let i = 0; i < 7; i++) jobs.add(1, { kind: "nightly" });
sizes.record(300, { kind: "nightly" });
queue.add(3);
queue.add(-1);
span.end();

await tracers.forceFlush();
await meters.forceFlush();
await loggers.forceFlush();
console.log(span.spanContext().traceId);
await tracers.shutdown();
await meters.shutdown();
await loggers.shutdown();
