// Options as users give them. What is mistyped must not be off silently.

import { checkText } from './bytes.js';
import { LuaCellError, invalid } from './errors.js';

export const limitNames = ['memoryLimit', 'instructionLimit', 'timeout', 'outputLimit', 'storeLimit', 'hostCallLimit', 'sourceLimit'] as const;
export const sandboxNames = [...limitNames, 'engine', 'store', 'onPrint', 'modules', 'seed', 'exactNumbers', 'memoryAlias', 'storedFunctions', 'claimTerm', 'queueRuns'] as const;
const runNames = [...limitNames, 'args', 'name'] as const;
const asyncRunNames = [...runNames, 'signal'] as const;

/** Refuses what is no object, and names that mean nothing. */
export function checkOptions(options: unknown, names: readonly string[], what = 'options'): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw invalid(`${what} has to be an object with names of: ${names.join(', ')}`);
  for (const name of Object.keys(options)) {
    if (names.includes(name) || (options as Record<string, unknown>)[name] === undefined) continue;
    const meant = names.find((one) => one.toLowerCase() === name.toLowerCase());
    throw invalid(`${what}: '${name}' is none of the names here${meant ? `; it is '${meant}'` : `: ${names.join(', ')}`}`);
  }
}

/** Refuses an option that is given and has another type. */
export function checkType(options: object, name: string, type: 'boolean' | 'function' | 'string', what: string): void {
  const value = (options as Record<string, unknown>)[name];
  if (value !== undefined && typeof value !== type) throw invalid(`${name} has to be ${what}`);
}

/** A whole number from 0 on, of so many bits. */
export function checkCount(name: string, value: unknown, bits: number): void {
  if (value === undefined) return;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value >= 2 ** bits) throw invalid(`${name} has to be a whole number that is 0 or more`);
}

/** The number of a request. */
export function checkId(id: unknown): void {
  if (!Number.isSafeInteger(id) || (id as number) < 0) throw invalid(`the id of a request is a whole number, not ${typeof id === 'bigint' ? `${id}n` : String(id)}`);
}

/** A number of milliseconds. */
function checkClaimTerm(term: unknown): void {
  if (term !== undefined && !(typeof term === 'number' && term > 0 && term <= Number.MAX_SAFE_INTEGER)) throw invalid('claimTerm has to be a number of milliseconds');
}

/** What both entries ask of a sandbox's options, apart from limits and stores. `engine`: the class that engines have. */
export function checkSandboxOptions(options: object, names: readonly string[], engine: abstract new (...args: never) => unknown): void {
  checkOptions(options, names);
  const given = (options as { engine?: unknown }).engine;
  if (given !== undefined && !(given instanceof engine)) throw invalid('engine has to be an Engine');
  checkType(options, 'onPrint', 'function', 'a function');
  checkType(options, 'exactNumbers', 'boolean', 'true or false');
  checkType(options, 'memoryAlias', 'boolean', 'true or false');
  checkType(options, 'storedFunctions', 'boolean', 'true or false');
  checkType(options, 'queueRuns', 'boolean', 'true or false');
  checkClaimTerm((options as { claimTerm?: unknown }).claimTerm);
}

/** How a snapshot is restored. */
export interface RestoreOptions {
  /** Whether `_home` and all other tables become those of the snapshot too. Default: those in memory do, a store keeps what it holds. */
  tables?: boolean;
}

export function checkRestoreOptions(options: RestoreOptions): void {
  checkOptions(options, ['tables']);
  checkType(options, 'tables', 'boolean', 'true or false');
}

/** A seed as a number of 64 bits. */
export function seedOf(seed: unknown): bigint {
  const isNumber = typeof seed === 'number' && Number.isSafeInteger(seed) && seed >= 0;
  const isBig = typeof seed === 'bigint' && seed >= 0n && seed < 2n ** 64n;
  if (!isNumber && !isBig) throw invalid('seed has to be a whole number from 0 to 2^64-1');
  return BigInt(seed);
}

/** What a run's options have to be, apart from limits. `more`: names that this kind of run has besides. */
export function checkRunOptions(options: object, isAsync: boolean, more: readonly string[] = []): void {
  checkOptions(options, [...(isAsync ? asyncRunNames : runNames), ...more]);
  const { args, signal } = options as { args?: unknown; signal?: unknown };
  if (args !== undefined && !Array.isArray(args)) throw invalid('args has to be an array');
  checkType(options, 'name', 'string', 'text');
  if ('name' in options && options.name !== undefined) checked(options.name as string, 'name');
  if (signal !== undefined && !isSignal(signal)) throw invalid('signal has to be an AbortSignal');
}

/** Not by its class, which other realms and older runtimes have their own of. */
const isSignal = (signal: unknown): boolean =>
  typeof signal === 'object' &&
  signal !== null &&
  typeof (signal as AbortSignal).aborted === 'boolean' &&
  typeof (signal as AbortSignal).addEventListener === 'function' &&
  typeof (signal as AbortSignal).removeEventListener === 'function';

function checked(text: string, what: string): void {
  try {
    checkText(text);
  } catch (error) {
    if (error instanceof LuaCellError) error.message += ` (${what})`;
    throw error;
  }
}

/** Source is text or bytes. */
export function checkSource(source: unknown): void {
  if (typeof source === 'string') checked(source, 'source');
  else if (!(source instanceof Uint8Array)) throw invalid('the source has to be a string or a Uint8Array');
}

/** The name of a function that is called. */
export function checkPath(path: unknown): void {
  if (typeof path !== 'string') throw invalid("a function's name has to be text");
  checked(path, 'name');
}
