// The host's side of the five functions that the guest imports: docs/HOST_FUNCTION_IMPORTS.md. Every number that comes
// from the guest is untrusted: pointers and lengths are checked against the memory of this moment.

import { Writer, textOf, utf8 } from '../../shared/bytes.js';
import { decode, encodeArgs } from '../../shared/codec.js';
import { type ErrorKind, ErrorKinds, HOST_FAILED, LuaCellError, lossyText, messageOf, ourError, reveal, setCause, shownOf, shownOfModules, unfit } from '../../shared/errors.js';
import { type Functions, type HostFunction, MultipleResults } from '../../shared/functions.js';
import { HostValues } from '../../shared/host-values.js';
import type { Guest } from './guest.js';
import { describe } from './classes.js';
import { behindCause, HostErrors, nothingBehind } from '../../shared/host-errors.js';
import { type Limits, defaultLimits, mostHeld } from '../../shared/limits.js';
import { type Modules, answerModule } from '../../shared/modules.js';
import { type Wrapped, checkSelf, isMember } from '../../shared/objects.js';
import type { SandboxLinks } from './links.js';
import { abandon, isThenable } from '../../shared/promises.js';
import {
  Clock,
  Code,
  FIRST_HOST_VALUE,
  INSTRUCTION_GRANT,
  LARGEST_ENTRY,
  LIMITS_UNDO,
  NO_VALUE,
  Operation,
  PORTION_SIZE,
  Portion,
  SLEEP,
  Status,
  UNDO_MILLISECONDS,
} from '../../shared/protocol.js';
import { type Tables, isValid } from './tables.js';
import type { LuaValue } from '../../shared/values.js';
import type { VirtualTime } from './virtual-time.js';

/** Who answers calls that are not answered at once: nobody, the process that waits for promises, or whoever has started the run. */
export type Waits = 'never' | 'driven' | 'started';

/** In place of a function that was declared. */
export const declared: HostFunction = () => {};

/** An answer to a request, for the guest. */
export interface Answer {
  number: number;
  bytes: Uint8Array;
  /** What it was made of. Lua's functions among it would be released if nobody held them until the guest has the answer. */
  held: unknown;
}

/** A call that whoever has started the run answers. */
export interface OpenRequest {
  name: string;
  args: LuaValue[];
  /** How large its arguments are, as the guest passed them. */
  bytes: number;
}

export const tooMuchWaits = 'not enough memory for so many arguments in the host: memoryLimit covers these too';

type HostOutcome = { result: unknown } | { thrown: unknown };

/** Milliseconds after which a run that waits now and then lets the event loop go on. */
const SLICE = 8;
/** When nobody looks for so many milliseconds, others have kept the thread busy. */
const LAG = 10;
/** How many failed searches for modules are known, and how much of the names. */
const MOST_MODULE_FAILURES = 16;
const NAME_LENGTH = 100;
/** The longest that timers take. */
const LONGEST_TIMER = 2 ** 31 - 1;

const none = new Uint8Array(0);
const waiting = Uint8Array.of(Status.Waiting);

/** Lets the event loop do what it has to do. */
const nextTurn = (): Promise<void> =>
  new Promise((resolve) => {
    const { setImmediate } = globalThis as { setImmediate?: (f: () => void) => void };
    if (setImmediate) return setImmediate(resolve);
    // Nested timers are held back by browsers; messages are not.
    if (typeof MessageChannel !== 'function') return void setTimeout(resolve);
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });

/** Blocks the thread for so many milliseconds, where that is allowed. */
function block(ms: number): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    return true;
  } catch {
    return false;
  }
}

/** What the five functions work on, and what they need to know of the run. */
export class Host {
  guest: Guest | null = null;
  print: ((text: string) => void) | null = null;
  modules: Modules | null = null;
  virtualTime: VirtualTime | null = null;
  links: SandboxLinks | null = null;
  /** What the present instance was given. */
  values = new HostValues();

  // Of the present run.
  limits: Limits = defaultLimits;
  started = 0;
  deadline = Infinity;
  /** How many instructions runs inside this one may use, the outer ones first, and from where on: from the guest's next question. */
  shares: { instructions: number; from: number | null }[] = [];
  hostCalls = 0;
  bytesStored = 0;
  /** Whether a host function runs at this moment that may use the sandbox. */
  isOpen = false;
  /** How many runs are inside the outermost one. */
  depth = 0;
  waits: Waits = 'never';
  /** Whether promises of host functions are waited for in a started run, too. */
  drives = false;
  /** What a started run waits for, by the numbers that the guest gave. */
  readonly requests = new Map<number, OpenRequest>();
  /** How many bytes their arguments are. A script can pass one large text to any number of functions, which holds it once. */
  #waitingBytes = 0;
  /** Promises and timers that a run waits for, by the same numbers. */
  #pending = new Map<number, ReturnType<typeof setTimeout> | undefined>();
  /** Answers that the guest does not have yet. */
  #answers: Answer[] = [];
  /** A failure that could not be reported to the guest: the run must not succeed. */
  doomed: LuaCellError | null = null;
  /** A run inside this one has broken the guest. */
  broken: LuaCellError | null = null;
  #interrupted = false;
  /** The limit that ends the present run. */
  refused: ErrorKind | null = null;
  /** Until when the guest may take a failed run back. */
  #undoUntil = Infinity;
  /** Why the store's last answer was a failure. */
  #failure: LuaCellError | null = null;
  readonly #errors = new HostErrors<LuaCellError>();
  /** What may lie behind an error of the host function that runs: what lay behind those that runs inside it gave it. */
  #behind = nothingBehind;
  /** For which modules the search failed last, by how their names begin, and the numbers of the errors. */
  #moduleFailures: { name: string; number: number }[] = [];
  #answer: Uint8Array = none;
  /** When the event loop last went on. */
  #turn = 0;
  /** By how much the deadline may still be postponed. */
  #grace = 0;
  /** Ends the waiting that is under way. */
  #wake: (() => void) | null = null;

  readonly #out = new Writer();
  #outBusy = false;

  constructor(
    readonly tables: Tables,
    public functions: Functions,
  ) {}

  /** The imports of the guest. */
  get imports(): Record<string, (...args: number[]) => number> {
    return {
      js_ext_table_set: (id, kp, kl, vp, vl) => this.#set(id! >>> 0, kp!, kl!, vp!, vl!),
      js_ext_table_get: (id, kp, kl, vp, max) => (id === 0 ? this.#request(kp!, kl!, vp!, max!) : this.#get(id! >>> 0, kp!, kl!, vp!, max!)),
      js_ext_table_delete: (id, kp, kl) => this.#delete(id! >>> 0, kp!, kl!),
      js_ext_table_size: (id) => (isValid(id! >>> 0) ? this.tables.size(id! >>> 0) : 0),
      js_ext_table_keys: (id, bp, max) => this.#keys(id! >>> 0, bp!, max!),
    };
  }

  begin(limits: Limits, waits: Waits): void {
    this.limits = limits;
    this.started = performance.now();
    this.deadline = this.started + limits.timeout;
    this.#turn = this.started;
    this.#grace = limits.timeout;
    this.hostCalls = 0;
    this.bytesStored = 0;
    this.isOpen = false;
    this.depth = 0;
    this.shares = [];
    this.waits = waits;
    this.doomed = null;
    this.broken = null;
    this.#interrupted = false;
    this.refused = null;
    this.#undoUntil = Infinity;
    this.#failure = null;
    this.#errors.clear();
    this.#behind = nothingBehind;
    if (this.#moduleFailures.length > 0) this.#moduleFailures = [];
    this.#answer = none;
  }

  end(ticks: bigint): void {
    this.links = null;
    this.isOpen = false;
    if (this.waits !== 'never') {
      this.waits = 'never';
      this.drives = false;
      this.requests.clear();
      this.#waitingBytes = 0;
      for (const timer of this.#pending.values()) clearTimeout(timer);
      // Who answers later finds nobody who waits.
      this.#pending.clear();
      this.#pending = new Map();
      this.#answers = [];
    }
    this.virtualTime?.pass(ticks);
  }

  interrupt(): void {
    this.#interrupted = true;
    this.#wake?.();
  }

  /** Whether what runs was told to end. */
  get isInterrupted(): boolean {
    return this.#interrupted;
  }

  /** Notes that a limit ends the run. */
  #refuse(kind: ErrorKind): ErrorKind {
    return (this.refused ??= kind);
  }

  /** The limit that was passed, apart from instructions. */
  passedLimit(): ErrorKind | null {
    if (this.refused) return this.refused;
    if (this.#interrupted) return this.#refuse('Interrupted');
    if (this.deadline !== Infinity && performance.now() >= this.deadline) return this.#refuse('Timeout');
    return null;
  }

  /** The part of memory that the guest names, or null. */
  #part(ptr: number, len: number): Uint8Array | null {
    const start = ptr >>> 0;
    const end = start + (len >>> 0);
    const memory = this.guest!.memory;
    return end <= memory.length ? memory.subarray(start, end) : null;
  }

  #key(ptr: number, len: number): string | null {
    const bytes = this.#part(ptr, len);
    return bytes && textOf(bytes);
  }

  #set(id: number, kp: number, kl: number, vp: number, vl: number): number {
    if (!isValid(id)) return Code.Absent;
    const key = this.#key(kp, kl);
    const value = this.#part(vp, vl);
    if (key === null || value === null) return Code.Absent;
    if (!this.tables.setWithin(id, key, value.slice(), this.limits.storeBytes, this.limits.storeEntries)) {
      this.#refuse('StoreLimit');
      return Code.Absent;
    }
    if (this.#holdsTooMuch()) return Code.Absent;
    this.bytesStored += (kl >>> 0) + value.length;
    return 0;
  }

  /** Whether the run makes the tables hold more than it may, so that it has to end. */
  #holdsTooMuch(): boolean {
    if (this.refused || this.tables.held <= mostHeld(this.limits)) return false;
    this.#refuse('StoreLimit');
    return true;
  }

  #get(id: number, kp: number, kl: number, vp: number, max: number): number {
    if (!isValid(id)) return Code.Absent;
    const key = this.#key(kp, kl);
    const room = this.#part(vp, max);
    const value = key === null || room === null ? undefined : this.tables.get(id, key);
    if (value === undefined) return Code.Absent;
    const refusal = this.tables.refusal(id, key!, value);
    return refusal ? this.#fail(refusal) : give(value, room!);
  }

  /** What the guest is told, which asks for the reason then. */
  #fail(failure: LuaCellError): number {
    this.#failure = failure;
    return Code.StoreFailed;
  }

  #delete(id: number, kp: number, kl: number): number {
    if (!isValid(id)) return Code.Absent;
    const key = this.#key(kp, kl);
    if (key === null || !this.tables.exists(id)) return Code.Absent;
    this.tables.delete(id, key);
    return this.#holdsTooMuch() ? Code.StoreFailed : 0;
  }

  #keys(id: number, bp: number, max: number): number {
    const room = this.#part(bp, max);
    if (!isValid(id) || room === null || !this.tables.exists(id)) return Code.Absent;
    const keys: string[] = [];
    for (const [key] of this.tables.scan(id)) keys.push(key);
    return give(utf8(keys.join('\n')), room);
  }

  /** A request over the channel. */
  #request(ptr: number, len: number, vp: number, max: number): number {
    const request = this.#part(ptr, len);
    if (request === null || request.length === 0) return Code.Absent;
    const operation = request[0];
    if (operation === Operation.Call || operation === Operation.Request) return this.#call(request, vp, max);
    if (operation === Operation.Limits) return this.#limits(request, vp, max);
    const answer = this.#answerTo(operation!, request.subarray(1));
    return answer === null ? Code.Absent : answer instanceof LuaCellError ? this.#fail(answer) : this.#deliver(answer, vp, max);
  }

  #answerTo(operation: number, payload: Uint8Array): Uint8Array | LuaCellError | null {
    switch (operation) {
      case Operation.Fetch: {
        const answer = this.#answer;
        this.#answer = none;
        return answer;
      }
      case Operation.Drop:
        if (payload.length < 4) return null;
        this.#drop(new DataView(payload.buffer, payload.byteOffset).getUint32(0, true));
        return none;
      case Operation.Release: {
        if (payload.length < 8) return null;
        const view = new DataView(payload.buffer, payload.byteOffset);
        this.values.release(view.getUint32(0, true), view.getUint32(4, true));
        return none;
      }
      case Operation.Class:
        return payload.length < 4 ? null : describe(this.values, new DataView(payload.buffer, payload.byteOffset).getUint32(0, true));
      case Operation.Clock:
        return this.#clock(payload);
      case Operation.Seed:
        return this.virtualTime ? this.virtualTime.seed() : crypto.getRandomValues(new Uint8Array(16));
      case Operation.Print:
        if (!this.print) return null;
        // What was printed between a failure and the end of the run is for nobody.
        if (this.doomed) return none;
        try {
          this.print(lossyText(payload));
        } catch (error) {
          this.doomed = new LuaCellError('HostFunction', `onPrint failed: ${messageOf(error)}`, { cause: error });
          this.interrupt();
        }
        return none;
      case Operation.Module:
        return this.modules && answerModule(this.modules, textOf(payload), (name, thrown) => this.#keepModuleFailure(name, thrown));
      case Operation.Entries:
        return this.#entries(payload);
      case Operation.StoreFailure:
        return this.#failure ? utf8(shownOf(this.#failure)) : none;
    }
    return null;
  }

  /** A portion of a table's entries; empty when the key behind which they are to come is not there. */
  #entries(payload: Uint8Array): Uint8Array | LuaCellError | null {
    if (payload.length < 9 || payload[8]! > 1 || (payload[8] === 0 && payload.length > 9)) return null;
    const view = new DataView(payload.buffer, payload.byteOffset);
    const id = view.getUint32(0, true);
    const after = payload[8] === 0 ? null : textOf(payload.subarray(9));
    if (!isValid(id) || (after === null && payload[8] === 1)) return null;
    const out = new Writer();
    let left = Math.max(1, view.getUint32(4, true));
    let refusal = null as LuaCellError | null;
    out.u8(Portion.Last);
    const known = this.tables.scanAfter(id, after, (key, value) => {
      refusal = this.tables.refusal(id, key, value);
      if (refusal) return false;
      const text = utf8(key);
      const room = PORTION_SIZE - out.length;
      if (left === 0 || (8 + text.length > room && out.length > 1)) {
        out.bytes[0] = Portion.More;
        return false;
      }
      left--;
      const size = 8 + text.length + value.length;
      const isHere = size <= room && size <= LARGEST_ENTRY;
      out.u32(text.length);
      out.u32(isHere ? value.length : NO_VALUE);
      out.raw(text);
      if (isHere) out.raw(value);
      return true;
    });
    return refusal ?? (known ? out.written : none);
  }

  #clock(payload: Uint8Array): Uint8Array | null {
    if (payload.length < 9) return null;
    const ticks = new DataView(payload.buffer, payload.byteOffset).getBigUint64(1, true);
    const which = payload[0]!;
    const time = this.virtualTime;
    const ms = which === Clock.Wall ? performance.timeOrigin + performance.now() : performance.now() - this.started;
    const now = time ? time.read(which, ticks) : which > Clock.Processor ? null : BigInt(Math.round(ms * 1e3)) * 1000n;
    if (now === null) return null;
    const out = new Uint8Array(8);
    new DataView(out.buffer).setBigInt64(0, now, true);
    return out;
  }

  /** The guest has used up what it was granted: the limit that was passed or 0, and what is granted now. */
  #limits(request: Uint8Array, vp: number, max: number): number {
    if (request.length !== 9) return Code.Absent;
    const used = Number(new DataView(request.buffer, request.byteOffset).getBigInt64(1, true));
    if (used <= LIMITS_UNDO) return this.#granted(this.#undoIsOver() ? 'Timeout' : null, INSTRUCTION_GRANT, vp, max);
    let left = Math.max(0, this.limits.instructions - used);
    for (const share of this.shares) {
      share.from ??= used;
      left = Math.min(left, Math.max(0, share.instructions - (used - share.from)));
    }
    let kind = this.passedLimit();
    if (kind === null && left === 0) kind = this.#refuse('InstructionLimit');
    return this.#granted(kind, left, vp, max);
  }

  #granted(kind: ErrorKind | null, ticks: number, vp: number, max: number): number {
    const room = this.#part(vp, max);
    if (room === null || room.length < 8) return Code.Absent;
    const view = new DataView(room.buffer, room.byteOffset);
    view.setUint32(0, kind === null ? 0 : ErrorKinds[kind], true);
    view.setUint32(4, Math.min(ticks, INSTRUCTION_GRANT), true);
    return 8;
  }

  /** Whether there is no more time to take a run back. */
  #undoIsOver(): boolean {
    const now = performance.now();
    const end = this.#interrupted ? now : Math.max(this.deadline, now);
    this.#undoUntil = Math.min(this.#undoUntil, end + UNDO_MILLISECONDS);
    return now >= this.#undoUntil;
  }

  /** Writes an answer to memory, or keeps it when it does not fit. */
  #deliver(answer: Uint8Array, vp: number, max: number): number {
    const room = this.#part(vp, max);
    if (room === null) return Code.Absent;
    const n = give(answer, room);
    if (n < 0) this.#answer = answer.slice();
    return n;
  }

  #call(request: Uint8Array, vp: number, max: number): number {
    const behind = this.#behind;
    this.#behind = nothingBehind;
    try {
      return this.#callFunction(request, vp, max);
    } finally {
      this.#behind = behind;
    }
  }

  #callFunction(request: Uint8Array, vp: number, max: number): number {
    const { links } = this;
    const canWait = request[0] === Operation.Request;
    const head = canWait ? 9 : 5;
    if (!links || request.length < head) return Code.Absent;
    const view = new DataView(request.buffer, request.byteOffset);
    const id = view.getUint32(1, true);
    const number = canWait ? view.getUint32(5, true) : null;
    if (this.refused) return this.#finish(links, this.refused, null, vp, max);
    if (this.hostCalls >= this.limits.hostCalls) return this.#finish(links, this.#refuse('HostCallLimit'), null, vp, max);
    this.hostCalls++;
    // The guest knows the name of the one that is gone.
    const f = id === SLEEP ? declared : id >= FIRST_HOST_VALUE ? this.values.get(id) : this.functions.find(id);
    if (typeof f !== 'function') return Code.Absent;
    let result: unknown;
    let waits: boolean;
    const before = this.isOpen;
    try {
      // The guest's own room is used again while the function runs.
      const passed: Wrapped[] | undefined = isMember(f) ? [] : undefined;
      const args = decode(request.subarray(head), links, passed);
      if (passed) checkSelf(f, passed);
      if (f === declared) return this.#ask(links, id, number, args, request.length, vp, max);
      this.isOpen = true;
      result = f(...args);
      // Asking a hostile object may throw.
      waits = isThenable(result);
    } catch (error) {
      const ours = ourError(error);
      if (ours?.fatal) this.broken ??= ours;
      return this.#finish(links, this.passedLimit(), { thrown: error }, vp, max);
    } finally {
      this.isOpen = before;
      if (this.broken) throw this.broken;
    }
    if (waits) return this.#later(links, id, number, result as PromiseLike<unknown>, vp, max);
    return this.#finish(links, this.passedLimit(), { result }, vp, max);
  }

  /** A function that was declared, or a script that lets some seconds pass. */
  #ask(links: SandboxLinks, id: number, number: number | null, args: LuaValue[], bytes: number, vp: number, max: number): number {
    const sleeps = id === SLEEP;
    const ms = Number(args[0]) * 1000;
    if (sleeps && this.virtualTime) {
      this.virtualTime.pass(BigInt(Math.round(Math.min(ms * 1e6, 2 ** 64)) || 0));
      return this.#finish(links, null, { result: undefined }, vp, max);
    }
    if (this.waits === 'started') {
      if (number !== null && !this.addRequest(number, { name: this.nameOf(id), args, bytes }))
        return this.#finish(links, null, { thrown: new LuaCellError('Memory', tooMuchWaits) }, vp, max);
    } else if (!sleeps) {
      const thrown = new LuaCellError('HostFunction', `'${this.functions.name(id)}' is answered by whoever starts the run: use \`start\``);
      return this.#finish(links, null, { thrown }, vp, max);
    } else if (this.waits === 'driven' && this.depth === 0) {
      if (number !== null) this.#sleep(number, performance.now() + ms);
    } else if (block(Math.min(ms, Math.max(0, this.deadline - performance.now())))) {
      return this.#finish(links, this.passedLimit(), { result: undefined }, vp, max);
    }
    return this.#deliver(waiting, vp, max);
  }

  /** Whether there is room for the arguments of one more request. */
  addRequest(number: number, request: OpenRequest): boolean {
    if (this.#waitingBytes > 0 && this.#waitingBytes + request.bytes > this.limits.memory) return false;
    this.#waitingBytes += request.bytes;
    this.requests.set(number, request);
    return true;
  }

  /** The request was answered, or nobody waits for it any more. */
  closeRequest(number: number): void {
    this.#waitingBytes -= this.requests.get(number)?.bytes ?? 0;
    this.requests.delete(number);
  }

  nameOf(id: number): string {
    return id === SLEEP ? 'task.sleep' : this.functions.name(id);
  }

  #sleep(number: number, until: number): void {
    const left = Math.ceil(until - performance.now());
    const timer = left > 0 ? setTimeout(() => this.#sleep(number, until), Math.min(LONGEST_TIMER, left)) : undefined;
    this.#pending.set(number, timer);
    if (left <= 0) this.#settle(this.#pending, number, { result: undefined });
  }

  /** A host function's result is a promise. */
  #later(links: SandboxLinks, id: number, number: number | null, promise: PromiseLike<unknown>, vp: number, max: number): number {
    if ((this.waits === 'driven' || this.drives) && this.depth === 0) {
      if (number === null) {
        // The guest knows where it is that can't wait.
        abandon(promise);
      } else {
        const pending = this.#pending.set(number, undefined);
        new Promise((resolve) => resolve(promise)).then(
          (result) => this.#settle(pending, number, { result }),
          (thrown: unknown) => this.#settle(pending, number, { thrown }),
        );
      }
      return this.#deliver(waiting, vp, max);
    }
    abandon(promise);
    const thrown = new LuaCellError('HostFunction', this.#whyNot(id));
    return this.#finish(links, null, { thrown }, vp, max);
  }

  #whyNot(id: number): string {
    const what = `the host function '${this.functions.name(id)}' returned a promise`;
    if (this.depth > 0) return `${what}, which can't be waited for inside another host function`;
    return `${what}: computeAsync, callAsync and startAsync wait for it, nothing else`;
  }

  /** Whoever waits gets this, unless the run has ended, or has no use for it any more. */
  #settle(pending: Map<number, unknown>, number: number, outcome: HostOutcome): void {
    if (!pending.delete(number)) return;
    const bytes = this.encodeAnswer((out) => this.#put(out, outcome, this.links!));
    this.addAnswer({ number, bytes, held: outcome });
    this.#wake?.();
  }

  /** An answer as the guest takes it. What values say of themselves is the host's code, which may use the sandbox and the run. */
  encodeAnswer(write: (out: Writer) => void): Uint8Array {
    const out = new Writer();
    write(out);
    this.#behind = nothingBehind;
    return out.written;
  }

  /** Keeps an answer until the run goes on. */
  addAnswer(answer: Answer): void {
    this.#answers.push(answer);
  }

  /** In place of an answer that the guest has no room for. */
  tooLargeAnswer(): Uint8Array {
    return this.encodeAnswer((out) => this.putError(out, new LuaCellError('Memory', 'not enough memory'), this.links!));
  }

  /** Whether the process waits for something, or has answers. */
  get drivesSome(): boolean {
    return this.#pending.size + this.#answers.length > 0;
  }

  takeAnswers(): Answer[] {
    const answers = this.#answers;
    this.#answers = [];
    return answers;
  }

  /** Nobody waits for that any more. */
  #drop(number: number): void {
    this.closeRequest(number);
    clearTimeout(this.#pending.get(number));
    this.#pending.delete(number);
  }

  /** Waits until the run can go on, or has to end. */
  async untilAnswered(): Promise<void> {
    await this.#answered();
    const now = performance.now();
    if (now - this.#turn < SLICE) return;
    await nextTurn();
    this.#turn = performance.now();
    // It could have gone on.
    this.deadline += this.#turn - now;
  }

  #answered(): Promise<void> {
    return new Promise((resolve) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      let left = this.deadline - performance.now();
      const look = (): void => {
        clearTimeout(timer);
        const late = performance.now() - this.deadline;
        if (late > LAG) {
          // It may be that what it waits for came in time, and nobody could see that.
          const more = Math.max(0, Math.min(late, left, this.#grace));
          // What keeps the thread busy may be what the run itself calls.
          this.#grace -= Math.max(late, more);
          this.deadline += late + more;
          left = 0;
        }
        if (this.#answers.length > 0 || this.passedLimit()) {
          this.#wake = null;
          resolve();
        } else if (this.deadline !== Infinity) {
          timer = setTimeout(look, Math.min(LONGEST_TIMER, Math.max(1, Math.ceil(this.deadline - performance.now()))));
        }
      };
      this.#wake = look;
      look();
    });
  }

  /** Writes the answer to a call: a limit, results, or an error. */
  #finish(links: SandboxLinks, limit: ErrorKind | null, outcome: HostOutcome | null, vp: number, max: number): number {
    // What values say of themselves is the host's code, and may come back here.
    const out = this.#outBusy ? new Writer() : this.#out;
    const mine = !this.#outBusy;
    this.#outBusy = true;
    try {
      out.length = 0;
      if (limit !== null) {
        out.u8(Status.Limit);
        out.u32(ErrorKinds[limit]);
      } else {
        this.#put(out, outcome ?? { thrown: undefined }, links);
      }
      return this.#deliver(out.written, vp, max);
    } finally {
      if (mine) this.#outBusy = false;
    }
  }

  #put(out: Writer, outcome: HostOutcome, links: SandboxLinks): void {
    if ('result' in outcome) this.#putResult(out, outcome.result, links);
    else this.putError(out, outcome.thrown, links);
  }

  #putResult(out: Writer, result: unknown, links: SandboxLinks): void {
    out.u8(Status.Results);
    try {
      if (result instanceof MultipleResults) encodeArgs(result.values, out, links, 'result');
      else if (result !== undefined) encodeArgs([result], out, links, 'result');
    } catch (error) {
      this.putError(out, unfit(error), links);
    }
  }

  putError(out: Writer, thrown: unknown, links: SandboxLinks): void {
    const ours = ourError(thrown);
    const nested = ours?.nested === true;
    // What Lua itself raised passes through as it was; the host's own errors are kept, to come out again when nothing
    // catches them.
    const passes = nested && ours.kind !== 'HostFunction';
    const raisesValue = ours && (ours.raises || ours.value !== undefined);
    const bytes = ours?.shown === undefined ? ours?.messageBytes : undefined;
    const value = raisesValue ? ours.value : (bytes ?? (shownOf(thrown) || (nested ? '' : HOST_FAILED)));
    // With a place in front or without, and the kind that it had.
    const how = (nested ? 0 : 1) | (passes ? ErrorKinds[ours.kind] << 1 : 0);
    const write = (value: unknown, kept: unknown): void => {
      out.length = 0;
      out.u8(Status.Error);
      out.u8(how);
      out.u32(passes ? 0 : this.#keepError(kept));
      encodeArgs([value], out, links, 'error');
    };
    try {
      write(value, thrown);
    } catch {
      write("the host function failed with a value that can't be passed", thrown);
    }
  }

  /** The number of the error that was kept last. */
  get lastError(): number {
    return this.#errors.last;
  }

  /** What the run knows of errors that were kept elsewhere is never taken for one of those that are kept here. */
  numberErrorsAfter(last: number): void {
    this.#errors.beginAfter(last);
  }

  #keepError(thrown: unknown): number {
    const error = hostError(thrown, shownOf(thrown));
    return this.#errors.keep(error, error.message.length, this.#behind);
  }

  #keepModuleFailure(name: string, thrown: unknown): void {
    if (this.#moduleFailures.length >= MOST_MODULE_FAILURES) this.#moduleFailures.shift();
    const error = hostError(thrown, shownOfModules(thrown));
    const number = this.#errors.keep(error, error.message.length);
    this.#moduleFailures.push({ name: name.slice(0, NAME_LENGTH), number });
  }

  /** Gives a failed run's error what lies behind it: the host's error of this number, or what the search for a module failed with. */
  explain(error: LuaCellError, number: number): void {
    if (error.kind === 'Store' && this.#failure) {
      setCause(error, this.#failure);
      return reveal(error, this.#failure);
    }
    if (number === 0 && error.kind === 'HostFunction') {
      const named = [...this.#moduleFailures].reverse().find(({ name }) => error.message.includes(`'${name}`));
      number = named?.number ?? 0;
    }
    const kept = this.#errors.get(number);
    if (!kept) return;
    const failure = kept.thing;
    const behind = behindCause(kept);
    if (behind) {
      if (behind.causes > this.#behind.causes) this.#behind = behind;
      // A value that was raised has nothing behind it.
      const raised = failure.kind === 'HostFunction' && (failure.raises || 'cause' in failure);
      if (!raised) setCause(error, failure);
      else if ('cause' in failure) setCause(error, failure.cause);
    }
    reveal(error, failure);
  }
}

/** What the host has thrown, as an error of ours. */
function hostError(thrown: unknown, shown: string): LuaCellError {
  const ours = ourError(thrown);
  if (ours) return ours;
  const error = new LuaCellError('HostFunction', messageOf(thrown) || shown, { cause: thrown });
  if (shown !== error.message) error.shown = shown;
  return error;
}

/** Copies to where the guest wants it; when there is too little room, says how much is needed. */
function give(bytes: Uint8Array, room: Uint8Array): number {
  if (bytes.length > room.length) return -(bytes.length + 1);
  room.set(bytes);
  return bytes.length;
}
