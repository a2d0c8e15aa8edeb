// Functions of the host, and what they do with the sandbox that calls them.

import { equal, fails, forever, ok, same } from "../check.js";

export const hostFunctions = {
  "results that can't even be asked whether they are promises": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("kept = 1");
    const revoked = Proxy.revocable({}, {});
    revoked.revoke();
    const hostile = { get then() { throw new Error("no"); } };
    const odd = Object.defineProperty(Promise.resolve(1), "constructor", { get() { throw new Error("no"); } });
    for (const result of [revoked.proxy, hostile, odd]) {
      lua.register("odd", () => result);
      fails("HostFunction", () => lua.compute("kept = kept + 1 odd()"));
      equal(lua.compute("return (pcall(odd))"), false);
    }
    equal(lua.compute("return kept"), 4);
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
    // Each is one call and three inside it; those that were refused were none.
    equal(lua.computeWith("for i = 1, 5 do pcall(calls) end", { hostCallLimit: 21 }).metrics.hostCalls, 20);
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

  "causes behind each other come to an end": ({ Sandbox }) => {
    const lua = new Sandbox();
    const wrap = (f) => {
      try {
        return f();
      } catch (error) {
        throw new Error("wrapped", { cause: error });
      }
    };
    lua.register("fail", () => {
      throw new Error("reason");
    });
    lua.register("hidden", () => {
      throw Object.assign(new Error("reason"), { code: "ENOENT" });
    });
    lua.register("call", (f) => f());
    lua.register("wrap", wrap);
    lua.register("later", (source) => wrap(() => lua.compute(source)));
    // The error, how many causes it has, and the longest message.
    const look = (source) => {
      const error = fails("HostFunction", () => lua.compute(source));
      let [n, longest, last] = [0, 0, error];
      for (; ; n++) {
        longest = Math.max(longest, last.message.length);
        if (!last.cause) return { error, n, longest, last };
        last = last.cause;
      }
    };
    for (const [first, then, level] of [["fail", "call", 0], ["fail", "wrap", 0], ["hidden", "call", 0], ["hidden", "call", 1]]) {
      const { error, n, longest } = look(`
        local _, e = pcall(${first})
        for i = 1, 600 do _, e = pcall(${then}, function() error(e, ${level}) end) end
        error(e, 0)`);
      ok(n < 200, `${first} ${then}: ${n} causes`);
      ok(longest < 100000, `${first} ${then}: a message of ${longest} characters`);
      if (first === "hidden") ok(error.message.endsWith("the host function failed: reason"), error.message);
    }
    // As many as there can be runs inside each other are all there, and none of them counts for what comes later.
    const { n, last } = look("function f(n) if n == 0 then fail() end later(('f(%d)'):format(n - 1)) end f(28)");
    ok(n > 28, `${n} causes`);
    equal(last.message, "reason");
    equal(look("fail()").n, 1);
  },

  "an error of a run may be thrown in a later one": ({ Sandbox }) => {
    const lua = new Sandbox();
    let kept;
    lua.register("keep", (source) => {
      try {
        lua.compute(source);
      } catch (error) {
        kept = error;
      }
    });
    lua.register("again", () => {
      throw kept;
    });
    lua.register("other", (source) => lua.compute(source));
    lua.compute("keep('error(\"first\", 0)')");
    ok(lua.compute("return select(2, pcall(again))").endsWith("first"));
    ok(lua.compute("pcall(other, 'error(\"second\", 0)') return select(2, pcall(again))").endsWith("first"));
    // A script can make any number of them.
    lua.register("call", (f) => f());
    equal(lua.compute("for i = 1, 3000 do pcall(call, function() error('x') end) end keep('error(\"last\", 0)') return select(2, pcall(again))"), "last");
  },
};
