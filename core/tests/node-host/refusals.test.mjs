// A runtime that gives no more memory: at every page Lua gets "not enough memory" and goes on.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe as suite, test } from "node:test";

import { LuaError, Sandbox, wasmPath } from "./host.mjs";

const MEMORY_SECTION = 5;
const PAGE = 65536;

function leb(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return [...bytes, value];
}

/** The guest, with a memory that grows to so many pages and no further. */
function guestOf(pages) {
  const wasm = readFileSync(wasmPath);
  const number = (at) => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++];
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return [value, at];
    }
  };
  for (let at = 8; at < wasm.length; ) {
    const [size, start] = number(at + 1);
    if (wasm[at] === MEMORY_SECTION) {
      const [first] = number(start + 2); // behind the number of memories, which is 1, and the flags
      const section = [1, 1, ...leb(first), ...leb(pages)];
      const patched = Buffer.concat([wasm.subarray(0, at), Buffer.from([MEMORY_SECTION, ...leb(section.length), ...section]), wasm.subarray(start + size)]);
      return new WebAssembly.Module(patched);
    }
    at = start + size;
  }
  throw new Error("the guest has no memory");
}

const one = (box, source) => box.compute(source).values[0];

/** Each fills memory in its own way, and holds on to nothing once it failed. */
const scripts = {
  tables: "local t = {} while true do t = {t} end",
  "an array": "local t = {} for i = 1, math.huge do t[i] = i end",
  "a map": "local t = {} for i = 1, math.huge do t['key ' .. i] = i end",
  "a string that doubles": "local s = 'x' while true do s = s .. s end",
  "strings of every size": "local t = {} for i = 1, math.huge do t[i] = ('x'):rep(i) end",
  "small strings": "local t = {} for i = 1, math.huge do t[i] = 'text ' .. i end",
  coroutines: "local t = {} for i = 1, math.huge do t[i] = coroutine.wrap(function() local a, b, c = i, {}, i .. '' coroutine.yield() end) t[i]() end",
  "one deep coroutine": "local function f(n) return n + f(n + 1) end local t = {} for i = 1, 1000 do t[i] = coroutine.create(f) coroutine.resume(t[i], 1) end error('too little')",
  closures: "local t = {} for i = 1, math.huge do t[i] = function() return i end end",
  "a buffer": "local t = {} for i = 1, 200 do t[i] = ('x'):rep(1000) end while true do t[#t + 1] = table.concat(t) end",
  "printed text": "while true do print(('x'):rep(10000)) end",
  sources: "local t = {} for i = 1, math.huge do t[i] = assert(load('local a = ' .. i .. ' return function() return a, {a} end')) end",
  results: "local t = {} for i = 1, 5000 do t[i] = ('x'):rep(1000) .. i end return table.unpack(t), error('too little')",
  "format and gsub": "local s = 'x' while true do s = s:gsub('.', '%0%0'):format() end",
  finalizers: "local t = {} for i = 1, math.huge do t[i] = setmetatable({}, {__gc = function() end}) end",
};

suite("memory that does not grow", () => {
  for (const pages of [32, 33, 35, 40, 47, 64, 127]) {
    test(`beyond ${pages} pages`, () => {
      const module = guestOf(pages);
      for (const [name, source] of Object.entries(scripts)) {
        const box = new Sandbox({ module, revision: 2 });
        box.compute("kept = {1, 2, 3} function sum() local n = 0 for i = 1, #kept do n = n + kept[i] end return n end");
        for (let i = 0; i < 2; i++) {
          assert.throws(() => box.compute(source), (error) => {
            assert.ok(error instanceof LuaError, `${name}: ${error}`);
            assert.match(error.message, /not enough memory|too little/, name);
            return true;
          });
          assert.ok(box.memory().length <= pages * PAGE, name);
          assert.equal(one(box, "return sum()"), 6n, name);
        }
        // What was filled is free again.
        assert.equal(one(box, "collectgarbage() local t = {} for i = 1, 5000 do t[i] = {i} end return #t"), 5000n, name);
      }
    });
  }
});
