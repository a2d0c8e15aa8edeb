// Runs that wait for promises of host functions.

import { equal, fails, forever, ok, rejects, same } from "../check.js";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const task = "local task = require 'task' ";

export const waiting = {
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
    equal(await lua.computeAsync("return (('abc'):gsub('.', function(c) return later(c .. c) end))"), "aabbcc");
    equal(await lua.computeAsync("return #later(('x'):rep(100000))"), 100000);
    const cause = new Error("down");
    lua.register("reject", () => Promise.reject(cause));
    equal((await rejects("HostFunction", lua.computeAsync("_home.x = 1 reject()"))).cause, cause);
    equal(lua.home.size, 0);
    same(await lua.computeAsync("return pcall(reject)"), [false, "down"]);
    fails("HostFunction", () => lua.compute("return later(1)"));
    equal(lua.compute("return now(1)"), 1);
    lua.compute("function f(...) return later(...) end");
    same(await lua.callAsync("f", { args: [1, "x"] }), [1, "x"]);
  },

  "where nothing can wait the error says so": async ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("later", async (x) => x);
    for (const [source, place] of [
      ["table.sort({3, 1, 2}, function(a, b) return later(a < b) end)", "inside 'table.sort'"],
      ["string.format('%s', setmetatable({}, {__tostring = function() return later('x') end}))", "inside 'string.format'"],
      ["setmetatable({}, {__gc = function() ok, problem = pcall(later) end}) collectgarbage() error(problem, 0)", "inside 'collectgarbage'"],
      [`table.sort({3, 1, 2}, function(a, b) require('task').sleep(0) return a < b end)`, "inside 'table.sort'"],
    ]) {
      const { message } = await rejects("Runtime", lua.computeAsync(source));
      ok(message.includes(`can't wait ${place}`), message);
    }
    equal(await lua.computeAsync("return later(1)"), 1);
  },

  "tasks wait side by side": async ({ Sandbox }) => {
    const lua = new Sandbox();
    let open = 0;
    let most = 0;
    lua.register("fetch", async (x) => {
      most = Math.max(most, ++open);
      await pause(5 + (x % 3));
      open--;
      if (x < 0) throw new Error("none");
      return x * 10;
    });
    same(await lua.computeAsync(`${task} return task.all(function() return fetch(3) end, function() return fetch(1) end)`), [30, 10]);
    equal(most, 2);
    most = 0;
    equal(await lua.computeAsync(`${task} local l = {} for i = 1, 50 do l[i] = i end local r = task.each(l, fetch, {limit = 7}) return table.concat(r, ' ', 48)`), "480 490 500");
    equal(most, 7);
    same(await lua.computeAsync(`${task} return pcall(task.all, function() return fetch(1) end, function() return fetch(-1) end)`).then(([ok, message]) => [ok, message.split(": ").at(-1)]), [false, "none"]);
    equal(await lua.computeAsync(`${task} return task.race(function() return fetch(9) end, function() task.sleep(60) return 'late' end)`), 90);
    const begun = performance.now();
    equal(await lua.computeAsync(`${task} task.all(function() task.sleep(0.03) end, function() task.sleep(0.02) task.sleep(0.01) end, function() task.sleep(0) end) return 1`), 1);
    const took = performance.now() - begun;
    ok(took >= 29, `slept for ${took} ms`);
  },

  "sleeping": async ({ Sandbox }) => {
    const lua = new Sandbox();
    await rejects("Timeout", lua.computeAsync(`${task} pcall(task.sleep, math.huge)`, { timeout: 20 }));
    await rejects("Timeout", lua.computeAsync(`${task} task.sleep(1e9)`, { timeout: 20 }));
    for (const how of ["compute", "computeAsync"]) {
      const seeded = new Sandbox({ seed: 1 });
      const run = (source) => seeded[how](source);
      equal(await run(`${task} local t = os.time() task.sleep(3600) return os.time() - t`), 3600);
      ok((await run(`${task} task.sleep(math.huge) return os.time()`)) > 0);
    }
    if (typeof SharedArrayBuffer === "function" && globalThis.process) {
      const begun = performance.now();
      lua.compute(`${task} task.sleep(0.02)`);
      ok(performance.now() - begun >= 19);
      fails("Timeout", () => lua.computeWith(`${task} task.sleep(60)`, { timeout: 20 }));
    }
  },

  "limits hold over all tasks and waits": async ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("later", async (x) => x);
    for (const [source, limits, kind] of [
      ["for i = 1, 100 do later() for j = 1, 10000 do end end", { instructionLimit: 300_000 }, "InstructionLimit"],
      [`${task} for i = 1, 3 do task.spawn(function() later() pcall(function() while true do end end) end) end`, { instructionLimit: 300_000 }, "InstructionLimit"],
      ["print(('x'):rep(60)) later() print(('x'):rep(60))", { outputLimit: 100 }, "OutputLimit"],
      ["later() pcall(later) later()", { hostCallLimit: 2 }, "HostCallLimit"],
      ["_home.a = ('x'):rep(600) later() _home.b = ('x'):rep(600)", { storeLimit: 1000 }, "StoreLimit"],
      [`${task} for i = 1, 1e6 do task.spawn(function() task.sleep(60) end) end`, { memoryLimit: "4MiB" }, "Memory"],
      ["while true do pcall(later) end", { timeout: 30 }, "Timeout"],
      [`${task} while true do task.sleep(0) end`, { timeout: 30 }, "Timeout"],
      [`${task} while true do task.sleep(0.001) end`, { timeout: 30 }, "Timeout"],
    ]) {
      await rejects(kind, lua.computeAsync(`_home.x = 1 ${source}`, limits));
      equal(lua.home.size, 0, source);
      equal(lua.compute("return 1"), 1);
    }
  },

  "the sandbox is busy while it waits": async ({ Sandbox }) => {
    const lua = new Sandbox();
    let [go, called] = [null, null];
    const waits = new Promise((resolve) => (called = resolve));
    lua.register("wait", () => new Promise((resolve) => called((go = resolve))));
    const run = lua.computeAsync("_home.x = 1 return wait()");
    await waits;
    fails("Busy", () => lua.compute("return 1"));
    fails("Busy", () => lua.home.get("x"));
    fails("Busy", () => lua.start("return 1"));
    fails("Busy", () => lua.snapshot());
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

  "who comes after a run that was told to end waits for that": async ({ Sandbox }) => {
    const lua = new Sandbox({ timeout: null });
    lua.register("never", () => new Promise(() => {}));
    for (let i = 0; i < 1000; i++) {
      const controller = new AbortController();
      const ended = lua.computeAsync(i % 2 ? "never()" : "pcall(never) while true do end", { signal: controller.signal });
      const kind = ended.then(() => "no error", (error) => error.kind);
      if (i % 8 === 0) await pause(i % 3);
      if (i % 3) controller.abort();
      else lua.interrupt();
      if (i % 5) equal(await lua.computeAsync("return 1"), 1, `round ${i}`);
      equal(await kind, "Interrupted");
      equal(lua.compute("return 2"), 2, `round ${i}`);
    }
  },

  "when the promise of closeAsync is kept no run is left": async ({ Sandbox }) => {
    for (let i = 0; i < 20; i++) {
      const lua = new Sandbox({ timeout: null });
      lua.register("never", () => new Promise(() => {}));
      let over = false;
      const run = lua.computeAsync(i % 2 ? "require('task').sleep(1e6)" : "never()").catch(() => void (over = true));
      if (i % 4 > 1) await pause(0);
      const closed = lua.closeAsync();
      fails("Closed", () => lua.compute("return 1"));
      await Promise.all([closed, lua.closeAsync()]);
      await pause(0);
      ok(over);
      await run;
    }
    const lua = new Sandbox();
    let closed;
    lua.register("close", () => void (closed = lua.closeAsync()));
    lua.compute("close()");
    await closed;
    fails("Closed", () => lua.compute("return 1"));
    await new Sandbox()[Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]();
  },

  "interrupt right after the call is not lost": async ({ Sandbox }) => {
    const lua = new Sandbox({ timeout: null });
    lua.register("later", async (x) => x);
    for (let i = 0; i < 20; i++) {
      const run = lua.computeAsync("later() while true do end");
      lua.interrupt();
      await rejects("Interrupted", run);
    }
    equal(await lua.computeAsync("return later(1)"), 1, "and the next run hears nothing of it");
    const run = lua.computeAsync("later() while true do end");
    lua.close();
    await rejects("Interrupted", run);
  },

  "a script that waits for what is there lets the event loop go on, and can be aborted": async ({ Sandbox }) => {
    const lua = new Sandbox({ timeout: null });
    lua.register("now", async (x) => x);
    const controller = new AbortController();
    let turns = 0;
    const timer = setInterval(() => ++turns === 5 && controller.abort(), 1);
    await rejects("Interrupted", lua.computeAsync("while true do now() end", { signal: controller.signal }));
    clearInterval(timer);
    ok(turns >= 5);
    const a = new Sandbox();
    const b = new Sandbox();
    for (const one of [a, b]) one.register("now", async (x) => x);
    const source = "local n = 0 for i = 1, 3000 do n = n + now(1) end return n";
    same(await Promise.all([a.computeAsync(source), b.computeAsync(source)]), [3000, 3000]);
  },

  "who is kept from its thread by others does not run out of time for that": async ({ Sandbox }) => {
    const waits = Array.from({ length: 20 }, (_, i) => {
      const lua = new Sandbox({ timeout: 60 });
      lua.register("later", () => pause(5));
      return lua.computeAsync(i % 2 ? "later() return 1" : "require('task').sleep(0.005) return 1");
    });
    await rejects("Timeout", new Sandbox().computeAsync(forever, { timeout: 150 }));
    same(await Promise.all(waits), waits.map(() => 1));
  },

  "who keeps its thread busy itself runs out of time": async ({ Sandbox }) => {
    // It hangs on when the timers come, so not each one would show it.
    for (let i = 0; i < 4; i++) {
      const lua = new Sandbox({ timeout: 110 });
      let calls = 0;
      const work = (resolve) => {
        calls++;
        for (const end = performance.now() + 100; performance.now() < end; );
        resolve();
      };
      lua.register("later", () => new Promise((resolve) => void setTimeout(work, 1, resolve)));
      await rejects("Timeout", lua.computeAsync("while true do later() end"));
      ok(calls <= 5, `${calls} calls of 100 ms`);
    }
  },

  "promises that misbehave": async ({ Sandbox, multiple }) => {
    const lua = new Sandbox();
    const unheard = [];
    const hear = (event) => unheard.push(event);
    globalThis.process?.on?.("unhandledRejection", hear);
    let keep;
    const odd = {
      twice: { then: (yes, no) => (yes(1), yes(2), no(new Error("no"))) },
      both: { then: (yes, no) => (no(new Error("no")), yes(1)) },
      atOnce: { then: (yes) => yes("x") },
      throwing: { then: () => { throw new Error("thrown"); } },
      lateThrow: { then: (yes) => { yes("kept"); throw new Error("too late"); } },
      nested: { then: (yes) => yes({ then: (yes) => yes("deep") }) },
      several: { then: (yes) => yes(multiple(1, 2)) },
      unfit: { then: (yes) => yes(Symbol("x")) },
      hostile: { then: (_, no) => no(new Proxy({}, { get() { throw new Error("no"); } })) },
      once: new (class { n = 0; get then() { if (this.n++ > 1) throw new Error("asked again"); return (yes) => yes("asked twice"); } })(),
      endless: { then: (yes) => (keep = yes) },
    };
    for (const name of Object.keys(odd)) lua.register(name, () => odd[name]);
    for (const [source, want] of [
      ["return twice()", 1],
      ["return (pcall(both))", false],
      ["return atOnce()", "x"],
      ["return select(2, pcall(throwing))", "thrown"],
      ["return lateThrow()", "kept"],
      ["return nested()", "deep"],
      ["return several()", [1, 2]],
      ["return (pcall(unfit))", false],
      ["return select(2, pcall(hostile))", "the host function failed"],
      ["return once()", "asked twice"],
    ])
      same(await lua.computeAsync(source), want, source);
    // What comes when nobody waits any more is for nobody, nor for the next run.
    await rejects("Timeout", lua.computeAsync("endless()", { timeout: 5 }));
    const late = keep;
    const next = lua.computeAsync("return endless()");
    late?.("of the first");
    while (keep === late) await pause(0);
    keep("of the second");
    equal(await next, "of the second");
    lua.register("fails", () => pause(3).then(() => Promise.reject(new Error("unheard"))));
    await rejects("Timeout", lua.computeAsync("fails()", { timeout: 1 }));
    equal(await lua.computeAsync(`${task} return task.race(function() return fails() end, function() return 'first' end)`), "first");
    equal(fails("HostFunction", () => lua.compute("fails()")).message.includes("returned a promise"), true);
    await pause(10);
    lua.close();
    same(unheard, []);
    globalThis.process?.off?.("unhandledRejection", hear);
  },

  "a promise inside of another host function is refused": async ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.register("later", async () => 1);
    lua.register("eval", (source) => lua.compute(source));
    const error = await rejects("HostFunction", lua.computeAsync("return eval('return later()')"));
    ok(error.message.includes("inside another host function"), error.message);
    equal(await lua.computeAsync("return later()"), 1);
  },
};
