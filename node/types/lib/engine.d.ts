import { type LimitOptions } from '../shared/limits.js';
/** Settings of an engine. */
export interface EngineOptions {
    /** How many sandboxes at a time come from a pool of prepared memory. Default 1000; 0 for no pool. */
    poolSize?: number;
    /** The most memory that a sandbox may take, everything included. Default 1 GiB, from 2 MiB to 4 GiB. */
    maxMemory?: LimitOptions['memoryLimit'];
    /** The most native stack that a sandbox uses. Default 512 KiB, from 64 KiB to 1.5 MiB. */
    maxStack?: LimitOptions['memoryLimit'];
}
/** The compiled Lua and its pool of instances, shared by any number of sandboxes. Most programs don't need one of their own. */
export declare class Engine {
    constructor(options?: EngineOptions);
    /** Whether sandboxes come from a pool: not if the system refuses so much address space. */
    get isPooled(): boolean;
}
