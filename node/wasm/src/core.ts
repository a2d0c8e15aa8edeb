// What all handles of one sandbox share: the guest, the tables, and who may use them when.

import { Writer } from './bytes.js';
import { containerFor, decode, encodeArgs, fillContainer, isTable, putPlain, putReference, replaced } from './codec.js';
import type { Engine } from './engine.js';
import { type ErrorKind, LuaCellError, type Metrics, broken, busy, closed, invalid, kindOf, lossyText, storeError } from './errors.js';
import { type Functions, type HostFunction, checkName } from './functions.js';
import { type Entry, Guest, checkSource } from './guest.js';
import { Host } from './host.js';
import { decodeKey, encodeKey, isKey } from './keys.js';
import { type LimitOptions, type Limits, onlySet, withLimits, within } from './limits.js';
import { SandboxLinks } from './links.js';
import { Outcome } from './outcome.js';
import { type Owner, StoredTable } from './stored.js';
import { collect, entriesOf, located, sequenceOf, wayTo } from './storing.js';
import { HOME, IO, type TableImage, Tables } from './tables.js';
import type { FunctionKind, LuaFunction, LuaValue } from './values.js';
import type { VirtualTime } from './virtual-time.js';

const CALL = new TextEncoder().encode('return (function(f, ...) return f(...) end)(...)');
const CALL_NAME = new TextEncoder().encode('=(host)');

/** Everything that a sandbox consists of between runs. */
export interface Image {
  /** The fingerprint of the guest that the memory is of. */
  guest: number;
  memory: Uint8Array;
  tables: TableImage;
  functions: string[];
  time: VirtualTime | null;
}

type Enter = (guest: Guest, links: SandboxLinks, args: Writer) => Entry | null;

export class Core implements Owner {
  readonly host: Host;
  #guest: Guest | null = null;
  /** Counts instances: functions of an earlier one can't be called any more. */
  #instance = 0;
  #running = false;
  #closed = false;
  readonly #args = new Writer();
  #argsBusy = false;
  readonly #views = new Map<number, WeakRef<StoredTable>>();
  readonly #viewsGone = new FinalizationRegistry<number>((key) => {
    if (this.#views.get(key)?.deref() === undefined) this.#views.delete(key);
  });
  #released: [instance: number, id: number][] = [];
  readonly #handlesGone = new FinalizationRegistry<[number, number]>((handle) => void this.#released.push(handle));

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
    return new SandboxLinks(this, this.#instance, this.options.exact);
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

  close(): void {
    this.#closed = true;
    if (!this.#running) this.#free();
    else if (!this.host.isOpen) this.host.interrupt();
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  #free(): void {
    this.#guest = null;
    this.host.guest = null;
    this.host.tables.rollback();
  }

  #start(): Guest {
    const { host } = this;
    this.#instance++;
    const guest = new Guest(this.engine.module, host);
    this.#setUp(guest);
    this.#guest = guest;
    return guest;
  }

  /** Tells a new instance how this sandbox is set up. */
  #setUp(guest: Guest): void {
    const { host } = this;
    guest.apply(this.limits);
    if (!this.options.alias) guest.call('set_memory_alias_enabled', 0);
    guest.call('set_print_streaming', host.print ? 1 : 0);
    guest.call('set_deterministic', host.virtualTime ? 1 : 0);
    guest.call('sync_external_table_counter', host.tables.nextId);
    for (const [id, name] of host.functions) guest.nameFunction('register_function', name, id);
  }

  #theGuest(): Guest {
    return this.#guest ?? this.#start();
  }

  /** Gives up the instance, with everything that was not stored. */
  #drop(): void {
    this.#guest = null;
    this.host.guest = null;
    this.host.tables.rollback();
    this.host.end(0n);
  }

  /** Takes back what failed. After a crash, or when the guest breaks its contract, the instance goes too. */
  #abandon(error: unknown): void {
    if (error instanceof LuaCellError && error.fatal) this.#drop();
    else this.host.tables.rollback();
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
  }

  // ---- Runs

  /** Runs the guest: `enter` passes in what is to be run. */
  run(set: LimitOptions | null, enter: Enter): Outcome {
    if (this.#enter()) return this.#runNested(set, enter);
    this.#running = true;
    try {
      const entry = this.#begin(set, enter, false);
      const guest = this.#guest!;
      return this.#finish(() => guest.call(...entry));
    } catch (error) {
      this.#abandon(error);
      throw error;
    } finally {
      this.#leave();
    }
  }

  /** As `run`, and host functions may be waited for, where the engine can do that. */
  async runWaiting(set: LimitOptions | null, signal: AbortSignal | undefined, enter: Enter): Promise<Outcome> {
    if (this.#enter()) throw busy();
    const interrupted = (): LuaCellError => new LuaCellError('Interrupted', 'the run was aborted', { cause: signal!.reason });
    if (signal?.aborted) throw interrupted();
    const abort = (): void => this.host.interrupt();
    signal?.addEventListener('abort', abort);
    this.#running = true;
    try {
      const canWait = this.#theGuest().canWait;
      const entry = this.#begin(set, enter, canWait);
      const guest = this.#guest!;
      if (!canWait) return this.#finish(() => guest.call(...entry));
      let result: () => number;
      try {
        const n = await guest.callWaiting(...entry);
        result = () => n;
      } catch (error) {
        result = () => {
          throw error;
        };
      }
      return this.#finish(result);
    } catch (error) {
      this.#abandon(error);
      if (signal?.aborted && error instanceof LuaCellError && error.kind === 'Interrupted') error.cause = signal.reason;
      throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.#leave();
    }
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

  #begin(set: LimitOptions | null, enter: Enter, canWait: boolean): Entry {
    const limits = set ? withLimits(this.limits, set) : this.limits;
    this.#releaseHandles();
    const guest = this.#theGuest();
    const links = this.#links();
    this.host.begin(limits, canWait);
    guest.apply(limits);
    const entry = this.#withArgs((args) => enter(guest, links, args));
    this.host.links = links;
    return entry ?? ['compute', guest.bufferPtr, 0];
  }

  #metrics(): { metrics: Metrics; ticks: bigint } {
    const { host } = this;
    const { ticks, peak } = this.#guest!.runMetrics();
    const wallTime = host.virtualTime ? 0 : performance.now() - host.started;
    const { hostCalls, bytesStored } = host;
    return { metrics: { wallTime, instructions: Number(ticks), peakMemory: peak, hostCalls, bytesStored }, ticks };
  }

  #finish(execute: () => number): Outcome {
    const { host } = this;
    const links = host.links!;
    let n: number;
    try {
      n = execute();
    } catch (error) {
      // Numbers that a crashed guest wrote are better than none.
      if (error instanceof LuaCellError) error.metrics = this.#metrics().metrics;
      throw error;
    }
    const { metrics, ticks } = this.#metrics();
    const guest = this.#guest!;
    const read = n >= 0 ? this.#success(guest, n, links) : this.#failure(guest, n, links);
    host.end(ticks);
    if (read instanceof LuaCellError) {
      read.metrics = metrics;
      guest.shrinkBuffer();
      throw read;
    }
    const outcome = new Outcome(read.values, read.output, metrics);
    try {
      if (host.doomed) throw host.doomed;
      this.#commit();
    } catch (error) {
      if (error instanceof LuaCellError) {
        error.outputBytes = outcome.outputBytes;
        error.metrics = metrics;
        if (!error.fatal) guest.call('undo_run');
      }
      throw error;
    }
    guest.shrinkBuffer();
    return outcome;
  }

  #success(guest: Guest, n: number, links: SandboxLinks): { values: LuaValue[]; output: Uint8Array } {
    if (n === 0) return { values: [], output: new Uint8Array(0) };
    const bytes = guest.result(n);
    if (n < 4) throw broken('the guest gave a result that is too short');
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    if (length > n - 4) throw broken('the guest claims more output than it gave');
    return { values: decode(bytes.subarray(4 + length), links), output: bytes.slice(4, 4 + length) };
  }

  #failure(guest: Guest, n: number, links: SandboxLinks): LuaCellError {
    // The message may have moved the buffer.
    guest.refreshBuffer();
    const message = guest.result(-n - 1).slice();
    const length = guest.call('get_error_details');
    if (length === 0) return new LuaCellError('Runtime', lossyText(message) || 'the guest refused the source and gave no message');
    guest.refreshBuffer();
    const details = decode(guest.result(length), links);
    const text = (value: LuaValue | undefined): string | undefined =>
      typeof value === 'string' ? value : value instanceof Uint8Array ? lossyText(value) : undefined;
    const [kind, shown, chunk, line, traceback, output, value, number] = details;
    const cause = this.host.causeOf(Number(number ?? 0));
    const error = new LuaCellError(kindOf(Number(kind)) ?? 'Runtime', text(shown) ?? lossyText(message), cause ?? undefined);
    if (shown instanceof Uint8Array) error.messageBytes = shown;
    error.chunkName = text(chunk);
    error.line = line === null || line === undefined ? undefined : Number(line);
    error.traceback = text(traceback);
    if (value !== null && value !== undefined) error.value = value;
    error.outputBytes =
      typeof output === 'string' ? new TextEncoder().encode(output) : output instanceof Uint8Array ? output : guest.runMetrics().output.slice();
    return error;
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
        // The outer run goes on when the limit was not its own. How many instructions it has left it is asked in any case.
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
      const entry = this.#withArgs((args) => enter(guest, links, args)) ?? (['compute', guest.bufferPtr, 0] as const);
      const n = guest.call(...entry);
      const read = n >= 0 ? this.#success(guest, n, links) : this.#failure(guest, n, links);
      if (read instanceof LuaCellError) {
        read.nested = true;
        throw read;
      }
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
    if (tables.wantsSweep) this.#sweep();
  }

  #sweep(): void {
    const held = this.#guest ? this.#guest.heldTables() : new Set<number>();
    if (held === null) return;
    for (const [key, view] of this.#views) if (view.deref()) held.add(Math.abs(key));
    this.host.tables.sweep(held);
  }

  #releaseHandles(): void {
    if (this.#released.length === 0) return;
    const released = this.#released;
    this.#released = [];
    for (const [instance, id] of released) if (instance === this.#instance) this.#guest?.call('release_handle', id);
  }

  // ---- What is run

  computeEntry(source: string | Uint8Array, limits: Limits): Enter {
    return (guest) => {
      let n = typeof source === 'string' ? guest.writeText(source) : -1;
      if (n < 0) {
        const bytes = typeof source === 'string' ? new TextEncoder().encode(source) : source;
        n = bytes.length;
        checkSource(n, limits);
        guest.write(bytes);
      } else {
        checkSource(n, limits);
      }
      return ['compute', guest.bufferPtr, n];
    };
  }

  namedEntry(source: string | Uint8Array, name: string, values: readonly unknown[], limits: Limits): Enter {
    return (guest, links, args) => {
      const bytes = typeof source === 'string' ? new TextEncoder().encode(source) : source;
      checkSource(bytes.length, limits);
      const nameBytes = new TextEncoder().encode(name);
      encodeArgs(values, args, links);
      guest.write(nameBytes, bytes, args.written);
      return ['compute_named', nameBytes.length, bytes.length, args.length];
    };
  }

  callEntry(path: string, values: readonly unknown[]): Enter {
    return (guest, links, args) => {
      encodeArgs(values, args, links);
      const pathBytes = new TextEncoder().encode(path);
      guest.write(pathBytes, args.written);
      return ['call', pathBytes.length, args.length];
    };
  }

  /** Limits of a run, for what is looked at before it begins. */
  limitsFor(set: LimitOptions | null): Limits {
    const limits = set ? withLimits(this.limits, set) : this.limits;
    return this.#running ? { ...limits, source: Math.min(limits.source, this.host.limits.source) } : limits;
  }

  callFunction(f: LuaFunction, kind: FunctionKind, values: readonly unknown[]): unknown {
    if (kind.type !== 'live' && kind.type !== 'builtin')
      throw invalid('only a function that a running sandbox returned can be called from the host');
    return this.run(null, (guest, links, args) => {
      if (kind.type === 'live') {
        encodeArgs(values, args, links);
        guest.write(args.written);
        return ['call_handle', links.handleOf(kind), args.length];
      }
      encodeArgs([f, ...values], args, links);
      guest.write(CALL_NAME, CALL, args.written);
      return ['compute_named', CALL_NAME.length, CALL.length, args.length];
    }).value;
  }

  watchHandle(f: LuaFunction, instance: number, id: number): void {
    this.#handlesGone.register(f, [instance, id]);
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

  view(id: number, cell: boolean): StoredTable {
    const key = cell ? -id : id;
    const known = this.#views.get(key)?.deref();
    if (known) return known;
    const view = new StoredTable(this, id, cell);
    this.#views.set(key, new WeakRef(view));
    this.#viewsGone.register(view, key);
    return view;
  }

  /** Reads. Inside of a host function values belong to the run that called it. */
  #read<T>(f: (links: SandboxLinks) => T): T {
    const inside = this.#enter();
    return f(inside ? this.host.links! : this.#links());
  }

  /** Writes: all of it is stored, or nothing. Inside of a host function it is stored with the run. */
  #write<T>(f: (links: SandboxLinks) => T): T {
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

  #decodeStored(bytes: Uint8Array, links: SandboxLinks, id: number, key: string): LuaValue {
    const malformed = (cause?: unknown): LuaCellError => storeError(`table ${id} holds a malformed value under '${key}'`, cause);
    let values: LuaValue[];
    try {
      values = decode(bytes, links);
    } catch (error) {
      throw malformed(error);
    }
    if (values.length !== 1) throw malformed();
    return values[0]!;
  }

  getStored(id: number, key: unknown): LuaValue | undefined {
    const text = isKey(key) ? encodeKey(key) : null;
    return this.#read((links) => {
      if (text === null) return undefined;
      const bytes = this.host.tables.get(id, text);
      return bytes && this.#decodeStored(bytes, links, id, text);
    });
  }

  hasStored(id: number, key: unknown): boolean {
    const text = isKey(key) ? encodeKey(key) : null;
    return this.#read(() => text !== null && this.host.tables.get(id, text) !== undefined);
  }

  storedSize(id: number): number {
    return this.#read(() => this.host.tables.size(id));
  }

  storedKeys(id: number): LuaValue[] {
    return this.#read(() => Array.from(this.host.tables.scan(id), ([key]) => decodeKey(key, this.options.exact)));
  }

  storedEntries(id: number): [LuaValue, LuaValue][] {
    return this.#read((links) => this.#entries(links, id));
  }

  #entries(links: SandboxLinks, id: number): [LuaValue, LuaValue][] {
    return Array.from(this.host.tables.scan(id), ([key, bytes]) => [
      decodeKey(key, this.options.exact),
      this.#decodeStored(bytes, links, id, key),
    ]);
  }

  copyStored(id: number): object {
    return this.#read((links) => {
      const seen = new Map<number, { entries: [LuaValue, LuaValue][]; out: object; sequence: LuaValue[] | null }>();
      const pending = [id];
      for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
        if (seen.has(next)) continue;
        const entries = this.#entries(links, next);
        const sequence = sequenceOf(entries);
        const out = containerFor(sequence ?? [], sequence ? [] : entries.map(([key]) => key));
        seen.set(next, { entries, out, sequence });
        for (const [, value] of entries) if (value instanceof StoredTable) pending.push(value.id);
      }
      const through = (value: LuaValue): unknown => (value instanceof StoredTable ? seen.get(value.id)!.out : value);
      for (const { entries, out, sequence } of seen.values()) {
        const keys = sequence ? [] : entries.map(([key]) => key);
        fillContainer(out, (sequence ?? []).map(through), keys, entries.map(([, value]) => through(value)), this.options.exact);
      }
      return seen.get(id)!.out;
    });
  }

  deleteStored(id: number, key: unknown): boolean {
    const text = isKey(key) ? encodeKey(key) : null;
    return this.#write(() => {
      if (text === null) return false;
      const { tables } = this.host;
      const there = tables.get(id, text) !== undefined;
      tables.delete(id, text);
      return there;
    });
  }

  clearStored(id: number): void {
    this.#write(() => {
      const { tables } = this.host;
      for (const [key] of [...tables.scan(id)]) tables.delete(id, key);
    });
  }

  setStored(id: number, key: unknown, value: unknown): void {
    const text = encodeKey(key);
    value = replaced(value);
    const all = isTable(value) ? collect(value, key) : [];
    this.#write((links) => {
      const { tables } = this.host;
      if (value === null || value === undefined) return tables.delete(id, text);
      if (all.length === 0) return tables.set(id, text, this.#encodeStored(value, links, false, () => [key]));
      // Nothing is written before everything is known to be storable.
      const first = this.#theGuest().allocateIds(all.length);
      const ids = new Map(all.map((table, i) => [table.source, first + i]));
      const reference = (table: object): Uint8Array => this.#encoded((out) => putReference(out, ids.get(table)!));
      const writes: [number, string, Uint8Array][] = [];
      all.forEach((table, i) => {
        for (const [key, item, float] of entriesOf(table.parts)) {
          const place = (): unknown[] => wayTo(all, i, key);
          const text = located(place, () => encodeKey(key));
          const known = typeof item === 'object' && item !== null && ids.has(item);
          writes.push([first + i, text, known ? reference(item) : this.#encodeStored(item, links, float, place)]);
        }
      });
      tables.set(id, text, reference(value as object));
      for (const write of writes) tables.set(...write);
    });
  }

  #encoded(f: (out: Writer) => void): Uint8Array {
    return this.#withArgs((out) => {
      f(out);
      return out.written.slice();
    });
  }

  #encodeStored(value: unknown, links: SandboxLinks, float: boolean, place: () => unknown[]): Uint8Array {
    return located(place, () => this.#encoded((out) => putPlain(out, value, links, float, false)));
  }

  clearIo(): void {
    this.#write(() => {
      for (const key of ['input', 'output', 'meta']) this.host.tables.delete(IO, key);
    });
  }

  get home(): StoredTable {
    return this.view(HOME, false);
  }

  get io(): StoredTable {
    return this.view(IO, false);
  }

  // ---- The whole

  memoryStats(): ReturnType<Guest['memoryStats']> {
    return this.#whole((guest) => guest.memoryStats());
  }

  gc(): void {
    this.#whole((guest) => {
      this.#releaseHandles();
      guest.call('run_gc');
      this.#sweep();
    });
  }

  reset(): void {
    this.#enterWhole();
    this.#drop();
    this.#start();
  }

  image(): Image {
    return this.#whole((guest) => {
      this.#releaseHandles();
      const { tables, functions, virtualTime } = this.host;
      return {
        guest: this.engine.fingerprint,
        memory: guest.copyMemory(),
        tables: tables.image(),
        functions: functions.names,
        time: virtualTime?.copy() ?? null,
      };
    });
  }

  restore(image: Image): void {
    this.#enterWhole();
    if (image.guest !== this.engine.fingerprint) throw invalid('the snapshot is of another lua.wasm: it can be restored with that one only');
    this.#running = true;
    const { host } = this;
    try {
      const guest = new Guest(this.engine.module, host);
      guest.putMemory(image.memory);
      // Those of the sandbox that was copied.
      guest.call('forget_handles');
      host.tables.restore(image.tables);
      host.tables.commit();
      host.functions.renumber(image.functions);
      host.virtualTime = image.time?.copy() ?? host.virtualTime;
      this.#instance++;
      this.#guest = guest;
      this.#setUp(guest);
      // Tables made since then are gone, and their numbers will be given again.
      for (const [key, view] of this.#views)
        if (Math.abs(key) > IO) {
          view.deref()?.end();
          this.#views.delete(key);
        }
      this.#sweep();
    } catch (error) {
      host.guest = this.#guest;
      this.#abandon(error);
      throw error;
    } finally {
      this.#leave();
    }
  }
}
