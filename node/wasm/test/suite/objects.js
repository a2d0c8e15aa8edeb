// Objects and iterators of JavaScript in Lua, and Lua's functions as iterators.

import { equal, fails, ok, rejects, same } from "../check.js";

/** Collects garbage until that holds, or for long enough. */
async function collected(holds) {
  for (let i = 0; i < 200 && !holds(); i++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A class with a bit of everything. */
function pointClass({ expose, multiple, LuaCellError }) {
  class Base {
    inherited() {
      return "inherited";
    }
    get inheritedField() {
      return 1;
    }
  }
  class Point extends Base {
    static made = 0;
    #hidden = 3;
    constructor(x, y) {
      super();
      this.x = x;
      this.y = y;
      this._more = 4;
    }
    static of(x, y) {
      return new Point(x, y);
    }
    sum() {
      return this.x + this.y;
    }
    plus(x, y = 0) {
      return new Point(this.x + x, this.y + (y ?? 0));
    }
    several() {
      return multiple(this.x, this.y);
    }
    fail(text) {
      throw LuaCellError.raise(text);
    }
    async later() {
      return this.x;
    }
    _private() {
      return this.#hidden;
    }
    toJSON() {
      return "json";
    }
    toString() {
      return `(${this.x}, ${this.y})`;
    }
    [Symbol.toPrimitive]() {
      return 1;
    }
    get left() {
      return this.x;
    }
    set left(x) {
      this.x = x;
    }
    get length() {
      return Math.hypot(this.x, this.y);
    }
    set wonly(x) {
      this.x = x;
    }
    get pair() {
      return [this.x, this.y];
    }
    get _secret() {
      return 1;
    }
    set _secret(x) {
      this.x = x;
    }
  }
  expose(Point, {
    metamethods: {
      __add: (a, b) => (a instanceof Point ? a.plus(b) : b.plus(0, a)),
      __unm: (a) => new Point(-a.x, -a.y),
      __len: () => 2,
      __eq: (a, b) => a instanceof Point && b instanceof Point && a.x === b.x && a.y === b.y,
      __lt: (a, b) => a.x < b.x,
      __call: (self, ...args) => multiple(self.x, ...args),
    },
  });
  return Point;
}

const noNames = [
  "constructor", "__proto__", "then", "toJSON", "toString", "valueOf", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString",
  "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "prototype", "_private", "_secret", "_more", "#hidden", "made", "of",
  "inherited", "inheritedField", "x", "y", "wonly", "@@toPrimitive", "Symbol(Symbol.toPrimitive)", "object", "class", "__index", "__add", "__name", "__gc", "",
];

export const objects = {
  "objects: methods, fields and operators": (api) => {
    const lua = new api.Sandbox();
    const Point = pointClass(api);
    const p = new Point(1, 2);
    same(lua.compute("p = ... return p:sum(), p:plus(10):sum(), p:plus(10, 20):sum()", p), [3, 13, 33]);
    same(lua.compute("return p:several()"), [1, 2]);
    same(lua.compute("return p.left, type(p), getmetatable(p), p.pair"), [1, "userdata", false, [1, 2]]);
    equal(lua.compute("p.left = 5 return p.left"), 5);
    equal(p.x, 5);
    same(lua.compute("return #p, (p + 1).left, (1 + p):sum(), (-p).left, tostring(p)"), [2, 6, 8, -5, "(5, 2)"]);
    same(lua.compute("return p == p:plus(0), p ~= p:plus(1), p < p:plus(1), p > p:plus(1), p == 1"), [true, true, true, false, false]);
    same(lua.compute("return p(8, nil, 9)"), [5, 8, null, 9]);
    for (const name of noNames) {
      equal(lua.compute("local name = ... return p[name]", name), null, name);
      const { message } = fails("Runtime", () => lua.compute("local name = ... p[name] = 1", name));
      ok(message.includes(`can't set '${name}' of a Point`), message);
    }
    ok(fails("Runtime", () => lua.compute("p.length = 1")).message.includes("can't set 'length' of a Point"));
    equal(lua.compute("return p[1]"), null);
    fails("Runtime", () => lua.compute("return p - 1"));
    fails("Runtime", () => lua.compute("setmetatable(p, {})"));
  },

  "objects are the same in both directions": (api) => {
    const { Sandbox, wrap } = api;
    const lua = new Sandbox();
    const p = new (pointClass(api))(1, 2);
    lua.compute("function same(...) return ... end function keep(v) kept = v end");
    equal(lua.call("same", p), p);
    const back = lua.call("same", { list: [p], p, map: new Map([[p, 1]]) });
    equal(back.list[0], p);
    equal(back.p, p);
    equal(back.map.get(p), 1);
    lua.call("keep", p);
    equal(lua.compute("return rawequal(kept, ...)", p), true);
    equal(lua.compute("return kept"), p);
    const found = [];
    lua.register("found", (...all) => void found.push(...all));
    lua.compute("found(kept, {kept})");
    equal(found[0], p);
    equal(found[1][0], p);
    lua.register("give", () => p);
    equal(lua.compute("return rawequal(kept, give())"), true);
    // Wrapped in another way it is another value, and still itself in the host.
    equal(lua.compute("return rawequal(kept, ...)", wrap(p)), true);
    equal(lua.compute("return rawequal(kept, ...)", wrap(p, { methods: ["sum"] })), false);
    const twice = () => wrap(p, { methods: ["sum"], fields: ["x"] });
    equal(lua.compute("local a, b = ... return rawequal(a, b)", twice(), twice()), true);
    equal(lua.call("same", twice()), p);
    const other = new Sandbox({ exactNumbers: true });
    equal(other.compute("local p = ... return p:sum()", p), 3);
    equal(other.compute("return ...", lua.compute("return kept")), p);
    equal(typeof other.compute("local p = ... return p(1)", p)[1], "bigint");
  },

  "objects: members are called with an object of their class only": (api) => {
    const { Sandbox, wrap, expose } = api;
    const lua = new Sandbox();
    const Point = pointClass(api);
    class Other {
      sum() {
        return 1;
      }
    }
    const p = new Point(1, 2);
    lua.compute("p, o, q, same = ...", p, wrap(new Other()), wrap(new Point(3, 4), { methods: ["several"] }), wrap(p, { methods: ["several"] }));
    const wrong = ["p.sum()", "p.sum(o)", "p.sum(q)", "p.sum(same)", "p.sum(1, p)", "p.sum({p})", "p.sum({left = 1})", "o.sum(p)", "p.sum('x', p)", "q.several(p)", "pcall(error) p.sum(nil)"];
    for (const source of wrong) {
      const { message, cause } = fails("HostFunction", () => lua.compute(source.startsWith("pcall") ? source : `return ${source}`));
      ok(message.includes("in front, as in object:name()"), message);
      ok(cause !== undefined, source);
    }
    same(lua.compute("return q:several()"), [3, 4]);
    same(lua.compute("return q.x, q.sum, same.sum, same.left"), [null, null, null, null]);
    fails("Runtime", () => lua.compute("same.left = 1"));
    // A member that went through the host, and through another sandbox.
    lua.register("identity", (f) => f);
    equal(lua.compute("return identity(p.sum)(p)"), 3);
    ok(fails("HostFunction", () => lua.compute("return identity(p.sum)(same)")).message.includes("needs a Point"));
    equal(lua.compute("return p.sum == p.sum and p.sum == ({...})[1].sum", p), true);
    // A class that is exposed anew is another one.
    expose(Point, { methods: ["sum"] });
    same(lua.compute("local n = ... return n:sum(), n.several, p:several()", new Point(5, 6)), [11, null, 1, 2]);
    ok(fails("HostFunction", () => lua.compute("return p.several(...)", new Point(5, 6))).message.includes("needs a Point"));
  },

  "objects: what is listed": (api) => {
    const { Sandbox, expose } = api;
    const lua = new Sandbox();
    class Base {
      inherited() {
        return "inherited";
      }
      other() {
        return "other";
      }
    }
    class Store extends Base {
      n = 1;
      m = 2;
      secret = 3;
      items = new Map();
      toString() {
        return "a store";
      }
    }
    expose(Store, {
      methods: ["inherited", "toString"],
      fields: ["n", "gone"],
      writable: ["m"],
      name: "Shop",
      metamethods: { __index: (self, key) => self.items.get(key), __newindex: (self, key, value) => void self.items.set(key, value) },
    });
    class Derived extends Store {
      inherited() {
        return "overridden";
      }
    }
    const s = new Store();
    lua.compute("s, d = ...", s, new Derived());
    same(lua.compute("return s:inherited(), d:inherited(), s.n, s.m, s.other, s.secret, s.gone"), ["inherited", "overridden", 1, 2, null, null, null]);
    lua.compute("s.m = 7 s.key = 'v' s[1] = 'one' s.n = 5 s.__proto__ = 3 s.constructor = 4");
    same([s.m, s.n, ...s.items], [7, 1, ["key", "v"], [1, "one"], ["n", 5], ["__proto__", 3], ["constructor", 4]]);
    same(lua.compute("return s.key, s[1], s[2], s.__proto__"), ["v", "one", null, 3]);
    equal(lua.compute("return tostring(s)"), "a store");
    lua.compute("s.m = nil");
    equal(s.m, null);
    // An empty list is a list.
    class Nothing {
      f() {}
    }
    expose(Nothing, { methods: [] });
    equal(lua.compute("local o = ... return o.f", new Nothing()), null);
    ok(lua.compute("return tostring(...)", new Nothing()).startsWith("Nothing"));
  },

  "objects: one object": ({ Sandbox, wrap }) => {
    const lua = new Sandbox();
    const map = new Map([["a", 1]]);
    const wrapped = wrap(map, { methods: ["get", "set"], fields: ["size"] });
    same(lua.compute("m = ... return m:get('a'), m:get('b'), m.size, m.delete", wrapped), [1, null, 1, null]);
    equal(lua.compute("m:set('b', 2) return m"), map);
    equal(map.get("b"), 2);
    // An object literal is a class of its own.
    const counter = { n: 0, secret: 5, add(by) { return (this.n += by); }, get double() { return 2 * this.n; }, _hidden() {} };
    same(lua.compute("local c = ... return c:add(2), c.double, c.n, c.secret, c._hidden", wrap(counter)), [2, 4, null, null, null]);
    same(lua.compute("local c = ... c.n = 9 return c.n, c:add(1)", wrap(counter, { methods: ["add"], writable: ["n"] })), [9, 10]);
    same(lua.compute("local m = ... return m:floor(1.5)", wrap(Math, { methods: ["floor"] })), 1);
    same(lua.compute("local d = ... return d:getTime(), d", wrap(new Date(5), { methods: ["getTime"] }))[0], 5);
    const bare = Object.assign(Object.create(null), { f: () => 1 });
    equal(lua.compute("local o = ... return o:f()", wrap(bare)), 1);
    class Maker {
      static make(n) {
        return n + 1;
      }
    }
    equal(lua.compute("local o = ... return o:make(1)", wrap(Maker, { methods: ["make"] })), 2);
    // Those of another realm, a proxy, and one with private fields.
    const proxy = new Proxy({ f: () => 8 }, {});
    equal(lua.compute("local o = ... return o:f()", wrap(proxy)), 8);
    equal(lua.compute("return ...", wrap(proxy)), proxy);
    same(lua.compute("local list = ... return #list, list[1]:f()", [wrap(proxy)]), [1, 8]);
  },

  "objects: what makes no sense is an error": (api) => {
    const { expose, wrap, LuaCellError } = api;
    const Point = pointClass(api);
    const p = new Point(1, 2);
    for (const options of [
      { methods: ["sun"] },
      { methods: "sum" },
      { methods: [1] },
      { methods: ["left", "__proto__"] },
      { methods: ["constructor"] },
      { methods: ["then"] },
      { methods: ["valueOf"] },
      { methods: [Symbol.hasInstance] },
      { methods: [Symbol.iterator] },
      { fields: ["_x"] },
      { fields: [Symbol.iterator] },
      { fields: ["constructor"] },
      { writable: ["then"] },
      { writable: ["toJSON"] },
      { writable: ["toString"] },
      { writable: ["toLua"] },
      { writable: ["__proto__"] },
      { writable: { x: 1 } },
      { writable: ["sum"], methods: ["sum"] },
      { methods: null },
      { fields: ["\ud800"] },
      { metamethods: { __gc: () => 1 } },
      { metamethods: { __mode: () => 1 } },
      { metamethods: { __metatable: () => 1 } },
      { metamethods: { __name: () => 1 } },
      { metamethods: { add: () => 1 } },
      { metamethods: { __add: 5 } },
      { metamethods: [] },
      { name: 5 },
      { name: "\ud800" },
      { method: ["sum"] },
    ]) {
      const what = JSON.stringify(options);
      for (const use of [() => wrap(p, options), () => expose(Point, options)]) {
        let error;
        try {
          use();
        } catch (thrown) {
          error = thrown;
        }
        ok(error instanceof LuaCellError && error.kind === "InvalidArgument", `${what}: ${error}`);
      }
    }
    class Thenable {
      then(resolve) {
        resolve(5);
      }
      f() {}
    }
    expose(Thenable);
    same(new api.Sandbox().compute("local o = ... return o.f ~= nil, o['then']", new Thenable()), [true, null]);
    for (const odd of [p, null, 5, () => 1, {}, Array, Map, class extends Map {}, Object, Function, Uint8Array, class extends Uint8Array {}])
      fails("InvalidArgument", () => expose(odd));
    for (const odd of [null, undefined, 5, "x", Symbol("x"), wrap(p)]) fails("InvalidArgument", () => wrap(odd));
    fails("InvalidArgument", () => expose(Point, null));
  },

  "objects: errors": (api) => {
    const lua = new api.Sandbox();
    const Point = pointClass(api);
    lua.compute("p = ...", new Point(1, 2));
    ok(fails("HostFunction", () => lua.compute("p:fail('no luck')")).message.includes("no luck"));
    same(lua.compute("return pcall(p.fail, p, 'no luck')"), [false, "no luck"]);
    const cause = new RangeError("odd");
    class Odd {
      get gone() {
        throw cause;
      }
      set gone(_) {
        throw cause;
      }
      get unfit() {
        return Symbol("x");
      }
      get promise() {
        return Promise.resolve(1);
      }
      call() {
        throw cause;
      }
      toString() {
        throw cause;
      }
    }
    api.expose(Odd, { metamethods: { __len: () => { throw cause; }, __index: () => { throw cause; }, __newindex: () => { throw cause; } } });
    lua.compute("o = ...", new Odd());
    for (const source of ["local x = o.gone", "o.gone = 1", "o:call()", "local x = #o", "local x = o.y", "o.y = 1"]) {
      equal(fails("HostFunction", () => lua.compute(source)).cause, cause, source);
      ok(lua.compute(`return pcall(function() ${source} end)`)[1].endsWith("odd"), source);
    }
    fails("HostFunction", () => lua.compute("local x = o.unfit"));
    ok(fails("HostFunction", () => lua.compute("local x = o.promise")).message.includes("computeAsync"));
    // Accessors that are read only, and frozen objects.
    const frozen = Object.freeze({ x: 1 });
    const error = fails("HostFunction", () => lua.compute("local f = ... f.x = 2", api.wrap(frozen, { writable: ["x"] })));
    ok(error.cause instanceof TypeError);
    equal(lua.compute("return 1"), 1);
  },

  "objects: promises are waited for": async (api) => {
    const lua = new api.Sandbox();
    const Point = pointClass(api);
    class Slow {
      get field() {
        return Promise.resolve(7);
      }
      set field(x) {}
      async both() {
        await null;
        return api.multiple(1, this);
      }
      async fail() {
        throw new Error("later");
      }
    }
    const slow = api.expose(Slow) && new Slow();
    const [a, b, c] = await lua.computeAsync("local s, p = ... return s.field, s:both()", { args: [slow, new Point(8, 2)] });
    same([a, b], [7, 1]);
    equal(c, slow);
    equal(await lua.computeAsync("local s, p = ... return (p.later(p))", { args: [slow, api.wrap(new Point(8, 2), { methods: ["later"] })] }), 8);
    const both = "local s, p = ... local task = require 'task' return task.all(function() return p:later() end, function() return s.field end)";
    same(await lua.computeAsync(both, { args: [slow, new Point(8, 2)] }), [8, 7]);
    equal((await rejects("HostFunction", lua.computeAsync("(...):fail()", { args: [slow] }))).cause.message, "later");
    equal(await lua.computeAsync("local s <close>, n = ... return n", { args: [api.wrap({}, { metamethods: { __close: async () => {} } }), 5] }), 5);
  },

  "objects: runs that wait, copies and forks have them": (api) => {
    const { Sandbox, Snapshot } = api;
    const lua = new Sandbox().declare("ask");
    const p = new (pointClass(api))(1, 2);
    const run = lua.start("p = ... return ask(p), p:sum()", { args: [p] });
    equal(run.requests[0].args[0], p);
    const fork = lua.fork();
    run.answer(1, p);
    run.resume();
    same(run.result[1], 3);
    equal(run.result[0], p);
    const other = fork.waitingRun();
    equal(other.requests[0].args[0], p);
    other.answer(1, p);
    other.resume();
    equal(other.result[0], p);
    equal(fork.compute("return rawequal(p, ...) and p:sum()", p), 3);
    const snapshot = lua.snapshot();
    ok(fails("Conversion", () => snapshot.toBytes()).message.includes("functions of the host that have no name"));
    lua.compute("p = nil");
    lua.gc();
    const third = new Sandbox();
    third.restore(snapshot);
    same(third.compute("p.left = 4 return p:sum(), p.left, #p"), [6, 4, 2]);
    equal(p.x, 4);
    equal(third.compute("return p"), p);
    // When Lua has let go of them, and of their class, nothing is in the way.
    lua.gc();
    third.restore(Snapshot.fromBytes(lua.snapshot().toBytes()));
    equal(third.compute("return p"), null);
  },

  "objects can't be stored": (api) => {
    const lua = new api.Sandbox();
    const p = new (pointClass(api))(1, 2);
    ok(fails("Conversion", () => lua.compute("_home.p = ...", p)).message.includes("can't store a Point"));
    ok(fails("Conversion", () => lua.compute("_home.t = {a = {...}}", p)).message.includes("can't store a Point"));
    for (const value of [p, [p], api.wrap({}), { deep: { p } }, [1].values()]) {
      ok(/of the host can't be stored \(x/.test(fails("Conversion", () => lua.home.set("x", value)).message));
      fails("Conversion", () => (lua.input = value));
    }
    equal(lua.home.get(p), undefined);
    equal(lua.home.has(p), false);
    equal(lua.home.size, 0);
  },

  "objects: nothing of a script runs by itself": async (api) => {
    const { Sandbox, wrap } = api;
    const lua = new Sandbox();
    let called = 0;
    lua.register("called", () => void called++);
    const o = { x: 1, list: null };
    lua.compute("o = ... o.x = function() called() return 1 end", wrap(o, { writable: ["x"] }));
    for (const name of ["then", "toJSON", "toString", "valueOf", "constructor", "__proto__", "toLua", "inspect", "next", "return"])
      fails("Runtime", () => lua.compute("local name = ... o[name] = function() called() end", name));
    void `${o}${JSON.stringify(o)}${o == 1}`;
    await o;
    await lua.compute("return o");
    equal(called, 0);
    // Nor because there are functions that can be iterated.
    const f = lua.compute("return function() called() end");
    void `${f}${JSON.stringify({ f })}${f == 1}`;
    await f;
    await Promise.resolve(f);
    same(Object.keys(f), []);
    equal(f.then, undefined);
    equal(f.next, undefined);
    equal(called, 0);
    equal(await lua.computeAsync("return ...", { args: [f] }), f);
    equal(called, 0);
    // A prototype can't be reached through a field, nor changed.
    fails("Runtime", () => lua.compute("o.__proto__ = {polluted = 1}"));
    equal({}.polluted, undefined);
  },

  "objects: hostile ones": (api) => {
    const { Sandbox, wrap, expose } = api;
    const lua = new Sandbox();
    class Plain {
      f() {
        return 1;
      }
    }
    expose(Plain);
    const hooks = ["getPrototypeOf", "get", "has", "ownKeys", "getOwnPropertyDescriptor", "set", "isExtensible", "defineProperty", "setPrototypeOf"];
    const no = new Error("no");
    for (const hook of hooks) {
      const odd = new Proxy(new Plain(), { [hook]() { throw no; } });
      try {
        lua.compute("local o = ... o:f()", odd);
      } catch (error) {
        ok(error.kind === "Conversion" || error.kind === "HostFunction", `${hook}: ${error}`);
        equal(error.cause, no, hook);
      }
      let wrapped;
      try {
        wrapped = wrap(odd, { methods: ["f"], writable: ["x"] });
      } catch (error) {
        equal(error, no, hook);
        continue;
      }
      for (const source of ["o:f()", "o.x = 1", "local x = o.x", "return o"]) {
        try {
          lua.compute(`local o = ... ${source}`, wrapped);
        } catch (error) {
          equal(error.kind, "HostFunction", `${hook}: ${source}: ${error.message}`);
          equal(error.cause, no, hook);
        }
      }
    }
    const revoked = Proxy.revocable(new Plain(), {});
    const before = wrap(revoked.proxy, { methods: ["f"] });
    revoked.revoke();
    fails("Conversion", () => lua.compute("return ...", revoked.proxy));
    ok(fails("HostFunction", () => lua.compute("(...):f()", before)).cause instanceof TypeError);
    equal(lua.compute("return (...)", before), revoked.proxy);
    // One whose toLua says something else, one whose prototype changes, one whose class changes.
    class Both {
      toLua() {
        return 5;
      }
      f() {
        return 1;
      }
    }
    equal(lua.compute("return (...)", new Both()), 5);
    expose(Both, { methods: ["f"] });
    equal(lua.compute("return (...):f()", new Both()), 1);
    const p = new Plain();
    lua.compute("p = ...", p);
    Object.setPrototypeOf(p, { f: () => 2 });
    equal(lua.compute("return p:f()"), 2);
    Object.setPrototypeOf(p, null);
    ok(fails("HostFunction", () => lua.compute("return p:f()")).cause instanceof TypeError);
    Plain.prototype.f = 5;
    ok(fails("HostFunction", () => lua.compute("return (...):f()", new Plain())).cause instanceof TypeError);
    Plain.prototype.f = lua.compute("return function(...) return select('#', ...) end");
    equal(lua.compute("return (...):f(1, 2)", new Plain()), 2);
    // Lists that change while they are read.
    const list = { n: 0, *[Symbol.iterator]() { yield this.n++ ? "__proto__" : "f"; } };
    same(lua.compute("local o = ... return o.f ~= nil, o.__proto__", wrap({ f() {} }, { methods: list })), [true, null]);
  },

  "objects: what they do with the sandbox": (api) => {
    const { Sandbox, wrap } = api;
    const lua = new Sandbox();
    const o = {
      run: (source, ...args) => lua.compute(source, ...args),
      down(n) {
        return n === 0 ? 0 : lua.compute("local o, n = ... return o:down(n) + 1", me, n - 1);
      },
      close: () => lua.close(),
      reset: () => lua.reset(),
    };
    const me = wrap(o);
    lua.compute("o = ...", me);
    equal(lua.compute("return o:run('return 8')"), 8);
    equal(lua.compute("return o:run('return rawequal(o, ...)', o)"), false, "it is a table that way");
    equal(lua.compute("return o:down(15)"), 15);
    fails("Runtime", () => lua.compute("return o:down(1000)"));
    equal(fails("HostFunction", () => lua.compute("o:reset()")).cause.kind, "Busy");
    // It is held while it is called, whatever Lua does meanwhile.
    equal(lua.compute("local m = o.run p, o = o, nil return m(p, 'p = nil collectgarbage() collectgarbage() return 6')"), 6);
    equal(lua.compute("return o"), null);
    // Out of a finalizer, and freed in one.
    lua.compute("o = ... setmetatable({}, {__gc = function() result = o:run('return 5') o = nil collectgarbage() end}) collectgarbage() collectgarbage()", me);
    equal(lua.compute("return result or o"), 5);
    fails("HostCallLimit", () => lua.computeWith("local o = ... while true do pcall(o.run, o, 'x') end", { args: [me], hostCallLimit: 10 }));
    equal(lua.compute("return 1"), 1);
  },

  "objects: Lua lets go of them, and they are counted": (api) => {
    const { Sandbox, wrap, expose } = api;
    const lua = new Sandbox({ timeout: null });
    class Item {
      constructor(n) {
        this.n = n;
      }
      value() {
        return this.n;
      }
    }
    expose(Item);
    lua.register("make", (n) => new Item(n));
    lua.compute("kept = make(7) for i = 1, 150000 do assert(make(i):value() == i) end");
    equal(lua.compute("return kept:value()"), 7);
    const full = fails("HostFunction", () => lua.compute("many = {} for i = 1, 1000000 do many[i] = make(i) end"));
    ok(`${full.message} ${full.cause.message}`.includes("functions and objects of the host already"), full.message);
    ok(lua.compute("return #many") > 99000);
    // There is no room for a class either.
    lua.register("other", () => wrap({ f: () => 1 }));
    lua.compute("while #many > 99990 do many[#many] = nil end collectgarbage() collectgarbage()");
    lua.compute("while pcall(function() many[#many + 1] = make(1) end) do end");
    const { kind } = fails("HostFunction", () => lua.compute("return other()"));
    equal(kind, "HostFunction");
    lua.compute("many[#many] = nil collectgarbage() collectgarbage()");
    equal(fails("Memory", () => lua.compute("return other()")).message.includes("no room for one more class"), true);
    lua.compute("many = nil");
    lua.gc();
    equal(lua.compute("return other():f()"), 1);
    equal(lua.compute("return make(3):value()"), 3);
  },

  "objects: what Lua has let go of is collected": async (api) => {
    if (!globalThis.gc) return;
    const { Sandbox, wrap, expose } = api;
    let alive = 0;
    const registry = new FinalizationRegistry(() => alive--);
    class Item {
      constructor() {
        alive++;
        registry.register(this, 0);
      }
      value() {
        return 5;
      }
    }
    expose(Item);
    const lua = new Sandbox();
    lua.register("make", () => new Item());
    lua.register("wrapped", () => {
      // Each has a class of its own.
      const item = { f: () => 5 };
      alive++;
      registry.register(item, 0);
      return wrap(item, { metamethods: { __len: () => 5 } });
    });
    lua.compute("kept = make() for i = 1, 2000 do assert(make():value() == 5 and #wrapped() == 5) end");
    lua.gc();
    await collected(() => alive === 1);
    equal(alive, 1, "one is kept");
    ok(lua.memoryStats().luaBytes < 1 << 20, `${lua.memoryStats().luaBytes} bytes`);
    equal(lua.compute("return kept:value()"), 5);
    lua.close();
    await collected(() => alive === 0);
    equal(alive, 0, "closed");
    // A sandbox that is forgotten goes, also if its object holds it.
    const forget = () => {
      const other = new Sandbox();
      const item = Object.assign(new Item(), { other });
      other.compute("kept = ...", item);
    };
    for (let i = 0; i < 20; i++) forget();
    await collected(() => alive <= 3);
    ok(alive <= 3, `${alive} are alive`);
  },

  "iterators in Lua": (api) => {
    const { Sandbox, multiple } = api;
    const lua = new Sandbox();
    const closed = [];
    const rows = function* (name) {
      try {
        for (let n = 1; ; n++) yield multiple(n, `${name}${n}`);
      } finally {
        closed.push(name);
      }
    };
    lua.register("rows", rows);
    same(lua.compute("local t = {} for n, s in rows('a') do if n > 3 then break end t[n] = s end return t"), ["a1", "a2", "a3"]);
    same(closed, ["a"]);
    fails("Runtime", () => lua.compute("for n in rows('b') do error('x') end"));
    lua.compute("local function f() for n in rows('c') do return n end end f() local co = coroutine.wrap(function() for n in rows('d') do coroutine.yield(n) end end) co() co()");
    same(closed.slice(0, 3), ["a", "b", "c"]);
    equal(lua.compute("local s = 0 for n in ... do s = s + n end return s", [1, 2, 3].values()), 6);
    const own = [1, 2, 3][Symbol.iterator]();
    equal(lua.compute("local it = ... it() return it", own), own);
    same([...own], [2, 3]);
    same(lua.compute("local t = {} for pair in ... do t[#t + 1] = pair[1] .. pair[2] end return t", new Map([["a", 1], ["b", 2]]).entries()), ["a1", "b2"]);
    for (const [nothing, text] of [[null, "gave null"], [undefined, "gave undefined"], [multiple(), "gave undefined"], [multiple(null, 1), "gave null"]]) {
      const error = fails("HostFunction", () => lua.compute("last = nil for n in ... do last = n end", [1, nothing, 3].values()));
      ok(error.message.includes(text), error.message);
      equal(error.cause.kind, "Conversion");
      equal(lua.compute("return last"), 1);
    }
    const cause = new Error("broken");
    equal(fails("HostFunction", () => lua.compute("for n in ... do end", (function* () { yield 1; throw cause; })())).cause, cause);
    fails("HostFunction", () => lua.compute("for n in ... do end", [Symbol("x")].values()));
    fails("HostCallLimit", () => lua.computeWith("for n in ... do end", { args: [rows("e")], hostCallLimit: 10 }));
    fails("InstructionLimit", () => lua.computeWith("for n in rows('f') do end", { instructionLimit: 1e5 }));
    equal(lua.compute("return 1"), 1);
    same(lua.compute("local it = ... local a = it.next return a, it.value, getmetatable(it), type(it)", rows("g")), [null, null, false, "userdata"]);
  },

  "iterators: what is asked of them": ({ Sandbox }) => {
    const lua = new Sandbox();
    const make = (steps, more = {}) => {
      const log = [];
      const iterator = {
        next: (...args) => {
          log.push(`next ${args.length}`);
          const step = steps.shift();
          if (typeof step === "function") return step();
          return step;
        },
        return: (...args) => {
          log.push(`return ${args.length}`);
          return { done: true };
        },
        [Symbol.iterator]() {
          return this;
        },
        ...more,
      };
      return { iterator, log };
    };
    const loop = "for x in ... do if x == 'stop' then break end end";
    const look = (steps, more) => {
      const { iterator, log } = make(steps, more);
      let kind;
      try {
        lua.compute(loop, iterator);
      } catch (error) {
        kind = error.kind;
      }
      return [kind, ...log];
    };
    same(look([{ value: 1 }, { done: true }]), [undefined, "next 0", "next 0"]);
    same(look([{ value: 1 }, { value: "stop" }]), [undefined, "next 0", "next 0", "return 0"]);
    same(look([{ value: "stop" }], { return: undefined }), [undefined, "next 0"]);
    same(look([{ value: null }]), ["HostFunction", "next 0", "return 0"]);
    same(look([() => { throw new Error("x"); }]), ["HostFunction", "next 0"]);
    for (const odd of [5, null, undefined, "text"]) equal(look([odd])[0], "HostFunction");
    same(look([{ value: "stop" }], { return() { throw new Error("x"); } }), ["HostFunction", "next 0"]);
    same(look([{ get done() { throw new Error("x"); } }])[0], "HostFunction");
    // While it is at work.
    const busy = (function* () {
      yield lua.compute("local it = ... return pcall(it)", busy)[0];
      yield "stop";
    })();
    equal(lua.compute("for x in ... do return x end", busy), false);
    // It can be gone on with.
    const list = [1, 2, 3, 4].values();
    equal(lua.compute("local it = ... for x in it do if x == 2 then break end end return it()", list), 3);
    // A closed generator has nothing more.
    equal(lua.compute("local it = ... for x in it do break end return it()", (function* () { yield 1; yield 2; })()), undefined);
  },

  "objects that are iterated": (api) => {
    const { Sandbox, expose, wrap, multiple } = api;
    const lua = new Sandbox();
    class Bag {
      constructor(...items) {
        this.items = items;
      }
      [Symbol.iterator]() {
        return this.items.values();
      }
    }
    expose(Bag, { metamethods: { __pairs: (self) => self.items.map((item, i) => multiple(i + 1, item)).values() } });
    lua.compute("bag = ...", new Bag("a", "b"));
    same(lua.compute("local t = {} for x in bag do for y in bag do t[#t + 1] = x .. y end end return t"), ["aa", "ab", "ba", "bb"]);
    same(lua.compute("local t = {} for i, x in pairs(bag) do t[i] = x end return t"), ["a", "b"]);
    same(lua.compute("local t = {} for x in ... do t[#t + 1] = x end return t", wrap(new Set([1, 2]), { methods: [Symbol.iterator] })), [1, 2]);
    same(lua.compute("local t = {} for x in ... do t[#t + 1] = x end return t", wrap(new Bag(3))), [3]);
    fails("Runtime", () => lua.compute("for x in ... do end", wrap(new Bag(3), { fields: ["items"] })));
    // Iterators that are no more than that.
    const bare = { [Symbol.iterator]: () => ({ n: 0, next() { return { value: ++this.n, done: this.n > 3 }; } }) };
    equal(lua.compute("local s = 0 for x in ... do s = s + x end return s", wrap(bare, { methods: [Symbol.iterator] })), 6);
    fails("HostFunction", () => lua.compute("for x in ... do end", wrap({ [Symbol.iterator]: () => 5 })));
    same(lua.compute("local t = {} for x in ... do t[#t + 1] = x end return t", wrap({}, { metamethods: { __iter: () => [7, 8].values() } })), [7, 8]);
    // Without any of this they are no values.
    ok(fails("Conversion", () => lua.compute("return ...", new Set([1]))).message.includes("can't pass a Set"));
  },

  "asynchronous iterators": async (api) => {
    const { Sandbox, wrap, multiple } = api;
    const lua = new Sandbox();
    const closed = [];
    const ticks = async function* () {
      try {
        for (let n = 1; ; n++) {
          await null;
          yield multiple(n, n);
        }
      } finally {
        await null;
        closed.push(true);
      }
    };
    lua.register("ticks", ticks);
    equal(await lua.computeAsync("local s = 0 for n, m in ticks() do if n > 4 then break end s = s + m end return s"), 10);
    same(closed, [true]);
    equal(await lua.computeAsync("local s = 0 for n in ... do s = s + n end return s", { args: [(async function* () { yield 1; yield 2; })()] }), 3);
    equal(await lua.computeAsync("local s = 0 for n in ... do s = s + n end return s", { args: [[Promise.resolve(1), 2].values()] }), 3);
    const readable = { async *[Symbol.asyncIterator]() { yield 4; yield 5; } };
    equal(await lua.computeAsync("local s = 0 for n in ... do s = s + n end return s", { args: [wrap(readable, { methods: [Symbol.asyncIterator] })] }), 9);
    const cause = new Error("broken");
    equal((await rejects("HostFunction", lua.computeAsync("for n in ... do end", { args: [(async function* () { throw cause; })()] }))).cause, cause);
    ok((await rejects("HostFunction", lua.computeAsync("for n in ... do end", { args: [(async function* () { yield null; })()] }))).message.includes("gave null"));
    ok(fails("HostFunction", () => lua.compute("for n in ticks() do end")).message.includes("computeAsync"));
  },

  "Lua's functions as iterators": ({ Sandbox }) => {
    const lua = new Sandbox();
    same([...lua.compute("local n = 0 return function() n = n + 1 if n < 4 then return n end end")], [1, 2, 3]);
    const [step, state, control] = lua.compute("return ipairs({'a', {'b'}})");
    same([...step.iterate(state, control)], [[1, "a"], [2, ["b"]]]);
    same([...lua.compute("return coroutine.wrap(function() for i = 1, 2 do coroutine.yield(i, i * 2) end end)")], [[1, 2], [2, 4]]);
    same([...lua.compute("return next").iterate({ a: 1 })], [["a", 1]]);
    same([...lua.compute("local n = 0 return function(...) n = n + 1 if n == 1 then return {select('#', ...), ...} end end")], [[2]]);
    const broken = lua.compute("local n = 0 return function() n = n + 1 if n > 1 then error('broken') end return n end")[Symbol.iterator]();
    equal(broken.next().value, 1);
    ok(fails("Runtime", () => broken.next()).message.includes("broken"));
    equal(broken.next().done, true);
    same([...lua.compute("return function() end")], []);
    // It is a function of Lua's still.
    const f = lua.compute("return function(x) return x end");
    equal(lua.compute("return ...", f), f);
    ok(f instanceof Function);
    equal(f(5), 5);
    // Its steps go back to Lua.
    const steps = lua.compute("local n = 0 return function() n = n + 1 if n < 4 then return n end end")[Symbol.iterator]();
    equal(lua.compute("local sum = 0 for n in ... do sum = sum + n end return sum", steps), 6);
    lua.close();
    fails("Closed", () => [...f]);
  },
};
