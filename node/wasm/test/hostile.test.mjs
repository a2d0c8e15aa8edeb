// A guest that lies: bad pointers, malformed values, a crash.

import assert from "node:assert/strict";
import { test } from "node:test";

import { crc32 } from "../dist/esm/wasm/src/checksum.js";
import { Engine, LuaCellError, Sandbox, Snapshot } from "../dist/esm/wasm/src/esm.js";
import { Reader, Writer } from "../dist/esm/shared/bytes.js";
import { decode, encodeArgs, references } from "../dist/esm/shared/codec.js";
import { Functions } from "../dist/esm/shared/functions.js";
import { Host } from "../dist/esm/wasm/src/host.js";
import { wrap } from "../dist/esm/shared/objects.js";
import { decodeKey, encodeKey } from "../dist/esm/shared/keys.js";
import { Tables } from "../dist/esm/wasm/src/tables.js";

await Engine.load();

/** The five functions over this memory. */
function hostOver(memory) {
  const host = new Host(new Tables(null), new Functions());
  host.guest = { memory };
  host.links = { exact: false };
  return host;
}

test("pointers outside of the memory are refused", () => {
  const memory = new Uint8Array(100).fill(0x61);
  const host = hostOver(memory);
  const { imports: f, tables } = host;
  for (const [ptr, len] of [[99, 2], [100, 1], [-1, 1], [0, -1], [-2147483648, 1], [1, 2147483647], [-1, -1]]) {
    assert.equal(f.js_ext_table_set(3, ptr, len, 0, 1), -1);
    assert.equal(f.js_ext_table_set(3, 0, 1, ptr, len), -1);
    assert.equal(f.js_ext_table_get(3, ptr, len, 0, 1), -1);
    assert.equal(f.js_ext_table_get(3, 0, 1, ptr, len), -1);
    assert.equal(f.js_ext_table_get(0, ptr, len, 0, 1), -1);
    assert.equal(f.js_ext_table_delete(3, ptr, len), -1);
    assert.equal(f.js_ext_table_keys(3, ptr, len), -1);
  }
  assert.equal(tables.count, 0);
  host.functions.add("f", () => 1);
  memory.fill(0);
  for (const operation of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]) {
    memory[0] = operation;
    for (const len of [1, 5, 9]) for (const room of [[0, -1], [100, 1], [-1, 4]]) assert.equal(f.js_ext_table_get(0, 0, len, ...room), -1);
  }
  memory.set([1, 7, 0, 0, 0]);
  assert.equal(f.js_ext_table_get(0, 0, 5, 20, 50), -1, "a function that never was");
  assert.equal(f.js_ext_table_set(3, 100, 0, 100, 0), 0, "an empty part at the very end is inside");
});

test("numbers of functions and objects are not taken for each other", () => {
  const memory = new Uint8Array(1000);
  const host = hostOver(memory);
  host.links.hostValues = host.values;
  const { imports: f } = host;
  const object = { f: () => 5 };
  const wrapped = wrap(object);
  const [o, other, g] = [wrapped, wrap(object, { fields: ["x"] }), () => 1].map((value) => host.values.give(value));
  const u32 = (...numbers) => numbers.flatMap((n) => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24]);
  const ask = (...bytes) => {
    memory.set(bytes);
    return f.js_ext_table_get(0, 0, bytes.length, 500, 500);
  };
  assert.equal(decode(Uint8Array.of(0x0f, ...u32(o, 77)), host.links)[0], object);
  for (const bytes of [[0x0f, ...u32(g, 1)], [0x0e, ...u32(o)], [0x0f, ...u32(5, 1)], [0x0f, ...u32(o)]])
    assert.throws(() => decode(Uint8Array.from(bytes), host.links), { kind: "Internal" });
  for (const number of [g, 5, o + 1000]) assert.equal(ask(0x0c, ...u32(number)), -1);
  assert.equal(ask(0x0c, 1), -1);
  assert.equal(ask(0x01, ...u32(o)), -1, "an object is no function");
  assert.ok(ask(0x0c, ...u32(o)) > 20);
  const member = host.values.give(wrapped.class.members[0].f);
  const status = (...args) => (ask(0x01, ...u32(member), ...args) > 0 ? memory[500] : null);
  assert.equal(status(0x0f, ...u32(o, 1)), 0);
  // Not with another class, whatever number the guest gives it, nor with anything else.
  for (const args of [[0x0f, ...u32(other, wrapped.class.number)], [0x0e, ...u32(g)], [], [0], [0x08, ...u32(1, 0), 0x0f, ...u32(o, 1)]]) assert.equal(status(...args), 1);
});

test("the contract of the five functions", () => {
  const memory = new TextEncoder().encode("keyVALUE........................");
  const { imports: f } = hostOver(memory);
  const text = (from, to) => new TextDecoder().decode(memory.subarray(from, to));
  assert.equal(f.js_ext_table_get(7, 0, 3, 8, 24), -1);
  assert.equal(f.js_ext_table_delete(7, 0, 3), -1);
  assert.equal(f.js_ext_table_keys(7, 8, 24), -1);
  assert.equal(f.js_ext_table_size(7), 0);
  assert.equal(f.js_ext_table_set(7, 0, 3, 3, 5), 0);
  assert.equal(f.js_ext_table_set(7, 1, 2, 3, 0), 0);
  assert.equal(f.js_ext_table_size(7), 2);
  assert.equal(f.js_ext_table_get(7, 0, 3, 8, 24), 5);
  assert.equal(text(8, 13), "VALUE");
  assert.equal(f.js_ext_table_get(7, 1, 2, 8, 0), 0);
  assert.equal(f.js_ext_table_get(7, 0, 3, 8, 4), -6);
  assert.equal(f.js_ext_table_keys(7, 8, 24), 6);
  assert.equal(text(8, 14), "key\ney");
  assert.equal(f.js_ext_table_keys(7, 8, 5), -7);
  assert.equal(f.js_ext_table_delete(7, 0, 3), 0);
  assert.equal(f.js_ext_table_delete(7, 0, 3), 0);
  assert.equal(f.js_ext_table_delete(7, 1, 2), 0);
  assert.equal(f.js_ext_table_size(7), 0);
  assert.equal(f.js_ext_table_keys(7, 8, 0), 0);
});

test("odd ids, and keys that are not UTF-8, are refused", () => {
  const { imports: f } = hostOver(Uint8Array.of(0xff, 0xfe, 0x61, 0x62));
  for (const id of [0, -1]) {
    assert.equal(f.js_ext_table_set(id, 2, 1, 2, 1), -1);
    assert.equal(f.js_ext_table_delete(id, 2, 1), -1);
    assert.equal(f.js_ext_table_keys(id, 2, 1), -1);
    assert.equal(f.js_ext_table_size(id), 0);
  }
  assert.equal(f.js_ext_table_set(3, 0, 2, 2, 1), -1);
});

test("an answer is kept until it is fetched", () => {
  const memory = new Uint8Array(64);
  const { imports: f } = hostOver(memory);
  memory.set([3, 0]);
  assert.equal(f.js_ext_table_get(0, 0, 1, 32, 4), -17);
  assert.equal(f.js_ext_table_get(0, 1, 1, 32, 8), -17);
  assert.equal(f.js_ext_table_get(0, 1, 1, 32, 16), 16);
  assert.equal(f.js_ext_table_get(0, 1, 1, 32, 16), 0);
  memory[0] = 0x77;
  assert.equal(f.js_ext_table_get(0, 0, 1, 32, 16), -1);
});

/** Numbers that are the same each time. */
function random(seed) {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

const links = { exact: true, hostValues: { give: () => 7, get: () => undefined }, stored: (id) => ({ id }), function: () => () => {}, handle: () => () => {}, idOf: () => 7, handleOf: () => 7 };

test("any bytes are read or refused", () => {
  const next = random(1);
  let read = 0;
  for (let i = 0; i < 30_000; i++) {
    const bytes = Uint8Array.from({ length: next() * 60 }, () => (next() < 0.7 ? next() * 15 : next() * 256));
    try {
      decode(bytes, links);
      read++;
    } catch (error) {
      assert.ok(error instanceof LuaCellError && error.fatal, String(error?.stack));
    }
    references(bytes, () => {});
  }
  assert.ok(read > 100, `only ${read} could be read`);
  // A table that announces more than memory holds costs nothing.
  assert.throws(() => decode(Uint8Array.of(8, 255, 255, 255, 127, 255, 255, 255, 127), links), /announces more/);
});

test("values and keys survive", () => {
  const next = random(2);
  const leaf = () => [null, true, BigInt(Math.floor(next() * 2 ** 60)), next() * 100, "text ä", Uint8Array.of(255, next() * 256)][Math.floor(next() * 6)];
  const value = (depth) => {
    if (depth === 0 || next() < 0.3) return leaf();
    if (next() < 0.5) return Array.from({ length: 1 + next() * 4 }, () => value(depth - 1) ?? true);
    return Object.fromEntries(Array.from({ length: next() * 4 }, (_, i) => [`k${i}`, value(depth - 1) ?? false]));
  };
  for (let i = 0; i < 500; i++) {
    const values = Array.from({ length: next() * 4 }, () => value(5));
    const out = new Writer();
    encodeArgs(values, out, links);
    assert.deepEqual(decode(out.written, links), values);
  }
  const pieces = ["\\", "s", "n", "x", "f", "b", "\n", "0", "1", "-", "a", "\ufeff", "ä", "."];
  for (let i = 0; i < 5000; i++) {
    const text = Array.from({ length: next() * 7 }, () => pieces[Math.floor(next() * pieces.length)]).join("");
    assert.equal(decodeKey(encodeKey(text), false), text);
    const bytes = Uint8Array.from({ length: 1 + next() * 6 }, () => next() * 256);
    const back = decodeKey(encodeKey(bytes), false);
    assert.deepEqual(typeof back === "string" ? new TextEncoder().encode(back) : back, bytes);
    const x = next() * 10 ** Math.floor(next() * 40 - 20);
    assert.equal(Number(decodeKey(encodeKey(x), false)), x);
  }
  const examples = { 42: 42, "-7": -7, name: "name", "007": "007", "\\s": "", "\\s42": "42", "\\sa\\nb": "a\nb", "\\s\\xff": Uint8Array.of(255), "\\s\\\\d": "\\d", "\\f0.5": 0.5, "\\btrue": true, "\\bfalse": false,
    "\\f1e+100": 1e100, "\\f1e-07": 1e-7, "\\f0.0001": 0.0001, "\\f0.3333333333333333": 1 / 3, "\\f0.30000000000000004": 0.1 + 0.2, "\\finf": Infinity, "\\f-inf": -Infinity, "-9223372036854775808": -(2n ** 63n), "\\f9.223372036854776e+18": 2 ** 63 };
  for (const [text, key] of Object.entries(examples)) assert.equal(encodeKey(key), text);
  for (const text of ["\\", "\\q", "\\b", "\\f", "\\fnan", "\\f+1", "\\f0x1", "\\s\\", "\\s\\q", "\\s\\x1", "\\s\\xFF"]) assert.equal(decodeKey(text, false), text);
  assert.ok(new Reader(new Uint8Array(0)).left === 0);
});

test("a crash takes the instance, and nothing else", () => {
  const { Instance } = WebAssembly;
  let exports;
  WebAssembly.Instance = function (...args) {
    const instance = new Instance(...args);
    if (instance.exports.memory) exports = instance.exports;
    return instance;
  };
  try {
    const lua = new Sandbox();
    lua.register("f", () => "f");
    lua.compute("_home.kept = {1, 2} global = 1");
    const g = lua.compute("return function() end");
    new Uint8Array(exports.memory.buffer).fill(0xff, 1024);
    assert.throws(() => lua.compute("_home.lost = 1 return 1"), (error) => error.kind === "Trap" || error.kind === "Internal");
    assert.deepEqual(lua.compute("return global, #_home.kept, _home.lost, f()"), [null, 2, null, "f"]);
    assert.throws(() => g(), { kind: "Closed" });
    // Inside of a host function the outer run ends too, whatever the function makes of it.
    lua.register("crash", () => {
      new Uint8Array(exports.memory.buffer).fill(0xff, 1024);
      try {
        lua.compute("return 1");
      } catch {}
    });
    assert.throws(() => lua.compute("_home.lost = 1 crash() return 1"), (error) => error.kind === "Trap" || error.kind === "Internal");
    assert.deepEqual(lua.compute("return #_home.kept, _home.lost"), [2, null]);
  } finally {
    WebAssembly.Instance = Instance;
  }
});

/** Gives `run` the exports of the instance that was made last. */
async function withExports(run) {
  const { Instance } = WebAssembly;
  let exports;
  WebAssembly.Instance = function (...args) {
    const instance = new Instance(...args);
    if (instance.exports.memory) exports = instance.exports;
    return instance;
  };
  try {
    await run(() => exports);
  } finally {
    WebAssembly.Instance = Instance;
  }
}

test("a crash while a run waits ends it, and nothing else", () =>
  withExports(async (exports) => {
    const crash = () => new Uint8Array(exports().memory.buffer).fill(0xff, 1024);
    const broken = (error) => error.kind === "Trap" || error.kind === "Internal";
    const lua = new Sandbox().declare("ask");
    lua.compute("_home.kept = 1");
    const works = () => assert.deepEqual(lua.compute("return _home.kept, _home.lost"), [1, null]);
    let run = lua.start("_home.lost = 1 ask()");
    crash();
    run.answer(1);
    run.resume();
    assert.throws(() => run.result, broken);
    works();
    run = lua.start("_home.lost = 1 ask()");
    crash();
    assert.throws(() => lua.compute("return 1"), broken);
    assert.throws(() => run.result, broken);
    assert.equal(run.waiting, false);
    works();
    run = lua.start("_home.lost = 1 ask()");
    crash();
    run.cancel();
    works();
    lua.register("later", async () => crash());
    await assert.rejects(lua.computeAsync("_home.lost = 1 later() return 1"), broken);
    works();
    // Whatever the memory of a run says that was kept.
    run = lua.start("_home.lost = 1 ask({1, 2, {x = 1}})");
    const { image } = lua.snapshot();
    run.cancel();
    const next = random(3);
    let taken = 0;
    for (let i = 0; i < 60; i++) {
      const memory = image.memory.slice();
      for (let n = 0; n < 200; n++) memory[Math.floor(next() * memory.length)] = next() * 256;
      const there = new Sandbox();
      try {
        there.restore(new Snapshot({ ...image, memory }));
        const run = there.waitingRun();
        taken++;
        run.answer(run.requests[0]?.id ?? 1);
        run.resume();
        run.cancel();
      } catch (error) {
        assert.ok(error instanceof LuaCellError, String(error?.stack));
      }
      try {
        there.compute("return 1");
      } catch (error) {
        assert.ok(error instanceof LuaCellError, String(error?.stack));
      }
      there.close();
    }
    assert.ok(taken > 10, `only ${taken} could be taken over`);
  }));

test("bytes of a snapshot with a run that lie", () => {
  const lua = new Sandbox().declare("ask");
  const run = lua.start("_home.x = 1 _home.y = {z = 'x'} ask()");
  const bytes = lua.snapshot().toBytes();
  run.cancel();
  const sealed = (change) => {
    const copy = bytes.slice();
    change(copy);
    new DataView(copy.buffer).setUint32(copy.length - 4, crc32(copy.subarray(0, -4)), true);
    return copy;
  };
  const text = Buffer.from(bytes);
  const limits = text.indexOf("[268435456");
  const writes = text.indexOf("]", limits) + 1;
  assert.ok(limits > 0);
  assert.ok(Snapshot.fromBytes(sealed(() => {})));
  for (const change of [
    (copy) => copy.set(Buffer.from("[-68435456"), limits),
    (copy) => copy.set(Buffer.from("{268435456"), limits),
    (copy) => copy.set(Buffer.from("[[],[],[],"), limits),
    (copy) => copy.fill(0xff, writes, writes + 4),
    (copy) => copy.fill(0xff, writes + 4, writes + 8),
    (copy) => copy.fill(0, writes + 4, writes + 8),
    (copy) => copy.fill(0xff, writes + 8, writes + 12),
  ])
    assert.throws(() => Snapshot.fromBytes(sealed(change)), { kind: "InvalidArgument" });
  // Any other byte: refused, or as good as any.
  for (let at = 16; at < writes + 100; at++) {
    const there = new Sandbox();
    try {
      there.restore(Snapshot.fromBytes(sealed((copy) => (copy[at] ^= 0x41))));
      there.waitingRun()?.cancel();
      there.compute("return 1");
    } catch (error) {
      assert.ok(error instanceof LuaCellError, `byte ${at}: ${error?.stack}`);
    }
  }
});

test("other wasm is refused", async () => {
  const empty = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const engine = await Engine.load(empty);
  assert.throws(() => new Sandbox({ engine }), { kind: "InvalidArgument", message: /does not speak revision 4/ });
  await assert.rejects(Engine.load(Uint8Array.of(1, 2, 3)), { kind: "InvalidArgument" });
  await assert.rejects(Engine.load("file:///nowhere/lua.wasm"), { kind: "InvalidArgument" });
});
