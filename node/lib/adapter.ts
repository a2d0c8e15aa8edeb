// What a sandbox of the addon does behind its methods: it adapts the native part to JavaScript. Values in and out, host
// functions, notes.

import { Reader, Writer, checkText, textOf, utf8 } from '../shared/bytes.js';
import { type Links, decode, encodeArgs } from '../shared/codec.js';
import { LuaCellError, busy, closed, invalid, lossyText, messageOf, ourError, shownOf, shownOfModules, unfit } from '../shared/errors.js';
import { type HostFunction, MultipleResults } from '../shared/functions.js';
import { HeldFunctions } from '../shared/held.js';
import { HostErrors } from '../shared/host-errors.js';
import type { Module } from '../shared/modules.js';
import { checkId, checkPath, checkSource } from '../shared/options.js';
import { Outcome } from '../shared/outcome.js';
import { abandon, atOnce, isThenable } from '../shared/promises.js';
import { FIRST_HOST_VALUE } from '../shared/protocol.js';
import type { StoredTable } from '../shared/stored.js';
import { type FunctionKind, type LuaFunction, type LuaInput, type LuaValue, functionKinds, functionPrototype, makeFunction } from '../shared/values.js';
import { Callables, beginMessage, endMessage, letGo } from './callables.js';
import { addAdapter, connection, newJob, newNumber, removeAdapter, runJob } from './connection.js';
import { failureError, passableNumber } from './failures.js';
import { type Failure, type Finished, NativeRun, NativeSandbox, call, callFunction, compute, computeWith } from './native.js';
import { type PendingRun, type Request, Run } from './run.js';
import {
  type AsyncRunOptions,
  type AsyncStartOptions,
  type ModuleSource,
  type Modules,
  type RunOptions,
  type SandboxOptions,
  type StartOptions,
  type TableStore,
  runSettings,
  sandboxSettings,
  startSettings,
} from './settings.js';
import { Snapshot } from './snapshot.js';
import { Views } from './views.js';

/** How an encoded answer of a host function begins. */
const Status = { Results: 0, Thrown: 1, Raised: 2, Nested: 3, Conflict: 4 } as const;

/** What is written is passed on at once, so one writer is enough; who finds it taken makes another. */
let spare: Writer | null = new Writer();
const SPARE_BYTES = 1 << 20;

function writing<T>(write: (out: Writer) => void, use: (bytes: Uint8Array) => T): T {
  const out = spare ?? new Writer();
  spare = null;
  out.length = 0;
  try {
    beginMessage(connection);
    try {
      write(out);
    } finally {
      endMessage();
    }
    return use(out.written);
  } finally {
    if (out.bytes.length <= SPARE_BYTES) spare = out;
  }
}

export class Adapter implements Links {
  readonly exact: boolean;
  readonly hostValues = new Callables();
  readonly options: SandboxOptions;
  readonly home: StoredTable;
  readonly native: NativeSandbox;
  /** Where the native part finds the sandbox. */
  readonly slot: number;
  #views: Views;
  readonly #held: HeldFunctions;
  readonly #number: number;
  readonly #functions: (HostFunction | null)[] = [];
  readonly #names = new Map<string, number>();
  readonly #declared = new Set<string>();
  /** Functions that may be called again when a run is repeated. */
  readonly #repeatable = new Set<string>();
  /** Numbers that nobody uses any more. */
  readonly #free: number[] = [];
  readonly #onPrint: ((text: string) => void) | undefined;
  readonly #modules: Exclude<Modules, string> | undefined;
  readonly #store: TableStore | undefined;
  /** Exceptions of the run that is under way, which may come out as its cause. */
  readonly #thrown = new HostErrors<unknown>();
  /** What onPrint threw. */
  #failed: { error: unknown } | null = null;
  /** How many host functions are running. */
  #depth = 0;
  /** How many runs are under way on other threads. */
  #jobs = 0;
  /** The latest of them, and whether it was told to end. */
  #latest: { ended: Promise<unknown>; isEnding: boolean } | null = null;
  /** The run that was started last. */
  #latestRun: WeakRef<Run> | null = null;
  /** Counts functions and tables that were written: who writes can see whether there were any. */
  #links = 0;
  isClosed = false;

  /** A sandbox whose store, a file or a server, was opened on another thread. */
  static async later(options: SandboxOptions): Promise<Adapter> {
    const number = newNumber();
    const settings = sandboxSettings(number, options);
    if (settings.store === undefined) return new Adapter(options);
    const made = await runJob(newJob(), (job) => NativeSandbox.createLater(connection, job, options.engine?.native, settings));
    return new Adapter(options, number, made as NativeSandbox | Failure);
  }

  constructor(options: SandboxOptions, number = newNumber(), made?: NativeSandbox | Failure) {
    const settings = sandboxSettings(number, options);
    this.#number = number;
    const { onPrint, modules, store } = options;
    this.options = options;
    this.exact = options.exactNumbers === true;
    this.#onPrint = onPrint;
    this.#modules = modules === undefined || typeof modules === 'string' ? undefined : modules;
    this.#store = typeof store === 'object' ? store : undefined;
    addAdapter(this, this.#number);
    const native = made ?? NativeSandbox.create(connection, options.engine?.native, settings);
    if (!(native instanceof NativeSandbox)) {
      removeAdapter(this.#number);
      throw this.error(native);
    }
    this.native = native;
    this.slot = native.slot;
    this.#held = new HeldFunctions((id, times) => native.releaseFunction(id, times));
    this.#views = new Views(this);
    // Not one of those that a restore ends.
    this.home = new Views(this).view(1, false);
  }

  // ---- what comes from the native part

  /** What a call of the native part gave: a simple value, encoded ones, or an error, which is thrown. */
  result(result: unknown): any {
    this.#checkAfterOutermost();
    if (typeof result !== 'object' || result === null) return result;
    if (!(result instanceof Uint8Array)) throw this.error(result as Failure);
    const values = decode(result, this);
    return values.length === 1 ? values[0] : values;
  }

  #outcome(result: unknown): Outcome {
    this.#checkAfterOutermost();
    const { values, output, metrics, kind } = result as Finished & Failure;
    if (kind !== undefined) throw this.error(result as Failure);
    return new Outcome(decode(values as unknown as Uint8Array, this), output, metrics);
  }

  list(result: unknown): LuaValue[] {
    if (!(result instanceof Uint8Array)) throw this.error(result as Failure);
    return decode(result, this);
  }

  #checkAfterOutermost(): void {
    if (this.#depth === 0 && this.#jobs === 0) this.#checkAfter();
  }

  /** At the end of an outermost run. */
  #checkAfter(): void {
    const failed = this.#failed;
    if (failed !== null) {
      this.#failed = null;
      throw new LuaCellError('HostFunction', `onPrint failed: ${messageOf(failed.error)}`, { cause: failed.error });
    }
  }

  error(failure: Failure): LuaCellError {
    const value = failure.value ? decode(failure.value, this)[0] : undefined;
    return failureError(failure, this, this.#thrown, value);
  }

  // ---- what codec.ts asks

  stored(id: number, cell: boolean): StoredTable {
    return id === 1 ? this.home : this.#views.view(id, cell);
  }

  function(): LuaFunction {
    throw new LuaCellError('Internal', 'the native part sent a function in an unknown form');
  }

  readonly #functionPrototype = functionPrototype((f, args) => {
    this.#begin();
    const { id } = functionKinds.get(f) as FunctionKind & { type: 'live' };
    const result = this.#withArgs(args, (bytes) => callFunction(this.slot, id, bytes));
    if (result instanceof Uint8Array) {
      this.#checkAfterOutermost();
      return decode(result, this);
    }
    const value: unknown = this.result(result);
    return value === undefined ? [] : [value as LuaValue];
  });

  handle(id: number): LuaFunction {
    return this.#held.get(id, () => {
      const kind: FunctionKind = { type: 'live', owner: this, instance: 0, id };
      return makeFunction((...args) => this.#run(args, (bytes) => callFunction(this.slot, id, bytes)), this.#functionPrototype, kind);
    });
  }

  idOf(table: StoredTable): number {
    const views = table.owner;
    if (!(views instanceof Views) || views.adapter !== this) throw invalid("a stored table of another sandbox can't be passed; pass table.copy()");
    views.checkAlive();
    this.#links++;
    return table.id;
  }

  handleOf(kind: FunctionKind & { type: 'live' }): number {
    if (kind.owner !== this) throw invalid("a function of another sandbox can't be passed");
    this.#links++;
    return kind.id;
  }

  // ---- values to the native part

  get #linked(): number {
    return this.#links + this.hostValues.given;
  }

  /** Calls the native part with encoded arguments. */
  #withArgs<T>(args: readonly unknown[], use: (bytes: Uint8Array | undefined, linked: boolean) => T): T {
    if (args.length === 0) return use(undefined, false);
    const before = this.#linked;
    return writing(
      (out) => encodeArgs(args, out, this),
      (bytes) => use(bytes, this.#linked !== before),
    );
  }

  #run(args: readonly unknown[], use: (bytes: Uint8Array | undefined, linked: boolean) => unknown): any {
    this.#begin();
    return this.result(this.#withArgs(args, use));
  }

  /** Calls the native part with one value. `place`: what an error message calls it. */
  withValue<T>(value: unknown, place: string, use: (value: unknown) => T): T {
    if (!this.exact) {
      if (typeof value === 'string') return use(checkText(value));
      if (typeof value === 'number' || typeof value === 'boolean' || value === null || value === undefined) return use(value);
    }
    return writing((out) => encodeArgs([value], out, this, () => place), use);
  }

  /** The native part, when nobody else uses the sandbox. A job has it from its call on, also before its thread has started. */
  free(): NativeSandbox {
    if (this.isClosed) throw closed();
    if (this.#jobs > 0) throw busy();
    return this.native;
  }

  /** Before a call that may lead to host functions: exceptions of the last one are forgotten. */
  #begin(): void {
    this.free();
    if (this.#depth === 0 && !this.#hasWaitingRun()) this.#thrown.clear();
  }

  #hasWaitingRun(): boolean {
    return this.#latestRun?.deref()?.waiting === true;
  }

  // ---- runs

  compute(source: string | Uint8Array, args: readonly LuaInput[]): any {
    checkSource(source);
    if (args.length === 0 && typeof source === 'string') {
      this.#begin();
      return this.result(compute(this.slot, source));
    }
    return this.#run(args, (bytes, linked) => computeWith(this.slot, source, bytes, linked, undefined, false));
  }

  computeWith(source: string | Uint8Array, options: RunOptions): Outcome {
    checkSource(source);
    const settings = runSettings(options, false);
    this.#begin();
    return this.#outcome(this.#withArgs(options.args ?? [], (bytes, linked) => computeWith(this.slot, source, bytes, linked, settings, true)));
  }

  call(path: string, args: readonly LuaInput[]): any {
    checkPath(path);
    return this.#run(args, (bytes, linked) => call(this.slot, path, bytes, linked, undefined, false));
  }

  callWith(path: string, options: RunOptions): Outcome {
    checkPath(path);
    const settings = runSettings(options, false);
    this.#begin();
    return this.#outcome(this.#withArgs(options.args ?? [], (bytes, linked) => call(this.slot, path, bytes, linked, settings, true)));
  }

  async later(isCall: boolean, source: string | Uint8Array, options: AsyncRunOptions, full: boolean): Promise<any> {
    if (isCall) checkPath(source);
    else checkSource(source);
    const settings = runSettings(options, true);
    if (this.#hasWaitingRun()) throw busy();
    const { signal } = options;
    return this.#job(
      signal,
      (job) => this.#withArgs(options.args ?? [], (bytes, linked) => this.native.runLater(job, isCall, source, bytes, linked, settings, full)),
      (result) =>
        this.#caused(signal, () => {
          this.#checkAfter();
          return full ? this.#outcome(result) : this.result(result);
        }),
    );
  }

  /** Something on another thread: nobody else uses the sandbox until `use` has had what it gave. */
  async #job<T>(signal: AbortSignal | undefined, start: (job: number) => unknown, use: (result: unknown) => T): Promise<T> {
    // A run that was told to end does not make the sandbox busy.
    while (this.#jobs > 0 && this.#latest!.isEnding) await this.#latest!.ended;
    this.#begin();
    if (signal?.aborted) throw new LuaCellError('Interrupted', 'the run was aborted', { cause: signal.reason });
    const number = newJob();
    const abort = (): void => {
      if (this.#latest !== null) this.#latest.isEnding = true;
      this.native.cancel(number);
    };
    signal?.addEventListener('abort', abort, { once: true });
    this.#jobs++;
    try {
      const running = runJob(number, start);
      const over = (): void => undefined;
      this.#latest = { ended: running.then(over, over), isEnding: false };
      return use(await running);
    } finally {
      this.#jobs--;
      this.native.weigh();
      signal?.removeEventListener('abort', abort);
    }
  }

  /** The reason of a signal is the cause of what it ended. */
  #caused<T>(signal: AbortSignal | undefined, use: () => T): T {
    try {
      return use();
    } catch (error) {
      if (signal?.aborted && error instanceof LuaCellError && error.kind === 'Interrupted') error.cause = signal.reason;
      throw error;
    }
  }

  // ---- runs that wait

  start(isCall: boolean, source: string | Uint8Array, options: StartOptions): Run {
    if (isCall) checkPath(source);
    else checkSource(source);
    const settings = startSettings(options, false);
    this.#begin();
    return this.#started(this.#withArgs(options.args ?? [], (bytes, linked) => this.native.start(isCall, source, bytes, linked, settings)));
  }

  async startLater(isCall: boolean, source: string | Uint8Array, options: AsyncStartOptions): Promise<Run> {
    if (isCall) checkPath(source);
    else checkSource(source);
    const settings = startSettings(options, true);
    if (this.#hasWaitingRun()) throw busy();
    const { signal } = options;
    return this.#job(
      signal,
      (job) => this.#withArgs(options.args ?? [], (bytes, linked) => this.native.startLater(job, isCall, source, bytes, linked, settings)),
      (started) => this.#caused(signal, () => this.#started(started, signal)),
    );
  }

  #started(started: unknown, signal?: AbortSignal): Run {
    if (!(started instanceof NativeRun)) throw this.error(started as Failure);
    const run = new Run(this, started, signal);
    this.#latestRun = new WeakRef(run);
    return run;
  }

  /** What a run gave; undefined while it waits. */
  outcomeOf(run: NativeRun, signal: AbortSignal | undefined): Outcome | undefined {
    const outcome = run.outcome();
    if (outcome === undefined) return undefined;
    return this.#caused(signal, () => {
      this.#checkAfter();
      return this.#outcome(outcome);
    });
  }

  requestsOf(run: NativeRun): Request[] {
    this.free();
    const requests = run.requests();
    if ('kind' in requests) throw this.error(requests);
    return requests.map(({ id, name, args }) => ({ id, name, args: decode(args, this) }));
  }

  answer(run: NativeRun, id: number, values: readonly LuaInput[]): void {
    this.free();
    if (values.length === 0) return this.#settle(run, id, undefined);
    this.#settle(run, id, this.#statusAnswer(Status.Results, (out) => encodeArgs(values, out, this)));
  }

  failRequest(run: NativeRun, id: number, error: unknown): void {
    this.free();
    this.#settle(run, id, this.#thrownAnswer(error));
  }

  #settle(run: NativeRun, id: number, answer: unknown): void {
    checkId(id);
    this.result(run.answer(id, answer));
  }

  resumeRun(run: NativeRun): void {
    this.free();
    this.#failure(run.resume());
  }

  resumeRunLater(run: NativeRun, then: () => void): Promise<void> {
    return this.#job(
      undefined,
      (job) => run.resumeLater(job),
      (result) => {
        this.#failure(result);
        then();
      },
    );
  }

  leaveRun(run: NativeRun, cancel: boolean): void {
    if (this.#jobs > 0) throw busy();
    this.#failure(run.leave(cancel));
  }

  /** What `onPrint` threw is the result of the run, and not that of the call. */
  #failure(result: unknown): void {
    if (result !== undefined) throw this.error(result as Failure);
  }

  renewRun(run: NativeRun): void {
    this.free();
    this.result(run.renew());
  }

  waitingRun(): Run | undefined {
    const run = this.free().waitingRun();
    return run === undefined ? undefined : this.#started(run);
  }

  resume(name: string): Run {
    if (typeof name !== 'string') throw invalid("a run's name has to be text");
    const run = this.free().resume(checkText(name));
    if (run instanceof NativeRun) this.#newViews();
    return this.#started(run);
  }

  pendingRuns(): PendingRun[] {
    const runs = this.free().pendingRuns();
    if ('kind' in runs) throw this.error(runs);
    return runs.map(({ name, claimed }) => ({ name, claimed: claimed ?? undefined }));
  }

  dropPendingRun(name: string): boolean {
    if (typeof name !== 'string') throw invalid("a run's name has to be text");
    return this.result(this.free().dropPendingRun(checkText(name))) as boolean;
  }

  // ---- host functions

  register(name: string, f: HostFunction, repeatable: boolean): void {
    checkPath(name);
    if (typeof f !== 'function') throw invalid('register takes a function');
    this.free();
    const known = this.#names.get(name);
    const number = known ?? this.#free.at(-1) ?? this.#functions.length;
    const before = this.#functions[number] ?? null;
    this.#functions[number] = f;
    if (before !== null && this.#repeatable.has(name) === repeatable) return;
    const result = this.free().register(name, number, repeatable);
    if (result !== undefined) {
      this.#functions[number] = before;
      if (known === undefined && this.#free.at(-1) !== number) this.#free.push(number);
      throw this.error(result as Failure);
    }
    if (known === undefined && this.#free.at(-1) === number) this.#free.pop();
    this.#names.set(name, number);
    this.#declared.delete(name);
    if (repeatable) this.#repeatable.add(name);
    else this.#repeatable.delete(name);
  }

  declare(name: string): void {
    checkPath(name);
    this.result(this.free().declare(name));
    this.#forget(name);
    this.#declared.add(name);
  }

  #forget(name: string): void {
    const number = this.#names.get(name);
    if (number !== undefined) {
      this.#functions[number] = null;
      this.#names.delete(name);
      this.#free.push(number);
    }
    this.#declared.delete(name);
    this.#repeatable.delete(name);
  }

  unregister(name: string): boolean {
    checkPath(name);
    const there = this.result(this.free().unregister(name)) as boolean;
    if (there) this.#forget(name);
    return there;
  }

  /** What Lua calls. */
  #function(fn: number): HostFunction {
    const f = fn < FIRST_HOST_VALUE ? this.#functions[fn] : this.hostValues.get(fn);
    // An object stands for its members: the first argument says which. The native part has looked whether it is among the others.
    if (typeof f === 'object' && f !== null) return (member, ...args) => f.class.members[Number(member)]!.f(...args);
    if (!f) throw new LuaCellError('HostFunction', 'the host function is gone');
    return f as HostFunction;
  }

  /** The native part calls a host function, and takes what this returns: a simple value, or bytes that begin with a status. */
  callHost(fn: number, n: number, a: unknown, b: unknown, c: unknown): unknown {
    this.#depth++;
    try {
      const f = this.#function(fn);
      let result: unknown;
      switch (n) {
        case 0:
          result = f();
          break;
        case 1:
          result = f(a);
          break;
        case 2:
          result = f(a, b);
          break;
        case 3:
          result = f(a, b, c);
          break;
        default:
          result = f(...(decode(a as Uint8Array, this) as any[]));
      }
      if (isThenable(result)) {
        abandon(result);
        const name = [...this.#names].find(([, number]) => number === fn)?.[0] ?? 'a function without a name';
        throw new LuaCellError('HostFunction', `the host function '${name}' returned a promise: computeAsync, callAsync and startAsync wait for it, nothing else`);
      }
      return this.#answer(result);
    } catch (error) {
      return this.#thrownAnswer(error);
    } finally {
      this.#depth--;
    }
  }

  /** The same for a run on another thread: `answer` is called when there is one. */
  callHostLater(fn: number, args: Uint8Array, answer: (answer: unknown, linked: boolean) => void): void {
    const give = (make: () => unknown): void => {
      const before = this.#linked;
      const bytes = make();
      answer(bytes, this.#linked !== before);
    };
    const failed = (error: unknown): void => give(() => this.#thrownAnswer(error));
    const returned = (result: unknown): void =>
      give(() => {
        try {
          return this.#answer(result);
        } catch (error) {
          return this.#thrownAnswer(error);
        }
      });
    try {
      const f = this.#function(fn);
      const result = f(...(decode(args, this) as any[])) as unknown;
      // Only what is waited for: a function may have a method `then` too.
      if (isThenable(result)) new Promise((resolve) => resolve(result)).then(returned, failed);
      else returned(result);
    } catch (error) {
      failed(error);
    }
  }

  #answer(result: unknown): unknown {
    try {
      if (!this.exact) {
        if (typeof result === 'number' || typeof result === 'boolean' || result === undefined || result === null) return result;
        if (typeof result === 'string') return checkText(result);
      }
      if (result === undefined) return undefined;
      const values = result instanceof MultipleResults ? result.values : [result];
      return this.#statusAnswer(Status.Results, (out) => encodeArgs(values, out, this, 'result'));
    } catch (error) {
      throw unfit(error);
    }
  }

  #statusAnswer(status: number, write: (out: Writer) => void): Uint8Array {
    return writing(
      (out) => {
        out.u8(status);
        write(out);
      },
      (bytes) => bytes,
    );
  }

  #keep(error: unknown): number {
    return this.#thrown.keep(error, messageOf(error).length);
  }

  /** `shown`: what the script sees of it. */
  #thrownAnswer(error: unknown, shown = shownOf(error)): Uint8Array {
    const nested = passableNumber(error, this);
    const ours = ourError(error);
    if (nested === undefined && ours?.raises) {
      return this.#statusAnswer(Status.Raised, (out) => encodeArgs([ours.value], out, this, () => 'error value'));
    }
    return this.#hostError(nested === undefined ? Status.Thrown : Status.Nested, error, shown, nested);
  }

  #hostError(status: number, error: unknown, shown: string, nested?: number): Uint8Array {
    const number = this.#keep(error);
    return this.#statusAnswer(status, (out) => {
      // The native part may have let go of that error: then this one is as any other.
      if (nested !== undefined) out.u32(nested);
      const text = utf8(shown);
      out.u32(number);
      out.u32(text.length);
      out.raw(text);
      out.raw(utf8(messageOf(error) || shown));
    });
  }

  // ---- notes

  print(text: Uint8Array): void {
    // What was printed between a failure and the end of the run is for nobody.
    if (this.#failed !== null) return;
    try {
      this.#onPrint?.(lossyText(text));
    } catch (error) {
      this.#failed = { error };
      this.native.interrupt();
    }
  }

  askStore(operation: number, args: Uint8Array): unknown {
    const store = this.#store!;
    try {
      const reader = new Reader(args);
      reader.u8();
      const table = reader.integer() as number;
      const bytes = (): Uint8Array => {
        reader.u8();
        return reader.counted();
      };
      switch (operation) {
        case 0: {
          const value = atOnce(store.get(table, textOf(bytes())!), "the store's get");
          if (value === undefined || value === null) return undefined;
          if (!(value instanceof Uint8Array)) throw new TypeError("the store's get has to return bytes or undefined");
          return this.#answer(value);
        }
        case 1:
          // A copy: the store may keep it.
          return void atOnce<unknown>(store.set(table, textOf(bytes())!, Uint8Array.from(bytes())), "the store's set");
        case 2:
          return void atOnce<unknown>(store.delete(table, textOf(bytes())!), "the store's delete");
        case 3:
          return atOnce(store.size(table), "the store's size");
        default:
          return this.#answer([...atOnce(store.keys(table), "the store's keys")]);
      }
    } catch (error) {
      if (ourError(error)?.kind === 'Conflict') return this.#hostError(Status.Conflict, error, shownOf(error));
      return this.#thrownAnswer(error);
    }
  }

  askModules(name: string): unknown {
    try {
      const modules = this.#modules!;
      let found: ModuleSource | Module | null | undefined;
      if (typeof modules === 'function') found = modules(name);
      else if (modules instanceof Map) found = modules.get(name) as ModuleSource | undefined;
      else found = Object.hasOwn(modules, name) ? (modules as Record<string, ModuleSource>)[name] : undefined;
      found = atOnce(found, 'the search for a module');
      if (found === undefined || found === null) return undefined;
      const isSource = typeof found === 'string' || found instanceof Uint8Array;
      const { source, chunkName } = isSource ? { source: found as ModuleSource, chunkName: undefined } : (found as Module);
      if (typeof source !== 'string' && !(source instanceof Uint8Array)) throw new TypeError("a module's source has to be text or bytes");
      return this.#answer(new MultipleResults([source, chunkName]));
    } catch (error) {
      return this.#thrownAnswer(error, shownOfModules(error));
    }
  }

  // ---- input and output

  ioGet(which: number): any {
    const value = this.result(this.free().ioGet(which)) as unknown;
    return value === null ? undefined : value;
  }

  ioSet(which: number, value: unknown): void {
    this.withValue(value, 'value', (value) => this.result(this.free().ioSet(which, value)));
  }

  clearIo(): void {
    this.result(this.free().clearIo());
  }

  // ---- the rest

  interrupt(): void {
    if (this.#latest !== null) this.#latest.isEnding = true;
    this.native.interrupt();
  }

  memoryStats(): { bufferBytes: number; luaBytes: number; wasmBytes: number } {
    const stats = this.free().memoryStats();
    if ('kind' in stats) throw this.error(stats);
    return stats;
  }

  tableCount(): number | undefined {
    return this.result(this.free().tableCount()) as number | undefined;
  }

  gc(): void {
    this.result(this.free().gc());
  }

  snapshot(): Snapshot {
    const snapshot = this.free().snapshot();
    if ('kind' in snapshot) throw this.error(snapshot);
    letGo(connection, false);
    const functions = new Callables();
    functions.add(this.hostValues);
    return new Snapshot(snapshot, functions);
  }

  /** `fork`: this is a new sandbox that becomes what another one is. */
  restore(snapshot: Snapshot, tables?: boolean, fork?: boolean): void {
    this.result(this.free().restore(snapshot.native, tables, fork));
    if (snapshot.functions) this.hostValues.add(snapshot.functions);
    this.#newViews();
  }

  /** Tables are others now. */
  #newViews(): void {
    this.#views.end();
    this.#views = new Views(this);
  }

  /** Registers all functions there as well. */
  copyFunctions(to: Adapter): void {
    for (const [name, number] of this.#names) {
      const f = this.#functions[number];
      if (f) to.register(name, f, this.#repeatable.has(name));
    }
    for (const name of this.#declared) to.declare(name);
  }

  reset(): void {
    this.result(this.free().reset());
  }

  /** The promise is kept when no run is left. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.interrupt();
    if (this.#jobs === 0) {
      this.native.close();
      this.#latestRun?.deref()?.closed();
      if (this.#depth === 0) removeAdapter(this.#number);
      return;
    }
    await runJob(newJob(), (job) => this.native.closeLater(job));
    await this.#latest?.ended;
    this.#latestRun?.deref()?.closed();
    removeAdapter(this.#number);
  }
}
