//! Python objects as values, written directly in the form in which they cross.
//!
//! Nothing here recurses, and nothing relies on containers staying as they are: converting an element may run Python
//! code.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

use luacell::{Args, Shape, Value};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyIterator, PyList, PyMemoryView, PyString, PyTuple,
};

use crate::callable;
use crate::errors::{self, OrRaise};
use crate::function::Function;
use crate::object_class::ObjectClass;
use crate::table;
use crate::to_python;

/// All elements of a tuple as arguments.
#[inline]
pub fn args(objects: &Bound<'_, PyTuple>) -> PyResult<Args> {
    let mut writer = Writer::new(objects.py());
    for (at, object) in objects.iter_borrowed().enumerate() {
        writer.root(&object, "argument", at + 1)?;
    }
    Ok(writer.args)
}

/// One object as a value.
pub fn one(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Some(value) = scalar(object).map_err(|error| at(object.py(), error, "value"))? {
        return Ok(value);
    }
    let mut writer = Writer::new(object.py());
    writer.root(object, "value", 0)?;
    Ok(writer.args.into_values().or_raise(object.py())?.into_iter().next().unwrap_or_default())
}

/// What a host function returned: a tuple is several results.
pub fn results(object: &Bound<'_, PyAny>) -> PyResult<Vec<Value>> {
    let Ok(tuple) = object.cast_exact::<PyTuple>() else {
        return Ok(vec![one(object)?]);
    };
    let mut writer = Writer::new(object.py());
    for (at, object) in tuple.iter_borrowed().enumerate() {
        writer.root(&object, "result", at + 1)?;
    }
    writer.args.into_values().or_raise(object.py())
}

/// Objects of the simplest types.
#[inline]
fn scalar(object: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    Ok(Some(if let Ok(text) = object.cast_exact::<PyString>() {
        text_of(text)?.into()
    } else if let Ok(number) = object.cast_exact::<PyInt>() {
        integer(number)?.into()
    } else if let Ok(number) = object.cast_exact::<PyFloat>() {
        number.value().into()
    } else if let Ok(b) = object.cast_exact::<PyBool>() {
        b.is_true().into()
    } else if object.is_none() {
        Value::Nil
    } else {
        return Ok(None);
    }))
}

fn text_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    text.to_str()
        .map_err(|_| errors::conversion(text.py(), "text with lone surrogates is not UTF-8; pass bytes instead"))
}

fn integer(number: &Bound<'_, PyAny>) -> PyResult<i64> {
    number.extract::<i64>().map_err(|_| {
        let bits: u64 = number.call_method0("bit_length").and_then(|bits| bits.extract()).unwrap_or(u64::MAX);
        let shown = match number.str() {
            Ok(digits) if bits <= 128 => digits.to_string(),
            _ => format!("an int of {bits} bits"),
        };
        errors::conversion(
            number.py(),
            format!("{shown} does not fit Lua's integers, which have 64 bits with the sign"),
        )
    })
}

/// A conversion error with a place.
#[cold]
fn at(py: Python<'_>, error: PyErr, place: &str) -> PyErr {
    match errors::is_conversion(py, &error) {
        true => errors::conversion(py, format!("{} ({place})", error.value(py))),
        false => error,
    }
}

/// Keys that are two in Python and one in Lua are text and the same bytes; a conversion error names them.
fn check_keys(py: Python<'_>, keys: &[(Bound<'_, PyAny>, Bound<'_, PyAny>)]) -> PyResult<()> {
    if keys.iter().all(|(key, _)| key.cast_exact::<PyString>().is_ok()) {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for (key, _) in keys {
        let bytes = if let Ok(text) = key.cast::<PyString>() {
            text_of(text)?.as_bytes()
        } else if let Ok(bytes) = key.cast::<PyBytes>() {
            bytes.as_bytes()
        } else {
            continue;
        };
        if !seen.insert(bytes) {
            let shown = shown_key(key);
            return Err(errors::conversion(
                py,
                format!("{shown} is there as text and as bytes, which are the same key in Lua"),
            ));
        }
    }
    Ok(())
}

/// Addresses need no mixing beyond spreading them.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }
    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// A container that is being written, with how many elements were announced and are left.
enum Frame<'py> {
    /// What makes its items on demand, and what it is, for messages.
    Made(Made<'py>),
    List(Bound<'py, PyList>, usize, usize),
    Tuple(Bound<'py, PyTuple>, usize, usize),
    /// Keys and values in turn.
    Entries(
        std::vec::IntoIter<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
        Option<Bound<'py, PyAny>>,
        Option<Bound<'py, PyAny>>,
    ),
}

/// An object that makes its items, or its pairs of key and value, while they are read. They have to be as many as its
/// `len` said.
struct Made<'py> {
    owner: Bound<'py, PyAny>,
    items: Bound<'py, PyIterator>,
    length: usize,
    read: usize,
    pairs: bool,
    /// The present key, and the value that comes after it.
    key: Option<Bound<'py, PyAny>>,
    value: Option<Bound<'py, PyAny>>,
}

impl<'py> Made<'py> {
    /// The next object, and whether it is a key; none after the last.
    fn next(&mut self) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        if let Some(value) = self.value.take() {
            return Ok(Some((value, false)));
        }
        let Some(item) = self.items.next().transpose()? else {
            return if self.read == self.length {
                Ok(None)
            } else {
                Err(self.mismatch(&format!("only {}", self.read)))
            };
        };
        if self.read == self.length {
            return Err(self.mismatch("more"));
        }
        self.read += 1;
        if !self.pairs {
            return Ok(Some((item, false)));
        }
        let (key, value) = item.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
        self.value = Some(value);
        self.key = Some(key.clone());
        Ok(Some((key, true)))
    }

    #[cold]
    fn mismatch(&self, number: &str) -> PyErr {
        let name = self.owner.get_type().qualname().map(|name| name.to_string()).unwrap_or_default();
        errors::conversion(self.owner.py(), format!("a {name} whose len() is {} gives {number} items", self.length))
    }
}

struct Writer<'py> {
    py: Python<'py>,
    args: Args,
    frames: Vec<Frame<'py>>,
    /// Tables by the address of the object that they were made of, which is kept alive.
    seen: HashMap<usize, (u32, Bound<'py, PyAny>), BuildHasherDefault<AddressHasher>>,
    /// What was made on demand so far.
    made: usize,
}

/// Objects may make new ones whenever they are looked at: what makes more than this, or so deep in each other, is taken
/// for endless.
const MOST_MADE: usize = 1 << 24;
const DEEPEST: usize = 100_000;
/// A table counts as so many values.
const TABLE: usize = 4;
/// So many are counted at a time.
const PIECE: usize = 256;

/// How often a hook may give something that needs a hook.
const MOST_HOOKS: usize = 32;

impl<'py> Writer<'py> {
    fn new(py: Python<'py>) -> Self {
        Writer { py, args: Args::new(), frames: Vec::new(), seen: HashMap::default(), made: 0 }
    }

    /// One argument with all that is in it.
    #[inline]
    fn root(&mut self, object: &Bound<'py, PyAny>, what: &str, position: usize) -> PyResult<()> {
        let result = self.simple(object).and_then(|done| if done { Ok(()) } else { self.whole(object) });
        result.map_err(|error| self.at_place(error, what, position))
    }

    /// An object of a type that is met most; whether it was one.
    #[inline]
    fn simple(&mut self, object: &Bound<'py, PyAny>) -> PyResult<bool> {
        if let Ok(text) = object.cast_exact::<PyString>() {
            self.args.string(text_of(text)?.as_bytes()).or_raise(self.py)?;
        } else if let Ok(number) = object.cast_exact::<PyInt>() {
            self.args.integer(integer(number)?);
        } else if let Ok(number) = object.cast_exact::<PyFloat>() {
            self.args.float(number.value());
        } else if let Ok(b) = object.cast_exact::<PyBool>() {
            self.args.boolean(b.is_true());
        } else if object.is_none() {
            self.args.nil();
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn whole(&mut self, object: &Bound<'py, PyAny>) -> PyResult<()> {
        self.begin(object.clone())?;
        while let Some(frame) = self.frames.last_mut() {
            let (object, is_key) = match frame {
                Frame::Made(made) => match made.next()? {
                    Some((object, is_key)) => {
                        if made.read.is_multiple_of(PIECE) {
                            self.made(PIECE)?;
                        }
                        (Some(object), is_key)
                    }
                    None => (None, false),
                },
                Frame::List(_, _, 0) | Frame::Tuple(_, _, 0) => (None, false),
                Frame::List(list, at, left) => {
                    let object = list.get_item(*at).ok();
                    (*at, *left) = (*at + 1, *left - 1);
                    // It has become shorter meanwhile.
                    (Some(object.unwrap_or_else(|| self.py.None().into_bound(self.py))), false)
                }
                Frame::Tuple(tuple, at, left) => {
                    let object = tuple.get_item(*at)?;
                    (*at, *left) = (*at + 1, *left - 1);
                    (Some(object), false)
                }
                Frame::Entries(entries, value, place) => match value.take() {
                    Some(value) => (Some(value), false),
                    None => match entries.next() {
                        Some((key, next)) => {
                            *value = Some(next);
                            *place = Some(key.clone());
                            (Some(key), true)
                        }
                        None => (None, false),
                    },
                },
            };
            match object {
                Some(object) if is_key => self.key(object)?,
                Some(object) if self.simple(&object)? => {}
                Some(object) => self.begin(object)?,
                None => drop(self.frames.pop()),
            }
        }
        Ok(())
    }

    fn key(&mut self, key: Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(text) = key.cast_exact::<PyString>() {
            return self.args.string(text_of(text)?.as_bytes()).or_raise(self.py);
        }
        if key.is_none() || key.cast::<PyFloat>().is_ok_and(|x| x.value().is_nan()) {
            return Err(errors::conversion(self.py, "None and NaN can't be keys of a Lua table"));
        }
        if self.simple(&key)? { Ok(()) } else { self.begin(key) }
    }

    /// A container, whose elements come next, or anything that is not simple.
    fn begin(&mut self, object: Bound<'py, PyAny>) -> PyResult<()> {
        let mut object = object;
        for _ in 0..MOST_HOOKS {
            if let Ok(dict) = object.cast::<PyDict>() {
                let entries: Vec<_> = dict.iter().collect();
                return self.entries(&object, entries);
            }
            if let Ok(list) = object.cast::<PyList>() {
                if list.cast_exact::<PyList>().is_err() && list.is_instance(to_python::entries_class(self.py)?)? {
                    let entries = list.extract()?;
                    return self.entries(&object, entries);
                }
                let length = list.len();
                if self.table(&object, Shape::List, length, 0)? {
                    self.frames.push(Frame::List(list.clone(), 0, length));
                }
                return Ok(());
            }
            if let Ok(tuple) = object.cast::<PyTuple>() {
                let length = tuple.len();
                if self.table(&object, Shape::List, length, 0)? {
                    self.frames.push(Frame::Tuple(tuple.clone(), 0, length));
                }
                return Ok(());
            }
            if self.leaf(&object)? {
                return Ok(());
            }
            // Python knows the rest: protocols, dataclasses, whatever the user has told.
            self.made(TABLE)?;
            let plain = fallback(self.py)?.call1((&object,))?;
            let kind: usize = plain.get_item(0)?.extract()?;
            let replaced = plain.get_item(1)?;
            if kind == 1 {
                let entries: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)> = replaced.extract()?;
                return self.entries(&object, entries);
            }
            if kind == CALLABLE {
                self.args.function(&callable::to_lua(&object));
                return Ok(());
            }
            if kind == OBJECT {
                let (class, object) = replaced.extract::<(Bound<'_, ObjectClass>, Bound<'_, PyAny>)>()?;
                self.args.object(&class.get().object(&object));
                return Ok(());
            }
            if kind == NULL {
                self.args.null();
                return Ok(());
            }
            if kind > 1 {
                return self.on_demand(&object, &replaced, kind == 2);
            }
            if self.simple(&replaced)? {
                return Ok(());
            }
            object = replaced;
        }
        Err(errors::conversion(self.py, "converters keep returning new objects without end"))
    }

    /// Counts what was made on demand, and looks for signals: it may be much.
    fn made(&mut self, values: usize) -> PyResult<()> {
        self.py.check_signals()?;
        self.made = self.made.saturating_add(values);
        let what = if self.made > MOST_MADE {
            format!("more than {MOST_MADE} values in objects that make them on demand")
        } else if self.frames.len() > DEEPEST {
            format!("objects that make others on demand, more than {DEEPEST} levels deep")
        } else {
            return Ok(());
        };
        Err(errors::conversion(self.py, format!("{what}: do they make new ones without end?")))
    }

    /// A sequence, or a mapping: what gives its items.
    fn on_demand(&mut self, owner: &Bound<'py, PyAny>, items: &Bound<'py, PyAny>, pairs: bool) -> PyResult<()> {
        let length = owner.len()?;
        // What is longer is refused when so much of it was read.
        let announced = length.min(MOST_MADE);
        let (shape, array, entries) = if pairs { (Shape::Map, 0, announced) } else { (Shape::List, announced, 0) };
        let (owner, items) = (owner.clone(), items.try_iter()?);
        if self.table(&owner, shape, array, entries)? {
            let made = Made { owner, items, length, read: 0, pairs, key: None, value: None };
            self.frames.push(Frame::Made(made));
        }
        Ok(())
    }

    fn entries(
        &mut self,
        object: &Bound<'py, PyAny>,
        entries: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    ) -> PyResult<()> {
        check_keys(self.py, &entries)?;
        if self.table(object, Shape::Map, 0, entries.len())? {
            self.frames.push(Frame::Entries(entries.into_iter(), None, None));
        }
        Ok(())
    }

    /// Begins a table; false when this very object was written before.
    fn table(&mut self, object: &Bound<'py, PyAny>, shape: Shape, array: usize, entries: usize) -> PyResult<bool> {
        let address = object.as_ptr().addr();
        if let Some((number, _)) = self.seen.get(&address) {
            self.args.table_again(*number).or_raise(self.py)?;
            return Ok(false);
        }
        let number = self.args.shaped_table(shape, array, entries).or_raise(self.py)?;
        self.seen.insert(address, (number, object.clone()));
        Ok(true)
    }

    /// Everything else that is no container and that needs no Python code.
    fn leaf(&mut self, object: &Bound<'py, PyAny>) -> PyResult<bool> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            self.args.string(bytes.as_bytes()).or_raise(self.py)?;
        } else if let Ok(text) = object.cast::<PyString>() {
            self.args.string(text_of(text)?.as_bytes()).or_raise(self.py)?;
        } else if object.cast::<PyInt>().is_ok() {
            self.args.integer(integer(object)?);
        } else if let Ok(number) = object.cast::<PyFloat>() {
            self.args.float(number.value());
        } else if let Ok(function) = object.cast::<Function>() {
            self.args.function(&function.get().0);
        } else if let Ok(table) = object.cast::<table::TableBase>() {
            self.args.stored_table(&table.get().0);
        } else if let Ok(bytes) = object.cast::<PyByteArray>() {
            self.args.string(&bytes.to_vec()).or_raise(self.py)?;
        } else if object.cast::<PyMemoryView>().is_ok() {
            let bytes = object.call_method0(intern!(self.py, "tobytes"))?.cast_into::<PyBytes>()?;
            self.args.string(bytes.as_bytes()).or_raise(self.py)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// A conversion error with the place of the object.
    #[cold]
    fn at_place(&self, error: PyErr, what: &str, position: usize) -> PyErr {
        let mut path = what.to_owned();
        if position > 0 {
            let _ = write!(path, " {position}");
        }
        let depth = self.frames.len();
        for (level, frame) in self.frames.iter().enumerate() {
            if depth > SHOWN && level >= SHOWN / 2 && level < depth - SHOWN / 2 {
                if level == SHOWN / 2 {
                    path.push_str("...");
                }
                continue;
            }
            let key = match frame {
                Frame::List(_, at, _) | Frame::Tuple(_, at, _) | Frame::Made(Made { read: at, pairs: false, .. }) => {
                    at.saturating_sub(1).to_string()
                }
                Frame::Entries(_, _, Some(key)) | Frame::Made(Made { key: Some(key), .. }) => shown_key(key),
                Frame::Entries(..) | Frame::Made(_) => continue,
            };
            let _ = write!(path, "[{key}]");
        }
        at(self.py, error, &path)
    }
}

/// Longer ways to a place are cut in the middle, and so are long keys at their end.
const SHOWN: usize = 12;
const SHOWN_KEY: usize = 60;

fn shown_key(key: &Bound<'_, PyAny>) -> String {
    let text = key.repr().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    text.chars().take(SHOWN_KEY).collect()
}

/// What that says of a callable, of an object, and of null.
const CALLABLE: usize = 4;
const OBJECT: usize = 5;
const NULL: usize = 6;

/// `luacell._convert.fallback`
fn fallback(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static FALLBACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FALLBACK.import(py, "luacell._convert", "fallback")
}
