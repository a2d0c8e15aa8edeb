import { invalid } from '../shared/errors.js';
import { type HostFunction, type RegisterOptions, checkRegisterOptions } from '../shared/functions.js';
import type { Outcome } from '../shared/outcome.js';
import { type RestoreOptions, checkRestoreOptions } from '../shared/options.js';
import type { StoredTable } from '../shared/stored.js';
import type { LuaInput } from '../shared/values.js';
import { Adapter } from './adapter.js';
import type { PendingRun, Run } from './run.js';
import type { AsyncRunOptions, AsyncStartOptions, RunOptions, SandboxOptions, StartOptions } from './settings.js';
import { Snapshot } from './snapshot.js';

/** Bytes of memory at one moment. */
export interface MemoryStats {
  /** The buffer for source and results. */
  bufferBytes: number;
  /** In use by Lua's own heap. */
  luaBytes: number;
  /** The whole wasm memory. */
  wasmBytes: number;
}

/**
 * One isolated Lua with its state: globals stay from run to run, and so do the tables in `home`.
 *
 * Only one caller can use it at a time; others get an error of the kind `Busy`. Only a host function may use the sandbox that called it. Every
 * run is a transaction: what it wrote to stored tables is kept when it succeeds and dropped if it fails. After an error the next run works
 * as if nothing had happened; after a `Trap` globals are gone, because Lua is restarted, and stored tables are as before the run.
 */
export class Sandbox {
  readonly #adapter: Adapter;

  constructor(options: SandboxOptions = {}) {
    this.#adapter = options instanceof Adapter ? options : new Adapter(options);
  }

  /**
   * Like `new Sandbox(options)`, but a store (a file or a server) is opened on another thread: the event loop goes on meanwhile. Also for programs that run with
   * `luacell/wasm`, where loading takes time.
   */
  static async create(options: SandboxOptions = {}): Promise<Sandbox> {
    return new Sandbox((await Adapter.later(options)) as SandboxOptions);
  }

  /** Runs Lua source. Returns what the source returns: one value, an array for several, undefined for none. */
  compute(source: string | Uint8Array, ...args: LuaInput[]): any {
    return this.#adapter.compute(source, args);
  }

  /** Runs Lua source with a chunk name, arguments and limits of its own; returns output and metrics too. */
  computeWith(source: string | Uint8Array, options: RunOptions = {}): Outcome {
    return this.#adapter.computeWith(source, options);
  }

  /**
   * Like `compute`, but on other threads: the event loop goes on meanwhile. Host functions are called on this thread as always, and may return
   * promises, which the script waits for; while it does, it takes up no thread. They can't use the sandbox in the meantime: they would get `Busy`.
   *
   * If a signal aborts the run, the promise is rejected as soon as the run has ended, within milliseconds: if the run waits for the promise of a
   * host function, that waiting stops. Then the sandbox can be used again. An asynchronous run that is begun earlier waits until then.
   */
  async computeAsync(source: string | Uint8Array, options: AsyncRunOptions = {}): Promise<any> {
    return this.#adapter.later(false, source, options, false);
  }

  /** Like `computeAsync`, with output and metrics. */
  async computeAsyncWith(source: string | Uint8Array, options: AsyncRunOptions = {}): Promise<Outcome> {
    return this.#adapter.later(false, source, options, true) as Promise<Outcome>;
  }

  /** Calls a global Lua function. Dots reach into tables: `game.player.move`. */
  call(path: string, ...args: LuaInput[]): any {
    return this.#adapter.call(path, args);
  }

  /** Like `call`, with arguments and limits from options; returns output and metrics too. A name has no meaning here. */
  callWith(path: string, options: RunOptions = {}): Outcome {
    return this.#adapter.callWith(path, options);
  }

  /** Like `call`, but asynchronous as `computeAsync` is; arguments come in the options. */
  async callAsync(path: string, options: AsyncRunOptions = {}): Promise<any> {
    return this.#adapter.later(true, path, options, false);
  }

  /**
   * Makes a function callable from Lua, as the global of that name; dots put it into tables. It may use this sandbox until it returns. What
   * it throws becomes a Lua error, and comes out as the `cause` if no script catches it. It may return a promise in asynchronous runs. It stays when the sandbox is reset.
   */
  register(name: string, f: HostFunction, options: RegisterOptions = {}): this {
    checkRegisterOptions(options);
    this.#adapter.register(name, f, options.repeatable === true);
    return this;
  }

  /**
   * Makes the name a function whose calls whoever starts a run answers. In other runs a call of it is an error. As for `register`, dots put it into tables, and it
   * stays when the sandbox is reset.
   */
  declare(name: string): this {
    this.#adapter.declare(name);
    return this;
  }

  /**
   * Starts a run of Lua source. It is done when this returns, or waits for answers to calls of declared functions; what the script fails with is the run's result. The time
   * for which it waits does not count for its timeout.
   */
  start(source: string | Uint8Array, options: StartOptions = {}): Run {
    return this.#adapter.start(false, source, options);
  }

  /** Like `start`, for a global function; dots reach into tables. */
  startCall(path: string, options: StartOptions = {}): Run {
    return this.#adapter.start(true, path, options);
  }

  /**
   * Like `start`, but on another thread: the event loop goes on meanwhile. The promise is kept when the run is done or waits for answers. Functions that are registered may
   * return promises here too, but the thread waits for them.
   */
  async startAsync(source: string | Uint8Array, options: AsyncStartOptions = {}): Promise<Run> {
    return this.#adapter.startLater(false, source, options);
  }

  /** Like `startCall`, on another thread. */
  async startCallAsync(path: string, options: AsyncStartOptions = {}): Promise<Run> {
    return this.#adapter.startLater(true, path, options);
  }

  /**
   * The run that came with the snapshot to which this sandbox was restored, or with which it was forked: it waits for the same requests under the same numbers. Until somebody
   * takes it over, other runs get `Busy`. Undefined when there is none, or somebody has it.
   */
  waitingRun(): Run | undefined {
    return this.#adapter.waitingRun();
  }

  /**
   * Goes on with a durable run that waits in this sandbox's store, from where it waited last: it waits for the same requests under the same numbers. The sandbox becomes what that one
   * was, with its globals; as after `restore`, functions and views that the host has give `Closed`. Throws `InvalidArgument` if there is no such run, and `Busy` while
   * somebody else has claimed it.
   */
  resume(name: string): Run {
    return this.#adapter.resume(name);
  }

  /** The durable runs that wait in this sandbox's store, in the order of their names. */
  pendingRuns(): PendingRun[] {
    return this.#adapter.pendingRuns();
  }

  /** Removes a durable run that waits in this sandbox's store. What it has written to tables stays. Returns whether there was one; throws `Busy` while somebody has claimed it. */
  dropPendingRun(name: string): boolean {
    return this.#adapter.dropPendingRun(name);
  }

  /** Removes a host function. Returns whether it was there. */
  unregister(name: string): boolean {
    return this.#adapter.unregister(name);
  }

  /** The kept table `_home`, as a live view. */
  get home(): StoredTable {
    return this.#adapter.home;
  }

  /** `_io.input`, the script's input. */
  get input(): any {
    return this.#adapter.ioGet(0);
  }
  set input(value: LuaInput) {
    this.#adapter.ioSet(0, value);
  }

  /** `_io.output`, which a script sets. A table is returned as a live view. */
  get output(): any {
    return this.#adapter.ioGet(1);
  }
  set output(value: LuaInput) {
    this.#adapter.ioSet(1, value);
  }

  /** `_io.meta` */
  get meta(): any {
    return this.#adapter.ioGet(2);
  }
  set meta(value: LuaInput) {
    this.#adapter.ioSet(2, value);
  }

  /** Removes `_io.input`, `_io.output` and `_io.meta`. */
  clearIo(): void {
    this.#adapter.clearIo();
  }

  /** Ends the current run with an error of the kind `Interrupted` that no script can catch. */
  interrupt(): void {
    this.#adapter.interrupt();
  }

  /** How much memory the sandbox uses now. */
  memoryStats(): MemoryStats {
    return this.#adapter.memoryStats();
  }

  /** How many tables there are, including `_home` and `_io` if they were written to; undefined if the store can't list them. */
  get tableCount(): number | undefined {
    return this.#adapter.tableCount();
  }

  /** Collects garbage: all of Lua's, and stored tables that nothing refers to. */
  gc(): void {
    this.#adapter.gc();
  }

  /** Restarts Lua: globals and functions are gone, stored tables and host functions stay. */
  reset(): void {
    this.#adapter.reset();
  }

  /** A copy of everything: Lua with its globals, closures and coroutines, and all tables. */
  snapshot(): Snapshot {
    return this.#adapter.snapshot();
  }

  /**
   * Resets everything to what it was when the snapshot was taken, here or in another sandbox. Host functions are found by name. Functions and
   * views of tables that the host still has give `Closed`.
   *
   * Tables in memory become what they were then. A sandbox with a store keeps what the store holds; then a snapshot is refused if Lua holds kept
   * tables in it, in variables or upvalues. `{ tables: true }` makes `_home` and all other tables what they were, and removes everything else from the store;
   * `{ tables: false }` keeps tables in memory as well.
   */
  restore(snapshot: Snapshot, options: RestoreOptions = {}): void {
    if (!(snapshot instanceof Snapshot)) throw invalid('restore takes a Snapshot');
    checkRestoreOptions(options);
    this.#adapter.restore(snapshot, options.tables);
  }

  /** Another sandbox in the same state, with the same settings and host functions. Its tables are in memory. */
  fork(): Sandbox {
    const snapshot = this.#adapter.snapshot();
    const fork = new Sandbox({ ...this.#adapter.options, store: undefined });
    this.#adapter.copyFunctions(fork.#adapter);
    fork.#adapter.restore(snapshot, undefined, true);
    return fork;
  }

  /**
   * Ends the sandbox and frees what it holds: every later call gives `Closed`. A run that is under way on another thread is interrupted and ends soon:
   * `closeAsync` says when. Sandboxes that are forgotten are closed too.
   */
  close(): void {
    void this.#adapter.close();
  }

  /** Like `close`. The promise resolves when no run is left; inside a host function it resolves at once. */
  closeAsync(): Promise<void> {
    return this.#adapter.close();
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#adapter.isClosed;
  }

  /** `using lua = new Sandbox()` closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** `await using lua = new Sandbox()` closes it, and waits until no run is left. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeAsync();
  }
}
