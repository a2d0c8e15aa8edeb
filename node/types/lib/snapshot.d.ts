import type { Engine } from './engine.js';
/** A copy of a whole sandbox: globals, closures, suspended coroutines and tables. Any number of sandboxes can be restored from it. */
export declare class Snapshot {
    /**
     * The snapshot as bytes, packed and with a checksum, for the same version of luacell on any platform. Throws `Conversion` if Lua held functions of JavaScript that
     * have no name.
     */
    toBytes(): Uint8Array;
    /**
     * What `toBytes` gave, in this or another process. Throws `InvalidArgument` for anything else. Take bytes only from who may run any script:
     * they can be made to run past every limit.
     */
    static fromBytes(bytes: Uint8Array, engine?: Engine): Snapshot;
}
