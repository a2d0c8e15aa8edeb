import { seedOf } from '../../shared/options.js';
import { Clock } from '../../shared/protocol.js';

/** 2000-01-01 00:00:00 UTC in nanoseconds since 1970. */
const START = 946_684_800_000_000_000n;
const LAST_TICK = 2n ** 64n - 1n;
const LATEST = 2n ** 63n - 1n;
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const u64 = (n: bigint): bigint => BigInt.asUintN(64, n);

/** A clock that instructions drive, and seeds that follow from one number. */
export class VirtualTime {
  private constructor(
    private state: bigint,
    private passed: bigint,
  ) {}

  static of(seed: number | bigint): VirtualTime {
    return new VirtualTime(seedOf(seed), 0n);
  }

  copy(): VirtualTime {
    return new VirtualTime(this.state, this.passed);
  }

  static fromNumbers(state: bigint, passed: bigint): VirtualTime {
    return new VirtualTime(u64(state), u64(passed));
  }

  numbers(): [state: bigint, passed: bigint] {
    return [this.state, this.passed];
  }

  /** A run has taken this many ticks, or slept for so many nanoseconds. */
  pass(ticks: bigint): void {
    this.passed = least(this.passed + ticks, LAST_TICK);
  }

  /** Nanoseconds on this clock. */
  read(which: number, ticks: bigint): bigint | null {
    if (which === Clock.Wall) return least(START + this.passed + ticks, LATEST);
    return which === Clock.Processor ? ticks : null;
  }

  seed(): Uint8Array {
    const seed = new DataView(new ArrayBuffer(16));
    seed.setBigUint64(0, this.#next(), true);
    seed.setBigUint64(8, this.#next(), true);
    return new Uint8Array(seed.buffer);
  }

  /** SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
  #next(): bigint {
    this.state = u64(this.state + 0x9e3779b97f4a7c15n);
    let z = this.state;
    z = u64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = u64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }
}
