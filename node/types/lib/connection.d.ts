import type { Adapter } from './adapter.js';
import { Connection } from './native.js';
export declare const newNumber: () => number;
export declare function addAdapter(adapter: Adapter, number: number): void;
export declare const removeAdapter: (number: number) => void;
/** Something that is to be done on another thread has this number. */
export declare const newJob: () => number;
/** Begins something on another thread. The promise is of what the native part gives. */
export declare function runJob(job: number, start: (job: number) => unknown): Promise<unknown>;
export declare const connection: Connection;
