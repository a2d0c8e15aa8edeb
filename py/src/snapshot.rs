//! `luacell.Snapshot`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};

use crate::engine::Engine;
use crate::errors::OrRaise;

/// A whole sandbox at one moment: globals, closures, suspended coroutines and tables.
///
/// It belongs to no sandbox: any number of sandboxes can be restored from it. It can be pickled, for programs with the
/// same version of luacell.
#[pyclass(frozen, module = "luacell")]
pub struct Snapshot(pub luacell::Snapshot);

#[pymethods]
impl Snapshot {
    /// Reads what to_bytes returned, in this or another process. Accept it only from people whom you trust.
    #[classmethod]
    #[pyo3(signature = (data, /, engine=None))]
    fn from_bytes(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        data: &[u8],
        engine: Option<&Bound<'_, Engine>>,
    ) -> PyResult<Self> {
        let engine = engine.map_or_else(luacell::Engine::default, |engine| engine.get().0.clone());
        py.detach(|| luacell::Snapshot::from_bytes(&engine, data)).or_raise(py).map(Snapshot)
    }

    /// The snapshot as bytes, packed and with a checksum.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.0.to_bytes()).or_raise(py)?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let from_bytes = py.get_type::<Self>().getattr("from_bytes")?;
        (from_bytes, (self.to_bytes(py)?,)).into_pyobject(py)
    }

    fn __repr__(&self) -> String {
        format!("<luacell.{:?}>", self.0)
    }
}
