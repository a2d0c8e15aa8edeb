//! Stores that are Python objects.

use std::sync::Arc;

use luacell::{Batch, ErrorKind, SandboxConfig, StoreError, StoreResult, TableStore, Write};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::callbacks::Callbacks;
use crate::errors::{self, Raised, ends_run};
use crate::options;

/// Gives the sandbox its store: a path, a URL, or an object with the five methods.
pub fn set(config: SandboxConfig, store: &Bound<'_, PyAny>, callbacks: &Arc<Callbacks>) -> PyResult<SandboxConfig> {
    // Opening may wait for a server, or for a disk.
    if let Ok(text) = store.cast::<PyString>() {
        let text = options::text(text, "store")?;
        return Ok(store.py().detach(|| config.store(text)));
    }
    if let Ok(path) = store.call_method0("__fspath__") {
        let path = path.extract::<std::path::PathBuf>()?;
        return Ok(store.py().detach(|| config.store(path)));
    }
    let has = |method: &str| store.getattr(method).is_ok_and(|method| method.is_callable());
    for method in ["get", "set", "delete", "size", "keys"] {
        if !has(method) {
            let message = format!(
                "{} is no store: it has no method '{method}' (a path, a redis:// URL, or an object with get, set, delete, size and keys)",
                store.repr()?
            );
            return Err(errors::new(store.py(), ErrorKind::InvalidArgument, message));
        }
    }
    callbacks.store.put(store.clone().unbind());
    Ok(config.store(PyStore {
        begins: has("begin"),
        commits: has("commit"),
        rolls_back: has("rollback"),
        removes_tables: has("remove_table"),
        lists_tables: has("tables"),
        callbacks: Arc::clone(callbacks),
    }))
}

/// A store of the user's, which is in its slot. Methods that it does not have are those of the core.
struct PyStore {
    callbacks: Arc<Callbacks>,
    begins: bool,
    commits: bool,
    rolls_back: bool,
    removes_tables: bool,
    lists_tables: bool,
}

impl Drop for PyStore {
    fn drop(&mut self) {
        drop(self.callbacks.store.take());
    }
}

impl PyStore {
    fn run<T>(&self, f: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> StoreResult<T> {
        let result = Python::try_attach(|py| {
            let Some(object) = self.callbacks.store.get(py) else { return Err("the store is gone".into()) };
            f(object.bind(py)).map_err(|exception| {
                let conflict =
                    exception.value(py).getattr("kind").is_ok_and(|kind| kind.eq("Conflict").unwrap_or(false));
                let error = Raised::new(py, exception.clone_ref(py));
                if ends_run(py, &exception) {
                    self.callbacks.end_with(exception);
                }
                if conflict { StoreError::conflict(error) } else { StoreError::from(error) }
            })
        });
        result.unwrap_or_else(|| Err("Python is shutting down".into()))
    }
}

fn each_key(keys: &Bound<'_, PyAny>, visit: &mut dyn FnMut(&str)) -> PyResult<()> {
    for key in keys.try_iter()? {
        visit(key?.cast::<PyString>()?.to_str()?);
    }
    Ok(())
}

impl TableStore for PyStore {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.run(|store| {
            let value = store.call_method1(intern!(store.py(), "get"), (table, key))?;
            if value.is_none() {
                return Ok(false);
            }
            match value.cast::<PyBytes>() {
                Ok(bytes) => read(bytes.as_bytes()),
                Err(_) => read(&value.extract::<Vec<u8>>()?),
            }
            Ok(true)
        })
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.run(|store| {
            let value = PyBytes::new(store.py(), value);
            store.call_method1(intern!(store.py(), "set"), (table, key, value)).map(drop)
        })
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.run(|store| store.call_method1(intern!(store.py(), "delete"), (table, key)).map(drop))
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.run(|store| store.call_method1(intern!(store.py(), "size"), (table,))?.extract())
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.run(|store| each_key(&store.call_method1(intern!(store.py(), "keys"), (table,))?, visit))
    }

    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        if self.removes_tables {
            return self.run(|store| store.call_method1("remove_table", (table,)).map(drop));
        }
        RequiredOnly(self).remove_table(table)
    }

    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        if !self.lists_tables {
            return Ok(false);
        }
        self.run(|store| {
            for table in store.call_method0("tables")?.try_iter()? {
                visit(table?.extract()?);
            }
            Ok(true)
        })
    }

    fn begin(&mut self) -> StoreResult<()> {
        if self.begins { self.run(|store| store.call_method0("begin").map(drop)) } else { Ok(()) }
    }

    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        if !self.commits {
            return TableStore::commit(&mut RequiredOnly(self), batch);
        }
        self.run(|store| {
            let py = store.py();
            let writes = PyList::empty(py);
            for write in batch.writes() {
                let write: Bound<'_, PyTuple> = match write {
                    Write::Set { table, key, value } => (table, key, PyBytes::new(py, value)).into_pyobject(py)?,
                    Write::Delete { table, key } => (table, key, py.None()).into_pyobject(py)?,
                    Write::RemoveTable { table } => (table, py.None(), py.None()).into_pyobject(py)?,
                    _ => continue,
                };
                writes.append(write)?;
            }
            store.call_method1("commit", (writes,)).map(drop)
        })
    }

    fn rollback(&mut self) {
        if self.rolls_back {
            let _ = self.run(|store| store.call_method0("rollback").map(drop));
        }
    }
}

/// The store's required methods alone: the others are those that the core provides.
struct RequiredOnly<'a>(&'a mut PyStore);

impl TableStore for RequiredOnly<'_> {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.0.delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.0.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.0.keys(table, visit)
    }
}
