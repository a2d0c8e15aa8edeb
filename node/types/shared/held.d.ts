import type { LuaFunction } from './values.js';
/** Gives up a function that came so many times. */
export type Release = (id: number, times: number) => void;
/** The functions of one instance, by number. */
export declare class HeldFunctions {
    #private;
    readonly release: Release;
    /** `release` must not hold on to the functions. */
    constructor(release: Release);
    /** The function of this number, which has come once more; `make` makes it when there is none. */
    get(id: number, make: () => LuaFunction): LuaFunction;
}
