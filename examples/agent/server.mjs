// Stands in for the services behind the tools, and for the language model. It prints what it is asked.
//
//     node server.mjs [PORT] [MILLISECONDS]    how long each call takes; prints its address first
//
// POST /TOOL with {"key": ..., "args": [...]}. The key tells whether a call comes again.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const [port = 0, latency = 1000] = process.argv.slice(2).map(Number);
const script = readFileSync(new URL('report.lua', import.meta.url), 'utf8');

const tools = {
  search: (words, count) =>
    Array.from({ length: count }, (_, i) => ({ title: `${words}, part ${i + 1}`, url: `https://example.org/${i + 1}` })),
  fetch(url) {
    if (url.endsWith('/4')) throw new Error(`${url}: not found`);
    return { title: url, text: `all about ${url.slice(-1)}` };
  },
  ask: (question) => `${question.length} characters were read`,
  write: () => script,
};

const seen = new Set();

async function answer(request, response) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const { key, args } = JSON.parse(Buffer.concat(parts).toString());
  const tool = request.url.slice(1);
  console.log(`${seen.has(key) ? 'again' : 'call'} ${key}: ${tool} ${JSON.stringify(args).slice(0, 60)}`);
  seen.add(key);
  await sleep(latency);
  response.on('finish', () => console.log(`answer ${key}`));
  try {
    const value = tools[tool](...args);
    response.end(JSON.stringify(value));
  } catch (error) {
    response.writeHead(422).end(JSON.stringify(error.message));
  }
}

// A caller that was killed is no reason to end.
const server = createServer((request, response) => answer(request, response).catch(() => response.destroy()));
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
