// JavaScript's functions and objects that Lua holds as values. The native part only has their numbers.
//
// One is kept by each sandbox and snapshot that has it, and by nothing else: so a sandbox that is forgotten is collected, also when
// its own functions refer to it. When the native part has a number no more, all of them let go of what had it.

import type { UnnamedValues } from '../shared/codec.js';
import type { HostValue } from '../shared/host-values.js';
import type { ObjectClass } from '../shared/objects.js';
import { FIRST_HOST_VALUE } from '../shared/protocol.js';
import { connection } from './connection.js';
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

/** A number comes again only after all others, so that a late call finds what it means or nothing. */
function next(): number {
  do last = last >= LAST ? FIRST_HOST_VALUE : last + 1;
  while (known.has(last));
  return last;
}

/** Classes that the native part knows. */
const described = new WeakSet<ObjectClass>();
const undescribed = new FinalizationRegistry<number>((number) => connection.forgetClass(number));

function describe(cls: ObjectClass): void {
  if (described.has(cls)) return;
  const { number, name, members } = cls;
  connection.describeClass(
    number,
    name,
    members.map(({ kind }) => kind),
    members.map(({ name }) => name),
  );
  described.add(cls);
  undescribed.register(cls, number);
}

function numberOf(value: HostValue): Known {
  const before = numbers.get(value);
  if (before !== undefined && known.get(before.number) === before) return before;
  if (typeof value !== 'function') describe(value.class);
  const one: Known = { number: next(), holders: [], many: FEW };
  known.set(one.number, one);
  numbers.set(value, one);
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

/** The functions and objects that one sandbox or snapshot has. */
export class Callables implements UnnamedValues {
  readonly #all = new Map<number, HostValue>();
  readonly #self = new WeakRef(this);
  /** How often one was given. */
  given = 0;

  give(value: HostValue): number {
    this.given++;
    const one = numberOf(value);
    this.#keep(one, value);
    return one.number;
  }

  #keep(one: Known, value: HostValue): void {
    if (this.#all.has(one.number)) return;
    this.#all.set(one.number, value);
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
    for (const [number, value] of others.#all) {
      const one = known.get(number);
      if (one) this.#keep(one, value);
    }
  }

  forget(number: number): void {
    this.#all.delete(number);
  }
}
