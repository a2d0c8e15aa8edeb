//! Lua values on the host's side.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Outcome, Result, StoredTable};

/// A Lua value.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `nil`
    #[default]
    Nil,
    /// `true` or `false`
    Boolean(bool),
    /// An integer; `3` and `3.0` stay different.
    Integer(i64),
    /// A float.
    Float(f64),
    /// A string: any bytes.
    String(LuaString),
    /// A table, by value.
    Table(Table),
    /// A live view of a table in the sandbox's store.
    StoredTable(StoredTable),
    /// A function.
    Function(Function),
}

/// A Lua string: any bytes, often UTF-8. Cloning is cheap.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LuaString(Arc<[u8]>);

impl LuaString {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, when it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text, with a replacement character for what is not UTF-8.
    pub fn to_string_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Display for LuaString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for LuaString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for LuaString {
    fn from(text: &T) -> Self {
        LuaString(text.as_ref().into())
    }
}

/// A table by value: sharing and cycles inside it are kept, a change to a clone does not show in the original.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(());

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value under a key, or nil.
    pub fn get(&self, _key: impl Into<Value>) -> Value {
        Value::Nil
    }

    /// Sets a value; nil removes. A nil or NaN key is `InvalidArgument`.
    pub fn set(&mut self, _key: impl Into<Value>, _value: impl Into<Value>) -> Result<()> {
        Err(Error::internal("not built yet"))
    }

    /// Appends at the key after the last of the sequence.
    pub fn push(&mut self, _value: impl Into<Value>) {}

    /// The length of the sequence 1..n, as `#` in Lua.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there are no entries at all.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The number of all entries.
    pub fn count(&self) -> usize {
        0
    }

    /// The values of keys 1 to [`len`](Self::len).
    pub fn sequence(&self) -> impl Iterator<Item = Value> + '_ {
        std::iter::empty()
    }

    /// All entries: the sequence first, then the others in the order in which they came.
    pub fn pairs(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        std::iter::empty()
    }

    /// What tells this very table from others: equal for two views of one shared or cyclic table.
    pub fn identity(&self) -> (usize, u32) {
        (0, 0)
    }
}

/// A Lua function, callable while the sandbox lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Function(());

impl Function {
    /// Calls it.
    pub fn call(&self, _args: impl IntoArgs) -> Result<Outcome> {
        Err(Error::internal("not built yet"))
    }
}

/// What can be passed as arguments: a tuple, an array, a `Vec`.
pub trait IntoArgs {
    /// The values, in order.
    fn into_args(self) -> Vec<Value>;
}

impl<T: Into<Value>> IntoArgs for Vec<T> {
    fn into_args(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<Value>, const N: usize> IntoArgs for [T; N] {
    fn into_args(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

/// Rust types that a [`Value`] can become.
pub trait FromValue: Sized {
    /// The value as this type; `Conversion` when it does not fit.
    fn from_value(value: Value) -> Result<Self>;
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self> {
        match value {
            Value::Integer(n) => Ok(n),
            _ => Err(Error::conversion("not an integer")),
        }
    }
}
