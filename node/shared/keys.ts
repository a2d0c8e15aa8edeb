// Keys of stored tables: Lua values as UTF-8 text and back. The forms are in docs/MEMORY_PROTOCOL.md.

import { Writer, checkText, isWellFormed, textOf, utf8 } from './bytes.js';
import { conversion, invalid } from './errors.js';
import { pathText } from './path.js';
import { LuaFloat, type LuaValue } from './values.js';

/** Text that may be an integer's. */
const plausible = /^(?:0|-?[1-9][0-9]{0,18})$/;
const TWO_63 = 2 ** 63;

/** The integer that this text is the plain form of. */
function integerText(text: string): number | bigint | null {
  const first = text.charCodeAt(0);
  if (!(first === 45 || (first >= 48 && first <= 57)) || !plausible.test(text)) return null;
  const number = Number(text);
  if (Number.isSafeInteger(number)) return number;
  const whole = BigInt(text);
  return BigInt.asIntN(64, whole) === whole ? whole : null;
}

const isPlain = (text: string): boolean =>
  text !== '' && text[0] !== '\\' && text[0] !== '\ufeff' && !text.includes('\n') && integerText(text) === null;

const escaped = (text: string): string => text.replace(/[\\\n]/g, (c) => (c === '\n' ? '\\n' : '\\\\'));

/** A string key's text. */
export function stringKey(text: string): string {
  checkText(text);
  return isPlain(text) ? text : `\\s${escaped(text)}`;
}

/** Length of the UTF-8 sequence that begins here; 0 when none does. */
function sequence(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const n = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  for (let i = 1; i < n; i++) if ((bytes[at + i] ?? 0) >> 6 !== 2) return 0;
  const second = bytes[at + 1] ?? 0;
  // Longer forms than needed, halves of pairs, and what is beyond Unicode.
  const isOdd =
    (first === 0xe0 && second < 0xa0) || (first === 0xed && second > 0x9f) || (first === 0xf0 && second < 0x90) || (first === 0xf4 && second > 0x8f);
  return isOdd ? 0 : n;
}

/** A script may have chosen the key: it takes no longer than its length. */
function bytesKey(bytes: Uint8Array): string {
  const text = textOf(bytes);
  if (text !== null) return stringKey(text);
  let out = '\\s';
  let start = 0;
  for (let at = 0; at < bytes.length; ) {
    const n = sequence(bytes, at);
    if (n > 0) {
      at += n;
      continue;
    }
    out += `${escaped(textOf(bytes, start, at) ?? '')}\\x${bytes[at]!.toString(16).padStart(2, '0')}`;
    start = ++at;
  }
  return out + escaped(textOf(bytes, start) ?? '');
}

const trimZeros = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

/** C's `%.{precision}g` of a finite number. */
function general(x: number, precision: number): string {
  const [mantissa = '', power = '0'] = x.toExponential(precision - 1).split('e');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= precision) {
    const digits = String(Math.abs(exponent)).padStart(2, '0');
    return `${trimZeros(mantissa)}e${exponent < 0 ? '-' : '+'}${digits}`;
  }
  return trimZeros(x.toFixed(precision - 1 - exponent));
}

function numberKey(x: number): string {
  if (Number.isNaN(x)) throw invalid('a table key must not be NaN');
  if (Number.isSafeInteger(x)) return String(x === 0 ? 0 : x);
  if (Number.isInteger(x) && x >= -TWO_63 && x < TWO_63) return String(BigInt(x));
  if (!Number.isFinite(x)) return x > 0 ? '\\finf' : '\\f-inf';
  return `\\f${[15, 16].map((n) => general(x, n)).find((text) => Number(text) === x) ?? general(x, 17)}`;
}

/** Whether this is an integer of Lua's range. */
export const fits64 = (n: bigint): boolean => BigInt.asIntN(64, n) === n;

/** Whether there can be such a key. What can't be there is absent for who looks, and refused from who writes. */
export function isKey(key: unknown): boolean {
  switch (typeof key) {
    case 'string':
      return isWellFormed(key);
    case 'number':
      return !Number.isNaN(key);
    case 'boolean':
      return true;
    case 'bigint':
      return fits64(key);
  }
  if (key instanceof LuaFloat) return !Number.isNaN(Number(key.value));
  return key instanceof Uint8Array || key instanceof ArrayBuffer;
}

/** The text of a key. */
export function encodeKey(key: unknown): string {
  switch (typeof key) {
    case 'string':
      return stringKey(key);
    case 'number':
      return numberKey(key);
    case 'boolean':
      return key ? '\\btrue' : '\\bfalse';
    case 'bigint':
      if (!fits64(key)) throw conversion(`${key} does not fit Lua's 64-bit integers`);
      return String(key);
    case 'undefined':
      throw invalid('a table key must not be nil');
  }
  if (key === null) throw invalid('a table key must not be nil');
  if (key instanceof Uint8Array) return bytesKey(key);
  if (key instanceof ArrayBuffer) return bytesKey(new Uint8Array(key));
  if (key instanceof LuaFloat) return numberKey(Number(key.value));
  throw conversion(`can't use a ${typeof key === 'symbol' ? 'symbol' : typeof key === 'function' ? 'function' : 'table'} as a key of a stored table`);
}

/** Refuses keys of a map that are one key in Lua, as `1` and `1n` are, text and the same bytes: one of the values would be lost. */
export function checkSameKeys(pairs: readonly unknown[]): void {
  const isOdd = (_: unknown, i: number): boolean => i % 2 === 0 && (typeof pairs[i] === 'bigint' || typeof pairs[i] === 'object');
  if (!pairs.some(isOdd)) return;
  const seen = new Set<string>();
  for (let i = 0; i < pairs.length; i += 2) {
    if (!isKey(pairs[i])) continue;
    const text = encodeKey(pairs[i]);
    if (seen.has(text)) throw conversion(`two keys of a map are the same key in Lua: ${pathText('', [decodeKey(text, false)]).replace(/^\./, '')}`);
    seen.add(text);
  }
}

function unescaped(text: string): string | Uint8Array | null {
  // Without backtracking, which a long key has no room for.
  if (text.replace(/\\(?:[\\n]|x[0-9a-f]{2})/g, '').includes('\\')) return null;
  if (!text.includes('\\x')) {
    const parts = text.split('\\\\').map((part) => part.replaceAll('\\n', '\n'));
    return parts.join('\\');
  }
  const out = new Writer();
  for (const [part] of text.matchAll(/\\x..|\\.|[^\\]+/g)) {
    if (part.startsWith('\\x')) out.u8(Number.parseInt(part.slice(2), 16));
    else out.raw(utf8(part === '\\n' ? '\n' : part === '\\\\' ? '\\' : part));
  }
  return textOf(out.written) ?? out.written.slice();
}

function floatText(text: string): number | null {
  if (text === 'inf') return Infinity;
  if (text === '-inf') return -Infinity;
  if (!/^[-.0-9][-+.0-9e]*$/.test(text)) return null;
  const number = Number(text);
  return Number.isNaN(number) ? null : number;
}

/** The key that a text means. Text that is none of the escaped forms is the string itself. `exact`: integers as BigInt. */
export function decodeKey(text: string, exact: boolean): LuaValue {
  const integer = integerText(text);
  if (integer !== null) return exact ? BigInt(integer) : integer;
  if (text.charCodeAt(0) === 92) {
    if (text === '\\btrue') return true;
    if (text === '\\bfalse') return false;
    if (text[1] === 's') return unescaped(text.slice(2)) ?? text;
    if (text[1] === 'f') {
      const float = floatText(text.slice(2));
      if (float !== null) {
        const whole = Number.isInteger(float) && float >= -TWO_63 && float < TWO_63;
        if (!whole) return float;
        return exact || !Number.isSafeInteger(float) ? BigInt(float) : float === 0 ? 0 : float;
      }
    }
  }
  return text;
}
