import { type HostFunction } from './functions.js';
/** What a member is; node/src/classes.rs has the same numbers. */
export declare const Kind: {
    readonly Method: 0;
    readonly Reader: 1;
    readonly Writer: 2;
    readonly Event: 3;
};
type Kind = (typeof Kind)[keyof typeof Kind];
/** As in core/src/api/class.rs. */
declare const metamethodNames: readonly ['__add', '__sub', '__mul', '__div', '__idiv', '__mod', '__pow', '__unm', '__band', '__bor', '__bxor', '__bnot', '__shl', '__shr', '__concat', '__len', '__eq', '__lt', '__le', '__call', '__index', '__newindex', '__tostring', '__iter', '__pairs', '__close'];
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
    metamethods?: {
        readonly [name in MetamethodName]?: HostFunction;
    };
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
export declare class Wrapped {
    /** Nothing else has this type. */
    protected readonly type: never;
}
/** What scripts may do with some objects. */
export declare class ObjectClass {
    #private;
    readonly name: string;
    /** No other one has it. */
    readonly number: number;
    readonly members: readonly Member[];
    constructor(name: string, members: Iterable<[kind: Kind, name: string, f: HostFunction]>);
    wrap(object: object): Wrapped;
    /** `passed`: the objects among the arguments. Another class may offer less of the same object. */
    checkSelf(kind: Kind, name: string, passed: readonly (Wrapped | undefined)[]): void;
}
/** Whether this is a member of a class, which has to be given an object of the class. */
export declare const isMember: (f: unknown) => boolean;
/** Refuses to call a member with other objects. */
export declare function checkSelf(f: object, passed: readonly (Wrapped | undefined)[]): void;
/**
 * Whether this is a name under which JavaScript looks for a function by itself: to await, convert, print or compare an object. A script's function
 * there would run at any time, outside of every run.
 */
export declare const isCalled: (key: unknown) => boolean;
/**
 * Says what scripts may do with the objects of a class, and returns it: they are passed as themselves, and come back as themselves.
 *
 * Without lists that is what the class itself defines: its methods, and its accessors (written if they have a setter). What is inherited, names that begin with an
 * underscore, and names that JavaScript itself calls don't exist in Lua. With `methods`, `fields` (read) or `writable` (read and written) it is what they
 * list, inherited members too.
 *
 * Objects of subclasses offer the same. Lua holds the object until it has collected it.
 */
export declare function expose<T extends abstract new (...args: any[]) => object>(cls: T, options?: ExposeOptions): T;
/**
 * The object as one that scripts can do this with, and nothing else: pass what this gives. The options are those of `expose`; without any of them it is what its class
 * is exposed with, or would be. An object literal is a class of its own.
 */
export declare function wrap(object: object, options?: ExposeOptions): Wrapped;
/** What stands for an object that Lua holds as itself; undefined for anything else. */
export declare function wrappedOf(object: object): Wrapped | undefined;
export {};
