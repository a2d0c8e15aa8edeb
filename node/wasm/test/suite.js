// What luacell/wasm promises, as functions of its interface. Runs in Node.js and in browsers.

import { equal, fails, ok, rejects, same } from "./check.js";

const forever = "while true do end";

export const suite = {
  "values as design.md has them": ({ Sandbox }) => {
    const lua = new Sandbox();
    same(lua.compute("return 1, 2.5, 'text', true, nil, {1, 2}, {a = 1}, {}"), [1, 2.5, "text", true, null, [1, 2], { a: 1 }, {}]);
    equal(lua.compute("return nil"), null);
    equal(lua.compute("local x = 1"), undefined);
    equal(lua.compute(""), undefined);
    equal(lua.compute("return math.maxinteger"), 9223372036854775807n);
    equal(lua.compute("return 2^53 | 0"), 9007199254740992n);
    equal(lua.compute("return (2^53 | 0) - 1"), 9007199254740991);
    equal(lua.compute("return math.mininteger"), -9223372036854775808n);
    equal(lua.compute("return -0.0"), -0);
    same(lua.compute("return '\\xff\\0'"), Uint8Array.of(255, 0));
    equal(lua.compute("return '\\u{feff}x'"), "\ufeffx");
    same(lua.compute("return {[1] = 'a', x = 2}"), new Map([[1, "a"], ["x", 2]]));
    same(lua.compute("return {[1.5] = true}"), new Map([[1.5, true]]));
    same(lua.compute("return {1, nil, 3}"), new Map([[1, 1], [3, 3]]));
  },

  "values into Lua": ({ Sandbox, LuaFloat }) => {
    const lua = new Sandbox();
    const type = (value) => lua.compute("return math.type(...) or type(...)", value);
    same([3, 3.5, -0, 2 ** 60, 5n, new LuaFloat(3), null, undefined, "x", Uint8Array.of(1), new ArrayBuffer(2), [], new Map(), {}].map(type),
      ["integer", "float", "float", "float", "integer", "float", "nil", "nil", "string", "string", "string", "table", "table", "table"]);
    equal(lua.compute("return #(...)", Uint8Array.of(1, 2, 255)), 3);
    equal(lua.compute("local a = ... return a[3]", [1, null, 3]), 3);
    equal(lua.compute("local a = ... return a.x == nil", { x: undefined }), true);
    equal(lua.compute("local a = ... return a[1.5] .. a[true]", new Map([[1.5, "a"], [true, "b"]])), "ab");
    equal(lua.compute("return (...).a", Object.create(null, { a: { value: 7, enumerable: true } })), 7);
    equal(lua.compute("return 1 + ...", { toLua: () => 41 }), 42);
    fails("Conversion", () => lua.compute("return ...", 2n ** 63n));
    fails("Conversion", () => lua.compute("return ...", "half \ud800 pair"));
    for (const odd of [new Date(0), /x/, new Set(), new Int8Array(1), Symbol("x"), () => 1, new (class Point {})(), new Error("x")]) {
      const error = fails("Conversion", () => lua.compute("return ...", 1, { list: [odd] }));
      ok(error.message.includes("(argument 2.list[1])"), error.message);
    }
    equal(lua.compute("return 1"), 1);
  },

  "floats in tables come back as floats": ({ Sandbox }) => {
    const lua = new Sandbox();
    const back = (source) => lua.compute("local t = ... return math.type(t.a or t[1])", lua.compute(source));
    same(["return {a = 3.0}", "return {a = 3}", "return {3.0}", "return {3}", "return {3.0, x = 1}"].map(back), ["float", "integer", "float", "integer", "float"]);
    const table = lua.compute("return {a = 3.0}");
    table.a = 4;
    equal(lua.compute("return math.type((...).a)", table), "integer");
    lua.home.set("t", lua.compute("return {3.0, {a = 4.0}}"));
    equal(lua.compute("return math.type(_home.t[1]) .. math.type(_home.t[2].a)"), "floatfloat");
  },

  "exact numbers": ({ Sandbox }) => {
    const lua = new Sandbox({ exactNumbers: true });
    same(lua.compute("return 3, 3.0, {3, 3.0}, ...", 4n, 4), [3n, 3, [3n, 3], 4n, 4]);
    equal(lua.compute("return math.type(...)", 4), "float");
    lua.home.set(1, 5n);
    same([...lua.home], [[1n, 5n]]);
  },

  "sharing and cycles": ({ Sandbox }) => {
    const lua = new Sandbox();
    const shared = {};
    const object = { a: shared, b: shared, list: [] };
    object.self = object;
    object.list.push(object.list);
    equal(lua.compute("local t = ... return t.a == t.b and t.self == t and t.list[1] == t.list", object), true);
    const t = lua.compute("local t = {x = {}} t.self = t t.y = t.x return t");
    ok(t.self === t && t.x === t.y);
    equal(lua.compute("local k, v = next((...)) return k[1] + v", new Map([[[1], 2]])), 3);
    lua.home.set("t", object);
    equal(lua.compute("local t = _home.t return t.a == t.b and t.self == t and t.list[1] == t.list"), true);
    const copy = lua.home.get("t").copy();
    ok(copy.self === copy && copy.a === copy.b && copy.list[0] === copy.list);
  },

  "deep values do not exhaust the stack": ({ Sandbox }) => {
    const lua = new Sandbox();
    let deep = [];
    for (let i = 1; i < 100_000; i++) deep = [deep];
    let back = lua.compute("return ...", deep);
    let depth = 1;
    for (; back.length; depth++) back = back[0];
    equal(depth, 100_000);
    lua.home.set("deep", deep);
    lua.home.clear();
    lua.gc();
    ok(lua.tableCount <= 2, `${lua.tableCount} tables`);
  },

  "prototypes are never touched": ({ Sandbox }) => {
    const lua = new Sandbox();
    const t = lua.compute("return {__proto__ = {polluted = true}, constructor = 1, toString = 2}");
    equal({}.polluted, undefined);
    equal(t.polluted, undefined);
    ok(Object.hasOwn(t, "__proto__") && Object.getPrototypeOf(t) === Object.prototype);
    equal(lua.compute("return (...).__proto__.polluted", t), true);
    lua.compute("_home.__proto__ = {polluted = true} _home.x = {__proto__ = 5}");
    const copy = lua.home.copy();
    equal(copy.polluted, undefined);
    equal(copy.x.__proto__, 5);
    equal({}.polluted, undefined);
    same(Object.keys(lua.home.toJSON()), ["__proto__", "x"]);
    lua.register("__proto__", () => 7);
    equal(lua.compute("return _G['__proto__']()"), 7);
    equal(fails("Runtime", () => lua.compute("require '__proto__'")).message.includes("module '__proto__' not found"), true);
    const other = new Sandbox({ modules: {} });
    fails("Runtime", () => other.compute("require 'toString'"));
  },

  "home is like a Map": ({ Sandbox, StoredTable }) => {
    const { home } = new Sandbox();
    equal(home.set("a", 1), home);
    home.set(2, { list: [1, 2] }).set(1.5, true).set(false, "no").set(Uint8Array.of(255), "bytes").set("2", "text");
    equal(home.size, 6);
    ok(home.has("a") && !home.has("b") && home.get("b") === undefined);
    equal(home.get("2"), "text");
    ok(home.get(2) instanceof StoredTable && home.get(2) === home.get(2));
    same(home.get(2).get("list").copy(), [1, 2]);
    same([...home.keys()], ["a", 2, 1.5, false, Uint8Array.of(255), "2"]);
    same([...home.values()].map((v) => typeof v), ["number", "object", "boolean", "string", "string", "string"]);
    equal([...home.entries()].length, 6);
    const seen = [];
    home.forEach((value, key, table) => seen.push([key, table === home]));
    same(seen[0], ["a", true]);
    equal(home.delete("a"), true);
    equal(home.delete("a"), false);
    home.set(2, undefined);
    home.get("2");
    equal(home.size, 4);
    home.clear();
    equal(home.size, 0);
    fails("InvalidArgument", () => home.set(null, 1));
    fails("InvalidArgument", () => home.set(NaN, 1));
    fails("Conversion", () => home.set({}, 1));
    const error = fails("Conversion", () => home.set("x", { a: [1, new Date(0)] }));
    ok(error.message.endsWith("(x.a[2])"), error.message);
    equal(home.size, 0);
    home.set("x", { n: 1, list: [1, { deep: true }], map: new Map([[1, 2], ["k", 3]]) });
    equal(JSON.stringify(home), '{"x":{"n":1,"list":[1,{"deep":true}],"map":{"1":2,"k":3}}}');
  },

  "keys that can't be there are absent": ({ Sandbox, LuaFloat }) => {
    const lua = new Sandbox();
    const { home } = lua;
    for (const key of [undefined, null, NaN, {}, [], new Map(), home, Symbol("x"), () => 1, 2n ** 63n, "half \ud800", new Date(0), new LuaFloat(NaN)]) {
      equal(home.has(key), false);
      equal(home.get(key), undefined);
      equal(home.delete(key), false);
      let refused = false;
      try {
        home.set(key, 1);
      } catch (error) {
        refused = ["InvalidArgument", "Conversion"].includes(error.kind);
      }
      ok(refused, "writing is refused");
    }
    equal(home.set(new LuaFloat(3), "x").get(3), "x");
    equal(home.has(new LuaFloat(3)), true);
    equal(home.size, 1);
    lua.close();
    fails("Closed", () => home.has(undefined));
    fails("Closed", () => home.get(NaN));
    fails("Closed", () => home.delete(null));
  },

  "options that make no sense are refused by name": async ({ Sandbox }) => {
    const lua = new Sandbox();
    const refused = (name, error) => ok(error.message.includes(name), `'${error.message}' names ${name}`);
    const odd = {
      engine: [{}, 5, null],
      seed: [-1, 2n ** 64n, -1n, 1.5, "7", 2 ** 60],
      conflictRetries: [-1, 1.5, "5"],
      onPrint: [5, {}, null],
      modules: [5, true],
      exactNumbers: ["x", 1, null],
      memoryAlias: ["x", 0],
      store: [5, true, {}],
      memorylimit: [5],
      timeOut: [5],
      nonsense: [5, null],
      memoryLimit: ["many", -1, NaN, {}],
      timeout: ["1s", -1, true],
      storeLimit: [true, { byte: 5 }, { bytes: "x" }, []],
    };
    for (const [name, values] of Object.entries(odd))
      for (const value of values) {
        refused(name, fails("InvalidArgument", () => new Sandbox({ [name]: value })));
        refused(name, await rejects("InvalidArgument", Sandbox.create({ [name]: value })));
      }
    for (const options of [5, null, "text", true, []]) {
      fails("InvalidArgument", () => new Sandbox(options));
      await rejects("InvalidArgument", Sandbox.create(options));
      fails("InvalidArgument", () => lua.computeWith("", options));
      fails("InvalidArgument", () => lua.callWith("print", options));
      await rejects("InvalidArgument", lua.computeAsync("", options));
      await rejects("InvalidArgument", lua.callAsync("print", options));
    }
    const oddRuns = { args: [5, "text", {}, null], name: [5, null, {}], instructionLimit: ["x", -1], instructionlimit: [5], seed: [1], storeLimit: [true] };
    for (const [name, values] of Object.entries(oddRuns))
      for (const value of values) {
        refused(name, fails("InvalidArgument", () => lua.computeWith("", { [name]: value })));
        refused(name, fails("InvalidArgument", () => lua.callWith("print", { [name]: value })));
        refused(name, await rejects("InvalidArgument", lua.computeAsync("", { [name]: value })));
        refused(name, await rejects("InvalidArgument", lua.computeAsyncWith("", { [name]: value })));
        refused(name, await rejects("InvalidArgument", lua.callAsync("print", { [name]: value })));
      }
    for (const signal of [5, {}, null]) refused("signal", await rejects("InvalidArgument", lua.computeAsync("", { signal })));
    refused("signal", fails("InvalidArgument", () => lua.computeWith("", { signal: new AbortController().signal })));
    // What is undefined is not given.
    equal(new Sandbox({ memoryLimit: undefined, seed: undefined, nonsense: undefined }).computeWith("return 1", { args: undefined, name: undefined }).value, 1);
    equal(new Sandbox({ seed: 2n ** 64n - 1n, timeout: null, storeLimit: null }).compute("return 1"), 1);
    for (const name of [5, null, undefined, {}]) {
      fails("InvalidArgument", () => lua.call(name));
      await rejects("InvalidArgument", lua.callAsync(name));
      fails("InvalidArgument", () => lua.register(name, () => 1));
      fails("InvalidArgument", () => lua.unregister(name));
    }
  },

  "source that can't be UTF-8 is refused": async ({ Sandbox }) => {
    const lua = new Sandbox({ modules: { half: "return '\udc00'" } });
    const half = "return '\ud800'";
    for (const source of [half, half + " ".repeat(1e5), half + "x".repeat(5)]) {
      fails("Conversion", () => lua.compute(source));
      fails("Conversion", () => lua.compute(source, 1));
      fails("Conversion", () => lua.computeWith(source, { name: "=x" }));
      await rejects("Conversion", lua.computeAsync(source));
    }
    fails("Conversion", () => lua.computeWith("", { name: "=\ud800" }));
    fails("Conversion", () => lua.call("\ud800"));
    ok(String(lua.compute("return select(2, pcall(require, 'half'))")).includes("half"));
    equal(lua.compute("return '\ud83d\ude00'"), "\ud83d\ude00");
  },

  "arrays that are too long are refused at once": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("long", () => new Array(2 ** 32 - 1));
    const long = new Array(2 ** 32 - 1);
    for (const run of [
      () => lua.compute("return 1", long),
      () => lua.compute("return 1", { a: [long] }),
      () => lua.computeWith("return 1", { args: long }),
      () => lua.home.set("x", long),
      () => lua.home.set("x", { a: [long] }),
    ]) {
      const { message } = fails("Conversion", run);
      ok(/4294967295 elements is longer than the [0-9]+ /.test(message), message);
    }
    ok(fails("HostFunction", () => lua.compute("long()")).message.includes("elements"));
    equal(lua.home.size, 0);
  },

  "views are live, and keep their table": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("_home.t = {n = 1}");
    const view = lua.home.get("t");
    lua.compute("_home.t.n = 2");
    equal(view.get("n"), 2);
    lua.compute("_home.t = nil");
    lua.gc();
    equal(view.get("n"), 2);
    lua.home.set("back", view);
    equal(lua.compute("return _home.back.n"), 2);
    equal(lua.compute("local t = ... t.n = 3 return _home.back == t", view), true);
    equal(view.get("n"), 3);
    fails("InvalidArgument", () => new Sandbox().compute("return ...", view));
  },

  "input, output and meta": ({ Sandbox, StoredTable }) => {
    const lua = new Sandbox();
    lua.input = { items: [1, 2, 3] };
    lua.meta = "m";
    lua.compute("local sum = 0 for _, n in ipairs(_io.input.items) do sum = sum + n end _io.output = {sum = sum, meta = _io.meta}");
    ok(lua.output instanceof StoredTable);
    equal(lua.output.get("sum"), 6);
    equal(lua.output.get("meta"), "m");
    lua.clearIo();
    equal(lua.input, undefined);
    equal(lua.output, undefined);
  },

  "errors say everything": ({ Sandbox, LuaCellError, ErrorKinds }) => {
    const lua = new Sandbox();
    const error = fails("Runtime", () => lua.computeWith("print('before')\nerror('no')", { name: "=rules" }));
    ok(error instanceof LuaCellError && error instanceof Error);
    equal(error.name, "LuaCellError");
    equal(error.message, "rules:2: no");
    equal(error.line, 2);
    equal(error.chunkName, "rules");
    equal(error.output, "before\n");
    ok(error.traceback.includes("rules:2"));
    ok(error.metrics.instructions > 0);
    same(fails("Runtime", () => lua.compute("error({code = 7})")).value, { code: 7 });
    equal(fails("Syntax", () => lua.compute("x =")).line, 1);
    equal(Object.keys(ErrorKinds).length, 18);
    fails("InvalidArgument", () => lua.compute(5));
    fails("InvalidArgument", () => new Sandbox({ memoryLimit: "many" }));
    fails("InvalidArgument", () => new Sandbox({ timeout: -1 }));
    equal(lua.compute("return 1"), 1);
  },

  "host functions": ({ Sandbox, multiple, LuaCellError }) => {
    const lua = new Sandbox();
    lua.register("shop.price", (name) => ({ tea: 3.5 })[name]).register("two", () => multiple(1, [2]));
    equal(lua.compute("return shop.price('tea') * 2"), 7);
    equal(lua.compute("return shop.price('x')"), undefined);
    same(lua.compute("return two()"), [1, [2]]);
    const cause = new TypeError("down");
    lua.register("fail", () => {
      throw cause;
    });
    const error = fails("HostFunction", () => lua.computeWith("fail()", { name: "=rules" }));
    equal(error.cause, cause);
    equal(error.message, "rules:1: down");
    same(lua.compute("return pcall(fail)"), [false, "down"]);
    for (const odd of ["text", null, 5, undefined]) {
      lua.register("fail", () => {
        throw odd;
      });
      equal(fails("HostFunction", () => lua.compute("fail()")).cause, odd);
    }
    lua.register("raise", (v) => {
      throw LuaCellError.raise(v);
    });
    same(lua.compute("return pcall(raise, {code = 5})"), [false, { code: 5 }]);
    same(fails("HostFunction", () => lua.compute("raise({code = 5})")).value, { code: 5 });
    lua.register("odd", () => new Date(0));
    ok(fails("HostFunction", () => lua.compute("odd()")).message.includes("(result 1)"));
    lua.compute("keep = two");
    equal(lua.unregister("two"), true);
    equal(lua.unregister("two"), false);
    equal(lua.compute("return two"), null);
    fails("HostFunction", () => lua.compute("keep()"));
    lua.reset();
    equal(lua.compute("return shop.price('tea')"), 3.5);
    fails("InvalidArgument", () => lua.register("no name", () => 1));
    fails("InvalidArgument", () => lua.register("f", 5));
    fails("InvalidArgument", () => lua.register("_VERSION.x", () => 1));
  },

  "host functions use their sandbox": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("eval", (source) => lua.compute(source));
    lua.register("put", (key, value) => void lua.home.set(key, value));
    lua.register("each", (list, f) => list.map((item) => f(item)));
    equal(lua.compute("return eval('return 1 + 1') + 1"), 3);
    same(lua.compute("return each({1, 2, 3}, function(n) return n * n end)"), [1, 4, 9]);
    fails("Runtime", () => lua.compute("put('a', 1) eval('_home.b = 2') error('x')"));
    equal(lua.home.size, 0);
    lua.compute("put('a', {1}) eval('_home.b = 2')");
    equal(lua.home.size, 2);
    equal(fails("Runtime", () => lua.computeWith("eval('error(\"inner\", 0)')", { name: "=outer" })).message, "inner");
    lua.register("late", (f) => void (lua.kept = f));
    lua.compute("late(function(x) return x + 1 end)");
    equal(lua.kept(1), 2);
    for (const name of ["gc", "reset", "snapshot", "memoryStats"]) {
      lua.register("deny", () => lua[name]());
      equal(fails("HostFunction", () => lua.compute("deny()")).cause.kind, "Busy");
    }
    lua.register("down", (n) => (n === 0 ? 0 : lua.compute("return down(...) + 1", n - 1)));
    equal(lua.compute("return down(20)"), 20);
    fails("Runtime", () => lua.compute("return down(100)"));
    equal(lua.compute("return 1"), 1);
    lua.register("close", () => lua.close());
    lua.compute("close()");
    fails("Closed", () => lua.compute("return 1"));
  },

  "limits of a run inside of a host function": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("again", () => {});
    const cases = [
      ["time", forever, { timeout: 20 }, "Timeout"],
      ["steps", "while true do pcall(error) end", { instructionLimit: 1000, timeout: null }, "InstructionLimit"],
      ["text", "while true do print('x') end", { outputLimit: 10 }, "OutputLimit"],
      ["store", "_home.large = ('x'):rep(1000)", { storeLimit: 100 }, "StoreLimit"],
      ["calls", "while true do again() end", { hostCallLimit: 3 }, "HostCallLimit"],
      ["memory", "return #('x'):rep(100000000)", { memoryLimit: "10MB" }, "Memory"],
    ];
    let seen;
    for (const [name, source, options] of cases)
      lua.register(name, () => {
        try {
          lua.computeWith(source, options);
        } catch (error) {
          seen = error.kind;
          throw error;
        }
      });
    for (const [name, , , kind] of cases) {
      const outer = lua.computeWith(`
        print('before') local ok = pcall(${name}) print('after')
        local n = 0 for i = 1, 100000 do n = n + i end for i = 1, 100 do again() end
        return ok, n, #('x'):rep(20000000)`);
      equal(seen, kind);
      same(outer.values, [false, 5000050000, 20000000], name);
      ok(outer.output.startsWith("before\n") && outer.output.endsWith("after\n"), `${name}: ${outer.output}`);
      fails(kind, () => lua.compute(`${name}()`));
      equal(lua.compute("return 1"), 1);
    }
    equal(lua.home.size, 0);
    // Nothing gets wider.
    lua.register("wide", () => lua.computeWith(forever, { instructionLimit: null, timeout: null, hostCallLimit: null, outputLimit: null }));
    fails("InstructionLimit", () => lua.computeWith("pcall(wide)", { instructionLimit: 1e5 }));
    fails("Timeout", () => lua.computeWith("pcall(wide)", { timeout: 20 }));
    fails("InstructionLimit", () => lua.computeWith("for i = 1, 1e9 do pcall(steps) end", { instructionLimit: 5e5 }));
    fails("HostCallLimit", () => lua.computeWith("while true do pcall(calls) end", { hostCallLimit: 20 }));
    fails("OutputLimit", () => lua.computeWith("while true do pcall(text) end", { outputLimit: 100 }));
    // One inside of the other.
    lua.register("deep", () => lua.computeWith("pcall(steps) pcall(steps) return 7", { instructionLimit: 50_000 }).value);
    equal(lua.compute("return deep()"), 7);
    lua.register("source", () => lua.computeWith("return 1 + 1", { sourceLimit: 5 }));
    equal(fails("HostFunction", () => lua.compute("source()")).cause.kind, "InvalidArgument");
    lua.register("longer", () => lua.computeWith(`return 1 --${"x".repeat(100)}`, { sourceLimit: null }));
    equal(fails("HostFunction", () => lua.computeWith("longer()", { sourceLimit: 20 })).cause.kind, "InvalidArgument");
    lua.register("mistyped", () => lua.computeWith("", { timeOut: 5 }));
    equal(fails("HostFunction", () => lua.compute("mistyped()")).cause.kind, "InvalidArgument");
  },

  "what is printed": ({ Sandbox }) => {
    const lines = [];
    const lua = new Sandbox({ onPrint: (text) => lines.push(text) });
    equal(lua.computeWith("print('a', 1) print()").output, "");
    same(lines, ["a\t1\n", "\n"]);
    const cause = new Error("full");
    const bad = new Sandbox({
      onPrint: () => {
        throw cause;
      },
    });
    equal(fails("HostFunction", () => bad.compute("print(1) _home.x = 1")).cause, cause);
    equal(bad.home.size, 0);
    const busy = new Sandbox({ onPrint: () => busy.compute("return 1") });
    equal(fails("HostFunction", () => busy.compute("print(1)")).cause.kind, "Busy");
    equal(new Sandbox().computeWith("print('x')").output, "x\n");
  },

  "modules": ({ Sandbox }) => {
    const modules = new Map([["m", "return {n = 1, name = ...}"], ["named", { source: "error('x')", chunkName: "@lib/named.lua" }]]);
    const lua = new Sandbox({ modules });
    same(lua.compute("local m = require 'm' return m.n, m.name"), [1, "m"]);
    equal(fails("Runtime", () => lua.compute("require 'named'")).chunkName, "lib/named.lua");
    ok(fails("Runtime", () => lua.compute("require 'none'")).message.includes("no module 'none'"));
    const dynamic = new Sandbox({ modules: (name) => (name === "x" ? "return 5" : null) });
    equal(dynamic.compute("return (require 'x')"), 5);
  },

  "limits": ({ Sandbox }) => {
    const lua = new Sandbox({ memoryLimit: "8MiB", instructionLimit: 1e6, timeout: 1000, outputLimit: "1 KB", hostCallLimit: 3, storeLimit: 1000 });
    lua.register("f", () => 1);
    fails("InstructionLimit", () => lua.compute(`pcall(function() ${forever} end)`));
    fails("Memory", () => lua.compute("return ('x'):rep(1e7)"));
    fails("OutputLimit", () => lua.compute("for i = 1, 1e4 do print(i) end"));
    fails("HostCallLimit", () => lua.compute("for i = 1, 4 do f() end"));
    fails("StoreLimit", () => lua.compute("_home.x = ('x'):rep(2000)"));
    equal(lua.home.size, 0);
    fails("Timeout", () => lua.computeWith(forever, { instructionLimit: Infinity, timeout: 20 }));
    fails("InvalidArgument", () => lua.computeWith("return 1", { sourceLimit: 3 }));
    fails("StoreLimit", () => new Sandbox({ storeLimit: { entries: 2 } }).compute("_home.a = 1 _home.b = 2 _home.a = 3 _home.c = 1"));
    equal(lua.compute("return f()"), 1);
    lua.register("stop", () => lua.interrupt());
    fails("Interrupted", () => lua.compute(`stop() ${forever}`));
    equal(lua.compute("return f()"), 1);
    const same = () => new Sandbox().computeWith("local n = 0 for i = 1, 1000 do n = n + i end return n").metrics.instructions;
    equal(same(), same());
  },

  "a failed run stores nothing": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("_home.list = {1, 2, 3} _home.a = 'a' _home.b = 'b'");
    const before = JSON.stringify(lua.home);
    for (const end of ["error('x')", "setmetatable({}, {__index = error}).x()"])
      fails("Runtime", () => lua.compute(`_home.a = nil _home.c = {} _home.list[2] = nil table.insert(_home.list, 9) ${end}`));
    fails("InstructionLimit", () => lua.computeWith(`_home.b = nil _home.n = 1 ${forever}`, { instructionLimit: 1e5 }));
    equal(JSON.stringify(lua.home), before);
    lua.compute("_home.a = nil _home.a = 'A'");
    same([...lua.home.keys()], ["list", "a", "b"]);
  },

  "large tables, changed while they are gone through": ({ Sandbox }) => {
    const lua = new Sandbox({ memoryLimit: "4MiB" });
    const big = "x".repeat(5000);
    lua.home.set("t", Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`key ${i}`, i % 10 ? i : big])));
    same(lua.compute("local n, sum, long = 0, 0, 0 for k, v in pairs(_home.t) do n = n + 1 if type(v) == 'number' then sum = sum + v else long = long + #v end end return n, sum, long"), [3000, 4050000, 1500000]);
    equal(lua.compute("local n = 0 for k, v in pairs(_home.t) do n = n + 1 _home.t[k] = nil end return n, next(_home.t)")[0], 3000);
    equal(lua.compute("for i = 1, 1000 do _home.t[i] = i end local n = 0 for k in pairs(_home.t) do _home.t[k] = k + 1 n = n + k end return n"), 500500);
    equal(lua.compute("local n = 0 for k in pairs(_home.t) do for j in pairs(_home.t) do n = n + 1 if n % 1000 == 0 then break end end if n > 3000 then break end end return n"), 4000);
  },

  "orphans are removed": ({ Sandbox }) => {
    const lua = new Sandbox();
    for (let i = 0; i < 50; i++) lua.compute("for i = 1, 100 do _home.t = {{}, {}} end");
    ok(lua.tableCount < 2000, `${lua.tableCount} tables`);
    lua.gc();
    ok(lua.tableCount <= 5, `${lua.tableCount} tables`);
    equal(lua.compute("return #_home.t"), 2);
  },

  "the same with a seed": ({ Sandbox }) => {
    const run = () => {
      const lua = new Sandbox({ seed: 7 });
      return [lua.compute("return math.random(), os.time(), os.clock()"), lua.computeWith("return math.random(1000)").metrics];
    };
    same(run(), run());
    equal(run()[1].wallTime, 0);
    ok(new Sandbox().compute("return math.random()") !== new Sandbox().compute("return math.random()"));
    ok(Math.abs(new Sandbox().compute("return os.time()") - Date.now() / 1000) < 100);
  },

  "functions": ({ Sandbox }) => {
    const lua = new Sandbox();
    const counter = lua.compute("local n = 0 return function(d) n = n + (d or 1) return n end");
    equal(counter(), 1);
    equal(counter(5), 6);
    equal(lua.compute("return (...)()", counter), 7);
    equal(lua.compute("return string.upper")("x"), "X");
    fails("Conversion", () => lua.home.set("f", counter));
    fails("InvalidArgument", () => new Sandbox().compute("return ...", counter));
    lua.compute("_home.f = function(x) return x end");
    equal(typeof lua.home.get("f"), "function");
    lua.reset();
    fails("Closed", () => counter());
    equal(lua.compute("return _home.f(5)"), 5);
  },

  "snapshot, restore, fork": ({ Sandbox, Snapshot }) => {
    const lua = new Sandbox({ seed: 1 });
    lua.register("host", () => "host");
    lua.compute("n = 1 _home.x = {1} co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) co()");
    const snapshot = lua.snapshot();
    const fork = lua.fork();
    lua.compute("n = 2 _home.x = nil _home.y = 1 co()");
    equal(lua.compute("return co()"), 3);
    lua.restore(snapshot);
    same(lua.compute("return n, _home.x[1], _home.y, co(), host()"), [1, 1, null, 2, "host"]);
    same(fork.compute("return n, _home.x[1], co(), host()"), [1, 1, 2, "host"]);
    const view = lua.home.get("x");
    lua.restore(snapshot);
    fails("Closed", () => view.get(1));
    equal(lua.home.get("x").get(1), 1);
    lua.compute("co()");
    const other = new Sandbox();
    other.register("more", () => "more").register("host", () => "other");
    other.restore(Snapshot.fromBytes(snapshot.toBytes()));
    same(other.compute("return n, _home.x[1], co(), host(), more()"), [1, 1, 2, "other", "more"]);
    equal(JSON.stringify(other.home), '{"x":[1]}');
    const bytes = snapshot.toBytes();
    const foreign = bytes.slice();
    foreign[16] ^= 1;
    fails("InvalidArgument", () => other.restore(Snapshot.fromBytes(foreign)));
    for (const cut of [0, 10, 100, bytes.length - 1]) fails("InvalidArgument", () => Snapshot.fromBytes(bytes.subarray(0, cut)));
    for (let i = 0; i < 50; i++) {
      const damaged = bytes.slice();
      damaged[Math.floor((bytes.length / 50) * i)] ^= 1 << i % 8;
      fails("InvalidArgument", () => Snapshot.fromBytes(damaged));
    }
    fails("InvalidArgument", () => Snapshot.fromBytes(Uint8Array.of(1, 2, 3)));
    fails("InvalidArgument", () => lua.restore({}));
    fails("Runtime", () => lua.compute("_home.z = 1 error()"));
    equal(lua.home.has("z"), false);
  },

  "gc, statistics, reset, close": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("x = ('x'):rep(1e6)");
    const { luaBytes, wasmBytes, bufferBytes } = lua.memoryStats();
    ok(luaBytes > 1e6 && wasmBytes > luaBytes && bufferBytes >= 65536);
    lua.compute("x = nil");
    lua.gc();
    ok(lua.memoryStats().luaBytes < 5e5);
    lua.compute("_home.a = 1 b = 2");
    lua.reset();
    same(lua.compute("return _home.a, b"), [1, null]);
    const { home } = lua;
    lua.close();
    lua.close();
    ok(lua.closed);
    fails("Closed", () => lua.compute("return 1"));
    fails("Closed", () => home.size);
    equal(typeof new Sandbox()[Symbol.dispose ?? Symbol.for("Symbol.dispose")], "function");
  },

  "a store of one's own": ({ Sandbox }) => {
    const kept = new Map();
    let broken = null;
    const store = {
      entries: () => [...kept].map(([place, value]) => [...JSON.parse(place), value]),
      commit(writes) {
        if (broken) throw broken;
        for (const [table, key, value] of writes) value ? kept.set(JSON.stringify([table, key]), value) : kept.delete(JSON.stringify([table, key]));
      },
    };
    const lua = new Sandbox({ store });
    lua.compute("_home.a = {b = {1, 2}} local t = ext.table() t.x = 1 _io.output = {1}");
    equal(kept.size, 5, "entries of three tables, and the counter");
    equal(JSON.stringify(new Sandbox({ store }).home), '{"a":{"b":[1,2]}}');
    // Without views of its tables, so that it can remove them.
    const again = new Sandbox({ store });
    again.compute("_home.a = nil _home.c = {}");
    again.gc();
    equal(kept.size, 2, "one entry, and the counter");
    broken = new Error("disk full");
    const error = fails("Store", () => again.compute("_home.d = 1"));
    equal(error.cause, broken);
    fails("Store", () => again.home.set("d", 1));
    equal(again.home.has("d"), false);
    broken = null;
    again.compute("_home.d = {1}");
    equal(JSON.stringify(new Sandbox({ store }).home), '{"c":{},"d":[1]}');
    fails("InvalidArgument", () => new Sandbox({ store: "file" }));
    for (const promise of [async () => {}, () => Promise.reject(new Error("unheard")), () => ({ then: (_, no) => no(new Error("unheard")) })]) {
      const later = new Sandbox({ store: { ...store, commit: promise } });
      ok(fails("Store", () => later.compute("_home.e = 1")).message.includes("promise"));
      fails("Store", () => later.home.set("e", 1));
      equal(later.home.has("e"), false);
      ok(fails("Store", () => new Sandbox({ store: { ...store, entries: promise } })).message.includes("promise"));
    }
  },

  "computeAsync without waiting": async ({ Sandbox }) => {
    const lua = new Sandbox();
    equal(await lua.computeAsync("return ...", { args: [5] }), 5);
    lua.compute("function f(x) return x end");
    equal(await lua.callAsync("f", { args: [6] }), 6);
    await rejects("Syntax", lua.computeAsync("x ="));
    await rejects("InstructionLimit", lua.computeAsync(forever, { instructionLimit: 1e6 }));
    await rejects("Timeout", lua.computeAsync(forever, { timeout: 30 }));
    const reason = new Error("enough");
    equal((await rejects("Interrupted", lua.computeAsync("return 1", { signal: AbortSignal.abort(reason) }))).cause, reason);
    lua.register("later", async () => 1);
    const error = fails("HostFunction", () => lua.compute("return later()"));
    ok(error.message.includes("'later' returned a promise"), error.message);
    equal(lua.compute("return 1"), 1);
  },
};

const canSuspend = typeof WebAssembly.Suspending === "function";
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Where runs wait for promises. */
export const waitingSuite = {
  "host functions that return promises": async ({ Sandbox, multiple }) => {
    const lua = new Sandbox();
    lua.register("later", async (...args) => {
      await pause(1);
      return multiple(...args);
    });
    lua.register("now", (x) => x);
    same(await lua.computeAsync("return later(1, 'x'), now(2), later({3})"), [1, 2, [3]]);
    same(await lua.computeAsync("return pcall(later, 5)"), [true, 5]);
    equal(await lua.computeAsync("local co = coroutine.wrap(function() return later(7) end) return co()"), 7);
    equal(await lua.computeAsync("local t = setmetatable({}, {__index = function(_, k) return later(k) end}) return t.x"), "x");
    same(await lua.computeAsync("local t = {3, 1, 2} table.sort(t, function(a, b) return later(a < b) end) return t"), [1, 2, 3]);
    equal(await lua.computeAsync("return (('abc'):gsub('.', function(c) return later(c .. c) end))"), "aabbcc");
    equal(await lua.computeAsync("return #later(('x'):rep(100000))"), 100000);
    const cause = new Error("down");
    lua.register("reject", () => Promise.reject(cause));
    equal((await rejects("HostFunction", lua.computeAsync("_home.x = 1 reject()"))).cause, cause);
    equal(lua.home.size, 0);
    same(await lua.computeAsync("return pcall(reject)"), [false, "down"]);
    fails("HostFunction", () => lua.compute("return later(1)"));
    equal(lua.compute("return now(1)"), 1);
  },

  "the sandbox is busy while it waits": async ({ Sandbox }) => {
    const lua = new Sandbox();
    let go;
    lua.register("wait", () => new Promise((resolve) => (go = resolve)));
    const run = lua.computeAsync("_home.x = 1 return wait()");
    await pause(5);
    fails("Busy", () => lua.compute("return 1"));
    fails("Busy", () => lua.home.get("x"));
    await rejects("Busy", lua.computeAsync("return 1"));
    go("done");
    equal(await run, "done");
    equal(lua.home.get("x"), 1);
  },

  "abort, timeout, interrupt and close end the waiting": async ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("never", () => new Promise(() => {}));
    const controller = new AbortController();
    const reason = new Error("enough");
    setTimeout(() => controller.abort(reason), 5);
    const error = await rejects("Interrupted", lua.computeAsync("_home.x = 1 never()", { signal: controller.signal }));
    equal(error.cause, reason);
    equal(lua.home.size, 0);
    await rejects("Timeout", lua.computeAsync("pcall(never)", { timeout: 20 }));
    setTimeout(() => lua.interrupt(), 5);
    await rejects("Interrupted", lua.computeAsync("never()"));
    equal(lua.compute("return 1"), 1);
    lua.register("closing", () => {
      setTimeout(() => lua.close(), 1);
      return new Promise(() => {});
    });
    await rejects("Interrupted", lua.computeAsync("closing()"));
    fails("Closed", () => lua.compute("return 1"));
  },

  "interrupt right after the call is not lost": async ({ Sandbox }) => {
    const lua = new Sandbox({ timeout: null });
    for (let i = 0; i < 20; i++) {
      const run = lua.computeAsync(forever);
      lua.interrupt();
      await rejects("Interrupted", run);
    }
    equal(await lua.computeAsync("return 1"), 1, "and the next run hears nothing of it");
    const run = lua.computeAsync(forever);
    lua.close();
    // Closed where it had not begun.
    ok(["Interrupted", "Closed"].includes(await run.then(() => "no error", (error) => error.kind)));
  },

  "a busy script lets the event loop go on, and can be aborted": async ({ Sandbox }) => {
    const lua = new Sandbox();
    const controller = new AbortController();
    let turns = 0;
    const timer = setInterval(() => ++turns === 5 && controller.abort(), 1);
    await rejects("Interrupted", lua.computeAsync(forever, { signal: controller.signal }));
    clearInterval(timer);
    ok(turns >= 5);
    equal(await lua.computeAsync("local n = 0 for i = 1, 3e6 do n = n + i end return n"), 4500001500000);
    const a = new Sandbox();
    const b = new Sandbox();
    const source = "local n = 0 for i = 1, 5e6 do n = n + 1 end return n";
    same(await Promise.all([a.computeAsync(source), b.computeAsync(source)]), [5e6, 5e6]);
  },

  "a promise inside of another host function is refused": async ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("later", async () => 1);
    lua.register("eval", (source) => lua.compute(source));
    const error = await rejects("HostFunction", lua.computeAsync("return eval('return later()')"));
    ok(error.message.includes("inside of another host function"), error.message);
    equal(await lua.computeAsync("return later()"), 1);
  },
};

/** The same, where the engine can put a wasm stack aside. */
export const waiting = canSuspend && waitingSuite;
