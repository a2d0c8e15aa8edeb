// The native part, as napi-rs lays it out: a file beside the package while developing, else the package of this
// platform.

import type * as Native from '../native.js';

// eslint-disable-next-line @typescript-eslint/no-require-imports
const native = require('../../native.js') as typeof Native;

export const { Connection, NativeEngine, NativeRun, NativeSandbox, NativeSnapshot } = native;
export const { call, callFunction, computeWith, tableDelete, tableGet, tableSet } = native;
/** Runs text. The generated types don't know it: src/raw_callback.rs. */
export const { compute } = native as unknown as { compute(sandbox: number, source: string): unknown };
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
