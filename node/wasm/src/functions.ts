// Host functions: what Lua calls by name.

import { LuaCellError, broken, invalid } from './errors.js';
import type { LuaInput } from './values.js';

/** A function of the host. What it returns is its result; an array of several results is made by `multiple`. */
export type HostFunction = (...args: any[]) => HostResult | PromiseLike<HostResult>;

type HostResult = LuaInput | void | MultipleResults;

/** Several results of a host function. */
export class MultipleResults {
  constructor(readonly values: readonly LuaInput[]) {}
}

/** For host functions: returns these as so many results, where an array would be one table. */
export const multiple = (...values: LuaInput[]): MultipleResults => new MultipleResults(values);

interface Registered {
  name: string;
  /** null when it was taken away. */
  function: HostFunction | null;
}

/** Host functions by number. Numbers stay, because Lua knows functions by them. */
export class Functions {
  #all: Registered[] = [];

  /** Adds or replaces the function of that name; its number, and what was there before. */
  add(name: string, f: HostFunction): [id: number, before: HostFunction | null] {
    const at = this.#all.findIndex((one) => one.name === name);
    if (at < 0) return [this.#all.push({ name, function: f }) - 1, null];
    const place = this.#all[at]!;
    const before = place.function;
    place.function = f;
    return [at, before];
  }

  putBack(id: number, before: HostFunction | null): void {
    const place = this.#all[id];
    if (place) place.function = before;
  }

  /** Takes the function of that name away; its number, or -1. */
  remove(name: string): number {
    const at = this.#all.findIndex((one) => one.name === name && one.function !== null);
    if (at >= 0) this.#all[at]!.function = null;
    return at;
  }

  find(id: number): HostFunction {
    const place = this.#all[id];
    if (!place) throw broken('the guest calls a host function that never was');
    if (place.function) return place.function;
    throw new LuaCellError('HostFunction', `the host function '${place.name}' is not registered`);
  }

  name(id: number): string {
    return this.#all[id]?.name ?? '?';
  }

  /** Names by number, those that were taken away included. */
  get names(): string[] {
    return this.#all.map((one) => one.name);
  }

  /** Numbers and names of the functions that are there. */
  *[Symbol.iterator](): Generator<[id: number, name: string]> {
    for (const [id, one] of this.#all.entries()) if (one.function) yield [id, one.name];
  }

  /** Numbers them as somebody else's Lua knows them; those that it does not know come after. */
  renumber(names: readonly string[]): void {
    const mine = new Map(this.#all.map((one) => [one.name, one.function]));
    this.#all = names.map((name) => ({ name, function: mine.get(name) ?? null }));
    for (const [name, f] of mine) if (f && !names.includes(name)) this.#all.push({ name, function: f });
  }

  copy(): Functions {
    const copy = new Functions();
    copy.#all = this.#all.map((one) => ({ ...one }));
    return copy;
  }
}

/** A name that can be registered: Lua names with dots between them. */
export function checkName(name: string): void {
  if (typeof name === 'string' && /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/.test(name)) return;
  throw invalid(`'${String(name)}' is no name for a host function: use Lua names with dots between them`);
}
