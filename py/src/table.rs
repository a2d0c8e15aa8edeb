//! Live views of stored tables.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyIterator, PyList};

use luacell::{StoredTable, Value};

use crate::errors::{self, OrRaise};
use crate::{to_lua, to_python};

/// The native half of `luacell.Table`, which adds what every `MutableMapping` has.
#[pyclass(frozen, subclass, name = "_TableBase", module = "luacell._luacell")]
pub struct TableBase(pub StoredTable);

/// A view as Python sees it: an instance of `luacell.Table`.
pub fn view<'py>(py: Python<'py>, table: &StoredTable) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "luacell._table", "Table")?.call1((TableBase(table.clone()),))
}

/// The key to look for; none when no table can have it, so that it is absent, as in any mapping.
fn possible(key: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    match to_lua::one(key) {
        Ok(Value::Float(x)) if x.is_nan() => Ok(None),
        Ok(key @ (Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::String(_))) => Ok(Some(key)),
        Ok(_) => Ok(None),
        Err(error) if errors::is_conversion(key.py(), &error) => Ok(None),
        Err(error) => Err(error),
    }
}

impl TableBase {
    fn find(&self, key: &Bound<'_, PyAny>) -> PyResult<Value> {
        let py = key.py();
        match possible(key)? {
            Some(key) => py.detach(|| self.0.get(key)).or_raise(py),
            None => Ok(Value::Nil),
        }
    }
}

#[pymethods]
impl TableBase {
    #[new]
    fn new(view: &Bound<'_, TableBase>) -> Self {
        TableBase(view.get().0.clone())
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self.find(key)? {
            Value::Nil => Err(PyKeyError::new_err((key.clone().unbind(),))),
            value => to_python::value(key.py(), &value),
        }
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, key, value) = (key.py(), to_lua::one(key)?, to_lua::one(value)?);
        py.detach(|| self.0.set(key, value)).or_raise(py)
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        if let Some(lua_key) = possible(key)?
            && py.detach(|| self.0.remove(lua_key)).or_raise(py)?
        {
            return Ok(());
        }
        Err(PyKeyError::new_err((key.clone().unbind(),)))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(!self.find(key)?.is_nil())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        py.detach(|| self.0.len()).or_raise(py)
    }

    /// The keys as they are at this moment.
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let keys = py.detach(|| self.0.keys()).or_raise(py)?;
        let keys = keys.iter().map(|key| to_python::value(py, key)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, keys)?.try_iter()
    }

    /// Removes all entries, in one transaction.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.clear()).or_raise(py)
    }

    /// A deep copy taken at one moment: a list for a sequence, else a dict; sharing and cycles are preserved.
    fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let table = py.detach(|| self.0.to_table()).or_raise(py)?;
        to_python::value(py, &Value::Table(table))
    }

    /// The table's number in the store; `_home` is 1.
    #[getter]
    fn id(&self) -> u32 {
        self.0.id()
    }

    fn _same(&self, other: &Bound<'_, TableBase>) -> bool {
        self.0 == other.get().0
    }
}
