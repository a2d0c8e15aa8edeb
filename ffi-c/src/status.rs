//! Status codes: the numbers of the core's error kinds.

#![allow(clippy::manual_c_str_literals, reason = "one macro makes text and name")]

mod kinds;

use std::ffi::{CStr, c_char};

use luacell::ErrorKind;

pub use self::kinds::*;

/// What a call gave: LUACELL_OK, or the kind of the error. The numbers never change; later versions may add some.
pub type luacell_status = i32;

/// It worked.
pub const LUACELL_OK: luacell_status = 0;

/// The status of an error of this kind.
pub(crate) const fn status_of(kind: ErrorKind) -> luacell_status {
    kind.number() as luacell_status
}

macro_rules! names {
    ($($(#[doc = $doc:literal])+ $kind:ident = $number:literal,)+) => {
        fn name(status: luacell_status) -> Option<&'static CStr> {
            let name = match status {
                LUACELL_OK => "Ok\0",
                $($number => concat!(stringify!($kind), "\0"),)+
                _ => return None,
            };
            CStr::from_bytes_with_nul(name.as_bytes()).ok()
        }
    };
}

luacell::for_each_error_kind!(names);

/// The name of a status, such as "InstructionLimit", the same in every language; "Ok" for LUACELL_OK, NULL for a number
/// that is none.
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
