//! The values that travel between guest and host, as `docs/MEMORY_PROTOCOL.md` describes them.

use std::fmt::Write;

use crate::{Error, protocol};

/// One Lua value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    /// Lua strings are bytes; text is one use of them.
    String(Vec<u8>),
    /// A Lua function as bytecode.
    Bytecode(Vec<u8>),
    /// A function or library of Lua's own, by name.
    Builtin(Vec<u8>),
    /// A table that lives in the host's table map.
    External(u32),
    /// A table that came by value: its place in [`Message::tables`]. The same table has the same place.
    Table(usize),
    /// A function that lives in the guest.
    Handle(u32),
    /// A function with its variables, in stored tables only: the table that describes it.
    StoredFunction(u32),
    /// A variable of a stored function, in stored tables only: the table that holds it.
    StoredUpvalue(u32),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// An inline table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Keys with their values, in the order in which they came.
    pub entries: Vec<(Value, Value)>,
}

/// A list of values that travel together. Tables stand beside the values, so that one can hold itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub values: Vec<Value>,
    pub tables: Vec<Table>,
}

/// A table that is not complete yet.
struct Open {
    table: usize,
    array: u32,
    pairs: u32,
    index: i64,
    key: Option<Value>,
}

impl Message {
    /// Values without inline tables.
    pub fn new(values: impl IntoIterator<Item = Value>) -> Self {
        Self { values: values.into_iter().collect(), tables: Vec::new() }
    }

    /// The value at `index`, nil when there are fewer: as Lua sees missing values.
    pub fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Nil)
    }

    /// Takes encoded values apart. Without recursion: a guest may nest tables deeper than our stack is.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        let mut message = Self::default();
        let mut open: Vec<Open> = Vec::new();
        loop {
            while open.last().is_some_and(|table| table.array == 0 && table.pairs == 0) {
                open.pop();
            }
            if open.is_empty() && reader.0.is_empty() {
                return Ok(message);
            }

            let mut begun = None;
            let value = match reader.u8()? {
                0x00 => Value::Nil,
                0x01 => Value::Boolean(reader.u8()? != 0),
                0x02 => Value::Integer(i64::from_le_bytes(reader.array()?)),
                0x03 => Value::Float(f64::from_le_bytes(reader.array()?)),
                0x04 => Value::String(reader.bytes()?),
                0x05 => Value::Bytecode(reader.bytes()?),
                0x06 => Value::Builtin(reader.bytes()?),
                0x07 => Value::External(reader.u32()?),
                0x08 => {
                    let table = message.tables.len();
                    message.tables.push(Table::default());
                    begun = Some(Open { table, array: reader.u32()?, pairs: reader.u32()?, index: 0, key: None });
                    Value::Table(table)
                }
                0x09 => match usize::try_from(reader.u32()?) {
                    Ok(table) if table < message.tables.len() => Value::Table(table),
                    _ => return Err(protocol("a table of the message did not begin yet")),
                },
                0x0a => Value::Handle(reader.u32()?),
                0x0b => Value::StoredFunction(reader.u32()?),
                0x0c => Value::StoredUpvalue(reader.u32()?),
                tag => return Err(protocol(format!("unknown tag {tag}"))),
            };
            match open.last_mut() {
                Some(parent) => {
                    let entry = parent.complete(value)?;
                    if let Some(table) = message.tables.get_mut(parent.table) {
                        table.entries.extend(entry);
                    }
                }
                None => message.values.push(value),
            }
            open.extend(begun);
        }
    }

    /// The encoded form.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut numbers = vec![None; self.tables.len()];
        let mut count = 0u32;
        let mut todo: Vec<&Value> = self.values.iter().rev().collect();
        while let Some(value) = todo.pop() {
            match value {
                Value::Nil => bytes.push(0x00),
                Value::Boolean(flag) => bytes.extend([0x01, u8::from(*flag)]),
                Value::Integer(number) => tagged(&mut bytes, 0x02, &number.to_le_bytes()),
                Value::Float(number) => tagged(&mut bytes, 0x03, &number.to_le_bytes()),
                Value::String(text) => sized(&mut bytes, 0x04, text)?,
                Value::Bytecode(code) => sized(&mut bytes, 0x05, code)?,
                Value::Builtin(name) => sized(&mut bytes, 0x06, name)?,
                Value::External(id) => tagged(&mut bytes, 0x07, &id.to_le_bytes()),
                Value::Table(index) => {
                    let (Some(table), Some(number)) = (self.tables.get(*index), numbers.get_mut(*index)) else {
                        return Err(Error::Unsendable("a table that is not in its message"));
                    };
                    if let Some(number) = number {
                        tagged(&mut bytes, 0x09, &u32::to_le_bytes(*number));
                        continue;
                    }
                    *number = Some(count);
                    count += 1;
                    tagged(&mut bytes, 0x08, &0u32.to_le_bytes());
                    bytes.extend(length(table.entries.len())?);
                    todo.extend(table.entries.iter().rev().flat_map(|(key, value)| [value, key]));
                }
                Value::Handle(handle) => tagged(&mut bytes, 0x0a, &handle.to_le_bytes()),
                Value::StoredFunction(_) | Value::StoredUpvalue(_) => {
                    return Err(Error::Unsendable("part of a stored function"));
                }
            }
        }
        Ok(bytes)
    }

    /// All values for people to read.
    pub fn show(&self) -> String {
        let mut shown = vec![false; self.tables.len()];
        let values: Vec<_> = self.values.iter().map(|value| self.show_value(value, &mut shown, 0)).collect();
        values.join(", ")
    }

    fn show_value(&self, value: &Value, shown: &mut [bool], depth: u32) -> String {
        match value {
            Value::Nil => "nil".into(),
            Value::Boolean(flag) => flag.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::String(text) => quote(text),
            Value::Bytecode(_) => "function (bytecode)".into(),
            Value::Builtin(name) => format!("built-in {}", String::from_utf8_lossy(name)),
            Value::External(id) => format!("external table {id}"),
            Value::Handle(_) => "function (handle)".into(),
            Value::StoredFunction(_) => "function (stored)".into(),
            Value::StoredUpvalue(id) => format!("upvalue in table {id}"),
            Value::Table(index) => {
                let (Some(table), Some(seen)) = (self.tables.get(*index), shown.get_mut(*index)) else {
                    return "no table".into();
                };
                if std::mem::replace(seen, true) {
                    return "{the same table}".into();
                }
                if depth == 8 {
                    return "{...}".into();
                }
                let mut show = |value| self.show_value(value, shown, depth + 1);
                let entries: Vec<_> =
                    table.entries.iter().map(|(key, value)| format!("[{}] = {}", show(key), show(value))).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}

impl Open {
    /// Takes the next value of the table; what is now an entry.
    fn complete(&mut self, value: Value) -> Result<Option<(Value, Value)>, Error> {
        if self.array > 0 {
            self.array -= 1;
            self.index += 1;
            return Ok((value != Value::Nil).then_some((Value::Integer(self.index), value)));
        }
        if let Some(key) = self.key.take() {
            self.pairs -= 1;
            return Ok(Some((key, value)));
        }
        if value == Value::Nil || matches!(value, Value::Float(number) if number.is_nan()) {
            return Err(protocol("a table key is nil or NaN"));
        }
        self.key = Some(value);
        Ok(None)
    }
}

/// The bytes that are left.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| protocol("a value is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| protocol("a value is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(self.u32()?).map_err(|_| protocol("a value is cut off"))?;
        self.take(length).map(<[u8]>::to_vec)
    }
}

fn tagged(bytes: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    bytes.push(tag);
    bytes.extend(payload);
}

fn sized(bytes: &mut Vec<u8>, tag: u8, payload: &[u8]) -> Result<(), Error> {
    tagged(bytes, tag, &length(payload.len())?);
    bytes.extend(payload);
    Ok(())
}

fn length(length: usize) -> Result<[u8; 4], Error> {
    u32::try_from(length).map(u32::to_le_bytes).map_err(|_| Error::Unsendable("more than 4 GiB"))
}

fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a String does not fail.
            _ => _ = write!(text, "\\x{byte:02x}"),
        }
    }
    text.push('"');
    text
}
