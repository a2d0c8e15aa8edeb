// Runs the conformance corpus on a bare host, of revision 2 (with nothing but modules on the host channel) or of
// revision 1.

import { readFileSync, readdirSync } from "node:fs";

import { External, LuaError, LuaFunction, LuaTable, Sandbox, Store, bytes, decode, guestModule, keyFromText, keyToText } from "./host.mjs";

const casesPath = new URL("../cases/", import.meta.url);

/** What this host can do beyond five functions and `compute`, by revision. */
export const offered = {
  1: new Set(["input", "reopen"]),
  2: new Set(["args", "call", "input", "large", "limits", "modules", "reopen", "table_keys", "transactions"]),
};
offered[3] = new Set([...offered[2], "waiting"]);
const offeredLimits = new Set(["memory_limit"]);

// Numbers of the error kinds that this host can meet, as docs/API_REFERENCE.md gives them. That a host function lies
// behind an error is known to the host alone.
const kinds = new Map([["Syntax", 1], ["Runtime", 2], ["Memory", 3], ["HostFunction", 2], ["Conversion", 11]]);

/** All cases, as `{file, case}`. */
export function* loadCases() {
  for (const file of readdirSync(casesPath).filter((name) => name.endsWith(".json")).sort())
    for (const test of JSON.parse(readFileSync(new URL(file, casesPath), "utf8"))) yield { file, test };
}

/** Why this host can't run the case; null when it can. */
export function skipReason(test, revision = 2) {
  const missing = (test.needs ?? []).filter((need) => !offered[revision].has(need));
  missing.push(...Object.keys(test.limits ?? {}).filter((name) => !offeredLimits.has(name)));
  return missing.length ? `needs ${missing.join(", ")}` : null;
}

// ---- values of the corpus -------------------------------------------------------------------------------------------

const isText = (v) => typeof v === "string" || v?.hex !== undefined || v?.repeat !== undefined;

function textBytes(v) {
  if (typeof v === "string") return Buffer.from(v);
  if (v.hex !== undefined) return Buffer.from(v.hex, "hex");
  return Buffer.from(v.repeat[0].repeat(v.repeat[1]));
}

const floats = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const floatOf = (text) => floats[text] ?? Number(text);
const entriesOf = (v) => v.table ?? v.array.map((x, i) => [{ int: String(i + 1) }, x]);

/** Corpus values -> encoded values. */
function encodeAll(values) {
  const ids = new Map();
  let count = 0;
  const encode = (v) => {
    if (v === null) return bytes.nil();
    if (typeof v === "boolean") return bytes.boolean(v);
    if (isText(v)) return bytes.string(textBytes(v));
    if (v.int !== undefined) return bytes.integer(v.int);
    if (v.float !== undefined) return bytes.float(floatOf(v.float));
    if (v.ref !== undefined) return bytes.again(ids.get(v.ref));
    if (v.deep !== undefined) {
      count += v.deep;
      const level = Buffer.concat([Buffer.of(8), bytes.u32(1), bytes.u32(0)]);
      return Buffer.concat([Buffer.alloc(level.length * (v.deep - 1), level), bytes.table([])]);
    }
    if (v.id !== undefined) ids.set(v.id, count);
    count++;
    if (v.array) return bytes.table(v.array.map(encode));
    return bytes.table([], v.table.map(([k, x]) => [encode(k), encode(x)]));
  };
  return Buffer.concat(values.map(encode));
}

/** Writes a corpus value into the store as the guest would: tables become stored tables. Returns the bytes for its place. */
function storeValue(box, value) {
  const message = decode(encodeAll([value]))[0];
  const tables = new Map(); // LuaTable -> id
  const queue = [];
  const reference = (v) => {
    if (v === null) return bytes.nil();
    if (typeof v === "boolean") return bytes.boolean(v);
    if (typeof v === "bigint") return bytes.integer(v);
    if (typeof v === "number") return bytes.float(v);
    if (Buffer.isBuffer(v)) return bytes.string(v);
    if (!tables.has(v)) {
      tables.set(v, box.exports.allocate_table_ids(1) >>> 0);
      queue.push(v);
    }
    return bytes.external(tables.get(v));
  };
  const result = reference(message);
  while (queue.length) {
    const table = queue.pop();
    for (const [k, v] of table.pairs) box.store.set(tables.get(table), keyToText(k), reference(v));
  }
  return result;
}

/** Compares what came with what a case expects. */
class Comparison {
  #ids = new Map();
  #read = new Map(); // id of a stored table -> its content as a LuaTable
  #through;
  /** `through`: whether external tables may stand where plain ones are expected, as a version 1 host gets them. */
  constructor(store, through) {
    this.store = store;
    this.#through = through;
  }

  #content(external) {
    let table = this.#read.get(external.id);
    if (!table) {
      this.#read.set(external.id, (table = new LuaTable()));
      for (const [k, v] of this.store.tables.get(external.id) ?? []) table.pairs.push([keyFromText(k), decode(Buffer.from(v))[0]]);
    }
    return table;
  }

  same(want, got, stored = this.#through) {
    if (want === null || typeof want === "boolean") return got === want;
    if (isText(want)) return Buffer.isBuffer(got) && textBytes(want).equals(got);
    if (want.any) return true;
    if (want.int !== undefined) return typeof got === "bigint" && got === BigInt(want.int);
    if (want.float !== undefined) return typeof got === "number" && Object.is(floatOf(want.float), got);
    if (want.function) return got instanceof LuaFunction;
    if (want.stored !== undefined) return got instanceof External && this.same(want.stored, got, true);
    if (stored && got instanceof External) got = this.#content(got);
    if (!(got instanceof LuaTable)) return false;
    if (want.ref !== undefined) return this.#ids.get(want.ref) === got;
    if (want.id !== undefined) this.#ids.set(want.id, got);
    if (want.deep !== undefined) {
      for (let level = 1; level < want.deep; level++) {
        if (got.pairs.length !== 1 || got.pairs[0][0] !== 1n) return false;
        got = got.pairs[0][1];
        if (stored && got instanceof External) got = this.#content(got);
        if (!(got instanceof LuaTable)) return false;
      }
      return got.pairs.length === 0;
    }
    const entries = entriesOf(want);
    if (entries.length !== got.pairs.length) return false;
    const left = [...got.pairs];
    return entries.every(([k, v]) => {
      const i = left.findIndex(([key]) => this.same(k, key, stored));
      return i >= 0 && this.same(v, left.splice(i, 1)[0][1], stored);
    });
  }
}

/** A value for a message. */
export function show(v, depth = 0) {
  if (v === null || typeof v === "boolean") return String(v);
  if (typeof v === "bigint") return String(v);
  if (typeof v === "number") return Object.is(v, -0) ? "-0.0" : Number.isInteger(v) ? v.toFixed(1) : String(v);
  if (Buffer.isBuffer(v)) return JSON.stringify(v.length > 200 ? `${v.subarray(0, 200).toString("latin1")}... (${v.length} bytes)` : v.toString("latin1"));
  if (v instanceof External) return `stored table ${v.id}`;
  if (v instanceof LuaFunction) return `function (tag ${v.tag})`;
  if (depth > 4) return "{...}";
  return `{${v.pairs.slice(0, 20).map(([k, x]) => `[${show(k, depth + 1)}] = ${show(x, depth + 1)}`).join(", ")}${v.pairs.length > 20 ? ", ..." : ""}}`;
}

// ---- running --------------------------------------------------------------------------------------------------------

class Mismatch extends Error {}

function sourceOf(step) {
  if (step.source !== undefined) return Buffer.from(step.source);
  if (step.source_hex !== undefined) return Buffer.from(step.source_hex, "hex");
  return Buffer.concat(step.source_parts.map(textBytes));
}

function open(test, store, { revision, asks }) {
  const modules = test.modules && new Map(Object.entries(test.modules).map(([name, source]) => [name, textBytes(source)]));
  const box = new Sandbox({ store, revision, transactional: revision > 1, modules, asks, declare: test.declare, module: guestModule() });
  if (test.limits?.memory_limit) box.exports.set_memory_limit(test.limits.memory_limit);
  return box;
}

function checkError(step, error) {
  const want = step.error;
  const { details } = error;
  const kind = kinds.get(want.kind);
  if (kind === undefined) throw new Mismatch(`this host can't meet ${want.kind}`);
  if (details.kind !== kind) throw new Mismatch(`kind ${details.kind} (${show(error.bytes)})`);
  if (want.message !== undefined && !textBytes(want.message).equals(error.bytes)) throw new Mismatch(`message ${show(error.bytes)}`);
  if (want.message_contains !== undefined && !error.bytes.includes(want.message_contains)) throw new Mismatch(`message ${show(error.bytes)}`);
  if (want.line !== undefined && details.line !== want.line) throw new Mismatch(`line ${details.line} of ${show(error.bytes)}`);
  if (want.chunk !== undefined && details.chunk?.toString() !== want.chunk) throw new Mismatch(`chunk ${details.chunk}`);
  if (want.traceback_contains !== undefined && !details.traceback?.includes(want.traceback_contains))
    throw new Mismatch(`traceback ${details.traceback}`);
  if (step.output !== undefined && !textBytes(step.output).equals(details.output)) throw new Mismatch(`output ${show(details.output)}`);
}

function checkResult(step, result, store, revision) {
  if (step.error) throw new Mismatch(`no error, but ${result.values.map((v) => show(v)).join(", ")}`);
  if (step.output !== undefined && !textBytes(step.output).equals(result.output)) throw new Mismatch(`output ${show(result.output)}`);
  if (step.values === undefined) return;
  const comparison = new Comparison(store, revision < 2);
  if (step.values.length !== result.values.length || !step.values.every((want, i) => comparison.same(want, result.values[i])))
    throw new Mismatch(`values ${result.values.slice(0, 30).map((v) => show(v)).join(", ")}`);
}

/** Answers what a run waits for, each time that it waits; what it gives, or `null` when it is cancelled. */
function drive(box, waits, first, store) {
  let result = first;
  waits.forEach(({ requests, answers }, index) => {
    const open = [...box.requests];
    const same = requests.every(({ id, name, args }, i) => {
      const comparison = new Comparison(store, false);
      const matches = (found) => args.length === found.length && args.every((want, k) => comparison.same(want, found[k]));
      return open[i]?.[0] === id && open[i][1].name === name && (!args || matches(open[i][1].args));
    });
    if (result || !same || open.length !== requests.length) throw new Mismatch(`wait ${index + 1}: ${show(result)}, ${show(open)}`);
    if (answers) result = box.resume(answers.map(({ id, values, error }) => [id, error === undefined ? encodeAll(values) : new Error(error)]));
    else box.cancel();
  });
  if (result === null && waits.at(-1)?.answers) throw new Mismatch(`it waits once more, for ${show([...box.requests])}`);
  return result;
}

/** Runs one case on such a host; throws where it does not match. */
export function runCase(test, host = { revision: 2 }) {
  const store = new Store();
  let box = open(test, store, host);
  test.steps.forEach((step, index) => {
    const args = step.args && encodeAll(step.args);
    const source = step.call === undefined && !step.reopen && !step.gc && step.set_input === undefined ? sourceOf(step) : null;
    for (let round = 0; round < (step.times ?? 1); round++) {
      try {
        if (step.reopen) {
          const next = box.exports.allocate_table_ids(0);
          box = open(test, store, host);
          box.exports.sync_external_table_counter(next);
          box.exports.attach_memory_table(1);
        } else if (step.gc) box.exports.run_gc();
        else if (step.set_input !== undefined) {
          const io = box.exports.get_io_table_id();
          if (step.set_input === null) store.delete(io, "input");
          else store.set(io, "input", storeValue(box, step.set_input));
        } else {
          let result;
          try {
            const run = () => (source === null ? box.call(step.call, args) : box.compute(source, { args, chunk: step.chunk }));
            result = step.waits ? drive(box, step.waits, box.start(run), store) : run();
            if (result === null) continue;
          } catch (error) {
            if (!(error instanceof LuaError)) throw error;
            if (!step.error) throw new Mismatch(`error of kind ${error.details.kind}: ${show(error.bytes)}`);
            checkError(step, error);
            continue;
          }
          checkResult(step, result, store, host.revision);
        }
      } catch (error) {
        error.message = `step ${index + 1}${step.times ? `, round ${round + 1}` : ""}: ${error.message}`;
        throw error;
      }
    }
  });
}
