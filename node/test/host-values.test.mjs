// Functions and objects of JavaScript as values in Lua, as far as the addon is concerned. The rest is in wasm/test/suite, in host-values.js and objects.js.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { Sandbox, expose, wrap } from 'luacell';

const package_ = dirname(dirname(fileURLToPath(import.meta.url)));

test('a run that is stored has none', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const lua = new Sandbox({ store: join(folder, 'state.luacell') }).declare('ask');
  const run = lua.start('local f = ... ask() return f()', { args: [() => 5], durable: 'one' });
  assert.throws(() => run.result, { kind: 'Conversion', message: /functions of the host that have no name/ });
  assert.deepEqual(lua.pendingRuns(), []);
  lua.register('make', () => () => 5);
  const other = lua.start('local n = make()() ask() return n', { durable: 'two' });
  other.answer(1);
  other.resume();
  assert.equal(other.result, 5);
});

test('a run that called one is not repeated', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const store = join(folder, 'state.luacell');
  const lua = new Sandbox({ store });
  const other = new Sandbox({ store });
  let calls = 0;
  const meddle = () => {
    calls++;
    other.compute('_home.n = (_home.n or 0) + 1');
  };
  assert.throws(() => lua.compute('_home.n = (_home.n or 0) + 1 (...)() _home.n = _home.n + 1', meddle), { kind: 'Conflict' });
  assert.equal(calls, 1);
});

test('a store that answers with functions', () => {
  const store = { get: () => undefined, set() {}, delete() {}, size: () => 0, keys: () => [() => 1] };
  assert.throws(() => new Sandbox({ store }), { kind: 'Store', message: /a list of text/ });
});

test('metamethods are those of the core', () => {
  const core = readFileSync(new URL('../../core/src/api/class.rs', import.meta.url), 'utf8');
  const names = [...core.matchAll(/^    [A-Za-z]+ = "(__[a-z]+)",$/gm)].map(([, name]) => name);
  assert.ok(names.length > 20);
  wrap({}, { metamethods: Object.fromEntries(names.map((name) => [name, () => 1])) });
  assert.throws(() => wrap({}, { metamethods: { __gc: () => 1 } }), ({ kind, message }) => kind === 'InvalidArgument' && message.endsWith(names.at(-1)));
});

test('a run that called a method is not repeated', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const store = join(folder, 'state.luacell');
  const lua = new Sandbox({ store });
  const other = new Sandbox({ store });
  let calls = 0;
  const meddle = wrap({
    now() {
      calls++;
      other.compute('_home.n = (_home.n or 0) + 1');
    },
  });
  assert.throws(() => lua.compute('_home.n = (_home.n or 0) + 1 (...):now() _home.n = _home.n + 1', meddle), { kind: 'Conflict' });
  assert.equal(calls, 1);
});

test('objects are given to many runs at once, and freed on their threads', async () => {
  class Item {
    constructor(n) {
      this.n = n;
    }
    next() {
      return new Item(this.n + 1);
    }
    async later() {
      return new Item(this.n + 1);
    }
    get value() {
      return this.n;
    }
  }
  expose(Item);
  const source = 'local item = ... for i = 1, 300 do item = item:next():later() end return item.value, item';
  const runs = Array.from({ length: 8 }, (_, i) => new Sandbox().computeAsync(source, { args: [new Item(i)] }));
  for (const [i, [value, item]] of (await Promise.all(runs)).entries()) {
    assert.equal(value, 600 + i);
    assert.ok(item instanceof Item && item.n === value);
  }
});

test('a sandbox is closed while one is at work for it', async () => {
  const lua = new Sandbox();
  let begun;
  const called = new Promise((resolve) => (begun = resolve));
  let answer;
  const run = lua.computeAsync('local f = ... return f(function() end)', {
    args: [
      (f) => {
        begun(f);
        return new Promise((resolve) => (answer = resolve));
      },
    ],
  });
  const f = await called;
  const closed = lua.closeAsync();
  await assert.rejects(run, { kind: 'Interrupted' });
  await closed;
  // Nobody waits for what it gives.
  answer(() => f);
  assert.throws(() => f(), { kind: 'Closed' });
});

test('they do not keep a process or a worker', async () => {
  const source = `
    import { Sandbox } from 'luacell';
    const lua = new Sandbox();
    lua.compute('kept = ...', () => lua.compute('return 1'));
    await lua.computeAsync('kept = ... for i = 1, 1000 do kept(i) end', { args: [(i) => () => i] });
    console.log(lua.compute('return kept(1)()'));`;
  assert.equal(execFileSync(process.execPath, ['--input-type=module', '-e', source], { cwd: package_, encoding: 'utf8' }), '1\n');
  const text = `
    const { Sandbox } = require('luacell');
    const lua = new Sandbox();
    lua.compute('kept = ...', () => 1);
    lua.computeAsync('local f = ... while true do f(function() end) end', { args: [() => () => 1], timeout: 60000 }).catch(() => {});
    setTimeout(() => require('node:worker_threads').parentPort.postMessage('begun'), 5);`;
  for (let i = 0; i < 5; i++) {
    const worker = new Worker(text, { eval: true });
    await once(worker, 'message');
    await worker.terminate();
  }
});
