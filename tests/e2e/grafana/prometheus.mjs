// Grafana's Prometheus data source asks trivet what its editor, variables and ad-hoc filters ask; Grafana's backend only
// relays those requests, which is what `call` does. Prints one JSON object: what came of each.
import { PrometheusDatasource } from '@plugin/datasource.mjs';
import { setBackendSrv, setTemplateSrv } from '@grafana/runtime';
import { dateTime } from '@grafana/data';
import { Observable } from 'rxjs';

const base = process.env.TRIVET_URL;
const requests = [];

async function call(method, path, data) {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(data ?? {}))
    if (value !== undefined && value !== null) [value].flat().forEach((v) => form.append(name, String(v)));
  const answer = method === 'GET'
    ? await fetch(`${base}/${path}${form.size ? '?' + form : ''}`)
    : await fetch(`${base}/${path}`, { method, body: form });
  requests.push(`${method} ${path} ${answer.status}`);
  const text = await answer.text();
  if (!answer.ok) throw { status: answer.status, data: text };
  return JSON.parse(text);
}

class DataSource extends PrometheusDatasource {
  getResource(path, data) {
    return call('GET', path, data);
  }
  postResource(path, data) {
    return call('POST', path, data);
  }
}

const templates = {
  replace: (text) => text ?? '',
  containsTemplate: () => false,
  getVariables: () => [],
  getAdhocFilters: () => [],
  updateTimeRange() {},
};
setTemplateSrv(templates);
// The search API is a stream of lines.
setBackendSrv({
  chunked: ({ url, params }) => new Observable((out) => {
    const path = url.replace(/^.*\/resources\//, '');
    fetch(`${base}/${path}?${new URLSearchParams(params)}`).then(async (answer) => {
      requests.push(`GET ${path} ${answer.status}`);
      const head = { ok: answer.ok, status: answer.status, statusText: answer.statusText, headers: answer.headers };
      for await (const data of answer.body) out.next({ ...head, data });
      out.complete();
    }).catch((e) => out.error(e));
  }),
});

async function ask(httpMethod, enableSearchApi) {
  const ds = new DataSource({
    id: 1, uid: 'u', name: 'p', url: '/x', type: 'prometheus', access: 'proxy', meta: {},
    jsonData: { httpMethod, prometheusType: 'Prometheus', prometheusVersion: '3.5.0', enableSearchApi },
  }, templates);
  const now = Date.now();
  const range = { from: dateTime(now - 3600e3), to: dateTime(now), raw: { from: 'now-1h', to: 'now' } };
  const names = ds.languageProvider;
  const find = async (query) => (await ds.metricFindQuery(query, { range })).map((x) => x.text);
  await ds.loadRules();
  await names.start(range);
  return {
    exemplars: await ds.areExemplarsAvailable(),
    metrics: names.retrieveMetrics(),
    histograms: names.retrieveHistogramMetrics(),
    metadata: Object.entries(await names.queryMetricsMetadata(100)).map(([name, m]) => `${name} ${m.type} ${m.help}`),
    keys: await names.queryLabelKeys(range),
    keysOf: await names.queryLabelKeys(range, '{__name__="requests_total"}', 10),
    values: await names.queryLabelValues(range, 'code'),
    valuesOf: await names.queryLabelValues(range, 'code', '{__name__="requests_total",code!="200"}'),
    labelNames: await find('label_names()'),
    labelNamesOf: await find('label_names(requests_total)'),
    labelValues: await find('label_values(code)'),
    labelValuesOf: await find('label_values(requests_total{code=~"5.."}, code)'),
    names: await find('metrics(req.*)'),
    result: (await find('query_result(sum by (code) (requests_total))')).map((text) => text.replace(/ \d+$/, '')),
    series: await find('{job="shop",code="500"}'),
    filterKeys: (await ds.getTagKeys({ timeRange: range, filters: [], queries: [{ refId: 'A', expr: 'requests_total' }] })).map((x) => x.text),
    filterValues: (await ds.getTagValues({
      key: 'code', timeRange: range, filters: [{ key: 'job', operator: '=', value: 'shop' }], queries: [],
    })).map((x) => x.text),
  };
}

const out = { POST: await ask('POST', false), GET: await ask('GET', false), SEARCH: await ask('GET', true), requests };
process.stdout.write(JSON.stringify(out) + '\n', () => process.exit(0));
