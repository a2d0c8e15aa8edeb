// Host functions: what Lua calls by name.

import { invalid } from './errors.js';
import { checkOptions, checkType } from './options.js';
import type { LuaInput } from './values.js';

/** A function of the host. What it returns is its result; use `multiple` to return several results. */
export type HostFunction = (...args: any[]) => HostResult | PromiseLike<HostResult>;

/** How a function is registered. */
export interface RegisterOptions {
  /**
   * Whether a run that has called the function may be repeated after a conflict with another one on the same store, because the function only looks something up. It is
   * called again then, also if it returns a promise. Default false: such a run fails with `Conflict`.
   */
  repeatable?: boolean;
}

type HostResult = LuaInput | void | MultipleResults;

/** Several results of a host function. */
export class MultipleResults {
  constructor(readonly values: readonly LuaInput[]) {}
}

/** For host functions: returns these as several results; an array would be one table. */
export const multiple = (...values: LuaInput[]): MultipleResults => new MultipleResults(values);

interface Registered {
  name: string;
  function: HostFunction;
}

/** The numbers that a guest knows functions by. */
export interface FunctionNames {
  list: [id: number, name: string][];
  /** Above all that were ever given out. */
  next: number;
}

/** Host functions by number. A number is given out once, because Lua may know a function by it long after the host took it away. */
export class Functions {
  readonly #all = new Map<number, Registered>();
  readonly #ids = new Map<string, number>();
  #next = 0;

  /** Adds or replaces the function of that name; its number, and what was there before. */
  add(name: string, f: HostFunction): [id: number, before: HostFunction | null] {
    const known = this.#ids.get(name);
    if (known === undefined) return [this.#put(this.#next, name, f), null];
    const place = this.#all.get(known)!;
    const before = place.function;
    place.function = f;
    return [known, before];
  }

  #put(id: number, name: string, f: HostFunction): number {
    this.#all.set(id, { name, function: f });
    this.#ids.set(name, id);
    this.#next = Math.max(this.#next, id + 1);
    return id;
  }

  putBack(id: number, before: HostFunction | null): void {
    const place = this.#all.get(id);
    if (!place) return;
    if (before) place.function = before;
    else this.remove(place.name);
  }

  /** Takes the function of that name away; its number, or -1. */
  remove(name: string): number {
    const id = this.#ids.get(name);
    if (id === undefined) return -1;
    this.#ids.delete(name);
    this.#all.delete(id);
    return id;
  }

  /** Undefined when it was taken away. */
  find(id: number): HostFunction | undefined {
    return this.#all.get(id)?.function;
  }

  name(id: number): string {
    return this.#all.get(id)?.name ?? 'a function without a name';
  }

  get names(): FunctionNames {
    return { list: [...this], next: this.#next };
  }

  /** Numbers and names of the functions. */
  *[Symbol.iterator](): Generator<[id: number, name: string]> {
    for (const [id, { name }] of this.#all) yield [id, name];
  }

  /** Numbers them as somebody else's Lua knows them; those that it does not know come after. */
  renumber({ list, next }: FunctionNames): void {
    const mine = new Map([...this.#all.values()].map((one) => [one.name, one.function]));
    this.#all.clear();
    this.#ids.clear();
    this.#next = next;
    for (const [id, name] of list) {
      const f = mine.get(name);
      if (f && mine.delete(name)) this.#put(id, name, f);
    }
    for (const [name, f] of mine) this.#put(this.#next, name, f);
  }

  copy(): Functions {
    const copy = new Functions();
    for (const [id, { name, function: f }] of this.#all) copy.#put(id, name, f);
    copy.#next = this.#next;
    return copy;
  }
}

export function checkRegisterOptions(options: RegisterOptions): void {
  checkOptions(options, ['repeatable']);
  checkType(options, 'repeatable', 'boolean', 'true or false');
}

/** A name that can be registered: Lua names with dots between them. */
export function checkName(name: string): void {
  if (typeof name === 'string' && /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/.test(name)) return;
  throw invalid(`'${String(name)}' is not a name for a host function: use Lua names with dots between them`);
}
