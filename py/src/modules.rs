//! Where `require` finds modules.

use std::collections::HashMap;
use std::sync::Arc;

use luacell::{Folder, Module, SandboxConfig};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

use crate::callbacks::{Callbacks, finalizing};
use crate::options::{self, wrong_type};

/// Tells the sandbox where modules are: a dict of sources, a folder, or a function.
pub fn set(config: SandboxConfig, modules: &Bound<'_, PyAny>, callbacks: &Arc<Callbacks>) -> PyResult<SandboxConfig> {
    if let Ok(sources) = modules.cast::<PyDict>() {
        return Ok(config.modules(sources_of(sources.iter().map(Ok))?));
    }
    if modules.is_callable() {
        callbacks.modules.put(modules.clone().unbind());
        let callbacks = Arc::clone(callbacks);
        return Ok(config.modules(move |name: &str| {
            let find = |py: Python<'_>| {
                let Some(function) = callbacks.modules.get(py) else { return Ok(None) };
                let found = function.bind(py).call1((name,))?;
                if found.is_none() { Ok(None) } else { Ok(Some(Module::new(name, options::source(&found)?))) }
            };
            let found =
                Python::try_attach(|py| find(py).map_err(|exception: PyErr| callbacks.no_module(py, exception)));
            found.unwrap_or_else(|| Err(finalizing()))
        }));
    }
    if let Ok(folder) = modules.extract::<std::path::PathBuf>() {
        return Ok(config.modules(Folder::new(folder)));
    }
    if let Ok(sources) = modules.cast::<PyMapping>() {
        let all = sources.items()?.try_iter()?.map(|entry| entry?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>());
        return Ok(config.modules(sources_of(all)?));
    }
    Err(wrong_type(modules, "modules has to be a dict of sources, a folder, or a function"))
}

/// Names of modules and their sources.
fn sources_of<'py>(
    all: impl Iterator<Item = PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>,
) -> PyResult<HashMap<String, Vec<u8>>> {
    let one = |entry: PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)>| {
        let (name, code) = entry?;
        let Ok(name) = name.cast::<PyString>() else {
            return Err(wrong_type(&name, "modules: a module's name has to be str"));
        };
        let name = options::text(name, "a name in modules")?;
        if let Ok(code) = code.cast::<PyString>() {
            let code = options::text(code, &format!("the module {name}"))?;
            return Ok((name.to_owned(), code.as_bytes().to_vec()));
        }
        let Ok(source) = options::source(&code) else {
            return Err(wrong_type(&code, &format!("modules: the source of {name} has to be str or bytes")));
        };
        Ok((name.to_owned(), source.to_vec()))
    };
    all.map(one).collect()
}
