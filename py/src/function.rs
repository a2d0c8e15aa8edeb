//! Lua functions.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

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
