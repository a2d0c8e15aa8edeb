import { type ErrorKind, LuaCellError, closed, invalid } from '../shared/errors.js';
import type { Outcome } from '../shared/outcome.js';
import type { LuaInput, LuaValue } from '../shared/values.js';
import type { Adapter } from './adapter.js';
import type { NativeRun } from './native.js';

/** A call of a declared function that waits for its answer. */
export interface Request {
  /** Its number, which it keeps for as long as the run waits for it, also in a snapshot and in a store. Counted from 1 in each run. */
  readonly id: number;
  /** The function's name; `task.sleep` for a script that lets time pass, with the seconds as its argument. */
  readonly name: string;
  /** What the script passed. */
  readonly args: LuaValue[];
}

/** A durable run that waits in a store. */
export interface PendingRun {
  /** Its name. */
  readonly name: string;
  /** For how many more milliseconds somebody has claimed it, who may be at work for it; undefined if anybody may resume it. */
  readonly claimed: number | undefined;
}

/** Signals of runs that nobody holds any more. */
const forgotten = new FinalizationRegistry<{ signal: AbortSignal; abort: () => void }>(({ signal, abort }) => signal.removeEventListener('abort', abort));

/** Signals outlive many runs, and hold what listens to them: that is not the run, which ends when nobody else holds it. */
const interrupting = (native: WeakRef<NativeRun>) => (): void => native.deref()?.interrupt();

/**
 * A run that was started: it is done, or it waits for answers. Nothing of it is on any stack then, and it has no thread.
 *
 * While it waits, this JavaScript thread may use the sandbox and its functions as part of the run, except that no other run can be started; asynchronous
 * runs get `Busy`. A run that is forgotten is given up: it ends without a trace, unless it is durable.
 */
export class Run {
  readonly #adapter: Adapter;
  readonly #native: NativeRun;
  readonly #signal: AbortSignal | undefined;
  readonly #abort: () => void;
  #end: { outcome: Outcome } | { error: unknown } | null = null;

  /** @internal */
  constructor(adapter: Adapter, native: NativeRun, signal?: AbortSignal) {
    this.#adapter = adapter;
    this.#native = native;
    this.#signal = signal;
    this.name = native.name ?? undefined;
    const abort = (this.#abort = interrupting(new WeakRef(native)));
    if (signal) {
      signal.addEventListener('abort', abort, { once: true });
      forgotten.register(this, { signal, abort }, this);
    }
    if (signal?.aborted) abort();
    this.#look();
  }

  /** Its name in the store, if it is durable. */
  readonly name: string | undefined;

  /** Takes what it gave, when it is done. */
  #look(): void {
    try {
      const outcome = this.#adapter.outcomeOf(this.#native, this.#signal);
      if (outcome !== undefined) this.#finish({ outcome });
    } catch (error) {
      this.#finish({ error });
    }
  }

  #finish(end: { outcome: Outcome } | { error: unknown }): void {
    this.#end = end;
    this.#signal?.removeEventListener('abort', this.#abort);
    forgotten.unregister(this);
  }

  /** Whether it waits for answers. */
  get waiting(): boolean {
    return this.#end === null;
  }

  /** What it waits for, in the order in which it was asked; nothing when it is done. Each call makes new objects. */
  get requests(): Request[] {
    return this.#end === null ? this.#adapter.requestsOf(this.#native) : [];
  }

  /** Answers a request with the values that the function returns. The script gets them when the run is resumed. Throws `InvalidArgument` if no such request is open. */
  answer(id: number, ...values: LuaInput[]): void {
    this.#check();
    this.#adapter.answer(this.#native, id, values);
  }

  /** Answers a request with an error, which the script can catch. If nothing does, the run fails with the kind `HostFunction`, and this as the cause. */
  fail(id: number, error: unknown): void {
    this.#check();
    this.#adapter.failRequest(this.#native, id, error);
  }

  /** Lets the script go on with the answers that were given, until it waits again or is done. It may go on without any, when some tasks have ended. */
  resume(): void {
    this.#check();
    this.#adapter.resumeRun(this.#native);
    this.#look();
  }

  /** Like `resume`, on another thread. */
  async resumeAsync(): Promise<void> {
    this.#check();
    await this.#adapter.resumeRunLater(this.#native, () => this.#look());
  }

  /** @internal Its sandbox was closed. */
  closed(): void {
    if (this.#end === null) this.#finish({ error: closed() });
  }

  #check(): void {
    if (this.#end !== null) throw this.#adapter.isClosed ? closed() : invalid('the run is done');
  }

  /** Claims a durable run for another term, for waits that take longer. Throws `Conflict` if the claim had ended and somebody else has taken it over. Does nothing for other runs. */
  renew(): void {
    if (this.#end === null) this.#adapter.renewRun(this.#native);
  }

  /** Ends a run that waits. Nothing of it is kept; of a durable run, what it had written when it waited. */
  cancel(): void {
    this.#leave(true);
  }

  #leave(cancel: boolean): void {
    if (this.#end !== null) return;
    this.#adapter.leaveRun(this.#native, cancel);
    this.#finish({ error: ended('Closed', cancel ? 'the run was cancelled' : 'the run was given up') });
  }

  /** What the run gave, as `computeWith` gives it. Throws what it failed with, and `Busy` while it waits. */
  get outcome(): Outcome {
    const end = this.#end;
    if (end === null) throw ended('Busy', 'the run waits: answer its requests, and resume it');
    if ('error' in end) throw end.error;
    return end.outcome;
  }

  /** What the source returned, as `compute` gives it. Throws what the run failed with, and `Busy` while it waits. */
  get result(): any {
    return this.outcome.value;
  }

  /** `using run = lua.start(...)` gives it up at the end. A durable run waits on in its store, and anybody may resume it; any other is cancelled. */
  [Symbol.dispose](): void {
    this.#leave(false);
  }
}

const ended = (kind: ErrorKind, message: string): LuaCellError => new LuaCellError(kind, message);
