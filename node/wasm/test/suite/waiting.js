// Runs that wait for promises of host functions.

import { equal, fails, forever, ok, rejects, same } from "../check.js";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

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

  "who comes after a run that was told to end waits for that": async ({ Sandbox }) => {
    const lua = new Sandbox({ timeout: null });
    lua.register("never", () => new Promise(() => {}));
    for (let i = 0; i < 1000; i++) {
      const controller = new AbortController();
      const ended = lua.computeAsync(i % 2 ? forever : "pcall(never) while true do end", { signal: controller.signal });
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
      const run = lua.computeAsync(i % 2 ? forever : "never()").catch(() => void (over = true));
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
    ok(error.message.includes("inside another host function"), error.message);
    equal(await lua.computeAsync("return later()"), 1);
  },
};
