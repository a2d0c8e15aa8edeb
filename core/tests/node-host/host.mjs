// A bare host of core/guest/lua.wasm in plain JavaScript: the five functions, tables as `Map`s of text keys, results
// taken apart. Nothing but the pages under docs/ is needed to write such a thing.

import { readFileSync } from "node:fs";

export const wasmPath = new URL("../../guest/lua.wasm", import.meta.url);

let compiled;
/** The compiled guest; compiled once in a process. */
export function guestModule() {
  compiled ??= new WebAssembly.Module(readFileSync(wasmPath));
  return compiled;
}

const encoder = new TextEncoder();
// A host that knows only version 1 of the contract decodes keys like this: invalid UTF-8 would be replaced and a
// leading byte order mark dropped. The guest must not send keys that lose something here.
const keyDecoder = new TextDecoder();

/** Where the tables live. Several sandboxes can share one. */
export class Store {
  tables = new Map(); // id -> Map of key text -> bytes
  #journal = null;

  set(id, key, value) {
    let table = this.tables.get(id);
    this.#note(id, table, key);
    if (!table) this.tables.set(id, (table = new Map()));
    table.set(key, value);
  }

  delete(id, key) {
    const table = this.tables.get(id);
    this.#note(id, table, key);
    table?.delete(key);
  }

  #note(id, table, key) {
    this.#journal?.push([id, key, table !== undefined, table?.get(key)]);
  }

  begin() {
    this.#journal = [];
  }

  commit() {
    this.#journal = null;
  }

  rollback() {
    for (const [id, key, existed, old] of this.#journal.reverse()) {
      if (!existed) this.tables.delete(id);
      else if (old === undefined) this.tables.get(id).delete(key);
      else this.tables.get(id).set(key, old);
    }
    this.#journal = null;
  }
}

/** A failed compute or call: `message` is a Buffer's text, `bytes` the message as it came, `details` what revision 2 tells. */
export class LuaError extends Error {
  constructor(bytes, details) {
    super(bytes.toString("utf8"));
    this.bytes = bytes;
    this.details = details;
  }
}

/** What an export gives whose run waits, the function that `task.sleep` calls, and the kind of an interrupt. */
const WAITS = -2147483648;
const SLEEP = 0xffffffff;
const INTERRUPTED = 6;

/** The answer to a call that failed. */
const failure = (message) => Buffer.concat([Buffer.of(1, 1), bytes.u32(0), bytes.string(message)]);

/** One instance of the guest. */
export class Sandbox {
  /**
   * `revision`: what to announce. `imports`: functions that replace the host's own. `init`: whether to call it.
   * `transactional`: writes of failing runs are taken back. `modules`: object or `Map` of name -> source text or bytes, for
   * `require`; without it the host offers no modules (both revision 2). `asks`: as often a
   * run has to ask for each instruction; without it they are not counted. `declare`: names of functions whose calls are
   * requests, which `resume` answers (revision 3).
   */
  constructor({ store = new Store(), revision = 1, imports = {}, init = true, transactional = false, modules, asks, declare = [], module = guestModule() } = {}) {
    this.store = store;
    this.revision = revision;
    this.asks = asks;
    this.declared = declare;
    this.transactional = transactional;
    this.modules = modules instanceof Map || !modules ? modules : new Map(Object.entries(modules));
    const own = {
      js_ext_table_set: (id, kp, kl, vp, vl) => {
        const key = this.#take(kp, kl);
        const value = this.#take(vp, vl);
        if (!key || !value) return -1;
        store.set(id >>> 0, keyDecoder.decode(key), value);
        return 0;
      },
      js_ext_table_get: (id, kp, kl, vp, max) => {
        const key = this.#take(kp, kl);
        if (id === 0) return key && revision > 1 ? this.#channel(key, vp, max) : -1;
        const value = key && store.tables.get(id >>> 0)?.get(keyDecoder.decode(key));
        return value ? this.#give(value, vp, max) : -1;
      },
      js_ext_table_delete: (id, kp, kl) => {
        const key = this.#take(kp, kl);
        if (!key || !store.tables.has(id >>> 0)) return -1;
        store.delete(id >>> 0, keyDecoder.decode(key));
        return 0;
      },
      js_ext_table_size: (id) => store.tables.get(id >>> 0)?.size ?? 0,
      js_ext_table_keys: (id, bp, max) => {
        const table = store.tables.get(id >>> 0);
        if (!table) return -1;
        return this.#give(encoder.encode([...table.keys()].join("\n")), bp, max);
      },
    };
    this.instance = new WebAssembly.Instance(module, { env: { ...own, ...imports } });
    this.exports = this.instance.exports;
    if (init) {
      if (this.exports.init() !== 0) throw new Error("init failed");
      if (revision > 1) this.exports.set_host_revision(revision);
      if (transactional) this.exports.set_transactional(1);
      if (asks) this.exports.set_instruction_grant(1);
      declare.forEach((name, number) => {
        this.fill(Buffer.from(name));
        if (this.exports.register_function(name.length, number) < 0) throw new Error(`${name} can't be declared`);
      });
    }
  }

  /** The memory of this moment. */
  memory() {
    return new Uint8Array(this.exports.memory.buffer);
  }

  #take(ptr, len) {
    ptr >>>= 0;
    len >>>= 0;
    const memory = this.memory();
    return ptr + len <= memory.length ? memory.slice(ptr, ptr + len) : null;
  }

  #give(bytes, ptr, max) {
    ptr >>>= 0;
    max >>>= 0;
    const memory = this.memory();
    if (ptr + max > memory.length) return -1;
    if (bytes.length > max) return this.revision > 1 ? -(bytes.length + 1) : -1;
    memory.set(bytes, ptr);
    return bytes.length;
  }

  #asked = 0; // how often the run has asked for instructions
  #answer = null; // what did not fit the guest's buffer at the first try

  /** The host channel: the operation is the request's first byte. */
  #channel(request, ptr, max) {
    let answer = null;
    if (request[0] === 0x00) answer = this.#answer;
    if (request[0] === 0x05 && this.modules) answer = this.#findModule(Buffer.from(request.subarray(1)).toString("utf8"));
    if (request[0] === 0x01 || request[0] === 0x09) answer = this.#ask(Buffer.from(request));
    if (request[0] === 0x0a) {
      this.requests.delete(Buffer.from(request).readUInt32LE(1));
      return 0;
    }
    if (request[0] === 0x06 && this.ending) answer = Buffer.concat([bytes.u32(INTERRUPTED), bytes.u32(0)]);
    else if (request[0] === 0x06 && this.asks) answer = Buffer.concat([bytes.u32(0), bytes.u32(this.#asked++ < this.asks ? 1 : 1 << 30)]);
    if (!answer) return -1;
    const written = this.#give(answer, ptr, max);
    this.#answer = written < -1 ? answer : null;
    return written;
  }

  requests = new Map(); // open ones: id -> {name, args}

  /** A call of a declared function: it waits when the run may, as operation 0x09 says. */
  #ask(request) {
    const later = request[0] === 0x09;
    const number = request.readUInt32LE(1);
    const name = number === SLEEP ? "task.sleep" : this.declared[number];
    if (!this.waits) return failure(`'${name}' is answered by whoever starts the run: use \`start\``);
    if (!later) return Buffer.of(4);
    this.requests.set(request.readUInt32LE(5), { name, args: decode(request.subarray(9)) });
    return Buffer.of(4);
  }

  #findModule(name) {
    const source = this.modules.get(name);
    if (source === undefined) return Buffer.concat([bytes.u32(1), Buffer.from(`\n\tno source for '${name}' from the host`)]);
    const chunk = Buffer.from(`=${name}`);
    return Buffer.concat([bytes.u32(0), bytes.u32(chunk.length), chunk, Buffer.from(source)]);
  }

  /** `len` bytes of the I/O buffer, as a copy. */
  buffer(len = this.exports.get_buffer_size() >>> 0) {
    const ptr = this.exports.get_buffer_ptr() >>> 0;
    return Buffer.from(this.memory().slice(ptr, ptr + len));
  }

  /** Writes the parts one behind another into the I/O buffer, which grows when the host is of revision 2. */
  fill(...parts) {
    const size = parts.reduce((n, p) => n + p.length, 0);
    if (size > this.exports.get_buffer_size() >>> 0) {
      if (this.revision < 2) throw new RangeError("longer than the buffer");
      if (this.exports.reserve_buffer(size) === 0) throw new RangeError("no memory for the buffer");
    }
    let at = this.exports.get_buffer_ptr() >>> 0;
    const memory = this.memory();
    for (const part of parts) {
      memory.set(part, at);
      at += part.length;
    }
  }

  /** Writes source into the buffer, runs `compute`, gives back what it returned. */
  raw(source) {
    const bytes = Buffer.from(source);
    this.fill(bytes);
    return this.exports.compute(this.exports.get_buffer_ptr(), bytes.length);
  }

  /** What a run returned and left in the buffer: `{output, values}`, or a LuaError. */
  finish(n) {
    if (n === 0) return { output: Buffer.alloc(0), values: [] };
    if (n < 0) {
      const message = this.buffer(-n - 1);
      const length = this.exports.get_error_details?.() ?? 0;
      const parts = length > 0 ? decode(this.buffer(length)) : [];
      const [kind, , chunk, line, traceback, output, value] = parts;
      throw new LuaError(message, { kind: Number(kind), chunk, line: line === null ? null : Number(line), traceback, output, value });
    }
    const bytes = this.buffer(n);
    const length = bytes.readUInt32LE(0);
    return { output: bytes.subarray(4, 4 + length), values: decode(bytes.subarray(4 + length)) };
  }

  #run(start) {
    if (this.requests.size > 0) return this.finish(start()); // part of the run that waits
    this.#asked = 0;
    if (this.transactional) this.store.begin();
    return this.#ended(start());
  }

  /** `null` when the run waits. */
  #ended(n) {
    if (n === WAITS) return null;
    this.requests.clear();
    this.waits = false;
    if (this.transactional) n < 0 ? this.store.rollback() : this.store.commit();
    return this.finish(n);
  }

  /** As `compute` or `call`, which `run` does; `null` when it waits for answers to `requests`. */
  start(run) {
    this.exports.set_waiting(1);
    this.waits = true;
    try {
      return run();
    } finally {
      this.exports.set_waiting(0);
    }
  }

  /** Answers requests, a list of `[id, encoded values, or an Error]`, and lets the run go on. */
  resume(answers) {
    const parts = answers.map(([id, answer]) => {
      this.requests.delete(id);
      const body = answer instanceof Error ? failure(answer.message) : Buffer.concat([Buffer.of(0), answer]);
      return Buffer.concat([bytes.u32(id), bytes.u32(body.length), body]);
    });
    const message = Buffer.concat(parts);
    this.fill(message);
    return this.#ended(this.exports.resume(message.length));
  }

  /** Ends the run that waits, which has to ask for instructions. */
  cancel() {
    this.ending = true;
    this.exports.review_limits();
    try {
      this.#ended(this.exports.resume(0));
    } catch (error) {
      if (!(error instanceof LuaError)) throw error;
    } finally {
      this.ending = false;
    }
  }

  /** Runs source; `args` are encoded values, `chunk` a chunk name (both revision 2). */
  compute(source, { args = Buffer.alloc(0), chunk = "" } = {}) {
    const bytes = Buffer.from(source);
    if (this.revision < 2) return this.#run(() => this.raw(bytes));
    const name = Buffer.from(chunk);
    this.fill(name, bytes, args);
    return this.#run(() => this.exports.compute_named(name.length, bytes.length, args.length));
  }

  /** Calls the global function with this dotted path. */
  call(path, args = Buffer.alloc(0)) {
    const name = Buffer.from(path);
    this.fill(name, args);
    return this.#run(() => this.exports.call(name.length, args.length));
  }

  callHandle(handle, args = Buffer.alloc(0)) {
    this.fill(args);
    return this.#run(() => this.exports.call_handle(handle, args.length));
  }
}

// ---- values ---------------------------------------------------------------------------------------------------------
// nil: null, boolean: itself, integer: BigInt, float: number, string: Buffer, and these:

export class LuaTable {
  pairs = []; // [key, value]
}
export class External {
  constructor(id) {
    this.id = id;
  }
}
export class LuaFunction {
  constructor(tag, detail) {
    this.tag = tag;
    this.detail = detail; // bytecode, name, handle or id
  }
}

/** Encoded values one after another -> list. Without recursion: data can be deep. */
export function decode(bytes) {
  const top = [];
  const tables = [];
  const open = []; // {table, index, array, pairs, key}
  let at = 0;
  const u32 = () => ((at += 4), bytes.readUInt32LE(at - 4));
  const take = (n) => {
    if (at + n > bytes.length) throw new RangeError("encoded value is cut");
    return bytes.subarray((at += n) - n, at);
  };
  for (;;) {
    while (open.length && open.at(-1).array === 0 && open.at(-1).pairs === 0) open.pop();
    if (!open.length && at >= bytes.length) return top;
    const tag = bytes.readUInt8(at++);
    let value;
    let frame;
    switch (tag) {
      case 0x00: value = null; break;
      case 0x01: value = take(1)[0] === 1; break;
      case 0x02: value = take(8).readBigInt64LE(0); break;
      case 0x03: value = take(8).readDoubleLE(0); break;
      case 0x04: value = Buffer.from(take(u32())); break;
      case 0x05:
      case 0x06: value = new LuaFunction(tag, Buffer.from(take(u32()))); break;
      case 0x07: value = new External(u32()); break;
      case 0x08: {
        const array = u32();
        const pairs = u32();
        value = new LuaTable();
        tables.push(value);
        frame = { table: value, index: 0n, array, pairs, key: undefined };
        break;
      }
      case 0x09: {
        const number = u32();
        if (number >= tables.length) throw new RangeError("reference to a table that did not come");
        value = tables[number];
        break;
      }
      case 0x0a:
      case 0x0b: value = new LuaFunction(tag, u32()); break;
      default: throw new RangeError(`unknown tag ${tag}`);
    }
    const parent = open.at(-1);
    if (!parent) top.push(value);
    else if (parent.array > 0) {
      parent.array--;
      parent.index++;
      if (value !== null) parent.table.pairs.push([parent.index, value]);
    } else if (parent.key === undefined) parent.key = value;
    else {
      parent.pairs--;
      parent.table.pairs.push([parent.key, value]);
      parent.key = undefined;
    }
    if (frame) open.push(frame);
  }
}

export const bytes = {
  u32: (n) => {
    const b = Buffer.alloc(4);
    b.writeUInt32LE(n >>> 0);
    return b;
  },
  nil: () => Buffer.of(0),
  boolean: (v) => Buffer.of(1, v ? 1 : 0),
  integer: (v) => {
    const b = Buffer.alloc(9, 2);
    b.writeBigInt64LE(BigInt(v), 1);
    return b;
  },
  float: (v) => {
    const b = Buffer.alloc(9, 3);
    b.writeDoubleLE(v, 1);
    return b;
  },
  string: (v) => Buffer.concat([Buffer.of(4), bytes.u32(Buffer.from(v).length), Buffer.from(v)]),
  builtin: (name) => Buffer.concat([Buffer.of(6), bytes.u32(name.length), Buffer.from(name)]),
  external: (id) => Buffer.concat([Buffer.of(7), bytes.u32(id)]),
  table: (array, pairs = []) => Buffer.concat([Buffer.of(8), bytes.u32(array.length), bytes.u32(pairs.length), ...array, ...pairs.flat()]),
  again: (number) => Buffer.concat([Buffer.of(9), bytes.u32(number)]),
  handle: (number) => Buffer.concat([Buffer.of(10), bytes.u32(number)]),
};

// ---- keys -----------------------------------------------------------------------------------------------------------

const integerText = /^(0|-?[1-9][0-9]*)$/;
const inRange = (text) => integerText.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text);

/** Key text -> Lua key (string keys as Buffer). */
export function keyFromText(text) {
  if (inRange(text)) return BigInt(text);
  if (text === "\\btrue") return true;
  if (text === "\\bfalse") return false;
  if (text.startsWith("\\f")) {
    const number = text.slice(2);
    if (number === "inf") return Infinity;
    if (number === "-inf") return -Infinity;
    if (/^-?[0-9.]+(e[+-][0-9]+)?$/.test(number)) return Number(number);
  }
  if (/^\\s([^\\]|\\\\|\\n|\\x[0-9a-f]{2})*$/su.test(text)) {
    const parts = text.slice(2).split(/(\\\\|\\n|\\x[0-9a-f]{2})/);
    return Buffer.concat(parts.map((part) => {
      if (part === "\\\\") return Buffer.from("\\");
      if (part === "\\n") return Buffer.from("\n");
      if (part.startsWith("\\x")) return Buffer.from(part.slice(2), "hex");
      return Buffer.from(part);
    }));
  }
  return Buffer.from(text);
}

/** `%.*g` of C. */
function general(number, precision) {
  const [mantissa, exponent] = number.toExponential(precision - 1).split("e");
  const e = Number(exponent);
  const trim = (s) => (s.includes(".") ? s.replace(/\.?0+$/, "") : s);
  if (e < -4 || e >= precision) return `${trim(mantissa)}e${e < 0 ? "-" : "+"}${String(Math.abs(e)).padStart(2, "0")}`;
  return trim(number.toFixed(precision - 1 - e));
}

/** Lua key (string keys as Buffer) -> key text. */
export function keyToText(key) {
  if (typeof key === "bigint") return String(key);
  if (typeof key === "boolean") return `\\b${key}`;
  if (typeof key === "number") {
    if (Number.isInteger(key) && key >= -(2 ** 63) && key < 2 ** 63) return String(BigInt(key));
    if (!Number.isFinite(key)) return key > 0 ? "\\finf" : "\\f-inf";
    return `\\f${[15, 16, 17].map((p) => general(key, p)).find((s) => Number(s) === key)}`;
  }
  const text = key.toString("utf8");
  const valid = Buffer.from(text).equals(key);
  if (valid && text !== "" && !text.includes("\n") && !/^[\\\ufeff]/.test(text) && !inRange(text)) return text;
  let out = "\\s";
  for (let i = 0; i < key.length; ) {
    const length = [1, 2, 3, 4].find((n) => {
      const s = key.subarray(i, i + n).toString("utf8");
      return i + n <= key.length && [...s].length === 1 && Buffer.from(s).equals(key.subarray(i, i + n));
    });
    if (!length) out += `\\x${key.subarray(i, i + 1).toString("hex")}`;
    else {
      const s = key.subarray(i, i + length).toString("utf8");
      out += s === "\\" ? "\\\\" : s === "\n" ? "\\n" : s;
    }
    i += length ?? 1;
  }
  return out;
}
