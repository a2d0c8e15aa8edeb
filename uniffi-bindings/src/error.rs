//! Errors: one type with a case for each kind of the core's.

use std::cell::Cell;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::host::{HostFailure, Thrown};
use crate::sandbox::Metrics;
use crate::value::LuaValue;

/// Everything that is known about a failure.
#[derive(Clone, Debug, uniffi::Record)]
pub struct ErrorDetails {
    /// The kind.
    pub kind: ErrorKind,
    /// The message: for a Lua error what Lua would print, with position, without traceback.
    pub message: String,
    /// The message as the script made it, when it is not valid UTF-8.
    pub message_data: Option<Vec<u8>>,
    /// The name of the chunk in which a Lua error happened.
    pub chunk: Option<String>,
    /// The line in it, from 1.
    pub line: Option<i32>,
    /// Lua's traceback, several lines of text.
    pub traceback: Option<String>,
    /// What the script printed before it failed.
    pub output_data: Vec<u8>,
    /// The Lua error value when it was not a string, else nil.
    pub value: LuaValue,
    /// What the script used before it failed.
    pub metrics: Metrics,
    /// What a host function failed with.
    pub failure: Option<Arc<dyn HostFailure>>,
    /// Within a host function: what [`HostError::Passed`](crate::HostError::Passed) passes on.
    pub passing: Option<Arc<PassingError>>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:tt])+ $name:ident = $number:literal,)+) => {
        /// What kind of failure it is; the same names in every language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, uniffi::Enum)]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ $name,)+
        }

        /// A failure, by its kind.
        #[derive(Clone, Debug, uniffi::Error)]
        pub enum LuaError {
            $($(#[doc = $doc])+ $name {
                /// Everything that is known.
                details: ErrorDetails,
            },)+
        }

        impl LuaError {
            fn new(details: ErrorDetails) -> Self {
                match details.kind {
                    $(ErrorKind::$name => LuaError::$name { details },)+
                }
            }

            /// Everything that is known.
            #[must_use]
            pub fn details(&self) -> &ErrorDetails {
                match self {
                    $(LuaError::$name { details } => details,)+
                }
            }
        }

        impl From<luacell::ErrorKind> for ErrorKind {
            fn from(kind: luacell::ErrorKind) -> Self {
                match kind {
                    $(luacell::ErrorKind::$name => ErrorKind::$name,)+
                    // A kind that the core has got and this list has not: the test below fails then.
                    _ => ErrorKind::Internal,
                }
            }
        }
    };
}

luacell::for_each_error_kind!(kinds);

impl std::fmt::Display for LuaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.details().message)
    }
}

/// The error of a run that a host function started, to be passed on as it was.
#[derive(Debug, uniffi::Object)]
pub struct PassingError(pub(crate) luacell::Error);

thread_local! {
    /// How many host functions are running on this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs a host function: errors of runs that it starts can be passed on.
pub(crate) fn within_host_function<T>(call: impl FnOnce() -> T) -> T {
    /// Counts down also when a panic passes.
    struct Within;
    impl Drop for Within {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _within = Within;
    call()
}

impl From<luacell::Error> for LuaError {
    fn from(error: luacell::Error) -> Self {
        let mut failure = None;
        let mut source = error.source();
        while let Some(behind) = source {
            if let Some(thrown) = behind.downcast_ref::<Thrown>() {
                failure.clone_from(&thrown.failure);
            }
            source = behind.source();
        }
        let bytes = error.message_bytes();
        let nested = DEPTH.get() > 0;
        LuaError::new(ErrorDetails {
            kind: error.kind().into(),
            message: error.message().to_owned(),
            message_data: std::str::from_utf8(bytes).is_err().then(|| bytes.to_vec()),
            chunk: error.chunk().map(str::to_owned),
            line: error.line().and_then(|line| i32::try_from(line).ok()),
            traceback: error.traceback().map(str::to_owned),
            output_data: error.output().as_bytes().to_vec(),
            value: error.value().clone().into(),
            metrics: error.metrics().into(),
            failure,
            passing: nested.then(|| Arc::new(PassingError(error))),
        })
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> luacell::Error {
    luacell::Error::new(luacell::ErrorKind::InvalidArgument, message)
}

/// No panic crosses the border: it becomes an error.
pub(crate) fn guarded<T>(f: impl FnOnce() -> luacell::Result<T>) -> Result<T, LuaError> {
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = format!("luacell panicked: {}", text.unwrap_or("no message"));
        Err(luacell::Error::new(luacell::ErrorKind::Internal, message))
    });
    result.map_err(LuaError::from)
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_core_has_its_case() {
        for kind in luacell::ErrorKind::ALL {
            let error = LuaError::from(luacell::Error::new(*kind, "no"));
            assert_eq!(format!("{:?}", error.details().kind), kind.name());
            assert!(format!("{error:?}").starts_with(kind.name()));
        }
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = guarded(|| -> luacell::Result<()> { panic!("as it should") }).unwrap_err();
        assert_eq!(error.details().kind, ErrorKind::Internal);
    }
}
