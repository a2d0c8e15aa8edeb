import { type Links } from '../shared/codec.js';
import { LuaCellError } from '../shared/errors.js';
import { type HostFunction } from '../shared/functions.js';
import { Outcome } from '../shared/outcome.js';
import type { StoredTable } from '../shared/stored.js';
import { type FunctionKind, type LuaFunction, type LuaInput, type LuaValue } from '../shared/values.js';
import { Callables } from './callables.js';
import { type Failure, NativeRun, NativeSandbox } from './native.js';
import { type PendingRun, type Request, Run } from './run.js';
import { type AsyncRunOptions, type AsyncStartOptions, type RunOptions, type SandboxOptions, type StartOptions } from './settings.js';
import { Snapshot } from './snapshot.js';
export declare class Adapter implements Links {
    #private;
    readonly exact: boolean;
    readonly hostValues: Callables;
    readonly options: SandboxOptions;
    readonly home: StoredTable;
    readonly native: NativeSandbox;
    /** Where the native part finds the sandbox. */
    readonly slot: number;
    isClosed: boolean;
    /** A sandbox whose store, a file or a server, was opened on another thread. */
    static later(options: SandboxOptions): Promise<Adapter>;
    constructor(options: SandboxOptions, number?: number, made?: NativeSandbox | Failure);
    /** What a call of the native part gave: a simple value, encoded ones, or an error, which is thrown. */
    result(result: unknown): any;
    list(result: unknown): LuaValue[];
    error(failure: Failure): LuaCellError;
    stored(id: number, cell: boolean): StoredTable;
    function(): LuaFunction;
    handle(id: number): LuaFunction;
    idOf(table: StoredTable): number;
    handleOf(kind: FunctionKind & {
        type: 'live';
    }): number;
    /** Calls the native part with one value. `place`: what an error message calls it. */
    withValue<T>(value: unknown, place: string, use: (value: unknown) => T): T;
    /** The native part, when nobody else uses the sandbox. A job has it from its call on, also before its thread has started. */
    free(): NativeSandbox;
    compute(source: string | Uint8Array, args: readonly LuaInput[]): any;
    computeWith(source: string | Uint8Array, options: RunOptions): Outcome;
    call(path: string, args: readonly LuaInput[]): any;
    callWith(path: string, options: RunOptions): Outcome;
    later(isCall: boolean, source: string | Uint8Array, options: AsyncRunOptions, full: boolean): Promise<any>;
    start(isCall: boolean, source: string | Uint8Array, options: StartOptions): Run;
    startLater(isCall: boolean, source: string | Uint8Array, options: AsyncStartOptions): Promise<Run>;
    /** What a run gave; undefined while it waits. */
    outcomeOf(run: NativeRun, signal: AbortSignal | undefined): Outcome | undefined;
    requestsOf(run: NativeRun): Request[];
    answer(run: NativeRun, id: number, values: readonly LuaInput[]): void;
    failRequest(run: NativeRun, id: number, error: unknown): void;
    resumeRun(run: NativeRun): void;
    resumeRunLater(run: NativeRun, then: () => void): Promise<void>;
    leaveRun(run: NativeRun, cancel: boolean): void;
    renewRun(run: NativeRun): void;
    waitingRun(): Run | undefined;
    resume(name: string): Run;
    pendingRuns(): PendingRun[];
    dropPendingRun(name: string): boolean;
    register(name: string, f: HostFunction, repeatable: boolean): void;
    declare(name: string): void;
    unregister(name: string): boolean;
    /** The native part calls a host function, and takes what this returns: a simple value, or bytes that begin with a status. */
    callHost(fn: number, n: number, a: unknown, b: unknown, c: unknown): unknown;
    /** The same for a run on another thread: `answer` is called when there is one. */
    callHostLater(fn: number, args: Uint8Array, answer: (answer: unknown, linked: boolean) => void): void;
    print(text: Uint8Array): void;
    askStore(operation: number, args: Uint8Array): unknown;
    askModules(name: string): unknown;
    ioGet(which: number): any;
    ioSet(which: number, value: unknown): void;
    clearIo(): void;
    interrupt(): void;
    memoryStats(): {
        bufferBytes: number;
        luaBytes: number;
        wasmBytes: number;
    };
    tableCount(): number | undefined;
    gc(): void;
    snapshot(): Snapshot;
    /** `fork`: this is a new sandbox that becomes what another one is. */
    restore(snapshot: Snapshot, tables?: boolean, fork?: boolean): void;
    /** Registers all functions there as well. */
    copyFunctions(to: Adapter): void;
    reset(): void;
    /** The promise is kept when no run is left. */
    close(): Promise<void>;
}
