// What the plugin's code expects of a browser; then the test itself, bundled (grafana.py).
import { JSDOM } from 'jsdom';

const page = new JSDOM('<!doctype html><html><body></body></html>', { url: 'http://localhost/', pretendToBeVisual: true }).window;
const define = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
for (const name of Object.getOwnPropertyNames(page)) {
  if (!(name in globalThis) && /^[A-Za-z]/.test(name)) {
    try {
      define(name, page[name]);
    } catch {
      // what Node keeps for itself
    }
  }
}
for (const name of ['window', 'self']) define(name, globalThis);
for (const name of ['document', 'location', 'navigator', 'localStorage', 'Event', 'CustomEvent']) define(name, page[name]);
for (const name of ['addEventListener', 'removeEventListener', 'dispatchEvent']) define(name, page[name].bind(page));
define('matchMedia', () => ({ matches: false, addListener() {}, addEventListener() {}, removeListener() {}, removeEventListener() {} }));
for (const name of ['ResizeObserver', 'IntersectionObserver'])
  define(name, class { observe() {} unobserve() {} disconnect() {} });
document.queryCommandSupported = () => false;
define('grafanaBootData', {
  settings: { featureToggles: {}, buildInfo: { version: '13.2.1', env: 'test' }, appSubUrl: '', datasources: {} },
  user: {},
  navTree: [],
});
await import(process.argv[2]);
