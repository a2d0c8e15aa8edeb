//! Printing values for people who debug.

use std::collections::HashMap;
use std::fmt;

use super::{Table, Value};

enum Work {
    Value(Value),
    Text(&'static str),
}

/// Prints in Lua's notation. A table that was printed already is given by its number only, so that shared and cyclic
/// tables end.
fn write(f: &mut fmt::Formatter<'_>, first: Value) -> fmt::Result {
    let mut seen: HashMap<(usize, u32), usize> = HashMap::new();
    let mut stack = vec![Work::Value(first)];
    while let Some(work) = stack.pop() {
        let value = match work {
            Work::Text(text) => {
                f.write_str(text)?;
                continue;
            }
            Work::Value(value) => value,
        };
        let table = match value {
            Value::Table(table) => table,
            other => {
                write_plain(f, &other)?;
                continue;
            }
        };
        let number = seen.len() + 1;
        if let Some(number) = seen.get(&table.identity()) {
            write!(f, "table {number}")?;
            continue;
        }
        seen.insert(table.identity(), number);
        f.write_str("{")?;
        let mut parts = Vec::new();
        let sequence = table.len();
        for (i, value) in table.sequence().enumerate() {
            if i > 0 {
                parts.push(Work::Text(", "));
            }
            parts.push(Work::Value(value));
        }
        let others =
            table.pairs().filter(|(k, _)| !matches!(k, Value::Integer(n) if *n >= 1 && *n as u64 <= sequence as u64));
        for (key, value) in others {
            if !parts.is_empty() {
                parts.push(Work::Text(", "));
            }
            parts.extend([Work::Text("["), Work::Value(key), Work::Text("] = "), Work::Value(value)]);
        }
        stack.push(Work::Text("}"));
        stack.extend(parts.into_iter().rev());
    }
    Ok(())
}

fn write_plain(f: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Nil | Value::Table(_) => f.write_str("nil"),
        Value::Null => f.write_str("null"),
        Value::Boolean(b) => write!(f, "{b}"),
        Value::Integer(n) => write!(f, "{n}"),
        Value::Float(x) => write!(f, "{x:?}"),
        Value::String(s) => write!(f, "{s:?}"),
        Value::StoredTable(t) => write!(f, "{t:?}"),
        Value::Function(function) => write!(f, "{function:?}"),
        Value::Object(object) => write!(f, "{object:?}"),
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Table(table) => write(f, Value::Table(table.clone())),
            other => write_plain(f, other),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, Value::Table(self.clone()))
    }
}
