// What crosses between JavaScript and Lua, and what JavaScript does with it by itself.

import { equal, fails, ok, rejects, same } from "../check.js";

/** Names under which JavaScript looks for functions by itself, and one under which it does not. */
const names = [...Object.getOwnPropertyNames(Object.prototype), "then", "toJSON", "other"];

/** All that JavaScript does to values without being told to call anything. */
const uses = {
  stringify: (value) => JSON.stringify([value, { value }]),
  text: (value) => `${value}${String([value])}`,
  sum: (value) => value + "",
  number: (value) => Number(value) + +value,
  equal: (value) => value == "x" || value == 1,
  less: (value) => value < 1 || value > "x",
  sort: (value) => [value, 1, value, "x"].sort(),
  key: (value) => ({ [value]: 1 }),
  locale: (value) => [value].toLocaleString(),
  date: (value) => new Date(value),
  spread: (value) => [{ ...value }, Object.entries(value)],
  in: (value) => "x" in value,
  tag: (value) => Object.prototype.toString.call(value),
  instance: (value) => value instanceof Map || value instanceof Date,
  clone: (value) => structuredClone(value),
  concat: (value) => [].concat(value, [value]),
  error: (value) => new Error(value, { cause: value }),
  console: (value) => globalThis.process?.getBuiltinModule?.("util").inspect(value, { depth: 9, showProxy: true, getters: true }),
  template: (value) => globalThis.process?.getBuiltinModule?.("util").format("%s %d %i %f %j %o %O", value, value, value, value, value, value, value),
};

export const crossing = {
  "results run no script by themselves": ({ Sandbox }) => {
    const lua = new Sandbox();
    let touched = 0;
    lua.register("touched", () => void touched++);
    for (const name of names) {
      const results = [
        lua.compute("local name = ... return {[name] = function() touched() return 'x' end}", name),
        lua.compute("local name = ... return {[name] = function() touched() return 'x' end, data = 1}, {[name] = touched}", name)[0],
        lua.compute("local name = ... local t = {[name] = function() touched() end} return {a = {t, t}, [t] = t}", name),
        lua.compute("local name = ... return {[name] = touched}", name),
      ];
      lua.compute("_home.t = {[...] = function() touched() return 'x' end, list = {{[...] = touched}}}", name);
      results.push(lua.home.get("t"), lua.home.get("t").copy(), lua.home.copy(), lua.home);
      const error = fails("Runtime", () => lua.compute("error({[...] = function() touched() end})", name));
      results.push(error.value, error);
      for (const value of results) {
        for (const use of Object.values(uses)) {
          try {
            use(value);
          } catch {
            // What is no number, or can't be cloned.
          }
        }
      }
      equal(touched, 0, name);
      // Nothing is lost by it.
      const [first] = results;
      const f = first instanceof Map ? first.get(name) : first[name];
      equal(f(), "x");
      equal(touched, 1);
      touched = 0;
      equal(lua.compute("local t, name = ... return type(t[name])", first, name), "function");
      equal(first instanceof Map, name !== "other", name);
    }
    const plain = lua.compute("return {add = function(a, b) return a + b end, toString = 'text', then_ = 1}");
    equal(plain.add(1, 2), 3);
    equal(plain.toString, "text");
  },

  "JSON leaves functions out": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("_home.t = {n = 1, f = print, toJSON = function() return 'script' end, list = {1, function() end}, [2] = {toJSON = print}}");
    equal(JSON.stringify(lua.home.get("t").get("list")), "[1,null]");
    const { t } = JSON.parse(JSON.stringify(lua.home));
    same([Object.keys(t).sort(), t[2], t.n, t.list], [["2", "list", "n"], {}, 1, [1, null]]);
  },

  "a function that comes again is the same": ({ Sandbox }) => {
    const lua = new Sandbox();
    const handlers = new Set();
    lua.register("on", (f) => void handlers.add(f)).register("off", (f) => handlers.delete(f));
    const [a, b, c, upper, again] = lua.compute("function f() end function g() return 'g' end return f, f, g, string.upper, string.upper");
    ok(a === b && a !== c && upper === again);
    equal(lua.compute("return f"), a);
    lua.compute("on(f) on(g) on(f)");
    equal(handlers.size, 2);
    equal(lua.compute("return off(f) and not off(f)"), true);
    equal([...handlers][0](), "g");
    same(lua.compute("local t = ... return t[f], t[g]", new Map([[a, 1], [c, 2]])), [1, 2]);
    const { f } = { ...lua.compute("return {f = f}") };
    equal(f, a);
    ok(new Sandbox().compute("return string.upper") !== upper);
    lua.reset();
    ok(lua.compute("function f() end return f") !== a);
    fails("Closed", () => a());
  },

  "a function that is called later has the limits of the sandbox": ({ Sandbox }) => {
    const lua = new Sandbox({ instructionLimit: 100_000 });
    const f = lua.computeWith("return function() while true do end end", { instructionLimit: null, timeout: null }).value;
    fails("InstructionLimit", () => f());
  },

  "scripts see of errors what was said to them": ({ Sandbox, LuaCellError }) => {
    const secret = "/srv/secret";
    const system = Object.assign(new Error(`ENOENT: no such file, open '${secret}'`), { code: "ENOENT", errno: -2, syscall: "open", path: secret });
    class Odd extends TypeError {}
    const hostile = new Proxy({}, { get() { throw new Error(secret); }, getPrototypeOf() { throw new Error(secret); } });
    const lua = new Sandbox();
    const other = new Sandbox();
    other.register("fail", () => {
      throw system;
    });
    const cases = [
      [() => new Error("no such article"), "no such article", "x:1: no such article"],
      [() => new Odd("mistaken", { cause: new Error(secret) }), "mistaken", "x:1: mistaken"],
      [() => "text", "text", "x:1: text"],
      [() => new LuaCellError("HostFunction", "chosen", { cause: system }), "chosen", "x:1: chosen"],
      [() => system, "the host function failed", `x:1: the host function failed: ${system.message}`],
      [() => new Error(""), "the host function failed", "x:1: the host function failed"],
      [() => ({ secret }), "the host function failed", "x:1: the host function failed: [object Object]"],
      [() => null, "the host function failed", "x:1: the host function failed: null"],
      [() => hostile, "the host function failed", "x:1: the host function failed: a value without text was thrown"],
      [() => Object.assign(new Error("coded"), { code: "NO_ARTICLE" }), "coded", "x:1: coded"],
    ];
    for (const [make, shown, message] of cases) {
      const thrown = make();
      lua.register("fail", () => {
        throw thrown;
      });
      const seen = lua.computeWith("return pcall(fail)", { name: "=x" }).values;
      same(seen, [false, shown]);
      const trace = lua.compute("return select(2, xpcall(fail, debug.traceback))");
      ok(!trace.includes("secret") && !trace.includes(".js"), trace);
      const error = fails("HostFunction", () => lua.computeWith("fail()", { name: "=x" }));
      equal(error.message, message);
      ok(error.cause === thrown || error.cause === system, message);
    }
    class Confidential {}
    lua.register("unfit", () => [{ x: new Confidential() }]);
    equal(lua.compute("return select(2, pcall(unfit))"), "the host function gave a result that can't be passed");
    ok(fails("HostFunction", () => lua.compute("unfit()")).message.includes("can't pass a Confidential"));
    lua.register("inner", () => lua.compute("fail()")).register("elsewhere", () => other.compute("fail()"));
    lua.register("fail", () => {
      throw system;
    });
    lua.register("pass", (f) => f());
    same(lua.compute("return pcall(pass, function() error('', 0) end)"), [false, ""]);
    for (const name of ["inner", "elsewhere"]) {
      const seen = lua.compute(`return select(2, pcall(${name}))`);
      ok(seen.includes("the host function failed") && !seen.includes("secret"), seen);
      ok(fails("HostFunction", () => lua.compute(`${name}()`)).message.includes(secret));
    }
  },

  "after thousands of errors each has its own cause": ({ Sandbox }) => {
    const lua = new Sandbox();
    const thrown = [];
    lua.register("fail", () => {
      thrown.push(new Error(`error ${thrown.length}`));
      throw thrown.at(-1);
    });
    for (const [n, back] of [[1500, 0], [1500, 300], [2500, 999]]) {
      thrown.length = 0;
      const source = "local n, back = ... local kept for i = 1, n do local _, e = pcall(fail) if i == n - back then kept = e end end error(kept, 0)";
      equal(fails("HostFunction", () => lua.computeWith(source, { args: [n, back] })).cause, thrown[n - back - 1]);
    }
  },

  "scripts see nothing of why there is no module": ({ Sandbox, LuaCellError }) => {
    const secret = new Error("/srv/secret");
    const said = new LuaCellError("HostFunction", "the module server is down");
    const lua = new Sandbox({
      modules: (name) => {
        if (name === "late") return Promise.resolve("");
        throw name === "said" ? said : secret;
      },
    });
    equal(lua.compute("return select(2, pcall(require, 'm'))"), "error loading module 'm':\n\tthe host could not provide it");
    equal(lua.compute("return select(2, pcall(require, 'said'))"), "error loading module 'said':\n\tthe module server is down");
    ok(!lua.compute("return select(2, pcall(require, 'late'))").includes("promise"));
    const error = fails("HostFunction", () => lua.compute("pcall(require, 'said') require 'm'"));
    equal(error.message, "error loading module 'm':\n\tthe host could not provide it: /srv/secret");
    equal(error.cause, secret);
    equal(fails("HostFunction", () => lua.compute("require 'said'")).cause, said);
    ok(fails("HostFunction", () => lua.compute("require 'late'")).message.includes("returned a promise"));
  },

  "values without end are refused, and where they are": ({ Sandbox }) => {
    const lua = new Sandbox();
    const deeper = () => ({ get list() { return [1, deeper()]; } });
    const keys = new Proxy({}, { ownKeys: () => ["a", "b"], getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }), get: () => keys2() });
    const keys2 = () => new Proxy({}, { ownKeys: () => [String(Math.random())], getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }), get: () => keys2() });
    const growing = new Proxy([], { get: (target, key) => (key === "length" ? target.push(1) : Reflect.get(target, key)) });
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    class Endless extends Map {
      forEach(f) {
        for (let i = 0; ; i++) f(i, i);
      }
    }
    const hooks = () => ({ toLua: () => hooks() });
    const throwing = { get x() { throw new Error("no"); } };
    for (const [odd, place] of [
      [deeper(), /\(argument 2\.a\[1\]\.list\[2\]\.list\[2\].*\.\.\..*\.list.*\)$/],
      [keys, /\(argument 2\.a\[1\]\.a\["0\..*\.\.\./],
      [revoked.proxy, /\(argument 2\.a\[1\]\)$/],
      [hooks(), /\(argument 2\.a\[1\]\)$/],
      [[throwing], /\(argument 2\.a\[1\]\[1\]\)$/],
      [new Proxy(new Map(), {}), /\(argument 2\.a\[1\]\)$/],
      [new Set([1]), /\(argument 2\.a\[1\]\)$/],
      [{ [Symbol.iterator]: () => ({ next: () => ({ value: 1 }) }), list: [new Set()] }, /\(argument 2\.a\[1\]\.list\[1\]\)$/],
    ]) {
      const { message } = fails("Conversion", () => lua.compute("return ...", 1, { a: [odd] }));
      ok(place.test(message), message);
      if (odd === keys) continue; // it takes its time
      const error = fails("Conversion", () => lua.home.set("x", { a: [odd] }));
      ok(/\(x\.a\[1\]/.test(error.message), error.message);
      lua.register("odd", () => [odd]);
      ok(fails("HostFunction", () => lua.compute("odd()")).message.includes("(result 1[1]"));
    }
    // Wide and deep: what is held on the way would be more than there is memory.
    const many = new Map(Array.from({ length: 100000 }, (_, i) => [`k${i}`, i]));
    const wide = () => new Map([["next", { toLua: wide }], ...many]);
    ok(/without end\? \(argument 1\.next\.next/.test(fails("Conversion", () => lua.compute("return ...", wide())).message));
    ok(/without end\? \(x\.next\.next/.test(fails("Conversion", () => lua.home.set("x", wide())).message));
    for (const length of [-1, NaN, 1.5, "2", { valueOf: () => 2 }, 2 ** 53]) {
      const lying = new Proxy([], { get: (target, key) => (key === "length" ? length : Reflect.get(target, key)) });
      ok(fails("Conversion", () => lua.compute("return ...", [lying])).message.endsWith("(argument 1[1])"));
      ok(fails("Conversion", () => lua.home.set("x", [lying])).message.endsWith("(x[1])"));
    }
    equal(lua.home.size, 0);
    equal(fails("Conversion", () => lua.compute("return ...", throwing)).cause.message, "no");
    // What is looked at once is what was there then.
    equal(lua.compute("return #(...)", growing), 1);
    equal(lua.compute("return next((...))", new Endless([["k", 1]]))[0], "k");
    const sparse = [1, , 3];
    lua.home.set("sparse", sparse);
    same(lua.compute("return _home.sparse[1], _home.sparse[2], _home.sparse[3]"), [1, null, 3]);
    equal(lua.compute("return 1"), 1);
  },

  "functions that are registered for a while leave nothing": ({ Sandbox }) => {
    const lua = new Sandbox({ memoryLimit: "8MiB" });
    for (let i = 0; i < 20_000; i++) {
      lua.register("same", () => i);
      if (i % 4 === 0) {
        lua.register(`request.r${i}`, () => i);
        equal(lua.compute(`return same() == request.r${i}()`), true);
        lua.unregister(`request.r${i}`);
      }
    }
    lua.compute("old = same");
    lua.register("other", () => "other").unregister("other");
    lua.register("kept", () => "kept");
    lua.compute("k = kept");
    lua.unregister("kept");
    lua.register("next", () => "next");
    fails("HostFunction", () => lua.compute("return k()"));
    equal(lua.compute("return old()"), 19_999);
  },

  "with a seed nothing depends on garbage here": ({ Sandbox }) => {
    const source = `
      local made = {} for i = 1, 50 do made[i] = function() return i end end
      for i = 1, 300 do _home['t' .. i] = {i} end
      local kept = {} for i = 1, 300 do kept[i] = _home['t' .. i] end
      print(collectgarbage('count'), tostring({}))
      collectgarbage()
      print(collectgarbage('count'), tostring({}), string.format('%p', made))
      for i = 1, 300 do _home['t' .. i] = nil end
      return made, kept`;
    const run = (keeps) => {
      const lua = new Sandbox({ seed: 5 });
      const all = [];
      const kept = [];
      for (let i = 0; i < 20; i++) {
        const outcome = lua.computeWith(source);
        all.push(outcome.output);
        if (keeps) kept.push(outcome.values);
        else globalThis.gc?.();
      }
      return [all, kept];
    };
    same(run(true)[0], run(false)[0]);
  },
};

export const crossingLater = {
  "awaiting a result runs no script": async ({ Sandbox }) => {
    const lua = new Sandbox();
    let touched = 0;
    lua.register("touched", () => void touched++);
    const source = "local t = {['then'] = function(...) touched() return ... end} ";
    for (const value of [
      await lua.computeAsync(`${source} return t`),
      (await lua.computeAsyncWith(`${source} return t`)).value,
      await lua.compute(`${source} return t`),
      await Promise.all([lua.compute(`${source} return t`)]).then(([t]) => t),
      await (async () => lua.compute(`${source} return t`))(),
    ]) {
      equal(typeof value.get("then"), "function");
    }
    lua.compute(`${source} function f() return t end`);
    equal(typeof (await lua.callAsync("f")).get("then"), "function");
    const f = lua.compute("return function(...) return ... end");
    const error = await rejects("Runtime", lua.computeAsync(`${source} error(t)`));
    equal(typeof error.value.get("then"), "function");
    lua.register("pass", (t) => t).register("pass_async", async (t) => t);
    equal(typeof (await f(lua.compute(`${source} return pass(t)`))).get("then"), "function");
    equal(typeof (await lua.computeAsync(`${source} return pass_async(t)`)).get("then"), "function");
    equal(touched, 0);
  },
};
