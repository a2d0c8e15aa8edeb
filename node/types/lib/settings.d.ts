import { type LimitOptions } from '../shared/limits.js';
import type { Modules as GivenModules } from '../shared/modules.js';
import type { LuaInput } from '../shared/values.js';
import { Engine } from './engine.js';
/**
 * A store of your own: tables with numbers from 1, entries of text keys and bytes. The five methods work at once; a promise is no answer.
 * A run's writes arrive together, when it has succeeded. One sandbox at a time uses it.
 */
export interface TableStore {
    /** The value under a key, undefined when there is none. */
    get(table: number, key: string): Uint8Array | undefined;
    /** Stores a value under a key; makes the table if it is new. */
    set(table: number, key: string, value: Uint8Array): void;
    /** Removes a key, if it is there. */
    delete(table: number, key: string): void;
    /** The number of entries; 0 for an unknown table. */
    size(table: number): number;
    /** All keys, in an order that stays while the table does. */
    keys(table: number): Iterable<string>;
}
/** Source of a module: text or bytes. */
export type ModuleSource = string | Uint8Array;
/** Where `require` finds modules: their sources by name, a function that is asked for each, or the path of a folder. */
export type Modules = GivenModules | string;
/** Settings of a sandbox. */
export interface SandboxOptions extends LimitOptions {
    /** Where `_home` is kept: a file's path (also `file://PATH?read_only=true`), a server's URL (`redis://`, `rediss://`), or your own. Default: memory. */
    store?: string | TableStore;
    /** How often a run is repeated when somebody else changed what it had read. Default 10. */
    conflictRetries?: number;
    /** Whether `_home` is also the global `Memory`. Default true. */
    memoryAlias?: boolean;
    /**
     * Whether functions that the store holds are loaded. They are bytecode, which Lua does not verify: set it to false for a store that somebody can write to whom
     * you don't trust; reading a function then fails with `Store`. Default true.
     */
    storedFunctions?: boolean;
    /** Gets what scripts print at once, one call for each `print`, its newline included; `output` then stays empty. */
    onPrint?: (text: string) => void;
    /** Where `require` finds modules. Default: only what is built in (`bigint`). */
    modules?: Modules;
    /** Makes runs repeatable: random numbers from this seed, and a virtual clock. */
    seed?: number | bigint;
    /** The engine. Default: one that the whole process shares. */
    engine?: Engine;
    /**
     * Keeps integers and floats apart: Lua's integers are BigInt and its floats are numbers, both ways. Default false: an
     * integer is a number while that is exact, and a number without fraction goes in as an integer.
     */
    exactNumbers?: boolean;
}
/** Settings of a run. Limits that are set here hold instead of the sandbox's. */
export interface RunOptions extends LimitOptions {
    /** The arguments: the chunk's `...`, or those of the function. */
    args?: readonly LuaInput[];
    /** The chunk's name for messages, as in Lua: `=name` is shown as it is, `@name` as a file's. */
    name?: string;
}
/** Settings of a run that is waited for. */
export interface AsyncRunOptions extends RunOptions {
    /** Ends the run when it aborts, with an error of the kind `Interrupted` whose cause is the signal's reason. */
    signal?: AbortSignal;
}
