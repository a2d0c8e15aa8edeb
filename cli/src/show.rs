//! Values as people read them.

use std::collections::HashMap;

use luacell::{LuaString, StoredTable, Table, Value};

use crate::number::float;
use crate::terminal;

/// A table goes on one line when it is not longer than this.
const WIDTH: usize = 80;
/// Tables nested deeper than this are cut short: nobody reads them, and they would use up the stack.
const DEPTH: usize = 100;

/// A result of a script: strings as they are, everything else readable.
pub fn result(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        other => readable(other).into_bytes(),
    }
}

/// The value in the way of Lua's own syntax. A table that occurs more than once, in itself too, is written out at its
/// first place, marked `<1>{...}`, and named `<table 1>` at the others.
pub fn readable(value: &Value) -> String {
    let mut shower = Shower::default();
    shower.survey(value);
    let mut out = String::new();
    shower.write(value, 0, 0, &mut out);
    out
}

type Identity = (usize, u32);

/// What is known of a table that occurs.
#[derive(Clone, Copy)]
enum Seen {
    Once,
    Often,
    /// Written out under this number.
    Written(usize),
}

#[derive(Default)]
struct Shower {
    tables: HashMap<Identity, Seen>,
    /// Stored tables, read once each: a copy's identity stands for the table's. Tables in them stay views, or what many
    /// share would be copied many times.
    stored: HashMap<u32, Result<Table, String>>,
    numbers: usize,
}

impl Shower {
    /// Finds the tables that occur more than once. Not recursive: data can be nested deeper than the stack.
    fn survey(&mut self, value: &Value) {
        let mut waiting = vec![value.clone()];
        while let Some(value) = waiting.pop() {
            let Some(table) = self.table(&value) else {
                continue;
            };
            let Ok(table) = table else { continue };
            match self.tables.get_mut(&table.identity()) {
                Some(seen) => *seen = Seen::Often,
                None => {
                    self.tables.insert(table.identity(), Seen::Once);
                    for (key, value) in table.pairs() {
                        waiting.push(key);
                        waiting.push(value);
                    }
                }
            }
        }
    }

    /// The table that a value is or stands for.
    fn table(&mut self, value: &Value) -> Option<Result<Table, String>> {
        match value {
            Value::Table(table) => Some(Ok(table.clone())),
            Value::StoredTable(stored) => {
                let copy = self.stored.entry(stored.id());
                Some(copy.or_insert_with(|| content(stored).map_err(|error| error.to_string())).clone())
            }
            _ => None,
        }
    }

    fn write(&mut self, value: &Value, column: usize, depth: usize, out: &mut String) {
        let table = match self.table(value) {
            None => return out.push_str(&scalar(value)),
            Some(Err(message)) => {
                return out.push_str(&format!("<table: {}>", terminal::text(message.as_bytes())));
            }
            Some(Ok(table)) => table,
        };
        match self.tables.get(&table.identity()) {
            Some(Seen::Written(number)) => return out.push_str(&format!("<table {number}>")),
            Some(Seen::Often) => {
                self.numbers += 1;
                self.tables.insert(table.identity(), Seen::Written(self.numbers));
                out.push_str(&format!("<{}>", self.numbers));
            }
            _ => {}
        }
        if table.is_empty() {
            return out.push_str("{}");
        }
        if depth >= DEPTH {
            return out.push_str("{...}");
        }
        if let Some(line) = self.one_line(&table, WIDTH.saturating_sub(column)) {
            return out.push_str(&line);
        }
        let indent = "  ".repeat(depth + 1);
        out.push_str("{\n");
        for (key, value) in entries(&table) {
            out.push_str(&indent);
            let start = out.len();
            if let Some(key) = key {
                out.push_str(&self.key(&key, WIDTH / 2));
                out.push_str(" = ");
            }
            let column = indent.len() + out.len() - start;
            self.write(&value, column, depth + 1, out);
            out.push_str(",\n");
        }
        out.push_str(&"  ".repeat(depth));
        out.push('}');
    }

    /// The table on one line, if it has room and holds no table that needs a mark.
    fn one_line(&mut self, table: &Table, room: usize) -> Option<String> {
        // Each entry takes three characters at least, with its comma.
        if table.count().saturating_mul(3) > room {
            return None;
        }
        let mut line = String::from("{");
        for (key, value) in entries(table) {
            if line.len() > 1 {
                line.push_str(", ");
            }
            if let Some(key) = key {
                line.push_str(&self.key(&key, room.checked_sub(line.len())?));
                line.push_str(" = ");
            }
            match self.table(&value) {
                None => line.push_str(&scalar(&value)),
                Some(Err(_)) => return None,
                Some(Ok(inner)) => match self.tables.get(&inner.identity()) {
                    Some(Seen::Written(number)) => line.push_str(&format!("<table {number}>")),
                    Some(Seen::Often) => return None,
                    _ => line.push_str(&self.one_line(&inner, room.checked_sub(line.len() + 1)?)?),
                },
            }
            if line.chars().count() >= room {
                return None;
            }
        }
        line.push('}');
        Some(line)
    }

    fn plain(&self, table: &Table) -> bool {
        matches!(self.tables.get(&table.identity()), None | Some(Seen::Once))
    }

    /// What stands before ` = `. A table is shown if it has room on one line, which also bounds how deep tables as keys
    /// of tables can go.
    fn key(&mut self, key: &Value, room: usize) -> String {
        match key {
            Value::String(text) => match text.as_str() {
                Some(name) if is_name(name) => name.to_owned(),
                _ => format!("[{}]", quoted(text)),
            },
            Value::Table(_) | Value::StoredTable(_) => match self.table(key) {
                Some(Ok(table)) if self.plain(&table) => {
                    let line = room.checked_sub(2).and_then(|room| self.one_line(&table, room));
                    format!("[{}]", line.unwrap_or_else(|| "{...}".to_owned()))
                }
                _ => "[{...}]".to_owned(),
            },
            other => format!("[{}]", scalar(other)),
        }
    }
}

/// What is in a stored table itself.
fn content(stored: &StoredTable) -> luacell::Result<Table> {
    let mut table = Table::new();
    for (key, value) in stored.entries()? {
        table.set(key, value)?;
    }
    Ok(table)
}

/// The entries in reading order; the keys of the sequence are left out.
fn entries(table: &Table) -> Vec<(Option<Value>, Value)> {
    let mut entries: Vec<(Option<Value>, Value)> = table.sequence().map(|value| (None, value)).collect();
    let length = entries.len() as i64;
    let in_sequence = |key: &Value| matches!(key, Value::Integer(n) if (1..=length).contains(n));
    let mut others: Vec<(Value, Value)> = table.pairs().filter(|(key, _)| !in_sequence(key)).collect();
    others.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| order(a, b)));
    entries.extend(others.into_iter().map(|(key, value)| (Some(key), value)));
    entries
}

/// Numbers first, then strings, then the rest.
fn rank(key: &Value) -> u8 {
    match key {
        Value::Integer(_) | Value::Float(_) => 0,
        Value::String(_) => 1,
        Value::Boolean(_) => 2,
        _ => 3,
    }
}

fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        _ => number(a).total_cmp(&number(b)),
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        _ => f64::INFINITY,
    }
}

/// Everything but tables.
fn scalar(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Null => "json.null".to_owned(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::String(text) => quoted(text),
        Value::Function(_) => "<function>".to_owned(),
        other => format!("<{other:?}>"),
    }
}

/// Whether a key can be written without brackets and quotes.
fn is_name(text: &str) -> bool {
    const RESERVED: [&str; 22] = [
        "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
        "not", "or", "repeat", "return", "then", "true", "until", "while",
    ];
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && characters.all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&text)
}

/// A Lua string literal on one line, without anything that a terminal would not show.
pub fn quoted(text: &LuaString) -> String {
    let mut out = String::from("\"");
    for chunk in text.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if terminal::is_hidden(c) => terminal::escape(c, &mut out),
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|&byte| terminal::escape_byte(byte, &mut out));
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::String(LuaString::from(text))
    }

    #[test]
    fn strings_are_raw_as_results_and_quoted_within() {
        assert_eq!(result(&string("a\"b\n")), b"a\"b\n");
        assert_eq!(readable(&string("a\"b\\\n\t\u{1b}\u{9b}é")), r#""a\"b\\\n\t\x1b\u{9b}é""#);
        assert_eq!(readable(&Value::String(LuaString::from(b"\xff\x00a"))), r#""\xff\x00a""#);
    }

    #[test]
    fn names_need_no_brackets() {
        assert!(is_name("_a1"));
        for other in ["", "1a", "end", "é", "a-b"] {
            assert!(!is_name(other), "{other}");
        }
    }
}
