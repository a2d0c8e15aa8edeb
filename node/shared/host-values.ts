// Values of the host that Lua holds: functions without a name, and objects.

import { LuaCellError } from './errors.js';
import type { Wrapped } from './objects.js';
import { FIRST_HOST_VALUE, MAX_HOST_VALUES } from './protocol.js';

export type HostValue = ((...args: any[]) => unknown) | Wrapped;

interface Given {
  readonly value: HostValue;
  /** How often it was passed to the guest, which says how often it had come when it lets go of it. */
  times: number;
}

/** Fewer are not worth asking the guest which it has. */
const FEW = 1024;

/** Those that one instance was given, by number. */
export class HostValues {
  readonly #all = new Map<number, Given>();
  readonly #numbers = new Map<HostValue, number>();
  readonly #free: number[] = [];
  #compared = 0;

  get size(): number {
    return this.#all.size;
  }

  /** The number under which the guest is given one, once more. */
  give(value: HostValue): number {
    const known = this.#numbers.get(value);
    if (known !== undefined) {
      this.#all.get(known)!.times++;
      return known;
    }
    if (this.size >= MAX_HOST_VALUES) throw new LuaCellError('Memory', `Lua holds ${MAX_HOST_VALUES} functions and objects of the host already`);
    const number = this.#free.pop() ?? FIRST_HOST_VALUE + this.size;
    this.#all.set(number, { value, times: 1 });
    this.#numbers.set(value, number);
    return number;
  }

  get(number: number): HostValue | undefined {
    return this.#all.get(number)?.value;
  }

  /** The guest has let go of what was passed to it so often. More may be on their way. */
  release(number: number, times: number): void {
    const given = this.#all.get(number);
    if (!given || (given.times -= times) > 0) return;
    this.#all.delete(number);
    this.#numbers.delete(given.value);
    this.#free.push(number);
    this.#compared = Math.min(this.#compared, this.size);
  }

  /** Whether the guest should be asked which of them it has: what it could not read of a message never came. */
  get wantsComparison(): boolean {
    return this.size > FEW + 2 * this.#compared || this.size >= MAX_HOST_VALUES;
  }

  /** The guest has these and no others; how often they came. */
  compare(has: ReadonlyMap<number, number>): void {
    for (const [number, { times }] of [...this.#all]) this.release(number, times - (has.get(number) ?? 0));
    this.#compared = this.size;
  }

  /** For a copy of the guest. */
  copy(): HostValues {
    const copy = new HostValues();
    for (const [number, { value, times }] of this.#all) {
      copy.#all.set(number, { value, times });
      copy.#numbers.set(value, number);
    }
    copy.#free.push(...this.#free);
    return copy;
  }
}
