// Values as bytes and back. The format is in docs/MEMORY_PROTOCOL.md. What comes in is untrusted, and nothing recurses.

import { Reader, type Writer, malformed } from './bytes.js';
import { LuaCellError, conversion, ourError } from './errors.js';
import type { HostValue } from './host-values.js';
import { checkSameKeys, fits64 } from './keys.js';
import { Wrapped, isCalled, wrappedOf } from './objects.js';
import { pathText } from './path.js';
import { Tag } from './protocol.js';
import { StoredTable } from './stored.js';
import { type FunctionKind, LuaFloat, type LuaFunction, type LuaValue, floatMarks, functionKinds } from './values.js';

/** Functions of the host that have no name, and its objects, by number. */
export interface UnnamedValues {
  /** The number of one, which goes to Lua once more. */
  give(f: HostValue): number;
  get(number: number): HostValue | undefined;
}

/** What values of one sandbox refer to. */
export interface Links {
  /** Whether integers are BigInt and floats number, both ways. */
  readonly exact: boolean;
  readonly hostValues: UnnamedValues;
  stored(id: number, cell: boolean): StoredTable;
  function(kind: FunctionKind): LuaFunction;
  handle(id: number): LuaFunction;
  idOf(table: StoredTable): number;
  handleOf(kind: FunctionKind & { type: 'live' }): number;
}

/** A table as it stands in a message. */
class Node {
  array: unknown[] = [];
  keys: unknown[] = [];
  values: unknown[] = [];
  /** Where integral floats are: places in `array`, or after it in `values`. */
  floats: number[] | null = null;
  /** Whether there are nodes among keys or values. */
  nested = false;
  /** Whether JavaScript would call one of the functions by itself, if they were in an object. */
  called = false;
  out: object | null = null;

  /** `Tag.List` or `Tag.Map` where it is said to be one, else `Tag.Table`. */
  constructor(readonly shape: number) {}
}

const isContent = (tag: number): boolean => tag === Tag.Table || tag === Tag.List || tag === Tag.Map;

interface Open {
  node: Node;
  array: number;
  pairs: number;
  key: unknown;
  hasKey: boolean;
}

class Decoder {
  readonly nodes: Node[] = [];
  readonly #open: Open[] = [];
  /** Values that open tables still announce; each takes at least a byte. */
  #announced = 0;
  /** The object of the host that came last, as it was passed. */
  passed: Wrapped | undefined;

  constructor(
    readonly reader: Reader,
    readonly links: Links,
  ) {}

  #id(): number {
    const id = this.reader.u32();
    if (id === 0) throw malformed('a table with id 0');
    return id;
  }

  #slot(tag: number): unknown {
    const { reader, links } = this;
    switch (tag) {
      case Tag.Nil:
      case Tag.Null:
        return null;
      case Tag.Boolean:
        return reader.u8() !== 0;
      case Tag.Integer:
        return links.exact ? reader.i64() : reader.integer();
      case Tag.Float:
        return reader.f64();
      case Tag.String:
      case Tag.Bigint:
        return reader.string();
      case Tag.Function:
        return links.function({ type: 'bytecode', code: reader.counted().slice() });
      case Tag.Builtin:
        return links.function({ type: 'builtin', name: reader.counted().slice() });
      case Tag.External:
        return links.stored(this.#id(), false);
      case Tag.Table:
      case Tag.List:
      case Tag.Map:
        return this.#table(tag);
      case Tag.Backref: {
        const node = this.nodes[reader.u32()];
        if (!node) throw malformed('it refers to a table that is not there');
        return node;
      }
      case Tag.Handle:
        return links.handle(reader.u32());
      case Tag.HostFunction: {
        const f = links.hostValues.get(reader.u32());
        if (typeof f !== 'function') throw malformed('a host function that is not there');
        return f;
      }
      case Tag.HostObject: {
        const object = links.hostValues.get(reader.u32());
        reader.u32();
        if (typeof object !== 'object') throw malformed('an object of the host that is not there');
        this.passed = object;
        return object.object;
      }
      case Tag.StoredFunction:
        return links.function({ type: 'stored', table: links.stored(this.#id(), false) });
      case Tag.StoredUpvalue:
        return links.stored(this.#id(), true);
    }
    throw malformed(`unknown tag 0x${tag.toString(16).padStart(2, '0')}`);
  }

  #table(shape: number): Node {
    const array = this.reader.u32();
    const pairs = this.reader.u32();
    this.#announced += array + 2 * pairs;
    if (this.#announced > this.reader.left) throw malformed('a table announces more than there is');
    const node = new Node(shape);
    this.nodes.push(node);
    if (array + pairs > 0) this.#open.push({ node, array, pairs, key: null, hasKey: false });
    return node;
  }

  #deliver(open: Open, tag: number, value: unknown): void {
    const { node } = open;
    if (isContent(tag) || tag === Tag.Backref) node.nested = true;
    const isFloat = tag === Tag.Float && Number.isInteger(value) && !this.links.exact;
    if (open.array > 0) {
      if (isFloat) (node.floats ??= []).push(node.array.length);
      open.array--;
      node.array.push(value);
    } else if (open.hasKey) {
      if (isFloat) (node.floats ??= []).push(node.array.length + node.values.length);
      open.pairs--;
      open.hasKey = false;
      if (typeof value === 'function' && (isCalled(open.key) || isHook(open.key, value))) node.called = true;
      node.keys.push(open.key);
      node.values.push(value);
    } else {
      if (tag === Tag.Nil || Number.isNaN(value)) throw malformed('a table with a nil or NaN key');
      open.key = value;
      open.hasKey = true;
    }
  }

  /** One whole value. */
  value(): unknown {
    const root = this.#slot(this.reader.u8());
    const stack = this.#open;
    while (stack.length > 0) {
      const open = stack[stack.length - 1]!;
      if (open.array === 0 && open.pairs === 0) {
        stack.pop();
        continue;
      }
      this.#announced--;
      const tag = this.reader.u8();
      const isName = tag === Tag.String && open.array === 0 && !open.hasKey;
      this.#deliver(open, tag, isName ? this.reader.name() : this.#slot(tag));
    }
    return root;
  }
}

/** Sets an own property, whatever its name. */
function setOwn(object: object, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  else (object as Record<string, unknown>)[key] = value;
}

/** Whether luacell would call this function of the host by itself when the table comes back, as if the host had written it there and not a script. */
const isHook = (key: unknown, value: unknown): boolean => key === 'toLua' && !functionKinds.has(value as LuaFunction);

/**
 * An array for a list or a non-empty sequence, an object for nothing but text keys, else a map. `called`: whether JavaScript would call some of its
 * functions; `shape`: what the table is said to be, `Tag.List` or `Tag.Map`.
 */
export function containerFor(array: readonly unknown[], keys: readonly unknown[], called: boolean, shape: number = Tag.Table): object {
  if (shape === Tag.List && keys.length === 0) return [];
  if (shape === Tag.Map && array.length > 0) return new Map();
  if (array.length === 0) return !called && keys.every((key) => typeof key === 'string') ? {} : new Map();
  return keys.length === 0 && !array.includes(null) ? [] : new Map();
}

/** Fills what `containerFor` made. `key`: the n-th key of the array part. */
export function fillContainer(
  out: object,
  array: readonly unknown[],
  keys: readonly unknown[],
  values: readonly unknown[],
  exact: boolean,
): void {
  if (Array.isArray(out)) {
    for (const value of array) out.push(value);
  } else if (out instanceof Map) {
    array.forEach((value, i) => {
      if (value !== null) out.set(exact ? BigInt(i + 1) : i + 1, value);
    });
    keys.forEach((key, i) => out.set(key, values[i]));
  } else {
    for (let i = 0; i < keys.length; i++) setOwn(out, keys[i] as string, values[i]);
  }
}

const built = (value: unknown): unknown => (value instanceof Node ? value.out : value);

function replaceNodes(values: unknown[]): void {
  for (let i = 0; i < values.length; i++) {
    if (values[i] instanceof Node) values[i] = (values[i] as Node).out;
  }
}

function build(nodes: readonly Node[], exact: boolean): void {
  for (const node of nodes) {
    const out = containerFor(node.array, node.keys, node.called, node.shape);
    node.out = Array.isArray(out) ? node.array : out;
  }
  for (const node of nodes) {
    const { array, keys, values, out } = node;
    if (node.nested) {
      replaceNodes(array);
      replaceNodes(keys);
      replaceNodes(values);
    }
    if (out !== array) fillContainer(out!, array, keys, values, exact);
    if (!node.floats) continue;
    const marks = new Map<unknown, number>();
    for (const at of node.floats) {
      if (at >= array.length) marks.set(keys[at - array.length], values[at - array.length] as number);
      else marks.set(out === array ? at : at + 1, array[at] as number);
    }
    floatMarks.set(out!, marks);
  }
}

/** All values of a message. `passed` gets those that are objects of the host, as they were passed, at their places. */
export function decode(bytes: Uint8Array, links: Links, passed?: (Wrapped | undefined)[]): LuaValue[] {
  if (bytes.length === 0) return [];
  const reader = new Reader(bytes);
  const decoder = new Decoder(reader, links);
  const values: unknown[] = [];
  while (reader.left > 0) {
    const isObject = bytes[reader.at] === Tag.HostObject;
    values.push(decoder.value());
    if (isObject && passed) passed[values.length - 1] = decoder.passed;
  }
  if (decoder.nodes.length === 0) return values as LuaValue[];
  build(decoder.nodes, links.exact);
  return values.map(built) as LuaValue[];
}

/** The ids of all tables that an encoded value refers to. Bytes that make no sense refer to nothing. */
export function references(bytes: Uint8Array, visit: (id: number) => void): void {
  const first = bytes[0]!;
  const refers = first === Tag.External || isContent(first) || first === Tag.StoredFunction || first === Tag.StoredUpvalue;
  if (refers) eachTag(bytes, (_, id) => id !== null && visit(id));
}

/** Whether a function of Lua, which is bytecode, is in an encoded value. */
export function hasFunction(bytes: Uint8Array): boolean {
  let found = false;
  eachTag(bytes, (tag) => (found ||= tag === Tag.Function || tag === Tag.StoredFunction || tag === Tag.StoredUpvalue));
  return found;
}

/** Each tag of an encoded value, and the table that it refers to. */
function eachTag(bytes: Uint8Array, visit: (tag: number, id: number | null) => void): void {
  const reader = new Reader(bytes);
  try {
    while (reader.left > 0) {
      const tag = reader.u8();
      const id = tag === Tag.External || tag === Tag.StoredFunction || tag === Tag.StoredUpvalue ? reader.u32() : null;
      visit(tag, id);
      if (id !== null) continue;
      switch (tag) {
        case Tag.Nil:
        case Tag.Null:
          break;
        case Tag.Boolean:
          reader.take(1);
          break;
        case Tag.Integer:
        case Tag.Float:
        case Tag.Table:
        case Tag.List:
        case Tag.Map:
          reader.take(8);
          break;
        case Tag.String:
        case Tag.Function:
        case Tag.Builtin:
        case Tag.Bigint:
          reader.counted();
          break;
        case Tag.Backref:
        case Tag.Handle:
          reader.take(4);
          break;
        default:
          return;
      }
    }
  } catch {
    // Cut short.
  }
}

/** A container on its way out: its entries, as they were when it was begun. */
export interface Parts {
  array: readonly unknown[];
  /** How long the array was then. */
  length: number;
  /** Key, value, key, value ... without nil values. */
  pairs: unknown[];
  marks: Map<unknown, number> | undefined;
}

/** The guest's largest block of memory has room for so many values: what is longer can't be a table, and would take minutes to find out. */
const MOST_VALUES = 2 ** 27 - 2 ** 16;

/** Objects may make new ones whenever they are looked at: what has more tables in it than this, or so deep in each other, is taken for endless. */
const MOST_TABLES = 2 ** 22;
const DEEPEST = 200_000;
/** The same for the entries of tables inside each other: as many as the largest map has, and some. */
const MOST_ENTRIES = 2 ** 24 + 2 ** 20;

/** Counts one more table. */
export function checkTables(tables: number, depth: number): void {
  if (tables > MOST_TABLES) throw conversion(`more than ${MOST_TABLES} tables in one value: does it make new ones without end?`);
  if (depth > DEEPEST) throw conversion(`more than ${DEEPEST} tables inside each other: do they make new ones without end?`);
}

/** Checks how many entries are held at a time while tables are taken apart. */
export function checkEntries(entries: number): void {
  if (entries > MOST_ENTRIES) throw conversion(`more than ${MOST_ENTRIES} entries in tables inside each other: do they make new ones without end?`);
}

function checkLength(length: number): void {
  // A proxy may say anything.
  if (!Number.isInteger(length) || length < 0) throw conversion('an array whose length is no number of elements');
  if (length > MOST_VALUES) throw conversion(`an array of ${length} elements is longer than the ${MOST_VALUES} that a Lua table can hold`);
}

/** A table by value, taken apart. */
export function partsOf(value: object): Parts {
  const marks = floatMarks.get(value);
  if (Array.isArray(value)) {
    const { length } = value;
    checkLength(length);
    return { array: value, length, pairs: [], marks };
  }
  const pairs: unknown[] = [];
  const add = (key: unknown, item: unknown): void => {
    if (item !== undefined && item !== null) pairs.push(key, item);
  };
  // A class may have a `forEach` of its own.
  if (value instanceof Map) {
    Map.prototype.forEach.call(value, (item, key) => add(key, item));
    checkSameKeys(pairs);
  } else for (const key of Object.keys(value)) add(key, (value as Record<string, unknown>)[key]);
  return { array: [], length: 0, pairs, marks };
}

/** Objects whose class says nothing: literals, and those without a prototype, of any realm. */
function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null;
}

export const isTable = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && (Array.isArray(value) || value instanceof Map || isPlainObject(value));

function className(value: object): string {
  const { constructor } = value as { constructor?: unknown };
  return (typeof constructor === 'function' && constructor.name) || 'object';
}

/** What stands in for a value that knows what Lua gets in its place, and for one that Lua holds as itself. */
export function replaced(value: unknown): unknown {
  for (let i = 0; typeof value === 'object' && value !== null; i++) {
    if (value instanceof StoredTable || value instanceof Uint8Array) return value;
    const wrapped = wrappedOf(value);
    if (wrapped) return wrapped;
    const hook = (value as { toLua?: unknown }).toLua;
    if (typeof hook !== 'function' || functionKinds.has(hook as LuaFunction)) return value;
    if (i === 8) throw conversion('toLua keeps returning objects that have toLua');
    value = (hook as () => unknown).call(value);
  }
  return value;
}

export function putReference(out: Writer, id: number): void {
  out.u8(Tag.External);
  out.u32(id);
}

function putNumber(out: Writer, x: number, float: boolean): void {
  if (!float && Number.isSafeInteger(x) && !Object.is(x, -0)) {
    out.integer(Tag.Integer, x);
  } else {
    out.f64(Tag.Float, x);
  }
}

function putBytes(out: Writer, tag: number, bytes: Uint8Array): void {
  out.u8(tag);
  out.u32(bytes.length);
  out.raw(bytes);
}

function putFunction(out: Writer, value: LuaFunction, links: Links, live: boolean): void {
  const kind = functionKinds.get(value);
  if (!kind) {
    if (!live) throw conversion("a function of the host can't be stored");
    out.u8(Tag.HostFunction);
    return out.u32(links.hostValues.give(value));
  }
  switch (kind.type) {
    case 'live':
      if (!live) throw conversion('a function of the running sandbox can only be stored by a script');
      out.u8(Tag.Handle);
      return out.u32(links.handleOf(kind));
    case 'bytecode':
      return putBytes(out, Tag.Function, kind.code);
    case 'builtin':
      return putBytes(out, Tag.Builtin, kind.name);
    case 'stored':
      out.u8(Tag.StoredFunction);
      return out.u32(links.idOf(kind.table));
  }
}

/** Writes everything but tables by value. `float`: an integral number is a float. `live`: functions of the running Lua may go. */
export function putPlain(out: Writer, value: unknown, links: Links, float: boolean, live: boolean): void {
  switch (typeof value) {
    case 'undefined':
      return out.u8(Tag.Nil);
    case 'boolean':
      out.u8(Tag.Boolean);
      return out.u8(value ? 1 : 0);
    case 'number':
      return putNumber(out, value, float || links.exact);
    case 'bigint':
      if (!fits64(value)) throw conversion(`${value} does not fit Lua's 64-bit integers`);
      out.u8(Tag.Integer);
      return out.i64(value);
    case 'string':
      out.u8(Tag.String);
      return out.text(value);
    case 'function':
      return putFunction(out, value as LuaFunction, links, live);
    case 'symbol':
      throw conversion("can't pass a symbol");
  }
  if (value === null) return out.u8(Tag.Nil);
  if (value instanceof Uint8Array) return putBytes(out, Tag.String, value);
  if (value instanceof ArrayBuffer) return putBytes(out, Tag.String, new Uint8Array(value));
  if (value instanceof LuaFloat) return putNumber(out, Number(value.value), true);
  if (value instanceof StoredTable) {
    out.u8(value.isCell ? Tag.StoredUpvalue : Tag.External);
    return out.u32(links.idOf(value));
  }
  if (value instanceof Wrapped) {
    if (!live) throw conversion("an object of the host can't be stored");
    out.u8(Tag.HostObject);
    out.u32(links.hostValues.give(value));
    return out.u32(value.class.number);
  }
  throw conversion(`can't pass a ${className(value as object)}: give it a method toLua, or pass plain values`);
}

/** A table that is being written. */
class Writing {
  /** How many values of the array part are written, and how many keys and values after that. */
  array = 0;
  pair = 0;

  constructor(readonly parts: Parts) {}

  /** The key at which it is, for messages. */
  place(exact: boolean): unknown {
    if (this.pair > 0) return this.parts.pairs[(this.pair - 1) & ~1];
    return exact ? BigInt(this.array) : this.array;
  }
}

function checkKey(key: unknown): void {
  if (key === null || key === undefined) throw conversion('a table key must not be nil');
  if (Number.isNaN(key)) throw conversion('a table key must not be NaN');
}

class Encoder {
  readonly #numbers = new Map<object, number>();
  readonly open: Writing[] = [];
  /** Of the open ones. */
  #entriesHeld = 0;

  constructor(
    readonly out: Writer,
    readonly links: Links,
  ) {}

  /** Writes an object; a table is only begun. Whether there is more to write of it. */
  #object(value: unknown, float: boolean): boolean {
    const { out } = this;
    value = replaced(value);
    if (!isTable(value)) {
      putPlain(out, value, this.links, float, true);
      return false;
    }
    const known = this.#numbers.get(value);
    if (known !== undefined) {
      out.u8(Tag.Backref);
      out.u32(known);
      return false;
    }
    checkTables(this.#numbers.size + 1, this.open.length);
    this.#numbers.set(value, this.#numbers.size);
    const parts = partsOf(value);
    out.u8(Array.isArray(value) ? Tag.List : Tag.Map);
    out.u32(parts.length);
    out.u32(parts.pairs.length / 2);
    if (parts.length + parts.pairs.length === 0) return false;
    checkEntries((this.#entriesHeld += parts.pairs.length / 2));
    this.open.push(new Writing(parts));
    return true;
  }

  /** Writes what the table holds, up to its end or to a table in it. */
  #entries(top: Writing): void {
    const { out, links } = this;
    const { array, length, pairs, marks } = top.parts;
    while (top.array < length) {
      const i = top.array++;
      const item = array[i];
      const float = marks !== undefined && marks.get(i) === item;
      if (typeof item !== 'object' || item === null) putPlain(out, item, links, float, true);
      else if (this.#object(item, float)) return;
    }
    while (top.pair < pairs.length) {
      const i = top.pair++;
      const item = pairs[i];
      const isKey = (i & 1) === 0;
      if (isKey && typeof item !== 'string') checkKey(item);
      const float = !isKey && marks !== undefined && marks.get(pairs[i - 1]) === item;
      if (typeof item !== 'object' || item === null) putPlain(out, item, links, float, true);
      else if (this.#object(item, float)) return;
    }
    this.#entriesHeld -= pairs.length / 2;
    this.open.pop();
  }

  value(value: object): void {
    const { open } = this;
    this.#object(value, false);
    while (open.length > 0) this.#entries(open[open.length - 1]!);
  }
}

/** Proxies, accessors and `toLua` are the host's own code, which may throw anything. */
export function readingError(thrown: unknown): LuaCellError {
  return ourError(thrown) ?? new LuaCellError('Conversion', 'reading it threw an error', { cause: thrown });
}

/** Writes arguments for the guest, tables inline. `what`: what an error message calls them, or the one that there is. */
export function encodeArgs(values: readonly unknown[], out: Writer, links: Links, what: string | (() => string) = 'argument'): void {
  checkLength(values.length);
  let encoder: Encoder | null = null;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    try {
      if (typeof value !== 'object' || value === null) {
        putPlain(out, value, links, false, true);
      } else {
        encoder ??= new Encoder(out, links);
        encoder.value(value);
      }
    } catch (thrown) {
      const error = readingError(thrown);
      error.message += ` (${pathText(typeof what === 'string' ? `${what} ${i + 1}` : what(), encoder?.open.map((writing) => writing.place(links.exact)) ?? [])})`;
      throw error;
    }
  }
}
