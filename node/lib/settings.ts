// Options of sandboxes and runs, and what the native part gets of them.

import { checkText } from '../shared/bytes.js';
import { invalid } from '../shared/errors.js';
import { type LimitOptions, type Limits, defaultLimits, withLimits } from '../shared/limits.js';
import type { Modules as GivenModules } from '../shared/modules.js';
import { checkCount, checkRunOptions, checkSandboxOptions, checkType, sandboxNames, seedOf } from '../shared/options.js';
import type { LuaInput } from '../shared/values.js';
import { Engine } from './engine.js';
import type { LimitSettings, RunSettings, SandboxSettings } from './native.js';

/**
 * A store of your own: tables with numbers from 1, entries of text keys and bytes. The five methods must return directly, not with a promise.
 * A run's writes arrive together, when it has succeeded. Only one sandbox at a time may use it.
 */
export interface TableStore {
  /** The value under a key, undefined if there is none. */
  get(table: number, key: string): Uint8Array | undefined;
  /** Stores a value under a key; creates the table if it is new. */
  set(table: number, key: string, value: Uint8Array): void;
  /** Removes a key, if it is there. */
  delete(table: number, key: string): void;
  /** The number of entries; 0 for an unknown table. */
  size(table: number): number;
  /** All keys, in an order that does not change while the table does not change. */
  keys(table: number): Iterable<string>;
}

/** Source of a module: text or bytes. */
export type ModuleSource = string | Uint8Array;

/** Where `require` finds modules: their sources by name, a function that is called for each name, or the path of a folder. */
export type Modules = GivenModules | string;

/** Settings of a sandbox. */
export interface SandboxOptions extends LimitOptions {
  /** Where `_home` is kept: a file's path (also `file://PATH?read_only=true`), a server's URL (`redis://`, `rediss://`), or your own. Default: memory. */
  store?: string | TableStore;
  /** How often a run is repeated if somebody else changed what it had read. Default 10. */
  conflictRetries?: number;
  /**
   * For how many milliseconds the sandbox claims a durable run each time, in a store that several sandboxes use: as long nobody else can resume it. The claim is
   * renewed whenever the run waits, and by `run.renew()`. Default 30,000.
   */
  claimTerm?: number;
  /**
   * Whether this sandbox's runs take turns with those of other sandboxes that use the same store and do the same, in this process and on a server: none is in conflict
   * with another then, also if it waits for a promise in between. The time until its turn does not count for its timeout. Runs on this thread (`compute`, `call`,
   * `start`) get `Busy` if they would have to wait for one that only this thread can end. On a server a turn ends after 30 seconds if its holder is gone. Default false.
   */
  queueRuns?: boolean;
  /** Whether `_home` is also the global `Memory`. Default true. */
  memoryAlias?: boolean;
  /**
   * Whether functions in the store are loaded. They are bytecode, which Lua does not verify: set this to false if people you don't trust can write
   * to the store. Reading a function then fails with `Store`. Default true.
   */
  storedFunctions?: boolean;
  /** Receives printed text immediately, one call for each `print`, including its newline; `output` then stays empty. */
  onPrint?: (text: string) => void;
  /** Where `require` finds modules. Default: only what is built in (`bigint`). */
  modules?: Modules;
  /** Makes runs repeatable: random numbers from this seed, and a virtual clock. */
  seed?: number | bigint;
  /** The engine. Default: one that the whole process shares. */
  engine?: Engine;
  /**
   * Keeps integers and floats apart: Lua's integers are BigInt and its floats are numbers, both ways. Default false: an
   * integer is a number while that is exact, and a number without fraction goes in as an integer.
   */
  exactNumbers?: boolean;
}

/** Settings of a run. Limits that are set here replace the sandbox's. */
export interface RunOptions extends LimitOptions {
  /** The arguments: the chunk's `...`, or those of the function. */
  args?: readonly LuaInput[];
  /** The chunk's name for messages, as in Lua: `=name` is shown as it is, `@name` as a file's. */
  name?: string;
}

/** Settings of an asynchronous run. */
export interface AsyncRunOptions extends RunOptions {
  /** Ends the run when it aborts, with an error of the kind `Interrupted` whose cause is the signal's reason. */
  signal?: AbortSignal;
}

/** Settings of a run that is started. */
export interface StartOptions extends RunOptions {
  /**
   * Gives the run this name in the sandbox's store, of 1 to 1,000 bytes: it survives the process. Whenever it waits, the store gets in one transaction what it has
   * written so far and the whole Lua. Afterwards `resume(name)` goes on from there, in any sandbox with this store: no write is lost or done twice.
   */
  durable?: string;
}

/** Settings of a run that is started on another thread. */
export interface AsyncStartOptions extends StartOptions {
  /** Ends the run when it aborts, also while it waits: it gets the error when it goes on. */
  signal?: AbortSignal;
}

const places: [keyof LimitOptions, keyof Limits, keyof LimitSettings][] = [
  ['memoryLimit', 'memory', 'memory'],
  ['instructionLimit', 'instructions', 'instructions'],
  ['timeout', 'timeout', 'timeout'],
  ['outputLimit', 'output', 'output'],
  ['storeLimit', 'storeBytes', 'storeBytes'],
  ['storeLimit', 'storeEntries', 'storeEntries'],
  ['hostCallLimit', 'hostCalls', 'hostCalls'],
  ['sourceLimit', 'source', 'source'],
];

function limitSettings(options: LimitOptions): LimitSettings | undefined {
  let limits: Limits | undefined;
  let settings: LimitSettings | undefined;
  for (const [name, limit, setting] of places) {
    if (options[name] === undefined) continue;
    limits ??= withLimits(defaultLimits, options);
    (settings ??= {})[setting] = limits[limit];
  }
  return settings;
}

/** @internal */
export function startSettings(options: StartOptions, isAsync: boolean): RunSettings | undefined {
  checkRunOptions(options, isAsync, ['durable']);
  checkType(options, 'durable', 'string', 'text');
  const { durable } = options;
  return durable === undefined ? settingsOf(options) : { ...settingsOf(options), durable: checkText(durable) };
}

/** @internal Undefined when nothing is set. */
export function runSettings(options: RunOptions, isAsync: boolean): RunSettings | undefined {
  checkRunOptions(options, isAsync);
  return settingsOf(options);
}

function settingsOf(options: RunOptions): RunSettings | undefined {
  const limits = limitSettings(options);
  if (options.name === undefined) return limits && { limits };
  return { name: options.name, limits };
}

function moduleSettings(modules: Modules | undefined): Partial<SandboxSettings> {
  if (modules === undefined) return {};
  if (typeof modules === 'string') return { moduleFolder: modules };
  if (typeof modules !== 'function' && (typeof modules !== 'object' || modules === null)) {
    throw invalid('modules has to be an object, a map, a function, or the path of a folder');
  }
  return { ownModules: true };
}

const names = [...sandboxNames, 'conflictRetries'];

const methods = ['get', 'set', 'delete', 'size', 'keys'] as const;

/** @internal What the native part gets of a sandbox's options. */
export function sandboxSettings(number: number, options: SandboxOptions): SandboxSettings {
  checkSandboxOptions(options, names, Engine);
  checkCount('conflictRetries', options.conflictRetries, 32);
  const { store, claimTerm } = options;
  if (typeof store === 'object' && store !== null) {
    for (const method of methods) {
      if (typeof store[method] !== 'function') throw invalid(`a store needs the method ${method}`);
    }
  } else if (store !== undefined && typeof store !== 'string') {
    throw invalid('store has to be a path, a URL or an object with the methods get, set, delete, size and keys');
  }
  return {
    number,
    limits: limitSettings(options),
    store: typeof store === 'string' ? store : undefined,
    ownStore: typeof store === 'object',
    conflictRetries: options.conflictRetries,
    claimTerm,
    queueRuns: options.queueRuns,
    memoryAlias: options.memoryAlias,
    storedFunctions: options.storedFunctions,
    print: options.onPrint !== undefined,
    ownModules: false,
    ...moduleSettings(options.modules),
    seed: options.seed === undefined ? undefined : seedOf(options.seed),
    exact: options.exactNumbers === true,
  };
}
