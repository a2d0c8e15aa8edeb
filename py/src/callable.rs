//! Callables of Python as values in Lua.

use std::any::Any;
use std::sync::{Arc, Weak};

use luacell::{Error, LanguageData, Value};
use pyo3::prelude::*;

use crate::callbacks::{Callbacks, finalizing};

/// A callable or an object that Lua was given.
pub struct Held(pub Py<PyAny>);

/// The function that Lua gets for a callable, the same each time.
pub fn to_lua(object: &Bound<'_, PyAny>) -> luacell::Function {
    let callable = Arc::new(Held(object.clone().unbind()));
    // The garbage collector looks for who else holds it.
    let called = Arc::downgrade(&callable);
    let call = move |data: Option<&LanguageData>, args: Vec<Value>| {
        let (Some(callbacks), Some(called)) = (callbacks_of(data), called.upgrade()) else {
            return Err(Error::host("the host function is gone"));
        };
        Python::try_attach(|py| callbacks.call_object(called.0.bind(py), &args)).unwrap_or_else(|| Err(finalizing()))
    };
    luacell::Function::of_language(object.as_ptr().addr(), callable, call)
}

/// Those of the sandbox that calls.
pub fn callbacks_of(data: Option<&LanguageData>) -> Option<Arc<Callbacks>> {
    data.and_then(|data| data.downcast_ref::<Weak<Callbacks>>()).and_then(Weak::upgrade)
}

/// What this function or object of the host is in Python.
pub fn to_python<'py>(py: Python<'py>, value: &(dyn Any + Send + Sync)) -> Option<Bound<'py, PyAny>> {
    held(value).map(|object| object.bind(py).clone())
}

/// The Python object in what the core shows to a garbage collector.
pub fn held(value: &(dyn Any + Send + Sync)) -> Option<&Py<PyAny>> {
    value.downcast_ref().map(|Held(object)| object)
}
