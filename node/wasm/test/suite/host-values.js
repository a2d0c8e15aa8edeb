// Functions of JavaScript as values in Lua.

import { equal, fails, ok, rejects, same } from "../check.js";

const applies = "function apply(f, ...) return f(...) end  function same(...) return ... end";

function ready(Sandbox, options) {
  const lua = new Sandbox(options);
  lua.compute(applies);
  return lua;
}

/** Collects garbage until that holds, or for long enough. */
async function collected(holds) {
  for (let i = 0; i < 200 && !holds(); i++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Makes functions, and counts those that are there. */
class Counted {
  alive = 0;
  #registry = new FinalizationRegistry(() => this.alive--);

  make(n) {
    const f = () => n;
    this.alive++;
    this.#registry.register(f, 0);
    return f;
  }
}

export const hostValues = {
  "a function is a value wherever values are": ({ Sandbox, multiple }) => {
    const lua = ready(Sandbox);
    const double = (x) => 2 * x;
    equal(lua.call("apply", double, 21), 42);
    const back = lua.call("same", { double, list: [double] });
    equal(back.double, double);
    equal(back.list[0], double);
    lua.register("get", () => ({ double, again: double }));
    same(lua.compute("local t = get() return t.double(4), t.double == t.again, type(t.double)"), [8, true, "function"]);
    lua.register("several", () => multiple(double, [double]));
    same(lua.compute("local f, list = several() return f == list[1], f(1)"), [true, 2]);
    equal(lua.call("same", new Map([[double, 1]])).get(double), 1);
    equal(lua.computeWith("return ...", { args: [double] }).value, double);
    const echo = lua.compute("return function(...) return ... end");
    equal(echo(double), double);
    // What it is given, and what it gives.
    equal(lua.call("apply", (f) => f(20), (x) => x + 1), 21);
    equal(lua.call("apply", () => double), double);
    equal(lua.call("apply", (...args) => args.length, 1, null, "x", [], null), 5);
    equal(lua.call("apply", () => undefined), undefined);
    same(lua.compute("local f = ... return coroutine.wrap(f)(3), pcall(f, 4)", double), [6, true, 8]);
    same(lua.compute("local f = ... return select('#', f(1), f(2)), ('a1b2'):gsub('%d', f)", double), [2, "a2b4", 2]);
  },

  "with exact numbers": ({ Sandbox }) => {
    const lua = ready(Sandbox, { exactNumbers: true });
    const kinds = (...args) => args.map((arg) => typeof arg).join();
    equal(lua.compute("return (...)(1, 1.0, 'x')", kinds), "bigint,number,string");
    equal(lua.call("same", kinds), kinds);
  },

  "it comes back as itself": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    const one = () => 1;
    equal(lua.call("same", one), one);
    const handlers = new Set();
    lua.register("on", (f) => void handlers.add(f));
    lua.register("off", (f) => void handlers.delete(f));
    lua.compute("function f() end on(f) on(f) off(f)");
    equal(handlers.size, 0);
    lua.compute("kept = ...", one);
    equal(lua.compute("return kept == ...", one), true);
    equal(lua.compute("return kept == ...", () => 1), false);
    // Two sandboxes have two functions, and the host still its own.
    const other = ready(Sandbox);
    other.compute("kept = ...", lua.compute("return kept"));
    equal(other.compute("return kept"), one);
    lua.close();
    equal(other.compute("return kept()"), 1);
  },

  "all kinds of functions": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    class Point {}
    const error = fails("HostFunction", () => lua.call("apply", Point));
    ok(error.cause instanceof TypeError, String(error.cause));
    equal(lua.call("same", Point), Point);
    const bound = function () {
      return this.n;
    }.bind({ n: 7 });
    equal(lua.call("apply", bound), 7);
    const proxy = new Proxy(() => 1, { apply: () => 8 });
    equal(lua.call("apply", proxy), 8);
    equal(lua.call("same", proxy), proxy);
    const revoked = Proxy.revocable(() => 1, {});
    revoked.revoke();
    fails("HostFunction", () => lua.call("apply", revoked.proxy));
    equal(lua.call("apply", Math.max, 1, 3, 2), 3);
    equal(lua.call("apply", function () { "use strict"; return this === undefined; }), true);
    equal(typeof lua.call("same", async () => 1), "function");
    // What a generator function gives is an iterator.
    equal(typeof lua.call("apply", function* () {}).next, "function");
  },

  "functions that have properties are functions": async ({ Sandbox }) => {
    const lua = ready(Sandbox);
    let looked = 0;
    const odd = Object.assign(() => 5, { then: () => looked++, toJSON: () => looked++, toLua: () => looked++ });
    equal(lua.call("same", odd), odd);
    equal(lua.call("apply", () => odd), odd);
    equal(lua.call("apply", odd), 5);
    // A table in which JavaScript would call it by itself is a map.
    for (const name of ["then", "toJSON", "toString", "toLua"]) {
      const table = lua.compute("local name, f = ... return {[name] = f, n = 1}", name, odd);
      ok(table instanceof Map, name);
      equal(table.get(name), odd);
      same(lua.call("same", table).get("n"), 1);
    }
    lua.register("odd", () => odd);
    equal(await lua.computeAsync("return odd() == ..., odd()()", { args: [odd] }).then((all) => all[1]), 5);
    equal(looked, 0);
  },

  "what it throws comes out": ({ Sandbox, LuaCellError }) => {
    const lua = ready(Sandbox);
    const cause = new Error("no such thing");
    const fail = () => {
      throw cause;
    };
    const error = fails("HostFunction", () => lua.call("apply", fail));
    equal(error.cause, cause);
    ok(error.message.endsWith("no such thing"), error.message);
    same(lua.compute("return pcall(...)", fail), [false, "no such thing"]);
    equal(lua.compute("return select(2, pcall(...))", () => { throw LuaCellError.raise(fail); }), fail);
    equal(fails("Runtime", () => lua.compute("error(...)", fail)).value, fail);
    fails("HostFunction", () => lua.call("apply", () => Symbol("x")));
    equal(lua.compute("return 1"), 1);
  },

  "it uses the sandbox": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    equal(lua.call("apply", (source) => lua.compute(source), "return apply(function() return 8 end)"), 8);
    equal(lua.call("apply", (f) => lua.call("apply", f), () => 9), 9);
    const down = (n) => (n === 0 ? 0 : lua.compute("local f, n = ... return f(n) + 1", down, n - 1));
    equal(down(15), 15);
    equal(lua.call("apply", () => lua.home.set("x", 1)) !== undefined, true);
    equal(lua.home.get("x"), 1);
    equal(fails("HostFunction", () => lua.call("apply", () => lua.reset())).cause.kind, "Busy");
    // It is held while it runs, whatever Lua does meanwhile.
    equal(lua.compute("f = ... return f()", () => lua.compute("f = nil collectgarbage() return 6")), 6);
    lua.call("apply", () => lua.close());
    fails("Closed", () => lua.compute("return 1"));
  },

  "it obeys the limits of registered ones": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    fails("HostCallLimit", () => lua.computeWith("local f = ... while true do pcall(f) end", { args: [() => 1], hostCallLimit: 3 }));
    equal(lua.computeWith("local f = ... f() f()", { args: [() => 1] }).metrics.hostCalls, 2);
    fails("InstructionLimit", () => lua.computeWith("local f = ... while true do pcall(f) end", { args: [() => { throw new Error("x"); }], instructionLimit: 1e5 }));
  },

  "promises are waited for": async ({ Sandbox }) => {
    const lua = ready(Sandbox);
    equal(await lua.callAsync("apply", { args: [async (x) => x + 1, 2] }), 3);
    equal(await lua.callAsync("apply", { args: [() => 3] }), 3);
    const inner = () => 4;
    equal(await lua.callAsync("apply", { args: [async () => inner] }), inner);
    equal(await lua.computeAsync("return (...)()()", { args: [async () => inner] }), 4);
    const cause = new Error("no");
    equal((await rejects("HostFunction", lua.callAsync("apply", { args: [async () => { throw cause; }] }))).cause, cause);
    const both = `local f = ... local task = require 'task'
      local a, b = task.all(function() return f(1) end, function() return f(2) end) return a + b`;
    let open = 0;
    let most = 0;
    const later = async (x) => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 5));
      open--;
      return x;
    };
    equal(await lua.computeAsync(both, { args: [later] }), 3);
    equal(most, 2);
    // Many that come and go while a run is elsewhere.
    lua.register("make", async (n) => () => n);
    equal(await lua.computeAsync("kept = make(7) for i = 1, 3000 do assert(make(i)() == i) end return kept()"), 7);
    equal(lua.compute("return kept()"), 7);
    const error = fails("HostFunction", () => lua.call("apply", async () => 1));
    ok(error.cause.message.includes("returned a promise: computeAsync, callAsync and startAsync wait for it"), error.cause.message);
    // It is not called any more when the run has ended.
    let called = 0;
    await rejects("Timeout", lua.computeAsync("(...)()", { args: [() => (called++, new Promise(() => {}))], timeout: 20 }));
    equal(called, 1);
  },

  "runs that wait have them": async ({ Sandbox }) => {
    const lua = ready(Sandbox).declare("ask");
    const one = () => 1;
    const run = lua.start("local f, g = ..., ask({f = ...}) return f == g, g(), ask(g)", { args: [one] });
    equal(run.requests[0].args[0].f, one);
    run.answer(1, one);
    run.resume();
    equal(run.requests[0].args[0], one);
    const fork = lua.fork();
    run.answer(2, one);
    run.resume();
    same(run.result.slice(0, 2), [true, 1]);
    equal(run.result[2], one);
    const other = fork.waitingRun();
    equal(other.requests[0].args[0], one);
    other.answer(2, "x");
    other.resume();
    same(other.result, [true, 1, "x"]);
    const started = await lua.startAsync("return (...)(5)", { args: [async (x) => x + 1] });
    equal(started.result, 6);
  },

  "Lua lets go of them": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    const make = (n) => () => n;
    lua.register("make", make);
    lua.compute("kept = make(7) for i = 1, 120000 do assert(make(i)() == i) end");
    equal(lua.compute("return kept()"), 7);
    const full = fails("HostFunction", () => lua.compute("many = {} for i = 1, 1000000 do many[i] = make(i) end"));
    ok(full.message.includes("of the host already") || full.cause.message.includes("of the host already"), full.message);
    equal(lua.compute("return #many"), 99999);
    lua.compute("many = nil");
    lua.gc();
    equal(lua.compute("return make(3)()"), 3);
    // What Lua could never read is not kept for ever.
    lua.compute("many = {} for i = 1, 95000 do many[i] = make(i) end");
    for (let i = 0; i < 10000; i++) fails("Syntax", () => lua.compute("not Lua", () => i));
    equal(lua.compute("return make(4)()"), 4);
  },

  "one that is passed again while Lua lets go of it stays": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    const one = () => 9;
    lua.register("one", () => one);
    lua.compute("for i = 1, 50000 do local f = one() if i % 3 == 0 then f = {f, {}, tostring(i)} end end");
    lua.compute("kept = one() collectgarbage() collectgarbage() assert(kept() == 9 and kept == one())");
  },

  "values that are not passed in the end": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    const other = ready(Sandbox);
    const one = () => 1;
    // Objects may do anything while they are read, also pass the same function, and others.
    const busy = {
      get late() {
        for (let i = 0; i < 500; i++) equal(other.call("apply", () => i), i);
        equal(other.call("apply", one), 1);
        other.gc();
        return one;
      },
    };
    equal(lua.compute("local t = ... return t.first() + t.second.late() + t.third()", { first: one, second: busy, third: () => 3 }), 5);
    for (let i = 0; i < 500; i++) {
      const error = fails("Conversion", () => lua.call("same", one, () => i, [Symbol("x")]));
      ok(error.message.includes("(argument 3[1])"), error.message);
    }
    equal(lua.call("apply", one), 1);
  },

  "copies have them": ({ Sandbox }) => {
    const lua = ready(Sandbox);
    const five = () => 5;
    lua.compute("kept = ...", five);
    const snapshot = lua.snapshot();
    const fork = lua.fork();
    lua.compute("kept = nil");
    lua.gc();
    equal(fork.compute("return kept()"), 5);
    equal(fork.compute("return kept == ...", five), true);
    const other = ready(Sandbox);
    other.compute("kept = ...", five);
    other.restore(snapshot);
    equal(other.compute("return kept()"), 5);
    equal(other.compute("return kept"), five);
    equal(other.compute("return kept == ...", five), true);
    lua.restore(snapshot);
    equal(lua.compute("return kept()"), 5);
    fork.reset();
    equal(fork.compute("return kept"), null);
  },

  "bytes and stores do not have them": ({ Sandbox, Snapshot }) => {
    const lua = ready(Sandbox);
    lua.compute("kept = ...", () => 5);
    const snapshot = lua.snapshot();
    const error = fails("Conversion", () => snapshot.toBytes());
    ok(error.message.includes("1 functions of the host that have no name"), error.message);
    ok(fails("Conversion", () => lua.compute("_home.f = kept")).message.includes("can't store"));
    ok(fails("Conversion", () => lua.compute("_home.t = {a = {kept}}")).message.includes("can't store"));
    for (const value of [() => 1, [() => 1], { deep: { f: () => 1 } }]) {
      ok(fails("Conversion", () => lua.home.set("f", value)).message.includes("a function of the host can't be stored"));
      fails("Conversion", () => (lua.input = value));
    }
    equal(lua.home.size, 0);
    equal(lua.home.get(() => 1), undefined);
    lua.compute("kept = nil");
    // Nor is one in the way that Lua never had.
    fails("Syntax", () => lua.compute("not Lua", () => 1));
    const other = ready(Sandbox);
    other.restore(Snapshot.fromBytes(lua.snapshot().toBytes()));
    equal(other.compute("return kept"), null);
  },

  "JavaScript's collector has what Lua has let go of": async ({ Sandbox }) => {
    if (!globalThis.gc) return;
    const counted = new Counted();
    const lua = ready(Sandbox);
    lua.register("make", (n) => counted.make(n));
    lua.compute("kept = make(1) for i = 1, 2000 do make(i)() end");
    lua.gc();
    await collected(() => counted.alive === 1);
    equal(counted.alive, 1, "one is kept");
    equal(lua.compute("return kept()"), 1);
    for (let i = 0; i < 3000; i++) fails("Conversion", () => lua.call("same", counted.make(i), Symbol("x")));
    for (let i = 0; i < 3000; i++) fails("Syntax", () => lua.compute("not Lua", counted.make(i)));
    await collected(() => counted.alive < 3000);
    ok(counted.alive < 3000, `${counted.alive} are alive of 6000 that Lua never had`);
    const copies = [lua.snapshot(), lua.fork()];
    lua.reset();
    await collected(() => counted.alive === 1);
    equal(counted.alive, 1, "the copies have one");
    equal(copies[1].compute("return kept()"), 1);
    copies[1].close();
    lua.restore(copies[0]);
    equal(lua.compute("return kept()"), 1);
    copies.length = 0;
    lua.close();
    await collected(() => counted.alive === 0);
    equal(counted.alive, 0, "all are closed");
  },

  "forgotten sandboxes are collected, whatever their functions hold": async ({ Sandbox }) => {
    if (!globalThis.gc) return;
    let alive = 0;
    const registry = new FinalizationRegistry(() => alive--);
    const snapshots = [];
    const shared = () => 1;
    const forget = (i) => {
      const lua = ready(Sandbox);
      alive++;
      registry.register(lua, 0);
      lua.compute("kept, shared = ...", () => lua.compute("return 1"), shared);
      if (i % 2 === 0) void lua.fork();
      if (i === 0) snapshots.push(lua.snapshot());
      if (i % 5 === 0) lua.close();
    };
    for (let i = 0; i < 40; i++) forget(i);
    await collected(() => alive <= 5);
    ok(alive <= 5, `${alive} of 40 sandboxes are alive`);
    const other = ready(Sandbox);
    other.restore(snapshots[0]);
    equal(other.compute("return shared()"), 1);
  },
};
