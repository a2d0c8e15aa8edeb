// Views of stored tables.

import { replaced } from '../shared/codec.js';
import { LuaCellError } from '../shared/errors.js';
import { isKey } from '../shared/keys.js';
import { pathText } from '../shared/path.js';
import { type Owner, StoredTable } from '../shared/stored.js';
import type { LuaValue } from '../shared/values.js';
import type { Adapter } from './adapter.js';
import { type NativeSandbox, tableDelete, tableGet, tableSet } from './native.js';

interface Held {
  known: Map<number, WeakRef<StoredTable>>;
  native: NativeSandbox;
  id: number;
}

/** Views that nobody has any more. There may be a new one of the same table already. */
const unheld = new FinalizationRegistry<Held>(({ known, native, id }) => {
  if (known.get(id)?.deref()) return;
  known.delete(id);
  native.releaseTable(id);
});

/** The views of one sandbox from one restore to the next. There is one view of each table, so that equal tables are the same object. */
export class Views implements Owner {
  readonly #known = new Map<number, WeakRef<StoredTable>>();
  #ended = false;

  constructor(readonly adapter: Adapter) {}

  view(id: number, cell: boolean): StoredTable {
    const known = this.#known.get(id)?.deref();
    if (known) return known;
    const table = new StoredTable(this, id, cell);
    this.#known.set(id, new WeakRef(table));
    if (id > 2) unheld.register(table, { known: this.#known, native: this.adapter.native, id }, table);
    return table;
  }

  /** The sandbox was restored: its tables are others now. */
  end(): void {
    this.#ended = true;
    // What is collected later does not take a new view's table away.
    for (const [id, ref] of this.#known) {
      const table = ref.deref();
      if (table) unheld.unregister(table);
      this.#known.delete(id);
    }
  }

  /** Refuses tables of another time. */
  checkAlive(): void {
    if (this.#ended) throw new LuaCellError('Closed', 'the table is gone: its sandbox was restored from a snapshot');
  }

  check(): NativeSandbox {
    this.checkAlive();
    return this.adapter.free();
  }

  /** Null when there can't be such a key. */
  #withKey(key: unknown, use: (key: unknown) => unknown): any {
    if (typeof key === 'object' && key !== null) key = replaced(key);
    if (!isKey(key)) return null;
    return this.adapter.withValue(key, 'key', (key) => this.adapter.result(use(key))) as unknown;
  }

  getStored(id: number, key: unknown): LuaValue | undefined {
    this.check();
    const value = this.#withKey(key, (key) => tableGet(this.adapter.slot, id, key)) as LuaValue;
    return value === null ? undefined : value;
  }

  hasStored(id: number, key: unknown): boolean {
    return this.getStored(id, key) !== undefined;
  }

  setStored(id: number, key: unknown, value: unknown): void {
    this.check();
    const place = pathText('', [key]).replace(/^\./, '');
    this.adapter.withValue(key, 'key', (key) => {
      // Its bytes have to outlast the writing of the value.
      const kept = key instanceof Uint8Array ? Uint8Array.from(key) : key;
      this.adapter.withValue(value, place, (value) => this.adapter.result(tableSet(this.adapter.slot, id, kept, value)));
    });
  }

  deleteStored(id: number, key: unknown): boolean {
    this.check();
    return this.#withKey(key, (key) => tableDelete(this.adapter.slot, id, key)) === true;
  }

  clearStored(id: number): void {
    this.adapter.result(this.check().tableClear(id));
  }

  storedSize(id: number): number {
    return this.adapter.result(this.check().tableSize(id)) as number;
  }

  storedKeys(id: number): LuaValue[] {
    return this.adapter.list(this.check().tableKeys(id));
  }

  storedEntries(id: number): [LuaValue, LuaValue][] {
    const all = this.adapter.list(this.check().tableEntries(id));
    const entries: [LuaValue, LuaValue][] = [];
    for (let i = 0; i < all.length; i += 2) entries.push([all[i]!, all[i + 1]!]);
    return entries;
  }

  copyStored(id: number): object {
    return this.adapter.result(this.check().tableCopy(id)) as object;
  }
}
