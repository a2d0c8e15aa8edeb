// A sandbox's tables: in memory, with a journal of the present run, and the part that a store keeps.

import { hasFunction, references } from '../../shared/codec.js';
import { type LuaCellError, messageOf, storeError } from '../../shared/errors.js';
import { atOnce } from '../../shared/promises.js';
import { TableId, Tag } from '../../shared/protocol.js';

const NEXT_KEY = 'next';
/** The next free id is written down in steps of this, so that not every new table costs a write. */
const ID_STEP = 64;
/** Fewer new tables than this are not worth a sweep. */
const MIN_SWEEP = 256;

/** A change of one entry; null removes it. */
export type Write = [table: number, key: string, value: Uint8Array | null];

/**
 * Where `_home` is kept. The sandbox holds all tables in memory: it reads the store once, when it is made, and hands it the writes of
 * each run that succeeded. Keys are text, values bytes, as docs/MEMORY_PROTOCOL.md describes them.
 */
export interface TableStore {
  /** Everything that the store holds. */
  entries(): Iterable<readonly [table: number, key: string, value: Uint8Array]>;
  /** Keeps all of these writes, or throws and keeps none. At once: a promise is refused. */
  commit(writes: readonly Write[]): void;
}

/** Entries in order of insertion. What the present run removed stays as undefined until it ends, so that nothing loses its place. */
class Table {
  readonly entries = new Map<string, Uint8Array | undefined>();
  size = 0;

  set(key: string, value: Uint8Array | undefined): Uint8Array | undefined {
    const old = this.entries.get(key);
    this.size += (value === undefined ? 0 : 1) - (old === undefined ? 0 : 1);
    this.entries.set(key, value);
    return old;
  }

  forget(key: string): void {
    if (this.entries.get(key) !== undefined) this.size--;
    this.entries.delete(key);
  }

  *[Symbol.iterator](): Generator<[string, Uint8Array]> {
    for (const [key, value] of this.entries) if (value !== undefined) yield [key, value];
  }
}

/** What the present run's first write under a key replaced. `made`: the table was new. */
interface Step {
  id: number;
  table: Table;
  key: string;
  old: Uint8Array | undefined;
  had: boolean;
  made: boolean;
}

/** Where somebody stands who goes through a table. */
interface Cursor {
  entries: Table['entries'];
  /** The key that was given last. */
  key: string | null;
  rest: Iterator<string, undefined>;
  /** Taken from `rest`, and not given yet. */
  pending: string | undefined;
}

/** Copies of all tables at one moment. */
export type TableImage = Map<number, Map<string, Uint8Array>>;

/** About what a step takes beside its key and the old value, and what a new table does. */
const STEP = 100;
const NEW_TABLE = 400;

/** Bytes of a key as text in UTF-8. */
function keyBytes(key: string): number {
  let n = 0;
  for (let i = 0; i < key.length; i++) {
    const c = key.charCodeAt(i);
    // Half of a pair counts 2, both 4.
    n += c < 0x80 ? 1 : c < 0x800 || (c >= 0xd800 && c < 0xe000) ? 2 : 3;
  }
  return n;
}

/** What the tables of an image hold, with what was written since. */
export function usageOf(image: TableImage, writes: readonly Write[] = []): { bytes: number; entries: number } {
  let [bytes, entries] = [0, 0];
  for (const [id, key, value] of writes) {
    const old = image.get(id)?.get(key);
    if (old) bytes -= keyBytes(key) + old.length;
    if (value) bytes += keyBytes(key) + value.length;
    entries += Number(value !== null) - Number(old !== undefined);
  }
  for (const table of image.values()) {
    entries += table.size;
    for (const [key, value] of table) bytes += keyBytes(key) + value.length;
  }
  return { bytes, entries };
}

const encodeNext = (next: number): Uint8Array => {
  const bytes = new Uint8Array(9);
  bytes[0] = Tag.Integer;
  new DataView(bytes.buffer).setUint32(1, next, true);
  return bytes;
};

/** Who has written to a store last. Whoever had opened it before does not know what is there now, and would give numbers that are taken. */
const writers = new WeakMap<TableStore, Tables>();

/** Whether it is the number of a table that scripts can have. */
export const isValid = (id: number): boolean => id > 0 && id < TableId.Runs;

export class Tables {
  #tables = new Map<number, Table>();
  #journal: Step[] = [];
  /** The keys that the journal has. */
  #touched = new Map<Table, Set<string>>();
  /** Bytes that the journal keeps alive, with keys that are gone and keep their places. */
  held = 0;
  #cursor: Cursor | null = null;
  /** Bytes of all keys and values. */
  bytes = 0;
  entries = 0;
  /** No table with this id or a higher one was ever seen. */
  nextId: number = TableId.FirstFree;
  /** The same before the present run. */
  #floor: number = TableId.FirstFree;
  #saved = 0;
  #live = 0;
  #created = 0;
  /** What the store has of durable runs that wait, by name. */
  readonly #runs = new Map<string, Uint8Array>();
  /** What becomes of them with the present writes. */
  #runWrites = new Map<string, Uint8Array | null>();
  /** Tables that the store has. */
  readonly #kept = new Set<number>([TableId.Home]);
  /** Functions that came from the store, where those are not wanted. */
  readonly #refused = new WeakSet<Uint8Array>();
  /** Who had written to the store last when it was read, or this one since. */
  #writer: Tables | undefined;

  constructor(
    readonly store: TableStore | null,
    readonly takesFunctions = true,
  ) {
    if (!store) return;
    this.#writer = writers.get(store);
    try {
      for (const [id, key, given] of atOnce(store.entries(), "the store's entries")) {
        const value = new Uint8Array(given);
        if (id === TableId.Runs) {
          this.#runs.set(String(key), value);
          references(value, (other) => this.#noteId(other));
          continue;
        }
        if (!takesFunctions && hasFunction(value)) this.#refused.add(value);
        this.#load(id, String(key), value);
      }
    } catch (error) {
      throw storeError(`the store can't be read: ${messageOf(error)}`, error);
    }
    this.#live = this.#tables.size;
    this.#floor = this.nextId;
  }

  /** Why a value must not be read, if it must not. */
  refusal(id: number, key: string, value: Uint8Array): LuaCellError | null {
    if (!this.#refused.has(value)) return null;
    return storeError(`there is a function in table ${id} under '${key}', and this sandbox loads none from its store (storedFunctions)`);
  }

  #load(id: number, key: string, value: Uint8Array): void {
    if (id === TableId.Own) {
      if (key !== NEXT_KEY || value[0] !== Tag.Integer || value.length !== 9) return;
      this.#saved = new DataView(value.buffer).getUint32(1, true);
      this.#noteId(this.#saved - 1);
      return;
    }
    if (!Number.isInteger(id) || !isValid(id)) throw new RangeError(`${id} is not a table number`);
    this.#kept.add(id);
    this.#put(id, key, value);
    this.#forgetJournal();
  }

  #noteId(id: number): void {
    if (id >= this.nextId && isValid(id)) this.nextId = id + 1;
  }

  get(id: number, key: string): Uint8Array | undefined {
    return this.#tables.get(id)?.entries.get(key);
  }

  exists(id: number): boolean {
    return id === TableId.Home || id === TableId.Io || this.#tables.has(id);
  }

  size(id: number): number {
    return this.#tables.get(id)?.size ?? 0;
  }

  *scan(id: number): Generator<[string, Uint8Array]> {
    const table = this.#tables.get(id);
    if (table) yield* table;
  }

  /** Hands on entries behind this key, in order, until `visit` wants no more; false when the table has no such key. */
  scanAfter(id: number, after: string | null, visit: (key: string, value: Uint8Array) => boolean): boolean {
    const entries = this.#tables.get(id)?.entries;
    if (!entries) return after === null;
    let cursor = this.#cursor;
    this.#cursor = null;
    if (cursor?.entries !== entries || cursor.key !== after) {
      if (after !== null && !entries.has(after)) return false;
      const rest = entries.keys();
      while (after !== null && rest.next().value !== after);
      cursor = { entries, key: after, rest, pending: undefined };
    }
    for (;;) {
      const key = cursor.pending ?? cursor.rest.next().value;
      cursor.pending = undefined;
      if (key === undefined) return true;
      const value = entries.get(key);
      if (value === undefined) continue;
      if (!visit(key, value)) {
        // Whoever goes through a table comes back for what follows.
        cursor.pending = key;
        this.#cursor = cursor;
        return true;
      }
      cursor.key = key;
    }
  }

  /** The number of tables, `_home` and `_io` included when they were written to. */
  get count(): number {
    return this.#tables.size;
  }

  get isOpen(): boolean {
    return this.#journal.length > 0;
  }

  #put(id: number, key: string, value: Uint8Array | undefined): void {
    this.#noteId(id);
    let table = this.#tables.get(id);
    const made = table === undefined;
    if (table === undefined) {
      table = new Table();
      this.#tables.set(id, table);
      this.#created++;
    }
    const had = table.entries.has(key);
    const old = table.set(key, value);
    this.#count(key, old, value);
    this.#note({ id, table, key, old, had, made });
    if (value) references(value, (other) => this.#noteId(other));
  }

  /** Only what was there before the run is of use: a run may write to one key again and again. */
  #note(step: Step): void {
    const { table, key, old } = step;
    let keys = this.#touched.get(table);
    if (keys === undefined) this.#touched.set(table, (keys = new Set()));
    if (keys.has(key)) return;
    keys.add(key);
    this.#journal.push(step);
    this.held += STEP + keyBytes(key) + (old?.length ?? 0) + (step.made ? NEW_TABLE : 0);
  }

  #forgetJournal(): void {
    this.#journal = [];
    this.#touched = new Map();
    if (this.#runWrites.size > 0) this.#runWrites.clear();
    this.held = 0;
  }

  /** The names of durable runs that wait in the store. */
  get runNames(): string[] {
    return [...this.#runs.keys()].sort();
  }

  run(name: string): Uint8Array | undefined {
    return this.#runs.get(name);
  }

  /** Stores a run with the present writes; null removes it. */
  putRun(name: string, value: Uint8Array | null): void {
    this.#runWrites.set(name, value);
  }

  removeRun(name: string): void {
    try {
      this.putRun(name, null);
      this.commit();
    } catch (error) {
      this.rollback();
      throw error;
    }
  }

  #count(key: string, old: Uint8Array | undefined, value: Uint8Array | undefined): void {
    const size = (old || value) && keyBytes(key);
    if (old) this.bytes -= size! + old.length;
    if (value) this.bytes += size! + value.length;
    this.entries += (value ? 1 : 0) - (old ? 1 : 0);
  }

  /** Writes when there is room for it; false when there is not. */
  setWithin(id: number, key: string, value: Uint8Array, maxBytes: number, maxEntries: number): boolean {
    const old = this.get(id, key);
    const size = keyBytes(key);
    const bytes = this.bytes + size + value.length - (old ? size + old.length : 0);
    const entries = this.entries + (old ? 0 : 1);
    if ((bytes > maxBytes && bytes > this.bytes) || (entries > maxEntries && entries > this.entries)) return false;
    this.#put(id, key, value);
    return true;
  }

  set(id: number, key: string, value: Uint8Array): void {
    this.#put(id, key, value);
  }

  delete(id: number, key: string): void {
    if (this.get(id, key) !== undefined) this.#put(id, key, undefined);
  }

  /** Takes back what was written since the last commit. */
  rollback(): void {
    this.#cursor = null;
    for (const step of this.#journal.reverse()) {
      this.#count(step.key, step.table.entries.get(step.key), step.old);
      if (step.had) step.table.set(step.key, step.old);
      else step.table.forget(step.key);
      if (step.made) {
        this.#tables.delete(step.id);
        this.#created--;
      }
    }
    this.#forgetJournal();
    this.nextId = this.#floor;
  }

  /** How many numbers the present run has taken when the guest would give this one next. */
  taken(next: number): number {
    return next - this.#floor;
  }

  /** The highest number that the writes of the present run speak of. */
  highestWritten(): number {
    let highest = 0;
    const note = (id: number): void => void (highest = Math.max(highest, id));
    for (const { id, table, key } of this.#journal) {
      const value = table.entries.get(key);
      if (!value) continue;
      note(id);
      references(value, note);
    }
    return highest;
  }

  /** Numbers that the present run has taken are free again, but for this one and those before it; the next one to give. */
  giveBack(used: number): number {
    return (this.nextId = Math.max(this.#floor, used + 1));
  }

  /** Keeps what was written. When the store throws, it has to be rolled back. */
  commit(): void {
    const journal = this.#journal;
    this.#cursor = null;
    if (journal.length === 0 && this.#runWrites.size === 0) return;
    if (this.store) this.#hand(this.store, journal);
    for (const [name, value] of this.#runWrites) {
      if (value) this.#runs.set(name, value);
      else this.#runs.delete(name);
    }
    this.#forgetJournal();
    this.#floor = this.nextId;
    for (const { table, key } of journal) if (table.entries.get(key) === undefined) table.entries.delete(key);
  }

  /** Gives the store the writes that concern it: those to tables that it has, and whole tables that it is to have. */
  #hand(store: TableStore, journal: readonly Step[]): void {
    const writes: Write[] = [];
    const fresh: number[] = [];
    const adopted = new Set<number>();
    const follow = (value: Uint8Array): void =>
      references(value, (id) => {
        if (id === TableId.Io || !isValid(id) || this.#kept.has(id) || adopted.has(id)) return;
        adopted.add(id);
        fresh.push(id);
      });
    for (const { id, table, key } of journal) {
      if (!this.#kept.has(id)) continue;
      const value = table.entries.get(key);
      writes.push([id, key, value ?? null]);
      if (value) follow(value);
    }
    for (const [name, value] of this.#runWrites) {
      writes.push([TableId.Runs, name, value]);
      if (value) follow(value);
    }
    for (let id = fresh.pop(); id !== undefined; id = fresh.pop()) {
      for (const [key, value] of this.scan(id)) {
        writes.push([id, key, value]);
        follow(value);
      }
    }
    if (writes.length === 0) return;
    let saved = this.#saved;
    if (this.nextId > saved) {
      saved = Math.min(TableId.Runs, Math.ceil(this.nextId / ID_STEP) * ID_STEP);
      writes.push([TableId.Own, NEXT_KEY, encodeNext(saved)]);
    }
    this.#commitTo(store, writes);
    this.#saved = saved;
    for (const id of adopted) this.#kept.add(id);
  }

  #commitTo(store: TableStore, writes: readonly Write[]): void {
    if (writers.get(store) !== this.#writer)
      throw storeError('another sandbox has written to the store since this one opened it, but only one sandbox at a time may use a store');
    try {
      atOnce<unknown>(store.commit(writes), "the store's commit");
    } catch (error) {
      throw storeError(`the store failed: ${messageOf(error)}`, error);
    }
    this.#writer = this;
    writers.set(store, this);
  }

  /** Whether so many tables were made that it is worth looking for orphans. */
  get wantsSweep(): boolean {
    return this.#created > MIN_SWEEP && this.#created > this.#live;
  }

  /** Removes every table that can't be reached from these, or from `_home` and `_io`, and gives the numbers of those. Nothing may be open. */
  sweep(held: Iterable<number>): number[] {
    const seen = new Set<number>([TableId.Home, TableId.Io, ...held]);
    const pending = [...seen];
    const follow = (value: Uint8Array): void =>
      references(value, (other) => {
        if (seen.size !== seen.add(other).size) pending.push(other);
      });
    for (const value of this.#runs.values()) follow(value);
    for (let id = pending.pop(); id !== undefined; id = pending.pop()) for (const [, value] of this.scan(id)) follow(value);
    const orphans = [...this.#tables.keys()].filter((id) => !seen.has(id));
    const writes: Write[] = [];
    for (const id of orphans) if (this.#kept.has(id)) for (const [key] of this.scan(id)) writes.push([id, key, null]);
    if (this.store && writes.length > 0) this.#commitTo(this.store, writes);
    for (const id of orphans) {
      for (const [key, value] of this.scan(id)) this.#count(key, value, undefined);
      this.#tables.delete(id);
      this.#kept.delete(id);
    }
    this.#live = this.#tables.size;
    this.#created = 0;
    return orphans;
  }

  /** All tables without what the present run wrote; the values are shared, for nobody changes them. */
  image(): TableImage {
    const made = new Set<Table>();
    const before = new Map<Table, Map<string, Uint8Array | undefined>>();
    for (const step of this.#journal) {
      if (step.made) made.add(step.table);
      if (!before.has(step.table)) before.set(step.table, new Map());
      before.get(step.table)!.set(step.key, step.old);
    }
    const image: TableImage = new Map();
    for (const [id, table] of this.#tables) {
      if (made.has(table)) continue;
      const replaced = before.get(table);
      const copy = new Map<string, Uint8Array>();
      for (const [key, now] of table.entries) {
        const value = replaced?.has(key) ? replaced.get(key) : now;
        if (!value) continue;
        const refusal = this.refusal(id, key, value);
        if (refusal) throw refusal;
        copy.set(key, value);
      }
      image.set(id, copy);
    }
    return image;
  }

  /** What the present run wrote. */
  get writes(): Write[] {
    return this.#journal.map(({ id, table, key }) => [id, key, table.entries.get(key) ?? null]);
  }

  /** Writes it again. */
  writeAgain(writes: readonly Write[]): void {
    for (const [id, key, value] of writes) {
      if (value) this.set(id, key, value);
      else this.delete(id, key);
    }
  }

  /** Makes the tables what they were, as writes of the present run. */
  restore(image: TableImage): void {
    for (const name of this.#runs.keys()) this.putRun(name, null);
    for (const id of this.#tables.keys()) this.#restoreTable(id, image.get(id));
    for (const [id, table] of image) this.#restoreTable(id, table);
  }

  /** `_io`, which no store keeps. */
  restoreIo(image: TableImage): void {
    this.#restoreTable(TableId.Io, image.get(TableId.Io));
  }

  #restoreTable(id: number, then: ReadonlyMap<string, Uint8Array> | undefined): void {
    for (const [key] of this.scan(id)) if (!then?.has(key)) this.delete(id, key);
    for (const [key, value] of then ?? []) if (this.get(id, key) !== value) this.set(id, key, value);
  }
}
