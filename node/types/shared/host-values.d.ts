import type { Wrapped } from './objects.js';
export type HostValue = ((...args: any[]) => unknown) | Wrapped;
/** Those that one instance was given, by number. */
export declare class HostValues {
    #private;
    get size(): number;
    /** The number under which the guest is given one, once more. */
    give(value: HostValue): number;
    get(number: number): HostValue | undefined;
    /** The guest has let go of what was passed to it so often. More may be on their way. */
    release(number: number, times: number): void;
    /** Whether the guest should be asked which of them it has: what it could not read of a message never came. */
    get wantsComparison(): boolean;
    /** The guest has these and no others; how often they came. */
    compare(has: ReadonlyMap<number, number>): void;
    /** For a copy of the guest. */
    copy(): HostValues;
}
