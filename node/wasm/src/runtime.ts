// What runs Lua here, where there is no native part. All handles of one sandbox share it: the guest, the tables, and
// who may use them when.

import { Writer, checkText, utf8 } from '../../shared/bytes.js';
import { decode, encodeArgs, putReference, references } from '../../shared/codec.js';
import type { Engine } from './engine.js';
import { type Enter, functionEntry } from './entry.js';
import { checkId } from '../../shared/options.js';
import { type ErrorKind, LuaCellError, type Metrics, busy, closed, invalid, limitError, storeError } from '../../shared/errors.js';
import { HostValues } from '../../shared/host-values.js';
import { type FunctionNames, type Functions, type HostFunction, checkName } from '../../shared/functions.js';
import { type Entry, Guest } from './guest.js';
import { HeldFunctions } from '../../shared/held.js';
import { Host, type Waits, declared, tooMuchWaits } from './host.js';
import { type LimitOptions, type Limits, leastOf, mostMemory, onlySet, withLimits, within } from '../../shared/limits.js';
import { SandboxLinks } from './links.js';
import { Outcome } from '../../shared/outcome.js';
import { Code, Status, TableId, Tag } from '../../shared/protocol.js';
import { readResult } from './results.js';
import type { StoredTable } from '../../shared/stored.js';
import type { PendingRun, Request, Started } from './run.js';
import { Snapshot } from './snapshot.js';
import { type TableImage, Tables, type Write, isValid, usageOf } from './tables.js';
import { type LuaFunction, type LuaInput, functionKinds, functionPrototype } from '../../shared/values.js';
import { Views } from './views.js';
import type { VirtualTime } from './virtual-time.js';

/** Who takes many numbers for tables runs at least so many instructions. */
const LONG = 1n << 20n;
/** A durable run that failed with one of these waits on in its store: the script itself has not ended. */
const staysPending: (ErrorKind | null)[] = ['Busy', 'Closed', 'Conflict', 'Interrupted', 'Store', 'Trap'];
/** Fewer numbers are not worth a collection. */
const MANY_NUMBERS = 1 << 16;

/** Everything that a sandbox consists of between runs. */
export interface Image {
  /** The fingerprint of the guest that the memory is of. */
  guest: number;
  memory: Uint8Array;
  tables: TableImage;
  functions: FunctionNames;
  /** Functions of the host without a name, which bytes can't hold. */
  values: HostValues;
  time: VirtualTime | null;
  waiting: WaitingImage | null;
}

/** A run that waits, beside what the guest has of it. */
export interface WaitingImage {
  limits: Limits;
  /** Milliseconds that are left of its time. */
  left: number;
  hostCalls: number;
  bytesStored: number;
  /** By which number Lua knows the latest error of a host function. */
  lastError: number;
  /** What it has written to tables so far. */
  writes: Write[];
}

export class Runtime {
  readonly host: Host;
  #guest: Guest | null = null;
  /** Counts instances: functions of an earlier one can't be called any more. */
  #instance = 0;
  /** Lua may hold tables with numbers below this one, also such as nobody else has heard of: nothing was ever written to them. */
  #inLua = 0;
  #running = false;
  #closed = false;
  /** Who waits until nothing runs. */
  #waiting: (() => void)[] = [];
  /** Whether the guest has a run that waits. */
  #guestWaits = false;
  /** The run that somebody has started. */
  #started: Started | null = null;
  /** While a started run waits: milliseconds that are left of its time. */
  #timeLeft: number | null = null;
  /** Whether the run that waits came with a snapshot, and nobody has taken it over. */
  #untaken = false;
  /** What functions were called where it came from. */
  #restoredNames: ReadonlyMap<number, string> = new Map();
  readonly #args = new Writer();
  #argsBusy = false;
  readonly views = new Views(this);
  /** Built-ins that the host was given, by name: there is one of each. */
  readonly builtins = new Map<string, LuaFunction>();
  readonly functionPrototype = functionPrototype((f, args) => this.callFunction(f, args).values);
  /** Of the present instance. */
  #held!: HeldFunctions;
  /** Functions that nobody has any more, for the next time when the guest can be told; null where it is never told. */
  #released: [id: number, times: number][] | null = null;

  constructor(
    readonly engine: Engine,
    readonly limits: Limits,
    readonly options: { exact: boolean; alias: boolean },
    tables: Tables,
    functions: Functions,
    setUp: Partial<Pick<Host, 'print' | 'modules' | 'virtualTime'>>,
  ) {
    this.host = Object.assign(new Host(tables, functions), setUp);
    this.#start();
  }

  // ---- Who may use it when

  #links(): SandboxLinks {
    return new SandboxLinks(this, this.#instance, this.#held, this.options.exact, this.host.values);
  }

  /** Whether a host function of the present run uses it; else nothing runs. Throws when something else does. */
  #enter(): boolean {
    if (this.#closed) throw closed();
    if (!this.#running) return false;
    if (!this.host.isOpen) throw busy();
    return true;
  }

  /** As `#enter`, for what can't be done in the middle of a run. */
  #enterWhole(): void {
    if (this.#enter()) throw busy();
  }

  /** The promise is kept when no run is left. */
  async close(): Promise<void> {
    this.#closed = true;
    if (!this.#running) return this.#free();
    if (this.#timeLeft !== null) return this.#loseRun(closed());
    if (this.host.isOpen) return;
    this.host.interrupt();
    await this.#left();
  }

  #left(): Promise<void> {
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  #free(): void {
    this.#guest = null;
    this.host.guest = null;
    this.host.values = new HostValues();
    this.host.tables.rollback();
  }

  #start(): Guest {
    const { host } = this;
    this.#beginInstance();
    host.values = new HostValues();
    const guest = new Guest(this.engine.module, host);
    this.#setUp(guest);
    this.#guest = guest;
    return guest;
  }

  #beginInstance(): void {
    this.#instance++;
    // With a seed nothing is released: Lua's memory would depend on when JavaScript collects garbage.
    const released: [number, number][] | null = this.host.virtualTime ? null : [];
    this.#released = released;
    this.#held = new HeldFunctions((id, times) => void released?.push([id, times]));
  }

  /** Tells a new instance how this sandbox is set up. */
  #setUp(guest: Guest): void {
    const { host } = this;
    guest.apply(this.limits);
    if (!this.options.alias) guest.call('set_memory_alias_enabled', 0);
    guest.call('set_print_streaming', host.print ? 1 : 0);
    guest.call('set_deterministic', host.virtualTime ? 1 : 0);
    guest.call('sync_external_table_counter', host.tables.nextId);
    for (const [id, name] of host.functions) {
      try {
        guest.nameFunction('register_function', name, id);
      } catch (error) {
        // One that has no place any more, because of what a script had made of its name, is left out: without it the
        // sandbox goes on.
        if (!(error instanceof LuaCellError) || error.fatal) throw error;
      }
    }
  }

  #theGuest(): Guest {
    return this.#guest ?? this.#start();
  }

  /** Gives up the instance, with everything that was not stored. */
  #drop(): void {
    this.#guest = null;
    this.host.guest = null;
    this.#guestWaits = false;
    this.#inLua = 0;
    this.host.tables.rollback();
    this.#giveBack(0);
    this.host.end(0n);
  }

  /** Takes back what failed. After a crash, or when the guest breaks its contract, the instance goes too. */
  #abandon(error: unknown): void {
    if (error instanceof LuaCellError && error.fatal) return this.#drop();
    if (this.#guestWaits) {
      this.host.interrupt();
      try {
        this.#finish(this.#execute((guest) => guest.endWaiting()));
      } catch (ended) {
        if (ended instanceof LuaCellError && ended.fatal) return this.#drop();
      }
    }
    this.host.tables.rollback();
    try {
      this.#giveBack(this.#inLua - 1);
    } catch {
      this.#drop();
    }
  }

  /** Numbers for tables behind this one, which the present run took, are given again, but for those that somebody has a view of. */
  #giveBack(used: number): void {
    for (const id of this.views.ids()) used = Math.max(used, id);
    const next = this.host.tables.giveBack(used);
    this.#guest?.call('set_table_counter', next);
  }

  /** The same after a run that took many, before it is stored: for those that neither Lua holds nor anything that was written refers to. */
  #trimNumbers(): void {
    const guest = this.#guest!;
    const { tables } = this.host;
    if (tables.taken(guest.nextId) < MANY_NUMBERS) return;
    const held = guest.heldTables();
    if (held === null) return;
    let used = tables.highestWritten();
    for (const id of held) used = Math.max(used, id);
    this.#giveBack(used);
  }

  /** A call into the guest that is no run. */
  #whole<T>(f: (guest: Guest) => T): T {
    this.#enterWhole();
    this.#running = true;
    try {
      return f(this.#theGuest());
    } catch (error) {
      this.#abandon(error);
      throw error;
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    this.#running = false;
    if (this.#closed) this.#free();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  // ---- Runs

  /** Runs the guest: `enter` passes in what is to be run. */
  run(set: LimitOptions | null, enter: Enter): Outcome {
    if (this.#enter()) return this.#asPart(() => this.#runNested(set, enter));
    this.#running = true;
    try {
      const entry = this.#begin(set, enter, 'never');
      return this.#finish(this.#execute((guest) => guest.call(...entry)));
    } catch (error) {
      this.#abandon(error);
      throw error;
    } finally {
      this.#leave();
    }
  }

  /** As `run`, and promises of host functions are waited for. */
  async runWaiting(set: LimitOptions | null, signal: AbortSignal | undefined, enter: Enter): Promise<Outcome> {
    const { end } = await this.startLater(set, signal, undefined, enter, 'driven');
    if ('error' in end!) throw end.error;
    return end!.outcome;
  }

  /** A run that was told to end does not make the sandbox busy, except for its own host functions. */
  get #isEnding(): boolean {
    return this.#running && this.host.isInterrupted && !this.host.isOpen;
  }

  #enterFree(signal: AbortSignal | undefined): void {
    this.#enterWhole();
    if (signal?.aborted) throw new LuaCellError('Interrupted', 'the run was aborted', { cause: signal.reason });
  }

  /** Encodes with room that is kept. */
  #withArgs<T>(f: (args: Writer) => T): T {
    if (this.#argsBusy) return f(new Writer());
    this.#argsBusy = true;
    this.#args.length = 0;
    try {
      return f(this.#args);
    } finally {
      this.#argsBusy = false;
    }
  }

  #begin(set: LimitOptions | null, enter: Enter, waits: Waits): Entry {
    const limits = set ? withLimits(this.limits, set) : this.limits;
    this.#releaseHandles();
    const guest = this.#theGuest();
    if (this.host.values.wantsComparison) this.#compareValues(guest);
    const links = this.#links();
    this.host.begin(limits, waits);
    guest.apply(limits);
    guest.letWait(waits !== 'never');
    const entry = this.#withArgs((args) => enter(guest, links, args));
    this.host.links = links;
    return entry;
  }

  #metrics(): { metrics: Metrics; ticks: bigint } {
    const { host } = this;
    const { ticks, peak } = this.#guest!.runMetrics();
    const wallTime = host.virtualTime ? 0 : performance.now() - host.started;
    const { hostCalls, bytesStored } = host;
    // The guest may take a few more until it asks.
    const instructions = Math.min(Number(ticks), host.limits.instructions);
    return { metrics: { wallTime, instructions, peakMemory: peak, hostCalls, bytesStored }, ticks };
  }

  /** Lets the guest run until the run has ended, or waits. */
  #execute(execute: (guest: Guest) => number): number {
    try {
      const n = execute(this.#guest!);
      this.#guestWaits = n === Code.RunWaits;
      return n;
    } catch (error) {
      // Numbers that a crashed guest wrote are better than none.
      if (error instanceof LuaCellError) error.metrics = this.#metrics().metrics;
      throw error;
    }
  }

  /** Lets the run that waits go on with what was answered, or end when it has to. */
  #goOn(): number {
    const { host } = this;
    return this.#execute((guest) => (host.passedLimit() ? guest.endWaiting() : guest.resume(host.takeAnswers(), () => host.tooLargeAnswer())));
  }

  #finish(n: number): Outcome {
    const { host } = this;
    const links = host.links!;
    const { metrics, ticks } = this.#metrics();
    const guest = this.#guest!;
    let outcome: Outcome | null = null;
    try {
      const read = readResult(guest, host, n, links);
      // The run was interrupted because of what dooms it.
      if (read instanceof LuaCellError) throw (read.kind === 'Interrupted' && host.doomed) || read;
      outcome = new Outcome(read.values, read.output, metrics);
      // What the guest was not told of, or did not mind.
      if (host.doomed) throw host.doomed;
      if (host.refused) throw limitError(host.refused);
      if (ticks > LONG) this.#trimNumbers();
      if (this.#started?.stored) host.tables.putRun(this.#started.name!, null);
      host.tables.commit();
    } catch (error) {
      if (error instanceof LuaCellError) {
        if (outcome) error.outputBytes = outcome.outputBytes;
        error.metrics = metrics;
      }
      if (!(error instanceof LuaCellError && error.fatal)) {
        // A run that failed in Lua is taken back there already.
        if (n >= 0) guest.call('undo_run');
        guest.shrinkBuffer();
      }
      throw error;
    } finally {
      host.end(ticks);
    }
    // From here on it has succeeded.
    this.#afterwards(() => {
      this.#inLua = guest.nextId;
      if (host.tables.wantsSweep) this.#sweep();
      guest.shrinkBuffer();
    });
    return outcome;
  }

  /** Does what a run that is over does not depend on. */
  #afterwards(f: () => void): void {
    try {
      f();
    } catch (error) {
      this.#abandon(error);
    }
  }

  /** A host function uses its own sandbox: what it runs belongs to the outer run, whose limits hold for it. Limits of its own end it alone. */
  #runNested(set: LimitOptions | null, enter: Enter): Outcome {
    const own = onlySet(set);
    if (!own) return this.#runInside(enter);
    const { host } = this;
    const guest = this.#guest!;
    const { limits, deadline } = host;
    const inner = within(limits, own, host.hostCalls, guest.reviewLimits());
    let kind: ErrorKind | null = null;
    host.limits = inner;
    host.deadline = Math.min(deadline, performance.now() + own.timeout);
    host.shares.push({ instructions: own.instructions, from: null });
    guest.apply(inner);
    try {
      return this.#runInside(enter);
    } catch (error) {
      if (error instanceof LuaCellError) kind = error.kind;
      throw error;
    } finally {
      host.limits = limits;
      host.deadline = deadline;
      host.shares.pop();
      if (!host.broken) {
        guest.apply(limits);
        // The outer run goes on when the limit was not its own. How many instructions it has left it is asked in any
        // case.
        const isInner =
          (kind === 'Timeout' && performance.now() < deadline) ||
          (kind === 'InstructionLimit' && own.instructions !== Infinity) ||
          (kind === 'HostCallLimit' && inner.hostCalls < limits.hostCalls) ||
          (kind === 'StoreLimit' && (inner.storeBytes < limits.storeBytes || inner.storeEntries < limits.storeEntries)) ||
          (kind === 'OutputLimit' && inner.output < limits.output);
        if (isInner) {
          host.refused = null;
          guest.reviewLimits();
        }
      }
    }
  }

  #runInside(enter: Enter): Outcome {
    const { host } = this;
    const links = host.links!;
    const guest = this.#guest!;
    const started = performance.now();
    host.isOpen = false;
    host.depth++;
    try {
      const entry = this.#withArgs((args) => enter(guest, links, args));
      const n = guest.call(...entry);
      const read = readResult(guest, host, n, links);
      if (read instanceof LuaCellError) {
        read.nested = true;
        throw read;
      }
      if (host.refused) throw Object.assign(limitError(host.refused), { nested: true });
      const wallTime = host.virtualTime ? 0 : performance.now() - started;
      return new Outcome(read.values, read.output, { wallTime, instructions: 0, peakMemory: 0, hostCalls: 0, bytesStored: 0 });
    } catch (error) {
      if (error instanceof LuaCellError && error.fatal) host.broken ??= error;
      throw error;
    } finally {
      host.depth--;
      host.isOpen = true;
    }
  }

  /** Stores what was written, and looks for orphans when enough tables were made. */
  #commit(): void {
    const { tables } = this.host;
    if (!tables.isOpen) return;
    tables.commit();
    this.#afterwards(() => {
      if (tables.wantsSweep) this.#sweep();
    });
  }

  #sweep(): void {
    const held = this.#guest ? this.#guest.heldTables() : new Set<number>();
    if (held === null) return;
    for (const id of this.views.ids()) held.add(id);
    const gone = this.host.tables.sweep(held);
    this.#guest?.forgetTables(gone);
  }

  #releaseHandles(): void {
    const released = this.#released;
    if (released === null || released.length === 0) return;
    for (const [id, times] of released) for (let i = 0; i < times; i++) this.#guest?.call('release_handle', id);
    released.length = 0;
  }

  /** Limits of a run, for what is looked at before it begins. */
  limitsFor(set: LimitOptions | null): Limits {
    const limits = set ? withLimits(this.limits, set) : this.limits;
    return this.#running ? { ...limits, source: Math.min(limits.source, this.host.limits.source) } : limits;
  }

  callFunction(f: LuaFunction, values: readonly unknown[]): Outcome {
    return this.run(null, functionEntry(f, functionKinds.get(f)!, values));
  }

  // ---- Host functions

  register(name: string, f: HostFunction): void {
    checkName(name);
    if (typeof f !== 'function') throw invalid(`what is registered as '${name}' has to be a function`);
    this.#withGuest((guest) => {
      const { functions } = this.host;
      const [id, before] = functions.add(name, f);
      try {
        guest.nameFunction('register_function', name, id);
      } catch (error) {
        functions.putBack(id, before);
        throw error;
      }
    });
  }

  unregister(name: string): boolean {
    return this.#withGuest((guest) => {
      const id = this.host.functions.remove(name);
      if (id >= 0) guest.nameFunction('unregister_function', name, id);
      return id >= 0;
    });
  }

  /** Something short in the guest, also inside of a host function. */
  #withGuest<T>(f: (guest: Guest) => T): T {
    if (!this.#enter()) return this.#whole(f);
    try {
      return f(this.#guest!);
    } catch (error) {
      if (error instanceof LuaCellError && error.fatal) this.host.broken ??= error;
      throw error;
    }
  }

  // ---- Stored tables

  /** Reads. Inside of a host function values belong to the run that called it. */
  read<T>(f: (links: SandboxLinks) => T): T {
    const inside = this.#enter();
    return f(inside ? this.host.links! : this.#links());
  }

  /** Writes: all of it is stored, or nothing. Inside of a host function it is stored with the run. */
  write<T>(f: (links: SandboxLinks) => T): T {
    if (this.#enter()) return f(this.host.links!);
    this.#running = true;
    try {
      const result = f(this.#links());
      this.#commit();
      return result;
    } catch (error) {
      this.#abandon(error);
      throw error;
    } finally {
      this.#leave();
    }
  }

  /** What `f` writes. */
  encoded(f: (out: Writer) => void): Uint8Array {
    return this.#withArgs((out) => {
      f(out);
      return out.written.slice();
    });
  }

  /** Takes this many table ids; the first of them. */
  allocateIds(count: number): number {
    return this.#theGuest().allocateIds(count);
  }

  get tableCount(): number {
    this.#enter();
    return this.host.tables.count;
  }

  clearIo(): void {
    this.write(() => {
      for (const key of ['input', 'output', 'meta']) this.host.tables.delete(TableId.Io, key);
    });
  }

  get home(): StoredTable {
    return this.views.view(TableId.Home, false);
  }

  get io(): StoredTable {
    return this.views.view(TableId.Io, false);
  }

  // ---- The whole

  memoryStats(): ReturnType<Guest['memoryStats']> {
    return this.#beside((guest) => guest.memoryStats());
  }

  gc(): void {
    this.#whole((guest) => {
      // A run: it may run finalizers.
      this.#begin(null, () => ['run_gc'], 'never');
      const n = this.#execute(() => {
        guest.call('run_gc');
        return guest.call('get_error_details') === 0 ? 0 : -1;
      });
      this.#finish(n);
      this.#sweep();
    });
  }

  /** Lets go of functions that the guest does not have, when no message is on its way to it. */
  #compareValues(guest: Guest): void {
    const has = guest.hostValues();
    if (has) this.host.values.compare(has);
  }

  reset(): void {
    this.#enterWhole();
    this.#drop();
    this.#start();
  }

  image(): Image {
    return this.#beside((guest) => {
      this.#releaseHandles();
      const { values } = this.host;
      if (values.size > 0) {
        // What is garbage already need not be kept.
        guest.call('run_gc');
        // An answer may be on its way to a run that waits.
        if (this.#timeLeft === null) this.#compareValues(guest);
      }
      guest.call('settle_random');
      const { tables } = this.host;
      return this.#imageWith(guest, tables.image(), this.#timeLeft, tables.writes);
    });
  }

  /** `left`: the time that a run has which waits. */
  #imageWith(guest: Guest, tables: TableImage, left: number | null, writes: Write[]): Image {
    const { functions, values, virtualTime, limits, hostCalls, bytesStored, lastError } = this.host;
    return {
      guest: this.engine.fingerprint,
      memory: guest.copyMemory(),
      tables,
      functions: functions.names,
      values: values.copy(),
      time: virtualTime?.copy() ?? null,
      waiting: left === null ? null : { limits, left, hostCalls, bytesStored, lastError, writes },
    };
  }

  /** A call into the guest that a run which waits does not mind. */
  #beside<T>(f: (guest: Guest) => T): T {
    if (this.#closed) throw closed();
    return this.#timeLeft === null ? this.#whole(f) : f(this.#guest!);
  }

  /** Whether this sandbox may become so large, as far as that shows at once. */
  #checkSize(image: Image, withTables: boolean): void {
    const { memory, storeBytes, storeEntries } = this.limits;
    if (image.memory.length > mostMemory(memory)) throw this.#tooLarge(image.memory.length);
    const { bytes, entries } = usageOf(image.tables, image.waiting?.writes);
    if (withTables && (bytes > storeBytes || entries > storeEntries))
      throw new LuaCellError('StoreLimit', `the snapshot's tables hold ${bytes} bytes in ${entries} entries, more than the sandbox's storeLimit allows`);
  }

  #tooLarge(bytes: number): LuaCellError {
    return new LuaCellError('Memory', `the snapshot's ${bytes} bytes are more than this sandbox's memoryLimit of ${this.limits.memory} bytes has room for`);
  }

  /**
   * `keepsLimits`: a snapshot that is larger than this sandbox may be is refused. `stored`: Lua knows the tables of the
   * store, since it comes from there.
   */
  restore(image: Image, withTables = this.host.tables.store === null, keepsLimits = true, stored = false): void {
    this.#enterWhole();
    if (image.guest !== this.engine.fingerprint) throw invalid('the snapshot was made with another lua.wasm, and can only be restored with that one');
    const { waiting } = image;
    if (waiting && !withTables && !stored) throw invalid("the snapshot has a run that waits, which can't go on without its tables");
    if (keepsLimits) this.#checkSize(image, withTables);
    this.#running = true;
    const { host } = this;
    const before = host.values;
    try {
      host.values = image.values.copy();
      const guest = new Guest(this.engine.module, host);
      guest.putMemory(image.memory);
      const inUse = guest.memoryStats().luaBytes;
      if (keepsLimits && inUse > this.limits.memory) throw this.#tooLarge(inUse);
      // Those of the sandbox that was copied.
      guest.call('forget_handles');
      if (stored) {
        host.tables.restoreIo(image.tables);
        host.tables.commit();
      } else if (withTables) {
        host.tables.restore(image.tables);
        host.tables.commit();
      } else {
        const left = guest.call('leave_tables', host.tables.nextId);
        if (left !== 0) throw invalid(`Lua holds ${left} kept tables in the snapshot, which are not those of this sandbox; restore it with its tables`);
      }
      host.functions.renumber(image.functions);
      host.virtualTime = image.time?.copy() ?? host.virtualTime;
      this.#beginInstance();
      this.#guest = guest;
      this.#setUp(guest);
      this.#inLua = guest.nextId;
      this.views.end();
      if (waiting) this.#restoreRun(guest, waiting, image.functions);
      else this.#afterwards(() => this.#sweep());
    } catch (error) {
      if (host.guest !== this.#guest) host.values = before;
      host.guest = this.#guest;
      this.#abandon(error);
      throw error;
    } finally {
      if (this.#timeLeft === null) this.#leave();
      else if (this.#closed) this.#loseRun(closed());
    }
  }

  // ---- Runs that somebody starts and answers

  declare(name: string): void {
    this.register(name, declared);
  }

  /** Begins a run. What the script fails with is the run's end. */
  start(set: LimitOptions | null, name: string | undefined, enter: Enter): Started {
    const [run, entry] = this.#beginStarted(set, name, enter, 'started');
    this.#step(run, () => this.#execute((guest) => guest.call(...entry)));
    return run;
  }

  /** The same, and promises of host functions are waited for. */
  async startLater(set: LimitOptions | null, signal: AbortSignal | undefined, name: string | undefined, enter: Enter, waits: Waits = 'started'): Promise<Started> {
    while (this.#isEnding) await this.#left();
    this.#enterFree(signal);
    const [run, entry] = this.#beginStarted(set, name, enter, waits);
    const abort = (): void => this.host.interrupt();
    if (signal) {
      run.onEnd = () => {
        signal.removeEventListener('abort', abort);
        if (run.end && 'error' in run.end) giveReason(run.end.error, signal);
      };
    }
    await this.#stepLater(run, () => {
      // As a part of the run, which it ends if it throws.
      signal?.addEventListener('abort', abort);
      return this.#execute((guest) => guest.call(...entry));
    });
    return run;
  }

  #beginStarted(set: LimitOptions | null, name: string | undefined, enter: Enter, waits: Waits): [Started, Entry] {
    this.#enterWhole();
    if (name !== undefined) this.#checkDurable(name);
    this.#running = true;
    try {
      const entry = this.#begin(set, enter, waits);
      this.#started = { end: null, name, stored: false };
      return [this.#started, entry];
    } catch (error) {
      this.#abandon(error);
      this.#leave();
      throw error;
    }
  }

  /** A started run goes as far as it comes. */
  #step(run: Started, go: () => number): void {
    try {
      this.#endStep(run, go());
    } catch (error) {
      this.#endRun(run, { error });
    }
  }

  async #stepLater(run: Started, go: () => number): Promise<void> {
    const { host } = this;
    host.drives = true;
    try {
      let n = go();
      while (this.#guestWaits && (host.waits === 'driven' || host.drivesSome)) {
        await host.untilAnswered();
        n = this.#goOn();
      }
      host.drives = false;
      this.#endStep(run, n);
    } catch (error) {
      this.#endRun(run, { error });
    }
  }

  #endStep(run: Started, n: number): void {
    if (!this.#guestWaits) return this.#endRun(run, { outcome: this.#finish(n) });
    if (run.name !== undefined) this.#checkpoint(run, run.name);
    // Closed by what the run has called: nobody can let it go on.
    if (this.#closed) return this.#loseRun(closed());
    this.#letWait();
  }

  #endRun(run: Started, end: NonNullable<Started['end']>): void {
    if ('error' in end) {
      this.#abandon(end.error);
      // Whoever resumes one that did not end by itself goes on from where it was stored.
      const kind = end.error instanceof LuaCellError ? end.error.kind : null;
      if (run.stored && !staysPending.includes(kind)) this.#removeRun(run.name!);
    }
    this.host.end(0n);
    this.#forgetRun(end);
  }

  /** The run that somebody has started is over. */
  #forgetRun(end: NonNullable<Started['end']>): void {
    const run = this.#started;
    this.#started = null;
    try {
      if (run) {
        run.end = end;
        run.onEnd?.();
      }
    } finally {
      this.#leave();
    }
  }

  /** What the store fails with shows when somebody wants to resume it. */
  #removeRun(name: string): void {
    try {
      this.host.tables.removeRun(name);
    } catch {
      // It is there still.
    }
  }

  /** The time of a started run stands still while it waits, and anybody may use the sandbox as a part of it. */
  #letWait(): void {
    const { host } = this;
    this.#timeLeft = Math.max(0, host.deadline - performance.now());
    host.deadline = Infinity;
    host.isOpen = true;
  }

  #endWait(): void {
    const { host } = this;
    host.deadline = performance.now() + this.#timeLeft!;
    this.#timeLeft = null;
    host.isOpen = false;
  }

  /** Something that is run as a part of the present run, which may wait. */
  #asPart<T>(f: () => T): T {
    if (this.#untaken) throw busy();
    if (this.#timeLeft === null) return f();
    const { host } = this;
    this.#endWait();
    try {
      return f();
    } finally {
      if (this.#closed) this.#loseRun(closed());
      else if (host.broken) this.#loseRun(host.broken);
      else this.#letWait();
    }
  }

  /** The run that waits is gone, with the instance. */
  #loseRun(error: LuaCellError): void {
    this.#timeLeft = null;
    this.#untaken = false;
    this.#drop();
    this.#forgetRun({ error });
  }

  /** Whether it waits; throws when it can't be used at this moment. */
  #checkRun(run: Started): void {
    if (run.end) throw this.#closed ? closed() : invalid('the run is done');
    if (this.#timeLeft === null) throw busy();
  }

  requestsOf(run: Started): Request[] {
    if (run.end) return [];
    return Array.from(this.host.requests, ([id, { name, args }]) => ({ id, name, args: [...args] }));
  }

  answer(run: Started, id: number, values: readonly LuaInput[]): void {
    this.#answer(run, id, values, (out) => {
      out.u8(Status.Results);
      encodeArgs(values, out, this.host.links!);
    });
  }

  failRequest(run: Started, id: number, error: unknown): void {
    const thrown = typeof error === 'string' ? new LuaCellError('HostFunction', error) : error;
    this.#answer(run, id, thrown, (out) => this.host.putError(out, thrown, this.host.links!));
  }

  #answer(run: Started, id: number, held: unknown, write: (out: Writer) => void): void {
    const { host } = this;
    this.#checkRequest(run, id);
    const bytes = host.encodeAnswer(write);
    // What was called for that may have answered it, or ended the run and begun another one.
    this.#checkRequest(run, id);
    host.addAnswer({ number: id, bytes, held });
    host.closeRequest(id);
  }

  #checkRequest(run: Started, id: number): void {
    this.#checkRun(run);
    checkId(id);
    if (!this.host.requests.has(id)) throw invalid(`the run has no open request ${String(id)}`);
  }

  resumeRun(run: Started): void {
    this.#checkRun(run);
    this.#endWait();
    this.#step(run, () => this.#goOn());
  }

  async resumeRunLater(run: Started): Promise<void> {
    this.#checkRun(run);
    this.#endWait();
    await this.#stepLater(run, () => this.#goOn());
  }

  /** Ends a run that waits. `remove`: nor does the store keep it. */
  leaveRun(run: Started, remove: boolean): void {
    if (run.end) return;
    this.#checkRun(run);
    this.#endWait();
    const ended = new LuaCellError('Closed', remove ? 'the run was cancelled' : 'the run was given up');
    this.#abandon(ended);
    if (run.stored && remove) this.#removeRun(run.name!);
    this.#forgetRun({ error: ended });
  }

  /** The run goes on here that was copied with the memory, once somebody takes it over. */
  #restoreRun(guest: Guest, { limits, left, hostCalls, bytesStored, lastError, writes }: WaitingImage, names: FunctionNames): void {
    const { host } = this;
    this.#restoredNames = new Map(names.list);
    const least = leastOf(limits, this.limits);
    host.begin(least, 'started');
    host.hostCalls = hostCalls;
    host.bytesStored = bytesStored;
    host.numberErrorsAfter(lastError);
    host.links = this.#links();
    guest.apply(least);
    host.tables.writeAgain(writes);
    this.#guestWaits = true;
    this.#untaken = true;
    this.#letWait();
    this.#timeLeft = Math.min(left, least.timeout);
  }

  /** The run that came with a snapshot. */
  waitingRun(): Started | undefined {
    if (this.#closed) throw closed();
    if (this.#running && !this.host.isOpen) throw busy();
    return this.#untaken ? this.#takeRun({ end: null, name: undefined, stored: false }) : undefined;
  }

  #takeRun(run: Started): Started {
    const { host } = this;
    try {
      for (const [number, id, args] of this.#guest!.openRequests())
        if (!host.addRequest(number, { name: this.#restoredNames.get(id) ?? host.nameOf(id), args: decode(args, host.links!), bytes: args.length }))
          throw new LuaCellError('Memory', tooMuchWaits);
    } catch (error) {
      // It can't go on here, and nobody would have it.
      this.#untaken = false;
      this.#endWait();
      this.#abandon(error);
      this.#forgetRun({ error });
      throw error;
    }
    this.#untaken = false;
    this.#started = run;
    return run;
  }

  // ---- Durable runs: each time that one waits, the store gets what it has written and the whole Lua

  #checkDurable(name: string): void {
    checkRunName(name);
    const { tables } = this.host;
    if (!tables.store) throw invalid('a durable run needs a sandbox with a store');
    if (tables.run(name)) throw invalid(`a run '${name}' waits in the store already: resume it`);
  }

  #checkpoint(run: Started, name: string): void {
    const guest = this.#guest!;
    const { tables } = this.host;
    const held = guest.beginCheckpoint();
    guest.call('settle_random');
    const io: TableImage = new Map([[TableId.Io, new Map(tables.scan(TableId.Io))]]);
    const left = Math.max(0, this.host.deadline - performance.now());
    const snapshot = new Snapshot(this.#imageWith(guest, io, left, []));
    for (const value of io.get(TableId.Io)!.values()) references(value, (id) => void held.add(id));
    tables.putRun(name, encodeRun(snapshot.toBytes(), [...held].filter(isValid)));
    tables.commit();
    run.stored = true;
    guest.call('end_checkpoint');
    this.#inLua = guest.nextId;
  }

  resumeStored(name: string): Started {
    this.#enterWhole();
    checkRunName(name);
    const { tables } = this.host;
    if (!tables.takesFunctions) throw invalid('a stored run has functions, and this sandbox loads none from its store (storedFunctions)');
    const value = tables.run(name);
    if (!value) throw invalid(`no run '${name}' waits in the store`);
    const { image } = Snapshot.fromBytes(decodeRun(value));
    if (!image.waiting) throw storeError(`what is stored of the run '${name}' makes no sense`);
    this.restore(image, false, true, true);
    if (this.#closed) throw closed();
    const run = this.#takeRun({ end: null, name, stored: true });
    this.#guest!.call('end_checkpoint');
    return run;
  }

  pendingRuns(): PendingRun[] {
    this.#enter();
    return this.host.tables.runNames.map((name) => ({ name, claimed: undefined }));
  }

  dropPendingRun(name: string): boolean {
    checkRunName(name);
    this.#enterWhole();
    const { tables } = this.host;
    if (!tables.run(name)) return false;
    tables.removeRun(name);
    return true;
  }
}

/** Says why a run was interrupted. */
function giveReason(error: unknown, signal: AbortSignal | undefined): void {
  if (signal?.aborted && error instanceof LuaCellError && error.kind === 'Interrupted') error.cause = signal.reason;
}

const LONGEST_NAME = 1000;

function checkRunName(name: string): void {
  const length = typeof name === 'string' ? utf8(checkText(name)).length : 0;
  if (length < 1 || length > LONGEST_NAME) throw invalid(`the name of a durable run has 1 to ${LONGEST_NAME} bytes`);
}

/** What stands before a run's bytes: a table's tag and sizes, a string's tag and length. */
const RUN_HEAD = 14;

/** A run's bytes as a store has them: a table with references to all that Lua holds, so that it stays. */
function encodeRun(bytes: Uint8Array, held: readonly number[]): Uint8Array {
  const out = new Writer();
  out.u8(Tag.Table);
  out.u32(1 + held.length);
  out.u32(0);
  out.u8(Tag.String);
  out.u32(bytes.length);
  out.raw(bytes);
  for (const id of held) putReference(out, id);
  return out.written.slice();
}

/** What it was given; of anything else, some bytes. */
function decodeRun(value: Uint8Array): Uint8Array {
  const length = value.length < RUN_HEAD ? 0 : new DataView(value.buffer, value.byteOffset).getUint32(RUN_HEAD - 4, true);
  return value.subarray(RUN_HEAD, RUN_HEAD + length);
}
