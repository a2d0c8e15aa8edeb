//! The native part of the Python package luacell: it maps types, exceptions, callbacks and threads to those of the
//! core. The core does everything else.

mod asyncio;
mod callable;
mod callbacks;
mod config;
mod engine;
mod errors;
mod function;
mod metrics;
mod modules;
mod object_class;
mod options;
mod run;
mod sandbox;
mod snapshot;
mod store;
mod table;
mod to_lua;
mod to_python;
mod weight;

/// The native part of luacell; import luacell instead.
#[pyo3::pymodule(gil_used = false)]
mod _luacell {
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::function::Function;
    #[pymodule_export]
    use crate::metrics::{MemoryStats, Metrics, Outcome};
    #[pymodule_export]
    use crate::object_class::ObjectClass;
    #[pymodule_export]
    use crate::run::{PendingRun, Request, Run};
    #[pymodule_export]
    use crate::sandbox::Sandbox;
    #[pymodule_export]
    use crate::snapshot::Snapshot;
    #[pymodule_export]
    use crate::table::TableBase;

    /// The kinds of errors, in the order of their numbers.
    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let kinds: Vec<&str> = luacell::ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        module.add("ERROR_KINDS", pyo3::types::PyTuple::new(module.py(), kinds)?)
    }
}
