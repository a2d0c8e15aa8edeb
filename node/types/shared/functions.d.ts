import type { LuaInput } from './values.js';
/** A function of the host. What it returns is its result; use `multiple` to return several results. */
export type HostFunction = (...args: any[]) => HostResult | PromiseLike<HostResult>;
/** How a function is registered. */
export interface RegisterOptions {
    /**
     * Whether a run that has called the function may be repeated after a conflict with another one on the same store, because the function only looks something up. It is
     * called again then, also if it returns a promise. Default false: such a run fails with `Conflict`.
     */
    repeatable?: boolean;
}
type HostResult = LuaInput | void | MultipleResults;
/** Several results of a host function. */
export declare class MultipleResults {
    readonly values: readonly LuaInput[];
    constructor(values: readonly LuaInput[]);
}
/** For host functions: returns these as several results; an array would be one table. */
export declare const multiple: (...values: LuaInput[]) => MultipleResults;
/** The numbers that a guest knows functions by. */
export interface FunctionNames {
    list: [id: number, name: string][];
    /** Above all that were ever given out. */
    next: number;
}
/** Host functions by number. A number is given out once, because Lua may know a function by it long after the host took it away. */
export declare class Functions {
    #private;
    /** Adds or replaces the function of that name; its number, and what was there before. */
    add(name: string, f: HostFunction): [id: number, before: HostFunction | null];
    putBack(id: number, before: HostFunction | null): void;
    /** Takes the function of that name away; its number, or -1. */
    remove(name: string): number;
    /** Undefined when it was taken away. */
    find(id: number): HostFunction | undefined;
    name(id: number): string;
    get names(): FunctionNames;
    /** Numbers and names of the functions. */
    [Symbol.iterator](): Generator<[id: number, name: string]>;
    /** Numbers them as somebody else's Lua knows them; those that it does not know come after. */
    renumber({ list, next }: FunctionNames): void;
    copy(): Functions;
}
export declare function checkRegisterOptions(options: RegisterOptions): void;
/** A name that can be registered: Lua names with dots between them. */
export declare function checkName(name: string): void;
export {};
