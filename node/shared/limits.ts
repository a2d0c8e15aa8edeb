import { invalid } from './errors.js';
import { checkOptions, limitNames } from './options.js';
import {
  DEFAULT_MEMORY_LIMIT,
  DEFAULT_OUTPUT_LIMIT,
  DEFAULT_SOURCE_LIMIT,
  DEFAULT_STORE_BYTES,
  DEFAULT_STORE_ENTRIES,
  DEFAULT_TIMEOUT_MILLISECONDS,
  NEW_GUEST_MEMORY,
  TAKEN_BEYOND_TWICE_THE_LIMIT,
} from './protocol.js';

/** A number of bytes, or text such as `'64MiB'`, `'1.5 GB'`, `'4096'`. */
export type Size = number | string;

/** How much stored tables may hold: bytes of all keys and values, and entries of all tables. */
export interface StoreLimit {
  bytes?: Size;
  entries?: number;
}

/** Limits of a sandbox, or of a single run. `Infinity` or null: none. */
export interface LimitOptions {
  /** Bytes of Lua's heap and the buffers of a run. Default 256 MiB. Beyond: "not enough memory", which `pcall` sees. */
  memoryLimit?: Size | null;
  /** Instructions of the Lua machine. Default: no limit. */
  instructionLimit?: number | null;
  /** Milliseconds of a run, waiting included. Default 60,000. */
  timeout?: number | null;
  /** Bytes of `print` in a run. Default 16 MiB. */
  outputLimit?: Size | null;
  /** What stored tables may hold: bytes, or bytes and entries. Default 1 GiB and 10 million entries. */
  storeLimit?: Size | StoreLimit | null;
  /** Calls of host functions in a run. Default: no limit. */
  hostCallLimit?: number | null;
  /** Bytes of source for one run. Default 16 MiB. */
  sourceLimit?: Size | null;
}

/** All limits; `Infinity` for none. */
export interface Limits {
  memory: number;
  instructions: number;
  timeout: number;
  output: number;
  storeBytes: number;
  storeEntries: number;
  hostCalls: number;
  source: number;
}

export const defaultLimits: Limits = {
  memory: DEFAULT_MEMORY_LIMIT,
  instructions: Infinity,
  timeout: DEFAULT_TIMEOUT_MILLISECONDS,
  output: DEFAULT_OUTPUT_LIMIT,
  storeBytes: DEFAULT_STORE_BYTES,
  storeEntries: DEFAULT_STORE_ENTRIES,
  hostCalls: Infinity,
  source: DEFAULT_SOURCE_LIMIT,
};

const unlimited: Limits = {
  memory: Infinity,
  instructions: Infinity,
  timeout: Infinity,
  output: Infinity,
  storeBytes: Infinity,
  storeEntries: Infinity,
  hostCalls: Infinity,
  source: Infinity,
};

/** Those that are set, no limit for the others; null when none is. */
export function onlySet(set: LimitOptions | null): Limits | null {
  return set && limitNames.some((name) => set[name] !== undefined) ? withLimits(unlimited, set) : null;
}

/** What bounds a run inside another one: nothing gets wider. Time and instructions are counted elsewhere. */
export const within = (outer: Limits, set: Limits, calls: number, printed: number): Limits => ({
  ...outer,
  memory: Math.min(outer.memory, set.memory),
  output: Math.min(outer.output, printed + set.output),
  storeBytes: Math.min(outer.storeBytes, set.storeBytes),
  storeEntries: Math.min(outer.storeEntries, set.storeEntries),
  hostCalls: Math.min(outer.hostCalls, calls + set.hostCalls),
  source: Math.min(outer.source, set.source),
});

/** Of each limit the one that is less. */
export function leastOf(a: Limits, b: Limits): Limits {
  const out = { ...a };
  for (const name of Object.keys(out) as (keyof Limits)[]) out[name] = Math.min(a[name], b[name]);
  return out;
}

/** The most that the memory of a guest has room for when it keeps to this limit: what `MOST_TAKEN` in `alloc.c` says, beside what a new one has. */
export const mostMemory = (limit: number): number => 2 * limit + TAKEN_BEYOND_TWICE_THE_LIMIT + NEW_GUEST_MEMORY;

/** What may be held in memory for the tables that a run uses, beside what they hold in the end: what it has overwritten and deleted. */
export const mostHeld = ({ storeBytes, memory }: Limits): number => storeBytes + Math.min(memory, 2 ** 32) + 2 ** 22;

const units: Record<string, number> = { '': 1, b: 1 };
for (const [i, letter] of ['k', 'm', 'g', 't'].entries()) {
  units[letter] = units[`${letter}ib`] = 1024 ** (i + 1);
  units[`${letter}b`] = 1000 ** (i + 1);
}

/** A size as a number. */
export function bytesOf(name: string, value: Size | null): number {
  if (typeof value !== 'string') return count(name, value);
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*$/i.exec(value);
  const unit = match && units[match[2]!.toLowerCase()];
  if (!match || unit === undefined || unit === null)
    throw invalid(`${name}: '${value}' is not a size; write a number of bytes, or '64MiB', '1.5GB'`);
  return Math.floor(Number(match[1]) * unit);
}

function count(name: string, value: number | null): number {
  if (value === null) return Infinity;
  if (typeof value !== 'number' || !(value >= 0)) throw invalid(`${name} has to be a number that is 0 or more, not ${String(value)}`);
  return Math.floor(value);
}

/** These limits with what is set in their place. */
export function withLimits(limits: Limits, set: LimitOptions): Limits {
  const out = { ...limits };
  if (set.memoryLimit !== undefined) out.memory = bytesOf('memoryLimit', set.memoryLimit);
  if (set.instructionLimit !== undefined) out.instructions = count('instructionLimit', set.instructionLimit);
  if (set.timeout !== undefined) out.timeout = count('timeout', set.timeout);
  if (set.outputLimit !== undefined) out.output = bytesOf('outputLimit', set.outputLimit);
  if (set.hostCallLimit !== undefined) out.hostCalls = count('hostCallLimit', set.hostCallLimit);
  if (set.sourceLimit !== undefined) out.source = bytesOf('sourceLimit', set.sourceLimit);
  const store = set.storeLimit;
  if (store === null || typeof store === 'number' || typeof store === 'string') {
    out.storeBytes = bytesOf('storeLimit', store);
    out.storeEntries = Infinity;
  } else if (store !== undefined) {
    checkOptions(store, ['bytes', 'entries'], 'storeLimit');
    out.storeBytes = store.bytes === undefined ? Infinity : bytesOf('storeLimit.bytes', store.bytes);
    out.storeEntries = store.entries === undefined ? Infinity : count('storeLimit.entries', store.entries);
  }
  return out;
}
