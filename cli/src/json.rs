//! JSON in and out.

use anyhow::{Context, Result};
use luacell::{Error, ErrorKind, LuaString, Table, Value};
use serde_json::{Map, Number, Value as Json};

use crate::number::float;

/// As deep as serde_json reads.
const DEPTH: usize = 128;

/// Reads one JSON value.
pub fn parse(text: &[u8]) -> Result<Value> {
    let json: Json = serde_json::from_slice(text).context("not valid JSON")?;
    into_lua(json)
}

fn into_lua(json: Json) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Boolean(value),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Float(number.as_f64().context("a number is out of range")?),
        },
        Json::String(text) => Value::String(LuaString::from(&text)),
        Json::Array(items) => {
            let mut table = Table::new();
            for (index, item) in (1_i64..).zip(items) {
                table.set(Value::Integer(index), into_lua(item)?)?;
            }
            Value::Table(table)
        }
        Json::Object(entries) => {
            let mut table = Table::new();
            for (key, value) in entries {
                table.set(Value::String(LuaString::from(&key)), into_lua(value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// The results of a run as JSON text: nothing is null, one is itself, several are an array.
pub fn from_results(values: &[Value]) -> Result<String, Error> {
    let json = match values {
        [] => Json::Null,
        [value] => from_lua(value, &Place::Result(None))?,
        several => {
            let mut items = Vec::with_capacity(several.len());
            for (index, value) in (1..).zip(several) {
                items.push(from_lua(value, &Place::Result(Some(index)))?);
            }
            Json::Array(items)
        }
    };
    serde_json::to_string(&json).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

/// Where in the results a value stands, for messages, and in which tables, to find cycles.
enum Place<'a> {
    Result(Option<usize>),
    Inside {
        outer: &'a Place<'a>,
        table: &'a Table,
        key: &'a str,
    },
}

impl Place<'_> {
    fn path(&self) -> String {
        match self {
            Self::Result(None) => "the result".to_owned(),
            Self::Result(Some(index)) => format!("result {index}"),
            Self::Inside { outer, key, .. } => format!("{}.{key}", outer.path()),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Result(_) => 0,
            Self::Inside { outer, .. } => 1 + outer.depth(),
        }
    }

    fn is_inside(&self, wanted: &Table) -> bool {
        match self {
            Self::Result(_) => false,
            Self::Inside { outer, table, .. } => {
                table.identity() == wanted.identity() || outer.is_inside(wanted)
            }
        }
    }

    fn error(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Conversion,
            format!("{} can't be JSON: {what}", self.path()),
        )
    }
}

fn from_lua(value: &Value, place: &Place) -> Result<Json, Error> {
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Boolean(value) => Json::Bool(*value),
        Value::Integer(number) => Json::from(*number),
        Value::Float(number) => Number::from_f64(*number)
            .map(Json::Number)
            .ok_or_else(|| place.error(&float(*number)))?,
        Value::String(text) => Json::from(
            text.as_str()
                .ok_or_else(|| place.error("a string that is not UTF-8"))?,
        ),
        Value::Table(table) => from_table(table, place)?,
        Value::StoredTable(stored) => from_table(&stored.to_table()?, place)?,
        Value::Function(_) => return Err(place.error("a function")),
        _ => return Err(place.error("a value of an unknown kind")),
    })
}

/// A table that is a sequence and nothing else is an array, every other one an object.
fn from_table(table: &Table, place: &Place) -> Result<Json, Error> {
    if place.is_inside(table) {
        return Err(place.error("a table that holds itself"));
    }
    if place.depth() >= DEPTH {
        return Err(place.error("nested too deeply"));
    }
    if table.is_sequence() {
        let mut items = Vec::with_capacity(table.len());
        for (index, value) in (1_usize..).zip(table.sequence()) {
            let key = index.to_string();
            items.push(from_lua(
                &value,
                &Place::Inside {
                    outer: place,
                    table,
                    key: &key,
                },
            )?);
        }
        return Ok(Json::Array(items));
    }
    let mut entries = Map::new();
    for (key, value) in table.pairs() {
        let key = match &key {
            Value::String(text) => text
                .as_str()
                .ok_or_else(|| place.error("it has a key that is not UTF-8"))?
                .to_owned(),
            Value::Integer(number) => number.to_string(),
            _ => return Err(place.error("it has a key that is neither a string nor an integer")),
        };
        let json = from_lua(
            &value,
            &Place::Inside {
                outer: place,
                table,
                key: &key,
            },
        )?;
        if entries.insert(key.clone(), json).is_some() {
            return Err(place.error(&format!("it has the key {key} as a number and as a string")));
        }
    }
    Ok(Json::Object(entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_kind() -> Result<()> {
        assert_eq!(parse(b"3")?, Value::Integer(3));
        assert_eq!(parse(b"3.0")?, Value::Float(3.0));
        assert_eq!(parse(b"1e2")?, Value::Float(100.0));
        assert_eq!(
            parse(b"9223372036854775808")?,
            Value::Float(9223372036854775808.0)
        );
        assert_eq!(
            from_results(&[Value::Integer(3), Value::Float(3.0)])?,
            "[3,3.0]"
        );
        Ok(())
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let message =
            |values: &[Value]| from_results(values).map_err(|error| error.message().to_owned());
        assert_eq!(
            message(&[Value::Float(f64::NAN)]),
            Err("the result can't be JSON: nan".to_owned())
        );
        assert_eq!(
            message(&[Value::Nil, Value::String(LuaString::from(b"\xff"))]),
            Err("result 2 can't be JSON: a string that is not UTF-8".to_owned())
        );
    }

    #[test]
    fn text_that_is_no_json() {
        for text in ["", "{", "nil", "[1,]", "1 2"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
