import type * as Native from '../native.js';
export declare const Connection: typeof Native.Connection, NativeEngine: typeof Native.NativeEngine, NativeRun: typeof Native.NativeRun, NativeSandbox: typeof Native.NativeSandbox, NativeSnapshot: typeof Native.NativeSnapshot;
export declare const call: typeof Native.call, callFunction: typeof Native.callFunction, computeWith: typeof Native.computeWith, tableDelete: typeof Native.tableDelete, tableGet: typeof Native.tableGet, tableSet: typeof Native.tableSet;
/** Runs text. The generated types don't know it: src/raw_callback.rs. */
export declare const compute: (sandbox: number, source: string) => unknown;
export type Connection = Native.Connection;
export type NativeEngine = Native.NativeEngine;
export type NativeRun = Native.NativeRun;
export type NativeSandbox = Native.NativeSandbox;
export type NativeSnapshot = Native.NativeSnapshot;
export type Failure = Native.Failure;
export type Finished = Native.Finished;
export type LimitSettings = Native.LimitSettings;
export type RunSettings = Native.RunSettings;
export type SandboxSettings = Native.SandboxSettings;
