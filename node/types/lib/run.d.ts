import type { Outcome } from '../shared/outcome.js';
import type { LuaInput, LuaValue } from '../shared/values.js';
/** A call of a declared function that waits for its answer. */
export interface Request {
    /** Its number, which it keeps for as long as the run waits for it, also in a snapshot and in a store. Counted from 1 in each run. */
    readonly id: number;
    /** The function's name; `task.sleep` for a script that lets time pass, with the seconds as its argument. */
    readonly name: string;
    /** What the script passed. */
    readonly args: LuaValue[];
}
/** A durable run that waits in a store. */
export interface PendingRun {
    /** Its name. */
    readonly name: string;
    /** For how many more milliseconds somebody has claimed it, who may be at work for it; undefined if anybody may resume it. */
    readonly claimed: number | undefined;
}
/**
 * A run that was started: it is done, or it waits for answers. Nothing of it is on any stack then, and it has no thread.
 *
 * While it waits, this JavaScript thread may use the sandbox and its functions as part of the run, except that no other run can be started; asynchronous
 * runs get `Busy`. A run that is forgotten is given up: it ends without a trace, unless it is durable.
 */
export declare class Run {
    #private;
    /** Its name in the store, if it is durable. */
    readonly name: string | undefined;
    /** Whether it waits for answers. */
    get waiting(): boolean;
    /** What it waits for, in the order in which it was asked; nothing when it is done. Each call makes new objects. */
    get requests(): Request[];
    /** Answers a request with the values that the function returns. The script gets them when the run is resumed. Throws `InvalidArgument` if no such request is open. */
    answer(id: number, ...values: LuaInput[]): void;
    /** Answers a request with an error, which the script can catch. If nothing does, the run fails with the kind `HostFunction`, and this as the cause. */
    fail(id: number, error: unknown): void;
    /** Lets the script go on with the answers that were given, until it waits again or is done. It may go on without any, when some tasks have ended. */
    resume(): void;
    /** Like `resume`, on another thread. */
    resumeAsync(): Promise<void>;
    /** Claims a durable run for another term, for waits that take longer. Throws `Conflict` if the claim had ended and somebody else has taken it over. Does nothing for other runs. */
    renew(): void;
    /** Ends a run that waits. Nothing of it is kept; of a durable run, what it had written when it waited. */
    cancel(): void;
    /** What the run gave, as `computeWith` gives it. Throws what it failed with, and `Busy` while it waits. */
    get outcome(): Outcome;
    /** What the source returned, as `compute` gives it. Throws what the run failed with, and `Busy` while it waits. */
    get result(): any;
    /** `using run = lua.start(...)` gives it up at the end. A durable run waits on in its store, and anybody may resume it; any other is cancelled. */
    [Symbol.dispose](): void;
}
