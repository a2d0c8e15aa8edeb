//! Between values and JSON.

use serde_json::{Map, Number, Value as Json};

use crate::value::{Error, Result, Shape, Slot, Table, TableBuilder, TableRef, Value};

/// A small table that is shared many times would become arbitrarily large as JSON. A value that is written out may have
/// this many times as many parts as it really has.
const MAX_REPEATS: usize = 10;
/// Or as many as this, if that is more.
const FREE_VALUES: usize = 100_000;

/// Deeper JSON is refused, because `serde_json::Value` itself is dropped recursively.
const MAX_DEPTH: usize = 500;

/// Objects become maps with string keys, and arrays become lists (null leaves a gap). Numbers become integers if
/// they are written as integers and fit, else floats.
impl From<Json> for Value {
    fn from(json: Json) -> Self {
        let mut builder = TableBuilder::new();
        let mut pending: Vec<(TableRef, Json)> = Vec::new();
        let root = match begin(&mut builder, &json) {
            Some(table) => table,
            None => return plain(&json),
        };
        pending.push((root, json));
        while let Some((table, json)) = pending.pop() {
            let (keys, items): (Vec<Value>, Vec<Json>) = match json {
                Json::Array(items) => (Vec::new(), items),
                Json::Object(entries) => entries.into_iter().map(|(key, item)| (Value::from(key), item)).unzip(),
                _ => continue,
            };
            let mut keys = keys.into_iter();
            for item in items {
                let slot = match begin(&mut builder, &item) {
                    Some(inner) => {
                        pending.push((inner, item));
                        inner.into()
                    }
                    None => Slot::Value(plain(&item)),
                };
                match keys.next() {
                    Some(key) => builder.put(table, Slot::Value(key), slot),
                    None => builder.push(table, slot),
                }
            }
        }
        Value::Table(builder.finish(root))
    }
}

/// A new table for what is to be one.
fn begin(builder: &mut TableBuilder, json: &Json) -> Option<TableRef> {
    match json {
        Json::Array(_) => Some(builder.shaped_table(Shape::List)),
        Json::Object(_) => Some(builder.shaped_table(Shape::Map)),
        _ => None,
    }
}

fn plain(json: &Json) -> Value {
    match json {
        Json::Bool(b) => Value::Boolean(*b),
        Json::Number(n) => match n.as_i64() {
            Some(n) => Value::Integer(n),
            None => n.as_f64().map_or(Value::Nil, Value::Float),
        },
        Json::String(s) => Value::from(s.as_str()),
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Nil,
    }
}

/// A table whose content is being written.
struct Open {
    key: Option<String>,
    place: Value,
    table: Table,
    entries: std::vec::IntoIter<(Value, Value)>,
    json: Json,
}

/// A [list](Table::is_list) becomes an array. Any other table becomes an object with its string keys, or the decimal form of
/// integer keys. An empty table becomes an empty object, unless it is said to be a list. A stored table is read through.
///
/// `Conversion`, naming the place, for what JSON does not have: floats that are not finite, strings that are not UTF-8,
/// other keys, two keys with the same text (`1` and `"1"`), functions, cycles, more than 500 levels, and tables that
/// are shared so often that they would become more than ten times as large.
impl TryFrom<&Value> for Json {
    type Error = Error;

    fn try_from(value: &Value) -> Result<Json> {
        let mut open: Vec<Open> = Vec::new();
        let mut count = 0usize;
        let mut seen = std::collections::HashSet::new();
        let mut real = 0usize;
        let mut current = (None, Value::Nil, value.clone());
        loop {
            let (key, place, value) = current;
            count += 1;
            let fail = |what: &str, open: &[Open], place: &Value| {
                let keys: Vec<Value> = open.iter().skip(1).map(|o| o.place.clone()).collect();
                let keys = if open.is_empty() { keys } else { keys.into_iter().chain([place.clone()]).collect() };
                Error::conversion(format!(
                    "{what} can't be written as JSON ({})",
                    crate::value::path::path("value", keys.into_iter())
                ))
            };
            if count > FREE_VALUES.max(real.saturating_mul(MAX_REPEATS)) {
                return Err(fail("a value with so much repetition", &open, &place));
            }
            let table = match &value {
                Value::Table(table) => Some(table.clone()),
                Value::StoredTable(table) => Some(table.to_table()?),
                _ => None,
            };
            let mut done = if let Some(table) = table {
                if open.len() >= MAX_DEPTH {
                    return Err(fail("a table nested this deeply", &open, &place));
                }
                if open.iter().any(|o| o.table.identity() == table.identity()) {
                    return Err(fail("a cycle", &open, &place));
                }
                if seen.insert(table.identity()) {
                    real += table.count();
                }
                let is_list = table.is_list();
                let json = if is_list { Json::Array(Vec::new()) } else { Json::Object(Map::new()) };
                let entries: Vec<_> = match is_list {
                    true => (1..).map(Value::Integer).zip(table.sequence()).collect(),
                    false => table.pairs().collect(),
                };
                let entries = entries.into_iter();
                open.push(Open { key, place, table, entries, json });
                None
            } else {
                Some((key, to_plain(&value).map_err(|what| fail(what, &open, &place))?))
            };
            // Put finished values where they belong until there is another one to start.
            current = loop {
                let Some(top) = open.last_mut() else {
                    return Ok(done.map_or(Json::Null, |(_, json)| json));
                };
                if let Some((key, json)) = done.take() {
                    match (&mut top.json, key) {
                        (Json::Array(items), _) => items.push(json),
                        (Json::Object(entries), Some(key)) => drop(entries.insert(key, json)),
                        _ => {}
                    }
                }
                match top.entries.next() {
                    Some((key, value)) => {
                        let text = match (&top.json, &key) {
                            (Json::Array(_), _) => None,
                            (_, Value::Integer(n)) => Some(n.to_string()),
                            (_, Value::String(s)) if s.as_str().is_some() => s.as_str().map(str::to_owned),
                            _ => return Err(fail("a key of this kind", &open, &key)),
                        };
                        if let (Json::Object(entries), Some(text)) = (&top.json, &text)
                            && entries.contains_key(text)
                        {
                            let what = format!("both keys {text} and \"{text}\", the number and the string,");
                            return Err(fail(&what, &open, &key));
                        }
                        break (text, key, value);
                    }
                    None => done = open.pop().map(|o| (o.key, o.json)),
                }
            };
        }
    }
}

impl TryFrom<Value> for Json {
    type Error = Error;

    fn try_from(value: Value) -> Result<Json> {
        Json::try_from(&value)
    }
}

fn to_plain(value: &Value) -> Result<Json, &'static str> {
    match value {
        Value::Nil | Value::Null | Value::Table(_) | Value::StoredTable(_) => Ok(Json::Null),
        Value::Boolean(b) => Ok(Json::Bool(*b)),
        Value::Integer(n) => Ok(Json::Number((*n).into())),
        Value::Float(x) => Number::from_f64(*x).map(Json::Number).ok_or("a float that is not finite"),
        Value::String(s) => s.as_str().map(Json::from).ok_or("a string that is not UTF-8"),
        Value::Function(_) => Err("a function"),
        Value::Object(_) => Err("an object of the host"),
    }
}
