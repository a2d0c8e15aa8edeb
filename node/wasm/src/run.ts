import { LuaCellError } from '../../shared/errors.js';
import type { Outcome } from '../../shared/outcome.js';
import type { Runtime } from './runtime.js';
import type { LuaInput, LuaValue } from '../../shared/values.js';

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
  /** Always undefined here: a store has one user, so anybody who has it may resume the run. */
  readonly claimed: number | undefined;
}

/** What a sandbox knows of a run that was started. */
export interface Started {
  /** Null while it waits. */
  end: { outcome: Outcome } | { error: unknown } | null;
  /** In the store, if it is durable. */
  name: string | undefined;
  /** Whether the store has it. */
  stored: boolean;
  /** Hears of its end. */
  onEnd?: () => void;
}

/** Runs that nobody holds any more. */
const forgotten = new FinalizationRegistry<{ runtime: Runtime; run: Started }>(({ runtime, run }) => {
  try {
    runtime.leaveRun(run, false);
  } catch {
    // Something runs inside it.
  }
});

/**
 * A run that was started: it is done, or it waits for answers. Nothing of it is on any stack then.
 *
 * While it waits, everybody may use the sandbox and its functions as part of the run, except that no other run can be started or run asynchronously: that
 * gives `Busy`. A run that is forgotten is given up: it ends without a trace, unless it is durable.
 */
export class Run {
  readonly #runtime: Runtime;
  readonly #run: Started;

  /** @internal */
  constructor(runtime: Runtime, run: Started) {
    this.#runtime = runtime;
    this.#run = run;
    if (!run.end) forgotten.register(this, { runtime, run });
  }

  /** Its name in the store, if it is durable. */
  get name(): string | undefined {
    return this.#run.name;
  }

  /** Whether it waits for answers. */
  get waiting(): boolean {
    return this.#run.end === null;
  }

  /** What it waits for, in the order in which it was asked; nothing when it is done. Tables in the arguments are the same objects each time. */
  get requests(): Request[] {
    return this.#runtime.requestsOf(this.#run);
  }

  /** Answers a request with the values that the function returns. The script gets them when the run is resumed. Throws `InvalidArgument` if no such request is open. */
  answer(id: number, ...values: LuaInput[]): void {
    this.#runtime.answer(this.#run, id, values);
  }

  /** Answers a request with an error, which the script can catch. If nothing does, the run fails with the kind `HostFunction`, and this as the cause. */
  fail(id: number, error: unknown): void {
    this.#runtime.failRequest(this.#run, id, error);
  }

  /** Lets the script go on with the answers that were given, until it waits again or is done. It may go on without any, when some tasks have ended. */
  resume(): void {
    this.#runtime.resumeRun(this.#run);
  }

  /** Like `resume`; promises of host functions are waited for meanwhile. */
  async resumeAsync(): Promise<void> {
    await this.#runtime.resumeRunLater(this.#run);
  }

  /** Nothing to do here, where a store has one user: elsewhere it claims a durable run for another term. */
  renew(): void {}

  /** Ends a run that waits. Nothing of it is kept; of a durable run, what it had written when it waited. */
  cancel(): void {
    this.#runtime.leaveRun(this.#run, true);
  }

  /** What the run gave, as `computeWith` gives it. Throws what it failed with, and `Busy` while it waits. */
  get outcome(): Outcome {
    const { end } = this.#run;
    if (!end) throw new LuaCellError('Busy', 'the run waits: answer its requests, and resume it');
    if ('outcome' in end) return end.outcome;
    throw end.error;
  }

  /** What the source returned, as `compute` gives it. Throws what the run failed with, and `Busy` while it waits. */
  get result(): any {
    return this.outcome.value;
  }

  /** `using run = lua.start(...)` gives it up at the end. A durable run waits on in its store, and anybody may resume it; any other is cancelled. */
  declare [Symbol.dispose]: () => void;

  static {
    // `using` is younger than some engines.
    const dispose: symbol = Symbol.dispose ?? Symbol.for('Symbol.dispose');
    const value = function (this: Run): void {
      this.#runtime.leaveRun(this.#run, false);
    };
    Object.defineProperty(this.prototype, dispose, { value, configurable: true, writable: true });
  }
}
