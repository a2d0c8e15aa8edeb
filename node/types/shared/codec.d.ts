import { type Writer } from './bytes.js';
import { LuaCellError } from './errors.js';
import type { HostValue } from './host-values.js';
import { Wrapped } from './objects.js';
import { StoredTable } from './stored.js';
import { type FunctionKind, type LuaFunction, type LuaValue } from './values.js';
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
    handleOf(kind: FunctionKind & {
        type: 'live';
    }): number;
}
/**
 * An array for a list or a non-empty sequence, an object for nothing but text keys, else a map. `called`: whether JavaScript would call some of its
 * functions; `shape`: what the table is said to be, `Tag.List` or `Tag.Map`.
 */
export declare function containerFor(array: readonly unknown[], keys: readonly unknown[], called: boolean, shape?: number): object;
/** Fills what `containerFor` made. `key`: the n-th key of the array part. */
export declare function fillContainer(out: object, array: readonly unknown[], keys: readonly unknown[], values: readonly unknown[], exact: boolean): void;
/** All values of a message. `passed` gets those that are objects of the host, as they were passed, at their places. */
export declare function decode(bytes: Uint8Array, links: Links, passed?: (Wrapped | undefined)[]): LuaValue[];
/** The ids of all tables that an encoded value refers to. Bytes that make no sense refer to nothing. */
export declare function references(bytes: Uint8Array, visit: (id: number) => void): void;
/** Whether a function of Lua, which is bytecode, is in an encoded value. */
export declare function hasFunction(bytes: Uint8Array): boolean;
/** A container on its way out: its entries, as they were when it was begun. */
export interface Parts {
    array: readonly unknown[];
    /** How long the array was then. */
    length: number;
    /** Key, value, key, value ... without nil values. */
    pairs: unknown[];
    marks: Map<unknown, number> | undefined;
}
/** Counts one more table. */
export declare function checkTables(tables: number, depth: number): void;
/** Checks how many entries are held at a time while tables are taken apart. */
export declare function checkEntries(entries: number): void;
/** A table by value, taken apart. */
export declare function partsOf(value: object): Parts;
export declare const isTable: (value: unknown) => value is object;
/** What stands in for a value that knows what Lua gets in its place, and for one that Lua holds as itself. */
export declare function replaced(value: unknown): unknown;
export declare function putReference(out: Writer, id: number): void;
/** Writes everything but tables by value. `float`: an integral number is a float. `live`: functions of the running Lua may go. */
export declare function putPlain(out: Writer, value: unknown, links: Links, float: boolean, live: boolean): void;
/** Proxies, accessors and `toLua` are the host's own code, which may throw anything. */
export declare function readingError(thrown: unknown): LuaCellError;
/** Writes arguments for the guest, tables inline. `what`: what an error message calls them, or the one that there is. */
export declare function encodeArgs(values: readonly unknown[], out: Writer, links: Links, what?: string | (() => string)): void;
