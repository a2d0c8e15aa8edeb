import { ErrorKinds, limitMessages } from './protocol.js';
import type { LuaInput, LuaValue } from './values.js';

export { ErrorKinds };

/** The name of a kind of failure. */
export type ErrorKind = keyof typeof ErrorKinds;

const names = new Map<number, ErrorKind>(Object.entries(ErrorKinds).map(([name, n]) => [n, name as ErrorKind]));

/** The kind with this number. */
export const kindOf = (number: number): ErrorKind | undefined => names.get(number);

/** What one run used. */
export interface Metrics {
  /** Milliseconds from entering the sandbox to the finished result; 0 in a sandbox with a seed. */
  wallTime: number;
  /** Instructions, about those of the Lua machine; the same in every run of the same script. */
  instructions: number;
  /** The most bytes that Lua had in use at once. */
  peakMemory: number;
  /** How often the script called host functions. */
  hostCalls: number;
  /** Bytes of keys and values that the script wrote to stored tables. */
  bytesStored: number;
}

export const noMetrics = (): Metrics => ({ wallTime: 0, instructions: 0, peakMemory: 0, hostCalls: 0, bytesStored: 0 });

const empty = new Uint8Array(0);
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });

/** Bytes as text; what is not UTF-8 becomes U+FFFD. */
export const lossyText = (bytes: Uint8Array): string => lossy.decode(bytes);

/** A failure, with everything that is known about it. */
export class LuaCellError extends Error {
  /** What kind of failure. */
  readonly kind: ErrorKind;
  /** The line in `chunkName`, from 1. */
  line: number | undefined;
  /** The chunk in which a Lua error happened, as in Lua's `short_src`. */
  chunkName: string | undefined;
  /** Lua's traceback, several lines of text. */
  traceback: string | undefined;
  /** The Lua error value when it was no string (`error({code = 7})`), else undefined. */
  value: LuaValue | undefined;
  /** What the script used before it failed. */
  metrics: Metrics = noMetrics();
  /** What the script printed before it failed, as bytes. */
  outputBytes: Uint8Array = empty;
  /** The message as the script made it, when it is not UTF-8. `message` shows U+FFFD there. */
  messageBytes: Uint8Array | undefined;
  /** @internal The guest can't be used after this. */
  fatal = false;
  /** @internal A host function got it from its own sandbox. */
  nested = false;
  /** @internal `value` is to be raised in Lua. */
  raises = false;
  /** @internal What scripts get to see of it, where the message is for the host alone. */
  shown: string | undefined;

  constructor(kind: ErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
    for (const hidden of ['fatal', 'nested', 'raises', 'shown']) Object.defineProperty(this, hidden, { enumerable: false });
  }

  /** What the script printed before it failed; what is not UTF-8 becomes U+FFFD. */
  get output(): string {
    return lossyText(this.outputBytes);
  }

  /** For host functions: throw the result to raise this value in the script, as `error(value)` does there. */
  static raise(value: LuaInput): LuaCellError {
    const text = typeof value === 'string' ? value : 'a host function raised a value that is not text';
    const error = new LuaCellError('HostFunction', text);
    error.value = value as LuaValue;
    error.raises = true;
    return error;
  }
}
Object.defineProperty(LuaCellError.prototype, 'name', { value: 'LuaCellError', configurable: true, writable: true });

export const busy = (): LuaCellError =>
  new LuaCellError('Busy', 'the sandbox is in use: wait until the current run has ended');
export const closed = (): LuaCellError => new LuaCellError('Closed', 'the sandbox is closed');
export const invalid = (message: string): LuaCellError => new LuaCellError('InvalidArgument', message);
export const conversion = (message: string): LuaCellError => new LuaCellError('Conversion', message);
/** A store that says itself that somebody else changed it stays one. */
export function storeError(message: string, cause?: unknown): LuaCellError {
  const kind = ourError(cause)?.kind === 'Conflict' ? 'Conflict' : 'Store';
  const error = new LuaCellError(kind, message, cause === undefined ? undefined : { cause });
  error.shown = 'the store failed';
  return error;
}

/** The error of a limit that the guest did not raise itself, in its words. */
export function limitError(kind: ErrorKind): LuaCellError {
  const words: Partial<Record<ErrorKind, string>> = limitMessages;
  return new LuaCellError(kind, words[kind] ?? 'stopped by the host');
}

/** The guest broke the contract, or crashed: it can't be used after this. */
export function broken(message: string, kind: ErrorKind = 'Internal', cause?: unknown): LuaCellError {
  const error = new LuaCellError(kind, message, cause === undefined ? undefined : { cause });
  error.fatal = true;
  return error;
}

/** What was thrown, if it is an error of ours. Asking a hostile proxy may throw. */
export function ourError(thrown: unknown): LuaCellError | null {
  try {
    return thrown instanceof LuaCellError ? thrown : null;
  } catch {
    return null;
  }
}

/** What a script sees of a failure about which the host has said nothing to it. */
export const HOST_FAILED = 'the host function failed';

/** What a host function returned can't be passed: scripts don't hear what it was. */
export function unfit(error: unknown): unknown {
  const ours = ourError(error);
  if (ours) ours.shown = "the host function gave a result that can't be passed";
  return error;
}

/** Whether the system or JavaScript's runtime has made an error, with names of files and the like in its message. */
const isSystems = ({ code, errno }: { code?: unknown; errno?: unknown }): boolean =>
  typeof errno === 'number' || (typeof code === 'string' && /^(?:E[A-Z][A-Z0-9_]*|MODULE_NOT_FOUND)$/.test(code));

/** What a script sees of what a host function threw: the message that its author wrote. */
export function shownOf(thrown: unknown): string {
  const ours = ourError(thrown);
  if (ours) return ours.shown ?? ours.message;
  try {
    if (typeof thrown === 'string') return thrown || HOST_FAILED;
    const { message } = thrown as { message?: unknown };
    if (typeof message === 'string' && message !== '' && !isSystems(thrown as object)) return message;
  } catch {
    // An object that can't be read.
  }
  return HOST_FAILED;
}

/** The same for what a search for modules threw: only an error that is made for scripts is shown. */
export const shownOfModules = (thrown: unknown): string =>
  ourError(thrown)?.kind === 'HostFunction' ? shownOf(thrown) : 'the host could not provide it';

/** As the constructor sets it. */
export const setCause = (error: LuaCellError, cause: unknown): void =>
  void Object.defineProperty(error, 'cause', { value: cause, configurable: true, writable: true });

/** The part of a message that is for the host alone, where it stands behind what scripts see. */
const hidden = new WeakMap<LuaCellError, string>();

const MOST_HIDDEN = 1 << 14;

/** Adds for the host what the script did not see of the cause. What a script passes on again and again doesn't become longer by that. */
export function reveal(error: LuaCellError, cause: LuaCellError): void {
  if (cause.shown === undefined || cause.shown === cause.message) return;
  const text = (hidden.get(cause) ?? cause.message).slice(0, MOST_HIDDEN);
  hidden.set(error, text);
  error.shown = error.message;
  error.message += `: ${text}`;
}

/** The text of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown);
  } catch {
    return 'a value without text was thrown';
  }
}
