export declare const limitNames: readonly ['memoryLimit', 'instructionLimit', 'timeout', 'outputLimit', 'storeLimit', 'hostCallLimit', 'sourceLimit'];
export declare const sandboxNames: readonly ["memoryLimit", "instructionLimit", "timeout", "outputLimit", "storeLimit", "hostCallLimit", "sourceLimit", "engine", "store", "onPrint", "modules", "seed", "exactNumbers", "memoryAlias", "storedFunctions", "claimTerm", "queueRuns"];
/** Refuses what is no object, and names that mean nothing. */
export declare function checkOptions(options: unknown, names: readonly string[], what?: string): void;
/** Refuses an option that is given and has another type. */
export declare function checkType(options: object, name: string, type: 'boolean' | 'function' | 'string', what: string): void;
/** A whole number from 0 on, of so many bits. */
export declare function checkCount(name: string, value: unknown, bits: number): void;
/** The number of a request. */
export declare function checkId(id: unknown): void;
/** What both entries ask of a sandbox's options, apart from limits and stores. `engine`: the class that engines have. */
export declare function checkSandboxOptions(options: object, names: readonly string[], engine: abstract new (...args: never) => unknown): void;
/** How a snapshot is restored. */
export interface RestoreOptions {
    /** Whether `_home` and all other tables become those of the snapshot too. Default: those in memory do, a store keeps what it holds. */
    tables?: boolean;
}
export declare function checkRestoreOptions(options: RestoreOptions): void;
/** A seed as a number of 64 bits. */
export declare function seedOf(seed: unknown): bigint;
/** What a run's options have to be, apart from limits. `more`: names that this kind of run has besides. */
export declare function checkRunOptions(options: object, isAsync: boolean, more?: readonly string[]): void;
/** Source is text or bytes. */
export declare function checkSource(source: unknown): void;
/** The name of a function that is called. */
export declare function checkPath(path: unknown): void;
