// Numbers that guest and hosts agree on.
// Made from core/guest/protocol.toml by `cargo xtask verify-generated --write`.

/** Kinds of failure with their numbers. */
export const ErrorKinds = {
  /** The source is not valid Lua. */
  Syntax: 1,
  /** A Lua error that the script did not catch. */
  Runtime: 2,
  /** The script needed more memory than it may have. */
  Memory: 3,
  /** The script used up its instructions. */
  InstructionLimit: 4,
  /** The script ran longer than it may. */
  Timeout: 5,
  /** Somebody called `interrupt`, or cancelled the run. */
  Interrupted: 6,
  /** The script printed more than it may. */
  OutputLimit: 7,
  /** The script's tables hold more than they may. */
  StoreLimit: 8,
  /** The script called host functions more often than it may. */
  HostCallLimit: 9,
  /** A host function failed. */
  HostFunction: 10,
  /** A value cannot travel between Lua and the host, or is of another type than asked for. */
  Conversion: 11,
  /** The table store failed. */
  Store: 12,
  /** Somebody else changed the same tables at the same time. */
  Conflict: 13,
  /** The guest crashed; the sandbox continues with a fresh one and its kept tables. */
  Trap: 14,
  /** The sandbox is in use by another caller at this moment. */
  Busy: 15,
  /** The sandbox was closed, or what the value belonged to is gone. */
  Closed: 16,
  /** The caller passed something that makes no sense. */
  InvalidArgument: 17,
  /** A fault in luacell itself, or a guest that breaks its contract. */
  Internal: 18,
} as const;

/** What scripts read when they reach a limit. */
export const limitMessages = {
  InstructionLimit: 'instruction limit reached',
  Timeout: 'time limit reached',
  Interrupted: 'interrupted',
  OutputLimit: 'output limit reached',
  StoreLimit: 'store limit reached',
  HostCallLimit: 'host call limit reached',
} as const;

/** How an encoded value begins: docs/MEMORY_PROTOCOL.md. */
export const Tag = {
  Nil: 0x00,
  Boolean: 0x01,
  Integer: 0x02,
  Float: 0x03,
  String: 0x04,
  /** Its bytecode. */
  Function: 0x05,
  Builtin: 0x06,
  /** A stored table. */
  External: 0x07,
  /** With its content. */
  Table: 0x08,
  /** A table that came earlier in the message. */
  Backref: 0x09,
  /** A function that stays in the guest. */
  Handle: 0x0a,
  /** A function with upvalues, described by a table. */
  StoredFunction: 0x0b,
  /** One of its upvalues, described by a table: a cell. */
  StoredUpvalue: 0x0c,
  Bigint: 0x0d,
  /** A function of the host that has no name. */
  HostFunction: 0x0e,
  /** An object of the host, and the number of its class. */
  HostObject: 0x0f,
  /** Nothing, in a place where nil would be no value. */
  Null: 0x10,
  /** A table with its content that is a list, empty or not. */
  List: 0x11,
  /** A table with its content that is no list, whatever keys it has. */
  Map: 0x12,
} as const;

/** What a request over the channel asks for, its first byte: docs/HOST_FUNCTION_IMPORTS.md. */
export const Operation = {
  Fetch: 0x00,
  Call: 0x01,
  Clock: 0x02,
  Seed: 0x03,
  Print: 0x04,
  Module: 0x05,
  Limits: 0x06,
  Entries: 0x07,
  StoreFailure: 0x08,
  /** A call that may be answered later. */
  Request: 0x09,
  /** Nobody waits for that answer any more. */
  Drop: 0x0a,
  /** Lua has let go of a function or an object of the host. */
  Release: 0x0b,
  /** What objects like this one offer. */
  Class: 0x0c,
} as const;

/** How the answer of a host function begins. */
export const Status = {
  Results: 0x00,
  Error: 0x01,
  Limit: 0x02,
  /** It has to be waited for, with all of the guest on the stack. */
  Pending: 0x03,
  /** It comes later: the guest returns meanwhile. */
  Waiting: 0x04,
} as const;

/** How the answer to a search for a module begins. */
export const Search = {
  Found: 0,
  Missing: 1,
  Failed: 2,
} as const;

/** How a portion of a table's entries begins. */
export const Portion = {
  More: 0x00,
  Last: 0x01,
  /** All keys and no values: the guest makes it for itself. */
  Whole: 0x02,
} as const;

/** Which clock is asked for. */
export const Clock = {
  Wall: 0x00,
  /** Of this run. */
  Processor: 0x01,
} as const;

/** What the imported functions answer instead of a length. Below -1, -(n + 1) says that n bytes are needed. */
export const Code = {
  /** No such table, key or operation, or a pointer that points nowhere. */
  Absent: -1,
  /** The store failed: for a guest of revision 2. */
  StoreFailed: -2_147_483_648,
  /** Of a run: it waits for the host. */
  RunWaits: -2_147_483_648,
} as const;

/** The ids of tables that are always there. */
export const TableId = {
  /** No table: requests to the host. */
  Channel: 0,
  /** `_home`, unless another table is attached. */
  Home: 1,
  /** `_io` */
  Io: 2,
  /** The first id for other tables. */
  FirstFree: 3,
  /** The library's own: durable runs that wait, by name. */
  Runs: 4_294_967_294,
  /** The library's own table. */
  Own: 4_294_967_295,
} as const;

/** The revision of the contract that guest and hosts speak. */
export const PROTOCOL_REVISION = 4;

/** Room that is there without asking: in the I/O buffer, and for a value or a key of a host of revision 1. */
export const BUFFER_SIZE = 65_536;

/** In place of the number of a host function: to let some seconds pass, its argument. */
export const SLEEP = 4_294_967_295;

/** Numbers of host functions from this one on are those of values: functions without a name, and objects. */
export const FIRST_HOST_VALUE = 2_147_483_648;

/** So many functions without a name and objects of the host Lua may hold. */
export const MAX_HOST_VALUES = 100_000;

/** In place of a value's length, in a portion: the value is left out. */
export const NO_VALUE = 4_294_967_295;

/** In place of the ticks used in a run: one is taken back. */
export const LIMITS_UNDO = -1;

/** The guest takes at most so many bytes beyond twice its memory limit. */
export const TAKEN_BEYOND_TWICE_THE_LIMIT = 4_194_304;

/** So many bytes a new guest has room for. */
export const NEW_GUEST_MEMORY = 3_145_728;

/** An I/O buffer that grew beyond this is given back after the run, or beyond a small part of what Lua may have. */
export const KEPT_BUFFER = 1_048_576;

/** How large a portion of entries is at most, unless its first one is larger. */
export const PORTION_SIZE = 65_536;

/** A larger entry comes without its value, which is read by itself. */
export const LARGEST_ENTRY = 4_096;

/** How many instructions a guest may run before it asks again: often enough for a deadline to hold within a fraction of a millisecond, seldom enough to cost nothing. */
export const INSTRUCTION_GRANT = 100_000;

/** How long the guest may take to take a run back, beyond the run's own time. */
export const UNDO_MILLISECONDS = 25;

/** Bytes that Lua may have. */
export const DEFAULT_MEMORY_LIMIT = 268_435_456;

/** Bytes that a run may print. */
export const DEFAULT_OUTPUT_LIMIT = 16_777_216;

/** Bytes that a source may have. */
export const DEFAULT_SOURCE_LIMIT = 16_777_216;

/** Bytes of keys and values in kept tables. */
export const DEFAULT_STORE_BYTES = 1_073_741_824;

/** Entries in kept tables. */
export const DEFAULT_STORE_ENTRIES = 10_000_000;

/** How long a run may take. */
export const DEFAULT_TIMEOUT_MILLISECONDS = 60_000;
