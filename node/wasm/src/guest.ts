// One running guest: its exports, its memory, its I/O buffer.

import { Reader, Writer } from '../../shared/bytes.js';
import { LuaCellError, broken, messageOf } from '../../shared/errors.js';
import type { Answer, Host } from './host.js';
import type { Limits } from '../../shared/limits.js';
import { BUFFER_SIZE, Code, INSTRUCTION_GRANT, KEPT_BUFFER, PROTOCOL_REVISION, TableId } from '../../shared/protocol.js';

/** Exports of a guest of this revision: docs/WASM_EXPORTS_REFERENCE.md. */
export type Export =
  | 'init'
  | 'get_buffer_ptr'
  | 'get_buffer_size'
  | 'compute'
  | 'compute_named'
  | 'call'
  | 'call_handle'
  | 'release_handle'
  | 'register_function'
  | 'unregister_function'
  | 'get_error_details'
  | 'get_memory_stats'
  | 'get_run_metrics'
  | 'get_protocol_revision'
  | 'set_host_revision'
  | 'set_transactional'
  | 'set_memory_limit'
  | 'set_output_limit'
  | 'review_limits'
  | 'set_instruction_grant'
  | 'set_print_streaming'
  | 'set_deterministic'
  | 'set_memory_alias_enabled'
  | 'sync_external_table_counter'
  | 'allocate_table_ids'
  | 'list_table_ids'
  | 'list_host_values'
  | 'set_table_counter'
  | 'forget_tables'
  | 'reserve_buffer'
  | 'run_gc'
  | 'undo_run'
  | 'forget_handles'
  | 'leave_tables'
  | 'settle_random'
  | 'get_memory_start'
  | 'get_memory_end'
  | 'set_waiting'
  | 'resume'
  | 'list_requests'
  | 'begin_checkpoint'
  | 'end_checkpoint';
/** A call of an export that runs Lua. */
export type Entry = [name: Export, a?: number, b?: number, c?: number];
type Exports = Record<Export, (a?: number, b?: number, c?: number) => number>;

const PAGE = 1 << 16;
/** So many bytes of answers the guest takes at a time, or a larger one alone. */
const PORTION = 1 << 16;

const encoder = new TextEncoder();

/** What the guest was told. */
interface Applied {
  memory: number;
  output: number;
  grant: number;
  waiting: number;
}

/** What a call that did not return means. */
function trap(error: unknown): LuaCellError {
  if (error instanceof LuaCellError && error.fatal) return error;
  return broken(`the guest crashed: ${messageOf(error)}`, 'Trap', error);
}

/** For the guest 0 means no limit, and -1 one of zero. */
const bound = (bytes: number): number => (bytes >= 0xffffffff ? 0 : bytes === 0 ? -1 : bytes | 0);

export class Guest {
  readonly #memory: WebAssembly.Memory;
  readonly #exports: Exports;
  #view = new Uint8Array(0);
  #bufferPtr = 0;
  #bufferSize = 0;
  #metricsAt = 0;
  readonly #applied: Applied = { memory: -1, output: -1, grant: 0, waiting: 0 };

  constructor(module: WebAssembly.Module, host: Host) {
    let instance: WebAssembly.Instance;
    try {
      instance = new WebAssembly.Instance(module, { env: host.imports });
    } catch (error) {
      const what = error instanceof WebAssembly.LinkError ? 'this is not a lua.wasm that luacell can use' : "can't make a sandbox";
      throw new LuaCellError(error instanceof WebAssembly.LinkError ? 'InvalidArgument' : 'Memory', `${what}: ${messageOf(error)}`, { cause: error });
    }
    const { memory, get_protocol_revision: revision } = instance.exports;
    if (!(memory instanceof WebAssembly.Memory) || typeof revision !== 'function' || revision() < PROTOCOL_REVISION)
      throw new LuaCellError('InvalidArgument', `this is not a lua.wasm that luacell can use: it does not speak revision ${PROTOCOL_REVISION}`);
    this.#memory = memory;
    this.#exports = instance.exports as unknown as Exports;
    host.guest = this;
    if (this.call('init') !== 0) throw new LuaCellError('Memory', 'the guest could not start Lua');
    this.call('set_host_revision', PROTOCOL_REVISION);
    this.call('set_transactional', 1);
    this.#metricsAt = this.call('get_run_metrics') >>> 0;
    this.refreshBuffer();
  }

  /** The memory of this moment. */
  get memory(): Uint8Array {
    const { buffer } = this.#memory;
    if (this.#view.buffer !== buffer) this.#view = new Uint8Array(buffer);
    return this.#view;
  }

  call(name: Export, a?: number, b?: number, c?: number): number {
    try {
      return this.#exports[name](a, b, c);
    } catch (error) {
      throw trap(error);
    }
  }

  /** Asks the guest where its buffer is now. */
  refreshBuffer(): void {
    const ptr = this.call('get_buffer_ptr') >>> 0;
    const size = this.call('get_buffer_size') >>> 0;
    if (ptr === 0 || ptr + size > this.memory.length) throw broken("the guest's buffer does not lie in its memory");
    this.#bufferPtr = ptr;
    this.#bufferSize = size;
  }

  get bufferPtr(): number {
    return this.#bufferPtr;
  }

  /** Bytes of the guest's memory. */
  bytes(ptr: number, length: number): Uint8Array {
    const { memory } = this;
    if (ptr + length > memory.length) throw broken('the guest named bytes outside of its memory');
    return memory.subarray(ptr, ptr + length);
  }

  /** The start of the I/O buffer. */
  result(length: number): Uint8Array {
    if (length > this.#bufferSize) this.refreshBuffer();
    if (length > this.#bufferSize) throw broken('the guest gave a result that is larger than its buffer');
    return this.bytes(this.#bufferPtr, length);
  }

  /** Makes room in the I/O buffer. */
  reserve(length: number): void {
    if (length <= this.#bufferSize) return;
    const tooLarge = (): LuaCellError => new LuaCellError('Memory', `${length} bytes are more than the guest has room for`);
    if (length > 0x7fffffff) throw tooLarge();
    const ptr = this.call('reserve_buffer', length);
    this.refreshBuffer();
    if (ptr === 0 || this.#bufferSize < length) throw tooLarge();
  }

  /** Writes the parts one behind another to the I/O buffer. */
  write(...parts: Uint8Array[]): void {
    this.reserve(parts.reduce((n, part) => n + part.length, 0));
    let at = this.#bufferPtr;
    const { memory } = this;
    for (const part of parts) {
      if (at + part.length > memory.length) throw broken("the guest's buffer does not lie in its memory");
      memory.set(part, at);
      at += part.length;
    }
  }

  /** Writes text to the I/O buffer if there is room whatever it is; its length, else -1. */
  writeText(text: string): number {
    if (text.length * 3 > this.#bufferSize) return -1;
    return encoder.encodeInto(text, this.bytes(this.#bufferPtr, this.#bufferSize)).written;
  }

  shrinkBuffer(): void {
    const kept = Math.min(KEPT_BUFFER, this.#applied.memory / 32);
    if (this.#bufferSize <= Math.max(BUFFER_SIZE, kept)) return;
    this.call('reserve_buffer', 0);
    this.refreshBuffer();
  }

  /** What the guest counted in its last run. */
  runMetrics(): { ticks: bigint; peak: number; output: Uint8Array } {
    const view = this.#viewOf(this.#metricsAt, 24);
    const output = (): Uint8Array => this.bytes(view.getUint32(16, true), view.getUint32(20, true));
    return {
      ticks: view.getBigUint64(0, true),
      peak: view.getUint32(8, true),
      get output() {
        return output();
      },
    };
  }

  memoryStats(): { bufferBytes: number; luaBytes: number; wasmBytes: number } {
    this.call('get_memory_stats', this.#bufferPtr);
    const view = this.#viewOf(this.#bufferPtr, 12);
    return { bufferBytes: view.getUint32(0, true), luaBytes: view.getUint32(4, true), wasmBytes: this.memory.length };
  }

  #viewOf(ptr: number, length: number): DataView {
    const bytes = this.bytes(ptr, length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  /** Tells the guest those limits that it keeps itself. */
  apply(limits: Limits): void {
    const applied = this.#applied;
    const grant = Math.min(INSTRUCTION_GRANT, Math.max(1, limits.instructions));
    if (applied.memory !== limits.memory) this.#limitMemory(limits.memory);
    if (applied.output !== limits.output) this.call('set_output_limit', bound(limits.output));
    if (applied.grant !== grant) this.call('set_instruction_grant', grant);
    applied.memory = limits.memory;
    applied.output = limits.output;
    applied.grant = grant;
  }

  /** No memory at all is for the guest a limit of one byte. */
  #limitMemory(bytes: number): void {
    this.call('set_memory_limit', bound(Math.max(1, bytes)));
  }

  /** Whether runs that begin from here on may wait. */
  letWait(waiting: boolean): void {
    const flag = Number(waiting);
    if (this.#applied.waiting === flag) return;
    this.call('set_waiting', flag);
    this.#applied.waiting = flag;
  }

  /**
   * The run that waits goes on with these answers. Large ones come one after another, so that there has to be room for one at a time only. In place of an
   * answer for which there is none comes what `tooLarge` gives: an error of its call, as for other host functions, and not the end of the run.
   */
  resume(answers: readonly Answer[], tooLarge: () => Uint8Array): number {
    let portion = new Writer();
    for (const { number, bytes: given } of answers) {
      if (portion.length > 0 && portion.length + given.length > PORTION) {
        const n = this.#takeAnswers(portion);
        if (n !== Code.RunWaits) return n;
        portion = new Writer();
      }
      const bytes = given.length > PORTION && !this.#hasRoomForAnswer(given.length) ? tooLarge() : given;
      portion.u32(number);
      portion.u32(bytes.length);
      portion.raw(bytes);
    }
    return this.#takeAnswers(portion);
  }

  #takeAnswers({ written }: Writer): number {
    this.write(written);
    return this.call('resume', written.length);
  }

  /** Whether the guest can take a large answer: in its buffer, and then as text until the call takes it. */
  #hasRoomForAnswer(length: number): boolean {
    try {
      this.reserve(2 * length + PORTION);
      return true;
    } catch (error) {
      if (error instanceof LuaCellError && !error.fatal) return false;
      throw error;
    } finally {
      this.call('reserve_buffer', 0);
      this.refreshBuffer();
    }
  }

  /** The run that waits ends, because of a limit that the host knows of. */
  endWaiting(): number {
    this.reviewLimits();
    const n = this.call('resume', 0);
    if (n === Code.RunWaits) throw broken('the guest does not end a run that has to end');
    return n;
  }

  /** What a run waits for: number, number of the function, encoded arguments. */
  *openRequests(): Generator<[number: number, id: number, args: Uint8Array]> {
    // The list may be as large as all that Lua may have beside it, and does not count.
    this.call('set_memory_limit', 0);
    const n = this.call('list_requests');
    this.refreshBuffer();
    const list = n < 0 ? null : new Reader(this.result(n).slice());
    this.call('reserve_buffer', 0);
    this.refreshBuffer();
    this.#limitMemory(this.#applied.memory);
    if (!list) throw new LuaCellError('Memory', 'not enough memory for the run that waits');
    while (list.left > 0) yield [list.u32(), list.u32(), list.counted()];
  }

  /** Lua hands over what is still to be stored of a run that waits; the tables that it holds. */
  beginCheckpoint(): Set<number> {
    const n = this.call('begin_checkpoint');
    if (n < 0) throw new LuaCellError('Memory', 'not enough memory for the run that waits');
    return new Set(this.#ids(n));
  }

  /** Other limits hold from here on, and one that was reached is forgotten; the bytes that were printed so far. */
  reviewLimits(): number {
    return this.call('review_limits') >>> 0;
  }

  /** Takes this many table ids; the first of them. */
  allocateIds(count: number): number {
    const first = this.call('allocate_table_ids', count) >>> 0;
    if (first < TableId.FirstFree || first + count > TableId.Runs) throw new LuaCellError('Store', 'no table numbers are left');
    return first;
  }

  /** The next table id that Lua would give. */
  get nextId(): number {
    return this.call('allocate_table_ids', 0) >>> 0;
  }

  /** The tables that Lua holds, after a collection; null when there is no memory for the list. */
  heldTables(): Set<number> | null {
    const n = this.call('list_table_ids');
    return n < 0 ? null : new Set(this.#ids(n));
  }

  /** The functions of the host without a name that Lua has, and how often they came; null when there is no memory for the list. */
  hostValues(): Map<number, number> | null {
    const n = this.call('list_host_values');
    if (n < 0) return null;
    const numbers = this.#ids(n);
    return new Map(Array.from({ length: numbers.length >> 1 }, (_, i) => [numbers[2 * i]!, numbers[2 * i + 1]!]));
  }

  /** Table ids in the buffer, so many bytes. */
  #ids(n: number): number[] {
    this.refreshBuffer();
    this.result(n);
    const view = this.#viewOf(this.#bufferPtr, n);
    return Array.from({ length: n >> 2 }, (_, i) => view.getUint32(4 * i, true));
  }

  /** Tells Lua which tables are gone: it may have kept their metatables. */
  forgetTables(gone: readonly number[]): void {
    // As many as the guest has room for in any case.
    for (let from = 0; from < gone.length; from += 4096) {
      const ids = Uint32Array.from(gone.slice(from, from + 4096));
      this.write(new Uint8Array(ids.buffer));
      this.call('forget_tables', ids.byteLength);
    }
  }

  /** Calls an export that reads a function's name from the buffer. */
  nameFunction(name: Export & ('register_function' | 'unregister_function'), text: string, id: number): void {
    const bytes = encoder.encode(text);
    this.write(bytes);
    const n = this.call(name, bytes.length, id);
    if (n >= 0) return;
    this.refreshBuffer();
    throw new LuaCellError('InvalidArgument', new TextDecoder().decode(this.result(-n - 1)));
  }

  /** Between runs the memory is everything that the guest is: its wasm globals have their first values then. */
  copyMemory(): Uint8Array {
    const start = this.call('get_memory_start') >>> 0;
    const end = this.call('get_memory_end') >>> 0;
    const copy = new Uint8Array(this.memory.length);
    copy.set(this.memory.subarray(start, end), start);
    return copy;
  }

  /** Makes this new instance one that goes on where that memory was copied. */
  putMemory(copy: Uint8Array): void {
    const missing = Math.ceil((copy.length - this.memory.length) / PAGE);
    try {
      if (missing > 0) this.#memory.grow(missing);
    } catch (error) {
      throw new LuaCellError('Memory', `not enough memory for the sandbox: ${messageOf(error)}`, { cause: error });
    }
    this.memory.fill(0);
    this.memory.set(copy);
    this.refreshBuffer();
    // It knows the limits of then.
    Object.assign(this.#applied, { memory: -1, output: -1, grant: -1, waiting: -1 });
  }
}

