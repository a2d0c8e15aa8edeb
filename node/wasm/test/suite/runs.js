// Options, limits, and what a run gives.

import { equal, fails, forever, ok, rejects, same } from "../check.js";

export const runs = {
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

  "what is printed": async ({ Sandbox }) => {
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
    let calls = 0;
    const once = new Sandbox({
      onPrint: () => {
        calls++;
        throw cause;
      },
    });
    equal(fails("HostFunction", () => once.compute("print(1) print(2) pcall(print, 3) while true do pcall(print, 4) end")).cause, cause);
    equal(calls, 1);
    equal((await rejects("HostFunction", once.computeAsync("print(1) print(2) while true do print(3) end"))).cause, cause);
    equal(calls, 2);
    equal(fails("HostFunction", () => once.compute("print(1)")).cause, cause);
    equal(calls, 3);
    equal(once.compute("return 1"), 1);
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

  "the clock is looked at after every host call": ({ Sandbox }) => {
    const hour = 3_600_000;
    const lua = new Sandbox({ timeout: hour });
    const now = performance.now;
    let [calls, later] = [0, 0];
    performance.now = () => now.call(performance) + later;
    try {
      lua.register("quick", () => 1);
      for (const fail of [false, true]) {
        lua.register("slow", () => {
          calls++;
          later += 2 * hour;
          if (fail) throw new Error("late");
        });
        for (let before = 0; before < 10; before++) {
          fails("Timeout", () => lua.compute(`${"quick() ".repeat(before)} pcall(slow) pcall(slow) pcall(slow)`));
          equal(calls, 1, `after ${before} quick calls`);
          calls = 0;
        }
      }
    } finally {
      performance.now = now;
    }
  },

  "no more instructions are reported than there may be": ({ Sandbox }) => {
    const lua = new Sandbox();
    for (const instructionLimit of [1, 999, 100_001]) {
      const error = fails("InstructionLimit", () => lua.computeWith(forever, { instructionLimit }));
      equal(error.metrics.instructions, instructionLimit);
    }
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
