//! Lua values on the host's side.

pub(crate) mod args;
pub mod binding_codec;
pub(crate) mod codec;
mod compare;
mod convert;
mod debug;
pub(crate) mod error;
mod from_args;
mod function;
mod host_function;
pub(crate) mod host_values;
#[cfg(feature = "json")]
mod json;
pub(crate) mod keys;
mod metrics;
mod object;
mod outcome;
pub(crate) mod owner;
pub(crate) mod path;
mod pins;
mod release_queue;
#[cfg(feature = "serde")]
pub(crate) mod serde;
mod stored_table;
mod string;
mod table;

pub(crate) use args::ArgList;
pub use args::Args;
pub use convert::{FromValue, IntoArgs};
pub use error::{Error, ErrorKind, Result};
pub use from_args::{CallArgs, FromArg, FromArgs, Variadic};
pub use function::Function;
pub(crate) use function::{Builtin, FunctionKind, Handle};
#[cfg(feature = "async")]
pub(crate) use host_function::Pending;
pub(crate) use host_function::{HostFunction, Nameless, Origin};
pub use host_function::{LanguageData, fallible};
pub use metrics::{MemoryStats, Metrics};
pub(crate) use object::{ClassParts, Members};
pub use object::{Object, ObjectRef};
pub use outcome::Outcome;
pub(crate) use owner::{HeldByHost, Owner};
pub use stored_table::{Home, StoredTable};
pub use string::LuaString;
pub(crate) use table::{Graph, Node, Slot};
pub use table::{Shape, Table, TableBuilder, TableRef};

/// A Lua value.
///
/// Values are plain data that may be moved between threads and outlive the sandbox. Only a [`Function`] can't be
/// called, and a [`StoredTable`] can't be read, once its sandbox is gone. Cloning is cheap, and nothing here recurses:
/// values nested a million levels deep can be cloned, compared, printed and dropped on a small stack.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `nil`
    #[default]
    Nil,
    /// `null` of the module `json`: a value where a table could not hold nil.
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// An integer. `3` and `3.0` are different values.
    Integer(i64),
    /// A float. As in Rust, NaN equals nothing.
    Float(f64),
    /// A string: any bytes.
    String(LuaString),
    /// A table, by value.
    Table(Table),
    /// A live view of a table in the sandbox's store.
    StoredTable(StoredTable),
    /// A function.
    Function(Function),
    /// An object of the host.
    Object(Object),
}

impl Value {
    /// The name of the type, as Lua's `type` returns it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Boolean(_) => "boolean",
            Value::Integer(_) | Value::Float(_) => "number",
            Value::String(_) => "string",
            Value::Table(_) | Value::StoredTable(_) => "table",
            Value::Function(_) => "function",
            Value::Object(_) | Value::Null => "userdata",
        }
    }

    /// Whether this is nil.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(b) => Some(*b),
            _ => None,
        }
    }

    /// The integer, if it is one (also as a float without fraction, as Lua converts).
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(n) => Some(*n),
            Value::Float(x) => exact_integer(*x),
            _ => None,
        }
    }

    /// The number as a float, if a float can hold it: beyond 2^53, not every integer fits.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Integer(n) => {
                let x = *n as f64;
                // As wide as it gets: i64::MAX would be rounded up, and down again.
                (x as i128 == i128::from(*n)).then_some(x)
            }
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The text, if it is a string of valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => s.as_str(),
            _ => None,
        }
    }

    /// The bytes, if it is a string.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(s) => Some(s.as_bytes()),
            _ => None,
        }
    }

    /// The table, if it is one by value.
    #[must_use]
    pub fn as_table(&self) -> Option<&Table> {
        match self {
            Value::Table(t) => Some(t),
            _ => None,
        }
    }

    /// The view of a stored table, if it is one.
    #[must_use]
    pub fn as_stored_table(&self) -> Option<&StoredTable> {
        match self {
            Value::StoredTable(t) => Some(t),
            _ => None,
        }
    }

    /// The function, if it is one.
    #[must_use]
    pub fn as_function(&self) -> Option<&Function> {
        match self {
            Value::Function(f) => Some(f),
            _ => None,
        }
    }

    /// The object of the host, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }
}

/// The integer that this float is exactly, as Lua converts floats.
pub(crate) fn exact_integer(x: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (x.floor() == x && (-LIMIT..LIMIT).contains(&x)).then_some(x as i64)
}
