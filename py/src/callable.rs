//! Callables of Python as values in Lua.

use std::any::Any;
use std::sync::{Arc, Weak};

use luacell::{Error, LanguageData, Value};
use pyo3::prelude::*;

use crate::callbacks::{Callbacks, finalizing};

/// A callable that Lua was given.
struct Callable(Py<PyAny>);

/// The function that Lua gets for it, the same each time.
pub fn to_lua(object: &Bound<'_, PyAny>) -> luacell::Function {
    let callable = Arc::new(Callable(object.clone().unbind()));
    // The garbage collector looks for who else holds it.
    let called = Arc::downgrade(&callable);
    let call = move |data: Option<&LanguageData>, args: Vec<Value>| {
        let callbacks = data.and_then(|data| data.downcast_ref::<Weak<Callbacks>>()).and_then(Weak::upgrade);
        let (Some(callbacks), Some(called)) = (callbacks, called.upgrade()) else {
            return Err(Error::host("the host function is gone"));
        };
        Python::try_attach(|py| callbacks.call_object(called.0.bind(py), &args)).unwrap_or_else(|| Err(finalizing()))
    };
    luacell::Function::of_language(object.as_ptr().addr(), callable, call)
}

/// The callable that this function is in Python.
pub fn to_python<'py>(py: Python<'py>, function: &luacell::Function) -> Option<Bound<'py, PyAny>> {
    let callable = function.language_value()?.downcast_ref::<Callable>()?;
    Some(callable.0.bind(py).clone())
}

/// The callable in what the core shows to a garbage collector.
pub fn held(value: &(dyn Any + Send + Sync)) -> Option<&Py<PyAny>> {
    value.downcast_ref().map(|Callable(object)| object)
}
