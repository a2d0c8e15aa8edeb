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
/**
 * A live view of a table that the sandbox keeps, with the methods of a `Map`. While a view exists, the table is not removed.
 *
 * Each write is a transaction of its own; inside of a host function it is part of the script's run. What is read in a loop is what was there
 * when the loop began. All methods throw `Busy` while the sandbox runs something else, and `Closed` when it is closed.
 */
export declare class StoredTable implements Iterable<[LuaValue, LuaValue]> {
    #private;
    /** The table's number in the store. `_home` is 1. */
    get id(): number;
    /** The number of entries. */
    get size(): number;
    /** The value under a key, undefined if there is none. Nested tables are returned as live views. */
    get(key: LuaInput): any;
    /** Sets the value under a key; null and undefined remove it. Arrays, maps and objects become stored tables too, at every level. */
    set(key: LuaInput, value: LuaInput): this;
    /** Whether there is a value under this key. */
    has(key: LuaInput): boolean;
    /** Removes a key. Returns whether it was there. */
    delete(key: LuaInput): boolean;
    /** Removes all entries. */
    clear(): void;
    /** All keys. */
    keys(): IterableIterator<LuaValue>;
    /** All values. */
    values(): IterableIterator<any>;
    /** All keys with their values. */
    entries(): IterableIterator<[LuaValue, any]>;
    [Symbol.iterator](): IterableIterator<[LuaValue, any]>;
    /** Calls a function for each entry. */
    forEach(f: (value: any, key: LuaValue, table: StoredTable) => void, self?: unknown): void;
    /** A deep copy as array, object or map; sharing and cycles are preserved. */
    copy(): any;
    /**
     * For `JSON.stringify`: a deep copy as arrays and objects; keys become text, and functions are left out, as JSON does. Two keys with the same text, `1` and
     * `"1"`, are a `Conversion`.
     */
    toJSON(): any;
    get [Symbol.toStringTag](): string;
}
