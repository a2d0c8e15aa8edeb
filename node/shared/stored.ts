import { LuaCellError, conversion } from './errors.js';
import { pathText } from './path.js';
import type { LuaInput, LuaValue } from './values.js';

/** What a view needs of its sandbox. */
export interface Owner {
  getStored(id: number, key: unknown): LuaValue | undefined;
  setStored(id: number, key: unknown, value: unknown): void;
  deleteStored(id: number, key: unknown): boolean;
  clearStored(id: number): void;
  hasStored(id: number, key: unknown): boolean;
  storedSize(id: number): number;
  storedKeys(id: number): LuaValue[];
  storedEntries(id: number): [LuaValue, LuaValue][];
  copyStored(id: number): object;
}

/** In the place of a sandbox that was restored since. */
const gone: Owner = new Proxy({} as Owner, {
  get: () => () => {
    throw new LuaCellError('Closed', 'the table is gone: its sandbox was restored from a snapshot');
  },
});

/**
 * A live view of a table that the sandbox keeps, with the methods of a `Map`. While a view exists, the table is not removed.
 *
 * Each write is a transaction of its own; inside of a host function it is part of the script's run. What is read in a loop is what was there
 * when the loop began. All methods throw `Busy` while the sandbox runs something else, and `Closed` when it is closed.
 */
export class StoredTable implements Iterable<[LuaValue, LuaValue]> {
  #owner: Owner;
  readonly #id: number;
  readonly #cell: boolean;

  /** @internal */
  constructor(owner: Owner, id: number, cell: boolean) {
    this.#owner = owner;
    this.#id = id;
    this.#cell = cell;
  }

  /** The table's number in the store. `_home` is 1. */
  get id(): number {
    return this.#id;
  }

  /** @internal */
  get owner(): Owner {
    return this.#owner;
  }

  /** @internal The table is gone. */
  end(): void {
    this.#owner = gone;
  }

  /** @internal Whether it holds an upvalue of a stored function. */
  get isCell(): boolean {
    return this.#cell;
  }

  /** The number of entries. */
  get size(): number {
    return this.#owner.storedSize(this.#id);
  }

  /** The value under a key, undefined if there is none. Nested tables are returned as live views. */
  get(key: LuaInput): any {
    return this.#owner.getStored(this.#id, key);
  }

  /** Sets the value under a key; null and undefined remove it. Arrays, maps and objects become stored tables too, at every level. */
  set(key: LuaInput, value: LuaInput): this {
    this.#owner.setStored(this.#id, key, value);
    return this;
  }

  /** Whether there is a value under this key. */
  has(key: LuaInput): boolean {
    return this.#owner.hasStored(this.#id, key);
  }

  /** Removes a key. Returns whether it was there. */
  delete(key: LuaInput): boolean {
    return this.#owner.deleteStored(this.#id, key);
  }

  /** Removes all entries. */
  clear(): void {
    this.#owner.clearStored(this.#id);
  }

  /** All keys. */
  keys(): IterableIterator<LuaValue> {
    return this.#owner.storedKeys(this.#id)[Symbol.iterator]();
  }

  /** All values. */
  values(): IterableIterator<any> {
    return this.#owner.storedEntries(this.#id).map(([, value]) => value)[Symbol.iterator]();
  }

  /** All keys with their values. */
  entries(): IterableIterator<[LuaValue, any]> {
    return this.#owner.storedEntries(this.#id)[Symbol.iterator]();
  }

  [Symbol.iterator](): IterableIterator<[LuaValue, any]> {
    return this.entries();
  }

  /** Calls a function for each entry. */
  forEach(f: (value: any, key: LuaValue, table: StoredTable) => void, self?: unknown): void {
    for (const [key, value] of this.entries()) f.call(self, value, key, this);
  }

  /** A deep copy as array, object or map; sharing and cycles are preserved. */
  copy(): any {
    return this.#owner.copyStored(this.#id);
  }

  /**
   * For `JSON.stringify`: a deep copy as arrays and objects; keys become text, and functions are left out, as JSON does. Two keys with the same text, `1` and
   * `"1"`, are a `Conversion`.
   */
  toJSON(): any {
    return forJSON(this.copy());
  }

  get [Symbol.toStringTag](): string {
    return 'StoredTable';
  }
}

/** A key, and where what it is in was. */
interface Place {
  key: unknown;
  outer: Place | null;
}

function placeText(place: Place | null): string {
  const keys: unknown[] = [];
  for (let at = place; at; at = at.outer) keys.push(at.key);
  return pathText('value', keys.reverse());
}

/** The same with objects in place of maps, and without functions: JSON would call those with a certain name. */
function forJSON(root: object): unknown {
  const seen = new Map<object, object>();
  const pending: { value: object; place: Place | null }[] = [];
  const converted = (value: unknown, place: Place | null): unknown => {
    if (typeof value === 'function') return undefined;
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
    let out = seen.get(value);
    if (!out) {
      out = Array.isArray(value) ? [] : {};
      seen.set(value, out);
      pending.push({ value, place });
    }
    return out;
  };
  const first = converted(root, null);
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, place } = next;
    const out = seen.get(value)!;
    const entries: Iterable<[unknown, unknown]> = value instanceof Map ? value : Object.entries(value);
    for (const [key, item] of entries) {
      const text = String(key);
      if (Object.hasOwn(out, text)) throw conversion(`two keys would be '${text}' in JSON (${placeText(place)})`);
      const field = { value: converted(item, { key, outer: place }), enumerable: true, writable: true, configurable: true };
      Object.defineProperty(out, text, field);
    }
  }
  return first;
}
