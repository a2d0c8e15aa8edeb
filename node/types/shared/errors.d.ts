import { ErrorKinds } from './protocol.js';
import type { LuaInput, LuaValue } from './values.js';
export { ErrorKinds };
/** The name of a kind of failure. */
export type ErrorKind = keyof typeof ErrorKinds;
/** The kind with this number. */
export declare const kindOf: (number: number) => ErrorKind | undefined;
/** What one run used. */
export interface Metrics {
    /** Milliseconds from entering the sandbox to the finished result; 0 in a sandbox with a seed. */
    wallTime: number;
    /** Instructions, about those of the Lua machine; the same in every run of the same script. */
    instructions: number;
    /** The most bytes that Lua had in use at once. */
    peakMemory: number;
    /** How often the script called host functions. */
    hostCalls: number;
    /** Bytes of keys and values that the script wrote to stored tables. */
    bytesStored: number;
}
export declare const noMetrics: () => Metrics;
/** Bytes as text; what is not UTF-8 becomes U+FFFD. */
export declare const lossyText: (bytes: Uint8Array) => string;
/** A failure, with everything that is known about it. */
export declare class LuaCellError extends Error {
    /** What kind of failure. */
    readonly kind: ErrorKind;
    /** The line in `chunkName`, from 1. */
    line: number | undefined;
    /** The chunk in which a Lua error happened, as in Lua's `short_src`. */
    chunkName: string | undefined;
    /** Lua's traceback, several lines of text. */
    traceback: string | undefined;
    /** The Lua error value when it was no string (`error({code = 7})`), else undefined. */
    value: LuaValue | undefined;
    /** What the script used before it failed. */
    metrics: Metrics;
    /** What the script printed before it failed, as bytes. */
    outputBytes: Uint8Array;
    /** The message as the script made it, when it is not UTF-8. `message` shows U+FFFD there. */
    messageBytes: Uint8Array | undefined;
    constructor(kind: ErrorKind, message: string, options?: {
        cause?: unknown;
    });
    /** What the script printed before it failed; what is not UTF-8 becomes U+FFFD. */
    get output(): string;
    /** For host functions: throw the result to raise this value in the script, as `error(value)` does there. */
    static raise(value: LuaInput): LuaCellError;
}
export declare const busy: () => LuaCellError;
export declare const closed: () => LuaCellError;
export declare const invalid: (message: string) => LuaCellError;
export declare const conversion: (message: string) => LuaCellError;
/** A store that says itself that somebody else changed it stays one. */
export declare function storeError(message: string, cause?: unknown): LuaCellError;
/** The error of a limit that the guest did not raise itself, in its words. */
export declare function limitError(kind: ErrorKind): LuaCellError;
/** The guest broke the contract, or crashed: it can't be used after this. */
export declare function broken(message: string, kind?: ErrorKind, cause?: unknown): LuaCellError;
/** What was thrown, if it is an error of ours. Asking a hostile proxy may throw. */
export declare function ourError(thrown: unknown): LuaCellError | null;
/** What a script sees of a failure about which the host has said nothing to it. */
export declare const HOST_FAILED = "the host function failed";
/** What a host function returned can't be passed: scripts don't hear what it was. */
export declare function unfit(error: unknown): unknown;
/** What a script sees of what a host function threw: the message that its author wrote. */
export declare function shownOf(thrown: unknown): string;
/** The same for what a search for modules threw: only an error that is made for scripts is shown. */
export declare const shownOfModules: (thrown: unknown) => string;
/** As the constructor sets it. */
export declare const setCause: (error: LuaCellError, cause: unknown) => void;
/** Adds for the host what the script did not see of the cause. What a script passes on again and again doesn't become longer by that. */
export declare function reveal(error: LuaCellError, cause: LuaCellError): void;
/** The text of whatever was thrown. */
export declare function messageOf(thrown: unknown): string;
