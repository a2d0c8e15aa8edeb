// Runs that wait: without a thread, as values, and in stores.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';

import { LuaCellError, Run, Sandbox, Snapshot, StoredTable } from 'luacell';

const package_ = fileURLToPath(new URL('..', import.meta.url));
const kind = (kind) => (error) => error instanceof LuaCellError && error.kind === kind;

function temporary(t) {
  const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A sandbox with the declared function `ask`. */
const asking = (options) => new Sandbox(options).declare('ask');
/** Answers the only request with what `answer` makes of its arguments, and lets the run go on. */
function goOn(run, answer) {
  const [request, ...others] = run.requests;
  assert.equal(others.length, 0);
  run.answer(request.id, answer(...request.args));
  run.resume();
}
/** A store in memory. */
function memory(tables = new Map()) {
  const table = (id) => tables.get(id) ?? tables.set(id, new Map()).get(id);
  return {
    get: (id, key) => table(id).get(key),
    set: (id, key, value) => void table(id).set(key, value),
    delete: (id, key) => void table(id).delete(key),
    size: (id) => table(id).size,
    keys: (id) => [...table(id).keys()],
  };
}

test('a run that waits for a promise has no thread', { skip: process.platform !== 'linux' && 'counts threads in /proc' }, async () => {
  const all = Array.from({ length: 501 }, () => new Sandbox());
  let waiting = 0;
  let threads;
  let go;
  const last = new Promise((resolve) => (go = resolve));
  const wait = () => {
    if (++waiting === all.length) {
      threads = readdirSync('/proc/self/task').length;
      go(7);
    }
    return last;
  };
  // The last one is what the others wait for.
  for (const lua of all) lua.register('wait', wait);
  assert.deepEqual(await Promise.all(all.map((lua) => lua.computeAsync('return wait()'))), all.map(() => 7));
  assert.ok(threads < 100, `${threads} threads`);
  all.forEach((lua) => lua.close());
});

test('tasks wait for promises side by side', async () => {
  const lua = new Sandbox();
  const calls = [];
  lua.register('call', (n) => new Promise((resolve) => {
    calls.push(() => resolve(n * 2));
    if (calls.length === 3) calls.reverse().forEach((settle) => settle());
  }));
  const source = "local task = require 'task' local function f(n) return function() return call(n) end end return task.all(f(1), f(2), f(3))";
  assert.deepEqual(await lua.computeAsync(source), [2, 4, 6]);
  lua.register('never', () => new Promise(() => {}));
  assert.equal(await lua.computeAsync("return require('task').race(never, function() return 'first' end)"), 'first');
});

test('where Lua cannot be put aside a thread waits', async () => {
  const lua = new Sandbox();
  lua.register('later', async (x) => (await sleep(1), x));
  assert.deepEqual(await lua.computeAsync('local t = {3, 1, 2} table.sort(t, function(a, b) return later(a < b) end) return t'), [1, 2, 3]);
  const slept = "local slept = 0 table.sort({2, 1}, function(a, b) require('task').sleep(0.001) slept = slept + 1 return a < b end) return slept > 0";
  assert.equal(await lua.computeAsync(slept), true);
  const controller = new AbortController();
  lua.register('never', () => (controller.abort(), new Promise(() => {})));
  await assert.rejects(lua.computeAsync('table.sort({2, 1}, never)', { signal: controller.signal }), kind('Interrupted'));
  await assert.rejects(lua.computeAsync('table.sort({2, 1}, never)', { timeout: 10 }), kind('Timeout'));
});

test('the time for which a run only waits for a thread is not its own', async () => {
  // Each of the busy ones has one of these places for 50 ms before it makes room. There are so many that what the system
  // does beside them is little next to the timeout.
  const [busy, places] = [400, 4 * Math.max(availableParallelism(), 2)];
  const timeout = Math.ceil(((busy / places) * 50) / 3);
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  let [begun, open] = [0, null];
  const gate = new Promise((resolve) => (open = resolve));
  const all = new Promise((resolve) => {
    const innocent = Array.from({ length: 8 }, async () => {
      const lua = new Sandbox({ timeout });
      lua.register('later', () => {
        if (++begun === 8) resolve(innocent);
        return gate;
      });
      await lua.computeAsync('later() later()');
    });
  });
  const innocent = await all;
  const ended = Promise.allSettled(Array.from({ length: busy }, () => new Sandbox({ timeout: null }).computeAsync('while true do end', { signal: stop.signal })));
  try {
    const begin = performance.now();
    open();
    await Promise.all(innocent);
    assert.ok(performance.now() - begin > timeout, 'they have waited for their threads');
  } finally {
    stop.abort();
  }
  assert.ok((await ended).every(({ reason }) => reason.kind === 'Interrupted'));
});

test('a run waits for its answer', () => {
  const lua = asking();
  const run = lua.start("print('before') local a, b = ask('q', ...) print('after') return a .. b, {1}", { args: [7] });
  assert.ok(run instanceof Run && run.waiting);
  assert.equal(run.name, undefined);
  assert.deepEqual(run.requests, [{ id: 1, name: 'ask', args: ['q', 7] }]);
  assert.throws(() => run.result, kind('Busy'));
  assert.throws(() => run.answer(2, 'x'), kind('InvalidArgument'));
  for (const id of [-1, 1.5, NaN, '1', 2 ** 40]) assert.throws(() => run.answer(id, 'x'), kind('InvalidArgument'));
  assert.throws(() => run.answer(1, Symbol('x')), kind('Conversion'));
  run.answer(1, 'yes', '!');
  assert.throws(() => run.answer(1, 'again'), kind('InvalidArgument'));
  assert.deepEqual(run.requests, []);
  run.resume();
  assert.equal(run.waiting, false);
  assert.deepEqual(run.result, ['yes!', [1]]);
  assert.equal(run.outcome.output, 'before\nafter\n');
  assert.equal(run.outcome.metrics.hostCalls, 1);
  for (const use of [() => run.answer(1), () => run.fail(1, new Error()), () => run.resume()]) assert.throws(use, kind('InvalidArgument'));
  run.cancel();
  run.renew();
  assert.deepEqual(run.result, ['yes!', [1]]);
});

test('a run that need not wait is done at once, and has what it failed with as its result', () => {
  const lua = asking();
  assert.equal(lua.start('return 1').result, 1);
  assert.equal(lua.start('').result, undefined);
  const failed = lua.start('error({code = 7})');
  assert.equal(failed.waiting, false);
  for (let i = 0; i < 2; i++) assert.throws(() => failed.result, (error) => error.kind === 'Runtime' && error.value.code === 7);
  assert.throws(() => lua.start('return +').result, kind('Syntax'));
  lua.compute('function f(...) return ask(...) end t = {f = f}');
  const run = lua.startCall('t.f', { args: [1, 2] });
  goOn(run, (a, b) => a + b);
  assert.equal(run.result, 3);
  assert.throws(() => lua.compute('return f()'), (error) => error.kind === 'HostFunction' && /'ask' is answered by whoever starts the run/.test(error.message));
});

test('an answer that is an error', () => {
  const lua = asking();
  const cause = { odd: true };
  const failing = (source, error) => {
    const run = lua.start(source);
    run.fail(run.requests[0].id, error);
    // What is done in between does not make the run forget.
    lua.compute('return 1');
    run.resume();
    return run;
  };
  const run = failing('ask()', cause);
  assert.throws(() => run.result, (error) => error.kind === 'HostFunction' && error.cause === cause);
  assert.deepEqual(failing('return pcall(ask)', new Error('no luck')).result, [false, 'no luck']);
  assert.equal(failing('local _, e = pcall(ask) return e.code', LuaCellError.raise({ code: 7 })).result, 7);
});

test('what is used while it waits is part of the run', () => {
  const lua = asking();
  const run = lua.start('local n = 1 _home.t = {x = 1} g = 5 local r = ask(_home.t, function() n = n + 1 return n end) _home.done = true return r, n');
  const [{ args: [table, f] }] = run.requests;
  assert.ok(table instanceof StoredTable);
  assert.equal(table.get('x'), 1);
  assert.equal(f(), 2);
  assert.equal(lua.compute('g = g + 1 return g'), 6);
  assert.throws(() => lua.start('return 1'), kind('Busy'));
  run.answer(1, f);
  run.resume();
  assert.equal(run.result[0], f);
  assert.equal(run.result[1], 2);
  assert.equal(lua.home.get('done'), true);
  // One transaction.
  const failing = lua.start('_home.done = false ask() error("x")');
  goOn(failing, () => undefined);
  assert.throws(() => failing.result, kind('Runtime'));
  assert.equal(lua.home.get('done'), true);
});

test('runs on other threads wait as well', async () => {
  const lua = asking();
  lua.register('later', async (x) => (await sleep(1), x));
  const run = await lua.startAsync('_home.x = 1 local a = ask(later(...)) local b = ask(a) return a + b', { args: [5] });
  for (let n = 0; run.waiting; n++) {
    // Whoever has the run uses the sandbox, wherever the run was.
    assert.equal(lua.home.get('x'), 1);
    assert.equal(lua.compute('return 7'), 7);
    await assert.rejects(lua.computeAsync('return 1'), kind('Busy'));
    await assert.rejects(lua.startAsync('return 1'), kind('Busy'));
    const [{ id, args: [x] }] = run.requests;
    run.answer(id, x + 1);
    const resumed = run.resumeAsync();
    for (const use of [() => run.requests, () => run.resume(), () => run.answer(id), () => run.cancel(), () => lua.compute('return 1')]) assert.throws(use, kind('Busy'));
    await assert.rejects(run.resumeAsync(), kind('Busy'));
    await resumed;
  }
  assert.equal(run.result, 13);
  assert.equal(await lua.computeAsync('return _home.x'), 1);
  lua.compute('function f(...) return ask(...) end');
  const called = await lua.startCallAsync('f', { args: [1] });
  called.answer(1, 2);
  await called.resumeAsync();
  assert.equal(called.result, 2);
  assert.throws(() => called.fail(1, 'x'), kind('InvalidArgument'));
  await assert.rejects(called.resumeAsync(), kind('InvalidArgument'));
  await assert.rejects(lua.startAsync(5), kind('InvalidArgument'));
  await assert.rejects(lua.startAsync('', { durable: 5 }), kind('InvalidArgument'));
  assert.throws(() => lua.start('', { signal: new AbortController().signal }), kind('InvalidArgument'));
  assert.throws(() => lua.computeWith('', { durable: 'x' }), kind('InvalidArgument'));
});

test('a signal holds no run that nobody else has', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const lua = asking();
  const controller = new AbortController();
  await lua.startAsync('_home.x = 1 ask()', { signal: controller.signal });
  for (let i = 0; i < 100 && lua.home.has('x'); i++) {
    gc();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(lua.home.has('x'), false);
  const run = await lua.startAsync('ask()', { signal: controller.signal });
  controller.abort();
  run.resume();
  assert.throws(() => run.result, kind('Interrupted'));
});

test('runs that are interrupted, cancelled, given up, or closed with their sandbox', async () => {
  const lua = asking();
  const reason = new Error('enough');
  for (const resume of [(run) => run.resume(), (run) => run.resumeAsync()]) {
    const controller = new AbortController();
    const run = await lua.startAsync('_home.x = 1 pcall(ask) while true do end', { signal: controller.signal });
    controller.abort(reason);
    await resume(run);
    assert.throws(() => run.result, (error) => error.kind === 'Interrupted' && error.cause === reason);
    assert.equal(lua.home.size, 0);
  }
  await assert.rejects(lua.startAsync('', { signal: AbortSignal.abort(reason) }), (error) => error.kind === 'Interrupted' && error.cause === reason);
  const running = new AbortController();
  lua.register('abort', () => running.abort(reason));
  const aborted = await lua.startAsync('abort() while true do end', { signal: running.signal });
  assert.throws(() => aborted.result, (error) => error.kind === 'Interrupted' && error.cause === reason);

  const interrupted = lua.start('ask() return 1');
  lua.interrupt();
  interrupted.answer(1);
  interrupted.resume();
  assert.throws(() => interrupted.result, kind('Interrupted'));

  const cancelled = lua.start('_home.x = 1 ask()');
  cancelled.cancel();
  assert.equal(cancelled.waiting, false);
  assert.throws(() => cancelled.result, kind('Closed'));
  assert.deepEqual(cancelled.requests, []);
  assert.equal(lua.home.size, 0);
  lua.start('_home.x = 1 ask()')[Symbol.dispose]();
  assert.equal(lua.compute('return _home.x'), null);

  const limited = lua.start('ask() while true do end', { instructionLimit: 1e6 });
  goOn(limited, () => undefined);
  assert.throws(() => limited.result, kind('InstructionLimit'));

  const open = lua.start('ask()');
  lua.close();
  assert.equal(open.waiting, false);
  assert.deepEqual(open.requests, []);
  for (const use of [() => open.result, () => open.answer(1), () => open.resume()]) assert.throws(use, kind('Closed'));
  open.cancel();
  assert.throws(() => lua.start(''), kind('Closed'));
  assert.throws(() => lua.waitingRun(), kind('Closed'));
  assert.throws(() => lua.pendingRuns(), kind('Closed'));
});

test('what onPrint throws is the result of the run', async () => {
  const cause = new Error('full');
  const lua = asking({ onPrint: (text) => { if (text === 'bad\n') throw cause; } });
  const failed = (error) => error.kind === 'HostFunction' && error.cause === cause;
  const run = lua.start("print('good') ask() print('bad') while true do end");
  goOn(run, () => undefined);
  assert.throws(() => run.result, failed);
  const later = await lua.startAsync("print('bad') while true do end");
  assert.throws(() => later.result, failed);
  assert.equal(lua.compute("print('good') return 1"), 1);
});

test('declared functions, and others of the same name', () => {
  const lua = asking().declare('web.fetch');
  lua.compute('kept = ask');
  lua.register('ask', () => 'registered');
  assert.deepEqual(lua.compute('return ask(), kept()'), ['registered', 'registered']);
  lua.declare('ask');
  const run = lua.start('return kept(), web.fetch()');
  goOn(run, () => 'declared');
  goOn(run, () => 'fetched');
  assert.deepEqual(run.result, ['declared', 'fetched']);
  assert.equal(lua.unregister('ask'), true);
  assert.equal(lua.unregister('ask'), false);
  assert.throws(() => lua.start('ask()').result, kind('Runtime'));
  for (const name of ['', 'a b', 5]) assert.throws(() => lua.declare(name), kind('InvalidArgument'));
});

test('a run that waits is part of a snapshot', () => {
  const lua = asking();
  const run = lua.start("local mine = {n = 1} local a = ask('first') mine.n = mine.n + a return mine.n, ask('second')");
  const bytes = lua.snapshot().toBytes();
  const fork = lua.fork();
  const elsewhere = asking();
  elsewhere.restore(Snapshot.fromBytes(bytes));
  for (const sandbox of [lua, fork, elsewhere]) {
    const same = sandbox === lua ? run : sandbox.waitingRun();
    assert.equal(sandbox.waitingRun(), undefined);
    assert.deepEqual(same.requests, [{ id: 1, name: 'ask', args: ['first'] }]);
    goOn(same, () => 2);
    assert.deepEqual(same.requests, [{ id: 2, name: 'ask', args: ['second'] }]);
    goOn(same, () => 'x');
    assert.deepEqual(same.result, [3, 'x']);
    assert.equal(sandbox.compute('return 1'), 1);
  }
  assert.equal(new Sandbox().waitingRun(), undefined);
});

test('who is called by a run does not use the run', async () => {
  const lua = asking();
  let run;
  const seen = [];
  lua.register('inside', () => {
    for (const use of [() => run.resume(), () => run.requests, () => run.answer(1), () => run.cancel(), () => run.renew()]) {
      try {
        seen.push(use() ?? 'done');
      } catch (error) {
        seen.push(error.kind);
      }
    }
  });
  const five = Array.from({ length: 5 }, () => 'Busy');
  run = lua.start('ask() inside() return 1');
  goOn(run, () => undefined);
  assert.deepEqual(seen.splice(0), five);
  assert.equal(run.result, 1);
  run = await lua.startAsync('ask() inside() return 2');
  run.answer(1);
  await run.resumeAsync();
  assert.deepEqual(seen, five);
  assert.equal(run.result, 2);
});

test('a worker that is terminated while runs wait takes nothing with it', async () => {
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(
      `const { Sandbox } = require(${JSON.stringify(join(package_, 'dist/lib/index.js'))});
      const { parentPort } = require('node:worker_threads');
      const tables = new Map();
      const table = (id) => tables.get(id) ?? tables.set(id, new Map()).get(id);
      const store = { get: (id, key) => table(id).get(key), set: (id, key, value) => void table(id).set(key, value), delete: (id, key) => void table(id).delete(key), size: (id) => table(id).size, keys: (id) => [...table(id).keys()] };
      const runs = [new Sandbox().declare('ask').start('ask()'), new Sandbox({ store }).declare('ask').start('ask()', { durable: 'x' })];
      const lua = new Sandbox();
      lua.register('never', () => new Promise(() => {}));
      for (const source of ['never()', 'table.sort({2, 1}, never)']) new Sandbox().register('never', () => new Promise(() => {})).computeAsync(source, { timeout: 2000 }).catch(() => {});
      new Sandbox().declare('ask').startAsync('ask()').then((run) => (runs.push(run), parentPort.postMessage('started')));
      setInterval(() => runs, 1000);`,
      { eval: true },
    );
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
  }
  assert.equal(new Sandbox().compute('return 1'), 1);
});

test('a run that nobody has any more is given up', () => {
  const source = `import { Sandbox } from 'luacell';
    const lua = new Sandbox().declare('ask');
    (() => lua.start('_home.x = 1 ask()'))();
    const isFree = () => { try { lua.start('').result; return true; } catch { return false; } };
    const turn = () => new Promise(setImmediate);
    let turns = 0;
    while (!isFree() && turns++ < 1000) { await turn(); gc(); await turn(); }
    console.log(turns < 1000, lua.home.size);`;
  const printed = execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', source], { cwd: package_, encoding: 'utf8' });
  assert.equal(printed.trim(), 'true 0');
});

test('a durable run survives its process', async (t) => {
  const store = join(temporary(t), 'orders.luacell');
  const source = `import { Sandbox } from 'luacell';
    const lua = new Sandbox({ store: ${JSON.stringify(store)} }).declare('ask');
    const run = lua.start("_home.began = true local paid = ask('payment') _home.paid = (_home.paid or 0) + paid local sent = ask('parcel') return _home.paid, sent", { durable: 'order 17' });
    run.answer(1, 30);
    run.resume();
    console.log('waits');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { cwd: package_, stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));

  const lua = asking({ store });
  assert.deepEqual(lua.home.toJSON(), { began: true, paid: 30 });
  assert.deepEqual(lua.pendingRuns().map(({ name }) => name), ['order 17']);
  assert.throws(() => lua.resume('order 18'), kind('InvalidArgument'));
  const view = lua.home;
  const run = lua.resume('order 17');
  assert.equal(run.name, 'order 17');
  assert.deepEqual(run.requests, [{ id: 2, name: 'ask', args: ['parcel'] }]);
  goOn(run, () => 'sent');
  assert.deepEqual(run.result, [30, 'sent']);
  assert.deepEqual(lua.pendingRuns(), []);
  assert.equal(view.get('paid'), 30);
});

test('durable runs, claimed and given up', (t) => {
  const store = join(temporary(t), 'runs.luacell');
  const lua = asking({ store, claimTerm: 60_000 });
  const run = lua.start('_home.n = (_home.n or 0) + ask()', { durable: 'n' });
  const [{ name, claimed }] = lua.pendingRuns();
  assert.equal(name, 'n');
  assert.ok(claimed > 30_000 && claimed <= 60_000, `${claimed}`);
  run.renew();
  const other = asking({ store });
  assert.throws(() => other.resume('n'), kind('Busy'));
  assert.throws(() => other.dropPendingRun('n'), kind('Busy'));
  // Whoever gives it up leaves it to others.
  run[Symbol.dispose]();
  assert.deepEqual(other.pendingRuns(), [{ name: 'n', claimed: undefined }]);
  other.compute('_home.t = {}');
  const view = other.home.get('t');
  const resumed = other.resume('n');
  assert.throws(() => view.get('x'), kind('Closed'));
  goOn(resumed, () => 5);
  assert.equal(resumed.result, undefined);
  assert.equal(other.home.get('n'), 5);

  lua.start('ask()', { durable: 'a' })[Symbol.dispose]();
  lua.start('ask()', { durable: 'b' }).cancel();
  assert.deepEqual(lua.pendingRuns(), [{ name: 'a', claimed: undefined }]);
  assert.equal(lua.dropPendingRun('a'), true);
  assert.equal(lua.dropPendingRun('a'), false);
  for (const claimTerm of [0, -1, NaN, Infinity, '5']) assert.throws(() => new Sandbox({ claimTerm }), kind('InvalidArgument'));
  assert.throws(() => lua.start('ask()', { durable: '' }).result, kind('InvalidArgument'));
  for (const use of [() => lua.resume(5), () => lua.dropPendingRun()]) assert.throws(use, kind('InvalidArgument'));
});

test('durable runs in a store of JavaScript', async () => {
  const store = memory();
  const source = "_home.log = {'begun'} _home.log[2] = ask('a') _home.log[3] = ask('b') return #_home.log";
  const run = await asking({ store }).startAsync(source, { durable: 'r' });
  run.answer(1, 'A');
  await run.resumeAsync();
  run[Symbol.dispose]();
  const lua = asking({ store });
  assert.deepEqual(lua.pendingRuns(), [{ name: 'r', claimed: undefined }]);
  const again = lua.resume('r');
  goOn(again, (x) => x.toUpperCase());
  assert.equal(again.result, 3);
  assert.deepEqual(lua.home.toJSON(), { log: ['begun', 'A', 'B'] });
  assert.deepEqual(lua.pendingRuns(), []);
});

/** Fails with `Conflict` unless it is repeated: somebody else writes while the host function is under way. */
function overtaken(t, options) {
  const path = join(temporary(t), 'state.luacell');
  const other = new Sandbox({ store: path });
  const lua = new Sandbox({ store: path });
  let calls = 0;
  const price = async () => {
    await sleep(1);
    if (++calls % 2 === 1) other.compute('_home.n = 10');
    return 1;
  };
  lua.register('price', price, options);
  return { lua, other, price, source: '_home.n = (_home.n or 0) + price() return _home.n', calls: () => calls };
}

test('a run that called a repeatable async function is repeated after a conflict', async (t) => {
  const { lua, price, source, calls } = overtaken(t, { repeatable: true });
  assert.equal(await lua.computeAsync(source), 11);
  assert.equal(calls(), 2);
  // The latest registration counts, and a fork keeps it.
  lua.register('price', price);
  await assert.rejects(lua.computeAsync(source), (error) => kind('Conflict')(error) && error.message.includes('price'));
  assert.equal(calls(), 3);
  for (const options of [{ repeatable: 1 }, { repeat: true }, null]) assert.throws(() => lua.register('price', price, options), kind('InvalidArgument'));
});

test('only what is repeatable is repeated', async (t) => {
  const { lua, source, calls } = overtaken(t);
  await assert.rejects(lua.computeAsync(source), kind('Conflict'));
  assert.equal(calls(), 1);
  lua.unregister('price');
});

test('runs on one store take turns instead of colliding', async (t) => {
  const store = join(temporary(t), 'state.luacell');
  const sandbox = () => new Sandbox({ store, queueRuns: true, conflictRetries: 0 });
  const all = Array.from({ length: 10 }, sandbox);
  let underWay = 0;
  const price = async () => {
    assert.equal(++underWay, 1, 'one at a time');
    await sleep(2);
    underWay--;
    return 1;
  };
  for (const lua of all) lua.register('price', price);
  await Promise.all(all.map((lua) => lua.computeAsync('_home.n = (_home.n or 0) + price()')));
  assert.equal(all[0].home.get('n'), 10);
  assert.throws(() => new Sandbox({ queueRuns: 'yes' }), kind('InvalidArgument'));
});

test('a run that would wait for its turn in vain gets Busy', async (t) => {
  const store = join(temporary(t), 'state.luacell');
  const [lua, other] = Array.from({ length: 2 }, () => new Sandbox({ store, queueRuns: true }).declare('ask'));
  let answer;
  const called = new Promise((resolve) => {
    lua.register('wait', () => {
      resolve();
      return new Promise((resolve) => (answer = resolve));
    });
  });
  const running = lua.computeAsync('return wait()');
  await called;
  // This thread can't answer while it waits.
  for (const run of [() => other.compute('return 1'), () => other.start('return 1').result]) assert.throws(run, kind('Busy'));
  answer(5);
  assert.equal(await running, 5);
  assert.equal(other.compute('return 1'), 1);

  const run = await lua.startAsync('ask() return 2 + ask()');
  assert.throws(() => other.compute('return 1'), kind('Busy'));
  run.answer(1);
  await run.resumeAsync();
  assert.throws(() => other.compute('return 1'), kind('Busy'));
  const waiting = other.computeAsync('return 1');
  run.answer(2, 3);
  await run.resumeAsync();
  assert.equal(run.result, 5);
  assert.equal(await waiting, 1);
});
