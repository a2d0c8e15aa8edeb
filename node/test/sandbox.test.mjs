// What only the native package has: threads, stores, engines, the garbage collector.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

import { Engine, LuaCellError, LuaFloat, Sandbox, Snapshot, StoredTable, multiple } from 'luacell';

const package_ = fileURLToPath(new URL('..', import.meta.url));
const forever = 'while true do end';
const kind = (kind) => (error) => error instanceof LuaCellError && error.kind === kind;

function temporary(t) {
  const folder = mkdtempSync(join(tmpdir(), 'luacell-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Runs a script in a Node.js of its own; what it printed. */
const run = (source, ...flags) =>
  execFileSync(process.execPath, [...flags, '--input-type=module', '-e', source], { cwd: package_, encoding: 'utf8' }).trim();

test('CommonJS and ES modules give the same classes', () => {
  const luacell = createRequire(import.meta.url)('luacell');
  assert.equal(luacell.Sandbox, Sandbox);
  assert.equal(new luacell.Sandbox().compute('return 1 + 1'), 2);
  assert.deepEqual(Object.keys(luacell).sort(), ['Engine', 'ErrorKinds', 'LuaCellError', 'LuaFloat', 'Run', 'Sandbox', 'Snapshot', 'StoredTable', 'expose', 'multiple', 'wrap']);
});

test('computeAsync does not hold up the event loop', async () => {
  const lua = new Sandbox();
  let turns = 0;
  let running = true;
  const counting = (async () => {
    while (running) {
      await turn();
      turns++;
    }
  })();
  await assert.rejects(lua.computeAsync(forever, { timeout: 200 }), kind('Timeout'));
  running = false;
  await counting;
  assert.ok(turns > 20, `${turns} turns`);
});

test('an AbortSignal ends a script within 50 ms', async () => {
  const times = [];
  const lua = new Sandbox();
  for (let i = 0; i < 9; i++) {
    const controller = new AbortController();
    const ended = lua.computeAsync(i % 2 ? forever : 'pcall(function() while true do end end) while true do end', { signal: controller.signal });
    await sleep(i);
    const start = performance.now();
    controller.abort(new Error('enough'));
    await assert.rejects(ended, (error) => error.kind === 'Interrupted' && error.cause.message === 'enough');
    times.push(performance.now() - start);
  }
  // The machine may be busy at one time or another: what counts is that nothing of ours takes that long.
  assert.ok(times.sort((a, b) => a - b)[4] < 50, `${times}`);
  assert.equal(lua.compute('return 1'), 1);
});

test('a signal that aborts at the very beginning is not lost', async () => {
  for (let i = 0; i < 50; i++) {
    const lua = new Sandbox();
    const controller = new AbortController();
    const ended = lua.computeAsync(forever, { signal: controller.signal });
    controller.abort();
    await assert.rejects(ended, kind('Interrupted'));
    lua.close();
  }
});

test('AbortSignal.timeout, and signals that outlive runs', async () => {
  const lua = new Sandbox();
  await assert.rejects(lua.computeAsync(forever, { signal: AbortSignal.timeout(5) }), (error) => error.cause.name === 'TimeoutError');
  const { signal } = new AbortController();
  for (let i = 0; i < 30; i++) assert.equal(await lua.computeAsync('return 1', { signal }), 1);
});

test('many sandboxes at a time, each waits for a host function', async () => {
  const all = Array.from({ length: 100 }, async (_, i) => {
    const lua = new Sandbox();
    lua.register('later', async (n) => (await sleep(20), n * 2));
    return lua.computeAsync('return later(...) + 1', { args: [i] });
  });
  assert.deepEqual(await Promise.all(all), Array.from({ length: 100 }, (_, i) => i * 2 + 1));
});

test('async after sync, sync after async', async () => {
  const lua = new Sandbox();
  lua.register('add', (a, b) => a + b);
  lua.register('later', async (a) => a);
  for (let i = 0; i < 20; i++) {
    assert.equal(await lua.computeAsync('x = (x or 0) + 1 return add(x, later(1))'), i * 2 + 2);
    assert.equal(lua.compute('x = x + 1 return add(x, 0)'), i * 2 + 2);
  }
});

test('what happens while another thread runs', async () => {
  const lua = new Sandbox();
  const view = (lua.home.set('t', { a: 1 }), lua.home.get('t'));
  const ended = lua.computeAsync(forever, { timeout: 100 });
  assert.throws(() => lua.compute('return 1'), kind('Busy'));
  assert.throws(() => view.get('a'), kind('Busy'));
  assert.throws(() => lua.gc(), kind('Busy'));
  await assert.rejects(ended, kind('Timeout'));
  assert.equal(view.get('a'), 1);
  const begun = new Promise((resolve) => lua.register('begun', () => void resolve()));
  const closed = lua.computeAsync(`begun() ${forever}`);
  await begun;
  lua.close();
  await assert.rejects(closed, kind('Interrupted'));
});

test('a run that was aborted makes nobody busy', async () => {
  const lua = new Sandbox({ timeout: null });
  lua.register('begun', () => {});
  for (let i = 0; i < 1000; i++) {
    const controller = new AbortController();
    const ended = lua.computeAsync(i % 2 ? forever : `begun() ${forever}`, { signal: controller.signal });
    const rejected = assert.rejects(ended, kind('Interrupted'));
    // At any point between its beginning and its first host function.
    for (let turns = i % 7; turns > 0; turns--) await new Promise(setImmediate);
    controller.abort();
    if (i % 3 === 0) await rejected;
    // At once: an asynchronous run waits for the end of the other, after which any other may begin as well.
    if (i % 3 !== 0) assert.equal(await lua.computeAsync('return 1'), 1, `round ${i}`);
    assert.equal(lua.compute('return 2'), 2, `round ${i}`);
    await rejected;
  }
});

test('a run that is under way is no other run', async () => {
  const lua = new Sandbox();
  const first = new AbortController();
  assert.equal(await lua.computeAsync('return 1', { signal: first.signal }), 1);
  const running = lua.computeAsync('local n = 0 for i = 1, 3e6 do n = n + 1 end return n', { signal: new AbortController().signal });
  first.abort();
  await assert.rejects(lua.computeAsync('return 1'), kind('Busy'));
  assert.equal(await running, 3e6);
});

test('closing waits for a run that uses a store of JavaScript', async () => {
  for (let i = 0; i < 30; i++) {
    const tables = new Map();
    const table = (id) => tables.get(id) ?? tables.set(id, new Map()).get(id);
    const store = {
      get: (id, key) => table(id).get(key),
      set: (id, key, value) => void table(id).set(key, value),
      delete: (id, key) => void table(id).delete(key),
      size: (id) => table(id).size,
      keys: (id) => table(id).keys(),
    };
    const lua = new Sandbox({ store, timeout: null });
    const rejected = assert.rejects(lua.computeAsync('while true do _home.n = (_home.n or 0) + 1 end'), kind('Interrupted'));
    for (let turns = i; turns > 0; turns--) await new Promise(setImmediate);
    await lua.closeAsync();
    assert.ok(lua.closed);
    assert.throws(() => lua.compute('return 1'), kind('Closed'));
    await rejected;
  }
});

test('what was closed says so', async () => {
  const lua = new Sandbox();
  lua.compute('_home.t = {1} function f() end');
  const { home } = lua;
  const [view, f, snapshot] = [home.get('t'), lua.compute('return f'), lua.snapshot()];
  lua.close();
  await lua.closeAsync();
  lua.interrupt();
  assert.ok(lua.closed);
  const uses = [
    () => lua.compute('return 1'), () => lua.computeWith('return 1'), () => lua.call('f'), () => lua.callWith('f'), () => lua.register('g', () => {}),
    () => lua.unregister('g'), () => lua.input, () => (lua.input = 1), () => lua.output, () => (lua.output = 1), () => lua.meta, () => (lua.meta = 1),
    () => lua.clearIo(), () => lua.memoryStats(), () => lua.tableCount, () => lua.gc(), () => lua.reset(), () => lua.snapshot(), () => lua.restore(snapshot),
    () => lua.fork(), () => home.get('x'), () => home.set('x', 1), () => home.size, () => home.delete('x'), () => [...home.keys()], () => view.get(1),
    () => view.toJSON(), () => view.size, () => view.copy(), () => f(), () => lua.home.get('x'),
  ];
  uses.forEach((use, n) => assert.throws(use, kind('Closed'), `use ${n}`));
  await assert.rejects(lua.computeAsync('return 1'), kind('Closed'));
  await assert.rejects(lua.callAsync('f'), kind('Closed'));
});

test('runs may wait for runs, however many', async () => {
  const all = Array.from({ length: 600 }, () => new Sandbox());
  all.forEach((lua, i) => lua.register('next', async () => (i + 1 < all.length ? all[i + 1].computeAsync('return next() + 1') : 1)));
  assert.equal(await all[0].computeAsync('return next() + 1'), 601);
  let met = 0;
  let meet;
  const meeting = new Promise((resolve) => (meet = resolve));
  for (const lua of all) lua.register('meet', () => (++met === all.length && meet(), meeting));
  await Promise.all(all.map((lua) => lua.computeAsync('meet()')));
  await Promise.all(all.map((lua) => lua.closeAsync()));
});

test('onPrint and modules of runs on another thread', async () => {
  const lines = [];
  const lua = new Sandbox({ onPrint: (text) => lines.push(text), modules: (name) => (name === 'm' ? { source: 'return {n = 7}', chunkName: '@m.lua' } : null) });
  assert.equal(await lua.computeAsync("for i = 1, 3 do print(i) end return require('m').n"), 7);
  assert.deepEqual(lines, ['1\n', '2\n', '3\n']);
  await assert.rejects(lua.computeAsync("require 'none'"), /module 'none' not found/);
});

test('modules in a folder', (t) => {
  const folder = temporary(t);
  writeFileSync(join(folder, 'm.lua'), 'return ...');
  assert.equal(new Sandbox({ modules: folder }).compute("return (require 'm')"), 'm');
});

test('an exception is the cause, the very same object, also from another thread', async () => {
  const lua = new Sandbox();
  const cause = { odd: true };
  lua.register('fail', () => {
    throw cause;
  });
  assert.throws(() => lua.compute('fail()'), (error) => error.cause === cause && error.kind === 'HostFunction');
  await assert.rejects(lua.computeAsync('fail()'), (error) => error.cause === cause);
  lua.register('outer', () => lua.compute('fail()'));
  assert.throws(() => lua.compute('outer()'), (error) => error.cause === cause);
  // Exceptions that scripts catch are not kept.
  assert.equal(lua.compute('for i = 1, 1000 do pcall(fail) end return 1'), 1);
});

test('a store of one\'s own: five methods', async () => {
  const tables = new Map();
  const table = (id) => tables.get(id) ?? new Map();
  const store = {
    get: (id, key) => table(id).get(key),
    set: (id, key, value) => void tables.set(id, table(id).set(key, value)),
    delete: (id, key) => void table(id).delete(key),
    size: (id) => table(id).size,
    keys: (id) => table(id).keys(),
  };
  new Sandbox({ store }).compute('_home.a = {b = {1, 2}} _home.text = "x"');
  const lua = new Sandbox({ store });
  assert.deepEqual(lua.home.copy(), { a: { b: [1, 2] }, text: 'x' });
  assert.equal(await lua.computeAsync('_home.n = #_home.a.b return _home.n'), 2);
  assert.throws(() => lua.compute('_home.z = 1 error()'));
  assert.deepEqual([...table(1).keys()].sort(), ['a', 'n', 'text']);
  let full = false;
  const cause = new Error('disk full');
  const broken = new Sandbox({
    store: {
      ...store,
      set(...args) {
        if (full) throw cause;
        store.set(...args);
      },
    },
  });
  full = true;
  assert.throws(() => broken.compute('_home.b = 1'), (error) => error.kind === 'Store' && error.cause === cause);
  await assert.rejects(broken.computeAsync('_home.b = 1'), (error) => error.kind === 'Store' && error.cause === cause);
  full = false;
  assert.equal(broken.compute('_home.b = 1 return _home.n'), 2);
  const conflict = new LuaCellError('Conflict', 'somebody else was first');
  let conflicts = 0;
  const shared = new Sandbox({
    conflictRetries: 3,
    store: {
      ...store,
      set(...args) {
        if (conflicts-- > 0) throw conflict;
        store.set(...args);
      },
    },
  });
  conflicts = Infinity;
  const isConflict = (error) => error.kind === 'Conflict' && error.cause === conflict;
  assert.throws(() => shared.compute('_home.b = 1'), isConflict);
  assert.throws(() => shared.home.set('b', 1), isConflict);
  await assert.rejects(shared.computeAsync('_home.b = 1'), isConflict);
  conflicts = 2;
  assert.equal(shared.compute('_home.retried = 1 return 7'), 7);
  // The one that was opened before knows nothing of that.
  assert.throws(() => broken.compute('_home.b = 2'), kind('Store'));
  assert.throws(() => new Sandbox({ store: { get() {} } }), kind('InvalidArgument'));
});

test('a store that answers with promises is refused, and nobody is bothered by their failure', async () => {
  const unheard = [];
  const listen = (error) => unheard.push(error);
  process.on('unhandledRejection', listen);
  const plain = { get: () => undefined, set() {}, delete() {}, size: () => 0, keys: () => [] };
  const use = { get: 'return _home.x', set: '_home.x = 1', delete: '_home.x = nil', size: 'return #_home', keys: 'for k in pairs(_home) do end' };
  for (const answer of [async () => {}, () => Promise.reject(new Error('unheard')), () => ({ then: (_, no) => no(new Error('unheard')) })]) {
    for (const [method, source] of Object.entries(use)) {
      const make = () => new Sandbox({ store: { ...plain, [method]: answer } });
      const says = (error) => error.kind === 'Store' && error.cause instanceof TypeError && /promise/.test(error.cause.message);
      assert.throws(() => make().compute(source), says, method);
      await assert.rejects(async () => make().computeAsync(source), says, method);
    }
  }
  await turn();
  process.off('unhandledRejection', listen);
  assert.deepEqual(unheard, []);
});

test('engines have options too', () => {
  for (const options of [5, null, { poolsize: 5 }, { poolSize: -1 }, { poolSize: 'x' }, { maxMemory: 'x' }, { maxStack: -1 }, { maxMemory: 2 ** 20 }, { maxMemory: '5GiB' }, { maxStack: 1000 }, { maxStack: '2MiB' }, { maxStack: Infinity }])
    assert.throws(() => new Engine(options), kind('InvalidArgument'));
});

test('a file store', (t) => {
  const store = join(temporary(t), 'state.luacell');
  const first = new Sandbox({ store });
  first.home.set('n', 1).set('t', { list: [1, 2.5, 'x'] });
  first.close();
  const second = new Sandbox({ store });
  assert.deepEqual(second.home.toJSON(), { n: 1, t: { list: [1, 2.5, 'x'] } });
  second.close();
  assert.throws(() => new Sandbox({ store: join(store, 'no', 'such') }), kind('Store'));
  assert.throws(() => new Sandbox({ store: 'ftp://nowhere' }), kind('Store'));
});

test('a store to take no functions from', (t) => {
  const store = join(temporary(t), 'state.luacell');
  const first = new Sandbox({ store });
  first.compute('_home.f, _home.x = function() return 7 end, 1');
  first.close();
  const lua = new Sandbox({ store, storedFunctions: false });
  assert.equal(lua.home.get('x'), 1);
  assert.throws(() => lua.compute('return _home.f()'), kind('Store'));
  assert.throws(() => lua.home.get('f'), kind('Store'));
  lua.close();
  assert.equal(new Sandbox({ store, storedFunctions: true }).compute('return _home.f()'), 7);
  assert.throws(() => new Sandbox({ store, storedFunctions: 'no' }), kind('InvalidArgument'));
});

test('engines', () => {
  const engine = new Engine({ poolSize: 2, maxMemory: '64MiB' });
  const all = Array.from({ length: 4 }, () => new Sandbox({ engine }));
  assert.deepEqual(all.map((lua) => lua.compute('return 1')), [1, 1, 1, 1]);
  assert.equal(new Engine({ poolSize: 0 }).isPooled, false);
  assert.throws(() => all[0].compute("return #('x'):rep(1e8)"), kind('Memory'));
  assert.throws(() => new Engine({ maxMemory: 'much' }), kind('InvalidArgument'));
});

test('reentrant values: getters and toLua may use sandboxes', () => {
  const lua = new Sandbox();
  const odd = { get a() { return lua.compute('return {1, 2}'); }, b: { toLua: () => new Sandbox().compute('return ...', { x: [7] }).x } };
  assert.deepEqual(lua.compute('local t = ... return #t.a, t.b[1]', odd), [2, 7]);
  assert.equal(lua.compute('return math.type(...)', new LuaFloat(3)), 'float');
});

test('views after a restore', () => {
  const lua = new Sandbox();
  lua.compute('_home.t = {n = 1}');
  const before = lua.home.get('t');
  const snapshot = Snapshot.fromBytes(lua.snapshot().toBytes());
  lua.compute('_home.t.n = 2');
  lua.restore(snapshot);
  assert.throws(() => before.get('n'), kind('Closed'));
  assert.throws(() => lua.compute('return ...', before), kind('Closed'));
  assert.equal(lua.home.get('t').get('n'), 1);
  assert.ok(lua.home.get('t') instanceof StoredTable);
});

test('several results of host functions', () => {
  const lua = new Sandbox();
  lua.register('three', () => multiple(1, null, [3]));
  lua.register('none', () => undefined);
  assert.deepEqual(lua.compute("local a, b, c = three() return a, b, c[1], select('#', none())"), [1, null, 3, 0]);
});

test('forgotten sandboxes, functions and views are collected', () => {
  const [sandboxes, functions, tables] = JSON.parse(
    run(
      `import { Sandbox } from 'luacell';
      const settle = async () => { for (let i = 0; i < 5; i++) { gc(); await new Promise((r) => setTimeout(r, 5)); } };
      let alive = 0;
      const registry = new FinalizationRegistry(() => alive--);
      for (let i = 0; i < 300; i++) {
        const lua = new Sandbox();
        lua.register('self', () => lua.home.size);
        lua.compute('_home.x = self()');
        registry.register(lua, 0);
        alive++;
        if (i % 50 === 0) await settle();
      }
      await settle();
      const lua = new Sandbox();
      lua.compute('x = 1');
      const before = lua.memoryStats().luaBytes;
      for (let i = 0; i < 20000; i++) {
        lua.compute('return function() end');
        if (i % 2000 === 0) await settle();
      }
      await settle();
      lua.gc();
      const grown = lua.memoryStats().luaBytes - before;
      for (let i = 0; i < 100; i++) { lua.compute('_home.t = {}'); lua.home.get('t'); }
      await settle();
      lua.gc();
      console.log(JSON.stringify([alive, grown, lua.tableCount]));`,
      '--expose-gc',
    ),
  );
  assert.ok(sandboxes < 30, `${sandboxes} of 300 sandboxes are alive`);
  assert.ok(functions < 1e6, `20,000 functions left ${functions} bytes`);
  assert.ok(tables < 10, `${tables} tables`);
});

test('forgotten sandboxes weigh what they take', () => {
  const most = JSON.parse(
    run(
      `import { Sandbox } from 'luacell';
      let most = 0;
      for (let i = 0; i < 3000; i++) {
        const lua = new Sandbox();
        lua.register('self', () => lua.home.size);
        if (i % 3 === 0) lua.compute("x = ('x'):rep(1e6)");
        else if (i % 3 === 1) await lua.computeAsync("x = ('x'):rep(1e6)");
        else lua.home.set('x', 'x'.repeat(1e6));
        most = Math.max(most, process.memoryUsage().rss);
        await new Promise(setImmediate);
      }
      console.log(JSON.stringify(most));`,
    ),
  );
  assert.ok(most < 768 * 2 ** 20, `${most >> 20} MiB`);
});

test('a million calls leak nothing', () => {
  const grown = JSON.parse(
    run(
      `import { Sandbox } from 'luacell';
      const lua = new Sandbox();
      lua.register('host', (n, t) => (t ? t.n + n : n));
      lua.compute("function f(n) return host(n) end function g(n) return {n = n, list = {n, 'text', 1.5}} end function h(t) return host(1, t) end");
      const round = (n) => { for (let i = 0; i < n; i++) { lua.call('f', i); lua.call('g', i); lua.call('h', { n: i }); lua.compute('return 1'); lua.home.set('k', i); } };
      round(20000);
      gc();
      const before = process.memoryUsage().rss;
      round(200000);
      gc();
      console.log(process.memoryUsage().rss - before);`,
      '--expose-gc',
    ),
  );
  assert.ok(grown < 16e6, `${grown} bytes more`);
});

test('a process ends when nothing is awaited, and not before', () => {
  assert.equal(run("import { Sandbox } from 'luacell'; new Sandbox().compute('return 1'); console.log('end')"), 'end');
  // Nothing is awaited of what could not begin.
  const refused = "await new Sandbox().computeAsync('', { args: [Symbol('x')] }).catch((error) => console.log(error.kind)); console.log(process.getActiveResourcesInfo().includes('Timeout'))";
  assert.equal(run(`import { Sandbox } from 'luacell'; ${refused}; setImmediate(() => process.exit())`), 'Conversion\nfalse');
  assert.equal(run("import { Sandbox } from 'luacell'; new Sandbox().computeAsync('local n = 0 for i = 1, 1e7 do n = n + 1 end return n').then(console.log)"), '10000000');
});

test('a worker that is terminated in the middle of a run takes nothing with it', async () => {
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(
      `const { Sandbox } = require(${JSON.stringify(join(package_, 'dist/lib/index.js'))});
      const { parentPort } = require('node:worker_threads');
      const lua = new Sandbox();
      lua.register('never', () => new Promise(() => {}));
      new Sandbox().computeAsync('while true do end', { timeout: 2000 }).catch(() => {});
      lua.computeAsync('never()', { timeout: 2000 }).catch(() => {});
      setTimeout(() => parentPort.postMessage('started'), 5);`,
      { eval: true },
    );
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
  }
  assert.equal(new Sandbox().compute('return 1'), 1);
});

test('create opens a store while the event loop goes on', async (t) => {
  // The server is on the event loop, so opening would wait for ever.
  const server = createServer((client) => client.once('data', () => client.end('-ERR go away\r\n')));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const store = `redis://127.0.0.1:${server.address().port}`;
  await assert.rejects(Sandbox.create({ store }), { kind: 'Store', message: /go away/ });
  server.close();

  const folder = temporary(t);
  const file = join(folder, 'state.luacell');
  const lua = await Sandbox.create({ store: file, timeout: 1000 });
  lua.register('three', () => 3);
  lua.compute('_home.n = three()');
  lua.close();
  const again = await Sandbox.create({ store: file });
  assert.equal(again.home.get('n'), 3);
  await assert.rejects(Sandbox.create({ store: folder }), { kind: 'Store' });
  await assert.rejects(Sandbox.create({ store: 3 }), { kind: 'InvalidArgument' });
  await assert.rejects(Sandbox.create({ store: `${store}?namespac=x` }), { kind: 'Store', message: /namespac/ });
  again.close();
});
