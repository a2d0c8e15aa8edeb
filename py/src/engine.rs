//! `luacell.Engine`.

use luacell::EngineConfig;
use pyo3::prelude::*;

use crate::errors::OrRaise;
use crate::options;

/// The compiled guest and a pool of instances, shared by many sandboxes and threads.
///
/// Without one, all sandboxes of the process share a default engine. pool_size is how many sandboxes at a time come
/// from prepared memory (default 1000; 0 turns the pool off). max_memory is the most that one sandbox's memory may
/// take, whatever its limits say (default 1 GiB, from 2 MiB to 4 GiB).
#[pyclass(frozen, module = "luacell")]
pub struct Engine(pub luacell::Engine);

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (*, pool_size=None, max_memory=None))]
    fn new<'py>(
        py: Python<'py>,
        pool_size: Option<&Bound<'py, PyAny>>,
        max_memory: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let mut config = EngineConfig::new();
        if let Some(sandboxes) = pool_size {
            config = config.pool_size(options::number(sandboxes, "pool_size", "from 0 to 4294967295")?);
        }
        if let Some(bytes) = max_memory {
            config = config.max_memory(options::size(bytes, "max_memory")?);
        }
        py.detach(|| luacell::Engine::new(config)).or_raise(py).map(Engine)
    }

    /// Whether sandboxes come from a pool.
    #[getter]
    fn is_pooled(&self) -> bool {
        self.0.is_pooled()
    }

    fn __repr__(&self) -> String {
        format!("<luacell.Engine pooled={}>", if self.0.is_pooled() { "True" } else { "False" })
    }
}
