// What values are in JavaScript.

import type { StoredTable } from './stored.js';

/** A Lua function. Calls run it; the result is that of `compute`. Several results come as an array. */
export type LuaFunction = (...args: LuaInput[]) => any;

/** What comes from Lua. */
export type LuaValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | LuaFunction
  | StoredTable
  | LuaValue[]
  | Map<LuaValue, LuaValue>
  | { [key: string]: LuaValue };

/** An object that says itself what Lua gets in its place. */
export interface ToLua {
  toLua(): LuaInput;
}

/**
 * An object of text keys. Not an index signature: types that are declared as `interface` have none. What is known to be something else
 * (`Date`, `Promise`, `Set`, typed arrays) is kept out by its symbols; the values are looked at when they are passed.
 */
export type LuaObject = object & {
  readonly [Symbol.iterator]?: never;
  readonly [Symbol.toPrimitive]?: never;
  readonly [Symbol.toStringTag]?: never;
  readonly [Symbol.hasInstance]?: never;
};

/** What Lua can be given: what comes from it, any function, and a few more. A class instance needs a method `toLua`. */
export type LuaInput =
  | LuaValue
  | undefined
  | ((...args: any[]) => any)
  | ArrayBuffer
  | LuaFloat
  | ToLua
  | readonly LuaInput[]
  | ReadonlyMap<LuaInput, LuaInput>
  | { readonly [key: string]: LuaInput }
  | LuaObject;

/**
 * Makes Lua get a float where JavaScript's number would be an integer: `new LuaFloat(3)` is Lua's `3.0`. Values from Lua
 * never come as this.
 */
export class LuaFloat {
  constructor(readonly value: number) {}
}

/** What is behind a function value. */
export type FunctionKind =
  | { type: 'live'; owner: object; instance: number; id: number }
  | { type: 'bytecode'; code: Uint8Array }
  | { type: 'builtin'; name: Uint8Array }
  | { type: 'stored'; table: StoredTable };

export const functionKinds = new WeakMap<LuaFunction, FunctionKind>();

/** Numbers in tables from Lua that look like integers and were floats: key (from 0 in arrays) and value. */
export const floatMarks = new WeakMap<object, Map<unknown, number>>();
