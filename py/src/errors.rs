//! Errors of luacell as Python exceptions and back.

use std::error::Error as _;
use std::fmt;

use luacell::{Error, ErrorKind};
use pyo3::exceptions::{PyException, PyImportError, PyOSError, PySyntaxError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

use crate::metrics::Metrics;
use crate::to_python;

/// The error behind an exception, so that it can go back through Lua as what it was.
#[pyclass(frozen, name = "_Error", module = "luacell._luacell")]
pub struct Native(Error);

/// A Python exception as the cause of an error.
#[derive(Debug)]
pub struct Raised {
    message: String,
    pub exception: PyErr,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Raised {}

impl Raised {
    /// The exception with its text.
    pub fn new(py: Python<'_>, exception: PyErr) -> Self {
        let text = exception.value(py).str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let name = || exception.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        Raised { message: if text.is_empty() { name() } else { text }, exception }
    }

    /// Whether the text is its author's: not when there is none, or when the system or the interpreter made it, with
    /// names of files in it.
    fn is_for_scripts(&self, py: Python<'_>) -> bool {
        let value = self.exception.value(py);
        let is_systems = value.is_instance_of::<PyOSError>()
            && value.getattr(intern!(py, "errno")).is_ok_and(|number| !number.is_none());
        let is_interpreters = value.is_instance_of::<PyImportError>() || value.is_instance_of::<PySyntaxError>();
        !is_systems && !is_interpreters && value.str().is_ok_and(|text| text.len().is_ok_and(|n| n > 0))
    }
}

/// Stands for a cause that the Python exception has.
#[derive(Debug)]
struct InPython;

impl fmt::Display for InPython {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("see the exception")
    }
}

impl std::error::Error for InPython {}

/// The classes, by the number of their kind; the first is the base of all.
fn classes(py: Python<'_>) -> PyResult<&'static Vec<Py<PyType>>> {
    static CLASSES: PyOnceLock<Vec<Py<PyType>>> = PyOnceLock::new();
    CLASSES.get_or_try_init(py, || {
        let module = py.import("luacell._errors")?;
        let by_kind = module.getattr("BY_KIND")?.cast_into::<PyDict>()?;
        let base = module.getattr("LuaCellError")?.cast_into::<PyType>()?;
        let mut classes = vec![base.clone().unbind()];
        for kind in ErrorKind::ALL {
            let class = by_kind.get_item(kind.name())?.map(|class| class.cast_into::<PyType>()).transpose()?;
            classes.push(class.unwrap_or_else(|| base.clone()).unbind());
        }
        Ok(classes)
    })
}

fn base<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyType>> {
    class(py, 0)
}

fn class<'py>(py: Python<'py>, number: usize) -> PyResult<&'py Bound<'py, PyType>> {
    let classes = classes(py)?;
    let class = classes.get(number).or_else(|| classes.first());
    class.map(|class| class.bind(py)).ok_or_else(|| PyException::new_err("luacell has no exception classes"))
}

/// The error as the exception that it is in Python.
#[cold]
pub fn to_exception(py: Python<'_>, error: Error) -> PyErr {
    build(py, error).unwrap_or_else(|error| error)
}

const TO_TABLE: &str = "can't be passed; copy it with to_table";

fn build(py: Python<'_>, error: Error) -> PyResult<PyErr> {
    let class = class(py, usize::from(error.kind().number()))?;
    let message = to_python::text(py, error.message_bytes())?;
    // The core's name of a method that has another one here.
    let message = match error.message().contains(TO_TABLE) {
        true => message.call_method1("replace", (TO_TABLE, "can't be passed; copy it with to_python"))?,
        false => message,
    };
    let instance = class.call1((message,))?;
    instance.setattr(intern!(py, "chunk"), error.chunk())?;
    instance.setattr(intern!(py, "line"), error.line())?;
    instance.setattr(intern!(py, "traceback"), error.traceback())?;
    instance.setattr(intern!(py, "output"), to_python::text(py, error.output().as_bytes())?)?;
    if !error.value().is_nil() {
        // What Python can't hold, such as a table with tables as keys, must not hide the error itself.
        let value = to_python::value(py, error.value()).unwrap_or_else(|_| py.None().into_bound(py));
        instance.setattr(intern!(py, "value"), value)?;
    }
    instance.setattr(intern!(py, "metrics"), Metrics::from(*error.metrics()))?;
    let exception = PyErr::from_value(instance.clone());
    exception.set_cause(py, cause(py, &error));
    // The collector does not see what is in there, and the exception has its cause already.
    let native = if error.source().is_some() { error.with_source(InPython) } else { error };
    instance.setattr(intern!(py, "_native"), Native(native))?;
    Ok(exception)
}

/// The Python exception at the bottom of an error.
fn cause(py: Python<'_>, error: &Error) -> Option<PyErr> {
    let source = error.source()?;
    if let Some(raised) = source.downcast_ref::<Raised>() {
        return Some(raised.exception.clone_ref(py));
    }
    let inner = source.downcast_ref::<Error>()?;
    // An exception of ours that passed through is kept beside the error that it stands for.
    cause(py, inner).or_else(|| Some(to_exception(py, inner.clone())))
}

/// What a host function's exception is to Lua.
pub fn from_exception(py: Python<'_>, exception: PyErr) -> Error {
    let value = exception.value(py);
    if !base(py).is_ok_and(|base| value.is_instance(base).unwrap_or(false)) {
        let raised = Raised::new(py, exception);
        return if raised.is_for_scripts(py) { Error::host(raised) } else { Error::opaque(raised) };
    }
    if let Ok(native) = value.getattr(intern!(py, "_native"))
        && let Ok(native) = native.cast::<Native>()
    {
        return native.get().0.clone().with_source(Raised::new(py, exception));
    }
    if let Ok(raised) = value.getattr(intern!(py, "_raises"))
        && raised.is_truthy().unwrap_or(false)
    {
        let lua = value.getattr(intern!(py, "value")).and_then(|value| crate::to_lua::one(&value));
        return match lua {
            Ok(lua) => Error::raise(lua).with_source(Raised::new(py, exception)),
            Err(other) => from_exception(py, other),
        };
    }
    Error::host(Raised::new(py, exception))
}

/// An exception of this kind that was not an error of the core.
pub fn new(py: Python<'_>, kind: ErrorKind, message: impl Into<String>) -> PyErr {
    to_exception(py, Error::new(kind, message))
}

/// `Conversion` with this message.
#[cold]
pub fn conversion(py: Python<'_>, message: impl Into<String>) -> PyErr {
    new(py, ErrorKind::Conversion, message)
}

/// Whether this is an exception of ours, of this kind.
pub fn has_kind(py: Python<'_>, exception: &PyErr, kind: ErrorKind) -> bool {
    let ours = base(py).is_ok_and(|base| exception.value(py).is_instance(base).unwrap_or(false));
    ours && exception.value(py).getattr(intern!(py, "kind")).is_ok_and(|name| name.eq(kind.name()).unwrap_or(false))
}

/// Whether this is a `LuaConversionError`.
pub fn is_conversion(py: Python<'_>, exception: &PyErr) -> bool {
    has_kind(py, exception, ErrorKind::Conversion)
}

/// Results of the core, for `?`.
pub trait OrRaise<T> {
    /// The value, or the exception for the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for luacell::Result<T> {
    #[inline]
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_exception(py, error))
    }
}

/// Whether an exception is to end the run instead of being an error of the script: `KeyboardInterrupt`, `SystemExit`
/// and the like.
pub fn ends_run(py: Python<'_>, exception: &PyErr) -> bool {
    !exception.is_instance_of::<PyException>(py)
}
