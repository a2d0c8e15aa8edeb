// The host by its parts. `node --test` runs this and the corpus.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Tables } from "../src/tables.js";
import { LuaTable, ProtocolError, decode, decodeKey, encode, show } from "../src/values.js";
import { LuaError, LuaVm } from "../src/vm.js";

const here = (path) => new URL(path, import.meta.url);
const lua = new WebAssembly.Module(readFileSync(process.env.LUA_WASM || here("../../../core/guest/lua.wasm")));
const hostile = new WebAssembly.Module(readFileSync(here("../../testdata/hostile.wasm")));
const index = fileURLToPath(here("../index.js"));

const first = (vm, source) => vm.compute(source).values[0];
const string = (vm, source) => first(vm, source).toString();

test("basic arithmetic", () => {
  const vm = new LuaVm(lua);
  assert.deepEqual(vm.compute("return 1 + 1, 7 // 2, 7 / 2, 2^10, 1 == 1.0").values, [2n, 3n, 3.5, 1024, true]);
  assert.equal(first(vm, "return math.maxinteger"), 2n ** 63n - 1n);
  assert.equal(first(vm, "return math.mininteger"), -(2n ** 63n));
  assert.ok(Object.is(first(vm, "return -0.0"), -0));
  assert.ok(Number.isNaN(first(vm, "return 0/0")));
});

test("string operations", () => {
  const vm = new LuaVm(lua);
  assert.equal(string(vm, "return ('lua'):upper() .. '!'"), "LUA!");
  assert.equal(string(vm, "return ('%d-%s'):format(7, 'x')"), "7-x");
  assert.equal(string(vm, "return (('hello world'):gsub('o', '0'))"), "hell0 w0rld");
  assert.equal(string(vm, "return 'grüße'"), "grüße");
  assert.deepEqual(first(vm, "return 'a\\0\\255'"), Buffer.from([0x61, 0, 0xff]));
  assert.equal(first(vm, "return ''").length, 0);
});

test("captured output", () => {
  const vm = new LuaVm(lua);
  const { output, values } = vm.compute("print('a', 1) print() return 2");
  assert.equal(output.toString(), "a\t1\n\n");
  assert.deepEqual(values, [2n]);
  assert.deepEqual(vm.compute(""), { output: Buffer.alloc(0), values: [] });
});

test("external table persistence", () => {
  const tables = new Tables();
  const vm = new LuaVm(lua, { tables });
  vm.compute("_home.count = 1 _home.list = {'a', 'b'} _home.empty = {}");
  const second = new LuaVm(lua, { tables, nextTableId: vm.nextTableId() });
  assert.deepEqual(second.compute("return _home.count, #_home.list, _home.list[2]").values, [1n, 2n, Buffer.from("b")]);
  // Without the counter the new table would be the one that `empty` refers to.
  second.compute("_home.fresh = {1}");
  assert.equal(first(second, "return #_home.empty"), 0n);
  assert.deepEqual(decode(tables.get(second.homeTableId, "count")), [1n]);
});

test("data in and out", () => {
  const tables = new Tables();
  const vm = new LuaVm(lua, { tables });
  tables.set(vm.ioTableId, "input", encode(["Ada"]));
  vm.compute("_io.output = 'Hello, ' .. _io.input");
  assert.deepEqual(decode(tables.get(vm.ioTableId, "output")), [Buffer.from("Hello, Ada")]);
});

test("error handling", () => {
  const vm = new LuaVm(lua);
  for (let round = 0; round < 100; round++) {
    assert.throws(() => vm.compute("return 1 +"), (e) => e instanceof LuaError && /near <eof>/.test(e.message));
    assert.throws(() => vm.compute("error('no')"), (e) => e instanceof LuaError && /:1: no$/.test(e.message));
    assert.throws(() => vm.compute("error('a\\255', 0)"), (e) => e.bytes.equals(Buffer.from([0x61, 0xff])));
    assert.throws(() => vm.compute("local t = nil; return t.x"), LuaError);
    assert.equal(first(vm, "return 1 + 1"), 2n);
  }
  assert.throws(() => vm.compute(" ".repeat(65537)), RangeError);
  assert.throws(() => vm.compute("return ('x'):rep(70000)"), (e) => e instanceof LuaError && /700\d\d/.test(e.message));
  assert.throws(() => vm.call("f"), TypeError);
  assert.equal(first(vm, "return 1 + 1"), 2n);
});

test("memory statistics", () => {
  const vm = new LuaVm(lua);
  const before = vm.memoryStats();
  assert.equal(before.bufferSize, 65536);
  assert.equal(before.pages * 65536, vm.memorySize());
  assert.ok(before.used > 0 && before.used < vm.memorySize());
  vm.compute("kept = {} for i = 1, 300000 do kept[i] = i end");
  const grown = vm.memoryStats();
  assert.ok(grown.pages > before.pages);
  assert.equal(grown.pages * 65536, vm.memorySize());
  assert.ok(grown.used > before.used + 300000 * 8);
  vm.compute("kept = nil");
  vm.collectGarbage();
  assert.ok(vm.memoryStats().used < grown.used - 300000 * 8);
});

test("revision 2: tables by value, arguments, calls, sizes", () => {
  const vm = new LuaVm(lua, { revision: 2 });
  const table = first(vm, "local t = {10, x = {}} t.me = t return t");
  assert.equal(table.entries.find(([key]) => String(key) === "me")[1], table);
  const [back, same] = vm.computeNamed("", "local t = ... return t, t.me == t", [table]).values;
  assert.equal(back.entries.length, 3);
  assert.equal(same, true);
  vm.compute("function add(a, b) return a + b end");
  assert.deepEqual(vm.call("add", [1n, 2.5]).values, [3.5]);
  const long = "x".repeat(1000000);
  assert.equal(vm.computeNamed("", "return (...) .. 'y'", [long]).values[0].toString(), `${long}y`);
  vm.compute(`_home.long = '${long}'`);
  assert.equal(first(vm, "return #_home.long"), 1000000n); // `get` asks for a larger buffer
  assert.throws(() => vm.computeNamed("=rules", "error('no')"), /^LuaError: rules:1: no$/);
});

test("revision 3: runs that wait", () => {
  const vm = new LuaVm(lua, { revision: 3 });
  for (const name of ["ask", "web.fetch"]) vm.declare(name);
  const asked = () => vm.requests.map(({ id, name, args }) => `${id}:${name}(${args.map((value) => show(value))})`);

  assert.equal(vm.start("local first, second = ask('a', {1}) return first + second, web.fetch(...)", ["u"]), null);
  assert.deepEqual(asked(), ['1:ask("a",{[1] = 1})']);
  vm.answer(1, [1n, 2n]);
  assert.equal(vm.resume(), null);
  assert.deepEqual(asked(), ['2:web.fetch("u")']);
  const long = "x".repeat(1000000);
  vm.answer(2, [long]);
  assert.deepEqual(vm.resume().values, [3n, Buffer.from(long)]);
  assert.equal(vm.waiting, false);
  assert.deepEqual(vm.start("return 1").values, [1n]);

  // Errors, of the script and of the host.
  vm.start("return pcall(ask)");
  vm.fail(1, "no answer");
  assert.deepEqual(vm.resume().values, [false, Buffer.from("no answer")]);
  vm.start("ask() error('after', 0)");
  vm.answer(1, []);
  assert.throws(() => vm.resume(), /^LuaError: after$/);
  assert.throws(() => vm.compute("ask()"), /'ask' is answered by whoever starts the run$/);
  assert.throws(() => vm.start("table.sort({1, 2}, ask)"), /'ask' can't wait inside 'table.sort'$/);
  vm.declare("a".repeat(10000)); // the message takes more room than the guest offers at first
  assert.throws(() => vm.compute(`${"a".repeat(10000)}()`), /a' is answered by whoever starts the run$/);
  assert.throws(() => vm.declare("print.x"), LuaError);

  // Tasks, and a request that is given up.
  vm.start("local task = require 'task' return task.race(function() return ask() end, function() task.sleep(0.5) return 'late' end)");
  assert.deepEqual(asked(), ["1:ask()", "2:task.sleep(0.5)"]);
  vm.answer(2, []);
  assert.equal(vm.resume().values[0].toString(), "late");

  // What can't be done now, and what the others of the same VM can do meanwhile.
  vm.start("kept = 1 ask() kept = ask()");
  for (const wrong of [() => vm.start("return 1"), () => vm.startCall("f"), () => vm.answer(2, [])]) assert.throws(wrong, /waits|no request/);
  assert.throws(() => vm.answer(1, [Symbol()]), TypeError);
  assert.equal(first(vm, "return kept"), 1n);
  assert.throws(() => vm.compute("ask()"), /can't wait/);
  vm.answer(1, []);
  assert.throws(() => vm.fail(1, "again"), RangeError);
  assert.equal(vm.resume(), null);

  // Nothing of the script runs any more.
  vm.answer(2, [2n]);
  vm.cancel();
  assert.deepEqual([vm.waiting, vm.requests, first(vm, "return kept")], [false, [], 1n]);
  vm.start("local c <close> = setmetatable({}, {__close = function() kept = 3 end}) repeat pcall(ask) until false");
  vm.cancel();
  vm.cancel();
  assert.equal(first(vm, "return kept"), 1n);
  vm.start("local t = require('task').spawn(ask) function give_up() t:cancel() end pcall(t.wait, t) ask() kept = 4");
  vm.call("give_up");
  assert.deepEqual(asked(), []);
  vm.cancel();
  assert.deepEqual([vm.waiting, first(vm, "return kept")], [false, 1n]);
  assert.throws(() => vm.resume(), /no run waits/);
  assert.throws(() => new LuaVm(lua, { revision: 2 }).declare("ask"), TypeError);
});

test("the guided tour prints what it should", () => {
  const expected = readFileSync(here("../../testdata/tour.txt"), "utf8");
  assert.equal(execFileSync(process.execPath, [index], { encoding: "utf8", cwd: "/" }), expected);
  const broken = () => execFileSync(process.execPath, [index, "no such file"], { stdio: "pipe" });
  assert.throws(broken, (e) => e.status === 1 && /no such file/.test(e.stderr));
});

test("keys come back as they were", () => {
  const vm = new LuaVm(lua);
  const keys = ["42", "-7", "'42'", "'007'", "'name'", "''", "'a\\nb'", "'\\\\x'", "'\\255'", "0.5", "1e300", "1/0", "-1/0", "true", "'é'"];
  for (const key of keys) {
    vm.compute(`t = ext.table() t[${key}] = true`);
    const { id } = first(vm, "return t");
    const [text] = vm.tables.keys(id);
    assert.deepEqual(decodeKey(text), first(vm, `return ${key}`), key);
  }
  for (const text of ["\\", "\\q", "\\f", "\\fx", "\\s\\", "\\s\\x1", "9223372036854775808", "-0", "\\bmaybe"])
    assert.deepEqual(decodeKey(text), Buffer.from(text));
});

test("damaged results are refused", () => {
  const vm = new LuaVm(hostile);
  const answer = (n, ...bytes) => {
    const head = Buffer.alloc(4);
    head.writeInt32LE(n);
    return vm.compute(Buffer.concat([head, Buffer.from(bytes)]));
  };
  assert.deepEqual(answer(6, 0, 0, 0, 0, 1, 1).values, [true]);
  const bad = [
    [1], [3], [65537], [0x7fffffff], [-65538], [-0x80000000],
    [5, 2, 0, 0, 0, 0], [5, 0xff, 0xff, 0xff, 0xff, 0], // output longer than the result
    [5, 0, 0, 0, 0, 0x0d], [5, 0, 0, 0, 0, 0xff], // unknown tags
    [5, 0, 0, 0, 0, 0x01], [6, 0, 0, 0, 0, 0x02, 0], [6, 0, 0, 0, 0, 0x03, 0], // cut off
    [9, 0, 0, 0, 0, 0x04, 1, 0, 0, 0], [9, 0, 0, 0, 0, 0x05, 0xff, 0xff, 0xff, 0xff], [7, 0, 0, 0, 0, 0x07, 1, 0],
    [13, 0, 0, 0, 0, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // entries that are not there
    [15, 0, 0, 0, 0, 0x08, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], // nil as a key
    [9, 0, 0, 0, 0, 0x09, 0, 0, 0, 0], // a table that did not begin
  ];
  for (const [n, ...bytes] of bad) assert.throws(() => answer(n, ...bytes), ProtocolError, `${n}: ${bytes}`);

  const deep = Buffer.from([0x08, 1, 0, 0, 0, 0, 0, 0, 0]);
  const nested = decode(Buffer.concat([Buffer.alloc(9 * 200000, deep), Buffer.of(0)]));
  assert.ok(nested[0] instanceof LuaTable);
  assert.equal(encode(nested).length, 9 * 200000 + 9 * 199999); // as pairs: with a key each
});

test("hostile pointers", () => {
  for (const revision of [1, 2]) {
    const guest = new LuaVm(hostile, { revision }).exports;
    const size = 2 * 65536;
    guest.poke(8, 0x6b); // "k" at 8, and some values
    assert.equal(guest.set(1, 8, 1, 0, 4), 0);
    assert.equal(guest.get(1, 8, 1, 100, 4), 4);

    const outside = [[size, 1], [size - 1, 2], [-1, 1], [-1, -1], [0, -1], [0, size + 1], [0x7fffffff, 0x7fffffff], [8, -8], [-0x80000000, -0x80000000]];
    for (const [ptr, len] of outside) {
      assert.equal(guest.set(1, ptr, len, 0, 4), -1);
      assert.equal(guest.set(1, 8, 1, ptr, len), -1);
      assert.equal(guest.get(1, ptr, len, 100, 4), -1);
      assert.equal(guest.get(1, 8, 1, ptr, len), -1);
      assert.equal(guest.delete(1, ptr, len), -1);
      assert.equal(guest.keys(1, ptr, len), -1);
    }
    assert.equal(guest.size(1), 1);

    // Exactly at the end, and nothing at the end.
    assert.equal(guest.set(1, 8, 1, size - 4, 4), 0);
    assert.equal(guest.get(1, 8, 1, size - 4, 4), 4);
    assert.equal(guest.set(2, size, 0, size, 0), 0);
    assert.equal(guest.get(2, size, 0, size, 0), 0);

    // Too small a buffer stays as it was.
    guest.poke(200, 0x55);
    assert.equal(guest.get(1, 8, 1, 200, 3), revision === 1 ? -1 : -5);
    assert.equal(guest.keys(1, 200, 0), revision === 1 ? -1 : -2);
    assert.equal(guest.peek(200), 0x55);
    assert.equal(guest.keys(1, 200, 1), 1);
    assert.equal(guest.peek(200), 0x6b);

    // Id 0 is no table, others that do not exist.
    assert.equal(guest.set(0, 8, 1, 0, 4), -1);
    assert.equal(guest.get(0, 8, 1, 100, 4), -1);
    assert.equal(guest.delete(0, 8, 1), -1);
    assert.equal(guest.size(0), 0);
    assert.equal(guest.keys(0, 100, 10), -1);
    assert.equal(guest.get(-1, 8, 1, 100, 4), -1);
    assert.equal(guest.delete(77, 8, 1), -1);
    assert.equal(guest.keys(77, 100, 10), -1);
    assert.equal(guest.delete(1, 8, 1), 0);
    assert.equal(guest.delete(1, 8, 1), 0);
    assert.equal(guest.keys(1, 100, 10), 0);

    // A key that is not UTF-8.
    guest.poke(9, 0xff);
    assert.equal(guest.set(1, 9, 1, 0, 4), -1);

    // After growth the new memory counts.
    assert.equal(guest.grow(1), 2);
    guest.poke(size + 8, 0x6b);
    assert.equal(guest.set(3, size + 8, 1, size, 100), 0);
    assert.equal(guest.get(3, 8, 1, size + 200, 100), 100);
    assert.equal(guest.peek(size + 208), 0x6b);
    assert.equal(guest.get(3, 8, 1, size + 65536 - 99, 100), -1);
  }
});

test("hostile requests", () => {
  const request = (...bytes) => new LuaVm(hostile, { revision: 3 }).start(Buffer.from(bytes));
  const sleep = [0x09, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0];
  const bad = [
    [], [0x00], [0x01], [0x01, 0xff, 0xff, 0xff, 0xff], [0x0a, 1, 0, 0], [0xff], // nothing is asked, and yet it waits
    ...sleep.map((_, length) => sleep.slice(0, length)),
    [...sleep, 0x04, 1], [...sleep, 0x0d], // values that are none
    [0x09, 0, 0, 0, 0, 1, 0, 0, 0], // a function that was not declared
  ];
  for (const bytes of bad) assert.throws(() => request(...bytes), ProtocolError, `${bytes}`);

  const vm = new LuaVm(hostile, { revision: 3 });
  assert.equal(vm.start(Buffer.from([...sleep, 0x02, 5, 0, 0, 0, 0, 0, 0, 0])), null);
  assert.deepEqual(vm.requests, [{ id: 1, name: "task.sleep", args: [5n] }]);
  assert.equal(vm.resume(), null);
  vm.answer(1, []);
  assert.throws(() => vm.resume(), ProtocolError);
  assert.equal(vm.waiting, false);
  assert.equal(vm.start(Buffer.from(sleep)), null);
  assert.throws(() => vm.cancel(), ProtocolError);
  assert.equal(vm.waiting, false);
});

test("a buffer outside the memory", () => {
  const vm = new LuaVm(hostile);
  for (const [ptr, size] of [[131072, 65536], [-4, 65536], [131070, 4], [0, 3], [-1, -1]]) {
    vm.exports.set_buffer(ptr, size);
    assert.throws(() => vm.compute("12345"), (e) => e instanceof ProtocolError || e instanceof RangeError, `${ptr} ${size}`);
    assert.throws(() => vm.memoryStats(), ProtocolError);
  }
});

test("a trap is an error of its own", () => {
  const vm = new LuaVm(hostile, { revision: 2 });
  assert.throws(() => vm.call("f"), WebAssembly.RuntimeError);
});
