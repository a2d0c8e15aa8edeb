//! The kinds of errors as statuses.
//!
//! Made from core/guest/protocol.toml by `cargo xtask verify-generated --write`.

use super::luacell_status;

/// The source is not valid Lua.
pub const LUACELL_SYNTAX: luacell_status = 1;

/// A Lua error that the script did not catch.
pub const LUACELL_RUNTIME: luacell_status = 2;

/// The script needed more memory than it may have.
pub const LUACELL_MEMORY: luacell_status = 3;

/// The script used up its instructions.
pub const LUACELL_INSTRUCTION_LIMIT: luacell_status = 4;

/// The script ran longer than it may.
pub const LUACELL_TIMEOUT: luacell_status = 5;

/// Somebody called `interrupt`, or cancelled the run.
pub const LUACELL_INTERRUPTED: luacell_status = 6;

/// The script printed more than it may.
pub const LUACELL_OUTPUT_LIMIT: luacell_status = 7;

/// The script's tables hold more than they may.
pub const LUACELL_STORE_LIMIT: luacell_status = 8;

/// The script called host functions more often than it may.
pub const LUACELL_HOST_CALL_LIMIT: luacell_status = 9;

/// A host function failed.
pub const LUACELL_HOST_FUNCTION: luacell_status = 10;

/// A value cannot travel between Lua and the host, or is of another type than asked for.
pub const LUACELL_CONVERSION: luacell_status = 11;

/// The table store failed.
pub const LUACELL_STORE: luacell_status = 12;

/// Somebody else changed the same tables at the same time.
pub const LUACELL_CONFLICT: luacell_status = 13;

/// The guest crashed; the sandbox continues with a fresh one and its kept tables.
pub const LUACELL_TRAP: luacell_status = 14;

/// The sandbox is in use by another caller at this moment.
pub const LUACELL_BUSY: luacell_status = 15;

/// The sandbox was closed, or what the value belonged to is gone.
pub const LUACELL_CLOSED: luacell_status = 16;

/// The caller passed something that makes no sense.
pub const LUACELL_INVALID_ARGUMENT: luacell_status = 17;

/// A fault in luacell itself, or a guest that breaks its contract.
pub const LUACELL_INTERNAL: luacell_status = 18;
