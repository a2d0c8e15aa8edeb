// Functions of JavaScript as values in Lua.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine, Sandbox } from '../dist/esm/wasm/src/esm.js';

await Engine.load();

const applies = 'function apply(f, ...) return f(...) end  function same(...) return ... end';

function sandbox() {
  const lua = new Sandbox();
  lua.compute(applies);
  return lua;
}

test('a function is a value wherever values are', () => {
  const lua = sandbox();
  const double = (x) => 2 * x;
  assert.equal(lua.call('apply', double, 21), 42);
  assert.deepEqual(lua.call('same', { double, list: [double] }), { double, list: [double] });
  lua.register('get', () => ({ double, again: double }));
  assert.deepEqual(lua.compute('local t = get() return t.double(4), t.double == t.again, type(t.double)'), [8, true, 'function']);
});

test('it comes back as itself', () => {
  const lua = sandbox();
  const one = () => 1;
  assert.equal(lua.call('same', one), one);
  const handlers = new Set();
  lua.register('on', (f) => void handlers.add(f));
  lua.register('off', (f) => void handlers.delete(f));
  lua.compute('function f() end on(f) on(f) off(f)');
  assert.equal(handlers.size, 0);
});

test('what it throws comes out', () => {
  const lua = sandbox();
  const cause = new Error('no such thing');
  assert.throws(() => lua.call('apply', () => { throw cause; }), { kind: 'HostFunction', cause });
});

test('promises are waited for', async () => {
  const lua = sandbox();
  assert.equal(await lua.callAsync('apply', { args: [async (x) => x + 1, 2] }), 3);
});

test('Lua lets go of them', () => {
  const lua = sandbox();
  const make = (n) => () => n;
  lua.register('make', make);
  lua.compute('kept = make(7) for i = 1, 120000 do assert(make(i)() == i) end');
  assert.equal(lua.compute('return kept()'), 7);
  assert.throws(() => lua.compute('many = {} for i = 1, 1000000 do many[i] = make(i) end'), /functions of the host already/);
  lua.compute('many = nil');
  lua.gc();
  assert.equal(lua.compute('return make(3)()'), 3);
  // What Lua could never read is not kept for ever.
  for (let i = 0; i < 110000; i++) assert.throws(() => lua.compute('not Lua', () => i), { kind: 'Syntax' });
  assert.equal(lua.compute('return make(4)()'), 4);
});

test('one that is passed again while Lua lets go of it stays', () => {
  const lua = sandbox();
  const one = () => 9;
  lua.register('one', () => one);
  lua.compute("for i = 1, 50000 do local f = one() if i % 3 == 0 then f = {f, {}, tostring(i)} end end");
  lua.compute('kept = one() collectgarbage() collectgarbage() assert(kept() == 9 and kept == one())');
});

test('copies have them, bytes and stores do not', () => {
  const lua = sandbox();
  lua.compute('kept = ...', () => 5);
  const snapshot = lua.snapshot();
  const fork = lua.fork();
  lua.compute('kept = nil');
  lua.gc();
  assert.equal(fork.compute('return kept()'), 5);
  const other = sandbox();
  other.restore(snapshot);
  assert.equal(other.compute('return kept()'), 5);
  assert.throws(() => snapshot.toBytes(), { kind: 'Conversion' });
  lua.snapshot().toBytes();
  assert.throws(() => fork.compute('_home.f = kept'), /can't store/);
  assert.throws(() => fork.home.set('f', () => 1), { kind: 'Conversion' });
  fork.reset();
  assert.equal(fork.compute('return kept'), null);
});
