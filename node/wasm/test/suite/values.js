// Values on their way in and out.

import { equal, fails, ok, same } from "../check.js";

export const values = {
  "values as JavaScript has them": ({ Sandbox }) => {
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

  "keys that are one key in Lua": ({ Sandbox, LuaFloat }) => {
    const lua = new Sandbox();
    const twice = [
      [[1, "a"], [1n, "b"]],
      [["k", "a"], [Uint8Array.of(107), "b"]],
      [[Uint8Array.of(255), "a"], [Uint8Array.of(255), "b"]],
      [[new LuaFloat(2), "a"], [2, "b"]],
      [[new ArrayBuffer(1), "a"], ["\0", "b"]],
      [[2n ** 60n, "a"], [2 ** 60, "b"]],
    ].map((entries) => new Map(entries));
    for (const map of twice) {
      const error = fails("Conversion", () => lua.compute("return ...", 0, [{ x: map }]));
      ok(error.message.includes("same key in Lua") && error.message.includes("(argument 2[1].x)"), error.message);
      fails("Conversion", () => lua.home.set("x", map));
      fails("Conversion", () => lua.home.set("x", { y: map }));
      fails("Conversion", () => void (lua.input = map));
      lua.register("f", () => map);
      fails("HostFunction", () => lua.compute("f()"));
    }
    equal(lua.home.size, 0);
    const exact = new Sandbox({ exactNumbers: true });
    fails("Conversion", () => exact.compute("return ...", new Map([[1, "a"], [1n, "b"]])));
    same(lua.compute("local t = ... return t[1], t['1'], t[true], t.k", new Map([[1n, "a"], ["1", "b"], [true, "c"], [Uint8Array.of(107), "d"]])), ["a", "b", "c", "d"]);
  },

  "names of fields that look alike": ({ Sandbox }) => {
    const lua = new Sandbox();
    const names = ["", "__proto__", "ab", "aa", "aab", "acb", "é", "aéb", "\ufeffx", "x".repeat(24), "x".repeat(25), "constructor"];
    for (let i = 0; i < 300; i++) names.push(`a${i}b`);
    const lists = [names, [...names].reverse(), names];
    const records = lua.compute(
      "local lists, out = ..., {} for i, list in ipairs(lists) do out[i] = {} for _, name in ipairs(list) do out[i][name] = name end end return out",
      lists,
    );
    equal(records.length, 3);
    for (const record of records) {
      equal(Object.keys(record).length, names.length);
      for (const name of names) equal(Object.getOwnPropertyDescriptor(record, name)?.value, name);
    }
    same(lua.compute("return {{a = 1}, {['\\xff'] = 1}, {a = 2}}"), [{ a: 1 }, new Map([[Uint8Array.of(255), 1]]), { a: 2 }]);
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
    for (const odd of [new Date(0), /x/, new Set(), new Int8Array(1), Symbol("x"), new (class Point {})(), new Error("x")]) {
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
};
