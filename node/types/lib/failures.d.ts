import { LuaCellError } from '../shared/errors.js';
import type { HostErrors } from '../shared/host-errors.js';
import type { LuaValue } from '../shared/values.js';
import type { Failure } from './native.js';
/** An error from what the native part tells. `exceptions`: those that host functions threw. `value`: the decoded error value. */
export declare function failureError(failure: Failure, owner: object, exceptions: HostErrors<unknown>, value: LuaValue | undefined): LuaCellError;
/** The number of an error of this sandbox's own runs, or undefined. */
export declare function passableNumber(error: unknown, owner: object): number | undefined;
