// Random operations on stored tables beside the same operations on plain ones: both must look the same at any time,
// over computes, failing computes, collections and new instances. `SEEDS=from-to` runs other seeds.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LuaError, LuaTable, Sandbox, Store, bytes } from "./host.mjs";

// An object is {kind, t, e}: `t` is the plain side, `e` what is stored. Kinds: map (any keys), list (a sequence),
// counter (`e` is a closure, `t.n` what it has counted). In `t` other objects stand as themselves.
const program = String.raw`
local state
function seed(s) state = s end
local function rnd(n) state = (state * 1103515245 + 12345) % 2147483648 return (state >> 8) % n + 1 end

local keys = {'a', 'b', 'name', '', '1', '-1', '007', '\n', '\\', '\\s', '\xff', '\u{feff}', 'ä', '\0', 1, 2, 3, 7, -1, 0, 1 << 40, 0.5, -1e300, 1/0, true, false}
local scalars = {0, 1, -1, 1.5, 1.0, -0.0, math.maxinteger, 'text', '', '\0\xff', true, false, print, ('long'):rep(50)}
local function scalar() return scalars[rnd(#scalars)] end

local function new_counter()
  local n = 0
  return {kind = 'counter', t = {n = 0}, e = function() n = n + 1 return n end}
end
local function new_object()
  local r = rnd(8)
  if r <= 4 then return {kind = 'map', t = {}, e = rnd(3) == 1 and ext.table() or {}} end
  if r <= 7 then return {kind = 'list', t = {}, e = rnd(3) == 1 and ext.table() or {}} end
  return new_counter()
end
local function is_object(v) return type(v) == 'table' end
local function plain(v) if is_object(v) then return v.e end return v end

function start()
  root = {kind = 'map', t = {}, e = {}}
  _home.root = root.e
  objects = {root}
end

-- Objects that can be reached from the root or are held here.
local function pick(kind)
  for _ = 1, 10 do
    local o = objects[rnd(#objects)]
    if not kind or o.kind == kind then return o end
  end
  return root
end
local function value()
  if rnd(3) > 1 then return scalar() end
  if rnd(2) == 1 then
    local o = new_object()
    objects[#objects + 1] = o
    return o
  end
  return pick()
end

local function check(o, k)
  local a, b = plain(o.t[k]), o.e[k]
  if a ~= b and (a == a or b == b) or math.type(a) ~= math.type(b) then error('value of ' .. tostring(k) .. ': ' .. tostring(a) .. ', stored ' .. tostring(b)) end
end

local operations = {
  function() local o, k, v = pick('map'), keys[rnd(#keys)], value() if o.kind == 'map' then o.t[k] = v o.e[k] = plain(v) check(o, k) end end,
  function() local o, k = pick('map'), keys[rnd(#keys)] if o.kind == 'map' then o.t[k] = nil o.e[k] = nil check(o, k) end end,
  function() local o, k, v = pick('map'), keys[rnd(#keys)], value() if o.kind == 'map' then rawset(o.t, k, v) rawset(o.e, k, plain(v)) assert(rawequal(rawget(o.e, k), plain(rawget(o.t, k)))) end end,
  function() local o = pick('map') if o.kind == 'map' then check(o, keys[rnd(#keys)]) end end,
  function()
    local o, v = pick('list'), value()
    if o.kind == 'list' and #o.t < 30 then
      local at = rnd(#o.t + 1)
      table.insert(o.t, at, v) table.insert(o.e, at, plain(v))
    end
  end,
  function()
    local o = pick('list')
    if o.kind == 'list' and #o.t > 0 then
      local at = rnd(#o.t)
      local a, b = table.remove(o.t, at), table.remove(o.e, at)
      assert(plain(a) == b)
    end
  end,
  function()
    local o = pick('list')
    if o.kind == 'list' then
      assert(#o.t == #o.e and rawlen(o.e) == #o.t)
      local a, b = table.pack(table.unpack(o.t)), table.pack(table.unpack(o.e))
      assert(a.n == b.n)
      for i = 1, a.n do assert(plain(a[i]) == b[i]) end
      local n = 0
      for i, v in ipairs(o.e) do assert(plain(o.t[i]) == v) n = i end
      assert(n == #o.t)
    end
  end,
  function()
    local o = pick('list')
    if o.kind == 'list' and #o.t > 1 then
      local a, b, c = rnd(#o.t), rnd(#o.t), rnd(#o.t + 1)
      table.move(o.t, math.min(a, b), math.max(a, b), c) table.move(o.e, math.min(a, b), math.max(a, b), c)
    end
  end,
  function()
    local o = pick('list')
    if o.kind == 'list' then
      for i, v in ipairs(o.t) do if math.type(v) ~= 'integer' then return end end
      table.sort(o.t) table.sort(o.e)
    end
  end,
  function()
    local o, n = pick('map'), 0
    for k, v in next, o.e do n = n + 1 assert(plain(o.t[k]) == v) end
    for k in pairs(o.t) do n = n - 1 end
    if o.kind ~= 'counter' then assert(n == 0, 'next over ' .. o.kind) end
  end,
  function()
    local o = pick('map')
    if o.kind == 'map' then for k, v in pairs(o.e) do if rnd(3) == 1 then o.t[k] = nil o.e[k] = nil end end end
  end,
  function() local o = pick('counter') if o.kind == 'counter' then o.t.n = o.t.n + 1 assert(o.e() == o.t.n, 'counter') end end,
  function() if rnd(4) == 1 then collectgarbage() elseif rnd(2) == 1 then collectgarbage('step') end end,
  function() root.t['r' .. rnd(5)] = objects[#objects] for i = 1, 5 do root.e['r' .. i] = plain(root.t['r' .. i]) end end,
}

-- Compares all that the root reaches; keeps only those objects and a few more.
function verify()
  local seen, list, forward = {[root] = true}, {root}, {[root.e] = root}
  assert(_home.root == root.e, 'root')
  local i = 0
  while i < #list do
    i = i + 1
    local o = list[i]
    if o.kind ~= 'counter' then
      local n = 0
      for k, v in pairs(o.t) do
        check(o, k)
        n = n + 1
        if is_object(v) and not seen[v] then
          assert(forward[v.e] == nil, 'two objects are one')
          forward[v.e], seen[v] = v, true
          list[#list + 1] = v
        end
      end
      for k in pairs(o.e) do n = n - 1 end
      assert(n == 0, 'number of entries of a ' .. o.kind)
    end
  end
  for _, o in ipairs(objects) do
    if not seen[o] and #list < 60 and rnd(2) == 1 then seen[o] = true list[#list + 1] = o end
  end
  objects = list
  return #list
end

function run(n)
  for _ = 1, n do operations[rnd(#operations)]() end
  return verify()
end

-- Operations on the stored side alone, then an error: nothing of it may stay.
function run_and_fail(n)
  local held = {}
  for _, o in ipairs(objects) do if o.kind ~= 'counter' then held[#held + 1] = o end end
  for _ = 1, n do
    local o = held[rnd(#held)]
    local target = rnd(3) == 1 and _home or nil
    local r = rnd(8)
    local other = held[rnd(#held)]
    if target then target['x' .. rnd(3)] = plain(other)
    elseif stored(o) then
      if r <= 3 then o.e[keys[rnd(#keys)]] = scalar()
      elseif r == 4 then o.e[keys[rnd(#keys)]] = nil
      elseif r == 5 then o.e[keys[rnd(#keys)]] = other.e
      elseif r == 6 then o.e[keys[rnd(#keys)]] = {1, {2}, other.e}
      elseif r == 7 then local f = pick('counter') if f.kind == 'counter' and stored_counter(f) then f.e() end
      else for k in pairs(o.e) do o.e[k] = nil end end
    end
  end
  error('wanted', 0)
end

-- Is it reachable from _home? Only then the failing run's changes to it are taken back.
function mark()
  reachable = {}
  local function walk(o)
    if reachable[o] then return end
    reachable[o] = true
    for _, v in pairs(o.t) do if is_object(v) then walk(v) end end
  end
  walk(root)
end
function stored(o) return reachable[o] end
function stored_counter(o) return reachable[o] end

-- The plain side as data, and back in a new instance.
function dump()
  local seen = {}
  local function walk(o)
    if seen[o] then return seen[o] end
    local c = {kind = o.kind, t = {}}
    seen[o] = c
    for k, v in pairs(o.t) do if is_object(v) then c.t[k] = walk(v) elseif v == print then c.t[k] = {kind = 'print'} else c.t[k] = v end end
    return c
  end
  return walk(root)
end
function load_from(copy)
  root, objects = copy, {}
  local function walk(o, e)
    if o.e ~= nil then return assert(o.e == e, 'sharing is lost') end
    assert(type(e) == (o.kind == 'counter' and 'function' or 'table'), 'type after reopen')
    o.e = e
    objects[#objects + 1] = o
    for k, v in pairs(o.t) do
      if is_object(v) and v.kind == 'print' then o.t[k] = print elseif is_object(v) and o.kind ~= 'counter' then walk(v, e[k]) end
    end
  end
  walk(root, _home.root)
end
`;

/** A decoded value, encoded again. */
function encode(value) {
  const numbers = new Map();
  const visit = (v) => {
    if (v === null) return bytes.nil();
    if (typeof v === "boolean") return bytes.boolean(v);
    if (typeof v === "bigint") return bytes.integer(v);
    if (typeof v === "number") return bytes.float(v);
    if (Buffer.isBuffer(v)) return bytes.string(v);
    assert.ok(v instanceof LuaTable);
    if (numbers.has(v)) return bytes.again(numbers.get(v));
    numbers.set(v, numbers.size);
    return bytes.table([], v.pairs.map(([k, x]) => [visit(k), visit(x)]));
  };
  return visit(value);
}

const [from, to] = (process.env.SEEDS ?? "1-25").split("-").map(Number);
for (let seed = from; seed <= (to ?? from); seed++)
  test(`seed ${seed}`, () => {
    const store = new Store();
    let state = seed;
    const random = (n) => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % n;
    const open = () => {
      const box = new Sandbox({ store, revision: 2, transactional: true });
      box.compute(program);
      box.compute(`seed(${random(1000000)})`);
      return box;
    };
    let box = open();
    box.compute("start()");
    let where = "";
    try {
      for (let round = 0; round < 60; round++) {
        const what = random(10);
        where = `round ${round}, ${what}`;
        if (what < 6) box.compute(`return run(${1 + random(60)})`);
        else if (what === 6) box.exports.run_gc();
        else if (what < 9) {
          box.compute("mark()");
          assert.throws(() => box.compute(`run_and_fail(${1 + random(30)})`), /^LuaError: wanted|wanted$/);
          box.compute("return verify()");
        } else {
          const copy = encode(box.compute("return dump()").values[0]);
          const next = box.exports.allocate_table_ids(0);
          box = open();
          box.exports.sync_external_table_counter(next);
          box.exports.attach_memory_table(1);
          box.compute("load_from(...) return verify()", { args: copy });
        }
      }
    } catch (error) {
      error.message = `${where}: ${error.message}${error instanceof LuaError ? `\n${error.details.traceback}` : ""}`;
      throw error;
    }
  });
