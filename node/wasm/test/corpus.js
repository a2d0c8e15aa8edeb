// The conformance corpus through the public interface. Runs in Node.js and in browsers: it imports nothing.

const encoder = new TextEncoder();
const sameBytes = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
const isText = (v) => typeof v === "string" || v?.hex !== undefined || v?.repeat !== undefined;
const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (two) => Number.parseInt(two, 16));

function textBytes(v) {
  if (typeof v === "string") return encoder.encode(v);
  if (v.hex !== undefined) return fromHex(v.hex);
  return encoder.encode(v.repeat[0].repeat(v.repeat[1]));
}
const bytesOf = (value) => (typeof value === "string" ? encoder.encode(value) : value);
const textOf = (v) => new TextDecoder().decode(textBytes(v));

const floats = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const floatOf = (text) => floats[text] ?? Number(text);

class Mismatch extends Error {}

/** Corpus values -> JavaScript values, of a sandbox with exact numbers. */
function build(values) {
  const ids = new Map();
  const one = (v) => {
    if (v === null || typeof v === "boolean") return v;
    if (typeof v === "string") return v;
    if (isText(v)) return v.hex === undefined ? textOf(v) : textBytes(v);
    if (v.int !== undefined) return BigInt(v.int);
    if (v.float !== undefined) return floatOf(v.float);
    if (v.ref !== undefined) return ids.get(v.ref);
    if (v.deep !== undefined) {
      let table = [];
      for (let level = 1; level < v.deep; level++) table = [table];
      return table;
    }
    const table = v.array ? [] : new Map();
    if (v.id !== undefined) ids.set(v.id, table);
    if (v.array) v.array.forEach((item) => table.push(one(item)));
    else v.table.forEach(([key, item]) => table.set(one(key), one(item)));
    return table;
  };
  return values.map(one);
}

/** Compares what came with what a case expects. */
class Comparison {
  #ids = new Map();

  constructor({ StoredTable }, exact) {
    this.StoredTable = StoredTable;
    this.exact = exact;
  }

  /** The entries of a table, with keys as Lua has them; null for anything else. */
  #entries(got) {
    const index = (i) => (this.exact ? BigInt(i) : i);
    if (Array.isArray(got)) return got.map((value, i) => [index(i + 1), value]);
    if (got instanceof Map || got instanceof this.StoredTable) return [...got];
    if (typeof got !== "object" || got === null || got instanceof Uint8Array) return null;
    return Object.entries(got);
  }

  #number(want, got) {
    if (want.float !== undefined) {
      const float = floatOf(want.float);
      if (this.exact) return typeof got === "number" && Object.is(float, got);
      return Object.is(float, typeof got === "bigint" ? Number(got) : got) || (float === 0 && got === 0);
    }
    if (this.exact) return typeof got === "bigint" && got === BigInt(want.int);
    const whole = BigInt(want.int);
    const isSafe = Number.isSafeInteger(Number(whole));
    return isSafe ? got === Number(whole) : got === whole;
  }

  same(want, got, stored = false) {
    if (want === null || typeof want === "boolean") return got === want;
    if (isText(want)) {
      if (typeof want === "string" && typeof got === "string") return want === got;
      if (typeof got !== "string" && !(got instanceof Uint8Array)) return false;
      return sameBytes(textBytes(want), bytesOf(got));
    }
    if (want.any) return true;
    if (want.int !== undefined || want.float !== undefined) return this.#number(want, got);
    if (want.function) return typeof got === "function";
    if (want.stored !== undefined) return got instanceof this.StoredTable && this.same(want.stored, got, true);
    if (stored !== got instanceof this.StoredTable) return false;
    if (want.ref !== undefined) return this.#ids.get(want.ref) === got;
    if (want.id !== undefined) this.#ids.set(want.id, got);
    if (want.deep !== undefined) return this.#deep(want.deep, got);
    const left = this.#entries(got);
    const entries = want.table ?? want.array.map((item, i) => [{ int: String(i + 1) }, item]);
    if (!left || entries.length !== left.length) return false;
    return entries.every(([key, value]) => {
      const i = left.findIndex(([other]) => this.same(key, other, stored));
      return i >= 0 && this.same(value, left.splice(i, 1)[0][1], stored);
    });
  }

  #deep(depth, got) {
    for (let level = 1; level < depth; level++) {
      const entries = this.#entries(got);
      if (entries?.length !== 1) return false;
      got = entries[0][1];
    }
    return this.#entries(got)?.length === 0;
  }
}

/** A value for a message. */
function show(value) {
  const seen = new Set();
  const text = JSON.stringify(value, (_, v) => {
    if (typeof v === "bigint") return `${v}n`;
    if (typeof v === "function") return "function";
    if (v instanceof Map) return [...v];
    if (typeof v === "object" && v !== null && seen.size === seen.add(v).size) return "(again)";
    return v;
  });
  return String(text).slice(0, 400);
}

function limitsOf({ store_limit, store_entries, ...limits } = {}) {
  const names = { memory_limit: "memoryLimit", instruction_limit: "instructionLimit", timeout: "timeout", output_limit: "outputLimit", host_call_limit: "hostCallLimit", source_limit: "sourceLimit" };
  const out = {};
  for (const [name, value] of Object.entries(limits)) {
    if (!names[name]) throw new Error(`unknown limit ${name}`);
    out[names[name]] = value;
  }
  if (store_limit !== undefined || store_entries !== undefined) out.storeLimit = { bytes: store_limit, entries: store_entries };
  return out;
}

const functions = ({ multiple, LuaCellError }) => ({
  "host.echo": (...args) => multiple(...args),
  "host.add": (a, b) => {
    const sum = BigInt.asIntN(64, BigInt(a) + BigInt(b));
    return typeof a === "number" && Number.isSafeInteger(Number(sum)) ? Number(sum) : sum;
  },
  "host.fail": (message) => {
    throw new Error(message);
  },
  "host.raise": (value) => {
    throw LuaCellError.raise(value);
  },
  "host.call": (f, ...args) => {
    if (typeof f !== "function") throw new TypeError("no function");
    const result = f(...args);
    // A single array is a single table: the corpus has none here that could be taken for several results.
    return Array.isArray(result) ? multiple(...result) : result;
  },
});

function sourceOf(step) {
  if (step.source !== undefined) return step.source;
  if (step.source_hex !== undefined) return fromHex(step.source_hex);
  return step.source_parts.map(textOf).join("");
}

function checkError(step, error) {
  const want = step.error;
  const fail = (what, got) => {
    throw new Mismatch(`${what} is ${show(got)} (${error.kind}: ${error.message})`);
  };
  if (want.kind !== undefined && error.kind !== want.kind) fail("the kind", error.kind);
  const message = error.messageBytes ?? encoder.encode(error.message);
  if (want.message !== undefined && !sameBytes(textBytes(want.message), message)) fail("the message", error.message);
  if (want.message_contains !== undefined && !error.message.includes(want.message_contains)) fail("the message", error.message);
  if (want.line !== undefined && error.line !== want.line) fail("the line", error.line);
  if (want.chunk !== undefined && error.chunkName !== want.chunk) fail("the chunk", error.chunkName);
  if (want.traceback_contains !== undefined && !error.traceback?.includes(want.traceback_contains)) fail("the traceback", error.traceback);
}

/** Starts a run, and answers what it asks; its outcome. */
async function startAndAnswer(lua, step, options, api, { exact, waiting }) {
  const [start, what] = step.call === undefined ? ["start", sourceOf(step)] : ["startCall", step.call];
  const run = await lua[waiting ? `${start}Async` : start](what, options);
  for (const [index, { requests, answers }] of step.waits.entries()) {
    const comparison = new Comparison(api, exact);
    const isSame = (want, got) =>
      want.id === got?.id && want.name === got.name && (!want.args || (want.args.length === got.args.length && want.args.every((arg, i) => comparison.same(arg, got.args[i]))));
    const open = run.requests;
    if (open.length !== requests.length || !requests.every((want, i) => isSame(want, open[i]))) throw new Mismatch(`wait ${index + 1}: the requests are ${show(open)}`);
    if (!answers) return run.cancel(), null;
    for (const { id, values, error } of answers) {
      if (values) run.answer(id, ...build(values));
      else run.fail(id, new Error(error));
    }
    await (waiting ? run.resumeAsync() : run.resume());
  }
  return run.outcome;
}

/** Does a step; what it gave, or the error that it failed with. */
async function perform(lua, step, api, { exact, waiting }) {
  const { LuaCellError } = api;
  try {
    if (step.reopen) return lua.reset(), null;
    if (step.gc) return lua.gc(), null;
    if (step.set_input !== undefined) {
      lua.input = build([step.set_input])[0];
      return null;
    }
    const options = { args: build(step.args ?? []), name: step.chunk };
    if (step.waits) return await startAndAnswer(lua, step, options, api, { exact, waiting });
    if (step.call !== undefined) return lua.callWith(step.call, options);
    if (waiting) return await lua.computeAsyncWith(sourceOf(step), options);
    return lua.computeWith(sourceOf(step), options);
  } catch (error) {
    if (error instanceof LuaCellError) return error;
    throw error;
  }
}

function check(step, result, api, exact) {
  const failed = result instanceof api.LuaCellError;
  if (step.error) {
    if (!failed) throw new Mismatch(`no error, but ${show(result?.values)}`);
    checkError(step, result);
  } else if (failed) {
    throw new Mismatch(`error of kind ${result.kind}: ${result.message}`);
  }
  if (step.output !== undefined && !sameBytes(textBytes(step.output), result.outputBytes)) throw new Mismatch(`the output is ${show(result.output)}`);
  if (step.values === undefined || failed) return;
  const comparison = new Comparison(api, exact);
  if (step.values.length !== result.values.length || !step.values.every((want, i) => comparison.same(want, result.values[i])))
    throw new Mismatch(`the values are ${show(result.values)}`);
}

/**
 * Runs one case, throws where it does not match. `exact`: with integers as BigInt, so that 3 and 3.0 are told apart. `waiting`: source runs
 * by computeAsync.
 */
export async function runCase(api, test, { exact = true, waiting = false } = {}) {
  const modules = test.modules && new Map(Object.entries(test.modules).map(([name, source]) => [name, textBytes(source)]));
  const lua = new api.Sandbox({ ...limitsOf(test.limits), modules, exactNumbers: exact });
  const known = functions(api);
  for (const name of test.functions ?? []) lua.register(name, known[name]);
  for (const name of test.declare ?? []) lua.declare(name);
  for (const [index, step] of test.steps.entries()) {
    for (let round = 0; round < (step.times ?? 1); round++) {
      try {
        check(step, await perform(lua, step, api, { exact, waiting }), api, exact);
      } catch (error) {
        error.message = `step ${index + 1}${step.times ? `, round ${round + 1}` : ""}: ${error.message}`;
        throw error;
      }
    }
  }
  lua.close();
}

/** Whether a case can be run without exact numbers: its integral floats go in as floats only when numbers say so. */
export const hasIntegralFloats = (test) =>
  test.steps.some((step) => /"float":"-?[0-9]+(\.0+)?"|"int":"-?[0-9]{16,}"/.test(JSON.stringify([step.args, step.set_input])));
