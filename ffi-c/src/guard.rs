//! The one way from C into Rust.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use luacell::{Error, ErrorKind, Result};

use crate::error::luacell_error;
use crate::pointers::into_raw;
use crate::status::{LUACELL_OK, luacell_status, status_of};

/// Runs what may fail. The status is the error's kind; the error itself goes to `error`, if that is not NULL. A panic
/// is an error as well.
pub(crate) unsafe fn status(error: *mut *mut luacell_error, body: impl FnOnce() -> Result<()>) -> luacell_status {
    match catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(()) => LUACELL_OK,
        Err(failure) => report(error, failure),
    }
}

/// Runs what can't fail; after a panic the answer is "nothing".
pub(crate) fn plain<T>(nothing: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(nothing)
}

#[cold]
unsafe fn report(error: *mut *mut luacell_error, failure: Error) -> luacell_status {
    let status = status_of(failure.kind());
    if !error.is_null() {
        error.write(into_raw(failure));
    }
    status
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(ErrorKind::Internal, format!("luacell panicked, please report it: {}", text.unwrap_or("no message")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointers::from_raw;
    use crate::status::LUACELL_INTERNAL;

    #[test]
    fn a_panic_is_an_internal_error() {
        let mut error = std::ptr::null_mut();
        let code = unsafe { status(&raw mut error, || panic!("on purpose {}", 1)) };
        let error = unsafe { from_raw(error) }.unwrap();
        assert_eq!(code, LUACELL_INTERNAL);
        assert_eq!(error.message(), "luacell panicked, please report it: on purpose 1");
        assert_eq!(unsafe { status(std::ptr::null_mut(), || panic!("nobody listens")) }, LUACELL_INTERNAL);
        assert_eq!(plain(7, || panic!("no status")), 7);
    }
}
