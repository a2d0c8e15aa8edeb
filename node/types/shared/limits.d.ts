/** A number of bytes, or text such as `'64MiB'`, `'1.5 GB'`, `'4096'`. */
export type Size = number | string;
/** How much stored tables may hold: bytes of all keys and values, and entries of all tables. */
export interface StoreLimit {
    bytes?: Size;
    entries?: number;
}
/** Limits of a sandbox, or of a single run. `Infinity` or null: none. */
export interface LimitOptions {
    /** Bytes of Lua's heap and the buffers of a run. Default 256 MiB. Beyond: "not enough memory", which `pcall` sees. */
    memoryLimit?: Size | null;
    /** Instructions of the Lua machine. Default: no limit. */
    instructionLimit?: number | null;
    /** Milliseconds of a run, waiting included. Default 60,000. */
    timeout?: number | null;
    /** Bytes of `print` in a run. Default 16 MiB. */
    outputLimit?: Size | null;
    /** What stored tables may hold: bytes, or bytes and entries. Default 1 GiB and 10 million entries. */
    storeLimit?: Size | StoreLimit | null;
    /** Calls of host functions in a run. Default: no limit. */
    hostCallLimit?: number | null;
    /** Bytes of source for one run. Default 16 MiB. */
    sourceLimit?: Size | null;
}
/** All limits; `Infinity` for none. */
export interface Limits {
    memory: number;
    instructions: number;
    timeout: number;
    output: number;
    storeBytes: number;
    storeEntries: number;
    hostCalls: number;
    source: number;
}
export declare const defaultLimits: Limits;
/** Those that are set, no limit for the others; null when none is. */
export declare function onlySet(set: LimitOptions | null): Limits | null;
/** What bounds a run inside another one: nothing gets wider. Time and instructions are counted elsewhere. */
export declare const within: (outer: Limits, set: Limits, calls: number, printed: number) => Limits;
/** Of each limit the one that is less. */
export declare function leastOf(a: Limits, b: Limits): Limits;
/** The most that the memory of a guest has room for when it keeps to this limit: what `MOST_TAKEN` in `alloc.c` says, beside what a new one has. */
export declare const mostMemory: (limit: number) => number;
/** What may be held in memory for the tables that a run uses, beside what they hold in the end: what it has overwritten and deleted. */
export declare const mostHeld: ({ storeBytes, memory }: Limits) => number;
/** A size as a number. */
export declare function bytesOf(name: string, value: Size | null): number;
/** These limits with what is set in their place. */
export declare function withLimits(limits: Limits, set: LimitOptions): Limits;
