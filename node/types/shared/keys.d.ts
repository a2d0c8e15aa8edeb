import { type LuaValue } from './values.js';
/** A string key's text. */
export declare function stringKey(text: string): string;
/** Whether this is an integer of Lua's range. */
export declare const fits64: (n: bigint) => boolean;
/** Whether there can be such a key. What can't be there is absent for who looks, and refused from who writes. */
export declare function isKey(key: unknown): boolean;
/** The text of a key. */
export declare function encodeKey(key: unknown): string;
/** Refuses keys of a map that are one key in Lua, as `1` and `1n` are, text and the same bytes: one of the values would be lost. */
export declare function checkSameKeys(pairs: readonly unknown[]): void;
/** The key that a text means. Text that is none of the escaped forms is the string itself. `exact`: integers as BigInt. */
export declare function decodeKey(text: string, exact: boolean): LuaValue;
