import { broken, conversion } from './errors.js';

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text as UTF-8. */
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Whether every surrogate has its partner, so that the text can be UTF-8. */
export function isWellFormed(text: string): boolean {
  const native = (text as { isWellFormed?: () => boolean }).isWellFormed;
  return native ? native.call(text) : !/\p{Surrogate}/u.test(text);
}

/** Refuses text that UTF-8 can't say: it would arrive as something else. */
export function checkText(text: string): string {
  if (!isWellFormed(text)) throw conversion("a string with half a surrogate pair can't be passed to Lua");
  return text;
}

/** The text that these bytes are, or null when they are not UTF-8. */
export function textOf(bytes: Uint8Array, start = 0, end = bytes.length): string | null {
  // For few bytes the decoder costs more than a loop.
  if (end - start > 24) return decode(bytes.subarray(start, end));
  let text = '';
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte > 0x7f) return decode(bytes.subarray(start, end));
    text += String.fromCharCode(byte);
  }
  return text;
}

function decode(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

/** Names that were read lately: those of fields come again and again, and comparing is faster than making them. */
class Names {
  readonly #slots: (string | undefined)[] = new Array<string | undefined>(64).fill(undefined);

  text(bytes: Uint8Array, start: number, end: number): string | null {
    const n = end - start;
    if (n === 0 || n > 24) return textOf(bytes, start, end);
    const slot = (n * 31 + bytes[start]! * 7 + bytes[end - 1]!) & 63;
    const name = this.#slots[slot];
    if (name !== undefined && name.length === n) {
      let i = 0;
      while (i < n && name.charCodeAt(i) === bytes[start + i]) i++;
      if (i === n) return name;
    }
    const text = textOf(bytes, start, end);
    // Only where a byte is a character.
    if (text !== null && text.length === n) this.#slots[slot] = text;
    return text;
  }
}

/** Grows as it is written to. */
export class Writer {
  bytes = new Uint8Array(256);
  view = new DataView(this.bytes.buffer);
  length = 0;

  reserve(n: number): void {
    const needed = this.length + n;
    if (needed <= this.bytes.length) return;
    if (needed > 0x7fffffff) throw conversion('the values are too large to be passed');
    const grown = new Uint8Array(Math.min(0x7fffffff, Math.max(needed, this.bytes.length * 2)));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  u8(n: number): void {
    this.reserve(1);
    this.bytes[this.length++] = n;
  }

  u32(n: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, n, true);
    this.length += 4;
  }

  /** A byte and a float. */
  f64(tag: number, n: number): void {
    this.reserve(9);
    this.bytes[this.length] = tag;
    this.view.setFloat64(this.length + 1, n, true);
    this.length += 9;
  }

  i64(n: bigint): void {
    this.reserve(8);
    this.view.setBigInt64(this.length, n, true);
    this.length += 8;
  }

  /** A byte and a safe integer as i64. */
  integer(tag: number, n: number): void {
    this.reserve(9);
    this.bytes[this.length] = tag;
    this.view.setInt32(this.length + 1, n | 0, true);
    this.view.setInt32(this.length + 5, Math.floor(n / 2 ** 32), true);
    this.length += 9;
  }

  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Length and UTF-8. */
  text(text: string): void {
    const n = text.length;
    this.reserve(4 + n * 3);
    const start = this.length + 4;
    const bytes = this.bytes;
    let i = 0;
    if (n <= 32) {
      for (; i < n; i++) {
        const code = text.charCodeAt(i);
        if (code > 0x7f) break;
        bytes[start + i] = code;
      }
    }
    const written = i === n ? n : encoder.encodeInto(checkText(text), bytes.subarray(start)).written;
    this.view.setUint32(this.length, written, true);
    this.length = start + written;
  }

  /** What was written, as a view that the next write may change. */
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
}

export const malformed = (what: string): Error => broken(`the guest sent a malformed value: ${what}`);

/** Reads bytes from front to back; every length is checked against what is there. */
export class Reader {
  at = 0;
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #names: Names | null = null;

  constructor(bytes: Uint8Array) {
    const { buffer, byteOffset, byteLength } = bytes;
    // Parts of a Node.js Buffer would be Buffers, which are slower to make, and whose copies are none.
    this.bytes = bytes.constructor === Uint8Array ? bytes : new Uint8Array(buffer, byteOffset, byteLength);
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  #need(n: number): number {
    const at = this.at;
    if (n > this.bytes.length - at) throw malformed('it ends too early');
    this.at = at + n;
    return at;
  }

  u8(): number {
    return this.bytes[this.#need(1)]!;
  }

  u32(): number {
    return this.#view.getUint32(this.#need(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.#need(8), true);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#need(8), true);
  }

  /** An i64 as a number when that is exact. */
  integer(): number | bigint {
    const at = this.#need(8);
    const number = this.#view.getInt32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
    return Number.isSafeInteger(number) ? number : this.#view.getBigInt64(at, true);
  }

  /** A view of the next bytes. */
  take(n: number): Uint8Array {
    const at = this.#need(n);
    return this.bytes.subarray(at, at + n);
  }

  /** A length and as many bytes, as a view. */
  counted(): Uint8Array {
    return this.take(this.u32());
  }

  /** A length and as many bytes: text when they are UTF-8, else a copy. */
  string(): string | Uint8Array {
    const n = this.u32();
    const at = this.#need(n);
    return textOf(this.bytes, at, at + n) ?? this.bytes.slice(at, at + n);
  }

  /** As `string`, for what is likely to come again. */
  name(): string | Uint8Array {
    const n = this.u32();
    const at = this.#need(n);
    this.#names ??= new Names();
    return this.#names.text(this.bytes, at, at + n) ?? this.bytes.slice(at, at + n);
  }
}
