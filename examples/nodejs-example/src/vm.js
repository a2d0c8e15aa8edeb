// One instance of lua.wasm: start it, run Lua in it, read what comes back.

import { hostFunctions } from "./host.js";
import { Tables } from "./tables.js";
import { ProtocolError, decode, encode } from "./values.js";

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

  /**
   * `module`: the compiled lua.wasm. `tables`: the table map, perhaps one that an earlier instance has filled; then
   * `nextTableId` is what that instance said. `revision`: 1 is five functions and no more; 2 adds results as inline
   * tables, arguments, and sizes beyond 64 KiB.
   */
  constructor(module, { tables = new Tables(), nextTableId = 0, revision = 1 } = {}) {
    this.tables = tables;
    this.#revision = revision;
    const instance = new WebAssembly.Instance(module, hostFunctions(tables, () => this.#memory(), revision));
    this.exports = instance.exports;
    if (this.exports.init() !== 0) throw new ProtocolError("init failed");
    if (nextTableId > 0) this.exports.sync_external_table_counter(nextTableId);
    if (revision >= 2) this.exports.set_host_revision(revision);
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
    const parts = [Buffer.from(name), Buffer.from(source), encode(args)];
    this.#write(Buffer.concat(parts));
    return this.#result(this.exports.compute_named(...parts.map((part) => part.length)));
  }

  /** Calls the global function `path`, dots reach into tables (revision 2). */
  call(path, args = []) {
    this.#needs(2, "calls");
    const parts = [Buffer.from(path), encode(args)];
    this.#write(Buffer.concat(parts));
    return this.#result(this.exports.call(...parts.map((part) => part.length)));
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
