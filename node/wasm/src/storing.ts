// Values on their way into a store, and stored entries as a sequence.

import { type Parts, checkEntries, checkTables, isTable, partsOf, readingError, replaced } from '../../shared/codec.js';
import { pathText } from '../../shared/path.js';
import type { LuaValue } from '../../shared/values.js';

export interface Pending {
  source: object;
  parts: Parts;
  /** Which one holds it, and under which key, for messages. */
  parent: number;
  /** How many hold each other there. */
  depth: number;
  key: unknown;
}

/** Keys and values of a container; the third says that the number was a float. */
export function* entriesOf(parts: Parts): Generator<[key: unknown, value: unknown, float: boolean]> {
  const { array, pairs, marks } = parts;
  for (const [i, value] of array.entries())
    if (value !== null && value !== undefined) yield [i + 1, replaced(value), marks?.get(i) === value && marks!.has(i)];
  for (let i = 0; i < pairs.length; i += 2)
    yield [pairs[i], replaced(pairs[i + 1]), marks !== undefined && marks.has(pairs[i]) && marks.get(pairs[i]) === pairs[i + 1]];
}

/** Every table that can be reached from this one. What `toLua` gives is asked for once. */
export function collect(root: object, key: unknown): Pending[] {
  const seen = new Set<object>([root]);
  const all: Pending[] = [{ source: root, parts: located(() => [key], () => partsOf(root)), parent: -1, depth: 0, key }];
  let entries = 0;
  for (let at = 0; at < all.length; at++) {
    const pending = all[at]!;
    located(
      () => wayTo(all, pending.parent, pending.key),
      () => checkEntries((entries += pending.parts.pairs.length / 2)),
    );
    const array: unknown[] = [];
    const pairs: unknown[] = [];
    const add = (key: unknown, item: unknown): unknown =>
      located(
        () => wayTo(all, at, key),
        () => {
          const value = replaced(item);
          if (isTable(value) && !seen.has(value)) {
            checkTables(seen.add(value).size, pending.depth + 1);
            all.push({ source: value, parts: partsOf(value), parent: at, depth: pending.depth + 1, key });
          }
          return value;
        },
      );
    const { parts } = pending;
    for (let i = 0; i < parts.length; i++) array.push(add(i + 1, parts.array[i]));
    for (let i = 0; i < parts.pairs.length; i += 2) pairs.push(parts.pairs[i], add(parts.pairs[i], parts.pairs[i + 1]));
    pending.parts = { array, length: array.length, pairs, marks: parts.marks };
  }
  return all;
}

/** The keys that lead to a place. */
export function wayTo(all: readonly Pending[], at: number, key: unknown): unknown[] {
  const way = [key];
  for (let pending: Pending | undefined = all[at]; pending; pending = all[pending.parent]) way.push(pending.key);
  return way.reverse();
}

/** Names the place in an error. */
export function located<T>(place: () => unknown[], f: () => T): T {
  try {
    return f();
  } catch (thrown) {
    const error = readingError(thrown);
    error.message += ` (${pathText('', place()).replace(/^\./, '')})`;
    throw error;
  }
}

/** The values of entries with the keys 1 to n, in this order; null for any other entries. */
export function sequenceOf(entries: readonly [LuaValue, LuaValue][]): LuaValue[] | null {
  const n = entries.length;
  if (n === 0) return null;
  const values = new Array<LuaValue>(n);
  let count = 0;
  for (const [key, value] of entries) {
    const i = typeof key === 'number' || typeof key === 'bigint' ? Number(key) : 0;
    if (!Number.isInteger(i) || i < 1 || i > n) return null;
    values[i - 1] = value;
    count++;
  }
  return count === n ? values : null;
}
