//! Numbers that guest and hosts agree on.
//!
//! Made from core/guest/protocol.toml by `cargo xtask verify-generated --write`.

#![allow(dead_code, unused_macros, reason = "each host needs some")]

/// Gives another macro all kinds of failure, with their numbers and what they mean.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_error_kind {
    ($then:ident) => {
        $then! {
            /// The source is not valid Lua.
            Syntax = 1,
            /// A Lua error that the script did not catch.
            Runtime = 2,
            /// The script needed more memory than it may have.
            Memory = 3,
            /// The script used up its instructions.
            InstructionLimit = 4,
            /// The script ran longer than it may.
            Timeout = 5,
            /// Somebody called `interrupt`, or cancelled the run.
            Interrupted = 6,
            /// The script printed more than it may.
            OutputLimit = 7,
            /// The script's tables hold more than they may.
            StoreLimit = 8,
            /// The script called host functions more often than it may.
            HostCallLimit = 9,
            /// A host function failed.
            HostFunction = 10,
            /// A value cannot travel between Lua and the host, or is of another type than asked for.
            Conversion = 11,
            /// The table store failed.
            Store = 12,
            /// Somebody else changed the same tables at the same time.
            Conflict = 13,
            /// The guest crashed; the sandbox continues with a fresh one and its kept tables.
            Trap = 14,
            /// The sandbox is in use by another caller at this moment.
            Busy = 15,
            /// The sandbox was closed, or what the value belonged to is gone.
            Closed = 16,
            /// The caller passed something that makes no sense.
            InvalidArgument = 17,
            /// A fault in luacell itself, or a guest that breaks its contract.
            Internal = 18,
        }
    };
}

/// What scripts read when they reach a limit, by the number of its kind.
pub(crate) const LIMIT_MESSAGES: [(u16, &str); 6] = [
    (4, "instruction limit reached"),
    (5, "time limit reached"),
    (6, "interrupted"),
    (7, "output limit reached"),
    (8, "store limit reached"),
    (9, "host call limit reached"),
];

/// How an encoded value begins: docs/MEMORY_PROTOCOL.md.
pub(crate) mod tag {
    pub(crate) const NIL: u8 = 0x00;
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const FLOAT: u8 = 0x03;
    pub(crate) const STRING: u8 = 0x04;
    /// Its bytecode.
    pub(crate) const FUNCTION: u8 = 0x05;
    pub(crate) const BUILTIN: u8 = 0x06;
    /// A stored table.
    pub(crate) const EXTERNAL: u8 = 0x07;
    /// With its content.
    pub(crate) const TABLE: u8 = 0x08;
    /// A table that came earlier in the message.
    pub(crate) const BACKREF: u8 = 0x09;
    /// A function that stays in the guest.
    pub(crate) const HANDLE: u8 = 0x0A;
    /// A function with upvalues, described by a table.
    pub(crate) const STORED_FUNCTION: u8 = 0x0B;
    /// One of its upvalues, described by a table: a cell.
    pub(crate) const STORED_UPVALUE: u8 = 0x0C;
    pub(crate) const BIGINT: u8 = 0x0D;
    /// A function of the host that has no name.
    pub(crate) const HOST_FUNCTION: u8 = 0x0E;
    /// An object of the host, and the number of its class.
    pub(crate) const HOST_OBJECT: u8 = 0x0F;
    /// Nothing, in a place where nil would be no value.
    pub(crate) const NULL: u8 = 0x10;
    /// A table with its content that is a list, empty or not.
    pub(crate) const LIST: u8 = 0x11;
    /// A table with its content that is no list, whatever keys it has.
    pub(crate) const MAP: u8 = 0x12;
}

/// What a request over the channel asks for, its first byte: docs/HOST_FUNCTION_IMPORTS.md.
pub(crate) mod operation {
    pub(crate) const FETCH: u8 = 0x00;
    pub(crate) const CALL: u8 = 0x01;
    pub(crate) const CLOCK: u8 = 0x02;
    pub(crate) const SEED: u8 = 0x03;
    pub(crate) const PRINT: u8 = 0x04;
    pub(crate) const MODULE: u8 = 0x05;
    pub(crate) const LIMITS: u8 = 0x06;
    pub(crate) const ENTRIES: u8 = 0x07;
    pub(crate) const STORE_FAILURE: u8 = 0x08;
    /// A call that may be answered later.
    pub(crate) const REQUEST: u8 = 0x09;
    /// Nobody waits for that answer any more.
    pub(crate) const DROP: u8 = 0x0A;
    /// Lua has let go of a function or an object of the host.
    pub(crate) const RELEASE: u8 = 0x0B;
    /// What objects like this one offer.
    pub(crate) const CLASS: u8 = 0x0C;
}

/// How the answer of a host function begins.
pub(crate) mod status {
    pub(crate) const RESULTS: u8 = 0x00;
    pub(crate) const ERROR: u8 = 0x01;
    pub(crate) const LIMIT: u8 = 0x02;
    /// It has to be waited for, with all of the guest on the stack.
    pub(crate) const PENDING: u8 = 0x03;
    /// It comes later: the guest returns meanwhile.
    pub(crate) const WAITING: u8 = 0x04;
}

/// How the answer to a search for a module begins.
pub(crate) mod search {
    pub(crate) const FOUND: u32 = 0;
    pub(crate) const MISSING: u32 = 1;
    pub(crate) const FAILED: u32 = 2;
}

/// How a portion of a table's entries begins.
pub(crate) mod portion {
    pub(crate) const MORE: u8 = 0x00;
    pub(crate) const LAST: u8 = 0x01;
    /// All keys and no values: the guest makes it for itself.
    pub(crate) const WHOLE: u8 = 0x02;
}

/// Which clock is asked for.
pub(crate) mod clock {
    pub(crate) const WALL: u8 = 0x00;
    /// Of this run.
    pub(crate) const PROCESSOR: u8 = 0x01;
}

/// What the imported functions answer instead of a length. Below -1, -(n + 1) says that n bytes are needed.
pub(crate) mod code {
    /// No such table, key or operation, or a pointer that points nowhere.
    pub(crate) const ABSENT: i32 = -1;
    /// The store failed: for a guest of revision 2.
    pub(crate) const STORE_FAILED: i32 = -2_147_483_648;
    /// Of a run: it waits for the host.
    pub(crate) const RUN_WAITS: i32 = -2_147_483_648;
}

/// The ids of tables that are always there.
pub(crate) mod table_id {
    /// No table: requests to the host.
    pub(crate) const CHANNEL: u32 = 0;
    /// `_home`, unless another table is attached.
    pub(crate) const HOME: u32 = 1;
    /// `_io`
    pub(crate) const IO: u32 = 2;
    /// The first id for other tables.
    pub(crate) const FIRST_FREE: u32 = 3;
    /// The library's own: durable runs that wait, by name.
    pub(crate) const RUNS: u32 = 4_294_967_294;
    /// The library's own table.
    pub(crate) const OWN: u32 = 4_294_967_295;
}

/// The revision of the contract that guest and hosts speak.
pub(crate) const PROTOCOL_REVISION: u32 = 4;

/// Room that is there without asking: in the I/O buffer, and for a value or a key of a host of revision 1.
pub(crate) const BUFFER_SIZE: u32 = 65_536;

/// In place of the number of a host function: to let some seconds pass, its argument.
pub(crate) const SLEEP: u32 = 4_294_967_295;

/// Numbers of host functions from this one on are those of values: functions without a name, and objects.
pub(crate) const FIRST_HOST_VALUE: u32 = 2_147_483_648;

/// So many functions without a name and objects of the host Lua may hold.
pub(crate) const MAX_HOST_VALUES: u32 = 100_000;

/// In place of a value's length, in a portion: the value is left out.
pub(crate) const NO_VALUE: u32 = 4_294_967_295;

/// In place of the ticks used in a run: one is taken back.
pub(crate) const LIMITS_UNDO: i64 = -1;

/// The guest takes at most so many bytes beyond twice its memory limit.
pub(crate) const TAKEN_BEYOND_TWICE_THE_LIMIT: u32 = 4_194_304;

/// So many bytes a new guest has room for.
pub(crate) const NEW_GUEST_MEMORY: u32 = 3_145_728;

/// An I/O buffer that grew beyond this is given back after the run, or beyond a small part of what Lua may have.
pub(crate) const KEPT_BUFFER: u32 = 1_048_576;

/// How large a portion of entries is at most, unless its first one is larger.
pub(crate) const PORTION_SIZE: u32 = 65_536;

/// A larger entry comes without its value, which is read by itself.
pub(crate) const LARGEST_ENTRY: u32 = 4_096;

/// How many instructions a guest may run before it asks again: often enough for a deadline to hold within a fraction of a millisecond, seldom enough to cost nothing.
pub(crate) const INSTRUCTION_GRANT: i32 = 100_000;

/// How long the guest may take to take a run back, beyond the run's own time.
pub(crate) const UNDO_MILLISECONDS: u32 = 25;

/// Bytes that Lua may have.
pub(crate) const DEFAULT_MEMORY_LIMIT: u32 = 268_435_456;

/// Bytes that a run may print.
pub(crate) const DEFAULT_OUTPUT_LIMIT: u32 = 16_777_216;

/// Bytes that a source may have.
pub(crate) const DEFAULT_SOURCE_LIMIT: u32 = 16_777_216;

/// Bytes of keys and values in kept tables.
pub(crate) const DEFAULT_STORE_BYTES: u32 = 1_073_741_824;

/// Entries in kept tables.
pub(crate) const DEFAULT_STORE_ENTRIES: u32 = 10_000_000;

/// How long a run may take.
pub(crate) const DEFAULT_TIMEOUT_MILLISECONDS: u32 = 60_000;
