// What crosses between Node.js and Lua, where Node.js has more than JavaScript.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import vm from 'node:vm';

import { Sandbox } from 'luacell';

const secret = '/srv/secret/of-the-host';

test('errors of the system are for the host', async () => {
  const lua = new Sandbox();
  lua.register('read', () => readFileSync(secret));
  lua.register('load', () => import(secret));
  lua.register('later', () => readFile(secret));
  lua.register('elsewhere', () => vm.runInNewContext("throw new TypeError('said elsewhere')"));
  const seen = 'the host function failed';
  assert.deepEqual(lua.compute('return pcall(read)'), [false, seen]);
  for (const name of ['read', 'load', 'later']) {
    assert.deepEqual(await lua.computeAsync(`return pcall(${name})`), [false, seen]);
    await assert.rejects(lua.computeAsync(`${name}()`), (error) => {
      assert.ok(error.message.includes(secret) && error.message.includes(seen), error.message);
      return error.kind === 'HostFunction' && error.cause.message.includes(secret);
    });
  }
  assert.deepEqual(lua.compute('return pcall(elsewhere)'), [false, 'said elsewhere']);
});

test('scripts see nothing of why a store fails', () => {
  const tables = new Map();
  let broken = false;
  const table = (id) => {
    if (broken) throw new Error(secret);
    if (!tables.has(id)) tables.set(id, new Map());
    return tables.get(id);
  };
  const store = {
    get: (id, key) => table(id).get(key),
    set: (id, key, value) => void table(id).set(key, value),
    delete: (id, key) => void table(id).delete(key),
    size: (id) => table(id).size,
    keys: (id) => [...table(id).keys()],
  };
  const lua = new Sandbox({ store });
  const seen = [];
  lua.register('breaks', () => void (broken = true));
  lua.register('see', (...all) => void seen.push(all.join(' ')));
  lua.register('read', () => lua.home.get('y'));
  lua.register('open', () => new Sandbox({ store }));
  for (const code of ['return _home.x', 'read()', 'open()']) {
    broken = false;
    try {
      lua.compute(`breaks() see(pcall(function() ${code} end))`);
    } catch (error) {
      assert.equal(error.kind, 'Store');
    }
    assert.ok(seen.at(-1).includes('the store failed') && !seen.at(-1).includes('secret'), seen.at(-1));
  }
  broken = false;
  assert.throws(() => lua.compute('breaks() return _home.x'), (error) => {
    assert.equal(error.kind, 'Store');
    assert.ok(error.message.endsWith(secret), error.message);
    return error.cause.message === secret;
  });
  assert.throws(() => lua.home.get('x'), (error) => error.kind === 'Store' && error.cause.message === secret);
  broken = false;
  assert.equal(lua.home.get('x'), undefined);
});

test('functions that are let go of and come again', async () => {
  const lua = new Sandbox();
  const f = lua.compute('function f() return 1 end return f');
  let last = null;
  for (let i = 0; i < 200; i++) {
    const [a, b] = await lua.computeAsync('collectgarbage() return f, function(...) return ... end, f');
    assert.equal(a(), 1);
    if (i % 10 === 0) globalThis.gc?.();
    last = b;
  }
  assert.equal(f(), 1);
  assert.equal(last(), undefined);
});
