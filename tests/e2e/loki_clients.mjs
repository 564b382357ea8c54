// node loki_clients.mjs URL: a line from each of winston-loki (batched and not) and pino-loki, with labels and metadata.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.E2E_DIR ?? process.cwd(), 'package.json'));
const winston = require('winston');
const LokiTransport = require('winston-loki');
const pino = require('pino');
const pinoLoki = require('pino-loki').pinoLoki ?? require('pino-loki').default;
const host = process.argv[2];

async function withWinston(batching) {
  const transport = new LokiTransport({
    host, batching, json: true, interval: 1, labels: { job: 'winston', batched: String(batching) }, format: winston.format.json(),
    useWinstonMetaAsLabels: false, onConnectionError: (error) => { console.error(error); process.exit(1); },
  });
  const logger = winston.createLogger({ transports: [transport] });
  logger.info({ message: 'started "now" é', labels: { module: 'boot' }, port: 80 });
  logger.error('no connection', { attempt: 3 });
  await transport.flush();
  logger.close();
}

async function withPino() {
  const stream = pinoLoki({ host, batching: { interval: 1 }, labels: { job: 'pino' }, propsToLabels: ['module'],
    structuredMetaKey: 'meta' });
  const logger = pino({ level: 'debug' }, stream);
  logger.info({ module: 'boot', meta: { trace_id: 'abc1' } }, 'hello from pino');
  logger.warn({ module: 'boot', code: 7 }, 'slow');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  stream.end();
}

await withWinston(true);
await withWinston(false);
await withPino();
await new Promise((resolve) => setTimeout(resolve, 500));
process.exit(0);
