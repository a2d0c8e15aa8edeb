/** Kinds of failure with their numbers. */
export declare const ErrorKinds: {
    /** The source is not valid Lua. */
    readonly Syntax: 1;
    /** A Lua error that the script did not catch. */
    readonly Runtime: 2;
    /** The script needed more memory than it may have. */
    readonly Memory: 3;
    /** The script used up its instructions. */
    readonly InstructionLimit: 4;
    /** The script ran longer than it may. */
    readonly Timeout: 5;
    /** Somebody called `interrupt`, or cancelled the run. */
    readonly Interrupted: 6;
    /** The script printed more than it may. */
    readonly OutputLimit: 7;
    /** The script's tables hold more than they may. */
    readonly StoreLimit: 8;
    /** The script called host functions more often than it may. */
    readonly HostCallLimit: 9;
    /** A host function failed. */
    readonly HostFunction: 10;
    /** A value cannot travel between Lua and the host, or is of another type than asked for. */
    readonly Conversion: 11;
    /** The table store failed. */
    readonly Store: 12;
    /** Somebody else changed the same tables at the same time. */
    readonly Conflict: 13;
    /** The guest crashed; the sandbox continues with a fresh one and its kept tables. */
    readonly Trap: 14;
    /** The sandbox is in use by another caller at this moment. */
    readonly Busy: 15;
    /** The sandbox was closed, or what the value belonged to is gone. */
    readonly Closed: 16;
    /** The caller passed something that makes no sense. */
    readonly InvalidArgument: 17;
    /** A fault in luacell itself, or a guest that breaks its contract. */
    readonly Internal: 18;
};
/** What scripts read when they reach a limit. */
export declare const limitMessages: {
    readonly InstructionLimit: 'instruction limit reached';
    readonly Timeout: 'time limit reached';
    readonly Interrupted: 'interrupted';
    readonly OutputLimit: 'output limit reached';
    readonly StoreLimit: 'store limit reached';
    readonly HostCallLimit: 'host call limit reached';
};
/** How an encoded value begins: docs/MEMORY_PROTOCOL.md. */
export declare const Tag: {
    readonly Nil: 0;
    readonly Boolean: 1;
    readonly Integer: 2;
    readonly Float: 3;
    readonly String: 4;
    /** Its bytecode. */
    readonly Function: 5;
    readonly Builtin: 6;
    /** A stored table. */
    readonly External: 7;
    /** With its content. */
    readonly Table: 8;
    /** A table that came earlier in the message. */
    readonly Backref: 9;
    /** A function that stays in the guest. */
    readonly Handle: 10;
    /** A function with upvalues, described by a table. */
    readonly StoredFunction: 11;
    /** One of its upvalues, described by a table: a cell. */
    readonly StoredUpvalue: 12;
    readonly Bigint: 13;
    /** A function of the host that has no name. */
    readonly HostFunction: 14;
    /** An object of the host, and the number of its class. */
    readonly HostObject: 15;
    /** Nothing, in a place where nil would be no value. */
    readonly Null: 16;
    /** A table with its content that is a list, empty or not. */
    readonly List: 17;
    /** A table with its content that is no list, whatever keys it has. */
    readonly Map: 18;
};
/** What a request over the channel asks for, its first byte: docs/HOST_FUNCTION_IMPORTS.md. */
export declare const Operation: {
    readonly Fetch: 0;
    readonly Call: 1;
    readonly Clock: 2;
    readonly Seed: 3;
    readonly Print: 4;
    readonly Module: 5;
    readonly Limits: 6;
    readonly Entries: 7;
    readonly StoreFailure: 8;
    /** A call that may be answered later. */
    readonly Request: 9;
    /** Nobody waits for that answer any more. */
    readonly Drop: 10;
    /** Lua has let go of a function or an object of the host. */
    readonly Release: 11;
    /** What objects like this one offer. */
    readonly Class: 12;
};
/** How the answer of a host function begins. */
export declare const Status: {
    readonly Results: 0;
    readonly Error: 1;
    readonly Limit: 2;
    /** It has to be waited for, with all of the guest on the stack. */
    readonly Pending: 3;
    /** It comes later: the guest returns meanwhile. */
    readonly Waiting: 4;
};
/** How the answer to a search for a module begins. */
export declare const Search: {
    readonly Found: 0;
    readonly Missing: 1;
    readonly Failed: 2;
};
/** How a portion of a table's entries begins. */
export declare const Portion: {
    readonly More: 0;
    readonly Last: 1;
    /** All keys and no values: the guest makes it for itself. */
    readonly Whole: 2;
};
/** Which clock is asked for. */
export declare const Clock: {
    readonly Wall: 0;
    /** Of this run. */
    readonly Processor: 1;
};
/** What the imported functions answer instead of a length. Below -1, -(n + 1) says that n bytes are needed. */
export declare const Code: {
    /** No such table, key or operation, or a pointer that points nowhere. */
    readonly Absent: -1;
    /** The store failed: for a guest of revision 2. */
    readonly StoreFailed: -2147483648;
    /** Of a run: it waits for the host. */
    readonly RunWaits: -2147483648;
};
/** The ids of tables that are always there. */
export declare const TableId: {
    /** No table: requests to the host. */
    readonly Channel: 0;
    /** `_home`, unless another table is attached. */
    readonly Home: 1;
    /** `_io` */
    readonly Io: 2;
    /** The first id for other tables. */
    readonly FirstFree: 3;
    /** The library's own: durable runs that wait, by name. */
    readonly Runs: 4294967294;
    /** The library's own table. */
    readonly Own: 4294967295;
};
/** The revision of the contract that guest and hosts speak. */
export declare const PROTOCOL_REVISION = 4;
/** Room that is there without asking: in the I/O buffer, and for a value or a key of a host of revision 1. */
export declare const BUFFER_SIZE = 65536;
/** In place of the number of a host function: to let some seconds pass, its argument. */
export declare const SLEEP = 4294967295;
/** Numbers of host functions from this one on are those of values: functions without a name, and objects. */
export declare const FIRST_HOST_VALUE = 2147483648;
/** So many functions without a name and objects of the host Lua may hold. */
export declare const MAX_HOST_VALUES = 100000;
/** In place of a value's length, in a portion: the value is left out. */
export declare const NO_VALUE = 4294967295;
/** In place of the ticks used in a run: one is taken back. */
export declare const LIMITS_UNDO = -1;
/** The guest takes at most so many bytes beyond twice its memory limit. */
export declare const TAKEN_BEYOND_TWICE_THE_LIMIT = 4194304;
/** So many bytes a new guest has room for. */
export declare const NEW_GUEST_MEMORY = 3145728;
/** An I/O buffer that grew beyond this is given back after the run, or beyond a small part of what Lua may have. */
export declare const KEPT_BUFFER = 1048576;
/** How large a portion of entries is at most, unless its first one is larger. */
export declare const PORTION_SIZE = 65536;
/** A larger entry comes without its value, which is read by itself. */
export declare const LARGEST_ENTRY = 4096;
/** How many instructions a guest may run before it asks again: often enough for a deadline to hold within a fraction of a millisecond, seldom enough to cost nothing. */
export declare const INSTRUCTION_GRANT = 100000;
/** How long the guest may take to take a run back, beyond the run's own time. */
export declare const UNDO_MILLISECONDS = 25;
/** Bytes that Lua may have. */
export declare const DEFAULT_MEMORY_LIMIT = 268435456;
/** Bytes that a run may print. */
export declare const DEFAULT_OUTPUT_LIMIT = 16777216;
/** Bytes that a source may have. */
export declare const DEFAULT_SOURCE_LIMIT = 16777216;
/** Bytes of keys and values in kept tables. */
export declare const DEFAULT_STORE_BYTES = 1073741824;
/** Entries in kept tables. */
export declare const DEFAULT_STORE_ENTRIES = 10000000;
/** How long a run may take. */
export declare const DEFAULT_TIMEOUT_MILLISECONDS = 60000;
