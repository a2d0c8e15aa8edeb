// Objects of JavaScript in Lua: what scripts may do with them.

import { isWellFormed } from './bytes.js';
import { conversion, invalid } from './errors.js';
import { type HostFunction, MultipleResults } from './functions.js';
import { checkOptions } from './options.js';
import { isThenable } from './promises.js';
import { StoredTable } from './stored.js';
import { LuaFloat } from './values.js';

/** What a member is; node/src/classes.rs has the same numbers. */
export const Kind = { Method: 0, Reader: 1, Writer: 2, Event: 3 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

const kindNames = ['method', 'field', 'field', 'metamethod'] as const;

/** As in core/src/api/class.rs. */
const metamethodNames = [
  '__add', '__sub', '__mul', '__div', '__idiv', '__mod', '__pow', '__unm', '__band', '__bor', '__bxor', '__bnot', '__shl', '__shr',
  '__concat', '__len', '__eq', '__lt', '__le', '__call', '__index', '__newindex', '__tostring', '__iter', '__pairs', '__close',
] as const;

/** Something that Lua does with objects, by its name in Lua. */
export type MetamethodName = (typeof metamethodNames)[number];

/** What scripts may do with objects. */
export interface ExposeOptions {
  /**
   * Methods that Lua calls as `o:name(...)`. `toString` is what `tostring(o)` gives, `Symbol.iterator` or `Symbol.asyncIterator` what `for ... in o` goes
   * through.
   */
  methods?: readonly (string | symbol)[];
  /** Fields that Lua can read. */
  fields?: readonly string[];
  /** Fields that Lua can read and write. */
  writable?: readonly string[];
  /** What Lua's operators and the like do. Each is called with the operands as they stand, one of which is the object. */
  metamethods?: { readonly [name in MetamethodName]?: HostFunction };
  /** What scripts see in messages. Default: the name of the class. */
  name?: string;
}

export interface Member {
  readonly kind: Kind;
  readonly name: string;
  /** It gets the object first. */
  readonly f: HostFunction;
}

/** An object with what scripts may do with it: see `wrap`. */
export class Wrapped {
  /** Nothing else has this type. */
  protected declare readonly type: never;
  /** @internal */
  readonly object: object;
  /** @internal */
  readonly class: ObjectClass;

  /** @internal */
  constructor(object: object, cls: ObjectClass) {
    this.object = object;
    this.class = cls;
  }
}

/** The class to which a function belongs that is a member of one. */
const memberClasses = new WeakMap<object, [ObjectClass, Kind, name: string]>();
let lastClass = 0;

/** What scripts may do with some objects. */
export class ObjectClass {
  /** No other one has it. */
  readonly number = ++lastClass;
  readonly members: readonly Member[];
  /** There is one for each object, so that it is one in Lua. */
  readonly #wrapped = new WeakMap<object, Wrapped>();

  constructor(
    readonly name: string,
    members: Iterable<[kind: Kind, name: string, f: HostFunction]>,
  ) {
    this.members = Array.from(members, ([kind, name, f]) => {
      const checked: HostFunction = (...args) => {
        if (!args.slice(0, places(kind)).some((arg) => this.#wrapped.has(arg as object))) throw this.#noSelf(kind, name);
        return f(...args);
      };
      memberClasses.set(checked, [this, kind, name]);
      return { kind, name, f: checked };
    });
  }

  wrap(object: object): Wrapped {
    let wrapped = this.#wrapped.get(object);
    if (!wrapped) this.#wrapped.set(object, (wrapped = new Wrapped(object, this)));
    return wrapped;
  }

  #noSelf(kind: Kind, name: string): Error {
    return conversion(`the ${kindNames[kind]} '${name}' needs a ${this.name} in front, as in object:name()`);
  }

  /** `passed`: the objects among the arguments. Another class may offer less of the same object. */
  checkSelf(kind: Kind, name: string, passed: readonly (Wrapped | undefined)[]): void {
    if (!passed.slice(0, places(kind)).some((one) => one?.class === this)) throw this.#noSelf(kind, name);
  }
}

/** An operator may have its object on the right. */
const places = (kind: Kind): number => (kind === Kind.Event ? 2 : 1);

/** Whether this is a member of a class, which has to be given an object of the class. */
export const isMember = (f: unknown): boolean => memberClasses.has(f as object);

/** Refuses to call a member with other objects. */
export function checkSelf(f: object, passed: readonly (Wrapped | undefined)[]): void {
  const [cls, kind, name] = memberClasses.get(f)!;
  cls.checkSelf(kind, name, passed);
}

// ---- names

/**
 * Whether this is a name under which JavaScript looks for a function by itself: to await, convert, print or compare an object. A script's function
 * there would run at any time, outside of every run.
 */
export const isCalled = (key: unknown): boolean => typeof key === 'string' && (key === 'then' || key === 'toJSON' || key in Object.prototype);

/** Names that don't exist in Lua. */
const isHidden = (name: string): boolean => name.startsWith('_') || name === 'toLua' || isCalled(name);

type Names = (string | symbol)[];
const lists = ['methods', 'fields', 'writable'] as const;

function names(options: ExposeOptions, list: (typeof lists)[number]): Names | undefined {
  const given: unknown = options[list];
  if (given === undefined) return undefined;
  if (typeof given !== 'object' || given === null || !(Symbol.iterator in given)) throw invalid(`${list} has to be a list of names`);
  const all = [...new Set(given as Iterable<unknown>)];
  for (const name of all) {
    if (list === 'methods' && (name === 'toString' || symbols.includes(name))) continue;
    if (typeof name !== 'string' || !isWellFormed(name)) throw invalid(`${list}: names are wanted, not ${String(name)}`);
    if (isHidden(name)) throw invalid(`${list}: '${name}' is private, or JavaScript's own`);
  }
  return all as Names;
}

const symbols: readonly unknown[] = [Symbol.iterator, Symbol.asyncIterator];

// ---- members

type AnyObject = Record<string | symbol, unknown>;
const callOf =
  (name: string | symbol): HostFunction =>
  (self: AnyObject, ...args: unknown[]) =>
    (self[name] as HostFunction)(...args);

/** The iterator that an object makes for a loop, whatever else that is. */
const iterate =
  (name: symbol): HostFunction =>
  (self: AnyObject) =>
    iterators.wrap((self[name] as () => object)());

function* method(name: string | symbol): Generator<[Kind, string, HostFunction]> {
  if (typeof name === 'symbol') yield [Kind.Event, '__iter', iterate(name)];
  else if (name === 'toString') yield [Kind.Event, '__tostring', (self: object) => self.toString()];
  else yield [Kind.Method, name, callOf(name)];
}

const reader = (name: string): [Kind, string, HostFunction] => [Kind.Reader, name, (self: AnyObject) => self[name] as never];
const writer = (name: string): [Kind, string, HostFunction] => [Kind.Writer, name, (self: AnyObject, value: unknown) => void (self[name] = value)];

/** Options as they were when they were looked at. */
interface Listed {
  methods?: Names;
  fields?: Names;
  writable?: Names;
  metamethods: [string, HostFunction][];
  name: string | undefined;
}

function listed(options: ExposeOptions): Listed {
  checkOptions(options, ['methods', 'fields', 'writable', 'metamethods', 'name']);
  const { name } = options;
  if (name !== undefined && !(typeof name === 'string' && isWellFormed(name))) throw invalid('name has to be text');
  const [methods, fields, writable] = lists.map((list) => names(options, list));
  return { methods, fields, writable, metamethods: metamethods(options), name };
}

/** What objects with this prototype offer. `owner`: what defines the members that are taken if none are listed. */
function classOf(owner: object, prototype: object, defaultName: string, options: Listed): ObjectClass {
  const { methods = [], fields = [], writable = [] } = lists.some((list) => options[list]) ? options : own(owner);
  const members: [Kind, string, HostFunction][] = [];
  for (const name of methods) {
    const found = descriptor(prototype, name);
    if (!found || ('value' in found && typeof found.value !== 'function')) throw invalid(`methods: a ${defaultName} has no method '${String(name)}'`);
    members.push(...method(name));
  }
  for (const name of new Set([...fields, ...writable] as string[])) members.push(reader(name));
  for (const name of writable as string[]) {
    // A script could put a function of its own there.
    if (methods.includes(name)) throw invalid(`writable: '${name}' is a method`);
    members.push(writer(name));
  }
  for (const [name, f] of options.metamethods) members.push([Kind.Event, name, f]);
  // Of two with one name the later one counts.
  const byName = new Map(members.map((member) => [`${member[0]}${member[1]}`, member]));
  return new ObjectClass(options.name ?? defaultName, byName.values());
}

function metamethods({ metamethods }: ExposeOptions): [string, HostFunction][] {
  if (metamethods === undefined) return [];
  checkOptions(metamethods, metamethodNames, 'metamethods');
  const all = Object.entries(metamethods).filter(([, f]) => f !== undefined);
  for (const [name, f] of all) if (typeof f !== 'function') throw invalid(`metamethods: ${name} has to be a function`);
  return all;
}

function descriptor(object: object | null, name: string | symbol): PropertyDescriptor | undefined {
  for (; object !== null; object = Object.getPrototypeOf(object) as object | null) {
    const found = Object.getOwnPropertyDescriptor(object, name);
    if (found) return found;
  }
  return undefined;
}

/** What the class itself defines and does not hide. */
function own(owner: object): { methods: Names; fields: Names; writable: Names } {
  const methods: Names = [];
  const fields: string[] = [];
  const writable: string[] = [];
  for (const name of Reflect.ownKeys(owner)) {
    const { get, set, value } = Object.getOwnPropertyDescriptor(owner, name)!;
    if (typeof value === 'function' && (name === 'toString' || symbols.includes(name))) methods.push(name);
    else if (typeof name === 'symbol' || isHidden(name)) continue;
    else if (typeof value === 'function') methods.push(name);
    else if (get) (set ? writable : fields).push(name);
  }
  return { methods, fields, writable };
}

// ---- classes

/** By prototype. */
const exposed = new WeakMap<object, ObjectClass>();
let exposes = false;

/** Objects of these are values in Lua. */
const valueClasses = [Array, Map, Uint8Array, ArrayBuffer, Function, LuaFloat, StoredTable, Wrapped] as const;

/**
 * Says what scripts may do with the objects of a class, and returns it: they are passed as themselves, and come back as themselves.
 *
 * Without lists that is what the class itself defines: its methods, and its accessors (written if they have a setter). What is inherited, names that begin with an
 * underscore, and names that JavaScript itself calls don't exist in Lua. With `methods`, `fields` (read) or `writable` (read and written) it is what they
 * list, inherited members too.
 *
 * Objects of subclasses offer the same. Lua holds the object until it has collected it.
 */
export function expose<T extends abstract new (...args: any[]) => object>(cls: T, options: ExposeOptions = {}): T {
  const lists = listed(options);
  const prototype: unknown = typeof cls === 'function' ? cls.prototype : undefined;
  if (typeof prototype !== 'object' || prototype === null) throw invalid('expose takes a class; use wrap for one object');
  const value = valueClasses.find((one) => prototype === one.prototype || prototype instanceof one);
  if (value || prototype === Object.prototype) throw invalid(`objects of ${nameOf(cls)} are values in Lua${value ? `, because it is a ${value.name}` : ''}; use wrap for one of them`);
  exposed.set(prototype, classOf(prototype, prototype, nameOf(cls), lists));
  exposes = true;
  return cls;
}

/**
 * The object as one that scripts can do this with, and nothing else: pass what this gives. The options are those of `expose`; without any of them it is what its class
 * is exposed with, or would be. An object literal is a class of its own.
 */
export function wrap(object: object, options: ExposeOptions = {}): Wrapped {
  const lists = listed(options);
  if ((typeof object !== 'object' && typeof object !== 'function') || object === null) throw invalid('wrap takes an object');
  if (object instanceof Wrapped) throw invalid('it is wrapped already');
  const known = Object.keys(options).length === 0 ? exposedClass(object) : undefined;
  return (known ?? wrapClass(object, lists)).wrap(object);
}

/** Classes that `wrap` has made: an object that is wrapped again in the same way should be the same one in Lua. */
const wrapClasses = new WeakMap<object, [key: readonly unknown[], cls: ObjectClass][]>();
/** Of one prototype. */
const MOST_WRAP_CLASSES = 64;

function wrapClass(object: object, options: Listed): ObjectClass {
  const prototype = Object.getPrototypeOf(object) as object | null;
  // Who has no class is one.
  const owner = typeof object === 'function' || prototype === null || prototype === Object.prototype ? object : prototype;
  const key = [...lists.flatMap((list) => [options[list]?.length, ...(options[list] ?? [])]), options.name, ...options.metamethods.flat()];
  const known = wrapClasses.get(owner) ?? [];
  const found = known.find(([other]) => other.length === key.length && other.every((part, i) => part === key[i]));
  if (found) return found[1];
  const cls = classOf(owner, object, owner === object ? 'object' : nameOf((owner as { constructor?: unknown }).constructor), options);
  if (known.length >= MOST_WRAP_CLASSES) known.shift();
  known.push([key, cls]);
  wrapClasses.set(owner, known);
  return cls;
}

/** A class may have anything as its name. */
function nameOf(cls: unknown): string {
  const name: unknown = typeof cls === 'function' ? cls.name : '';
  return typeof name === 'string' && name !== '' && isWellFormed(name) ? name : 'object';
}

function exposedClass(object: object): ObjectClass | undefined {
  if (!exposes) return undefined;
  for (let prototype = Object.getPrototypeOf(object) as object | null; prototype !== null; prototype = Object.getPrototypeOf(prototype) as object | null) {
    const cls = exposed.get(prototype);
    if (cls) return cls;
  }
  return undefined;
}

// ---- iterators

type Step = { done?: boolean; value: unknown };
type AnyIterator = { next(): Step | PromiseLike<Step>; return?(): unknown };

/** Iterators that have ended, or were ended, and need not be told so. */
const ended = new WeakSet<object>();

function itemOf(iterator: object, { done, value }: Step): unknown {
  if (done) {
    ended.add(iterator);
    return undefined;
  }
  ended.delete(iterator);
  return isThenable(value) ? Promise.resolve(value).then(checkItem) : checkItem(value);
}

function checkItem(item: unknown): unknown {
  const first = item instanceof MultipleResults ? item.values[0] : item;
  if (first !== undefined && first !== null) return item;
  throw conversion(`an iterator of the host gave ${first === null ? 'null' : 'undefined'}, which would end the loop`);
}

function next(iterator: AnyIterator): unknown {
  const failed = (error: unknown): never => {
    ended.add(iterator);
    throw error;
  };
  let step: Step | PromiseLike<Step>;
  try {
    step = iterator.next();
  } catch (error) {
    return failed(error);
  }
  if (!isThenable(step)) return itemOf(iterator, step);
  return Promise.resolve(step).then((step) => itemOf(iterator, step), failed);
}

/** The loop is left. */
function end(iterator: AnyIterator): unknown {
  if (ended.has(iterator)) return undefined;
  ended.add(iterator);
  const result = iterator.return?.();
  return isThenable(result) ? Promise.resolve(result).then(() => undefined) : undefined;
}

const iterators = new ObjectClass('iterator', [
  [Kind.Event, '__call', next as HostFunction],
  [Kind.Event, '__close', end as HostFunction],
]);

const isIterator = (object: { next?: unknown; [Symbol.iterator]?: unknown; [Symbol.asyncIterator]?: unknown }): boolean =>
  (typeof object[Symbol.iterator] === 'function' || typeof object[Symbol.asyncIterator] === 'function') && typeof object.next === 'function';

/** What stands for an object that Lua holds as itself; undefined for anything else. */
export function wrappedOf(object: object): Wrapped | undefined {
  if (object instanceof Wrapped) return object;
  if (Array.isArray(object) || object instanceof Map) return undefined;
  return exposedClass(object)?.wrap(object) ?? (isIterator(object) ? iterators.wrap(object) : undefined);
}
