import { Runtime } from './runtime.js';
import { Engine } from './engine.js';
import { type Enter, callEntry, computeEntry, namedEntry } from './entry.js';
import { invalid } from '../../shared/errors.js';
import { Functions, type HostFunction, type RegisterOptions, checkRegisterOptions } from '../../shared/functions.js';
import { type LimitOptions, defaultLimits, withLimits } from '../../shared/limits.js';
import type { Modules } from '../../shared/modules.js';
import { type PendingRun, Run, type Started } from './run.js';
import { type RestoreOptions, checkPath, checkRestoreOptions, checkRunOptions, checkSandboxOptions, checkSource, checkType, sandboxNames } from '../../shared/options.js';
import type { Outcome } from '../../shared/outcome.js';
import { Snapshot } from './snapshot.js';
import type { StoredTable } from '../../shared/stored.js';
import { type TableStore, Tables } from './tables.js';
import type { LuaInput } from '../../shared/values.js';
import { VirtualTime } from './virtual-time.js';

/** Settings of a sandbox. */
export interface SandboxOptions extends LimitOptions {
  /** The compiled guest. Default: the one that `Engine.load()` has loaded. */
  engine?: Engine;
  /** Where `_home` is kept. Default: in memory; it ends with the sandbox. */
  store?: TableStore | null;
  /** Receives printed text immediately, one call for each `print`, including its newline; `output` then stays empty. It can't use the sandbox. */
  onPrint?: (text: string) => void;
  /** Where `require` finds modules. */
  modules?: Modules;
  /**
   * Makes runs repeatable: random numbers follow from the seed, the clock from the number of instructions, and wall time is reported as
   * 0. Combine it with an `instructionLimit`, because a timeout depends on the machine.
   */
  seed?: number | bigint;
  /** Integers are BigInt and floats are numbers, in both directions, so that 3 and 3.0 stay different everywhere. Default: false. */
  exactNumbers?: boolean;
  /** Whether `_home` is also the global `Memory`. Default: true. */
  memoryAlias?: boolean;
  /**
   * Whether functions in the store are loaded. They are bytecode, which Lua does not verify: set this to false if people you don't trust can write
   * to the store. Reading a function then fails with `Store`. Default: true.
   */
  storedFunctions?: boolean;
  /** Without effect here, where a store has one user: elsewhere for how many milliseconds the sandbox claims a durable run each time. */
  claimTerm?: number;
  /** Without effect here, where a store has one user, and no run is in conflict with another: elsewhere whether runs on one store take turns. */
  queueRuns?: boolean;
}

/** Settings of one run. Limits that are set here replace the sandbox's. */
export interface RunOptions extends LimitOptions {
  /** The chunk's arguments, its `...`; the function's when it is a call. */
  args?: readonly LuaInput[];
  /** The chunk's name for messages, as in Lua: `=name` is shown as it is, `@name` as a file's. */
  name?: string;
}

/** Settings of one asynchronous run. */
export interface AsyncRunOptions extends RunOptions {
  /** Ends the run with an error of the kind `Interrupted`, whose `cause` is the signal's reason. */
  signal?: AbortSignal;
}

/** Settings of a run that is started. */
export interface StartOptions extends RunOptions {
  /**
   * Gives the run this name in the sandbox's store, of 1 to 1,000 bytes: it survives the page or process. Whenever it waits, the store gets in one commit what it has
   * written so far and the whole Lua. Afterwards `resume(name)` goes on from there, in any sandbox with this store: no write is lost or done twice.
   */
  durable?: string;
}

/** Settings of a run that is started asynchronously. */
export interface AsyncStartOptions extends StartOptions {
  /** Ends the run when it aborts, also while it waits: it gets the error when it goes on. */
  signal?: AbortSignal;
}

/** Bytes of memory at one moment. */
export interface MemoryStats {
  /** The buffer for source and results. */
  bufferBytes: number;
  /** In use by Lua's own heap. */
  luaBytes: number;
  /** The whole wasm memory. */
  wasmBytes: number;
}

const limitsOf = (options: RunOptions | undefined): LimitOptions | null => options ?? null;

/**
 * One isolated Lua with its state: globals stay from run to run, and so do the tables in `home`.
 *
 * Every run is a transaction: what it wrote to stored tables is kept if it succeeds and dropped if it fails. After an error the next run
 * works as if nothing had happened; after a `Trap` globals are gone, because Lua is restarted, and stored tables are as before the run.
 */
export class Sandbox {
  readonly #runtime: Runtime;

  constructor(options: SandboxOptions | Runtime = {}) {
    this.#runtime = options instanceof Runtime ? options : makeRuntime(options);
  }

  /** Like `new Sandbox(options)`, after loading the default engine if there is none. */
  static async create(options: SandboxOptions = {}): Promise<Sandbox> {
    checkSandboxOptions(options, sandboxNames, Engine);
    return new Sandbox({ ...options, engine: options.engine ?? (await Engine.load()) });
  }

  /** Runs Lua source. Returns what the source returns: one value, an array for several, undefined for none. */
  compute(source: string | Uint8Array, ...args: LuaInput[]): any {
    return (args.length === 0 ? this.computeWith(source) : this.computeWith(source, { args })).value;
  }

  /** Runs Lua source with a chunk name, arguments and limits of its own. */
  computeWith(source: string | Uint8Array, options?: RunOptions): Outcome {
    return this.#runtime.run(limitsOf(options), this.#source(source, options, false));
  }

  #source(source: string | Uint8Array, options: StartOptions | undefined, isAsync: boolean, more?: string[]): Enter {
    checkSource(source);
    if (options !== undefined) checkRunOptions(options, isAsync, more);
    const limits = this.#runtime.limitsFor(limitsOf(options));
    const { name = '', args = [] } = options ?? {};
    return name === '' && args.length === 0 ? computeEntry(source, limits) : namedEntry(source, name, args, limits);
  }

  /**
   * Like `compute`, but host functions may return promises, which the script waits for; the page or process goes on meanwhile. It does not while the script
   * itself computes.
   */
  async computeAsync(source: string | Uint8Array, options?: AsyncRunOptions): Promise<any> {
    return (await this.computeAsyncWith(source, options)).value;
  }

  /** Like `computeAsync`, with the whole outcome. */
  async computeAsyncWith(source: string | Uint8Array, options?: AsyncRunOptions): Promise<Outcome> {
    const entry = this.#source(source, options, true);
    const signal = options?.signal;
    return this.#runtime.runWaiting(limitsOf(options), signal, entry);
  }

  /** Calls a global Lua function. Dots reach into tables: `game.player.move`. */
  call(path: string, ...args: LuaInput[]): any {
    checkPath(path);
    return this.#runtime.run(null, callEntry(path, args)).value;
  }

  /** Like `call`, with arguments and limits from options; a name has no meaning here. */
  callWith(path: string, options: RunOptions = {}): Outcome {
    checkPath(path);
    checkRunOptions(options, false);
    return this.#runtime.run(options, callEntry(path, options.args ?? []));
  }

  /** Like `call`, but asynchronous as `computeAsync` is. */
  async callAsync(path: string, options: AsyncRunOptions = {}): Promise<any> {
    checkPath(path);
    checkRunOptions(options, true);
    return (await this.#runtime.runWaiting(options, options.signal, callEntry(path, options.args ?? []))).value;
  }

  /**
   * Makes a function callable from Lua, as the global of that name; dots put it into tables. It may use this sandbox until it returns. What
   * it throws becomes a Lua error, and comes out as the `cause` if no script catches it. It stays when the sandbox is reset. That it is `repeatable` is without effect
   * here, where no run is repeated.
   */
  register(name: string, f: HostFunction, options: RegisterOptions = {}): this {
    checkRegisterOptions(options);
    this.#runtime.register(name, f);
    return this;
  }

  /**
   * Makes the name a function whose calls whoever starts a run answers. In other runs a call of it is an error. As for `register`, dots put it into tables, and it
   * stays when the sandbox is reset.
   */
  declare(name: string): this {
    this.#runtime.declare(name);
    return this;
  }

  /**
   * Starts a run of Lua source. It is done when this returns, or waits for answers to calls of declared functions; what the script fails with is the run's result. The time
   * for which it waits does not count for its timeout.
   */
  start(source: string | Uint8Array, options: StartOptions = {}): Run {
    return this.#run(this.#runtime.start(options, durableOf(options), this.#source(source, options, false, ['durable'])));
  }

  /** Like `start`, for a global function; dots reach into tables. */
  startCall(path: string, options: StartOptions = {}): Run {
    return this.#run(this.#runtime.start(options, durableOf(options), this.#path(path, options, false)));
  }

  /** Like `start`, and host functions may return promises: this promise is kept when the run is done, or waits for nothing but answers. */
  async startAsync(source: string | Uint8Array, options: AsyncStartOptions = {}): Promise<Run> {
    const entry = this.#source(source, options, true, ['durable']);
    return this.#run(await this.#runtime.startLater(options, options.signal, durableOf(options), entry));
  }

  /** Like `startCall`, with promises as in `startAsync`. */
  async startCallAsync(path: string, options: AsyncStartOptions = {}): Promise<Run> {
    const entry = this.#path(path, options, true);
    return this.#run(await this.#runtime.startLater(options, options.signal, durableOf(options), entry));
  }

  #path(path: string, options: StartOptions, isAsync: boolean): Enter {
    checkPath(path);
    checkRunOptions(options, isAsync, ['durable']);
    return callEntry(path, options.args ?? []);
  }

  #run(run: Started): Run {
    return new Run(this.#runtime, run);
  }

  /**
   * The run that came with the snapshot to which this sandbox was restored, or with which it was forked: it waits for the same requests under the same numbers. Until somebody
   * takes it over, other runs get `Busy`. Undefined when there is none, or somebody has it.
   */
  waitingRun(): Run | undefined {
    const run = this.#runtime.waitingRun();
    return run && this.#run(run);
  }

  /**
   * Goes on with a durable run that waits in this sandbox's store, from where it waited last: it waits for the same requests under the same numbers. The sandbox becomes what that one
   * was, with its globals; as after `restore`, functions and views that the host has give `Closed`. Throws `InvalidArgument` if there is no such run.
   */
  resume(name: string): Run {
    return this.#run(this.#runtime.resumeStored(name));
  }

  /** The durable runs that wait in this sandbox's store, in the order of their names. */
  pendingRuns(): PendingRun[] {
    return this.#runtime.pendingRuns();
  }

  /** Removes a durable run that waits in this sandbox's store. What it has written to tables stays. Returns whether there was one. */
  dropPendingRun(name: string): boolean {
    return this.#runtime.dropPendingRun(name);
  }

  /** Removes a host function. Returns whether it was there. */
  unregister(name: string): boolean {
    checkPath(name);
    return this.#runtime.unregister(name);
  }

  /** The kept table `_home`, as a live view. */
  get home(): StoredTable {
    return this.#runtime.home;
  }

  /** `_io.input`, the script's input. */
  get input(): any {
    return this.#runtime.io.get('input');
  }
  set input(value: LuaInput) {
    this.#runtime.io.set('input', value);
  }

  /** `_io.output`, which a script sets. A table is returned as a live view. */
  get output(): any {
    return this.#runtime.io.get('output');
  }
  set output(value: LuaInput) {
    this.#runtime.io.set('output', value);
  }

  /** `_io.meta` */
  get meta(): any {
    return this.#runtime.io.get('meta');
  }
  set meta(value: LuaInput) {
    this.#runtime.io.set('meta', value);
  }

  /** Removes `_io.input`, `_io.output` and `_io.meta`. */
  clearIo(): void {
    this.#runtime.clearIo();
  }

  /** Ends the current run with an error of the kind `Interrupted` that no script can catch: from a host function, or while a
   * run waits; a started one gets it when it goes on. A worker that runs without a pause does not notice it; end it with a `timeout` or with `worker.terminate()`. */
  interrupt(): void {
    this.#runtime.host.interrupt();
  }

  /** How much memory the sandbox uses now. */
  memoryStats(): MemoryStats {
    return this.#runtime.memoryStats();
  }

  /** How many tables there are, including `_home` and `_io` if they were written to. */
  get tableCount(): number {
    return this.#runtime.tableCount;
  }

  /** Collects garbage: all of Lua's, and stored tables that nothing refers to. */
  gc(): void {
    this.#runtime.gc();
  }

  /** Restarts Lua: globals and functions are gone, stored tables and host functions stay. */
  reset(): void {
    this.#runtime.reset();
  }

  /** A copy of everything: Lua with its globals, closures and coroutines, all tables, and a started run that waits. */
  snapshot(): Snapshot {
    return new Snapshot(this.#runtime.image());
  }

  /**
   * Resets everything to what it was in the snapshot. Host functions are found by name. Functions that the host still has give `Closed`.
   *
   * Tables in memory become what they were then. A sandbox with a store keeps what the store holds; then a snapshot is refused if Lua holds kept
   * tables in it, in variables or upvalues. `{ tables: true }` makes `_home` and all other tables what they were, and removes everything else from the store;
   * `{ tables: false }` keeps tables in memory as well.
   */
  restore(snapshot: Snapshot, options: RestoreOptions = {}): void {
    if (!(snapshot instanceof Snapshot)) throw invalid('restore takes a Snapshot');
    checkRestoreOptions(options);
    this.#runtime.restore(snapshot.image, options.tables);
  }

  /** Another sandbox in the same state, with the same settings and host functions. Its tables are in memory. */
  fork(): Sandbox {
    const { engine, limits, options, host } = this.#runtime;
    const image = this.#runtime.image();
    const { print, modules, virtualTime } = host;
    const runtime = new Runtime(engine, limits, options, new Tables(null), host.functions.copy(), { print, modules, virtualTime });
    // It is what this one is, whatever a run was allowed.
    runtime.restore(image, true, false);
    return new Sandbox(runtime);
  }

  /**
   * Ends the sandbox and frees what it holds: every later call gives `Closed`. A store stays open. A run that waits is interrupted and ends soon:
   * `closeAsync` says when.
   */
  close(): void {
    void this.#runtime.close();
  }

  /** Like `close`. The promise resolves when no run is left; inside a host function it resolves at once. */
  closeAsync(): Promise<void> {
    return this.#runtime.close();
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#runtime.isClosed;
  }

  /** `using lua = new Sandbox()` closes it. */
  declare [Symbol.dispose]: () => void;

  /** `await using lua = new Sandbox()` closes it, and waits until no run is left. */
  declare [Symbol.asyncDispose]: () => Promise<void>;
}

// `using` is younger than some engines: they call nothing, but may look for it.
const { close, closeAsync } = Sandbox.prototype;
for (const [name, value] of [['dispose', close], ['asyncDispose', closeAsync]] as const) {
  const symbol: symbol = Symbol[name] ?? Symbol.for(`Symbol.${name}`);
  Object.defineProperty(Sandbox.prototype, symbol, { value, configurable: true, writable: true });
}

/** The name of a durable run, if that is what is wanted. */
function durableOf(options: StartOptions): string | undefined {
  checkType(options, 'durable', 'string', 'text');
  return options.durable;
}

function makeRuntime(options: SandboxOptions): Runtime {
  checkSandboxOptions(options, sandboxNames, Engine);
  const { engine = Engine.default, store = null, onPrint = null, modules = null, seed, exactNumbers = false, memoryAlias = true, storedFunctions = true } = options;
  if (store !== null && (typeof store !== 'object' || typeof store.entries !== 'function' || typeof store.commit !== 'function'))
    throw invalid('store has to be an object with the methods entries and commit, such as await openIndexedDB(name) gives');
  if (modules !== null && typeof modules !== 'function' && typeof modules !== 'object')
    throw invalid('modules has to be an object, a map or a function');
  const limits = withLimits(defaultLimits, options);
  return new Runtime(engine, limits, { exact: exactNumbers, alias: memoryAlias }, new Tables(store, storedFunctions), new Functions(), {
    print: onPrint,
    modules,
    virtualTime: seed === undefined ? null : VirtualTime.of(seed),
  });
}
