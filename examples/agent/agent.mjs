// The same as agent.py, for Node.js: node agent.mjs HOME SERVER TOPIC

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { Sandbox } from 'luacell';

const read = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const tools = JSON.parse(read('tools.json'));
const prompt = read('prompt.txt').replace('TOOLS', () => tools.map(({ description }) => `- ${description}`).join('\n'));
const [home, server, topic] = process.argv.slice(2);
if (topic === undefined) {
  console.error('node agent.mjs HOME SERVER TOPIC');
  process.exit(2);
}

/** What a script may catch. Any other error ends the program, and the run waits for its next start. */
class ToolError extends Error {}

/** Calls that no run waits for any more would keep the program alive. */
const end = new AbortController();

async function call(tool, key, args) {
  if (tool === 'task.sleep') return sleep(args[0] * 1000, undefined, { signal: end.signal });
  let body;
  try {
    body = JSON.stringify({ key, args });
  } catch (error) {
    throw new ToolError(error.message);
  }
  const response = await fetch(`${server}/${tool}`, { method: 'POST', body, signal: end.signal });
  const answer = await response.json();
  if (!response.ok) throw new ToolError(answer);
  return answer;
}

async function begin(lua) {
  if (lua.pendingRuns().some(({ name }) => name === topic)) return lua.resume(topic);
  const script = await call('write', `${topic}/script`, [prompt]);
  return lua.start(read('main.lua'), { args: [script, topic], name: '=main', durable: topic });
}

async function runReport(lua) {
  for (const { name } of tools) lua.declare(name);
  const run = await begin(lua);
  const calls = new Map();
  while (run.waiting) {
    const { requests } = run;
    for (const { id, name, args } of requests) {
      if (calls.has(id)) continue;
      const answered = (value) => () => run.answer(id, value);
      const failed = (error) => {
        if (!(error instanceof ToolError)) throw error;
        return () => run.fail(id, error);
      };
      calls.set(id, call(name, `${topic}/${id}`, args).then(answered, failed));
    }
    const answer = await Promise.race(requests.map(({ id }) => calls.get(id)));
    answer();
    run.resume();
  }
  end.abort();
  return run.result;
}

const lua = new Sandbox({ store: home, timeout: 5000, memoryLimit: '32MiB' });
if (!lua.home.get('reports')?.has(topic)) await runReport(lua);
console.log(JSON.stringify(lua.home.get('reports').get(topic), null, 2));
