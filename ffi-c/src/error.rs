//! Errors as objects.

use std::ffi::{c_char, c_void};
use std::fmt;

use luacell::{Error, ErrorKind};

use crate::guard;
use crate::outcome::{luacell_metrics, write_metrics};
use crate::pointers::{Opaque, Userdata, borrow, bytes, from_raw, into_raw, luacell_bytes, luacell_finalizer, view};
use crate::status::{LUACELL_OK, luacell_status, status_of};
use crate::value::luacell_value;

/// An error with everything that is known about it.
pub struct luacell_error {
    _private: (),
}

impl Opaque for luacell_error {
    type Behind = Error;
}

/// What a host function failed with, and what it wants to find again.
struct Cause {
    message: String,
    userdata: Userdata,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {}

/// For callbacks: an error with this message, as UTF-8. `userdata` is what luacell_error_userdata gives, also of the
/// error with which the run fails when the script does not catch this one; NULL when it is not needed. NULL when there
/// is no memory for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_new(
    message: *const c_char,
    message_len: usize,
    userdata: *mut c_void,
    finalizer: luacell_finalizer,
) -> *mut luacell_error {
    guard::plain(std::ptr::null_mut(), || {
        let userdata = Userdata::new(userdata, finalizer);
        let message = String::from_utf8_lossy(bytes(message, message_len, "message").unwrap_or_default()).into_owned();
        into_raw(Error::host(Cause { message, userdata }))
    })
}

/// An error of this kind with this message, as UTF-8, for what is built on this library. NULL when the status is
/// LUACELL_OK or none, or when there is no memory for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_of(
    status: luacell_status,
    message: *const c_char,
    message_len: usize,
) -> *mut luacell_error {
    guard::plain(std::ptr::null_mut(), || {
        let message = String::from_utf8_lossy(bytes(message, message_len, "message").unwrap_or_default());
        let kind = u16::try_from(status).ok().and_then(ErrorKind::from_number);
        kind.map_or(std::ptr::null_mut(), |kind| into_raw(Error::new(kind, message)))
    })
}

/// For host functions: an error that raises a copy of this value in the script, as error(value) does there. NULL stands
/// for nil.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_raise(value: *const luacell_value) -> *mut luacell_error {
    guard::plain(std::ptr::null_mut(), || into_raw(Error::raise(borrow(value, "value").cloned().unwrap_or_default())))
}

/// A copy, for a callback that passes on an error which belongs to somebody else; to be freed. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_clone(error: *const luacell_error) -> *mut luacell_error {
    guard::plain(std::ptr::null_mut(), || borrow(error, "error").map_or(std::ptr::null_mut(), |e| into_raw(e.clone())))
}

/// Ends an error. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_free(error: *mut luacell_error) {
    guard::plain((), || drop(from_raw(error)));
}

/// What kind of error it is: the same number that the call returned. LUACELL_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_status(error: *const luacell_error) -> luacell_status {
    borrow(error, "error").map_or(LUACELL_OK, |error| status_of(error.kind()))
}

/// A part of the error that lives as long as the error.
unsafe fn part<'a>(error: *const luacell_error, part: impl FnOnce(&'a Error) -> Option<&'a [u8]>) -> luacell_bytes {
    guard::plain(luacell_bytes::default(), || {
        borrow(error, "error").ok().and_then(part).map(luacell_bytes::of).unwrap_or_default()
    })
}

/// The message. Of a Lua error it is what Lua would print, with position, without traceback; a script can put any bytes
/// into it. Belongs to the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_message(error: *const luacell_error) -> luacell_bytes {
    part(error, |error| Some(error.message_bytes()))
}

/// The chunk in which a Lua error happened, as Lua shows it; `data` is NULL if that is not known. Belongs to the
/// error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_chunk(error: *const luacell_error) -> luacell_bytes {
    part(error, |error| error.chunk().map(str::as_bytes))
}

/// The line in the chunk, from 1; 0 if that is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_line(error: *const luacell_error) -> u32 {
    borrow(error, "error").ok().and_then(Error::line).unwrap_or(0)
}

/// Lua's traceback, several lines; `data` is NULL if there is none. Belongs to the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_traceback(error: *const luacell_error) -> luacell_bytes {
    part(error, |error| error.traceback().map(str::as_bytes))
}

/// What the script printed before it failed. Belongs to the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_output(error: *const luacell_error) -> luacell_bytes {
    part(error, |error| Some(error.output().as_bytes()))
}

/// The Lua error value if it was not a string, as after error({code = 7}); otherwise nil. Belongs to the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_value(error: *const luacell_error) -> *const luacell_value {
    borrow(error, "error").map_or(std::ptr::null(), |error| view(error.value()))
}

/// What the script used before it failed; see luacell_outcome_metrics. `failure` takes the error of this call, which
/// may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_metrics(
    error: *const luacell_error,
    metrics: *mut luacell_metrics,
    failure: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(failure, || write_metrics(borrow(error, "error")?.metrics(), metrics))
}

/// The `userdata` of luacell_error_new, when this is such an error or a run failed because of one; otherwise NULL. It
/// is valid as long as the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_error_userdata(error: *const luacell_error) -> *mut c_void {
    guard::plain(std::ptr::null_mut(), || {
        let mut next = borrow(error, "error").ok().and_then(std::error::Error::source);
        while let Some(source) = next {
            if let Some(cause) = source.downcast_ref::<Cause>() {
                return cause.userdata.pointer();
            }
            next = source.source();
        }
        std::ptr::null_mut()
    })
}
