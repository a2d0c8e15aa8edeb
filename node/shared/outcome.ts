import { type Metrics, lossyText } from './errors.js';
import type { LuaValue } from './values.js';

/** What a run gave. */
export class Outcome {
  constructor(
    /** All returned values, in order. */
    readonly values: LuaValue[],
    /** What the run printed, as bytes. */
    readonly outputBytes: Uint8Array,
    /** What the run used. */
    readonly metrics: Metrics,
  ) {}

  /** What the run printed; what is not UTF-8 becomes U+FFFD. */
  get output(): string {
    return lossyText(this.outputBytes);
  }

  /** The value itself when there is one, an array of several, undefined when there is none. */
  get value(): any {
    return this.values.length === 1 ? this.values[0] : this.values.length === 0 ? undefined : this.values;
  }
}
