//! Lua functions.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use luacell::Value;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::callbacks::lock;
use crate::errors::OrRaise;
use crate::{to_lua, to_python};

/// A Lua function. Call it like any other; it can be called while its sandbox lives. Two that are the same function in
/// Lua are equal.
#[pyclass(frozen, module = "luacell")]
pub struct Function(pub luacell::Function);

#[pymethods]
impl Function {
    #[pyo3(signature = (*args))]
    fn __call__<'py>(&self, py: Python<'py>, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let args = to_lua::args(args)?.into_values().or_raise(py)?;
        let outcome = py.detach(|| self.0.call(args)).or_raise(py)?;
        to_python::results(py, &outcome.values)
    }

    /// The name of a built-in function, such as `string.format`; None for others.
    #[getter]
    fn builtin_name(&self) -> Option<&str> {
        self.0.builtin_name()
    }

    /// The steps of a loop over this function, as Lua's `for` has them: `for ... in function, state, control`. A step with
    /// several values is a tuple. Each is a run of its own. `iter(function)` is the same without the two.
    #[pyo3(signature = (state = None, control = None, /))]
    fn iterate(&self, state: Option<&Bound<'_, PyAny>>, control: Option<&Bound<'_, PyAny>>) -> PyResult<Steps> {
        let value = |object: Option<&Bound<'_, PyAny>>| object.map_or(Ok(Value::Nil), to_lua::one);
        Ok(Steps(Mutex::new(Box::new(self.0.iterate(value(state)?, value(control)?)))))
    }

    fn __iter__(&self) -> PyResult<Steps> {
        self.iterate(None, None)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Function>().is_ok_and(|other| self.0 == other.get().0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("<luacell.Function {:?}>", self.0)
    }
}

/// A loop over a Lua function.
#[pyclass(frozen, module = "luacell", name = "_Steps")]
pub struct Steps(Mutex<Box<dyn Iterator<Item = luacell::Result<Vec<Value>>> + Send>>);

#[pymethods]
impl Steps {
    fn __iter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let step = py.detach(|| lock(&self.0).next());
        step.transpose().or_raise(py)?.map(|values| to_python::results(py, &values)).transpose()
    }
}
