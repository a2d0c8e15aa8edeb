//! Status codes: the numbers of the core's error kinds.

#![allow(clippy::manual_c_str_literals, reason = "one macro makes text and name")]

use std::ffi::{CStr, c_char};

use luacell::ErrorKind;

/// What a call gave: LUACELL_OK, or the kind of the error. The numbers never change; later versions may add some.
pub type luacell_status = i32;

/// It worked.
pub const LUACELL_OK: luacell_status = 0;
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
/// Somebody interrupted the run.
pub const LUACELL_INTERRUPTED: luacell_status = 6;
/// The script printed more than it may.
pub const LUACELL_OUTPUT_LIMIT: luacell_status = 7;
/// The script's tables hold more than they may.
pub const LUACELL_STORE_LIMIT: luacell_status = 8;
/// The script called host functions more often than it may.
pub const LUACELL_HOST_CALL_LIMIT: luacell_status = 9;
/// A host function failed.
pub const LUACELL_HOST_FUNCTION: luacell_status = 10;
/// A value can't travel between Lua and the host, or is of another type than asked for.
pub const LUACELL_CONVERSION: luacell_status = 11;
/// The table store failed.
pub const LUACELL_STORE: luacell_status = 12;
/// Somebody else changed the same tables at the same time.
pub const LUACELL_CONFLICT: luacell_status = 13;
/// The guest crashed; the sandbox continues with a fresh one and its kept tables.
pub const LUACELL_TRAP: luacell_status = 14;
/// The sandbox is in use by another thread at this moment.
pub const LUACELL_BUSY: luacell_status = 15;
/// The sandbox was closed, or what the value belonged to is gone.
pub const LUACELL_CLOSED: luacell_status = 16;
/// The caller passed something that makes no sense, such as NULL.
pub const LUACELL_INVALID_ARGUMENT: luacell_status = 17;
/// A fault in luacell itself.
pub const LUACELL_INTERNAL: luacell_status = 18;

/// The status of an error of this kind.
pub(crate) const fn status_of(kind: ErrorKind) -> luacell_status {
    kind.number() as luacell_status
}

/// Names, and a check at compile time that every kind of the core is here under its number.
macro_rules! names {
    ($($status:ident $kind:ident)+) => {
        $(const _: () = assert!($status == status_of(ErrorKind::$kind));)+
        const _: () = assert!(ErrorKind::ALL.len() == [$($status),+].len());

        fn name(status: luacell_status) -> Option<&'static CStr> {
            let name = match status {
                LUACELL_OK => "Ok\0",
                $($status => concat!(stringify!($kind), "\0"),)+
                _ => return None,
            };
            CStr::from_bytes_with_nul(name.as_bytes()).ok()
        }
    };
}

names! {
    LUACELL_SYNTAX Syntax
    LUACELL_RUNTIME Runtime
    LUACELL_MEMORY Memory
    LUACELL_INSTRUCTION_LIMIT InstructionLimit
    LUACELL_TIMEOUT Timeout
    LUACELL_INTERRUPTED Interrupted
    LUACELL_OUTPUT_LIMIT OutputLimit
    LUACELL_STORE_LIMIT StoreLimit
    LUACELL_HOST_CALL_LIMIT HostCallLimit
    LUACELL_HOST_FUNCTION HostFunction
    LUACELL_CONVERSION Conversion
    LUACELL_STORE Store
    LUACELL_CONFLICT Conflict
    LUACELL_TRAP Trap
    LUACELL_BUSY Busy
    LUACELL_CLOSED Closed
    LUACELL_INVALID_ARGUMENT InvalidArgument
    LUACELL_INTERNAL Internal
}

/// The name of a status, such as "InstructionLimit", the same in every language; "Ok" for LUACELL_OK, NULL for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_status_name(status: luacell_status) -> *const c_char {
    name(status).map_or(std::ptr::null(), CStr::as_ptr)
}

/// The version of the library that runs, such as "0.1.0"; LUACELL_VERSION is that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn luacell_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
