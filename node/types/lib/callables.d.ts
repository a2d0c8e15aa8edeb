import type { UnnamedValues } from '../shared/codec.js';
import type { HostValue } from '../shared/host-values.js';
import type { Connection } from './native.js';
/** Lets go of what the native part has no more. Not between the writing of a number and the call that brings it there. */
export declare function letGo(connection: Connection, isNote: boolean): void;
export declare function beginMessage(connection: Connection): void;
/** The message is written, and goes to the native part at once. */
export declare const endMessage: () => void;
/** The functions and objects that one sandbox or snapshot has. */
export declare class Callables implements UnnamedValues {
    #private;
    /** How often one was given. */
    given: number;
    give(value: HostValue): number;
    get(number: number): HostValue | undefined;
    /** A copy of Lua has what this has. */
    add(others: Callables): void;
    forget(number: number): void;
}
