// JavaScript's functions that Lua holds as values. The native part only has their numbers.
//
// A function is kept by each sandbox and snapshot that has it, and by nothing else: so a sandbox that is forgotten is collected, also when
// its own functions refer to it. When the native part has a number no more, all of them let go of the function.

import type { UnnamedFunctions } from '../shared/codec.js';
import type { HostValue } from '../shared/host-values.js';
import { FIRST_HOST_VALUE } from '../shared/protocol.js';
import type { Connection } from './native.js';

interface Known {
  readonly number: number;
  /** Who has it; some of them may be gone. */
  holders: WeakRef<Callables>[];
  /** With so many it is looked who is gone. */
  many: number;
}

/** Below the number that the guest has for none. */
const LAST = 0xffff_fffe;
const FEW = 8;

const known = new Map<number, Known>();
const numbers = new WeakMap<HostValue, Known>();
let last = LAST;

/** Numbers that are new: that they are dropped is heard only if they arrive. */
let fresh: number[] = [];
const MANY_FRESH = 64;

/** A number comes again only after all others, so that a late call finds its own function or none. */
function next(): number {
  do last = last >= LAST ? FIRST_HOST_VALUE : last + 1;
  while (known.has(last));
  return last;
}

function numberOf(f: HostValue): Known {
  const before = numbers.get(f);
  if (before !== undefined && known.get(before.number) === before) return before;
  const one: Known = { number: next(), holders: [], many: FEW };
  known.set(one.number, one);
  numbers.set(f, one);
  fresh.push(one.number);
  return one;
}

/** Lets go of what the native part has no more. Not between the writing of a number and the call that brings it there. */
export function letGo(connection: Connection, isNote: boolean): void {
  const unheld = connection.unheld(fresh, isNote);
  fresh = [];
  for (const number of unheld) {
    const holders = known.get(number)?.holders;
    known.delete(number);
    holders?.forEach((holder) => holder.deref()?.forget(number));
  }
}

/** How many messages are being written: objects may do anything while they are read. */
let writing = 0;

export function beginMessage(connection: Connection): void {
  if (writing === 0 && fresh.length >= MANY_FRESH) letGo(connection, false);
  writing++;
}

/** The message is written, and goes to the native part at once. */
export const endMessage = (): void => void writing--;

/** The functions that one sandbox or snapshot has. */
export class Callables implements UnnamedFunctions {
  readonly #all = new Map<number, HostValue>();
  readonly #self = new WeakRef(this);
  /** How often one was given. */
  given = 0;

  give(f: HostValue): number {
    this.given++;
    const one = numberOf(f);
    this.#keep(one, f);
    return one.number;
  }

  #keep(one: Known, f: HostValue): void {
    if (this.#all.has(one.number)) return;
    this.#all.set(one.number, f);
    if (one.holders.length >= one.many) {
      one.holders = one.holders.filter((holder) => holder.deref());
      one.many = Math.max(FEW, 2 * one.holders.length);
    }
    one.holders.push(this.#self);
  }

  get(number: number): HostValue | undefined {
    return this.#all.get(number);
  }

  /** A copy of Lua has what this has. */
  add(others: Callables): void {
    for (const [number, f] of others.#all) {
      const one = known.get(number);
      if (one) this.#keep(one, f);
    }
  }

  forget(number: number): void {
    this.#all.delete(number);
  }
}
