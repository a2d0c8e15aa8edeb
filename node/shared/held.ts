// Functions that the host holds. There is one object of each, so that equal functions are the same.

import type { LuaFunction } from './values.js';

interface Held {
  readonly all: Map<number, Held>;
  readonly id: number;
  readonly f: WeakRef<LuaFunction>;
  /** How often it came: as often it is released. */
  times: number;
  readonly release: Release;
}

/** Gives up a function that came so many times. */
export type Release = (id: number, times: number) => void;

const unheld = new FinalizationRegistry<Held>((held) => {
  // There may be a new object for the same function already.
  if (held.all.get(held.id) === held) held.all.delete(held.id);
  held.release(held.id, held.times);
});

/** The functions of one instance, by number. */
export class HeldFunctions {
  readonly #all = new Map<number, Held>();

  /** `release` must not hold on to the functions. */
  constructor(readonly release: Release) {}

  /** The function of this number, which has come once more; `make` makes it when there is none. */
  get(id: number, make: () => LuaFunction): LuaFunction {
    const known = this.#all.get(id);
    const there = known?.f.deref();
    if (there) {
      known!.times++;
      return there;
    }
    const f = make();
    const held: Held = { all: this.#all, id, f: new WeakRef(f), times: 1, release: this.release };
    this.#all.set(id, held);
    unheld.register(f, held);
    return f;
  }
}
