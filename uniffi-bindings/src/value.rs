//! Values on their way between Lua and the other language.

use std::sync::Arc;

use luacell::{LuaString, Value};

use crate::{LuaFunction, LuaTable, StoredTable};

/// A Lua value. Plain data, except that a function can only be called and a stored table only be read while its sandbox
/// lives.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum LuaValue {
    /// `nil`
    Nil,
    /// `true` or `false`
    Bool {
        /// The boolean.
        value: bool,
    },
    /// An integer. `3` and `3.0` are different values.
    Integer {
        /// The number.
        value: i64,
    },
    /// A float.
    Float {
        /// The number.
        value: f64,
    },
    /// A string that is valid UTF-8.
    Text {
        /// The text.
        value: String,
    },
    /// Any other string. On the way into Lua both forms may be used.
    Data {
        /// The bytes.
        value: Vec<u8>,
    },
    /// A table, by value.
    Table {
        /// The table.
        table: Arc<LuaTable>,
    },
    /// A live view of a table that the sandbox keeps.
    Stored {
        /// The view.
        table: Arc<StoredTable>,
    },
    /// A function.
    Function {
        /// The function.
        function: Arc<LuaFunction>,
    },
}

/// One entry of a table.
#[derive(Clone, Debug, uniffi::Record)]
pub struct LuaEntry {
    /// The key.
    pub key: LuaValue,
    /// The value.
    pub value: LuaValue,
}

impl From<Value> for LuaValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => LuaValue::Bool { value },
            Value::Integer(value) => LuaValue::Integer { value },
            Value::Float(value) => LuaValue::Float { value },
            Value::String(string) => match string.as_str() {
                Some(text) => LuaValue::Text { value: text.to_owned() },
                None => LuaValue::Data { value: string.as_bytes().to_vec() },
            },
            Value::Table(table) => LuaValue::Table { table: Arc::new(LuaTable(table)) },
            Value::StoredTable(table) => LuaValue::Stored { table: Arc::new(StoredTable(table)) },
            Value::Function(function) => LuaValue::Function { function: Arc::new(LuaFunction(function)) },
            _ => LuaValue::Nil,
        }
    }
}

impl From<LuaValue> for Value {
    fn from(value: LuaValue) -> Self {
        match value {
            LuaValue::Nil => Value::Nil,
            LuaValue::Bool { value } => Value::Boolean(value),
            LuaValue::Integer { value } => Value::Integer(value),
            LuaValue::Float { value } => Value::Float(value),
            LuaValue::Text { value } => Value::String(LuaString::from(value)),
            LuaValue::Data { value } => Value::String(LuaString::from(value)),
            LuaValue::Table { table } => Value::Table(table.0.clone()),
            LuaValue::Stored { table } => Value::StoredTable(table.0.clone()),
            LuaValue::Function { function } => Value::Function(function.0.clone()),
        }
    }
}

pub(crate) fn to_lua(values: Vec<LuaValue>) -> Vec<Value> {
    values.into_iter().map(Value::from).collect()
}

pub(crate) fn from_lua(values: Vec<Value>) -> Vec<LuaValue> {
    values.into_iter().map(LuaValue::from).collect()
}

pub(crate) fn entries(entries: impl IntoIterator<Item = (Value, Value)>) -> Vec<LuaEntry> {
    entries.into_iter().map(|(key, value)| LuaEntry { key: key.into(), value: value.into() }).collect()
}
