// Copies of a sandbox, and its end.

import { equal, fails, ok, same } from "../check.js";

export const lifecycle = {
  "snapshot, restore, fork": ({ Sandbox, Snapshot }) => {
    const lua = new Sandbox({ seed: 1 });
    lua.register("host", () => "host");
    lua.compute("n = 1 _home.x = {1} co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) co()");
    const snapshot = lua.snapshot();
    const fork = lua.fork();
    lua.compute("n = 2 _home.x = nil _home.y = 1 co()");
    equal(lua.compute("return co()"), 3);
    lua.restore(snapshot);
    same(lua.compute("return n, _home.x[1], _home.y, co(), host()"), [1, 1, null, 2, "host"]);
    same(fork.compute("return n, _home.x[1], co(), host()"), [1, 1, 2, "host"]);
    const view = lua.home.get("x");
    lua.restore(snapshot);
    fails("Closed", () => view.get(1));
    equal(lua.home.get("x").get(1), 1);
    lua.compute("co()");
    const other = new Sandbox();
    other.register("more", () => "more").register("host", () => "other");
    other.restore(Snapshot.fromBytes(snapshot.toBytes()));
    same(other.compute("return n, _home.x[1], co(), host(), more()"), [1, 1, 2, "other", "more"]);
    equal(JSON.stringify(other.home), '{"x":[1]}');
    const bytes = snapshot.toBytes();
    const foreign = bytes.slice();
    foreign[16] ^= 1;
    fails("InvalidArgument", () => other.restore(Snapshot.fromBytes(foreign)));
    for (const cut of [0, 10, 100, bytes.length - 1]) fails("InvalidArgument", () => Snapshot.fromBytes(bytes.subarray(0, cut)));
    for (let i = 0; i < 50; i++) {
      const damaged = bytes.slice();
      damaged[Math.floor((bytes.length / 50) * i)] ^= 1 << i % 8;
      fails("InvalidArgument", () => Snapshot.fromBytes(damaged));
    }
    fails("InvalidArgument", () => Snapshot.fromBytes(Uint8Array.of(1, 2, 3)));
    fails("InvalidArgument", () => lua.restore({}));
    fails("Runtime", () => lua.compute("_home.z = 1 error()"));
    equal(lua.home.has("z"), false);
  },

  "copies go on with the same random numbers": ({ Sandbox }) => {
    const lua = new Sandbox();
    const [fork, snapshot] = [lua.fork(), lua.snapshot()];
    const numbers = (of) => [of.compute("return math.random(1e9), math.random(1e9)"), of.compute("return math.random(1e9)")];
    const expected = numbers(lua);
    same(numbers(fork), expected);
    lua.restore(snapshot);
    same(numbers(lua), expected);
  },

  "a snapshot keeps to the limits of who restores it": ({ Sandbox }) => {
    const large = new Sandbox({ memoryLimit: "64MiB" });
    large.compute("big = ('x'):rep(12000000)");
    const ofMemory = large.snapshot();
    const stored = new Sandbox();
    stored.compute("for i = 1, 2000 do _home[i] = ('x'):rep(1000) end");
    const ofTables = stored.snapshot();
    const lua = new Sandbox({ memoryLimit: "2MiB" });
    const little = new Sandbox({ storeLimit: "1MB" });
    for (const one of [lua, little]) one.compute("_home.mine = 1 mine = 2");
    fails("Memory", () => lua.restore(ofMemory));
    fails("StoreLimit", () => little.restore(ofTables));
    fails("StoreLimit", () => new Sandbox({ storeLimit: { entries: 10 } }).restore(ofTables));
    for (const one of [lua, little]) same(one.compute("return _home.mine, mine, big"), [1, 2, null]);
    little.restore(ofTables, { tables: false });
    equal(little.compute("return _home.mine"), 1);
    // What was large once and is not any more is refused only where it still takes the room.
    large.compute("big = nil collectgarbage()");
    fails("Memory", () => lua.restore(large.snapshot()));
    new Sandbox({ memoryLimit: "16MiB" }).restore(large.snapshot());
    // A fork is what the sandbox is, whatever a run was allowed.
    lua.computeWith("x = ('x'):rep(12000000)", { memoryLimit: "64MiB" });
    equal(lua.fork().computeWith("return #x", { memoryLimit: "64MiB" }).value, 12000000);
  },

  "restoring without tables": ({ Sandbox }) => {
    const template = new Sandbox();
    template.compute("_home.name = 'template' local seen = 0 function look() seen = seen + 1 return _home.name, seen end _home.look = look");
    const lua = new Sandbox();
    lua.compute("_home.name = 'mine' _home.t = {1}");
    lua.restore(template.snapshot(), { tables: false });
    same(lua.compute("return look()"), ["mine", 1]);
    same(lua.compute("_home.new = {2} return _home.t[1], _home.new[1], select(2, look())"), [1, 2, 2]);
    template.compute("held = ext.table()");
    fails("InvalidArgument", () => lua.restore(template.snapshot(), { tables: false }));
    lua.restore(template.snapshot());
    same(lua.compute("return look()"), ["template", 1]);
  },

  "gc, statistics, reset, close": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("x = ('x'):rep(1e6)");
    const { luaBytes, wasmBytes, bufferBytes } = lua.memoryStats();
    ok(luaBytes > 1e6 && wasmBytes > luaBytes && bufferBytes >= 65536);
    lua.compute("x = nil");
    lua.gc();
    ok(lua.memoryStats().luaBytes < 5e5);
    lua.compute("_home.a = 1 b = 2");
    lua.reset();
    same(lua.compute("return _home.a, b"), [1, null]);
    const { home } = lua;
    lua.close();
    lua.close();
    ok(lua.closed);
    fails("Closed", () => lua.compute("return 1"));
    fails("Closed", () => home.size);
    fails("Closed", () => lua.tableCount);
    fails("Closed", () => lua.memoryStats());
    fails("Closed", () => lua.input);
    fails("Closed", () => lua.fork());
    equal(typeof new Sandbox()[Symbol.dispose ?? Symbol.for("Symbol.dispose")], "function");
  },

  "gc runs finalizers under the limits of a run": ({ Sandbox }) => {
    const lua = new Sandbox({ instructionLimit: 1e6 });
    const seen = [];
    lua.register("see", (text) => void seen.push(text));
    lua.compute("setmetatable({}, {__gc = function() see('in gc') _home.x = 'kept' end})");
    lua.gc();
    same(seen, ["in gc"]);
    equal(lua.home.get("x"), "kept");
    lua.compute("setmetatable({}, {__gc = function() _home.x = 'lost' while true do end end})");
    fails("InstructionLimit", () => lua.gc());
    equal(lua.home.get("x"), "kept");
    lua.gc();
    equal(lua.compute("return 1 + 1"), 2);
  },

  "a run has the memory that the one before had": ({ Sandbox }) => {
    const most = `
      local most = 0
      for i = 1, 64 do
        local ok, s = pcall(string.rep, 'x', i * 65536)
        if ok then most = i end
        s = nil
        collectgarbage()
      end
      return most`;
    for (const source of ["return ('x'):rep(600000)", "local s = ('\\xff'):rep(300000) return _home[s]"]) {
      const lua = new Sandbox({ memoryLimit: 2 << 20 });
      const before = lua.compute(most);
      lua.compute(source);
      ok(lua.compute(most) + 2 >= before, source);
    }
  },

  "a walk that was begun holds its table": ({ Sandbox }) => {
    const lua = new Sandbox();
    lua.compute("walk = pairs(ext.table()) local t = ext.table() t.old = 1 other = pairs(t)");
    const snapshot = lua.snapshot();
    fails("InvalidArgument", () => lua.restore(snapshot, { tables: false }));
    fails("Runtime", () => lua.compute("local t = ext.table() t.old = 1 _home.t = t failed = pairs(t) error()"));
    lua.compute("for i = 1, 10 do _home[i] = {new = i} end");
    same(lua.compute("return walk(nil, nil), other(nil, nil), (pcall(failed, nil, nil))"), [null, "old", false]);
  },

  "what a script puts in the way of a name": ({ Sandbox }) => {
    for (const value of ["nil", "false", "5", "_home", "setmetatable({}, {__index = error, __newindex = error})"]) {
      const lua = new Sandbox();
      lua.register("a.b", () => 1);
      lua.compute(`a = ${value}`);
      const snapshot = lua.snapshot();
      try {
        lua.register("a.b", () => 2);
      } catch (error) {
        equal(error.kind, "InvalidArgument", value);
      }
      equal(lua.compute("return 1 + 1"), 2, value);
      lua.unregister("a.b");
      lua.restore(snapshot);
      equal(lua.compute("return 1 + 1"), 2, value);
      lua.reset();
      lua.register("a.b", () => 3);
      equal(lua.compute("return a.b()"), 3, value);
    }
  },
};
