//! Values as Python objects.
//!
//! Nothing here recurses: containers are made when they are met and filled afterwards.

use std::collections::HashMap;

use luacell::{LuaString, Table, Value};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::callable;
use crate::errors;
use crate::function::Function;
use crate::table;

/// A string: `str` when it is UTF-8, else `bytes`.
#[inline]
pub fn string<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyAny> {
    match std::str::from_utf8(bytes) {
        Ok(text) => PyString::new(py, text).into_any(),
        Err(_) => PyBytes::new(py, bytes).into_any(),
    }
}

/// Printed text and messages: always `str`, which can be encoded whatever the script did; bytes that are not UTF-8 are
/// shown as `\xff`.
pub fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "backslashreplace")),
    }
}

/// What is no table by value.
#[inline]
fn plain<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Nil | Value::Null => py.None().into_bound(py),
        Value::Boolean(b) => PyBool::new(py, *b).to_owned().into_any(),
        Value::Integer(n) => PyInt::new(py, *n).into_any(),
        Value::Float(x) => PyFloat::new(py, *x).into_any(),
        Value::String(s) => string(py, s.as_bytes()),
        Value::StoredTable(t) => table::view(py, t)?,
        Value::Function(f) => match f.language_value().and_then(|value| callable::to_python(py, &**value)) {
            Some(own) => own,
            None => Bound::new(py, Function(f.clone()))?.into_any(),
        },
        Value::Object(object) => callable::to_python(py, &**object.language_value())
            .ok_or_else(|| errors::conversion(py, format!("a {} is no object of Python", object.class_name())))?,
        other => return Err(errors::conversion(py, format!("this {} can't be passed to Python", other.type_name()))),
    })
}

/// One value.
#[inline]
pub fn value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Table(_) => Converter::new(py).one(value),
        other => plain(py, other),
    }
}

/// The results of a run: none are `None`, several are a tuple.
#[inline]
pub fn results<'py>(py: Python<'py>, values: &[Value]) -> PyResult<Bound<'py, PyAny>> {
    match values {
        [] => Ok(py.None().into_bound(py)),
        [one] => value(py, one),
        several => Ok(tuple(py, several)?.into_any()),
    }
}

/// Values as a tuple; what they share stays shared.
pub fn tuple<'py>(py: Python<'py>, values: &[Value]) -> PyResult<Bound<'py, PyTuple>> {
    let mut converter = Converter::new(py);
    let items = values.iter().map(|value| converter.one(value)).collect::<PyResult<Vec<_>>>()?;
    PyTuple::new(py, items)
}

/// Keys repeat: each is made once.
struct Keys<'py>(Vec<Option<(LuaString, Bound<'py, PyAny>)>>);

impl<'py> Keys<'py> {
    const PLACES: usize = 64;
    /// Longer keys are rarely those of records.
    const LONGEST: usize = 32;

    fn get(&mut self, py: Python<'py>, key: &LuaString) -> Bound<'py, PyAny> {
        let bytes = key.as_bytes();
        if bytes.len() > Self::LONGEST {
            return string(py, bytes);
        }
        if self.0.is_empty() {
            self.0.resize_with(Self::PLACES, || None);
        }
        let hash = bytes.iter().fold(bytes.len(), |hash, byte| hash.wrapping_mul(31) ^ usize::from(*byte));
        let Some(place) = self.0.get_mut((hash ^ hash >> 6) % Self::PLACES) else {
            return string(py, bytes);
        };
        match place {
            Some((known, object)) if known == key => object.clone(),
            _ => {
                let object = string(py, bytes);
                *place = Some((key.clone(), object.clone()));
                object
            }
        }
    }
}

/// What was made for the tables that were met.
#[derive(Default)]
struct Seen<'py> {
    /// The graph of most tables: all that come from Lua at once.
    graph: usize,
    main: Vec<Option<Bound<'py, PyAny>>>,
    others: HashMap<(usize, u32), Bound<'py, PyAny>>,
}

impl<'py> Seen<'py> {
    fn get(&self, (graph, node): (usize, u32)) -> Option<&Bound<'py, PyAny>> {
        if graph == self.graph { self.main.get(node as usize)?.as_ref() } else { self.others.get(&(graph, node)) }
    }

    fn put(&mut self, (graph, node): (usize, u32), object: Bound<'py, PyAny>) {
        if self.graph == 0 {
            self.graph = graph;
        }
        if graph != self.graph {
            self.others.insert((graph, node), object);
            return;
        }
        let at = node as usize;
        if self.main.len() <= at {
            self.main.resize(at + 1, None);
        }
        if let Some(place) = self.main.get_mut(at) {
            *place = Some(object);
        }
    }
}

struct Converter<'py> {
    py: Python<'py>,
    seen: Seen<'py>,
    keys: Keys<'py>,
    /// Containers that are still empty.
    pending: Vec<(Table, Container<'py>)>,
}

enum Container<'py> {
    List(Bound<'py, PyList>),
    Dict(Bound<'py, PyDict>),
    /// A `luacell.Entries`, for what a dict can't hold.
    Entries(Bound<'py, PyList>),
}

/// `luacell._table.Entries`
pub fn entries_class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "luacell._table", "Entries")
}

/// Whether a dict has keys for all of the table's: it has none for tables, and 1 and True are one to it.
fn fits_dict(table: &Table) -> bool {
    if table.has_string_keys_only() {
        return true;
    }
    let (mut booleans, mut bits) = (false, false);
    for (key, _) in table.pairs() {
        match key {
            Value::Table(_) | Value::StoredTable(_) => return false,
            Value::Boolean(_) => booleans = true,
            Value::Integer(0 | 1) => bits = true,
            _ => {}
        }
    }
    !(booleans && bits)
}

impl<'py> Converter<'py> {
    fn new(py: Python<'py>) -> Self {
        Converter { py, seen: Seen::default(), keys: Keys(Vec::new()), pending: Vec::new() }
    }

    fn one(&mut self, value: &Value) -> PyResult<Bound<'py, PyAny>> {
        let object = self.shallow(value)?;
        while let Some((table, container)) = self.pending.pop() {
            self.fill(&table, &container)?;
        }
        Ok(object)
    }

    /// The object, empty yet when it is a container.
    #[inline]
    fn shallow(&mut self, value: &Value) -> PyResult<Bound<'py, PyAny>> {
        let Value::Table(table) = value else {
            return plain(self.py, value);
        };
        let identity = table.identity();
        if let Some(known) = self.seen.get(identity) {
            return Ok(known.clone());
        }
        let (object, container) = if table.is_list() {
            let list = PyList::empty(self.py);
            (list.clone().into_any(), Container::List(list))
        } else if fits_dict(table) {
            let dict = PyDict::new(self.py);
            (dict.clone().into_any(), Container::Dict(dict))
        } else {
            let entries = entries_class(self.py)?.call0()?.cast_into::<PyList>()?;
            (entries.clone().into_any(), Container::Entries(entries))
        };
        self.seen.put(identity, object.clone());
        self.pending.push((table.clone(), container));
        Ok(object)
    }

    fn fill(&mut self, table: &Table, container: &Container<'py>) -> PyResult<()> {
        match container {
            Container::List(list) => table.sequence().try_for_each(|value| list.append(self.shallow(&value)?)),
            Container::Dict(dict) => table.pairs().try_for_each(|(key, value)| {
                let key = match &key {
                    Value::String(text) => self.keys.get(self.py, text),
                    other => plain(self.py, other)?,
                };
                dict.set_item(key, self.shallow(&value)?)
            }),
            Container::Entries(entries) => {
                table.pairs().try_for_each(|(key, value)| entries.append((self.shallow(&key)?, self.shallow(&value)?)))
            }
        }
    }
}
