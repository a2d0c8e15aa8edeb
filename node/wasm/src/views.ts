// Views of stored tables, and what they do.

import { containerFor, decode, fillContainer, isTable, putPlain, putReference, replaced } from '../../shared/codec.js';
import type { Runtime } from './runtime.js';
import { type LuaCellError, storeError } from '../../shared/errors.js';
import { decodeKey, encodeKey, isKey } from '../../shared/keys.js';
import type { SandboxLinks } from './links.js';
import { isCalled } from '../../shared/objects.js';
import { TableId } from '../../shared/protocol.js';
import { type Owner, StoredTable } from '../../shared/stored.js';
import { collect, entriesOf, located, sequenceOf, wayTo } from './storing.js';
import type { Tables } from './tables.js';
import type { LuaValue } from '../../shared/values.js';

/** The key as the store has it; null when there can't be such a key. */
const keyText = (key: unknown): string | null => (isKey(key) ? encodeKey(key) : null);

/** The views of one sandbox. There is one view of each table, so that equal tables are the same object. */
export class Views implements Owner {
  readonly #known = new Map<number, WeakRef<StoredTable>>();
  /** With a seed a view counts for good: when tables go must not depend on when JavaScript collects garbage. */
  readonly #pinned = new Set<number>();
  readonly #gone = new FinalizationRegistry<number>((key) => {
    if (this.#known.get(key)?.deref() === undefined) this.#known.delete(key);
  });

  constructor(readonly runtime: Runtime) {}

  get #tables(): Tables {
    return this.runtime.host.tables;
  }

  view(id: number, cell: boolean): StoredTable {
    const key = cell ? -id : id;
    if (this.runtime.host.virtualTime) this.#pinned.add(id);
    const known = this.#known.get(key)?.deref();
    if (known) return known;
    const view = new StoredTable(this, id, cell);
    this.#known.set(key, new WeakRef(view));
    this.#gone.register(view, key);
    return view;
  }

  /** The tables that somebody has a view of. */
  *ids(): Generator<number> {
    for (const [key, view] of this.#known) if (view.deref()) yield Math.abs(key);
    yield* this.#pinned;
  }

  /** The sandbox was restored: tables made since then are gone, and their numbers will be given again. */
  end(): void {
    this.#pinned.clear();
    for (const [key, view] of this.#known)
      if (Math.abs(key) > TableId.Io) {
        view.deref()?.end();
        this.#known.delete(key);
      }
  }

  #decodeStored(bytes: Uint8Array, links: SandboxLinks, id: number, key: string): LuaValue {
    const refusal = this.#tables.refusal(id, key, bytes);
    if (refusal) throw refusal;
    const malformed = (cause?: unknown): LuaCellError => storeError(`table ${id} holds a malformed value under '${key}'`, cause);
    let values: LuaValue[];
    try {
      values = decode(bytes, links);
    } catch (error) {
      throw malformed(error);
    }
    if (values.length !== 1) throw malformed();
    return values[0]!;
  }

  getStored(id: number, key: unknown): LuaValue | undefined {
    const text = keyText(key);
    return this.runtime.read((links) => {
      if (text === null) return undefined;
      const bytes = this.#tables.get(id, text);
      return bytes && this.#decodeStored(bytes, links, id, text);
    });
  }

  hasStored(id: number, key: unknown): boolean {
    const text = keyText(key);
    return this.runtime.read(() => text !== null && this.#tables.get(id, text) !== undefined);
  }

  storedSize(id: number): number {
    return this.runtime.read(() => this.#tables.size(id));
  }

  storedKeys(id: number): LuaValue[] {
    return this.runtime.read(() => Array.from(this.#tables.scan(id), ([key]) => decodeKey(key, this.runtime.options.exact)));
  }

  storedEntries(id: number): [LuaValue, LuaValue][] {
    return this.runtime.read((links) => this.#entries(links, id));
  }

  #entries(links: SandboxLinks, id: number): [LuaValue, LuaValue][] {
    return Array.from(this.#tables.scan(id), ([key, bytes]) => [
      decodeKey(key, this.runtime.options.exact),
      this.#decodeStored(bytes, links, id, key),
    ]);
  }

  copyStored(id: number): object {
    return this.runtime.read((links) => {
      const seen = new Map<number, { entries: [LuaValue, LuaValue][]; out: object; sequence: LuaValue[] | null }>();
      const pending = [id];
      for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
        if (seen.has(next)) continue;
        const entries = this.#entries(links, next);
        const sequence = sequenceOf(entries);
        const called = entries.some(([key, value]) => typeof value === 'function' && isCalled(key));
        const out = containerFor(sequence ?? [], sequence ? [] : entries.map(([key]) => key), called);
        seen.set(next, { entries, out, sequence });
        for (const [, value] of entries) if (value instanceof StoredTable) pending.push(value.id);
      }
      const through = (value: LuaValue): unknown => (value instanceof StoredTable ? seen.get(value.id)!.out : value);
      for (const { entries, out, sequence } of seen.values()) {
        const keys = sequence ? [] : entries.map(([key]) => key);
        fillContainer(out, (sequence ?? []).map(through), keys, entries.map(([, value]) => through(value)), this.runtime.options.exact);
      }
      return seen.get(id)!.out;
    });
  }

  deleteStored(id: number, key: unknown): boolean {
    const text = keyText(key);
    return this.runtime.write(() => {
      if (text === null) return false;
      const tables = this.#tables;
      const there = tables.get(id, text) !== undefined;
      tables.delete(id, text);
      return there;
    });
  }

  clearStored(id: number): void {
    this.runtime.write(() => {
      const tables = this.#tables;
      for (const [key] of [...tables.scan(id)]) tables.delete(id, key);
    });
  }

  setStored(id: number, key: unknown, value: unknown): void {
    const text = encodeKey(key);
    value = replaced(value);
    const all = isTable(value) ? collect(value, key) : [];
    this.runtime.write((links) => {
      const tables = this.#tables;
      if (value === null || value === undefined) return tables.delete(id, text);
      if (all.length === 0) return tables.set(id, text, this.#encodeStored(value, links, false, () => [key]));
      // Nothing is written before everything is known to be storable.
      const first = this.runtime.allocateIds(all.length);
      const ids = new Map(all.map((table, i) => [table.source, first + i]));
      const reference = (table: object): Uint8Array => this.runtime.encoded((out) => putReference(out, ids.get(table)!));
      const writes: [number, string, Uint8Array][] = [];
      all.forEach((table, i) => {
        for (const [key, item, float] of entriesOf(table.parts)) {
          const place = (): unknown[] => wayTo(all, i, key);
          const text = located(place, () => encodeKey(key));
          const known = typeof item === 'object' && item !== null && ids.has(item);
          writes.push([first + i, text, known ? reference(item) : this.#encodeStored(item, links, float, place)]);
        }
      });
      tables.set(id, text, reference(value as object));
      for (const write of writes) tables.set(...write);
    });
  }

  #encodeStored(value: unknown, links: SandboxLinks, float: boolean, place: () => unknown[]): Uint8Array {
    return located(place, () => this.runtime.encoded((out) => putPlain(out, value, links, float, false)));
  }
}
