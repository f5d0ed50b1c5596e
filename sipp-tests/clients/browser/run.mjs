// One headless Chromium with the page's phones. Reads commands, one JSON array a line, `[name, argument]`, and answers
// each with a line `{"ok": …}` or `{"error": "…"}`. Ends with its standard input.
import http from 'node:http';
import readline from 'node:readline';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const [port] = process.argv.slice(2);
const bundled = await build({
  entryPoints: ['page.js'], bundle: true, format: 'iife', write: false, define: { global: 'window' }, logLevel: 'error',
});
const script = bundled.outputFiles[0].text;
const server = http.createServer((request, response) => {
  const js = request.url === '/page.js';
  response.setHeader('content-type', js ? 'text/javascript' : 'text/html');
  response.end(js ? script : '<!doctype html><meta charset=utf-8><script src=/page.js></script>');
});
await new Promise((ok) => server.listen(Number(port), '127.0.0.1', ok));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--mute-audio', '--ignore-certificate-errors',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--allow-loopback-in-peer-connection',
  ],
});
const pages = {};
async function page(host) {
  if (!pages[host]) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    pages[host] = await context.newPage();
    await pages[host].goto(`http://${host}:${port}/`);
    await pages[host].waitForFunction(() => !!window.phone);
  }
  return pages[host];
}
await page('127.0.0.1');
console.log(JSON.stringify({ ok: browser.version() }));
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    const [name, argument, host = '127.0.0.1'] = JSON.parse(line);
    const on = await page(host);
    const ok = await on.evaluate(([name, argument]) => window.phone[name](argument), [name, argument]);
    console.log(JSON.stringify({ ok: ok ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message ?? error).split('\n')[0] }));
  }
}
await browser.close();
server.close();
