//! What the other language implements: host functions, where printed text goes, where modules come from.

use std::fmt;
use std::sync::Arc;

use luacell::{Error, ErrorKind, StoreError, Value};

use crate::error::{PassingError, within_host_function};
use crate::value::{LuaValue, from_lua, to_lua};

/// A function of the host's that scripts may call.
///
/// It is called on the thread that runs the script, and may use the sandbox it is called from: run code, call functions
/// that it was passed, read and write tables; all of that is part of the script's run.
#[uniffi::export(with_foreign)]
pub trait HostFunction: Send + Sync {
    /// Takes the arguments, gives the results.
    fn invoke(&self, args: Vec<LuaValue>) -> Result<Vec<LuaValue>, HostError>;
}

/// Takes what scripts print.
#[uniffi::export(with_foreign)]
pub trait Printer: Send + Sync {
    /// Gets the text of one `print`, its newline included, on the thread that runs the script. It can't use the
    /// sandbox; an error is ignored.
    fn print(&self, text: Vec<u8>) -> Result<(), HostError>;
}

/// Finds modules for `require`.
#[uniffi::export(with_foreign)]
pub trait ModuleSource: Send + Sync {
    /// The source of the module of that name, text or bytes; nothing when there is none. The name comes from the script
    /// and may be anything.
    fn source(&self, name: String) -> Result<Option<Vec<u8>>, HostError>;
}

/// What a host function failed with: an object of the host's own, which comes back in the error of the run.
#[uniffi::export(with_foreign)]
pub trait HostFailure: Send + Sync {
    /// A few words about it.
    fn describe(&self) -> Result<String, HostError>;
}

/// How what the host implements fails. Anything else that it throws becomes `Thrown`.
#[derive(uniffi::Error)]
pub enum HostError {
    /// With this message. The script sees it as an error, and the run ends with the kind `HostFunction` when the script
    /// does not catch it. Of stores it sees only that they failed.
    Failed {
        /// The message.
        reason: String,
        /// What comes back with the error of the run.
        failure: Option<Arc<dyn HostFailure>>,
    },
    /// With this value, as Lua's `error(value)`.
    Raised {
        /// The value.
        value: LuaValue,
    },
    /// With an error of a run that the host function itself had started: it goes on as it was.
    Passed {
        /// The error.
        error: Arc<PassingError>,
    },
    /// For stores: somebody else has changed what the run read. The run is repeated.
    Conflict {
        /// The message.
        reason: String,
    },
    /// With something that the host's language throws; the library makes this of it. Scripts see nothing of it but the
    /// message that was chosen in a host function.
    Thrown {
        /// The message, if somebody chose it.
        reason: Option<String>,
        /// What the host gets to read.
        description: String,
        /// What comes back with the error of the run.
        failure: Option<Arc<dyn HostFailure>>,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for HostError {
    /// The reason may be a whole stack trace.
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        HostError::Thrown { reason: None, description: error.reason, failure: None }
    }
}

/// The error behind a run's error when the host made it.
pub(crate) struct Thrown {
    reason: String,
    pub(crate) failure: Option<Arc<dyn HostFailure>>,
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl fmt::Debug for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Thrown {}

impl fmt::Debug for dyn HostFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostFailure")
    }
}

impl fmt::Debug for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostError::Failed { reason, .. } | HostError::Conflict { reason } => f.write_str(reason),
            HostError::Thrown { description, .. } => f.write_str(description),
            HostError::Raised { value } => write!(f, "{value:?}"),
            HostError::Passed { error } => f.write_str(error.0.message()),
        }
    }
}

impl std::error::Error for HostError {}

impl HostError {
    pub(crate) fn into_error(self) -> Error {
        match self {
            HostError::Failed { reason, failure } | HostError::Thrown { reason: Some(reason), failure, .. } => {
                Error::host(Thrown { reason, failure })
            }
            HostError::Thrown { reason: None, description, failure } => {
                Error::opaque(Thrown { reason: description, failure })
            }
            HostError::Conflict { reason } => Error::host(reason),
            HostError::Raised { value } => Error::raise(Value::from(value)),
            HostError::Passed { error } => error.0.clone(),
        }
    }

    /// Where nobody meant the message for scripts.
    pub(crate) fn into_opaque_error(self) -> Error {
        match self {
            HostError::Thrown { description, failure, .. } => Error::opaque(Thrown { reason: description, failure }),
            other => other.into_error(),
        }
    }

    pub(crate) fn into_store_error(self) -> StoreError {
        match self {
            HostError::Conflict { reason } => StoreError::conflict(reason),
            HostError::Failed { reason, failure } | HostError::Thrown { description: reason, failure, .. } => {
                StoreError::from(Thrown { reason, failure })
            }
            HostError::Passed { error } if error.0.kind() == ErrorKind::Conflict => {
                StoreError::conflict(error.0.clone())
            }
            other => StoreError::from(other),
        }
    }
}

/// The core's side of a host function.
pub(crate) fn adapter(function: Arc<dyn HostFunction>) -> impl Fn(Vec<Value>) -> luacell::Result<Vec<Value>> {
    move |args| {
        let result = within_host_function(|| function.invoke(from_lua(args)));
        result.map(to_lua).map_err(HostError::into_error)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{LuaError, Sandbox, SandboxConfig, TableStore};

    const TRACE: &str = "java.io.IOException: db password=hunter2\n\tat com.example.Db.open(Db.java:7)";

    type Make = fn() -> HostError;

    /// Fails in every way in which it is asked.
    struct Failing(Make);

    impl HostFunction for Failing {
        fn invoke(&self, _: Vec<LuaValue>) -> Result<Vec<LuaValue>, HostError> {
            Err(self.0())
        }
    }

    impl ModuleSource for Failing {
        fn source(&self, _: String) -> Result<Option<Vec<u8>>, HostError> {
            Err(self.0())
        }
    }

    impl TableStore for Failing {
        fn get(&self, table: i64, _: String) -> Result<Option<Vec<u8>>, HostError> {
            if table == 1 { Err(self.0()) } else { Ok(None) }
        }

        fn set(&self, _: i64, _: String, _: Vec<u8>) -> Result<(), HostError> {
            Ok(())
        }

        fn delete(&self, _: i64, _: String) -> Result<(), HostError> {
            Ok(())
        }

        fn size(&self, _: i64) -> Result<i64, HostError> {
            Ok(0)
        }

        fn keys(&self, _: i64) -> Result<Vec<String>, HostError> {
            Ok(Vec::new())
        }
    }

    struct Described;

    impl HostFailure for Described {
        fn describe(&self) -> Result<String, HostError> {
            Ok(TRACE.to_owned())
        }
    }

    fn thrown(reason: Option<&str>) -> HostError {
        let reason = reason.map(str::to_owned);
        HostError::Thrown { reason, description: TRACE.to_owned(), failure: Some(Arc::new(Described)) }
    }

    fn seen(sandbox: &Sandbox, code: &str) -> String {
        let source = format!("return select(2, pcall(function() {code} end))");
        match sandbox.compute(source, None).unwrap().values.as_slice() {
            [LuaValue::Text { value }] => value.clone(),
            other => format!("{other:?}"),
        }
    }

    fn error(sandbox: &Sandbox, code: &str) -> LuaError {
        sandbox.compute(code.to_owned(), None).unwrap_err()
    }

    #[test]
    fn scripts_see_what_was_chosen_and_hosts_see_all() {
        let kinds: [(Make, Option<&str>); 3] = [
            (|| thrown(None), None),
            (|| thrown(Some("no such article")), Some("no such article")),
            (|| uniffi::UnexpectedUniFFICallbackError::new(TRACE).into(), None),
        ];
        for (make, chosen) in kinds {
            let config = SandboxConfig {
                own_store: Some(Arc::new(Failing(make))),
                module_source: Some(Arc::new(Failing(make))),
                ..SandboxConfig::default()
            };
            let sandbox = Sandbox::new(Some(config), None).unwrap();
            sandbox.register("f".to_owned(), Arc::new(Failing(make)), false).unwrap();
            for code in ["f()", "require 'm'", "return _home.x"] {
                let text = seen(&sandbox, code);
                assert!(!text.contains("hunter2") && !text.contains("java"), "{code}: {text}");
                assert_eq!(text.contains("no such article"), code == "f()" && chosen.is_some(), "{code}: {text}");
                let error = error(&sandbox, code);
                let details = error.details();
                assert!(details.failure.is_some() || details.message.contains("hunter2"), "{code}: {error}");
                assert!(chosen.is_some() || details.message.contains("hunter2"), "{code}: {error}");
            }
        }
    }
}
