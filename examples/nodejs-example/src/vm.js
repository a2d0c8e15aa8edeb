// One instance of lua.wasm: start it, run Lua in it, read what comes back.

import { hostFunctions } from "./host.js";
import { Requests } from "./requests.js";
import { Tables } from "./tables.js";
import { ProtocolError, decode, encode } from "./values.js";

/** What an export returns whose run waits. */
const waits = -0x80000000;

/** Lua raised an error that the script did not catch; the instance goes on working. */
export class LuaError extends Error {
  name = "LuaError";
  /** `bytes`: the message as it came; Lua's strings need not be UTF-8. */
  constructor(bytes) {
    super(bytes.toString());
    this.bytes = bytes;
  }
}

export class LuaVm {
  /** All that the module exports: also what this class has no method for. */
  exports;
  #revision;
  #requests = new Requests();

  /**
   * `module`: the compiled lua.wasm. `tables`: the table map, perhaps one that an earlier instance has filled; then
   * `nextTableId` is what that instance said. `revision`: 1 is five functions and no more; 2 adds results as inline
   * tables, arguments, and sizes beyond 64 KiB; 3 adds runs that wait.
   */
  constructor(module, { tables = new Tables(), nextTableId = 0, revision = 1 } = {}) {
    this.tables = tables;
    this.#revision = revision;
    const instance = new WebAssembly.Instance(module, hostFunctions(tables, () => this.#memory(), revision, this.#requests));
    this.exports = instance.exports;
    if (this.exports.init() !== 0) throw new ProtocolError("init failed");
    if (nextTableId > 0) this.exports.sync_external_table_counter(nextTableId);
    if (revision >= 2) this.exports.set_host_revision(revision);
    if (revision >= 3) this.exports.set_waiting(1); // those that were not started are refused in `Requests`
  }

  /** Runs Lua source (a string or bytes). Gives `{output, values}`. */
  compute(source) {
    const code = Buffer.from(source);
    const ptr = this.#write(code);
    return this.#result(this.exports.compute(ptr, code.length));
  }

  /** The same with a chunk name ("" for the usual one) and values for the chunk's `...` (revision 2). */
  computeNamed(name, source, args = []) {
    this.#needs(2, "names and arguments");
    return this.#result(this.exports.compute_named(...this.#fill(Buffer.from(name), Buffer.from(source), encode(args))));
  }

  /** Calls the global function `path`, dots reach into tables (revision 2). */
  call(path, args = []) {
    this.#needs(2, "calls");
    return this.#result(this.exports.call(...this.#fill(Buffer.from(path), encode(args))));
  }

  /** Makes `name` a global function (dots make tables) whose calls wait for whoever starts the run (revision 3). */
  declare(name) {
    this.#needs(3, "runs that wait");
    this.#result(this.exports.register_function(...this.#fill(Buffer.from(name)), this.#requests.declare(name)));
  }

  /** As `computeNamed` with a run that may wait; null when it does. There is one at a time. */
  start(source, args = []) {
    return this.#begin("compute_named", Buffer.alloc(0), Buffer.from(source), encode(args));
  }

  /** As `call` with a run that may wait; null when it does. */
  startCall(path, args = []) {
    return this.#begin("call", Buffer.from(path), encode(args));
  }

  /** Whether a run waits. `compute` and `call` still work then, as part of it. */
  get waiting() {
    return this.#requests.started;
  }

  /** What the run waits for: `{id, name, args}`. `task.sleep` is a request too; its argument is in seconds. */
  get requests() {
    return [...this.#requests.open.values()];
  }

  /** Answers a request. The script gets the values when the run is resumed. */
  answer(id, values) {
    this.#requests.answer(id, values);
  }

  /** Answers a request with an error, which the script can catch. */
  fail(id, message) {
    this.#requests.fail(id, message);
  }

  /** Goes on with the answers that were given, as many as they are; null when the run waits again. */
  resume() {
    if (!this.waiting) throw new TypeError("no run waits");
    return this.#step("resume", this.#requests.encodeAnswers());
  }

  /** Ends the run that waits, if there is one. What it wrote to tables stays. */
  cancel() {
    // Again if runs inside it have cancelled all its tasks: then it goes on up to its next request.
    while (this.waiting) {
      this.#requests.interrupt();
      try {
        this.resume();
      } catch (error) {
        if (!(error instanceof LuaError)) throw error;
      }
    }
  }

  collectGarbage() {
    this.exports.run_gc();
  }

  /** `{bufferSize, used, pages}`: bytes of the I/O buffer, bytes in use by Lua, 64 KiB pages of the memory. */
  memoryStats() {
    const ptr = this.exports.get_buffer_ptr();
    this.exports.get_memory_stats(ptr);
    const stats = this.#buffer(12);
    return { bufferSize: stats.readUInt32LE(0), used: stats.readUInt32LE(4), pages: stats.readUInt32LE(8) };
  }

  /** Size of the guest's memory in bytes. */
  memorySize() {
    return this.#memory().length;
  }

  /** The id that the next new table gets; the next instance on the same tables has to know it. */
  nextTableId() {
    return this.exports.allocate_table_ids(0) >>> 0;
  }

  get ioTableId() {
    return this.exports.get_io_table_id() >>> 0;
  }

  get homeTableId() {
    return this.exports.get_memory_table_id() >>> 0;
  }

  /** The memory of this moment: after growth, older views are detached. */
  #memory() {
    return new Uint8Array(this.exports.memory.buffer);
  }

  #needs(revision, what) {
    if (this.#revision < revision) throw new TypeError(`${what} need a host of revision ${revision}`);
  }

  #begin(name, ...parts) {
    this.#needs(3, "runs that wait");
    if (this.waiting) throw new TypeError("a run waits already");
    return this.#step(name, ...parts);
  }

  /** Lets a run go that its starter answers, from its beginning or from where it waited. */
  #step(name, ...parts) {
    const lengths = this.#fill(...parts);
    this.#requests.begin();
    const n = this.exports[name](...lengths);
    if (n === waits && this.#requests.open.size > 0) return null;
    this.#requests.end();
    return this.#result(n);
  }

  /** Puts parts one behind another into the I/O buffer; their lengths. */
  #fill(...parts) {
    this.#write(Buffer.concat(parts));
    return parts.map((part) => part.length);
  }

  /** Puts bytes into the I/O buffer; the buffer's place. */
  #write(bytes) {
    let size = this.exports.get_buffer_size() >>> 0;
    if (bytes.length > size && this.#revision >= 2) {
      if (this.exports.reserve_buffer(bytes.length) === 0) throw new RangeError(`no room for ${bytes.length} bytes`);
      size = this.exports.get_buffer_size() >>> 0;
    }
    if (bytes.length > size) throw new RangeError(`${bytes.length} bytes do not fit the buffer of ${size}`);
    this.#checked(bytes.length).set(bytes);
    return this.exports.get_buffer_ptr();
  }

  /** A copy of the first bytes of the I/O buffer. */
  #buffer(length) {
    const size = this.exports.get_buffer_size() >>> 0;
    if (length > size) throw new ProtocolError(`the guest speaks of ${length} bytes in a buffer of ${size}`);
    return Buffer.from(this.#checked(length));
  }

  /** The I/O buffer's first bytes in guest memory. Its place is asked for each time: with revision 2 it can move. */
  #checked(length) {
    const ptr = this.exports.get_buffer_ptr() >>> 0;
    const memory = this.#memory();
    if (ptr + length > memory.length) throw new ProtocolError("the I/O buffer is not inside the memory");
    return memory.subarray(ptr, ptr + length);
  }

  /** Makes sense of what `compute` and its kin return. */
  #result(n) {
    if (n < 0) throw new LuaError(this.#buffer(-n - 1));
    if (n === 0) return { output: Buffer.alloc(0), values: [] };
    const bytes = this.#buffer(n);
    if (n < 4 || bytes.readUInt32LE(0) > n - 4) throw new ProtocolError("the result is shorter than its output");
    const end = 4 + bytes.readUInt32LE(0);
    return { output: bytes.subarray(4, end), values: decode(bytes.subarray(end)) };
  }
}
