// What values are in JavaScript.

import type { Wrapped } from './objects.js';
import type { StoredTable } from './stored.js';

/** A Lua function. Calls run it; the result is that of `compute`. Several results come as an array. */
export interface LuaFunction {
  (...args: LuaInput[]): any;
  /** `for (const x of f)` is what `for x in f do` is in Lua. Each step is a run; several values of a step come as an array. */
  [Symbol.iterator](): IterableIterator<any>;
  /** The same for `for x in f, state, control do`, such as `ipairs` and its like give. */
  iterate(state?: LuaInput, control?: LuaInput): IterableIterator<any>;
}

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

/**
 * What Lua can be given: what comes from it, any function, any iterator, and a few more. A class instance needs a method `toLua`, or its class to be passed to
 * `expose`.
 */
export type LuaInput =
  | LuaValue
  | undefined
  | ((...args: any[]) => any)
  | ArrayBuffer
  | LuaFloat
  | ToLua
  | Wrapped
  | IterableIterator<unknown>
  | AsyncIterableIterator<unknown>
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

type CallForAll = (f: LuaFunction, args: readonly LuaInput[]) => readonly LuaValue[];

function* steps(call: CallForAll, f: LuaFunction, state: LuaInput, control: LuaInput): Generator<any> {
  for (;;) {
    const values = call(f, [state, control]);
    control = values[0];
    if (control === undefined || control === null) return;
    yield values.length === 1 ? control : values;
  }
}

/** What the functions of a sandbox have, besides what all functions have. `call`: calls one of them for all of its results. */
export function functionPrototype(call: CallForAll): object {
  function iterate(this: LuaFunction, state?: LuaInput, control?: LuaInput): Generator<any> {
    return steps(call, this, state, control);
  }
  function all(this: LuaFunction): Generator<any> {
    return steps(call, this, undefined, undefined);
  }
  return Object.create(Function.prototype, { iterate: { value: iterate }, [Symbol.iterator]: { value: all } }) as object;
}

/** Makes a function of Lua of what calls it. */
export function makeFunction(call: (...args: LuaInput[]) => any, prototype: object, kind: FunctionKind): LuaFunction {
  const f = Object.setPrototypeOf(call, prototype) as LuaFunction;
  functionKinds.set(f, kind);
  return f;
}
