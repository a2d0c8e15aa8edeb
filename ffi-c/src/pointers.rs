//! What crosses the border: pointers that callers lend, and things that they get.
//!
//! The functions here are unsafe for one reason: a pointer that is not NULL has to be what the header says it is.

use std::ffi::{c_char, c_void};

use luacell::{Error, ErrorKind, Result};

use crate::error::luacell_error;
use crate::status::{LUACELL_OK, luacell_status};

/// A C type that nobody sees into, and the Rust type that is behind it.
pub(crate) trait Opaque {
    type Behind;
}

/// Bytes that belong to somebody else, often text in UTF-8; not terminated by a zero.
#[repr(C)]
pub struct luacell_bytes {
    /// The first byte. NULL when there is nothing, which some functions tell from empty text.
    pub data: *const c_char,
    /// How many there are.
    pub len: usize,
}

impl luacell_bytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        luacell_bytes { data: bytes.as_ptr().cast(), len: bytes.len() }
    }
}

impl Default for luacell_bytes {
    fn default() -> Self {
        luacell_bytes { data: std::ptr::null(), len: 0 }
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

fn null(name: &str) -> Error {
    invalid(format!("{name} is NULL"))
}

/// What is behind a pointer that the caller lends.
pub(crate) unsafe fn borrow<'a, H: Opaque>(pointer: *const H, name: &str) -> Result<&'a H::Behind> {
    pointer.cast::<H::Behind>().as_ref().ok_or_else(|| null(name))
}

/// The same, to be changed.
pub(crate) unsafe fn borrow_mut<'a, H: Opaque>(pointer: *mut H, name: &str) -> Result<&'a mut H::Behind> {
    pointer.cast::<H::Behind>().as_mut().ok_or_else(|| null(name))
}

/// Bytes that the caller lends; NULL is as good as anything for no bytes.
pub(crate) unsafe fn bytes<'a>(data: *const c_char, len: usize, name: &str) -> Result<&'a [u8]> {
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(null(name)),
        _ if len > isize::MAX as usize => Err(invalid(format!("{name} can't be {len} bytes long"))),
        _ => Ok(std::slice::from_raw_parts(data.cast(), len)),
    }
}

pub(crate) unsafe fn text<'a>(data: *const c_char, len: usize, name: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes(data, len, name)?).map_err(|e| invalid(format!("{name} is not UTF-8: {e}")))
}

/// Where a result is to be written. Asked for before anything is done, so that nothing is done when it is missing.
pub(crate) struct Place<T>(*mut T);

impl<T> Place<T> {
    pub(crate) unsafe fn new(pointer: *mut T, name: &str) -> Result<Self> {
        if pointer.is_null() { Err(null(name)) } else { Ok(Place(pointer)) }
    }

    pub(crate) fn put(self, value: T) {
        // SAFETY: `new` is unsafe for this reason.
        unsafe { self.0.write(value) }
    }
}

impl<H: Opaque> Place<*mut H> {
    /// Gives the caller something of its own.
    pub(crate) fn give(self, value: H::Behind) {
        self.put(into_raw(value));
    }
}

/// Something that belongs to the caller from now on.
pub(crate) fn into_raw<H: Opaque>(value: H::Behind) -> *mut H {
    Box::into_raw(Box::new(value)).cast()
}

/// A view of something that lives as long as what it is in.
pub(crate) fn view<H: Opaque>(value: &H::Behind) -> *const H {
    std::ptr::from_ref(value).cast()
}

/// Takes back what `into_raw` gave.
pub(crate) unsafe fn from_raw<H: Opaque>(pointer: *mut H) -> Option<Box<H::Behind>> {
    (!pointer.is_null()).then(|| Box::from_raw(pointer.cast()))
}

/// A pointer of the caller's for its callbacks, and how to end it.
pub(crate) struct Userdata {
    pointer: *mut c_void,
    finalizer: luacell_finalizer,
}

/// Called once, when `userdata` is not needed any more, on whichever thread that is; also when the call that was given
/// it fails. NULL when there is nothing to do.
pub type luacell_finalizer = Option<unsafe extern "C" fn(userdata: *mut c_void)>;

// SAFETY: the header demands that callbacks and finalizers can be called from any thread.
unsafe impl Send for Userdata {}
unsafe impl Sync for Userdata {}

impl Userdata {
    pub(crate) fn new(pointer: *mut c_void, finalizer: luacell_finalizer) -> Self {
        Userdata { pointer, finalizer }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for Userdata {
    fn drop(&mut self) {
        if let Some(finalizer) = self.finalizer {
            // SAFETY: the caller gave both for this.
            unsafe { finalizer(self.pointer) }
        }
    }
}

/// What a callback of the caller answered: its error, when it failed.
pub(crate) fn callback_result(what: &str, call: impl FnOnce(*mut *mut luacell_error) -> luacell_status) -> Result<()> {
    let mut error = std::ptr::null_mut();
    let status = call(&raw mut error);
    // SAFETY: callbacks put errors there that they own, or leave it alone.
    let error = unsafe { from_raw(error) };
    match (status, error) {
        (LUACELL_OK, _) => Ok(()),
        (_, Some(error)) => Err(*error),
        (status, None) => {
            let known = u16::try_from(status).ok().and_then(ErrorKind::from_number);
            let message = match known {
                Some(kind) => format!("{what} failed with {kind}, without an error"),
                None => format!("{what} failed with the status {status}, without an error"),
            };
            Err(Error::host(message))
        }
    }
}
