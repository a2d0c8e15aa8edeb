// Errors, from the native part and to it.

import { type ErrorKind, LuaCellError, ourError } from '../shared/errors.js';
import type { HostErrors } from '../shared/host-errors.js';
import type { LuaValue } from '../shared/values.js';
import type { Failure } from './native.js';

/** Errors that the native part still has, by number: a host function that throws one passes it on. */
const passable = new WeakMap<LuaCellError, { owner: object; number: number }>();

/** What `cause` says, where there is one. */
function causeOf({ thrown, reason }: Failure, exceptions: HostErrors<unknown>): { cause: unknown } | undefined {
  const kept = typeof thrown === 'number' ? exceptions.get(thrown) : undefined;
  if (kept) return { cause: kept.thing };
  return typeof reason === 'string' ? { cause: new Error(reason) } : undefined;
}

/** An error from what the native part tells. `exceptions`: those that host functions threw. `value`: the decoded error value. */
export function failureError(failure: Failure, owner: object, exceptions: HostErrors<unknown>, value: LuaValue | undefined): LuaCellError {
  const error = new LuaCellError(failure.kind as ErrorKind, failure.message, causeOf(failure, exceptions));
  error.line = failure.line ?? undefined;
  error.chunkName = failure.chunkName ?? undefined;
  error.traceback = failure.traceback ?? undefined;
  error.outputBytes = failure.output;
  error.messageBytes = failure.messageBytes ?? undefined;
  error.metrics = failure.metrics;
  error.value = value;
  error.shown = failure.shown ?? undefined;
  if (failure.nested !== undefined && failure.nested !== null) passable.set(error, { owner, number: failure.nested });
  return error;
}

/** The number of an error of this sandbox's own runs, or undefined. */
export function passableNumber(error: unknown, owner: object): number | undefined {
  const ours = ourError(error);
  const known = ours ? passable.get(ours) : undefined;
  return known?.owner === owner ? known.number : undefined;
}
