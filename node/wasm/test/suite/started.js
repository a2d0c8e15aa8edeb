// Runs that are started, and answered by whoever holds them.

import { equal, fails, ok, rejects, same } from "../check.js";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function sandbox({ Sandbox }, options) {
  return new Sandbox(options).declare("ask").declare("web.fetch");
}

/** The open requests, as `id:name(args)`. */
const open = (run) => run.requests.map(({ id, name, args }) => `${id}:${name}(${args.join()})`);

/** Answers everything with its first argument in capitals until the run is done. */
function toEnd(run) {
  while (run.waiting) {
    for (const { id, args } of run.requests) run.answer(id, String(args[0]).toUpperCase());
    run.resume();
  }
  return run.result;
}

/** Whatever it is: it is the run's end here, elsewhere that it is in use. */
function throws(call) {
  let thrown = false;
  try {
    call();
  } catch {
    thrown = true;
  }
  ok(thrown);
}

/** A store whose content outlives its sandboxes. */
function storeOver(data, fails = () => false) {
  return {
    entries: () => [...data.values()],
    commit: (writes) => {
      if (fails()) throw new Error("full");
      for (const [table, key, value] of writes) {
        if (value) data.set(`${table}:${key}`, [table, key, value]);
        else data.delete(`${table}:${key}`);
      }
    },
  };
}

export const started = {
  "a started run waits for its answer": (api) => {
    const lua = sandbox(api);
    const run = lua.start("print('a') local a = ask('q', 1) print('b') return a, 2");
    ok(run.waiting);
    same(open(run), ["1:ask(q,1)"]);
    fails("Busy", () => run.outcome);
    fails("Busy", () => run.result);
    for (const id of [1n, "1", 1.5, -1, NaN, undefined]) {
      for (const use of [() => run.answer(id), () => run.fail(id, "x")]) ok(fails("InvalidArgument", use).message.startsWith("the id of a request is a whole number, not "));
    }
    run.answer(1, "yes");
    same(run.requests, []);
    run.resume();
    ok(!run.waiting);
    same(run.result, ["yes", 2]);
    const { output, metrics } = run.outcome;
    equal(output, "a\nb\n");
    equal(metrics.hostCalls, 1);
    equal(lua.compute("return 1"), 1);
    equal(run.name, undefined);
    run.renew();
    run.cancel();
    same(run.result, ["yes", 2], "it is done");
  },

  "arguments that wait count as memory": (api) => {
    const lua = sandbox(api, { memoryLimit: 4 << 20 });
    const run = lua.start(`local task, n, text = require 'task', 0, ('x'):rep(1 << 20)
      local ok, e = true, nil
      local function call() ok, e = pcall(ask, text) end
      while ok and n < 1000 do n = n + 1 task.spawn(call) end
      return n, e`);
    equal(run.requests.length, 3);
    for (const { id } of run.requests) run.answer(id, null);
    run.resume();
    equal(run.result[0], 4);
    ok(run.result[1].includes("not enough memory"), run.result[1]);
    const many = lua.start("for i = 1, 20 do ask(('x'):rep(1 << 20)) end");
    while (many.waiting) {
      many.answer(many.requests[0].id, null);
      many.resume();
    }
    equal(many.result, undefined);
    // Listing them takes memory too, which the run did not need before.
    const waits = lua.start(`local task, text = require 'task', ('x'):rep(1 << 20)
      local t = {} for i = 1, 3 do t[i] = task.spawn(ask, text) end
      local n = 0 for i = 1, 3 do n = n + t[i]:wait() end return n`);
    const there = lua.fork();
    waits.cancel();
    const goesOn = there.waitingRun();
    for (const { id, args } of goesOn.requests) {
      equal(args[0].length, 1 << 20);
      goesOn.answer(id, 5);
    }
    goesOn.resume();
    equal(goesOn.result, 15);
    fails("Memory", () => there.compute("return #('x'):rep(5 << 20)"));
  },

  "one that need not wait is done at once": (api) => {
    const lua = sandbox(api);
    lua.register("now", () => 5);
    equal(lua.start("return now() + ...", { args: [1] }).result, 6);
    fails("Runtime", () => lua.start("error('x')").result);
    fails("Syntax", () => lua.start("return +").outcome);
    lua.compute("function f(x) return ask(x) end");
    const run = lua.startCall("f", { args: ["x"] });
    same(open(run), ["1:ask(x)"]);
    equal(toEnd(run), "X");
    fails("InvalidArgument", () => lua.start("return 1", { wrong: 1 }));
    fails("InvalidArgument", () => lua.start("return 1", { durable: 5 }));
    fails("InvalidArgument", () => lua.start(5));
    fails("InvalidArgument", () => lua.startCall(5));
    fails("InvalidArgument", () => lua.declare("no name"));
    for (const claimTerm of [-1, 0, NaN, Infinity, "1"]) ok(fails("InvalidArgument", () => new api.Sandbox({ claimTerm })).message.startsWith("claimTerm "));
    fails("InvalidArgument", () => new api.Sandbox({ queueRuns: 1 }));
    fails("InvalidArgument", () => lua.register("f", () => 1, { repeat: true }));
    equal(new api.Sandbox({ queueRuns: true }).register("f", () => 1, { repeatable: true }).compute("return f()"), 1);
    equal(lua.compute("return 1"), 1);
  },

  "answers come in any order, and only once": (api) => {
    const lua = sandbox(api);
    const run = lua.start("return require('task').all(function() return ask(1) end, function() return web.fetch(2) end)");
    same(open(run), ["1:ask(1)", "2:web.fetch(2)"]);
    run.answer(2, "second");
    for (const id of [2, 3, 0, -1, NaN, "1", undefined]) fails("InvalidArgument", () => run.answer(id, 1));
    run.resume();
    same(open(run), ["1:ask(1)"]);
    run.resume();
    ok(run.waiting, "nothing was answered");
    fails("Conversion", () => run.answer(1, Symbol("x")));
    run.fail(1, "no luck");
    run.resume();
    for (const call of [() => run.resume(), () => run.answer(1), () => run.fail(1, "x")]) fails("InvalidArgument", call);
    const error = fails("HostFunction", () => run.result);
    ok(error.message.endsWith("no luck"), error.message);
    const cause = new TypeError("down");
    const other = lua.start("return pcall(ask), ask()");
    other.fail(1, cause);
    other.resume();
    other.fail(2, cause);
    other.resume();
    equal(fails("HostFunction", () => other.result).cause, cause);
    const raised = lua.start("return select(2, pcall(ask)).code");
    raised.fail(1, api.LuaCellError.raise({ code: 7 }));
    raised.resume();
    equal(raised.result, 7);
  },

  "nobody answers declared functions in other runs": async (api) => {
    const lua = sandbox(api);
    const says = (error) => ok(error.message.includes("'ask' is answered by whoever starts the run: use `start`"), error.message);
    says(fails("HostFunction", () => lua.compute("ask()")));
    says(await rejects("HostFunction", lua.computeAsync("ask()")));
    equal(lua.compute("return (pcall(ask))"), false);
    ok(lua.unregister("ask"));
    fails("Runtime", () => lua.start("ask()").result);
  },

  "answers that are large, together or alone": async (api) => {
    const lua = sandbox(api, { memoryLimit: 4 << 20 });
    const text = "x".repeat(1 << 20);
    const run = lua.start("local n = 0 require('task').each({1, 2, 3, 4, 5, 6, 7, 8}, function(i) local more = #ask(i) n = n + more end) return n");
    for (const { id } of run.requests) run.answer(id, text);
    run.resume();
    equal(run.result, 8 << 20, "they come one after another");
    const alone = lua.start("local ok, e = pcall(ask) return ok, e, ask()");
    alone.answer(1, text + text + text);
    alone.resume();
    alone.answer(2, text);
    alone.resume();
    const [went, error, next] = alone.result;
    ok(!went && String(error).includes("not enough memory") && next.length === text.length, "an error of its call, and not the end of the run");
    lua.register("later", async (n) => text.repeat(n));
    equal(await lua.computeAsync("local n = 0 require('task').each({1, 2, 3, 4, 5, 6, 7, 8}, function(i) local more = #later(1) n = n + more end) return n"), 8 << 20);
    same(await lua.computeAsync("return (pcall(later, 3)), #later(1)"), [false, 1 << 20]);
  },

  "what an answer says of itself may use the run": (api) => {
    const lua = sandbox(api);
    const says = (f) => ({
      get x() {
        f();
        return "of the first run";
      },
    });
    const ended = lua.start("return ask()");
    throws(() => ended.answer(1, says(() => ended.cancel())));
    let other = lua.start("return ask()");
    other.resume();
    same(open(other), ["1:ask()"], "it has no answer of another run's");
    other.cancel();
    const replaced = lua.start("return ask()");
    throws(() =>
      replaced.answer(1, says(() => {
        replaced.cancel();
        other = lua.start("return ask()");
      })),
    );
    other.answer(1, "its own");
    other.resume();
    equal(other.result, "its own");
    const twice = lua.start("return ask()");
    fails("InvalidArgument", () => twice.answer(1, says(() => twice.answer(1, "inner"))));
    twice.resume();
    equal(twice.result, "inner");
    const closing = lua.start("return ask()");
    fails("Closed", () => closing.answer(1, says(() => lua.close())));
    fails("Closed", () => closing.resume());
  },

  "functions among answers are there until the script has them": async (api) => {
    if (!globalThis.gc) return;
    const lua = sandbox(api);
    lua.compute("function make(n) return function() return n end end");
    const run = lua.start("return ask()()");
    (() => run.answer(1, lua.call("make", 1)))();
    for (let i = 0; i < 3; i++) {
      await pause(0);
      globalThis.gc();
    }
    await pause(0);
    lua.snapshot();
    lua.call("make", 2);
    run.resume();
    equal(run.result, 1);
  },

  "a run that came with a snapshot, and that has no room, is gone": (api) => {
    const lua = sandbox(api);
    lua.start("local task, text = require 'task', ('x'):rep(1 << 20) for i = 1, 10 do task.spawn(ask, text) end");
    const there = sandbox(api, { memoryLimit: 4 << 20, timeout: 100 });
    there.restore(lua.snapshot());
    fails("Busy", () => there.compute("return 1"));
    fails("Memory", () => there.waitingRun());
    equal(there.waitingRun(), undefined);
    fails("Timeout", () => there.compute("while true do end"));
    there.reset();
    equal(there.compute("return 1"), 1);
  },

  "a started run whose sandbox is closed by what it calls does not go on": (api) => {
    const lua = sandbox(api);
    lua.register("close", () => lua.close());
    const run = lua.start("close() ask() return 1");
    ok(!run.waiting);
    for (const use of [() => run.result, () => run.answer(1), () => run.resume()]) fails("Closed", use);
  },

  "a started run is one transaction": (api) => {
    const lua = sandbox(api);
    let run = lua.start("_home.x = 1 x = 1 ask() _home.y = 2 ask()");
    run.answer(1);
    run.resume();
    ok(run.waiting);
    run.cancel();
    fails("Closed", () => run.result);
    same(lua.compute("return _home.x, _home.y"), [null, null]);
    run = lua.start("_home.x = 1 ask() _home.y = 2");
    run.answer(1);
    run.resume();
    same(lua.compute("return _home.x, _home.y"), [1, 2]);
    run = lua.start("_home.x = 9 ask()");
    run.fail(1, new Error("x"));
    run.resume();
    fails("HostFunction", () => run.result);
    equal(lua.home.get("x"), 1);
  },

  "limits of a started run, and its time": async (api) => {
    const lua = sandbox(api);
    for (const [source, limits, kind] of [
      ["for i = 1, 1e9 do if i % 10000 == 1 then ask(i) end end", { instructionLimit: 200_000 }, "InstructionLimit"],
      ["print(('x'):rep(60)) ask() print(('x'):rep(60))", { outputLimit: 100 }, "OutputLimit"],
      ["ask() pcall(ask) ask() ask()", { hostCallLimit: 3 }, "HostCallLimit"],
      ["ask() pcall(function() while true do end end)", { timeout: 20 }, "Timeout"],
      ["_home.x = ('x'):rep(600) ask() _home.y = ('x'):rep(600)", { storeLimit: 1000 }, "StoreLimit"],
    ]) {
      fails(kind, () => toEnd(lua.start(source, limits)));
      equal(lua.compute("return 1"), 1);
    }
    const run = lua.start("ask() return 1", { timeout: 20 });
    await pause(50);
    run.answer(1);
    run.resume();
    equal(run.result, 1, "the time for which it waits is not its own");
  },

  "interrupt, close and loss of a started run": async (api) => {
    const lua = sandbox(api);
    let run = lua.start("_home.x = 1 pcall(ask) return 1");
    lua.interrupt();
    run.answer(1);
    run.resume();
    fails("Interrupted", () => run.result);
    equal(lua.compute("return _home.x"), null);
    run = lua.start("ask()");
    run[Symbol.dispose ?? Symbol.for("Symbol.dispose")]();
    fails("Closed", () => run.result);
    equal(lua.compute("return 1"), 1);
    run = lua.start("ask()");
    lua.close();
    fails("Closed", () => run.result);
    same(run.requests, []);
    fails("Closed", () => lua.compute("return 1"));
    fails("Closed", () => lua.waitingRun());
    const other = sandbox(api);
    const controller = new AbortController();
    const reason = new Error("enough");
    run = await other.startAsync("pcall(ask) return 1", { signal: controller.signal });
    controller.abort(reason);
    run.resume();
    equal(fails("Interrupted", () => run.result).cause, reason);
    equal((await rejects("Interrupted", other.startAsync("return 1", { signal: controller.signal }))).cause, reason);
    if (!globalThis.gc) return;
    void other.start("_home.x = 1 ask()");
    for (let i = 0; i < 100 && other.home.has("x"); i++) {
      globalThis.gc();
      await pause(1);
    }
    equal(other.home.has("x"), false, "nobody holds it");
    equal(await other.computeAsync("return 1"), 1);
  },

  "while a started run waits the sandbox is used as a part of it": async (api) => {
    const lua = sandbox(api);
    const run = lua.start("_home.n = 1 local r = ask(function(x) return x + _home.n end) return r, _home.n, g");
    const f = run.requests[0].args[0];
    equal(f(41), 42);
    equal(lua.home.get("n"), 1, "what the run wrote is seen");
    lua.home.set("n", 5);
    equal(lua.compute("g = 7 return _home.n"), 5);
    ok(fails("Runtime", () => lua.compute("ask()")).message.includes("'ask' can't wait here"));
    for (const call of [() => lua.start("return 1"), () => lua.gc(), () => lua.reset(), () => lua.restore(lua.snapshot()), () => lua.resume("x")]) fails("Busy", call);
    await rejects("Busy", lua.computeAsync("return 1"));
    ok(lua.memoryStats().luaBytes > 0);
    lua.register("inside", () => fails("Busy", () => run.resume()).kind);
    equal(lua.compute("return inside()"), "Busy");
    run.answer(1, "done");
    run.resume();
    same(run.result, ["done", 5, 7]);
    equal(lua.home.get("n"), 5);
    // A limit that is reached inside ends the whole run.
    const bounded = lua.start("_home.n = 6 ask() return 1", { instructionLimit: 1e6 });
    fails("InstructionLimit", () => lua.compute("while true do end"));
    bounded.answer(1);
    bounded.resume();
    fails("InstructionLimit", () => bounded.result);
    equal(lua.home.get("n"), 5);
    // Who closes it inside ends it afterwards.
    const last = lua.start("ask()");
    lua.register("close", () => lua.close());
    lua.compute("close()");
    fails("Closed", () => last.result);
    fails("Closed", () => lua.compute("return 1"));
  },

  "tasks that others end go on without an answer": (api) => {
    const lua = sandbox(api);
    const run = lua.start("local task = require 'task' t = task.spawn(function() ask('a') end) return pcall(t.wait, t)");
    lua.compute("t:cancel()");
    same(open(run), []);
    run.resume();
    same(run.result, [false, "the task was cancelled"]);
  },

  "promises in runs that are started asynchronously": async (api) => {
    const lua = sandbox(api);
    lua.register("later", async (x) => (await pause(1), x));
    const source = "local task = require 'task' return task.all(function() return later(1) + ask('a') end, function() return later(2) end)";
    const run = await lua.startAsync(source);
    same(open(run), ["1:ask(a)".replace("1", String(run.requests[0].id))]);
    run.answer(run.requests[0].id, 10);
    await run.resumeAsync();
    same(run.result, [11, 2]);
    lua.compute("function f(x) return later(ask(later(x))) end");
    const called = await lua.startCallAsync("f", { args: ["x"] });
    called.answer(called.requests[0].id, "y");
    await called.resumeAsync();
    equal(called.result, "y");
    ok(fails("HostFunction", () => lua.start("later(1)").result).message.includes("computeAsync, callAsync and startAsync wait for it"));
    // Either it has begun, or there has been no thread for it.
    const closed = rejects("Interrupted", lua.startAsync("later(1) ask()").then((run) => run.result));
    fails("Busy", () => lua.compute("return 1"));
    await lua.closeAsync();
    await closed;
  },

  "a snapshot has the run that waits": (api) => {
    const lua = sandbox(api);
    lua.compute("_home.kept = 'before' g = 1");
    const run = lua.start(`local n = 5 _home.kept = 'run' _home.t = {x = n} g = g + 1
      local a, b = require('task').all(function() return ask('a', {n}) end, function() return ask('b') end)
      _home.t.x = _home.t.x + 1
      return a, b, n, g, _home.kept, _home.t.x`);
    run.answer(2, "B");
    run.resume();
    const snapshot = api.Snapshot.fromBytes(lua.snapshot().toBytes());
    const expected = (a) => [a, "B", 5, 2, "run", 6];
    for (const there of [new api.Sandbox(), sandbox(api)]) {
      there.restore(snapshot);
      fails("Busy", () => there.compute("return 1"));
      fails("Busy", () => there.reset());
      const again = there.snapshot();
      const taken = there.waitingRun();
      equal(there.waitingRun(), undefined, "somebody has it");
      const [request] = taken.requests;
      same([request.id, request.name, request.args], [1, "ask", ["a", [5]]]);
      same(toEnd(taken), expected("A"));
      equal(there.home.get("kept"), "run");
      const third = new api.Sandbox();
      third.restore(again);
      same(toEnd(third.waitingRun()), expected("A"));
    }
    // What it wrote is taken back where it fails.
    const other = new api.Sandbox();
    other.restore(snapshot);
    const failing = other.waitingRun();
    failing.fail(1, "no");
    failing.resume();
    fails("HostFunction", () => failing.result);
    same(other.compute("return _home.kept, _home.t, g"), ["before", null, 2]);
    // A fork has it too, and neither knows of the other.
    const fork = lua.fork();
    same(toEnd(fork.waitingRun()), expected("A"));
    run.answer(1, "mine");
    run.resume();
    same(run.result, expected("mine"));
    equal(lua.waitingRun(), undefined);
  },

  "an error of before a snapshot has no cause of after it": (api) => {
    const lua = sandbox(api);
    const run = lua.start("local _, first = pcall(ask) ask() pcall(ask) error(first, 0)");
    run.fail(1, new Error("one"));
    run.resume();
    const bytes = lua.snapshot().toBytes();
    const there = new api.Sandbox();
    there.restore(api.Snapshot.fromBytes(bytes));
    there.declare("ask");
    for (const each of [run, there.waitingRun()]) {
      each.answer(2);
      each.resume();
      each.fail(3, new Error("two"));
      each.resume();
      const error = fails("HostFunction", () => each.result);
      ok(error.message.includes("one"));
      ok(!String(error.cause).includes("two"));
    }
  },

  "limits of a restored run, and what it needs": (api) => {
    const lua = sandbox(api);
    const limits = { instructionLimit: 100_000, hostCallLimit: 2, outputLimit: 10, storeLimit: 1000 };
    for (const [source, kind] of [
      ["ask() ask() ask()", "HostCallLimit"],
      ["for i = 1, 60000 do end ask() for i = 1, 60000 do end", "InstructionLimit"],
      ["print('12345') ask() print('123456')", "OutputLimit"],
      ["_home.a = ('x'):rep(600) ask() _home.b = ('x'):rep(600)", "StoreLimit"],
    ]) {
      const run = lua.start(source, limits);
      const bytes = lua.snapshot().toBytes();
      run.cancel();
      const there = new api.Sandbox();
      there.restore(api.Snapshot.fromBytes(bytes));
      there.declare("ask");
      fails(kind, () => toEnd(there.waitingRun()));
      equal(there.compute("return 1"), 1);
    }
    const run = lua.start("_home.x = 1 ask()");
    const snapshot = lua.snapshot();
    run.cancel();
    const stored = new api.Sandbox({ store: storeOver(new Map()) });
    ok(fails("InvalidArgument", () => stored.restore(snapshot)).message.includes("without its tables"));
    equal(stored.compute("return 1"), 1);
    fails("StoreLimit", () => new api.Sandbox({ storeLimit: 1 }).restore(snapshot));
    stored.restore(snapshot, { tables: true });
    stored.waitingRun().cancel();
    equal(stored.home.get("x"), undefined);
    stored.restore(snapshot, { tables: true });
    toEnd(stored.waitingRun());
    equal(stored.home.get("x"), 1);
  },

  "durable runs": (api) => {
    const data = new Map();
    const open = () => sandbox(api, { store: storeOver(data) });
    const source = `_home.n = 1 local t = {5} local f = function() return #t end _io.output = {t}
      local a = ask('a') _home.n = _home.n + a t[2] = a _home.t = t
      local b = ask('b') _home.t[3] = b
      return f(), _home.n, _home.t[3], _io.output[1][1]`;
    let lua = open();
    same(lua.pendingRuns(), []);
    let run = lua.start(source, { durable: "order-17" });
    equal(run.name, "order-17");
    fails("Busy", () => lua.dropPendingRun("order-17"));
    lua.close();
    for (let round = 0; round < 2; round++) {
      lua = open();
      same(lua.pendingRuns(), [{ name: "order-17", claimed: undefined }]);
      ok(fails("InvalidArgument", () => lua.start(source, { durable: "order-17" })).message.includes("resume it"));
      lua.gc();
      run = lua.resume("order-17");
      same(run.requests, [{ id: 1, name: "ask", args: ["a"] }]);
      equal(lua.home.get("n"), 1);
      if (round === 0) lua.close();
    }
    run.answer(1, 10);
    run.resume();
    equal(new api.Sandbox({ store: storeOver(data) }).home.get("n"), 11, "what it wrote until it waited is there");
    // Who gives up leaves it to others.
    run[Symbol.dispose ?? Symbol.for("Symbol.dispose")]();
    equal(lua.compute("return _home.n"), 11);
    run = lua.resume("order-17");
    same(run.requests, [{ id: 2, name: "ask", args: ["b"] }]);
    run.answer(2, 20);
    run.resume();
    same(run.result, [3, 11, 20, 5]);
    same(lua.pendingRuns(), []);
    fails("InvalidArgument", () => lua.resume("order-17"));
    lua = open();
    same([lua.home.get("n"), [...lua.home.get("t").copy()]], [11, [5, 10, 20]]);
    ok(![...data.keys()].some((key) => key.startsWith("4294967294:")));
  },

  "durable runs end once, wherever the process ends and the store fails": async (api) => {
    let seed = 7;
    const random = (n) => Math.floor(((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32) * n);
    const source = `local task = require 'task'
      local function work(i)
        local a = ask(i)
        _home.sum = (_home.sum or 0) + a
        local b = ask(i, a)
        _home['done' .. i] = {b}
        return b
      end
      local results = task.each({1, 2, 3, 4}, work, {limit = 3})
      _home.runs = (_home.runs or 0) + 1
      return table.concat(results, ' ')`;
    let crashes = 0;
    for (let round = 0; round < 40; round++) {
      await pause(0);
      const data = new Map();
      const answered = new Set();
      let failing = false;
      let [lua, run, done] = [null, null, false];
      const begin = () => {
        // As for the store, it might have crashed.
        lua?.close();
        lua = sandbox(api, { store: storeOver(data, () => failing && random(3) === 0) });
        if (lua.pendingRuns().length > 0) run = lua.resume("r");
        else done = lua.home.get("runs") === 1;
        for (const { id } of run?.requests ?? []) ok(!answered.has(id), `round ${round}: request ${id} is handed out again`);
      };
      begin();
      for (let step = 0; !done; step++) {
        ok(step < 2000, "it ends");
        failing = random(2) === 0;
        if (random(3) === 0) {
          crashes++;
          run = null;
          begin();
          continue;
        }
        run ??= lua.start(source, { durable: "r" });
        if (!run.waiting) {
          run = null;
          begin();
          continue;
        }
        const given = run.requests.filter(() => random(2) === 0);
        for (const { id, args } of given) run.answer(id, args.length === 1 ? args[0] * 10 : `${args[0]}:${args[1]}`);
        run.resume();
        if (run.waiting) for (const { id } of given) answered.add(id);
        else {
          try {
            equal(run.result, "1:10 2:20 3:30 4:40");
            done = true;
          } catch (error) {
            equal(error.kind, "Store");
            run = null;
            begin();
          }
        }
      }
      lua.close();
      const last = new api.Sandbox({ store: storeOver(data) });
      same([last.home.get("sum"), last.home.get("runs"), last.pendingRuns()], [100, 1, []], `round ${round}`);
      same([1, 2, 3, 4].map((i) => last.home.get(`done${i}`).get(1)), ["1:10", "2:20", "3:30", "4:40"]);
    }
    ok(crashes > 100, `${crashes} crashes`);
  },

  "a durable run that has no room, or whose sandbox is closed, waits on": (api) => {
    const data = new Map();
    let closes = null;
    const store = () => storeOver(data, () => void closes?.());
    const lua = sandbox(api, { store: store() });
    lua.start("local task, text = require 'task', ('x'):rep(1 << 20) for i = 1, 10 do task.spawn(ask, text) end", { durable: "large" });
    lua.close();
    const small = sandbox(api, { store: store(), memoryLimit: 4 << 20 });
    fails("Memory", () => small.resume("large"));
    same([small.compute("return 1"), small.pendingRuns().length, small.dropPendingRun("large")], [1, 1, true]);
    closes = () => small.close();
    const run = small.start("_home.x = 1 return ask()", { durable: "closed" });
    closes = null;
    fails("Closed", () => run.result);
    const again = sandbox(api, { store: store() });
    same(open(again.resume("closed")), ["1:ask()"]);
  },

  "how durable runs end": (api) => {
    const data = new Map();
    let full = false;
    const lua = sandbox(api, { store: storeOver(data, () => full) });
    const names = () => lua.pendingRuns().map(({ name }) => name);
    const start = (source, name) => lua.start(source, { durable: name });
    start("_home.x = 1 ask()", "cancelled").cancel();
    equal(lua.home.get("x"), 1, "what it had written when it waited");
    let run = start("ask() error('x')", "failed");
    same(names(), ["failed"]);
    run.answer(1);
    run.resume();
    fails("Runtime", () => run.result);
    same(names(), []);
    run = start("_home.x = 2 ask() _home.x = 3", "interrupted");
    lua.interrupt();
    run.resume();
    fails("Interrupted", () => run.result);
    same([names(), lua.home.get("x")], [["interrupted"], 2]);
    run = lua.resume("interrupted");
    full = true;
    run.answer(1);
    run.resume();
    fails("Store", () => run.result);
    same([names(), lua.home.get("x")], [["interrupted"], 2]);
    fails("Store", () => lua.dropPendingRun("interrupted"));
    fails("Store", () => start("ask()", "other").result);
    full = false;
    same(names(), ["interrupted"]);
    ok(lua.dropPendingRun("interrupted") && !lua.dropPendingRun("interrupted"));
    for (const name of ["", "x".repeat(1001), 5]) for (const call of [() => start("ask()", name), () => lua.resume(name), () => lua.dropPendingRun(name)]) fails("InvalidArgument", call);
    equal(start("return 1", "never waits").result, 1);
    same(names(), []);
    equal([...data.keys()].filter((key) => key.startsWith("4294967294:")).length, 0);
    ok(fails("InvalidArgument", () => new api.Sandbox().start("return 1", { durable: "x" })).message.includes("a store"));
    start("ask()", "kept");
    lua.close();
    const strict = new api.Sandbox({ store: storeOver(data), storedFunctions: false });
    ok(fails("InvalidArgument", () => strict.resume("kept")).message.includes("storedFunctions"));
    const [key, [table, name, value]] = [...data].find(([key]) => key.startsWith("4294967294:"));
    data.set(key, [table, name, value.slice(0, 20)]);
    fails("InvalidArgument", () => sandbox(api, { store: storeOver(data) }).resume("kept"));
    value[200] ^= 1;
    data.set(key, [table, name, value]);
    fails("InvalidArgument", () => sandbox(api, { store: storeOver(data) }).resume("kept"));
    const restored = sandbox(api, { store: storeOver(data) });
    restored.restore(new api.Sandbox().snapshot(), { tables: true });
    same(restored.pendingRuns(), [], "their tables are gone");
  },
};
