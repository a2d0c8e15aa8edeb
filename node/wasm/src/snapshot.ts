import { Reader, Writer, textOf, utf8 } from '../../shared/bytes.js';
import { crc32 } from './checksum.js';
import type { Limits } from '../../shared/limits.js';
import type { Image, WaitingImage } from './runtime.js';
import { type Write, isValid } from './tables.js';
import { conversion, invalid } from '../../shared/errors.js';
import type { FunctionNames } from '../../shared/functions.js';
import { HostValues } from '../../shared/host-values.js';
import { VirtualTime } from './virtual-time.js';

const MAGIC = 'LuaCellWasmSnap4';
const PAGE = 1024;

/** A copy of a sandbox at one moment: `sandbox.snapshot()`. */
export class Snapshot {
  /** @internal */
  readonly image: Image;

  /** @internal */
  constructor(image: Image) {
    this.image = image;
  }

  /**
   * As bytes, to be kept, with a checksum. They can only be restored with the same `lua.wasm`. Throws `Conversion` if Lua held functions of JavaScript that have no name.
   */
  toBytes(): Uint8Array {
    const { guest, memory, tables, functions, values, time, waiting } = this.image;
    if (values.size > 0) throw conversion(unnamed(values.size));
    const out = new Writer();
    const counted = (bytes: Uint8Array): void => putCounted(out, bytes);
    out.raw(utf8(MAGIC));
    out.u32(guest);
    out.u32(functions.next);
    out.u32(functions.list.length);
    for (const [id, name] of functions.list) {
      out.u32(id);
      counted(utf8(name));
    }
    out.u8(time ? 1 : 0);
    for (const number of time?.numbers() ?? []) out.i64(BigInt.asIntN(64, number));
    out.u32(tables.size);
    for (const [id, table] of tables) {
      out.u32(id);
      out.u32(table.size);
      for (const [key, value] of table) {
        counted(utf8(key));
        counted(value);
      }
    }
    out.u8(waiting ? 1 : 0);
    if (waiting) putWaiting(out, waiting);
    out.u32(memory.length);
    // Most of the memory is zeros.
    const words = new Int32Array(memory.buffer, memory.byteOffset, memory.length >> 2);
    for (let at = 0; at < memory.length; at += PAGE) {
      const end = (at + PAGE) >> 2;
      let i = at >> 2;
      while (i < end && words[i] === 0) i++;
      if (i === end) continue;
      out.u32(at);
      counted(memory.subarray(at, at + PAGE));
    }
    out.u32(crc32(out.written));
    return out.written.slice();
  }

  /** Reads what `toBytes` has written. Throws `InvalidArgument` for anything else, and for bytes that were damaged. */
  static fromBytes(bytes: Uint8Array): Snapshot {
    if (!(bytes instanceof Uint8Array)) throw invalid('Snapshot.fromBytes takes a Uint8Array');
    try {
      return new Snapshot(read(bytes));
    } catch (error) {
      throw invalid(`these bytes are not a snapshot that this version can read (${error instanceof Error ? error.message : String(error)})`);
    }
  }
}

const unnamed = (held: number): string =>
  `Lua holds ${held} functions of the host that have no name, which can't be kept outside of the process: register them by a name, or let Lua let go of them`;

function putCounted(out: Writer, bytes: Uint8Array): void {
  out.u32(bytes.length);
  out.raw(bytes);
}

/** Numbers of a run that waits, in this order; null for no limit. */
const numbersOf = ({ limits, left, hostCalls, bytesStored, lastError }: WaitingImage): number[] => [...limitOrder.map((name) => limits[name]), left, hostCalls, bytesStored, lastError];

const limitOrder = ['memory', 'instructions', 'timeout', 'output', 'storeBytes', 'storeEntries', 'hostCalls', 'source'] as const;

function putWaiting(out: Writer, run: WaitingImage): void {
  putCounted(out, utf8(JSON.stringify(numbersOf(run))));
  out.u32(run.writes.length);
  for (const [id, key, value] of run.writes) {
    out.u32(id);
    putCounted(out, utf8(key));
    out.u8(value ? 1 : 0);
    if (value) putCounted(out, value);
  }
}

function readWaiting(reader: Reader): WaitingImage {
  const given: unknown = JSON.parse(text(reader.counted()));
  const numbers = Array.isArray(given) ? given.map((n: unknown) => n ?? Infinity) : [];
  if (numbers.length !== limitOrder.length + 4 || !numbers.every((n): n is number => typeof n === 'number' && n >= 0)) throw new Error('the numbers of a run make no sense');
  const limits = Object.fromEntries(limitOrder.map((name, i) => [name, numbers[i]])) as unknown as Limits;
  const [left, hostCalls, bytesStored, lastError] = numbers.slice(limitOrder.length) as [number, number, number, number];
  if (!Number.isInteger(lastError) || lastError >= 2 ** 32) throw new Error('the numbers of a run make no sense');
  const writes: Write[] = [];
  for (let n = reader.u32(); n > 0; n--) {
    const id = tableId(reader);
    const key = text(reader.counted());
    writes.push([id, key, reader.u8() ? reader.counted().slice() : null]);
  }
  return { limits, left, hostCalls, bytesStored, lastError, writes };
}

function text(bytes: Uint8Array): string {
  const text = textOf(bytes);
  if (text === null) throw new Error('a text is not UTF-8');
  return text;
}

function tableId(reader: Reader): number {
  const id = reader.u32();
  if (!isValid(id)) throw new Error('a table has an impossible number');
  return id;
}

function read(bytes: Uint8Array): Image {
  const end = Math.max(0, bytes.length - 4);
  const reader = new Reader(bytes.subarray(0, end));
  if (textOf(reader.take(MAGIC.length)) !== MAGIC) throw new Error('their first bytes are wrong');
  if (new Reader(bytes.subarray(end)).u32() !== crc32(reader.bytes)) throw new Error('they were damaged: the checksum is wrong');
  const guest = reader.u32();
  const functions: FunctionNames = { next: reader.u32(), list: [] };
  for (let n = reader.u32(); n > 0; n--) functions.list.push([reader.u32(), text(reader.counted())]);
  if (functions.list.some(([id]) => id >= functions.next)) throw new Error('a function has an impossible number');
  const time = reader.u8() ? VirtualTime.fromNumbers(reader.i64(), reader.i64()) : null;
  const tables: Image['tables'] = new Map();
  for (let n = reader.u32(); n > 0; n--) {
    const id = tableId(reader);
    const table = new Map<string, Uint8Array>();
    for (let m = reader.u32(); m > 0; m--) table.set(text(reader.counted()), reader.counted().slice());
    tables.set(id, table);
  }
  const waiting = reader.u8() ? readWaiting(reader) : null;
  const length = reader.u32();
  if (length % PAGE !== 0 || length > 2 ** 31) throw new Error('the memory has an odd size');
  const memory = new Uint8Array(length);
  while (reader.left > 0) {
    const at = reader.u32();
    const page = reader.counted();
    if (at + page.length > length) throw new Error('a page lies outside of the memory');
    memory.set(page, at);
  }
  return { guest, memory, tables, functions, values: new HostValues(), time, waiting };
}
