// `require` as a host sees it: operation 0x05 of the channel.

import assert from "node:assert/strict";
import { describe as suite, test } from "node:test";

import { LuaError, Sandbox, bytes } from "./host.mjs";

const all = (...parts) => Buffer.concat(parts.map((p) => (typeof p === "string" ? Buffer.from(p) : p)));
const found = (chunk, source) => all(bytes.u32(0), bytes.u32(Buffer.byteLength(chunk)), chunk, source);
const missing = (text) => all(bytes.u32(1), text);
const failed = (text) => all(bytes.u32(2), text);

/** A sandbox whose host answers operation 0x05 with `answer(name)`: bytes, or null for -1. */
function make(answer, { revision = 2, other } = {}) {
  const asked = [];
  let kept = null;
  const box = new Sandbox({
    revision,
    imports: {
      js_ext_table_get: (id, kp, kl, vp, max) => {
        const request = Buffer.from(box.memory().slice(kp >>> 0, (kp >>> 0) + (kl >>> 0)));
        if (id !== 0) return -1;
        let reply = null;
        if (request[0] === 0) reply = kept;
        else if (request[0] === 5) {
          asked.push(request.subarray(1).toString());
          reply = answer(asked.at(-1));
        } else reply = other?.(request) ?? null;
        if (!reply) return -1;
        kept = reply;
        if (reply.length > max >>> 0) return -(reply.length + 1);
        box.memory().set(reply, vp >>> 0);
        return reply.length;
      },
    },
  });
  return { box, asked };
}
const values = (box, source) => box.compute(source).values.map((v) => (Buffer.isBuffer(v) ? v.toString() : v));
function failure(box, source) {
  try {
    box.compute(source);
  } catch (error) {
    if (error instanceof LuaError) return error;
    throw error;
  }
  assert.fail("no error");
}
const works = (box) => assert.deepEqual(values(box, "return 1 + 1"), [2n]);

suite("modules from the host", () => {
  test("name, chunk name and source", () => {
    const { box, asked } = make((name) => (name === "lib.util" ? found("@lib/util.lua", "local name, data = ... return {name, data, debug.getinfo(1, 'S').source}") : null));
    assert.deepEqual(values(box, "local m, data = require 'lib.util' return m[1], m[2], m[3], data"), ["lib.util", "lib/util.lua", "@lib/util.lua", "lib/util.lua"]);
    assert.deepEqual(values(box, "return select('#', require 'lib.util')"), [1n]);
    assert.deepEqual(asked, ["lib.util"]);
  });

  test("chunk names without a mark, and none", () => {
    const { box } = make((name) => found({ a: "=a name", b: "text", c: "" }[name], "return (debug.getinfo(1, 'S').short_src)"));
    assert.deepEqual(values(box, "local r = {} for n in ('abc'):gmatch('.') do local v, d = require(n) r[#r + 1] = v r[#r + 1] = d end return table.unpack(r)"),
      ["a name", "a name", "[string \"text\"]", "text", "c", "c"]);
  });

  test("the host is asked after package.loaded, package.preload and bigint", () => {
    const { box, asked } = make(() => found("=x", "return 'host'"));
    assert.deepEqual(values(box, "package.loaded.a = 1 package.preload.b = function() return 2 end return (require 'a'), (require 'b'), type(require 'bigint'), (require 'c')"), [1n, 2n, "table", "host"]);
    assert.deepEqual(asked, ["c"]);
  });

  test("any bytes as name", () => {
    const { box, asked } = make((name) => found("=x", "return ..."));
    assert.deepEqual(values(box, "return #require 'a\\0b', #require '', #require(('n'):rep(100000))"), [3n, 0n, 100000n]);
    assert.deepEqual(asked.map((n) => n.length), [3, 0, 100000]);
  });

  test("text for a missing one becomes part of the message", () => {
    const lines = "\n\tno file 'x.lua'\n\tno file 'lib/x.lua'";
    for (const text of [lines, lines.slice(2)]) {
      const { box } = make(() => missing(text));
      assert.equal(failure(box, "require 'x'").message, `[string "require 'x'"]:1: module 'x' not found:\n\tno field package.preload['x']${lines}`);
    }
    const { box } = make(() => missing(""));
    assert.equal(failure(box, "require 'x'").message, "[string \"require 'x'\"]:1: module 'x' not found:\n\tno field package.preload['x']");
  });

  test("a host that offers none, and one of revision 1", () => {
    for (const revision of [1, 2]) {
      const { box, asked } = make(() => null, { revision });
      assert.match(failure(box, "require 'x'").message, /module 'x' not found:\n\tno field package.preload\['x'\]\n\tthe host offers no modules$/);
      assert.deepEqual(asked, revision === 1 ? [] : ["x"]);
      assert.deepEqual(values(box, "return tostring(require('bigint').new(2) ^ 100)"), [String(2n ** 100n)]);
    }
  });

  test("a resolver that failed", () => {
    let answer = failed("no connection to größe");
    const { box, asked } = make(() => answer);
    const error = failure(box, "require 'x'");
    assert.equal(error.message, "error loading module 'x':\n\tno connection to größe");
    assert.equal(error.details.kind, 10);
    assert.deepEqual(values(box, "return pcall(require, 'x')"), [false, "error loading module 'x':\n\tno connection to größe"]);
    answer = found("=x", "return 'now'");
    assert.deepEqual(values(box, "return (require 'x')"), ["now"]);
    assert.equal(asked.length, 3);
  });

  test("a syntax error names the file", () => {
    const { box } = make((name) => found(`@lib/${name}.lua`, "x = 1\nreturn }"));
    assert.equal(failure(box, "require 'bad'").message, "error loading module 'bad' from file 'lib/bad.lua':\n\tlib/bad.lua:2: unexpected symbol near '}'");
  });

  test("a module larger than the guest's buffer comes whole, and the host looks for it once", () => {
    for (const size of [65000, 65536, 1000000]) {
      const { box, asked } = make(() => found("=big", `return #'${"x".repeat(size)}'`));
      assert.deepEqual(values(box, "return (require 'big')"), [BigInt(size)]);
      assert.equal(asked.length, 1);
    }
  });

  test("malformed answers are errors", () => {
    for (const answer of [Buffer.alloc(0), Buffer.alloc(3), bytes.u32(3), bytes.u32(0xffffffff), bytes.u32(0), all(bytes.u32(0), "abc"), all(bytes.u32(0), bytes.u32(4), "abc"), all(bytes.u32(0), bytes.u32(0xffffffff), "abc")]) {
      const { box } = make(() => answer);
      const error = failure(box, "require 'x'");
      assert.equal(error.details.kind, 18);
      assert.match(error.message, /malformed answer for module 'x'/);
      works(box);
    }
  });

  test("a finalizer that asks the host does not disturb the source", () => {
    const { box } = make((name) => found(`=chunk of ${name}`, `return '${name}${"x".repeat(3000)}'`));
    assert.deepEqual(values(box, `local disturb = {__gc = function() pcall(require, 'other') end}
      collectgarbage('setpause', 0) collectgarbage('setstepmul', 1000)
      for i = 1, 500 do
        for j = 1, 20 do setmetatable({}, disturb) end
        local value, chunk = require('m' .. i)
        assert(value == 'm' .. i .. ('x'):rep(3000) and chunk == 'chunk of m' .. i, chunk)
        package.loaded.other = nil
      end
      return true`), [true]);
  });

  test("a limit inside a module can't be caught, and the module can be loaded later", () => {
    let limit = true;
    const { box } = make(() => found("=m", "for i = 1, loops do end return 'done'"), {
      other: (request) => (request[0] === 6 ? all(bytes.u32(limit ? 4 : 0), bytes.u32(1000000)) : null),
    });
    box.exports.set_instruction_grant(10000);
    box.compute("loops = 1000000");
    assert.equal(failure(box, "pcall(require, 'm') pcall(pcall, require, 'm') return 'caught'").details.kind, 4);
    assert.equal(failure(box, "coroutine.wrap(function() pcall(require, 'm') end)() return 'caught'").details.kind, 4);
    limit = false;
    assert.deepEqual(values(box, "return (require 'm')"), ["done"]);
  });

  test("a limit while a module is compiled", () => {
    const { box } = make(() => found("=m", "x = 1 ".repeat(100000)), { other: (request) => (request[0] === 6 ? all(bytes.u32(4), bytes.u32(0)) : null) });
    box.exports.set_instruction_grant(10000);
    const error = failure(box, "pcall(require, 'm') return 'caught'");
    assert.equal(error.details.kind, 4);
    assert.match(error.message, /instruction limit reached$/);
    box.exports.set_instruction_grant(0);
    assert.deepEqual(values(box, "return (require 'm'), x"), [true, 1n]);
  });

  test("a module that can't be read for lack of memory", () => {
    const { box } = make((name) => found("=m", name === "small" ? "return 1" : `return '${"x".repeat(3000000)}'`));
    box.exports.set_memory_limit(2 << 20);
    assert.deepEqual(values(box, "return pcall(require, 'large')"), [false, "not enough memory"]);
    assert.deepEqual(values(box, "return (require 'small')"), [1n]);
  });

  test("modules that load each other deeply", () => {
    const { box } = make((name) => found("=m", name === "0" ? "return 0" : `return 1 + require '${Number(name) - 1}'`));
    assert.deepEqual(values(box, "return (require '150')"), [150n]);
    assert.match(failure(box, "return (require '100000')").message, /stack overflow/);
    works(box);
  });
});
