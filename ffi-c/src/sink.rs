//! Where callbacks put bytes.

use std::ffi::c_char;

use luacell::Result;

use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{Opaque, borrow_mut, bytes};
use crate::status::luacell_status;

/// Where a callback puts bytes. Valid until the callback returns.
pub struct luacell_sink {
    _private: (),
}

pub(crate) type Receive<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

impl Opaque for luacell_sink {
    type Behind = Receive<'static>;
}

/// Makes a sink for the time of one call.
pub(crate) fn with_sink<T>(mut receive: Receive<'_>, call: impl FnOnce(*mut luacell_sink) -> T) -> T {
    call((&raw mut receive).cast())
}

/// Puts bytes into a sink, which copies them. What may be put, and how often, is said where the sink comes from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_sink_put(
    sink: *mut luacell_sink,
    data: *const c_char,
    len: usize,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (receive, data) = (borrow_mut(sink, "sink")?, bytes(data, len, "data")?);
        receive(data)
    })
}
