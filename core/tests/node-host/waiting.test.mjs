// Runs that wait: a host of revision 3 answers calls later, while nothing of the run is on any stack.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Sandbox, bytes, decode } from "./host.mjs";

const WAITS = -2147483648;
const SLEEP = 0xffffffff;

/** A host whose functions answer later, or, for those in `plain`, at once. */
class WaitingHost {
  requests = new Map(); // number -> { name, args }
  dropped = [];

  constructor({ plain = {}, functions = ["ask", "fetch"], sandbox = {} } = {}) {
    this.names = [...functions, ...Object.keys(plain)];
    this.plain = plain;
    this.box = new Sandbox({
      revision: 3,
      transactional: true,
      ...sandbox,
      imports: {
        js_ext_table_get: (id, kp, kl, vp, max) => (id === 0 ? this.#channel(kp >>> 0, kl >>> 0, vp >>> 0, max) : this.own(id, kp, kl, vp, max)),
        ...sandbox.imports,
      },
    });
    this.names.forEach((name, number) => {
      this.box.fill(Buffer.from(name));
      assert.ok(this.box.exports.register_function(name.length, number) >= 0);
    });
    this.box.exports.set_waiting(1);
  }

  own = () => -1;

  #channel(ptr, len, to, max) {
    const request = Buffer.from(this.box.memory().slice(ptr, ptr + len));
    const give = (answer) => {
      assert.ok(answer.length <= max);
      this.box.memory().set(answer, to);
      return answer.length;
    };
    switch (request[0]) {
      case 0x01:
      case 0x09: {
        const number = request.readUInt32LE(1);
        const later = request[0] === 0x09;
        const args = decode(request.subarray(later ? 9 : 5));
        const name = number === SLEEP ? "sleep" : this.names[number];
        if (this.plain[name]) return give(Buffer.concat([Buffer.of(0), ...this.plain[name](...args)]));
        if (later) this.requests.set(request.readUInt32LE(5), { name, args });
        return give(Buffer.of(4));
      }
      case 0x0a:
        this.dropped.push(request.readUInt32LE(1));
        this.requests.delete(request.readUInt32LE(1));
        return 0;
      default:
        return -1;
    }
  }

  /** What a run gives that has ended; `null` while it waits. */
  #finish(n) {
    return n === WAITS ? null : this.box.finish(n).values.map(plainValue);
  }

  start(source) {
    return this.#finish(this.box.raw(source));
  }

  /** Answers requests by number: a list of encoded results, or an Error. */
  resume(answers = {}) {
    const parts = Object.entries(answers).map(([number, answer]) => {
      this.requests.delete(Number(number));
      const body =
        answer instanceof Error
          ? Buffer.concat([Buffer.of(1, 1), bytes.u32(0), bytes.string(answer.message)])
          : Buffer.concat([Buffer.of(0), ...answer]);
      return Buffer.concat([bytes.u32(Number(number)), bytes.u32(body.length), body]);
    });
    const message = Buffer.concat(parts);
    this.box.fill(message);
    return this.#finish(this.box.exports.resume(message.length));
  }

  /** The open requests: `number:name(args)`. */
  open() {
    return [...this.requests].map(([number, { name, args }]) => `${number}:${name}(${args.map(plainValue).join()})`);
  }

  listed() {
    const all = this.box.buffer(this.box.exports.list_requests());
    const found = [];
    for (let at = 0; at < all.length; ) {
      const length = all.readUInt32LE(at + 8);
      const args = decode(all.subarray(at + 12, at + 12 + length)).map(plainValue);
      const number = all.readUInt32LE(at + 4);
      found.push(`${all.readUInt32LE(at)}:${number === SLEEP ? "sleep" : this.names[number]}(${args.join()})`);
      at += 12 + length;
    }
    return found;
  }
}

function plainValue(value) {
  if (Buffer.isBuffer(value)) return value.toString();
  if (typeof value === "bigint") return Number(value);
  if (value?.pairs) return Object.fromEntries(value.pairs.map(([k, v]) => [plainValue(k), plainValue(v)]));
  return value;
}

const s = (text) => [bytes.string(text)];

/** Runs source; answers each request with its arguments in capitals as soon as it waits. */
function runToEnd(source, options) {
  const host = new WaitingHost(options);
  let result = host.start(source);
  for (let turns = 0; result === null; turns++) {
    assert.ok(turns < 1000);
    const open = [...host.requests];
    assert.notEqual(open.length, 0, "it waits for nothing");
    result = host.resume(Object.fromEntries(open.map(([n, { args }]) => [n, s(args.map(plainValue).join().toUpperCase())])));
  }
  return result;
}

describe("a call that is answered later", () => {
  test("returns when the answer comes", () => {
    const host = new WaitingHost();
    assert.equal(host.start("local a = ask('x', 1) return a .. '!', #a"), null);
    assert.deepEqual(host.open(), ["1:ask(x,1)"]);
    assert.deepEqual(host.listed(), ["1:ask(x,1)"]);
    assert.deepEqual(host.resume({ 1: s("yes") }), ["yes!", 3]);
    assert.deepEqual(host.start("return 1"), [1]);
  });

  test("can fail", () => {
    const host = new WaitingHost();
    assert.equal(host.start("local ok, e = pcall(function() local a = ask() return a end) return e"), null);
    assert.match(host.resume({ 1: new Error("no") })[0], /^\[string "local ok, e = [^\n]*"\]:1: no$/);
    assert.equal(host.start("local function f() return (ask()) end\nreturn (f())"), null);
    assert.throws(() => host.resume({ 1: new Error("no") }), (e) => e.message.endsWith(":1: no") && /in function 'f'|in upvalue 'f'|in local 'f'/.test(e.details.traceback.toString()) && !e.details.traceback.toString().includes("[C]: in ?"));
    assert.deepEqual(host.start("return 1"), [1]);
  });

  test("plain ones answer at once, and runs that never wait are as ever", () => {
    assert.deepEqual(runToEnd("return now(2), ask('a')", { plain: { now: (n) => [bytes.integer(n * 2n)] } }), [4, "A"]);
    assert.deepEqual(runToEnd("local n = 0 for i = 1, 1000 do n = n + i end return n"), [500500]);
  });

  for (const [where, source, expected] of [
    ["pcall", "return pcall(ask, 'a')", [true, "A"]],
    ["xpcall", "return xpcall(ask, print, 'a')", [true, "A"]],
    ["a metamethod", "local t = setmetatable({}, {__index = function(_, k) return ask(k) end, __add = function() return ask('sum') end}) return t.foo, t + 1", ["FOO", "SUM"]],
    ["__eq, __lt, __le, __concat, __len, __call", "local m = {} for _, k in ipairs {'__eq', '__lt', '__le', '__concat', '__len', '__call'} do m[k] = function() return ask(k) end end local a, b = setmetatable({}, m), setmetatable({}, m) return a == b, a < b, a <= b, a .. b, #a, a()", [true, true, true, "__CONCAT", "__LEN", "__CALL"]],
    ["__newindex", "local seen local t = setmetatable({}, {__newindex = function(_, k) seen = ask(k) end}) t.x = 1 return seen", ["X"]],
    ["an iterator", "local r = {} for v in function(_, i) i = (i or 0) + 1 if i < 4 then return i, ask(i) end end do r[#r + 1] = v end return #r", [3]],
    ["__pairs", "local t = setmetatable({}, {__pairs = function(t) return function(_, k) if not k then return ask('k') end end, t, nil end}) for k in pairs(t) do return k end", ["K"]],
    ["__close", "local r do local x <close> = setmetatable({}, {__close = function() r = ask('c') end}) end return r", ["C"]],
    ["__close after an error", "local r pcall(function() local x <close> = setmetatable({}, {__close = function() r = ask('c') end}) error('x') end) return r", ["C"]],
    ["a coroutine", "local co = coroutine.wrap(function() local a = ask('a') coroutine.yield(a) coroutine.yield(ask('b')) return 'end' end) return co(), co(), co()", ["A", "B", "end"]],
    ["coroutine.resume", "local co = coroutine.create(function(x) local y = coroutine.yield(ask(x)) return ask(y) end) local _, a = coroutine.resume(co, 'p') local _, b = coroutine.resume(co, 'q') return a, b, coroutine.status(co)", ["P", "Q", "dead"]],
    ["coroutines in each other", "local f = function(n) return ask('deep' .. n) end for i = 1, 20 do local g = f f = function(n) return coroutine.wrap(g)(n + 1) end end return f(0)", ["DEEP20"]],
    ["tostring", "return tostring(setmetatable({}, {__tostring = function() return ask('t') end}))", ["T"]],
    ["print", "print(1, setmetatable({}, {__tostring = function() return ask('t') end}), 2) return 1", [1]],
    ["string.gsub", "return ('a-b-c'):gsub('%a', function(c) return ask(c) end)", ["A-B-C", 3]],
    ["string.gsub with odd results", "return ('abcde'):gsub('(.)', function(c) ask(c) if c == 'b' then return false elseif c == 'c' then return 7 elseif c == 'd' then return '' end end)", ["ab7e", 5]],
    ["string.gsub with an anchor, a limit, empty matches", "return (('aab'):gsub('^a', ask)), (('aab'):gsub('a', ask, 1)), (('ab'):gsub('', function() return ask('x') end))", ["Aab", "Aab", "XaXbX"]],
    ["load with a reader", "local parts = {'return ', 'ask', '(\"in\")'} local i = 0 local f = assert(load(function() i = i + 1 ask(i) return parts[i] end)) return f()", ["IN"]],
    ["load with an environment, and errors of the reader", "local n = 0 local f = load(function() n = n + 1 ask(n) return n == 1 and 'return x' or nil end, 'c', 't', {x = 5}) local bad, e = load(function() ask('a') error('oops', 0) end) return f(), bad, e", [5, null, "oops"]],
    ["load with a reader that gives something else", "return load(function() return {} end)", [null, `[string "return load(function() return {} end)"]:1: reader function must return a string`]],
    ["require", "package.preload.m = function(name) return {v = ask(name)} end return require('m').v, package.loaded.m.v", ["M", "M"]],
    ["a searcher", "table.insert(package.searchers, 1, function(n) local a = ask(n) return function() return a end end) return (require 'q')", ["Q"]],
    ["an error's handler chain", "local ok, e = pcall(function() local x = ask('a') error({x}) end) return ok, e[1]", [false, "A"]],
  ]) {
    test(`in ${where}`, () => assert.deepEqual(runToEnd(source), expected));
  }

  test("not where C is in between, which the error names", () => {
    const cases = [
      ["table.sort({2, 1}, function(a, b) return ask(a) < ask(b) end)", "'table.sort'"],
      ["table.sort({2, 1}, function(a, b) return assert(pcall(ask, a)) end)", "'table.sort'"],
      ["string.format('%s', setmetatable({}, {__tostring = function() return ask() end}))", "'string.format'"],
    ];
    for (const [source, name] of cases) {
      const [ok, message] = runToEnd(`return pcall(function() ${source} end)`);
      assert.equal(ok, false);
      assert.match(message, new RegExp(`'ask' can't wait inside ${name}`));
    }
  });
});

describe("scripts don't see it", () => {
  test("stacks overflow with the same message, whenever garbage is collected", () => {
    const source = "local function f() return 1 + f() end local ok, e = xpcall(f, debug.traceback) return ok, e:match('stack overflow')";
    const host = new WaitingHost();
    for (let i = 0; i < 6; i++) assert.deepEqual(host.start(source), [false, "stack overflow"]);
    const box = new Sandbox({ revision: 2 });
    for (let i = 0; i < 6; i++) assert.deepEqual(box.compute(`return coroutine.wrap(function() ${source} end)()`).values.map(plainValue), [false, "stack overflow"]);
  });

  test("a coroutine that is resumed in vain stays what it is", () => {
    const host = new WaitingHost();
    const source = `local ok, e = coroutine.resume((coroutine.running()))
      local yes, problem = pcall(coroutine.yield, 1)
      return ok, e, yes, problem, ask('a')`;
    const vain = "cannot resume non-suspended coroutine";
    assert.equal(host.start(source), null);
    assert.deepEqual(host.resume({ 1: s("A") }), [false, vain, false, "attempt to yield from outside a coroutine", "A"]);
    // In a comparator nothing can wait, whoever says otherwise.
    const hidden = `local task, co = require 'task', nil
      local messages = {}
      co = coroutine.create(function()
        task.spawn(function() messages[1] = select(2, coroutine.resume(co)) end)
        messages[2] = select(2, pcall(ask))
      end)
      table.sort({2, 1}, function() coroutine.resume(co) return false end)
      return messages[1], messages[2], ask('b')`;
    assert.equal(host.start(hidden), null);
    const [first, second, answer] = host.resume({ 1: s("B") });
    assert.deepEqual([first, answer], [vain, "B"]);
    assert.match(second, /'ask' can't wait here/);
  });

  test("they yield no further than ever", () => {
    const source = `local function try(f) local co = coroutine.create(f) local ok, e = coroutine.resume(co) return ok, e end
      local y = function() return coroutine.isyieldable(), coroutine.yield() end
      local r = {}
      for _, f in ipairs {
        function() return ('x'):gsub('x', y) end,
        function() return tostring(setmetatable({}, {__tostring = y})) end,
        function() return print(setmetatable({}, {__tostring = y})) end,
        function() package.preload.yields = y return require 'yields' end,
        function() return pcall(y) end,
      } do r[#r + 1] = select(2, try(f)) or 'ok' end
      return table.unpack(r)`;
    const boundary = "attempt to yield across a C-call boundary";
    const expected = [boundary, boundary, boundary, boundary, "ok"];
    assert.deepEqual(runToEnd(source), expected);
    assert.deepEqual(new Sandbox({ revision: 2 }).compute(source).values.map(plainValue), expected);
  });

  test("the main chunk is the main one", () => {
    const source = `local co, main = coroutine.running()
      local ok, e = pcall(coroutine.yield, 1)
      return main, coroutine.isyieldable(), ok, e, coroutine.status(co), debug.traceback('t'), debug.getinfo(1, 'S').what, debug.getinfo(2) == nil`;
    const host = new WaitingHost();
    const [main, yieldable, ok, e, status, traceback, what, end] = host.start(source);
    assert.deepEqual([main, yieldable, ok, e, status, what, end], [true, false, false, "attempt to yield from outside a coroutine", "running", "main", true]);
    assert.match(traceback, /^t\nstack traceback:\n\t\[string "[^\n]*\n?.*in main chunk$/);
  });

  test("coroutines that wait are normal, and nobody resumes or closes them", () => {
    const source = `local task = require 'task'
      local co, main = nil, coroutine.running()
      local t = task.spawn(function() co = coroutine.create(function() return ask('a') end) return coroutine.resume(co) end)
      local r = {coroutine.status(co), coroutine.resume(co)}
      r[#r + 1] = pcall(coroutine.close, co)
      r[#r + 1] = tostring(select(2, pcall(coroutine.close, co)))
      t:wait()
      r[#r + 1] = coroutine.status(co)
      return table.unpack(r)`;
    assert.deepEqual(runToEnd(source), ["normal", false, "cannot resume non-suspended coroutine", false, "cannot close a normal coroutine", "dead"]);
  });
});

describe("tasks", () => {
  const task = "local task = require 'task' ";
  test("run side by side, and their answers come in any order", () => {
    const host = new WaitingHost();
    assert.equal(host.start(`${task} return task.all(function() return ask('a') end, function() return fetch('b') end)`), null);
    assert.deepEqual(host.open(), ["1:ask(a)", "2:fetch(b)"]);
    assert.equal(host.resume({ 2: s("B") }), null);
    assert.deepEqual(host.listed(), ["1:ask(a)"]);
    assert.deepEqual(host.resume({ 1: s("A") }), ["A", "B"]);
  });

  test("spawn, wait, status, cancel", () => {
    const host = new WaitingHost();
    const source = `${task} local closed
      local a = task.spawn(function(x) return x, ask('a') end, 5)
      local b = task.spawn(function() local c <close> = setmetatable({}, {__close = function() closed = true end}) ask('b') end)
      local before = a:status() .. b:status()
      b:cancel()
      local ok, e = pcall(b.wait, b)
      return before, b:status(), closed, ok, e, a:wait()`;
    assert.equal(host.start(source), null);
    assert.deepEqual(host.dropped, [2]);
    assert.deepEqual(host.resume({ 1: s("A") }), ["waitingwaiting", "cancelled", true, false, "the task was cancelled", 5, "A"]);
  });

  test("the first error of a group cancels the rest", () => {
    const host = new WaitingHost();
    const source = `${task} return pcall(task.all, function() ask('a') end, function() ask('b') error('x', 0) end)`;
    assert.equal(host.start(source), null);
    assert.deepEqual(host.resume({ 2: s("") }), [false, "x"]);
    assert.deepEqual(host.dropped, [1]);
  });

  test("race, each, sleep", () => {
    const host = new WaitingHost();
    assert.equal(host.start(`${task} return task.race(function() return 'a', ask('a') end, function() task.sleep(5) return 'late' end)`), null);
    assert.deepEqual(host.open(), ["1:ask(a)", "2:sleep(5)"]);
    assert.deepEqual(host.listed(), ["1:ask(a)", "2:sleep(5)"]);
    assert.deepEqual(host.resume({ 2: [] }), ["late"]);
    assert.deepEqual(host.dropped, [1]);

    const each = new WaitingHost();
    assert.equal(each.start(`${task} local r = task.each({1, 2, 3, 4, 5}, function(v, i) return ask(v) .. i end, {limit = 2}) return table.concat(r, ' ')`), null);
    assert.equal(each.requests.size, 2);
    let result = null;
    while (result === null) {
      const [[number, { args }]] = each.requests;
      result = each.resume({ [number]: s(`v${args[0]}`) });
      assert.ok(each.requests.size <= 2);
    }
    assert.deepEqual(result, ["v11 v22 v33 v44 v55"]);
  });

  test("a run ends when its tasks have, and with an error that nobody heard of", () => {
    const host = new WaitingHost();
    assert.equal(host.start(`${task} task.spawn(function() ask('a') done = true end) return 1`), null);
    assert.deepEqual(host.resume({ 1: s("") }), [1]);
    assert.deepEqual(host.start("return done"), [true]);
    assert.equal(host.start(`${task} task.spawn(function() ask('a') error('lost', 0) end) return 1`), null);
    assert.throws(() => host.resume({ 1: s("") }), /lost/);
  });

  test("deadlocks are named", () => {
    const host = new WaitingHost();
    const source = `${task} local a, b
      a = task.spawn(function() ask('x') return b:wait() end)
      b = task.spawn(function() return a:wait() end)
      return a:wait()`;
    assert.equal(host.start(source), null);
    assert.throws(() => host.resume({ 1: s("") }), /deadlock: task 1 waits for task 2, task 2 waits for task 3, task 3 waits for task 2/);
    assert.deepEqual(host.start("return 1"), [1]);
  });

  test("without a host that lets it wait, one after another", () => {
    const box = new Sandbox({ revision: 2 });
    const run = (source) => box.compute(task + source).values.map(plainValue);
    assert.deepEqual(run("return task.all(function() return 1 end, function() return 2 end)"), [1, 2]);
    assert.deepEqual(run("return task.race(function() return 1 end, function() error 'never' end)"), [1]);
    assert.deepEqual(run("return table.concat(task.each({3, 4}, function(v, i) return v * i end), ' ')"), ["3 8"]);
    assert.deepEqual(run("local t = task.spawn(function(a) return a, 2 end, 1) return t:status(), t:wait()"), ["done", 1, 2]);
    assert.deepEqual(run("return pcall(task.all, function() error('e', 0) end)"), [false, "e"]);
    assert.throws(() => run("task.spawn(function() error('lost', 0) end)"), /lost/);
    assert.deepEqual(run("return 1"), [1]);
  });

  test("handles of runs that are over are harmless", () => {
    const host = new WaitingHost();
    assert.throws(() => host.start(`${task} a = task.spawn(function() ask('a') end) b = task.spawn(function() return a:wait() end) error('x', 0)`), /x/);
    assert.deepEqual(host.dropped, [1]);
    assert.throws(() => host.start(`${task} failed = task.spawn(function() error('lost', 0) end)`), /lost/);
    const stale = `${task} local t = task.spawn(function() ask('q') return 7 end)
      local ok, e = pcall(failed.wait, failed)
      return ok, e, t:status(), t:wait()`;
    assert.equal(host.start(stale), null);
    assert.deepEqual(host.resume({ 1: s("") }), [false, "lost", "waiting", 7]);
    const knot = `${task} pcall(failed.wait, failed) local x, y
      x = task.spawn(function() ask('q') return y:wait() end)
      y = task.spawn(function() return x:wait() end)
      return x:wait()`;
    assert.equal(host.start(knot), null);
    assert.throws(() => host.resume({ 1: s("") }), /deadlock/);
    assert.deepEqual(host.start(`${task} local c = task.spawn(function() return pcall(b.wait, b) end) collectgarbage() a:cancel() return a:status(), b:status(), c:wait()`), ["cancelled", "cancelled", false, "the task was cancelled"]);
  });
});

describe("runs inside one that waits", () => {
  test("are part of it, and don't end it", () => {
    const box = new Sandbox({ revision: 3, transactional: true, declare: ["ask"] });
    const start = (source) => box.start(() => box.compute(source));
    for (const [end, kept] of [["return ask()", 5n], ["ask() error('no')", null]]) {
      assert.equal(start(end), null);
      assert.deepEqual(box.compute("_home.inside = 5 return 1").values, [1n]);
      assert.throws(() => box.compute("return nothing.at_all"));
      assert.throws(() => box.compute("ask()"), /can't wait/);
      assert.deepEqual([...box.requests.keys()], [1]);
      if (kept) assert.deepEqual(box.resume([[1, bytes.integer(2)]]).values, [2n]);
      else assert.throws(() => box.resume([[1, bytes.integer(2)]]), /no/);
      assert.deepEqual(box.compute("local n = _home.inside _home.inside = nil return n").values, [kept]);
    }
  });
});

describe("ending a run that waits", () => {
  test("an answer with a limit does it, also where instructions are not counted", () => {
    const host = new WaitingHost();
    const source = `local task = require 'task'
      local function stubborn()
        local c <close> = setmetatable({}, {__close = function() went_on = true end})
        repeat pcall(ask) until false
      end
      for i = 1, 3 do task.spawn(stubborn) end
      coroutine.wrap(stubborn)()`;
    for (const number of [1, 3, 4]) {
      assert.equal(host.start(source), null);
      assert.equal(host.requests.size, 4);
      // Reporting a limit takes a run that asks.
      host.box.ending = true;
      host.box.exports.review_limits();
      assert.equal(host.box.exports.resume(0), WAITS);
      host.box.ending = false;
      const limit = Buffer.concat([bytes.u32(number), bytes.u32(5), Buffer.of(2), bytes.u32(6)]);
      host.box.fill(limit);
      assert.throws(() => host.box.finish(host.box.exports.resume(limit.length)), (e) => e.message.endsWith("interrupted") && e.details.kind === 6);
      assert.equal(host.box.exports.list_requests(), 0);
      host.requests.clear();
      assert.deepEqual(host.start("return went_on, 1"), [null, 1]);
    }
  });
});

describe("answers that make no sense", () => {
  test("are not heard", () => {
    const host = new WaitingHost();
    assert.equal(host.start("return ask()"), null);
    assert.equal(host.resume({ 77: s("no") }), null);
    host.box.fill(Buffer.from([1, 0, 0, 0, 255, 255, 255, 255, 0]));
    assert.equal(host.box.exports.resume(9), WAITS);
    assert.equal(host.box.exports.resume(-1), -1);
    assert.deepEqual(host.resume({ 1: s("a") }), ["a"]);
    assert.equal(host.box.exports.resume(0), -1, "nothing waits");
    assert.equal(host.box.exports.list_requests(), 0);
  });

  test("a memory that is copied goes on elsewhere", () => {
    const host = new WaitingHost();
    assert.equal(host.start("local a = ask('q') return a .. ask('r')"), null);
    const other = new WaitingHost();
    const memory = host.box.memory();
    const pages = (memory.length - other.box.memory().length) / 65536;
    if (pages > 0) other.box.exports.memory.grow(pages);
    other.box.memory().set(memory);
    assert.deepEqual(other.listed(), ["1:ask(q)"]);
    assert.equal(other.resume({ 1: s("1") }), null);
    assert.deepEqual(other.listed(), ["2:ask(r)"]);
    assert.deepEqual(other.resume({ 2: s("2") }), ["12"]);
    assert.equal(host.resume({ 1: s("x") }), null);
    assert.deepEqual(host.resume({ 2: s("y") }), ["xy"]);
  });
});
