// What revision 2 adds, as a host sees it that announced it with `set_host_revision(2)`.

import assert from "node:assert/strict";
import { describe as suite, test } from "node:test";

import { External, LuaError, LuaFunction, LuaTable, Sandbox, Store, bytes, decode } from "./host.mjs";

const make = (options) => new Sandbox({ revision: 2, ...options });
const one = (box, source, options) => box.compute(source, options).values[0];
const text = (box, source, options) => one(box, source, options).toString("utf8");
const plain = (v) => (Buffer.isBuffer(v) ? v.toString("utf8") : v instanceof LuaTable ? v.pairs.map(([k, x]) => [plain(k), plain(x)]) : v);
const works = (box) => assert.equal(one(box, "return 1 + 1"), 2n);
const all = (...parts) => Buffer.concat(parts);
function failure(run) {
  try {
    run();
  } catch (error) {
    if (error instanceof LuaError) return error;
    throw error;
  }
  assert.fail("no error");
}

suite("revision", () => {
  test("the guest says that it speaks revision 4", () => {
    assert.equal(new Sandbox({ init: false }).exports.get_protocol_revision(), 4);
    assert.equal(new Sandbox().exports.get_protocol_revision(), 4);
  });

  test("can be announced before init and taken back", () => {
    const box = new Sandbox({ init: false });
    box.exports.set_host_revision(2);
    box.exports.init();
    const result = () => box.finish(box.raw("return {1}")).values[0];
    assert.ok(result() instanceof LuaTable);
    box.exports.set_host_revision(1);
    assert.ok(result() instanceof External);
    box.exports.set_host_revision(3);
    assert.ok(result() instanceof LuaTable);
    for (const n of [0, -1, -2147483648]) {
      box.exports.set_host_revision(n);
      assert.ok(result() instanceof External);
    }
  });
});

suite("inline tables as results", () => {
  test("array and pairs", () => {
    const box = make();
    const n = box.raw("return {10, 'b', true}");
    assert.deepEqual(box.buffer(n).subarray(4), bytes.table([bytes.integer(10), bytes.string("b"), bytes.boolean(true)]));
    const m = box.raw("return {x = 1.5}");
    assert.deepEqual(box.buffer(m).subarray(4), bytes.table([], [[bytes.string("x"), bytes.float(1.5)]]));
    const e = box.raw("return {}");
    assert.deepEqual(box.buffer(e).subarray(4), bytes.table([]));
    assert.equal(box.store.tables.size, 0);
  });

  test("shared tables and cycles", () => {
    const box = make();
    const [a, b, c] = box.compute("local t = {1} local u = {t, t} u[3] = u return t, u, t").values;
    assert.equal(b.pairs[0][1], a);
    assert.equal(b.pairs[1][1], a);
    assert.equal(b.pairs[2][1], b);
    assert.equal(c, a);
  });

  test("external tables stay references", () => {
    const box = make();
    const { values } = box.compute("_home.t = {1} return _home.t, {_home.t, {2}}, _home");
    assert.ok(values[0] instanceof External);
    assert.equal(values[1].pairs[0][1].id, values[0].id);
    assert.ok(values[1].pairs[1][1] instanceof LuaTable);
    assert.equal(values[2].id, 1);
  });

  test("keys of every kind", () => {
    const { values } = make().compute("return {[1.5] = 1, [true] = 2, ['\\xff\\n'] = 3, [-1] = 4, [''] = 5, [{}] = 6, [print] = 7}");
    assert.equal(values[0].pairs.length, 7);
  });

  test("100,000 levels", () => {
    const box = make();
    let [t] = box.compute("local t = {} for i = 2, 100000 do t = {t} end return t").values;
    let depth = 1;
    while (t.pairs.length) {
      t = t.pairs[0][1];
      depth++;
    }
    assert.equal(depth, 100000);
    works(box);
  });

  test("metatables do not travel and are not asked", () => {
    const { values } = make().compute("return setmetatable({1}, {__index = error, __pairs = error, __len = error, __metatable = false})");
    assert.deepEqual(plain(values[0]), [[1n, 1n]]);
  });
});

suite("sizes without a ceiling", () => {
  test("reserve_buffer makes room and gives it back", () => {
    const box = make();
    const e = box.exports;
    const ptr = e.reserve_buffer(1000000) >>> 0;
    assert.ok(ptr > 0 && ptr % 16 === 0, `pointer ${ptr}`);
    assert.equal(e.get_buffer_ptr() >>> 0, ptr);
    assert.ok(e.get_buffer_size() >>> 0 >= 1000000);
    assert.ok(ptr + (e.get_buffer_size() >>> 0) <= e.memory.buffer.byteLength);
    e.reserve_buffer(0);
    assert.equal(e.get_buffer_size(), 65536);
    assert.equal(e.reserve_buffer(65536), e.get_buffer_ptr());
    assert.equal(e.get_buffer_size(), 65536);
    works(box);
  });

  test("reserve_buffer refuses what no memory holds", () => {
    for (const size of [0x7fffffff, 0x80000000, 0xf0000000, 0xfffff000, 0xffffffff]) {
      const box = make();
      assert.equal(box.exports.reserve_buffer(size), 0, size.toString(16));
      assert.ok(box.exports.get_buffer_size() >>> 0 >= 65536);
      works(box);
    }
  });

  for (const n of [65535, 65536, 65537, 1000000, 20000000])
    test(`source, result, output, key and value of ${n} bytes`, () => {
      const box = make();
      const s = "x".repeat(n);
      assert.equal(one(box, `return #'${s}'`), BigInt(n));
      assert.equal(text(box, `return ('x'):rep(${n})`), s);
      assert.equal(box.compute(`print(('x'):rep(${n}))`).output.length, n + 1);
      box.compute(`_home.v = ('x'):rep(${n}) _home[('k'):rep(${n})] = 1`);
      assert.equal(text(box, "return _home.v"), s);
      assert.deepEqual(box.compute(`local n = 0 for k, v in pairs(_home) do n = n + #k end return n, _home[('k'):rep(${n})]`).values, [BigInt(n + 1), 1n]);
      assert.equal(failure(() => box.compute(`error(('m'):rep(${n}), 0)`)).bytes.length, n);
      assert.equal(text(box, "return (...)", { args: bytes.string(s) }), s);
      works(box);
    });

  test("a key list of many keys, for pairs and for next", () => {
    const box = make();
    box.compute("for i = 1, 30000 do _home['a rather long key number ' .. i] = i end");
    assert.equal(one(box, "local n = 0 for k, v in pairs(_home) do n = n + 1 end return n"), 30000n);
    assert.equal(one(box, "local n = 0 for k, v in next, _home do n = n + 1 end return n"), 30000n);
  });

  test("a large run does not keep its memory", () => {
    const box = make();
    for (let i = 0; i < 30; i++) box.compute("print(('x'):rep(3000000)) return ('x'):rep(3000000)");
    assert.ok(box.exports.memory.buffer.byteLength < 64 * 1024 * 1024, String(box.exports.memory.buffer.byteLength));
    works(box);
  });

  test("a value that grew between two looks is fetched whole", () => {
    const store = new Store();
    let asked = 0;
    const box = make({
      store,
      imports: {
        js_ext_table_get: (id, kp, kl, vp, max) => {
          const size = 70000 * ++asked; // the host's table changes all the time
          if (max >>> 0 < size) return -(size + 1);
          box.memory().set(bytes.string(Buffer.alloc(size - 5, 0x61)), vp);
          return size;
        },
      },
    });
    assert.equal(one(box, "return #_home.x") > 70000n, true);
    works(box);
  });
});

suite("compute_named", () => {
  test("chunk names", () => {
    const box = make();
    const message = (chunk) => failure(() => box.compute("error('x')", { chunk })).message;
    assert.equal(message("=rules"), "rules:1: x");
    assert.equal(message("@dir/rules.lua"), "dir/rules.lua:1: x");
    assert.equal(message("text"), "[string \"text\"]:1: x");
    assert.equal(message(""), "[string \"error('x')\"]:1: x");
    assert.match(message(`@${"long/".repeat(500)}`), /^\.\.\./);
  });

  test("arguments of every tag", () => {
    const box = make();
    const args = all(bytes.nil(), bytes.boolean(true), bytes.integer(-5), bytes.float(2), bytes.string("s\0"), bytes.builtin("string.upper"), bytes.external(1),
      bytes.table([bytes.integer(1)], [[bytes.string("k"), bytes.boolean(false)]]), bytes.again(0));
    const { values } = box.compute("local a, b, c, d, e, f, g, h, i = ... return a, b, c, math.type(d), #e, f('x'), g == _home, h[1], h.k, h == i, select('#', ...)", { args });
    assert.deepEqual(values.map(plain), [null, true, -5n, "float", 2n, "X", true, 1n, false, true, 9n]);
  });

  test("a Lua function as bytecode", () => {
    const box = make();
    const v1 = new Sandbox();
    const { detail } = v1.compute("return function(x) return x * 2 end").values[0];
    assert.equal(one(box, "return (...)(21)", { args: all(Buffer.of(5), bytes.u32(detail.length), detail) }), 42n);
  });

  test("a function of this instance", () => {
    const box = make();
    const f = one(box, "local n = 0 return function() n = n + 1 return n end");
    assert.equal(f.tag, 0x0a);
    assert.equal(one(box, "return (...)() + (...)()", { args: bytes.handle(f.detail) }), 3n);
  });

  test("an argument table that holds itself, and one used as key", () => {
    const box = make();
    assert.equal(one(box, "local t = ... return t.me == t", { args: bytes.table([], [[bytes.string("me"), bytes.again(0)]]) }), true);
    assert.equal(one(box, "local k, v = next(...) return k[1] == 5 and v == k", { args: bytes.table([], [[bytes.table([bytes.integer(5)]), bytes.again(1)]]) }), true);
  });

  test("nothing runs for empty source", () => {
    const box = make();
    box.fill(Buffer.from("=name"), bytes.integer(1));
    assert.equal(box.exports.compute_named(5, 0, 9), 0);
    works(box);
  });

  test("lengths that do not fit are -1", () => {
    const box = make();
    for (const [a, b, c] of [[-1, 1, 1], [1, -1, 1], [1, 1, -1], [65536, 1, 0], [0, 65537, 0], [0x7fffffff, 0x7fffffff, 2], [-1, -1, 3], [0x55555556, 0x55555556, 0x55555556]])
      assert.equal(box.exports.compute_named(a, b, c), -1, `${a} ${b} ${c}`);
    works(box);
  });
});

suite("call", () => {
  test("a global function, a field, a method of a library", () => {
    const box = make();
    box.compute("function add(a, b) return a + b, 'extra' end app = {list = {join = function(...) return table.concat({...}, '+') end}}");
    assert.deepEqual(box.call("add", all(bytes.integer(1), bytes.integer(2))).values.map(plain), [3n, "extra"]);
    assert.equal(box.call("app.list.join", all(bytes.string("a"), bytes.string("b"))).values[0].toString(), "a+b");
    assert.equal(box.call("string.rep", all(bytes.string("ab"), bytes.integer(2))).values[0].toString(), "abab");
  });

  test("output, errors, what is not there", () => {
    const box = make();
    box.compute("\nfunction bad() print('before') error('inside') end");
    const error = failure(() => box.call("bad"));
    assert.equal(error.message, "[string \"...\"]:2: inside");
    assert.equal(error.details.line, 2);
    assert.equal(error.details.output.toString(), "before\n");
    for (const path of ["nope", "no.such.thing", "string.nope", "", ".", "..", "a.", ".a", "_VERSION", "_VERSION.x"]) failure(() => box.call(path));
    works(box);
  });

  test("lengths that do not fit are -1", () => {
    const box = make();
    for (const [a, b] of [[-1, 1], [1, -1], [65537, 0], [0, 65537], [0x7fffffff, 0x7fffffff]]) assert.equal(box.exports.call(a, b), -1);
    works(box);
  });
});

suite("function handles", () => {
  test("keep their upvalues and live until released", () => {
    const box = make();
    const { values } = box.compute("local n = 0 return function(d) n = n + d return n end, function() return n end");
    assert.ok(values.every((v) => v instanceof LuaFunction && v.tag === 0x0a));
    box.exports.run_gc();
    assert.equal(box.callHandle(values[0].detail, bytes.integer(5)).values[0], 5n);
    assert.equal(box.callHandle(values[1].detail).values[0], 5n);
    box.exports.release_handle(values[0].detail);
    assert.equal(failure(() => box.callHandle(values[0].detail, bytes.integer(5))).details.kind, 17);
    assert.equal(box.callHandle(values[1].detail).values[0], 5n);
    works(box);
  });

  test("released functions are collected", () => {
    const box = make();
    box.compute("weak = setmetatable({}, {__mode = 'v'})");
    const f = one(box, "local big = {} local f = function() return big end weak[1] = f return f");
    box.exports.run_gc();
    assert.equal(one(box, "return weak[1] ~= nil"), true);
    box.exports.release_handle(f.detail);
    box.exports.run_gc();
    box.exports.run_gc();
    assert.equal(one(box, "return weak[1]"), null);
  });

  test("unknown handles are errors", () => {
    const box = make();
    for (const handle of [0, 1, 2, 99, -1, 0x7fffffff, -0x80000000]) {
      assert.equal(failure(() => box.callHandle(handle)).details.kind, 17);
      box.exports.release_handle(handle);
      failure(() => box.compute("return ...", { args: bytes.handle(handle) }));
    }
    works(box);
  });

  test("a script can't make one", () => {
    const box = make();
    one(box, "return function() return 'secret' end");
    assert.equal(one(box, "return type(debug.getregistry) == 'function'"), false);
    works(box);
  });

  test("lengths that do not fit are -1", () => {
    const box = make();
    const f = one(box, "return function() end");
    for (const n of [-1, 65537, 0x7fffffff]) assert.equal(box.exports.call_handle(f.detail, n), -1);
    works(box);
  });
});

suite("error details", () => {
  const details = (source, options) => {
    const error = failure(() => make().compute(source, options));
    return { message: error.message, ...error.details, chunk: plain(error.details.chunk), traceback: plain(error.details.traceback), output: plain(error.details.output) };
  };

  test("a runtime error", () => {
    const d = details("print('out')\nlocal function f()\n  error('boom')\nend\nf()", { chunk: "=rules" });
    assert.equal(d.kind, 2);
    assert.equal(d.message, "rules:3: boom");
    assert.equal(d.chunk, "rules");
    assert.equal(d.line, 3);
    assert.equal(d.output, "out\n");
    assert.match(d.traceback, /^stack traceback:\n\t\[C\]: in function 'error'\n\trules:3: in local 'f'\n\trules:5: in main chunk/);
    assert.equal(d.value, null);
  });

  test("a syntax error", () => {
    const d = details("x = 1\ny = = 2", { chunk: "@file.lua" });
    assert.equal(d.kind, 1);
    assert.equal(d.chunk, "file.lua");
    assert.equal(d.line, 2);
    assert.equal(d.traceback, null);
    assert.equal(d.output, "");
  });

  test("an error object", () => {
    const d = details("error({code = 7, list = {1, 2}})");
    assert.equal(d.kind, 2);
    assert.equal(d.message, "(error object is a table value)");
    assert.ok(d.value instanceof LuaTable);
    assert.deepEqual(plain(d.value).sort(), [["code", 7n], ["list", [[1n, 1n], [2n, 2n]]]]);
    assert.equal(details("error(true)").value, true);
    assert.equal(details("error(42)").value, 42n);
  });

  test("an error object that can't travel", () => {
    const d = details("error({co = coroutine.create(print)})");
    assert.equal(d.message, "(error object is a table value)");
    assert.equal(d.value, null);
  });

  test("memory", () => {
    const box = make();
    box.exports.set_memory_limit(5000000);
    const error = failure(() => box.compute("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end"));
    assert.equal(error.details.kind, 3);
    assert.equal(error.message, "not enough memory");
    works(box);
  });

  test("conversion", () => {
    assert.equal(details("return {a = {b = coroutine.create(print)}}").kind, 11);
    assert.match(details("return {a = {b = coroutine.create(print)}}").message, /a\.b/);
    assert.match(details("_home.x = {y = {[3] = coroutine.create(print)}}").message, /_home\.x\.y\[3\]/);
  });

  test("nothing after a run that went well", () => {
    const box = make();
    failure(() => box.compute("error('x')"));
    works(box);
    assert.equal(box.exports.get_error_details(), 0);
    assert.equal(make().exports.get_error_details(), 0);
    assert.equal(new Sandbox({ init: false }).exports.get_error_details(), 0);
  });

  test("can be read twice, and for a version 1 host too", () => {
    const box = new Sandbox();
    assert.ok(box.raw("error('x')") < 0);
    const first = box.buffer(box.exports.get_error_details());
    const second = box.buffer(box.exports.get_error_details());
    assert.deepEqual(first, second);
    assert.equal(decode(first)[0], 2n);
  });

  test("a kind belongs to its own error only", () => {
    const box = make();
    const d = failure(() => box.compute("pcall(function() _home.x = coroutine.create(print) end) error('later')")).details;
    assert.equal(d.kind, 2);
    assert.equal(failure(() => box.compute("local ok, e = pcall(function() _home.x = coroutine.create(print) end) error(e, 0)")).details.kind, 11);
    box.exports.set_memory_limit(5000000);
    assert.equal(failure(() => box.compute("pcall(string.rep, 'x', 100000000) error('own')")).details.kind, 2);
  });

  test("tracebacks of errors in coroutines and of stack overflows", () => {
    assert.match(details("coroutine.wrap(function() error('x') end)()").traceback, /stack traceback:/);
    const d = details("local function f() return 1 + f() end\nf()");
    assert.equal(d.kind, 2);
    assert.equal(d.line, 1);
    assert.match(d.traceback, /\.\.\.\t\(skipping \d+ levels\)/);
    assert.ok(d.traceback.length < 5000);
  });
});

suite("table ids", () => {
  test("allocate_table_ids takes from the counter", () => {
    const box = make();
    assert.equal(box.exports.allocate_table_ids(10), 3);
    assert.equal(box.exports.allocate_table_ids(1), 13);
    assert.equal(box.exports.allocate_table_ids(0), 14);
    assert.equal(one(box, "return ext.table()").id, 14);
    box.exports.sync_external_table_counter(100);
    assert.equal(box.exports.allocate_table_ids(1), 100);
  });

  test("allocate_table_ids refuses what the counter does not have", () => {
    const box = make();
    assert.equal(box.exports.allocate_table_ids(-1), 0);
    assert.equal(box.exports.allocate_table_ids(1), 3);
    works(box);
  });

  const held = (box) => {
    const n = box.exports.list_table_ids();
    assert.ok(n >= 0 && n % 4 === 0);
    const list = box.buffer(n);
    return Array.from({ length: n / 4 }, (_, i) => list.readUInt32LE(i * 4)).sort((a, b) => a - b);
  };

  test("list_table_ids tells what Lua still holds", () => {
    const box = make();
    assert.deepEqual(held(box), [1, 2]);
    const { values } = box.compute("a = ext.table() b = ext.table() c = ext.table() return a, b, c");
    assert.deepEqual(held(box), [1, 2, ...values.map((v) => v.id)]);
    box.compute("b = nil");
    assert.deepEqual(held(box), [1, 2, values[0].id, values[2].id]);
    box.compute("_home.t = {x = {}} a, c = nil");
    assert.deepEqual(held(box), [1, 2]); // what only the store refers to is the host's to find
    box.compute("keep = _home.t");
    assert.equal(held(box).length, 3);
  });

  test("upvalues and closures that Lua holds are listed too", () => {
    const box = make();
    box.compute("local n = 0 _home.inc = function() n = n + 1 return n end keep = _home.inc");
    const ids = held(box);
    const closure = decode(Buffer.from(box.store.tables.get(1).get("inc")))[0];
    assert.equal(closure.tag, 0x0b);
    assert.ok(ids.includes(closure.detail));
    const cell = Buffer.from(box.store.tables.get(closure.detail).get("1"));
    assert.equal(cell[0], 0x0c);
    assert.ok(ids.includes(cell.readUInt32LE(1)));
  });

  test("200,000 tables that Lua holds", () => {
    const box = make();
    box.compute("t = {} for i = 1, 200000 do t[i] = ext.table() end");
    assert.equal(held(box).length, 200002);
    works(box);
  });
});

suite("stored functions", () => {
  test("stand in the store as the contract says", () => {
    const box = make();
    box.compute("local n, fmt = 7, string.format _home.f = function(x) return fmt('%d', x + n), print end");
    const closure = decode(Buffer.from(box.store.tables.get(1).get("f")))[0];
    const table = box.store.tables.get(closure.detail);
    assert.equal(Buffer.from(table.get("code"))[0], 0x04);
    assert.equal(Buffer.from(table.get("code")).subarray(5, 9).toString("latin1"), "\x1bLua");
    const upvalues = ["1", "2", "3"].map((key) => Buffer.from(table.get(key)));
    assert.equal(table.get("4"), undefined);
    const cells = upvalues.filter((v) => v[0] === 0x0c).map((v) => Buffer.from(box.store.tables.get(v.readUInt32LE(1)).get("value")));
    assert.equal(cells.length, 2);
    assert.ok(cells.some((v) => v.equals(bytes.integer(7))));
    assert.ok(cells.some((v) => v.equals(bytes.builtin("string.format"))));
    assert.ok(upvalues.some((v) => v.equals(bytes.builtin("_G"))));
  });

  test("a changed upvalue is written back when a run ends well", () => {
    const box = make({ transactional: true });
    box.compute("local n = 0 _home.inc = function() n = n + 1 return n end");
    const closure = decode(Buffer.from(box.store.tables.get(1).get("inc")))[0];
    const cell = Buffer.from(box.store.tables.get(closure.detail).get("1")).readUInt32LE(1);
    const value = () => decode(Buffer.from(box.store.tables.get(cell).get("value")))[0];
    assert.equal(value(), 0n);
    box.compute("_home.inc() _home.inc()");
    assert.equal(value(), 2n);
    failure(() => box.compute("_home.inc() error('x')"));
    assert.equal(value(), 2n);
    assert.equal(one(box, "return _home.inc()"), 3n);
  });
});

suite("the host channel", () => {
  const withChannel = (answer) => {
    const requests = [];
    const box = make({
      imports: {
        js_ext_table_get: (id, kp, kl, vp, max) => {
          if (id !== 0) return -1;
          const request = Buffer.from(box.memory().slice(kp, kp + kl));
          requests.push(request);
          return answer(request, (data) => {
            if (data.length > max >>> 0) return -(data.length + 1);
            box.memory().set(data, vp);
            return data.length;
          });
        },
      },
    });
    return { box, requests };
  };
  const i64 = (n) => {
    const b = Buffer.alloc(8);
    b.writeBigInt64LE(BigInt(n));
    return b;
  };

  test("clock", () => {
    const { box, requests } = withChannel((request, give) => (request[0] === 2 ? give(i64(request[1] === 0 ? 1700000000999999999n : 1500000000n)) : -1));
    assert.equal(one(box, "return os.time()"), 1700000000n);
    assert.equal(one(box, "return os.clock()"), 1.5);
    assert.equal(text(box, "return os.date('!%Y-%m-%d %H:%M:%S')"), "2023-11-14 22:13:20");
    assert.ok(requests.filter((r) => r[0] === 2).every((r) => r.length === 10));
  });

  test("time before 1970", () => {
    const { box } = withChannel((request, give) => (request[0] === 2 ? give(i64(-1500000000n)) : -1));
    assert.equal(one(box, "return os.time()"), -2n);
  });

  test("no clock", () => {
    const { box } = withChannel(() => -1);
    assert.match(failure(() => box.compute("return os.time()")).message, /clock/);
    works(box);
  });

  test("seed", () => {
    const numbers = (byte) => {
      const { box } = withChannel((request, give) => (request[0] === 3 ? give(Buffer.alloc(16, byte)) : -1));
      return one(box, "return math.random(0)");
    };
    assert.equal(numbers(1), numbers(1));
    assert.notEqual(numbers(1), numbers(2));
  });

  test("answers of wrong size", () => {
    for (const size of [0, 1, 7, 9, 15, 17, 100000]) {
      const { box } = withChannel((request, give) => give(Buffer.alloc(size, 7)));
      box.raw("return os.time()");
      box.raw("math.randomseed() return math.random()");
      works(box);
    }
  });

  test("an answer that does not fit is fetched, the operation runs once", () => {
    let kept = null;
    const { box, requests } = withChannel((request, give) => {
      if (request[0] === 0) return kept ? give(kept) : -1;
      if (request[0] !== 8) return -1;
      kept = Buffer.from("because ".repeat(20000));
      return give(kept);
    });
    const broken = make({
      store: box.store,
      imports: {
        js_ext_table_set: () => -1,
        js_ext_table_get: (id, kp, kl, vp, max) => {
          if (id !== 0) return -1;
          const request = Buffer.from(broken.memory().slice(kp, kp + kl));
          requests.push(request);
          if (request[0] === 8) kept = Buffer.from("because ".repeat(20000));
          else if (request[0] !== 0) return -1;
          if (kept.length > max >>> 0) return -(kept.length + 1);
          broken.memory().set(kept, vp);
          return kept.length;
        },
      },
    });
    const error = failure(() => broken.compute("_home.x = 1"));
    assert.equal(error.details.kind, 12);
    assert.match(error.message, /x.*(because ){20000}/);
    assert.equal(requests.filter((r) => r[0] === 8).length, 1);
    assert.equal(requests.filter((r) => r[0] === 0).length, 1);
    works(broken);
  });

  test("a version 1 host hears nothing of it", () => {
    let heard = 0;
    const box = new Sandbox({ imports: { js_ext_table_get: (id) => (id === 0 && heard++, -1) } });
    for (const source of ["return os.time()", "return os.clock()", "math.randomseed()", "return math.random()", "print(1)", "error('x')", "_home.x = 1"]) box.raw(source);
    assert.equal(heard, 0);
  });
});

suite("transactions", () => {
  test("off: a failing run keeps its writes", () => {
    const box = make();
    failure(() => box.compute("_home.t = {1} error('x')"));
    assert.equal(one(box, "return _home.t[1]"), 1n);
  });

  test("on: tables go back to being plain", () => {
    const box = make({ transactional: true });
    box.compute("t = {1, {2}}");
    failure(() => box.compute("_home.t = t t[3] = 3 error('x')"));
    assert.equal(box.store.tables.get(1)?.size ?? 0, 0);
    const [t, home] = box.compute("return t, _home.t").values;
    assert.ok(t instanceof LuaTable);
    assert.equal(t.pairs.length, 3);
    assert.equal(home, null);
  });

  test("on: a call that fails too", () => {
    const box = make({ transactional: true });
    box.compute("function bad() _home.x = 1 error('x') end");
    failure(() => box.call("bad"));
    const f = one(box, "return bad");
    failure(() => box.callHandle(f.detail));
    assert.equal(one(box, "return _home.x"), null);
  });
});

suite("hostile arguments", () => {
  // A generator whose numbers are the same in each run.
  const random = (seed) => () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed >>> 8;
  };

  test("two entries under one key are an error that names it", () => {
    const box = make();
    const { string, integer, float, boolean, table } = bytes;
    const k = string("k");
    const cases = [
      [table([], [[k, integer(1)], [k, integer(2)]]), "value 1.k"],
      [table([integer(1)], [[integer(1), integer(2)]]), "value 1[1]"],
      [table([], [[integer(7), k], [float(7), k]]), "value 1[7.0]"],
      [table([], [[boolean(true), k], [boolean(true), k]]), "value 1[true]"],
      [table([], [[k, table([])], [k, integer(2)]]), "value 1.k"],
      [table([], [[k, integer(1)], [k, table([])]]), "value 1.k"],
      [table([], [[k, integer(1)], [k, bytes.nil()]]), "value 1.k"],
      [table([], [[table([]), k], [bytes.again(1), k]]), "value 1[...]"],
      [all(integer(1), k, table([k, table([], [[k, table([k, k, table([], [[k, k], [k, k]])])]])])), "value 3[2].k[3].k"],
      [table([], [[string("x".repeat(100)), k], [string("x".repeat(100)), k]]), "value 1." + "x".repeat(60)],
    ];
    for (const [args, place] of cases) {
      const error = failure(() => box.compute("return 1", { args }));
      assert.equal(error.message, `two entries from the host have the same key (${place})`);
      assert.equal(error.details?.kind ?? 11, 11);
    }
    // Nothing is lost where one of them is nil.
    assert.equal(one(box, "return (...).k", { args: table([], [[k, bytes.nil()], [k, integer(2)]]) }), 2n);
    let deep = table([], [[k, k], [k, k]]);
    for (let i = 0; i < 40; i++) deep = table([deep]);
    assert.match(failure(() => box.compute("return 1", { args: deep })).message, /\(value 1\[1\]{1,}.*\.\.\..*\.k\)$/);
    works(box);
  });

  test("malformed arguments are errors", () => {
    const box = make();
    for (const args of [
      [0x99], [0x01], [0x02, 1], [0x03], [0x04], [0x04, 5, 0, 0, 0, 1], [0x04, 0xff, 0xff, 0xff, 0xff], [0x05, 4, 0, 0, 0, 1, 2, 3, 4], [0x05, 0xff, 0xff, 0xff, 0x7f],
      [0x06, 1, 0, 0, 0, 0x78], [0x07], [0x08], [0x08, 1, 0, 0, 0, 0, 0, 0, 0], [0x08, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], [0x08, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
      [0x08, 0, 0, 0, 0, 1, 0, 0, 0, 0x00, 0x00], [0x08, 0, 0, 0, 0, 1, 0, 0, 0, ...bytes.float(NaN), 0x00], [0x09, 0, 0, 0, 0], [0x09, 0xff, 0xff, 0xff, 0xff],
      [0x0a, 9, 9, 9, 9], [0x0b, 1, 0, 0, 0], [0x0c, 1, 0, 0, 0],
    ]) {
      const error = failure(() => box.compute("return ...", { args: Buffer.from(args) }));
      assert.ok([11, 12, 17, 2].includes(error.details.kind), `${args}: ${error.details.kind} ${error.message}`);
      works(box);
    }
  });

  test("arrays and tables that claim more than the message holds take no memory", () => {
    const box = make();
    const before = box.exports.memory.buffer.byteLength;
    for (const [a, p] of [[0x7fffffff, 0], [0, 0x7fffffff], [0xffffffff, 0xffffffff], [50000000, 0], [0, 50000000]])
      failure(() => box.compute("return ...", { args: all(Buffer.of(8), bytes.u32(a), bytes.u32(p), bytes.nil()) }));
    assert.ok(box.exports.memory.buffer.byteLength <= before + 1024 * 1024);
    works(box);
  });

  test("20,000 random argument lists never trap", () => {
    const box = make();
    const next = random(1);
    const head = [];
    for (let round = 0; round < 20000; round++) {
      const length = next() % 40;
      const args = Buffer.alloc(length);
      for (let i = 0; i < length; i++) args[i] = next() % 3 ? next() % 14 : next() & (next() % 4 ? 3 : 255);
      head[0] = args;
      try {
        box.compute("local n = select('#', ...) for i = 1, n do local v = select(i, ...) if type(v) == 'table' then for k, w in pairs(v) do end local n = #v end end return n", { args });
      } catch (error) {
        assert.ok(error instanceof LuaError, `${args.toString("hex")}: ${error}`);
      }
    }
    works(box);
  });

  test("random bytecode in arguments is the host's own risk, random values in the store are not", () => {
    const next = random(2);
    for (let round = 0; round < 3000; round++) {
      const box = round % 50 ? random.box : (random.box = make());
      const value = Buffer.alloc(1 + (next() % 24));
      for (let i = 0; i < value.length; i++) value[i] = next() % 2 ? next() % 13 : next() & 255;
      if (value[0] === 5) value[0] = 8;
      box.store.set(1, "x", value);
      box.store.set(1, "1", value);
      try {
        box.compute("local x = _home.x for k, v in pairs(_home) do if type(v) == 'table' then for a, b in pairs(v) do end end end return #_home, next(_home), x");
      } catch (error) {
        assert.ok(error instanceof LuaError, `${value.toString("hex")}: ${error}`);
      }
    }
    works(random.box);
  });

  test("every export takes any number", () => {
    const numbers = [0, 1, 2, 3, 65535, 65536, 65537, 0x7fffffff, -1, -2, -65536, -0x80000000, 32 * 65536 - 1];
    const box = make();
    const risky = new Set(["memory", "lua_alloc", "reserve_buffer", "set_memory_limit", "sync_external_table_counter", "allocate_table_ids", "set_host_revision"]);
    for (const [name, f] of Object.entries(box.exports)) {
      if (typeof f !== "function" || risky.has(name)) continue;
      const lists = f.length === 0 ? [[]] : f.length === 1 ? numbers.map((a) => [a]) : f.length === 2 ? numbers.flatMap((a) => numbers.map((b) => [a, b])) : numbers.flatMap((a) => numbers.flatMap((b) => numbers.map((c) => [a, b, c])));
      for (const list of lists) f(...list);
      box.exports.set_host_revision(2);
      box.exports.attach_memory_table(1);
    }
  });

  test("random source never traps", () => {
    const next = random(3);
    const words = ["local", "x", "=", "1", "(", ")", "{", "}", "function", "end", "return", "if", "then", "else", "for", "in", "do", "'s'", "..", "+", "-", "#", "_home", ".", ":", ",", "pairs", "pcall", "error", "nil", "[", "]",
      "while", "false", "goto", "a", "::a::", "and", "not", "<", "==", "//", "0x1p4", "...", "repeat", "until", "true", "break", "string", "rep", "coroutine", "wrap", "~", ";", "<close>"];
    const box = make();
    for (let round = 0; round < 20000; round++) {
      const source = Array.from({ length: 1 + (next() % 12) }, () => words[next() % words.length]).join(" ");
      if (/while|goto|repeat|until/.test(source)) continue; // may run without end
      try {
        box.compute(source);
      } catch (error) {
        assert.ok(error instanceof LuaError, `${source}: ${error}`);
      }
    }
    assert.equal(box.raw("return 1") > 0, true);
  });
});
