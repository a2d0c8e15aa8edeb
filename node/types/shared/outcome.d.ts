import { type Metrics } from './errors.js';
import type { LuaValue } from './values.js';
/** What a run gave. */
export declare class Outcome {
    /** All returned values, in order. */
    readonly values: LuaValue[];
    /** What the run printed, as bytes. */
    readonly outputBytes: Uint8Array;
    /** What the run used. */
    readonly metrics: Metrics;
    constructor(
    /** All returned values, in order. */
    values: LuaValue[], 
    /** What the run printed, as bytes. */
    outputBytes: Uint8Array, 
    /** What the run used. */
    metrics: Metrics);
    /** What the run printed; what is not UTF-8 becomes U+FFFD. */
    get output(): string;
    /** The value itself when there is one, an array of several, undefined when there is none. */
    get value(): any;
}
