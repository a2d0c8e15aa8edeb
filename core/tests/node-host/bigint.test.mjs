// The module bigint beside JavaScript's BigInt, with random numbers. `SEED=n` repeats a run.

import assert from "node:assert/strict";
import { describe as suite, test } from "node:test";

import { LuaError, Sandbox, bytes } from "./host.mjs";

const seed = Number(process.env.SEED ?? 20260307);

/** Random numbers (mulberry32), the same for the same seed. */
function random(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const abs = (n) => (n < 0n ? -n : n);
function gcd(a, b) {
  while (b !== 0n) [a, b] = [b, a % b];
  return abs(a);
}
function powmod(a, e, m) {
  let r = 1n;
  for (let base = a; e > 0n; e >>= 1n, base = (base * base) % m) if (e & 1n) r = (r * base) % m;
  return r % m;
}

/** Numbers whose bits and sizes are likely to hit a border. */
class Numbers {
  constructor(start) {
    this.random = random(start);
  }
  below(n) {
    return Math.floor(this.random() * n);
  }
  digits(count) {
    let s = String(1 + this.below(9));
    while (s.length < count) s += String(this.below(1e9)).padStart(9, "0");
    return BigInt(s.slice(0, count));
  }
  size() {
    return [1, 3, 20, 40, 200, 700, 2000][this.below(7)];
  }
  magnitude(size = this.size()) {
    const count = 1 + this.below(size);
    switch (this.below(8)) {
      case 0: return BigInt(this.below(3));
      case 1: return (1n << BigInt(this.below(Math.ceil(count * 3.3)) + 1)) - BigInt(this.below(2));
      case 2: return ((1n << BigInt(32 * (1 + this.below(Math.ceil(count / 9))))) - 1n) << BigInt(32 * this.below(Math.ceil(count / 9) + 1));
      case 3: return 10n ** BigInt(count) - BigInt(this.below(2));
      default: return this.digits(count);
    }
  }
  number(size) {
    return this.below(2) ? this.magnitude(size) : -this.magnitude(size);
  }
}

const program = String.raw`
local big = require "bigint"
function run(op, a, b, c)
  a, b = big.new(a), b and big.new(b)
  if op == "base" then return big.tostring(a, math.tointeger(c)) end
  if op == "parse" then return tostring(big.new(a:tostring(math.tointeger(c)), math.tointeger(c))) end
  if op == "cmp" then
    local order = big.cmp(a, b)
    assert((a < b) == (order < 0) and (a <= b) == (order <= 0) and (a == b) == (order == 0) and (a > b) == (order > 0))
    return tostring(order)
  end
  if op == "add" then return tostring(a + b) end
  if op == "sub" then return tostring(a - b) end
  if op == "mul" then return tostring(a * b) end
  if op == "div" then assert(a // b == a / b) return tostring(a / b) end
  if op == "mod" then return tostring(a % b) end
  if op == "pow" then return tostring(a ^ b) end
  if op == "store" then _home.x = a return tostring(_home.x) end
  return tostring(big[op](a, b, c and big.new(c)))
end`;

suite(`bigint, seed ${seed}`, () => {
  const box = new Sandbox({ revision: 2 });
  box.compute(program);
  const run = (op, ...args) => {
    const given = args.map((x) => (x === undefined ? bytes.nil() : bytes.string(String(x))));
    return box.call("run", Buffer.concat([bytes.string(op), ...given])).values[0].toString();
  };

  const operations = {
    add: (n) => [[n.number(), n.number()], (a, b) => a + b],
    sub: (n) => [[n.number(), n.number()], (a, b) => a - b],
    mul: (n) => [[n.number(), n.number()], (a, b) => a * b],
    "mul of itself": (n) => [[n.number()], (a) => a * a],
    div: (n) => [[n.number(), n.number() || 7n], (a, b) => a / b],
    mod: (n) => [[n.number(), n.number() || 7n], (a, b) => a % b],
    "mod of a multiple": (n) => {
      const b = n.number() || 7n;
      return [[b * n.number() + BigInt(n.below(3) - 1), b], (x, y) => x % y];
    },
    pow: (n) => [[n.number(60), BigInt(n.below(40))], (a, b) => a ** b],
    powmod: (n) => [[n.number(60), n.magnitude(30), n.number(60) || 5n], (a, b, c) => powmod(a, b, c)],
    neg: (n) => [[n.number()], (a) => -a],
    abs: (n) => [[n.number()], abs],
    gcd: (n) => {
      const common = n.number(40);
      return [[n.number() * common, n.number() * common], gcd];
    },
    sqrt: (n) => [[n.magnitude()], null, (a, r) => r * r <= a && (r + 1n) * (r + 1n) > a],
    "sqrt near a square": (n) => {
      const x = n.magnitude(300);
      return [[abs(x * x + BigInt(n.below(3) - 1))], null, (a, r) => r * r <= a && (r + 1n) * (r + 1n) > a];
    },
    cmp: (n) => {
      const a = n.number();
      const b = n.below(2) ? a + BigInt(n.below(3) - 1) : n.number();
      return [[a, b], (x, y) => (x < y ? -1 : x > y ? 1 : 0)];
    },
    store: (n) => [[n.number()], (a) => a],
  };
  for (const [name, make] of Object.entries(operations))
    test(name, () => {
      const n = new Numbers(seed);
      const op = name.split(" ")[0];
      for (let i = 0; i < 400; i++) {
        const [args, expected, check] = make(n);
        const given = name === "mul of itself" ? [args[0], args[0]] : args;
        const result = run(op, ...given);
        if (check) assert.ok(check(...args, BigInt(result)), `${op}(${args.join(", ")}) = ${result}`);
        else assert.equal(result, String(expected(...args)), `${op}(${args.join(", ")})`);
      }
    });

  for (let base = 2; base <= 36; base++)
    test(`text in base ${base}`, () => {
      const n = new Numbers(seed + base);
      for (let i = 0; i < 40; i++) {
        const a = n.number();
        assert.equal(run("base", a, undefined, base), a.toString(base));
        assert.equal(run("parse", a, undefined, base), String(a));
      }
    });

  test("large numbers", () => {
    const n = new Numbers(seed);
    for (const size of [5000, 20000, 60000]) {
      const [a, b] = [n.digits(size), n.digits(size - n.below(size / 2))];
      assert.equal(run("mul", a, b), String(a * b));
      assert.equal(run("div", a * a, b), String((a * a) / b));
      assert.equal(run("base", a, undefined, 16), a.toString(16));
    }
  });

  test("integers and floats of Lua", () => {
    const n = new Numbers(seed);
    box.compute("local big = require 'bigint' function mixed(a, x) a = big.new(a) return tostring(a + x), tostring(x - a), tostring(a * x), big.cmp(a, x) end");
    for (let i = 0; i < 400; i++) {
      const a = n.number(40);
      const x = BigInt.asIntN(64, n.number(25));
      const f = Number(n.digits(1 + n.below(300))) * (n.below(2) || -1);
      for (const [value, encoded] of [[x, bytes.integer(x)], [BigInt(f), bytes.float(f)]]) {
        const { values } = box.call("mixed", Buffer.concat([bytes.string(String(a)), encoded]));
        const order = a < value ? -1n : a > value ? 1n : 0n;
        assert.deepEqual(values.map((v) => (Buffer.isBuffer(v) ? v.toString() : v)), [a + value, value - a, a * value].map(String).concat([order]));
      }
    }
  });
});

suite("encoded", () => {
  const encoded = (digits) => Buffer.concat([Buffer.of(0x0d), bytes.u32(digits.length), Buffer.from(digits)]);

  test("decimal digits in a store, with hosts of both revisions", () => {
    for (const revision of [1, 2]) {
      const box = new Sandbox({ revision });
      box.compute("local big = require 'bigint' _home.a = big.new(2) ^ 70 _home.b = -(big.new(2) ^ 70) _home.c = big.new(0) _home.t = {big.new(-7)}");
      const table = (id) => box.store.tables.get(id);
      assert.deepEqual(Buffer.from(table(1).get("a")), encoded(String(2n ** 70n)));
      assert.deepEqual(Buffer.from(table(1).get("b")), encoded(String(-(2n ** 70n))));
      assert.deepEqual(Buffer.from(table(1).get("c")), encoded("0"));
      assert.deepEqual(Buffer.from(table(Buffer.from(table(1).get("t")).readUInt32LE(1)).get("1")), encoded("-7"));
    }
  });

  test("what a host wrote, without anybody having required the module", () => {
    const box = new Sandbox({ revision: 2 });
    for (const digits of ["0", "7", "-7", "007", "12345678901234567890", "-0"]) {
      box.store.set(1, "x", encoded(digits));
      assert.equal(box.compute("return tostring(_home.x + 1)").values[0].toString(), String(BigInt(digits) + 1n));
      assert.equal(box.compute("return tostring((...))", { args: encoded(digits) }).values[0].toString(), String(BigInt(digits)));
    }
  });

  test("malformed ones are errors", () => {
    const box = new Sandbox({ revision: 2 });
    for (const value of [encoded(""), encoded("-"), encoded("+1"), encoded(" 1"), encoded("1a"), encoded("--1"), encoded("1").subarray(0, 3), encoded("123456789").subarray(0, 10)]) {
      box.store.set(1, "x", value);
      assert.throws(() => box.compute("return tostring(_home.x)"), (error) => error instanceof LuaError && error.details.kind === 11);
      assert.throws(() => box.compute("return tostring((...))", { args: value }), (error) => error instanceof LuaError && error.details.kind === 11);
    }
    assert.equal(box.compute("return 1").values[0], 1n);
  });

  test("a revision 1 host is told when one is too large for it", () => {
    const box = new Sandbox();
    box.compute("x = require('bigint').new(10) ^ 65530 _home.x = x"); // 65,531 digits and 5 bytes in front of them
    assert.equal(box.compute("return _home.x == x").values[0], true);
    assert.throws(() => box.compute("_home.x = x * 10"), /value of 65537 bytes is too large/);
    assert.equal(box.compute("return _home.x == x").values[0], true);
  });
});

suite("limits", () => {
  const failing = (box, source) => assert.throws(() => box.compute(source), LuaError);

  test("a huge power ends at the instruction limit", () => {
    let asked = 0;
    const box = new Sandbox({
      revision: 2,
      imports: {
        js_ext_table_get: (id, kp, kl, vp, max) => {
          if (id !== 0 || box.memory()[kp] !== 6) return -1;
          asked++;
          new DataView(box.exports.memory.buffer).setUint32(vp, 4, true);
          return 8;
        },
      },
    });
    box.compute("big = require 'bigint' seven = big.new(7) long = seven ^ 20000");
    box.exports.set_instruction_grant(1000000);
    for (const source of ["return big.cmp(seven ^ 30000000, 0)", "local x = long while true do x = x * x end", "return #tostring(long ^ 100)",
      "return big.powmod(long, long, long + 1)", "pcall(big.pow, 7, 30000000)", "return big.new(('7'):rep(3000000))", "for i = 1, 1e9 do x = long + i end",
      "for i = 1, 1e9 do x = long < long + 1 end", "return big.gcd(long ^ 10, long ^ 10 + 1)", "return big.sqrt(long ^ 20)"]) {
      const before = asked;
      const start = performance.now();
      failing(box, source);
      assert.equal(asked, before + 1, source);
      if (process.env.TIMES) console.log(source, (performance.now() - start).toFixed(1), "ms");
    }
    box.exports.set_instruction_grant(0);
    assert.equal(box.compute("return tostring(seven ^ 3)").values[0].toString(), "343");
  });

  test("memory: an ordinary error, and nothing is lost", () => {
    const box = new Sandbox({ revision: 2 });
    box.compute("big = require 'bigint' x = big.new(7) ^ 1000");
    box.exports.set_memory_limit(2 << 20);
    for (const source of ["return big.new(7) ^ 100000000", "local x = x while true do x = x * x end", "return big.new(('7'):rep(900000))", "return big.new(2) ^ (big.new(2) ^ 100)"]) {
      const [ok, message] = box.compute(`return pcall(load[==[${source}]==])`).values;
      assert.equal(ok, false);
      assert.equal(message.toString(), "not enough memory");
    }
    for (let i = 0; i < 2000; i++) box.compute("y = x * x / x");
    assert.equal(box.compute("return y == x").values[0], true);
  });
});
