// Tables that are kept, and the stores that keep them.

import { equal, fails, forever, ok, same } from "../check.js";

export const storedTables = {
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

  "a run holds what it overwrites once, and what it deletes for so long only": ({ Sandbox }) => {
    const lua = new Sandbox({ memoryLimit: "8MiB", storeLimit: "1MiB" });
    lua.compute("_home.x, _home.y = 'before', 1");
    lua.compute("for i = 1, 300000 do _home.x = i end");
    equal(lua.home.get("x"), 300000);
    fails("Runtime", () => lua.compute("for i = 1, 10 do _home.x = i _home.y = nil _home.z = i _home.y = i _home.z = nil end error 'x'"));
    same([...lua.home.entries()], [["y", 1], ["x", 300000]]);
    // Keys that are gone keep their places until the run ends.
    fails("StoreLimit", () => lua.compute("for i = 1, 1e6 do _home[i] = 1 _home[i] = nil end"));
    fails("StoreLimit", () => lua.compute("for i = 1, 1e6 do ext.table().x = 1 end"));
    same([...lua.home.entries()], [["y", 1], ["x", 300000]]);
    equal(lua.compute("for i = 1, 1000 do _home[i] = 1 _home[i] = nil end return _home.x"), 300000);
  },

  "long keys of bytes and of lines are read": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("same", (value) => value);
    const bytes = ["('a'):rep(300000) .. '\\xff'", "('\\xff'):rep(300000)", "'\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xc0\\x80\\xe0\\x80\\x80ä€𝄞\\xf0\\x9d'"];
    for (const key of [...bytes, "('\\n\\\\'):rep(300000)", "'\\\\n\\n\\\\\\\\n\\xe4'"]) {
      lua.compute(`_home.t = {[${key}] = 1}`);
      const [read] = [...lua.home.get("t").keys()];
      equal(lua.compute(`return ... == ${key}`, read), true);
      equal(lua.home.get("t").get(read), 1);
      equal(lua.compute(`return same({[${key}] = 1})[${key}]`), 1);
    }
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

  "two keys with the same text are no JSON": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("_home.a = {b = {[1] = 'number', ['1'] = 'text'}}");
    const error = fails("Conversion", () => JSON.stringify(lua.home));
    ok(error.message.includes("value.a.b"), error.message);
    lua.compute("_home.a.b['1'] = nil");
    equal(JSON.stringify(lua.home), '{"a":{"b":["number"]}}');
  },

  "numbers of tables are given back, and none means two tables": ({ Sandbox }) => {
    const next = (lua) => {
      lua.compute("_home.probe = {1}");
      return lua.home.get("probe").id;
    };
    const lua = new Sandbox();
    for (const source of [
      "for i = 1, 60000 do local t = ext.table() end error('x')",
      "for i = 1, 3000 do _home.x = {i} end error('x')",
      "held = {} for i = 1, 3000 do held[i] = ext.table() held[i].x = i end error('x')",
      "for i = 1, 300000 do local t = ext.table() end",
    ]) {
      for (let i = 0; i < 4; i++) {
        try {
          lua.compute(source);
        } catch (error) {
          equal(error.kind, "Runtime");
        }
      }
      const number = next(lua);
      ok(number < 2000, `${number} after ${source}`);
    }
    // What Lua holds, or somebody has a view of, keeps its number.
    for (const change of [
      (lua) => fails("Runtime", () => lua.compute("for i = 1, 100 do _home[i] = {i} end error('x')")),
      (lua) => fails("Conversion", () => lua.home.set("x", { a: [1, new Date(0)] })),
      (lua) => lua.compute("for i = 1, 300000 do local t = ext.table() end"),
      (lua) => (lua.gc(), fails("Runtime", () => lua.compute("error('x')"))),
      (lua) => (lua.restore(lua.snapshot()), fails("Runtime", () => lua.compute("error('x')"))),
    ]) {
      const lua = new Sandbox();
      let view;
      lua.register("see", (table) => void (view = table));
      lua.compute("empty = ext.table()");
      change(lua);
      fails("Runtime", () => lua.compute("_home.seen = {1} see(_home.seen) error('x')"));
      lua.compute("for i = 1, 300 do _home[i] = {i, 'later'} end local t = ext.table() t.x = 1");
      equal(lua.compute("empty.y = 2 return empty.x, empty[1], #empty, (next(empty))").join(), ",,0,y");
      equal(view.size, 0, "an old view shows a new table");
      equal(lua.compute("for i = 1, 300 do assert(_home[i][1] == i and #_home[i] == 2) end return 1"), 1);
    }
  },

  "orphans are removed": ({ Sandbox }) => {
    const lua = new Sandbox();
    for (let i = 0; i < 50; i++) lua.compute("for i = 1, 100 do _home.t = {{}, {}} end");
    ok(lua.tableCount < 2000, `${lua.tableCount} tables`);
    lua.gc();
    ok(lua.tableCount <= 5, `${lua.tableCount} tables`);
    equal(lua.compute("return #_home.t"), 2);
  },

  "a run that was stored has succeeded, whatever comes afterwards": ({ Sandbox }) => {
    let commits = 0;
    const store = {
      entries: () => [],
      commit() {
        // The first one is the run's; the second removes what nothing refers to any more.
        if (++commits > 1) throw new Error("disk full");
      },
    };
    const lua = new Sandbox({ store });
    const run = (source) => {
      commits = 0;
      return lua.compute(source);
    };
    run("local t = {} for i = 1, 400 do t[i] = {i} end _home.t = t");
    for (let i = 1; i <= 3; i++) {
      equal(run(`local t = {} for i = 1, 2000 do t[i] = {i} end _home.t = t return #_home.t`), 2000);
      ok(commits > 1, "it was looked for orphans");
      equal(run(`_home.n = ${i} return _home.n`), i);
    }
  },

  "a store to take no functions from": ({ Sandbox }) => {
    const kept = new Map();
    const store = {
      entries: () => [...kept].map(([place, value]) => [...JSON.parse(place), value]),
      commit: (writes) => writes.forEach(([table, key, value]) => (value ? kept.set(JSON.stringify([table, key]), value) : kept.delete(JSON.stringify([table, key])))),
    };
    new Sandbox({ store }).compute(
      "local up = 1 _home.a, _home.f, _home.g, _home.t, _home.u = 1, function() return 1 end, function() up = up + 1 return up end, {2, function() end}, string.upper",
    );
    const lua = new Sandbox({ store, storedFunctions: false });
    for (const source of ["return _home.f()", "return _home.g()", "return _home.t[2]", "for k, v in pairs(_home) do end", "local f = next(_home.t, 1)"]) {
      const error = fails("Store", () => lua.compute(source));
      ok(error.message.includes("storedFunctions"), error.message);
      equal(error.cause.kind, "Store");
    }
    const [caught, text] = lua.compute("return pcall(function() return _home.f end)");
    ok(!caught && text.includes("'f': the store failed") && !text.includes("storedFunctions"), text);
    for (const read of [() => lua.home.get("g"), () => [...lua.home], () => lua.home.copy(), () => lua.home.get("t").get(2), () => lua.snapshot(), () => lua.fork()]) {
      ok(fails("Store", read).message.includes("storedFunctions"));
    }
    same(lua.compute("_home.own = function() return 5 end return _home.a + _home.t[1] + _home.own(), _home.u('x')"), [8, "X"]);
    equal(lua.compute("return _home.own()"), 5, "one that it has stored itself");
    fails("Runtime", () => lua.compute("_home.f = nil error('x')"));
    fails("Store", () => lua.compute("return _home.f"));
    equal(lua.home.size, 6);
    lua.compute("_home.f, _home.g, _home.t[2] = nil");
    lua.gc();
    same(lua.fork().compute("return _home.a, _home.own()"), [1, 5]);
    equal(new Sandbox({ store }).compute("return _home.own()"), 5);
    fails("InvalidArgument", () => new Sandbox({ store, storedFunctions: "no" }));
  },

  "a store has one writer": ({ Sandbox }) => {
    const kept = new Map();
    const store = {
      entries: () => [...kept].map(([place, value]) => [...JSON.parse(place), value]),
      commit: (writes) => writes.forEach(([table, key, value]) => (value ? kept.set(JSON.stringify([table, key]), value) : kept.delete(JSON.stringify([table, key])))),
    };
    const [a, b] = [new Sandbox({ store }), new Sandbox({ store })];
    a.compute("_home.a = {owner = 'a'}");
    for (let i = 0; i < 2; i++) {
      ok(fails("Store", () => b.compute("_home.b = {owner = 'b'}")).message.includes("another sandbox"));
      fails("Store", () => b.home.set("b", 1));
      a.compute("_home.more = {_home.a}");
    }
    const c = new Sandbox({ store });
    c.compute("_home.c = {owner = 'c'}");
    fails("Store", () => a.compute("_home.a.owner = 'x'"));
    equal(JSON.stringify(new Sandbox({ store }).home), '{"a":{"owner":"a"},"more":[{"owner":"a"}],"c":{"owner":"c"}}');
  },

  "a store of one's own": ({ LuaCellError, Sandbox }) => {
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
    broken = new LuaCellError("Conflict", "somebody else was first");
    equal(fails("Conflict", () => again.compute("_home.d = 1")).cause, broken);
    equal(fails("Conflict", () => again.home.set("d", 1)).cause, broken);
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
};
