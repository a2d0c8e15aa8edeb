// The conformance corpus (core/tests/cases, its README says what stands in it), with a host of the first revision and one
// of the last.
// CASES=part,part runs only cases whose name or file contains one of the parts.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { Tables } from "../src/tables.js";
import { ExternalTable, LuaFunction, LuaTable, decode, decodeKey, show } from "../src/values.js";
import { LuaError, LuaVm } from "../src/vm.js";

const folder = new URL("../../../core/tests/cases/", import.meta.url);
const lua = new WebAssembly.Module(readFileSync(process.env.LUA_WASM || new URL("../../../core/guest/lua.wasm", import.meta.url)));

/** What a host of that revision offers beyond five functions and `compute`. */
const offered = { 1: ["reopen"], 3: ["args", "call", "input", "large", "reopen", "table_keys", "waiting"] };

for (const revision of [1, 3]) {
  test(`corpus, revision ${revision}`, async (t) => {
    const only = process.env.CASES?.split(",") ?? [""];
    let ran = 0;
    let unoffered = 0;
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".json"))) {
      for (const one of JSON.parse(readFileSync(new URL(file, folder), "utf8"))) {
        if (!only.some((part) => one.name.includes(part) || file.includes(part))) continue;
        if (!(one.needs ?? []).every((need) => offered[revision].includes(need))) {
          unoffered += 1;
          continue;
        }
        ran += 1;
        await t.test(`${file}: ${one.name}`, () => runCase(one, revision));
      }
    }
    t.diagnostic(`corpus: ${ran} cases with revision ${revision}, ${unoffered} need what a bare host has not`);
    assert.ok(ran > 0, "no case ran");
  });
}

function runCase(one, revision) {
  const tables = new Tables();
  const open = (nextTableId) => {
    const vm = new LuaVm(lua, { tables, revision, nextTableId });
    for (const name of one.declare ?? []) vm.declare(name);
    return vm;
  };
  let vm = open();
  for (const [number, step] of one.steps.entries()) {
    for (let round = 0; round < (step.times ?? 1); round++) {
      const where = `step ${number + 1}, round ${round + 1}`;
      if (step.reopen) {
        vm = open(vm.nextTableId());
      } else if (step.gc) {
        vm.collectGarbage();
      } else if (step.set_input !== undefined) {
        vm.computeNamed("", "_io.input = ...", values([step.set_input]));
      } else {
        runSource(vm, step, revision, where);
      }
    }
  }
}

function runSource(vm, step, revision, where) {
  let result;
  try {
    result = step.waits ? startAndAnswer(vm, step, where) : run(vm, step);
    if (result === null) return; // cancelled
  } catch (error) {
    if (!(error instanceof LuaError)) throw error;
    assert.ok(step.error, `${where}: ${error.message}`);
    const { message, message_contains: part } = step.error;
    if (message !== undefined) assert.deepEqual(error.bytes, text(message), where);
    if (part !== undefined) assert.ok(error.bytes.includes(part), `${where}: ${error.message}`);
    return;
  }
  assert.ok(!step.error, `${where}: no error`);
  if (step.output !== undefined) assert.deepEqual(result.output, text(step.output), where);
  if (step.values === undefined) return;
  compare(vm, step.values, result.values, revision, where);
}

function compare(vm, want, got, revision, where) {
  const comparison = new Comparison(vm.tables, revision === 1);
  const same = want.length === got.length && want.every((value, i) => comparison.same(value, got[i]));
  assert.ok(same, `${where}: ${got.slice(0, 30).map((value) => show(value)).join(", ")}`);
}

function run(vm, step) {
  const args = values(step.args ?? []);
  if (step.call !== undefined) return vm.call(step.call, args);
  if (step.args === undefined && step.chunk === undefined) return vm.compute(sourceOf(step));
  return vm.computeNamed(step.chunk ?? "", sourceOf(step), args);
}

/** Starts the run and answers what it waits for; its result, or null when the case has it cancelled. */
function startAndAnswer(vm, step, where) {
  const args = values(step.args ?? []);
  let result = step.call !== undefined ? vm.startCall(step.call, args) : vm.start(sourceOf(step), args);
  for (const { requests, answers } of step.waits) {
    assert.equal(result, null, `${where}: it does not wait`);
    assert.deepEqual(vm.requests.map(({ id, name }) => [id, name]), requests.map(({ id, name }) => [id, name]), where);
    for (const [i, { args }] of requests.entries()) if (args) compare(vm, args, vm.requests[i].args, 3, where);
    if (!answers) vm.cancel();
    else {
      for (const { id, values: list, error } of answers) {
        if (error === undefined) vm.answer(id, values(list));
        else vm.fail(id, error);
      }
      result = vm.resume();
    }
  }
  assert.ok(!vm.waiting, `${where}: it waits once more`);
  return result;
}

const sourceOf = (step) => (step.source_parts ? Buffer.concat(step.source_parts.map(text)) : text(step.source ?? { hex: step.source_hex }));

// ---- the corpus' way to write values

const isText = (v) => typeof v === "string" || v.hex !== undefined || v.repeat !== undefined;

function text(v) {
  if (typeof v === "string") return Buffer.from(v);
  return v.repeat ? Buffer.from(v.repeat[0].repeat(v.repeat[1])) : Buffer.from(v.hex, "hex");
}

const number = (name) => Number(name.replace("inf", "Infinity")); // "nan" becomes NaN by itself
const entriesOf = (v) => v.table ?? v.array.map((item, i) => [{ int: String(i + 1) }, item]);

/** Values to send. */
function values(list) {
  const known = new Map();
  const value = (v) => {
    if (v === null || typeof v === "boolean") return v;
    if (isText(v)) return text(v);
    if (v.int !== undefined) return BigInt(v.int);
    if (v.float !== undefined) return number(v.float);
    if (v.ref !== undefined) return known.get(v.ref);
    const table = new LuaTable();
    if (v.id !== undefined) known.set(v.id, table);
    if (v.deep !== undefined) {
      let inner = table;
      for (let level = 1; level < v.deep; level++) {
        const next = new LuaTable();
        inner.entries.push([1n, next]);
        inner = next;
      }
    } else {
      table.entries = entriesOf(v).map(([key, item]) => [value(key), value(item)]);
    }
    return table;
  };
  return list.map(value);
}

/** Compares values that came with expected ones. `through`: stored tables may stand where plain ones are expected. */
class Comparison {
  #tables;
  #through;
  #known = new Map(); // id of the corpus -> what stood there
  #stored = new Map(); // id of an external table -> its content

  constructor(tables, through) {
    this.#tables = tables;
    this.#through = through;
  }

  same(want, got, through = this.#through) {
    if (want === null || typeof want === "boolean") return got === want;
    if (isText(want)) return Buffer.isBuffer(got) && got.equals(text(want));
    if (want.any) return true;
    if (want.int !== undefined) return got === BigInt(want.int);
    if (want.float !== undefined) return Object.is(got, number(want.float));
    if (want.function) return got instanceof LuaFunction;
    if (want.stored !== undefined) return got instanceof ExternalTable && this.same(want.stored, got, true);

    let table = this.#table(got, through);
    if (!table) return false;
    if (want.ref !== undefined) return this.#known.get(want.ref) === table;
    if (want.id !== undefined) this.#known.set(want.id, table);
    if (want.deep !== undefined) {
      for (let level = 1; level < want.deep; level++) {
        if (table.entries.length !== 1 || table.entries[0][0] !== 1n) return false;
        table = this.#table(table.entries[0][1], through);
        if (!table) return false;
      }
      return table.entries.length === 0;
    }
    const left = [...table.entries];
    const expected = entriesOf(want);
    return expected.length === left.length && expected.every(([key, value]) => {
      const at = left.findIndex(([k]) => this.same(key, k, through));
      return at >= 0 && this.same(value, left.splice(at, 1)[0][1], through);
    });
  }

  /** The table itself, or the content of a stored one; undefined when it is none. */
  #table(got, through) {
    if (got instanceof LuaTable) return got;
    if (!through || !(got instanceof ExternalTable)) return undefined;
    if (!this.#stored.has(got.id)) {
      const keys = this.#tables.keys(got.id) ?? [];
      const entries = keys.map((key) => [decodeKey(key), decode(this.#tables.get(got.id, key))[0]]);
      this.#stored.set(got.id, new LuaTable(entries));
    }
    return this.#stored.get(got.id);
  }
}
