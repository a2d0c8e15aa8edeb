// Tables kept in the browser's IndexedDB.

import { type LuaCellError, messageOf, storeError } from '../../shared/errors.js';
import { checkCount, checkOptions, checkType } from '../../shared/options.js';
import type { TableStore, Write } from './tables.js';

/** Settings of a store in IndexedDB. */
export interface IndexedDBOptions {
  /** Called immediately if writes could not be stored. Without it, you learn of it from `flush` and the next run. */
  onError?: (error: LuaCellError) => void;
  /** Milliseconds to wait for another user of the same database, such as the page before a reload. Default 5,000. */
  lockTimeout?: number;
}

const VERSION = 1;
const ENTRIES = 'entries';

type Entry = [table: number, key: string, value: Uint8Array];

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

function openDatabase(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, VERSION);
  request.onupgradeneeded = () => void request.result.createObjectStore(ENTRIES);
  return settled(request);
}

async function readAll(db: IDBDatabase): Promise<Entry[]> {
  const store = db.transaction(ENTRIES).objectStore(ENTRIES);
  const [keys, values] = await Promise.all([settled(store.getAllKeys()), settled(store.getAll())]);
  return keys.map((key, i) => {
    const [table, text] = key as [number, string];
    const value: unknown = values[i];
    if (typeof table !== 'number' || typeof text !== 'string' || !(value instanceof Uint8Array)) throw new TypeError('it holds something else');
    return [table, text, value];
  });
}

/** Tables in one database of IndexedDB, for one sandbox at a time: `await openIndexedDB(name)`. */
export class IndexedDBStore implements TableStore {
  readonly #db: IDBDatabase;
  readonly #release: () => void;
  readonly #onError: ((error: LuaCellError) => void) | undefined;
  #entries: Entry[] | null;
  /** Writes of runs that are not on their way yet. */
  #queue: (readonly Write[])[] = [];
  #writing: Promise<void> | null = null;
  #failure: LuaCellError | null = null;
  #closed = false;

  /** @internal */
  constructor(db: IDBDatabase, entries: Entry[], release: () => void, options: IndexedDBOptions) {
    this.#db = db;
    this.#entries = entries;
    this.#release = release;
    this.#onError = options.onError;
    db.onversionchange = () => this.#fail(new Error('somebody wants to delete or change the database'));
    db.onclose = () => this.#fail(new Error('the browser has closed the database'));
  }

  /** Everything that was there when it was opened. A store is for one sandbox: the second one can't read it. */
  entries(): Iterable<Entry> {
    this.#check();
    const entries = this.#entries;
    if (!entries) throw storeError('this store already has a sandbox: open one for each sandbox');
    this.#entries = null;
    return entries;
  }

  #check(): void {
    if (this.#closed) throw storeError('the database was closed');
    if (this.#failure) throw this.#failure;
  }

  /** Takes the writes of a run, and keeps them in the background, in order and each run as a whole. */
  commit(writes: readonly Write[]): void {
    this.#check();
    this.#queue.push(writes);
    this.#writing ??= this.#write();
  }

  /** Resolves when everything that was committed before is stored. Rejects if that failed. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#failure) throw this.#failure;
  }

  /** Stores what is left, and closes the database. The sandbox can't store anything after that. */
  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.flush();
    } finally {
      this.#closed = true;
      this.#db.close();
      this.#release();
    }
  }

  async #write(): Promise<void> {
    try {
      // Begins in this very turn, so that it is under way when the page goes.
      while (this.#queue.length > 0 && !this.#failure) await this.#transact(this.#queue.splice(0));
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#writing = null;
    }
  }

  #transact(runs: readonly (readonly Write[])[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const transaction = this.#db.transaction(ENTRIES, 'readwrite', { durability: 'strict' });
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('the browser gave up the transaction'));
      const store = transaction.objectStore(ENTRIES);
      for (const [table, key, value] of runs.flat()) {
        if (value === null) store.delete([table, key]);
        else store.put(value, [table, key]);
      }
      transaction.commit?.();
    });
  }

  #fail(cause: unknown): void {
    if (this.#closed || this.#failure) return;
    this.#failure = storeError(`what was stored last could not be kept: ${messageOf(cause)}`, cause);
    this.#queue = [];
    this.#onError?.(this.#failure);
  }
}

/** Keeps others away from this database as long as it is used; returns what ends that. */
async function lock(name: string, patience: number): Promise<() => void> {
  // Only secure pages have locks.
  const locks = globalThis.navigator?.locks;
  if (!locks) return () => {};
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(patience);
    const held = locks.request(`luacell ${name}`, { signal }, () => new Promise<void>((release) => resolve(release)));
    held.catch((error: unknown) =>
      reject(storeError(`the database '${name}' is in use, perhaps by another tab or worker`, error)),
    );
  });
}

/**
 * Opens a store in IndexedDB, of this name: `new Sandbox({ store: await openIndexedDB('notes') })`. Runs don't wait for it; `flush` does.
 */
export async function openIndexedDB(name: string, options: IndexedDBOptions = {}): Promise<IndexedDBStore> {
  checkOptions(options, ['onError', 'lockTimeout']);
  checkType(options, 'onError', 'function', 'a function');
  checkCount('lockTimeout', options.lockTimeout, 53);
  if (typeof indexedDB === 'undefined') throw storeError('there is no IndexedDB here: only browsers have it');
  const release = await lock(name, options.lockTimeout ?? 5000);
  let db: IDBDatabase | undefined;
  try {
    db = await openDatabase(name);
    return new IndexedDBStore(db, await readAll(db), release, options);
  } catch (error) {
    db?.close();
    release();
    throw storeError(`the database '${name}' can't be used: ${messageOf(error)}`, error);
  }
}
