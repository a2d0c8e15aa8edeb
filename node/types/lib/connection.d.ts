import type { Core } from './core.js';
import { Connection } from './native.js';
export declare const newNumber: () => number;
export declare function addCore(core: Core, number: number): void;
export declare const removeCore: (number: number) => void;
/** Begins a run: `start` is given its number. The promise is of what the native part gives. */
export declare function runJob(start: (job: number) => unknown): Promise<unknown>;
export declare const connection: Connection;
