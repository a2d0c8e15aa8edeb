// Part 1 of the contract, item by item, as a host sees it that knows nothing else.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe as suite, test } from "node:test";

import { External, LuaError, LuaFunction, Sandbox, Store, bytes, decode, wasmPath } from "./host.mjs";
import { describe } from "./wasm.mjs";

const module = describe(readFileSync(wasmPath));
const one = (box, source) => box.compute(source).values[0];
const text = (box, source) => one(box, source).toString("utf8");
const fails = (box, source, pattern) =>
  assert.throws(() => box.compute(source), (error) => {
    assert.ok(error instanceof LuaError, String(error));
    assert.match(error.message, pattern);
    return true;
  });
const works = (box) => assert.equal(one(box, "return 1 + 1"), 2n);

const imports = {
  js_ext_table_set: "(i32 i32 i32 i32 i32) -> i32",
  js_ext_table_get: "(i32 i32 i32 i32 i32) -> i32",
  js_ext_table_delete: "(i32 i32 i32) -> i32",
  js_ext_table_size: "(i32) -> i32",
  js_ext_table_keys: "(i32 i32 i32) -> i32",
};
const exports = {
  memory: "memory 32",
  init: "() -> i32",
  get_buffer_ptr: "() -> i32",
  get_buffer_size: "() -> i32",
  compute: "(i32 i32) -> i32",
  get_memory_stats: "(i32) -> ()",
  run_gc: "() -> ()",
  attach_memory_table: "(i32) -> ()",
  get_memory_table_id: "() -> i32",
  get_io_table_id: "() -> i32",
  clear_io_table: "() -> ()",
  sync_external_table_counter: "(i32) -> ()",
  set_memory_alias_enabled: "(i32) -> ()",
  lua_alloc: "(i32 i32 i32 i32) -> i32",
};

suite("the module", () => {
  test("imports exactly the five functions", () => {
    assert.deepEqual(module.imports.map((i) => i.module), Array(5).fill("env"));
    assert.deepEqual(Object.fromEntries(module.imports.map((i) => [i.name, i.type])), imports);
  });

  test("exports everything with its type", () => {
    for (const [name, type] of Object.entries(exports)) {
      const actual = module.exports.get(name);
      assert.ok(actual, `no export ${name}`);
      if (name === "memory") assert.match(actual, /^memory 32(\.\.|$)/);
      else assert.equal(actual, type, name);
    }
  });

  test("uses sections that every runtime knows", () => {
    for (const id of module.sections) assert.ok(id <= 12, `section ${id}`); // 13 would be exception tags
    assert.ok(!module.sections.includes(8), "no start function");
  });

  test("the pages under docs/ name what is there", () => {
    const rows = (file, from, to) => {
      const page = readFileSync(new URL(`../../../docs/${file}`, import.meta.url), "utf8");
      return [...page.slice(page.indexOf(from), to && page.indexOf(to)).matchAll(/^\| `(\w+)` \| ([^|]+?) \|/gm)].map(([, name, type]) => [name, type]);
    };
    const documented = Object.fromEntries(rows("WASM_EXPORTS_REFERENCE.md", "## Revision 1"));
    delete documented.memory;
    const actual = Object.fromEntries([...module.exports].filter(([name]) => name !== "memory"));
    assert.deepEqual(documented, actual);
    assert.deepEqual(Object.fromEntries(rows("HOST_FUNCTION_IMPORTS.md", "| import", "Rules for a host")), imports);
  });
});

suite("start", () => {
  test("memory starts at 32 pages", () => {
    const box = new Sandbox({ init: false });
    assert.equal(box.exports.memory.buffer.byteLength, 32 * 65536);
  });

  test("init can be called twice", () => {
    const box = new Sandbox({ init: false });
    assert.equal(box.exports.init(), 0);
    box.compute("x = 'kept' _home.y = 1");
    assert.equal(box.exports.init(), 0);
    assert.equal(text(box, "return x"), "kept");
    assert.equal(box.exports.get_memory_table_id(), 1);
    assert.equal(one(box, "return _home.y"), 1n);
  });

  test("calls before init do nothing", () => {
    const box = new Sandbox({ init: false });
    const e = box.exports;
    assert.equal(e.get_memory_table_id(), 0);
    assert.equal(e.get_io_table_id(), 0);
    e.attach_memory_table(7);
    e.run_gc();
    e.clear_io_table();
    e.get_memory_stats(e.get_buffer_ptr());
    const stats = box.buffer(12);
    assert.equal(stats.readUInt32LE(0), 65536);
    assert.equal(stats.readUInt32LE(8), e.memory.buffer.byteLength / 65536);
    assert.ok(e.compute(e.get_buffer_ptr(), 3) < 0);
    assert.equal(e.init(), 0);
    assert.equal(e.get_memory_table_id(), 1);
    assert.equal(e.get_io_table_id(), 2);
    works(box);
  });

  test("settings made before init count", () => {
    const box = new Sandbox({ init: false });
    box.exports.set_memory_alias_enabled(0);
    box.exports.sync_external_table_counter(500);
    box.exports.init();
    assert.equal(one(box, "return Memory"), null);
    assert.ok(one(box, "_home.t = {} return _home.t").id >= 500);
  });

  test("starting asks the host for nothing that it needs", () => {
    const never = () => {
      throw new Error("called");
    };
    const box = new Sandbox({ imports: Object.fromEntries(Object.keys(imports).map((name) => [name, never])) });
    works(box);
  });
});

suite("the buffer", () => {
  test("is aligned and has 65,536 bytes", () => {
    const { exports: e } = new Sandbox();
    const ptr = e.get_buffer_ptr() >>> 0;
    assert.ok(ptr > 0);
    assert.equal(ptr % 16, 0);
    assert.equal(e.get_buffer_size(), 65536);
    assert.ok(ptr + 65536 <= e.memory.buffer.byteLength);
  });

  test("never moves or grows for a version 1 host", () => {
    const box = new Sandbox();
    const ptr = box.exports.get_buffer_ptr();
    box.compute("local t = {} for i = 1, 100000 do t[i] = {i} end");
    assert.throws(() => box.compute("return ('x'):rep(1000000)"));
    assert.throws(() => box.compute("print(('x'):rep(1000000))"));
    assert.throws(() => box.compute("error(('x'):rep(1000000))"));
    assert.equal(box.exports.get_buffer_ptr(), ptr);
    assert.equal(box.exports.get_buffer_size(), 65536);
    works(box);
  });

  test("source may lie anywhere", () => {
    const box = new Sandbox();
    const source = Buffer.from("return 'elsewhere'");
    const ptr = box.exports.lua_alloc(0, 0, 0, source.length);
    box.memory().set(source, ptr);
    assert.equal(box.finish(box.exports.compute(ptr, source.length)).values[0].toString(), "elsewhere");
    const middle = box.exports.get_buffer_ptr() + 30000;
    box.memory().set(source, middle);
    assert.equal(box.finish(box.exports.compute(middle, source.length)).values[0].toString(), "elsewhere");
  });
});

suite("what compute returns", () => {
  const header = [0, 0, 0, 0];
  const cases = {
    "local x": [],
    "return nil": [0x00],
    "return true": [0x01, 1],
    "return false": [0x01, 0],
    "return 1": [0x02, 1, 0, 0, 0, 0, 0, 0, 0],
    "return -2": [0x02, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    "return math.mininteger": [0x02, 0, 0, 0, 0, 0, 0, 0, 0x80],
    "return 3.0": [0x03, 0, 0, 0, 0, 0, 0, 0x08, 0x40],
    "return -0.0": [0x03, 0, 0, 0, 0, 0, 0, 0, 0x80],
    "return 1/0": [0x03, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f],
    "return ''": [0x04, 0, 0, 0, 0],
    "return 'a\\0\\xff'": [0x04, 3, 0, 0, 0, 0x61, 0, 0xff],
    "return 1, 'b', nil": [0x02, 1, 0, 0, 0, 0, 0, 0, 0, 0x04, 1, 0, 0, 0, 0x62, 0x00],
    "return _home": [0x07, 1, 0, 0, 0],
    "return _io": [0x07, 2, 0, 0, 0],
    "return print": [0x06, 5, 0, 0, 0, ...Buffer.from("print")],
    "return string.format": [0x06, 13, 0, 0, 0, ...Buffer.from("string.format")],
    "return math": [0x06, 4, 0, 0, 0, ...Buffer.from("math")],
  };
  for (const [source, expected] of Object.entries(cases))
    test(source, () => {
      const box = new Sandbox();
      const n = box.raw(source);
      assert.deepEqual([...box.buffer(n)], [...header, ...expected]);
    });

  test("a Lua function: its bytecode", () => {
    const box = new Sandbox();
    const n = box.raw("return function(x) return x + 1 end");
    const result = box.buffer(n);
    assert.equal(result[4], 0x05);
    assert.equal(result.readUInt32LE(5), n - 9);
    assert.equal(result.subarray(9, 13).toString("latin1"), "\x1bLua");
  });

  test("a function with upvalues: its bytecode", () => {
    const box = new Sandbox();
    const { values } = box.compute("local n = 5 return function() return n end, 1");
    assert.equal(values[0].tag, 0x05);
    assert.equal(values[1], 1n);
  });

  test("a table becomes an external table", () => {
    const box = new Sandbox();
    const { values } = box.compute("return {10, x = 'y', t = {true}}");
    assert.ok(values[0] instanceof External);
    assert.ok(values[0].id >= 3);
    const table = box.store.tables.get(values[0].id);
    assert.deepEqual([...table.keys()].sort(), ["1", "t", "x"]);
    assert.deepEqual(decode(Buffer.from(table.get("1"))), [10n]);
    assert.equal(decode(Buffer.from(table.get("x")))[0].toString(), "y");
    const inner = decode(Buffer.from(table.get("t")))[0];
    assert.deepEqual(decode(Buffer.from(box.store.tables.get(inner.id).get("1"))), [true]);
  });

  test("the same table twice has one id", () => {
    const { values } = new Sandbox().compute("local t = {} t.me = t return t, t");
    assert.equal(values[0].id, values[1].id);
  });

  test("nothing for empty source", () => {
    const box = new Sandbox();
    assert.equal(box.exports.compute(box.exports.get_buffer_ptr(), 0), 0);
    works(box);
  });

  test("printed text stands in front", () => {
    const box = new Sandbox();
    const n = box.raw("print('a', 1) print() print('é\\0') return 7");
    const printed = Buffer.from("a\t1\n\né\0\n");
    assert.deepEqual(box.buffer(n), Buffer.concat([bytes.u32(printed.length), printed, bytes.integer(7)]));
    assert.deepEqual([...box.buffer(box.raw("return 7"))].slice(0, 4), [0, 0, 0, 0]);
  });

  test("a coroutine is an error", () => {
    const box = new Sandbox();
    fails(box, "return coroutine.create(print)", /coroutine|thread/);
    works(box);
  });
});

suite("errors", () => {
  test("the message stands in the buffer, -n - 1 bytes long", () => {
    const box = new Sandbox();
    const message = "[string \"error('boom')\"]:1: boom";
    const n = box.raw("error('boom')");
    assert.equal(n, -message.length - 1);
    assert.equal(box.buffer(message.length).toString(), message);
  });

  test("an empty message is -1", () => {
    const box = new Sandbox();
    assert.equal(box.raw("error('', 0)"), -1);
    works(box);
  });

  const kinds = {
    "return (": /unexpected symbol near <eof>/,
    "error('text')": /:1: text$/,
    "error({})": /^\(error object is a table value\)$/,
    "error(setmetatable({}, {__tostring = function() return 'as text' end}))": /^as text$/,
    "error()": /^\(error object is a nil value\)$/,
    "return nil + 1": /attempt to perform arithmetic on a nil value/,
    "local function f() return 1 + f() end f()": /stack overflow/,
    "return ('x'):rep(1 << 40)": /resulting string too large/,
    "coroutine.wrap(function() error('inside') end)()": /inside/,
    "coroutine.yield()": /outside a coroutine/,
    "local c <close> = setmetatable({}, {__close = function() error('closing', 0) end})": /^closing$/,
    "return coroutine.create(print)": /coroutine/,
    "return ('x'):rep(70000)": /70/,
  };
  for (const [source, pattern] of Object.entries(kinds))
    test(`then a working compute: ${source}`, () => {
      const box = new Sandbox();
      for (let round = 0; round < 3; round++) {
        fails(box, source, pattern);
        works(box);
      }
    });

  test("10,000 errors and working computes in turn", () => {
    const box = new Sandbox();
    box.compute("n = 0");
    for (let i = 0; i < 10000; i++) {
      assert.ok(box.raw("n = n + 1 error('again')") < 0);
      assert.ok(box.raw("n = n + 1 return n") > 0);
    }
    assert.equal(one(box, "return n"), 20000n);
    assert.equal(box.exports.memory.buffer.byteLength, 32 * 65536);
  });

  test("pcall, error objects and coroutines work", () => {
    const box = new Sandbox();
    assert.equal(text(box, "local ok, e = pcall(error, {code = 'x'}) return e.code"), "x");
    assert.equal(one(box, "local n = 0 for v in coroutine.wrap(function() for i = 1, 5 do coroutine.yield(i) end end) do n = n + v end return n"), 15n);
    assert.equal(text(box, "return (('abc'):gsub('.', function(c) local ok, e = pcall(error, c, 0) return e .. e end))"), "aabbcc");
  });
});

suite("sizes", () => {
  test("source that fills the buffer runs, longer source is -1", () => {
    const box = new Sandbox();
    const fill = (n) => "return 1".padEnd(n);
    assert.equal(one(box, fill(65535)), 1n);
    assert.equal(one(box, fill(65536)), 1n);
    const ptr = box.exports.get_buffer_ptr();
    assert.equal(box.exports.compute(ptr, 65537), -1);
    assert.equal(box.exports.compute(ptr, 0x7fffffff), -1);
    assert.equal(box.exports.compute(ptr, -1), -1);
    works(box);
  });

  test("the largest result that fits comes whole", () => {
    const box = new Sandbox();
    const most = 65536 - 4 - 5;
    assert.equal(one(box, `return ('x'):rep(${most})`).length, most);
    for (const n of [most + 1, 65535, 65536, 65537, 1000000]) {
      fails(box, `return ('x'):rep(${n})`, /\d{5}/);
      assert.match(assert.throws(() => box.compute(`return ('x'):rep(${n})`)) ?? String(n), /\d/);
      works(box);
    }
  });

  test("a result that is too large names its size", () => {
    const box = new Sandbox();
    fails(box, "return ('x'):rep(70000)", /70009/);
    fails(box, "local t = {} for i = 1, 200 do t[i] = ('x'):rep(1000) end return table.unpack(t)", /201004/);
  });

  test("printed text that is too large names its size", () => {
    const box = new Sandbox();
    fails(box, "print(('x'):rep(69999))", /70000/);
    fails(box, "for i = 1, 10000 do print('123456789') end", /100000/);
    works(box);
    assert.equal(box.compute("return 1").output.length, 0);
  });

  test("an error message that is too large is cut to the buffer", () => {
    const box = new Sandbox();
    const n = box.raw("error(('m'):rep(100000), 0)");
    assert.ok(n < -1 && -n - 1 <= 65536, String(n));
    assert.match(box.buffer(-n - 1).toString(), /^m+/);
    works(box);
  });

  test("values and keys up to 65,536 bytes, larger ones name their size", () => {
    const box = new Sandbox();
    box.compute("_home.v = ('v'):rep(65531) _home[('k'):rep(65536)] = 1");
    assert.equal(one(box, "return #_home.v"), 65531n);
    assert.equal(one(box, "return _home[('k'):rep(65536)]"), 1n);
    fails(box, "_home.w = ('v'):rep(65532)", /65537/);
    fails(box, "_home[('k'):rep(65537)] = 1", /65537/);
    fails(box, "_home[('\\n'):rep(40000)] = 1", /80002/);
    fails(box, "_home.f = load('return \"' .. ('z'):rep(70000) .. '\"')", /\d{5}/);
    assert.equal(one(box, "return _home.w"), null);
    works(box);
  });

  test("a key list beyond 65,536 bytes is whole", () => {
    const box = new Sandbox();
    box.compute("for i = 1, 20000 do _home['key number ' .. i] = i end");
    assert.equal(one(box, "local n = 0 for k, v in pairs(_home) do n = n + v end return n"), 200010000n);
    assert.equal(one(box, "local n = 0 for k in next, _home do n = n + 1 end return n"), 20000n);
  });
});

suite("memory", () => {
  const stats = (box) => {
    const ptr = box.exports.lua_alloc(0, 0, 0, 12);
    box.exports.get_memory_stats(ptr);
    const view = Buffer.from(box.memory().slice(ptr, ptr + 12));
    box.exports.lua_alloc(0, ptr, 12, 0);
    return { buffer: view.readUInt32LE(0), used: view.readUInt32LE(4), pages: view.readUInt32LE(8) };
  };

  test("statistics are true", () => {
    const box = new Sandbox();
    const before = stats(box);
    assert.equal(before.buffer, 65536);
    assert.equal(before.pages, box.exports.memory.buffer.byteLength / 65536);
    assert.ok(before.used > 5000 && before.used < 500000, String(before.used));
    box.compute("keep = ('x'):rep(5000000)");
    const after = stats(box);
    assert.ok(after.used > before.used + 5000000 && after.used < before.used + 5200000, `${before.used} ${after.used}`);
    assert.equal(after.pages, box.exports.memory.buffer.byteLength / 65536);
    assert.ok(after.pages > 32);
    assert.equal(BigInt(after.used) / 10000n, BigInt(Math.round(one(box, "return collectgarbage('count')") * 1024)) / 10000n);
    box.compute("keep = nil");
    box.exports.run_gc();
    assert.ok(stats(box).used < before.used + 20000);
  });

  test("statistics go where they are asked to", () => {
    const box = new Sandbox();
    const ptr = box.exports.get_buffer_ptr() + 101;
    box.memory().fill(0xaa, ptr - 4, ptr + 16);
    box.exports.get_memory_stats(ptr);
    const around = Buffer.from(box.memory().slice(ptr - 4, ptr + 16));
    assert.equal(around.readUInt32LE(4), 65536);
    assert.equal(around.readUInt32BE(0), 0xaaaaaaaa);
    assert.equal(around.readUInt32BE(16), 0xaaaaaaaa);
  });

  test("run_gc collects and finalizes", () => {
    const box = new Sandbox();
    box.compute("done = 0 setmetatable({}, {__gc = function() done = done + 1 end}) weak = setmetatable({{}}, {__mode = 'v'})");
    box.exports.run_gc();
    box.exports.run_gc();
    assert.equal(one(box, "return done"), 1n);
    assert.equal(one(box, "return #weak"), 0n);
  });

  test("a failing finalizer leaves run_gc whole", () => {
    const box = new Sandbox();
    box.compute("for i = 1, 10 do setmetatable({}, {__gc = function() error('gc') end}) end");
    box.exports.run_gc();
    works(box);
  });

  test("memory does not grow over many computes", () => {
    const box = new Sandbox();
    for (let i = 0; i < 300; i++) box.compute("local t = {} for i = 1, 1000 do t[i] = {tostring(i)} end _home.x = {1, 2, {3}} return #t");
    assert.ok(box.exports.memory.buffer.byteLength <= 64 * 65536);
    assert.ok(stats(box).used < 2000000, `${stats(box).used}`);
  });

  test("lua_alloc refuses sizes that no memory has", () => {
    for (const size of [0x7fff0000, 0x7fffffff, 0x80000000, 0xf0000000, 0xfffff000, 0xfffffff0, 0xffffffff]) {
      const box = new Sandbox();
      assert.equal(box.exports.lua_alloc(0, 0, 0, size), 0, size.toString(16));
      const ptr = box.exports.lua_alloc(0, 0, 0, 100);
      assert.equal(box.exports.lua_alloc(0, ptr, 100, size), 0, size.toString(16));
      works(box);
    }
  });

  test("strings that no memory holds are an error", () => {
    for (const size of ["1 << 31", "(1 << 31) - 1", "(1 << 31) - 100"]) {
      const box = new Sandbox();
      fails(box, `return #('x'):rep(${size})`, /not enough memory|too large/);
      works(box);
    }
  });

  test("lua_alloc gives, moves and takes back memory", () => {
    const box = new Sandbox();
    const e = box.exports;
    const alloc = (ptr, old, size) => e.lua_alloc(0, ptr, old, size) >>> 0;
    let ptr = alloc(0, 0, 100);
    assert.ok(ptr > 0 && ptr % 8 === 0);
    box.memory().set(Buffer.from("0123456789"), ptr);
    ptr = alloc(ptr, 100, 300000);
    assert.equal(Buffer.from(box.memory().slice(ptr, ptr + 10)).toString(), "0123456789");
    ptr = alloc(ptr, 300000, 10);
    assert.equal(Buffer.from(box.memory().slice(ptr, ptr + 10)).toString(), "0123456789");
    assert.equal(alloc(ptr, 10, 0), 0);
    assert.equal(alloc(0, 0, 0), 0);
    works(box);
    const before = e.memory.buffer.byteLength;
    for (let i = 0; i < 1000; i++) {
      const p = alloc(0, 0, 100000);
      assert.ok(p > 0);
      alloc(p, 100000, 0);
    }
    assert.ok(e.memory.buffer.byteLength <= before + 2 * 1024 * 1024);
    works(box);
  });

  test("blocks of lua_alloc are Lua's and the host's apart", () => {
    const box = new Sandbox();
    const blocks = [];
    for (let i = 1; i <= 200; i++) {
      const size = (i * 37) % 5000 + 1;
      const ptr = box.exports.lua_alloc(0, 0, 0, size) >>> 0;
      box.memory().fill(i & 0xff, ptr, ptr + size);
      blocks.push([ptr, size, i & 0xff]);
      box.compute("t = t or {} t[#t + 1] = ('x'):rep(#t * 7)");
    }
    box.exports.run_gc();
    for (const [ptr, size, mark] of blocks) assert.ok(box.memory().subarray(ptr, ptr + size).every((b) => b === mark));
    assert.equal(one(box, "for i, s in ipairs(t) do assert(s == ('x'):rep((i - 1) * 7)) end return #t"), 200n);
  });
});

suite("tables", () => {
  test("ids: _home is 1, _io is 2, new ones follow", () => {
    const box = new Sandbox();
    assert.equal(box.exports.get_memory_table_id(), 1);
    assert.equal(box.exports.get_io_table_id(), 2);
    assert.equal(one(box, "return ext.table()").id, 3);
    assert.equal(one(box, "return ext.table()").id, 4);
  });

  test("what a script stores is in the host, byte for byte", () => {
    const box = new Sandbox();
    box.compute("_home.i = 3 _home.f = 3.0 _home.s = 'a\\0' _home.b = true _home[7] = 'seven' _home.p = print _home.sub = {1}");
    const home = box.store.tables.get(1);
    const at = (key) => Buffer.from(home.get(key));
    assert.deepEqual(at("i"), bytes.integer(3));
    assert.deepEqual(at("f"), bytes.float(3));
    assert.deepEqual(at("s"), bytes.string("a\0"));
    assert.deepEqual(at("b"), bytes.boolean(true));
    assert.deepEqual(at("7"), bytes.string("seven"));
    assert.deepEqual(at("p"), bytes.builtin("print"));
    assert.equal(at("sub")[0], 0x07);
    box.compute("_home.i = nil");
    assert.ok(!home.has("i"));
  });

  test("what the host stores is in the script", () => {
    const box = new Sandbox();
    const { store } = box;
    store.set(2, "input", bytes.string("from outside"));
    store.set(2, "meta", bytes.external(50));
    store.set(50, "1", bytes.integer(10));
    store.set(50, "2", bytes.float(20));
    store.set(50, "name", bytes.string("é"));
    store.set(50, "yes", bytes.boolean(true));
    store.set(50, "no", bytes.nil());
    box.exports.sync_external_table_counter(51);
    assert.equal(text(box, "return _io.input"), "from outside");
    assert.deepEqual(box.compute("local m = _io.meta return m[1], m[2], m.yes, m.no, #m, type(m)").values.slice(0, 5), [10n, 20, true, null, 2n]);
    assert.equal(text(box, "return _io.meta.name"), "é");
    assert.equal(one(box, "local n = 0 for k, v in pairs(_io.meta) do n = n + 1 end return n"), 4n);
    assert.equal(one(box, "_io.output = {sum = _io.meta[1] + _io.meta[2]} return 1"), 1n);
    const output = decode(Buffer.from(store.tables.get(2).get("output")))[0];
    assert.deepEqual(Buffer.from(store.tables.get(output.id).get("sum")), bytes.float(30));
  });

  test("a Lua function stored by a version 1 guest runs", () => {
    const box = new Sandbox();
    const code = one(box, "return function(x) return x * 2 end");
    assert.equal(code.tag, 0x05);
    box.store.set(1, "f", Buffer.concat([Buffer.of(5), bytes.u32(code.detail.length), code.detail]));
    box.store.set(1, "g", bytes.builtin("string.rep"));
    assert.equal(one(box, "return _home.f(21)"), 42n);
    assert.equal(text(box, "return _home.g('ab', 2)"), "abab");
  });

  test("clear_io_table removes three entries", () => {
    const box = new Sandbox();
    box.compute("_io.input, _io.output, _io.meta, _io.other = 1, {2}, 3, 4");
    box.exports.clear_io_table();
    assert.deepEqual(box.compute("return _io.input, _io.output, _io.meta, _io.other").values, [null, null, null, 4n]);
    box.exports.clear_io_table();
    works(box);
  });

  test("the counter goes up and never down", () => {
    const box = new Sandbox();
    box.exports.sync_external_table_counter(100);
    assert.equal(one(box, "return ext.table()").id, 100);
    box.exports.sync_external_table_counter(50);
    box.exports.sync_external_table_counter(0);
    assert.equal(one(box, "return ext.table()").id, 101);
    box.exports.sync_external_table_counter(0x80000000);
    assert.equal(one(box, "return ext.table()").id, 0x80000000);
    assert.equal(one(box, "_home.t = {v = 5} return _home.t.v"), 5n);
  });

  test("a counter at its end is an error, not a second use of an id", () => {
    const box = new Sandbox();
    box.exports.sync_external_table_counter(-2);
    const ids = new Set([0, 1, 2]);
    for (let i = 0; i < 5; i++) {
      try {
        const { id } = one(box, "return ext.table()");
        assert.ok(!ids.has(id), `id ${id}`);
        ids.add(id);
      } catch (error) {
        assert.ok(error instanceof LuaError, String(error));
      }
    }
    works(box);
  });

  test("attach_memory_table makes another table _home", () => {
    const box = new Sandbox();
    box.compute("_home.x = 'first' old = _home");
    box.exports.sync_external_table_counter(100);
    box.exports.attach_memory_table(40);
    assert.equal(box.exports.get_memory_table_id(), 40);
    assert.equal(one(box, "return _home.x"), null);
    assert.equal(one(box, "return Memory == _home"), true);
    box.compute("_home.x = 'second'");
    assert.equal(Buffer.from(box.store.tables.get(40).get("x")).subarray(5).toString(), "second");
    assert.equal(text(box, "return old.x"), "first");
    box.exports.attach_memory_table(0);
    assert.equal(box.exports.get_memory_table_id(), 40);
    box.exports.attach_memory_table(1);
    assert.equal(text(box, "return _home.x"), "first");
    assert.equal(one(box, "return _home == old"), true);
  });

  test("the alias can be switched", () => {
    const box = new Sandbox();
    assert.equal(one(box, "return Memory == _home"), true);
    box.exports.set_memory_alias_enabled(0);
    assert.equal(one(box, "return Memory"), null);
    box.exports.attach_memory_table(9);
    assert.equal(one(box, "return Memory"), null);
    box.exports.set_memory_alias_enabled(1);
    assert.equal(one(box, "return Memory == _home"), true);
  });

  test("two instances share the host's tables", () => {
    const store = new Store();
    const a = new Sandbox({ store });
    const b = new Sandbox({ store });
    b.exports.sync_external_table_counter(1000);
    a.compute("_home.n = 1 _home.t = {list = {1, 2}}");
    assert.equal(one(b, "return _home.n + #_home.t.list"), 3n);
    b.compute("_home.n = 10 _home.t.list[3] = 3 _home.t.new = {deep = 'b'}");
    assert.equal(one(a, "return _home.n + #_home.t.list"), 13n);
    assert.equal(text(a, "return _home.t.new.deep"), "b");
    assert.equal(one(a, "local s = 0 for _, v in ipairs(_home.t.list) do s = s + v end return s"), 6n);
    b.compute("_home.t.list[3] = nil _home.n = nil");
    assert.equal(one(a, "return #_home.t.list"), 2n);
    assert.equal(one(a, "return _home.n"), null);
  });

  test("a new instance finds everything again", () => {
    const store = new Store();
    const first = new Sandbox({ store });
    first.compute(`
      local n = 0
      _home.inc = function() n = n + 1 return n end
      _home.t = {1, 2, {x = 'deep'}, ['1'] = 'text', [1.5] = 'float', [true] = 'yes', ['\\n'] = 'newline', ['\\xff'] = 'bytes'}
      _home.t.me = _home.t`);
    assert.equal(one(first, "return _home.inc()"), 1n);
    const next = Math.max(...store.tables.keys()) + 1;
    const second = new Sandbox({ store });
    second.exports.sync_external_table_counter(next);
    second.exports.attach_memory_table(1);
    assert.equal(one(second, "return _home.inc()"), 2n);
    const { values } = second.compute("local t = _home.t return t[1], #t, t[3].x, t['1'], t[1.5], t[true], t['\\n'], t['\\xff'], t.me == t");
    assert.deepEqual(values.map((v) => (Buffer.isBuffer(v) ? v.toString() : v)), [1n, 3n, "deep", "text", "float", "yes", "newline", "bytes", true]);
  });

  test("a host that makes tables at their first entry does not give an empty table's id twice", () => {
    const store = new Store();
    new Sandbox({ store }).compute("_home.empty = {} _home.list = {{}, {}}");
    const next = Math.max(...store.tables.keys()) + 1; // what a host can know from the five functions
    const second = new Sandbox({ store });
    second.exports.sync_external_table_counter(next);
    second.compute("_home.other = {} _home.other.x = 1 _home.third = {} _home.third.y = 2 _home.fourth = {z = 3}");
    assert.equal(one(second, "return next(_home.empty) == nil and next(_home.list[1]) == nil and next(_home.list[2]) == nil"), true);
  });

  test("a failing compute keeps what it wrote when the host has no transactions", () => {
    const box = new Sandbox();
    assert.throws(() => box.compute("_home.x = 1 _home.t = {2} error('late')"));
    assert.equal(one(box, "return _home.x + _home.t[1]"), 3n);
  });

  test("the first table function with an id that the host does not know", () => {
    const box = new Sandbox();
    box.store.set(1, "lost", bytes.external(4711));
    assert.equal(one(box, "return _home.lost.x"), null);
    assert.equal(one(box, "local n = 0 for _ in pairs(_home.lost) do n = n + 1 end return n + #_home.lost"), 0n);
    assert.equal(one(box, "_home.lost.x = nil return next(_home.lost) == nil"), true);
    box.compute("_home.lost.x = 1");
    assert.ok(box.store.tables.get(4711).has("x"));
  });
});

suite("keys", () => {
  // Lua source of a key -> the text that the host sees
  const forms = [
    ["'name'", "name"],
    ["'007'", "007"],
    ["'1.5'", "1.5"],
    ["'true'", "true"],
    ["'größe \u{1f680}'", "größe \u{1f680}"],
    ["'-'", "-"],
    ["'-0'", "-0"],
    ["'9223372036854775808'", "9223372036854775808"],
    ["1", "1"],
    ["0", "0"],
    ["-7", "-7"],
    ["2.0", "2"],
    ["math.maxinteger", "9223372036854775807"],
    ["math.mininteger", "-9223372036854775808"],
    ["''", "\\s"],
    ["'42'", "\\s42"],
    ["'-7'", "\\s-7"],
    ["'0'", "\\s0"],
    ["'a\\nb'", "\\sa\\nb"],
    ["'\\xff'", "\\s\\xff"],
    ["'\\xc3'", "\\s\\xc3"],
    ["'\\xed\\xa0\\x80'", "\\s\\xed\\xa0\\x80"],
    ["'ä\\xff'", "\\sä\\xff"],
    ["'\\\\d'", "\\s\\\\d"],
    ["'\\\\'", "\\s\\\\"],
    ["'a\\\\b'", "a\\b"],
    ["'a\\0b'", "a\0b"],
    ["0.5", "\\f0.5"],
    ["-0.1", "\\f-0.1"],
    ["1e300", "\\f1e+300"],
    ["0.1 + 0.2", "\\f0.30000000000000004"],
    ["5e-324", null],
    ["1/3", null],
    ["1/0", "\\finf"],
    ["-1/0", "\\f-inf"],
    ["true", "\\btrue"],
    ["false", "\\bfalse"],
  ];
  for (const [lua, expected] of forms)
    test(`${lua} is ${JSON.stringify(expected)}`, () => {
      const box = new Sandbox();
      box.compute(`_home[${lua}] = 'v'`);
      const [key] = box.store.tables.get(1).keys();
      if (expected !== null) assert.equal(key, expected);
      assert.ok(!key.includes("\n"));
      assert.equal(text(box, `return _home[${lua}]`), "v");
      assert.equal(one(box, `local k = next(_home) return k == ${lua} and math.type(k) == math.type(next({[${lua}] = 1}))`), true);
      const again = new Sandbox({ store: box.store });
      assert.equal(text(again, `return _home[${lua}]`), "v");
      assert.equal(one(again, `for k in pairs(_home) do return k == ${lua} and math.type(k) == math.type(next({[${lua}] = 1})) end`), true);
    });

  test("a host that decodes keys as UTF-8 loses nothing", () => {
    const box = new Sandbox();
    const source = `
      local keys = {'', '\\n', '\\n\\n', '\\r', '\\0', '\\\\', '\\\\s', '\\\\n', '\\\\x', '\\xff', '\\xfe', '\\xc3', '\\xc3\\xa4', '\\xed\\xa0\\x80',
        '\\xf5', '\\xc0\\x80', '\\u{fffd}', '\\u{feff}', '\\u{feff}a', 'a', '1', 1, '1.0', 1.5, '1.5', true, 'true', -1, '-1', 0, '0', '-0', '00',
        'A', 'e\\u{301}', '\\u{e9}', '\\u{2028}', 1/0, 'inf', '\\\\finf', '\\\\btrue', math.mininteger, '-9223372036854775808'}
      `;
    box.compute(`${source} for i, k in ipairs(keys) do _home[k] = i end`);
    const count = one(box, `${source} return #keys`);
    assert.equal(BigInt(box.store.tables.get(1).size), count);
    for (const sandbox of [box, new Sandbox({ store: box.store })]) {
      assert.equal(one(sandbox, `${source} for i, k in ipairs(keys) do if _home[k] ~= i then return i end end return 'all'`).toString(), "all");
      assert.equal(one(sandbox, `${source} local n = 0 for k, i in pairs(_home) do if keys[i] == k then n = n + 1 end end return n`), count);
    }
  });

  test("keys that others wrote stay readable", () => {
    const box = new Sandbox();
    for (const key of ["\\", "\\q", "\\sbroken\\", "\\s\\x1", "\\fnot a number", "\\bmaybe", "\\f", "\\b", "plain", "\\s\\xZZ"]) box.store.set(1, key, bytes.string(key));
    assert.equal(one(box, "local n = 0 for k, v in pairs(_home) do if k == v then n = n + 1 end end return n"), 10n);
  });
});

suite("a host that fails", () => {
  const failing = (names) => {
    const box = new Sandbox();
    const broken = new Sandbox({ store: box.store, imports: Object.fromEntries(names.map((name) => [name, () => -1])) });
    return broken;
  };

  test("-1 from set is a Lua error", () => {
    const box = failing(["js_ext_table_set"]);
    for (let i = 0; i < 5; i++) {
      fails(box, "_home.some_key = 1", /some_key/);
      fails(box, "_home.t = {1, {2}}", /./);
      assert.equal(one(box, "local t = {1, {2}} local ok = pcall(function() _home.t = t end) return not ok and #t == 2 and t[2][1] == 2"), true);
      fails(box, "rawset(_home, 'k', 1)", /k/);
      fails(box, "table.insert(_home, 1)", /./);
      works(box);
    }
  });

  test("-1 from set while a result is stored is a Lua error", () => {
    const box = failing(["js_ext_table_set"]);
    fails(box, "return {1, 2}", /./);
    works(box);
  });

  test("-1 from get is nil", () => {
    const box = failing(["js_ext_table_get"]);
    assert.equal(one(box, "_home.x = 1 return _home.x"), null);
    works(box);
  });

  test("-1 from delete and keys", () => {
    const box = failing(["js_ext_table_delete", "js_ext_table_keys"]);
    box.compute("_home.x = 1");
    box.compute("_home.nothing = nil");
    assert.ok(box.raw("for k in pairs(_home) do end return 1") !== 0);
    works(box);
    box.exports.clear_io_table();
    works(box);
  });

  test("set that fails from the third call on", () => {
    let calls = 0;
    const store = new Store();
    const box = new Sandbox({
      store,
      imports: { js_ext_table_set: () => (++calls > 2 ? -1 : 0) },
    });
    fails(box, "t = {a = {b = {c = {d = 1}}}} _home.t = t", /./);
    assert.equal(one(box, "return t.a.b.c.d"), 1n);
    works(box);
  });

  const answers = [-2, -3, -65537, -0x80000000, -0x7fffffff, 1, 5, 65535, 65536, 65537, 0x7fffffff];
  for (const answer of answers)
    test(`every function answers ${answer}`, () => {
      let calls = 0;
      const lie = () => {
        if (++calls > 1000000) throw new Error("the guest asks without end");
        return answer;
      };
      const box = new Sandbox({ imports: Object.fromEntries(Object.keys(imports).map((name) => [name, lie])) });
      for (const source of [
        "return _home.x", "_home.x = 1", "_home.x = nil", "_home.x = {1, {2}}", "return #_home", "for k, v in pairs(_home) do end",
        "return next(_home)", "table.insert(_home, 1)", "table.sort(_home)", "return {1, {2}}", "local n = 0 _home.f = function() n = n + 1 end _home.f()",
        "setmetatable({}, _home).x = 1", "return table.concat(_home)", "for i, v in ipairs(_home) do if i > 3 then break end end",
      ]) {
        calls = 0;
        box.raw(source);
        works(box);
      }
      box.exports.clear_io_table();
      box.exports.run_gc();
      works(box);
    });

  // Bytes that no guest would have stored.
  const values = {
    "an unknown tag": [0x99],
    "nothing": [],
    "a boolean without its byte": [0x01],
    "a cut integer": [0x02, 1, 2],
    "a cut float": [0x03, 1],
    "a cut string": [0x04, 10, 0, 0, 0, 0x61],
    "a string that claims 4 GiB": [0x04, 0xff, 0xff, 0xff, 0xff],
    "a function that is none": [0x05, 4, 0, 0, 0, 1, 2, 3, 4],
    "a function that is cut": [0x05, 0xff, 0xff, 0, 0, 0x1b, 0x4c, 0x75, 0x61],
    "an unknown built-in": [0x06, 4, 0, 0, 0, ...Buffer.from("nope")],
    "table 0": [0x07, 0, 0, 0, 0],
    "a cut table id": [0x07, 1],
    "table 4294967295": [0x07, 0xff, 0xff, 0xff, 0xff],
    "a table that claims 4 billion entries": [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    "a table with a nil key": [0x08, 0, 0, 0, 0, 1, 0, 0, 0, 0x00, 0x00],
    "a table with a NaN key": [0x08, 0, 0, 0, 0, 1, 0, 0, 0, 0x03, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0x00],
    "a reference to no table": [0x09, 5, 0, 0, 0],
    "a handle": [0x0a, 5, 0, 0, 0],
    "a stored function that is not there": [0x0b, 99, 0, 0, 0],
    "a stored upvalue": [0x0c, 99, 0, 0, 0],
    "two values": [0x00, 0x00],
    "a value and a byte": [0x01, 1, 7],
  };
  for (const [what, value] of Object.entries(values))
    test(`the store holds ${what}`, () => {
      const box = new Sandbox();
      box.store.set(1, "x", Buffer.from(value));
      box.store.set(1, "1", Buffer.from(value));
      for (const source of [
        "return type(_home.x)", "local x = _home.x if type(x) == 'table' then x.y = 1 for k in pairs(x) do end end", "for k, v in pairs(_home) do end",
        "return next(_home)", "return #_home", "return table.concat(_home)", "local f = _home.x if type(f) == 'function' then f() end", "_home.y = _home.x",
      ]) {
        box.raw(source);
        works(box);
      }
      box.compute("_home.x = 'repaired'");
      assert.equal(text(box, "return _home.x"), "repaired");
    });

  test("stored functions that describe themselves wrongly", () => {
    for (const entries of [
      { code: bytes.string("\x1bLua") },
      { code: bytes.integer(1) },
      { code: bytes.string(""), 1: bytes.integer(1) },
      { 1: Buffer.from([0x0c, 60, 0, 0, 0]) },
    ]) {
      const box = new Sandbox();
      box.store.set(1, "f", Buffer.from([0x0b, 50, 0, 0, 0]));
      for (const [key, value] of Object.entries(entries)) box.store.set(50, key, value);
      box.raw("return _home.f()");
      works(box);
    }
  });

  test("stored upvalues that hold each other", () => {
    const box = new Sandbox();
    box.compute("local a, b a = function() return b end b = function() return a end _home.a = a _home.b = b");
    const again = new Sandbox({ store: box.store });
    again.exports.sync_external_table_counter(100);
    assert.equal(one(again, "return _home.a() == _home.b and _home.b()() == _home.b"), true);
  });

  test("key lists that are nonsense", () => {
    for (const list of ["\n", "\n\n\n", "a\n", "\na", "x\nx\nx", "\\\n\\s\n\\x", "\xff\xfe"]) {
      const data = Buffer.from(list, "latin1");
      let calls = 0;
      const box = new Sandbox({
        imports: {
          js_ext_table_size: () => 3,
          js_ext_table_keys: (id, ptr, max) => {
            box.memory().set(data, ptr);
            return data.length;
          },
          js_ext_table_get: (id, kp, kl, vp) => {
            if (++calls > 100000) throw new Error("the guest asks without end");
            box.memory().set(bytes.integer(5), vp);
            return 9;
          },
        },
      });
      box.raw("local n = 0 for k, v in pairs(_home) do n = n + 1 if n > 20 then break end end return n");
      box.raw("local k, n = nil, 0 repeat k = next(_home, k) n = n + 1 until k == nil or n > 20 return n");
      box.raw("return #_home, table.concat(_home)");
      works(box);
    }
  });

  test("a host that calls back into the guest is refused", () => {
    const seen = [];
    const box = new Sandbox({
      imports: {
        js_ext_table_get: () => {
          const e = box.exports;
          seen.push(e.compute(e.get_buffer_ptr(), 8), e.init());
          e.run_gc();
          e.attach_memory_table(5);
          e.get_memory_stats(e.get_buffer_ptr());
          return -1;
        },
      },
    });
    assert.equal(one(box, "return _home.x"), null);
    assert.deepEqual(seen, [-1, 0]);
    assert.equal(box.exports.get_memory_table_id(), 1);
    works(box);
  });
});

suite("hostile calls from the host", () => {
  const far = [0, 1, 0x7fffffff, -1, -65536, 32 * 65536 - 1, 32 * 65536, 0x40000000];
  test("compute outside the memory is -1", () => {
    const box = new Sandbox();
    for (const ptr of [-1, -100, -65536, 0x7fffffff, 0x40000000]) for (const len of [1, 2, 65536, 0x7fffffff, -1]) assert.equal(box.exports.compute(ptr, len), -1, `${ptr} ${len}`);
    for (const ptr of far) for (const len of far) box.exports.compute(ptr, len);
    const end = box.exports.memory.buffer.byteLength;
    assert.equal(box.exports.compute(end - 1, 2), -1);
    assert.ok(box.exports.compute(end - 1, 1) !== 0);
    works(box);
  });

  test("get_memory_stats outside the memory does nothing", () => {
    const box = new Sandbox();
    const end = box.exports.memory.buffer.byteLength;
    for (const ptr of [-1, -12, -11, 0x7fffffff, end, end - 1, end - 11]) box.exports.get_memory_stats(ptr);
    box.exports.get_memory_stats(end - 12);
    works(box);
  });

  test("settings with any number", () => {
    const box = new Sandbox();
    for (const n of far) {
      box.exports.set_memory_alias_enabled(n);
      box.exports.attach_memory_table(n);
      works(box);
    }
    box.exports.attach_memory_table(1);
    works(box);
  });
});

suite("what a script finds", () => {
  test("no clock: os.time says so", () => {
    const box = new Sandbox();
    fails(box, "return os.time()", /clock/);
    fails(box, "return os.date()", /clock/);
    fails(box, "return os.clock()", /clock/);
    assert.equal(one(box, "return os.time({year = 2001, month = 9, day = 9, hour = 1, min = 46, sec = 40})"), 1000000000n);
    assert.equal(text(box, "return os.date('!%Y-%m-%d', 0)"), "1970-01-01");
    works(box);
  });

  test("random numbers without entropy", () => {
    const box = new Sandbox();
    assert.equal(one(box, "local a = math.random() return a >= 0 and a < 1"), true);
    box.compute("math.randomseed()");
    works(box);
  });

  test("functions are of the tags that the contract names", () => {
    for (const value of new Sandbox().compute("return print, function() end, coroutine.wrap, table").values) assert.ok(value instanceof LuaFunction);
  });
});
