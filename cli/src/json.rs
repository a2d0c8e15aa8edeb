//! JSON in and out. The core defines how values and JSON correspond. Here it is an error if something would be lost on
//! the way.

use std::fmt;

use anyhow::{Context, Result, bail};
use luacell::{Error, ErrorKind, Table, Value};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::de::Deserializer;
use serde_json::{Map, Value as Json};

use crate::path;
use crate::source::without_mark;

/// As deep as the core writes JSON.
const MAX_DEPTH: usize = 500;

/// Reads one JSON value. null is nil, which leaves a gap in an array.
pub fn parse(text: &[u8]) -> Result<Value> {
    read(text, true)
}

/// The same for what is to be kept as it is: null in an array is an error.
pub fn parse_to_keep(text: &[u8]) -> Result<Value> {
    read(text, false)
}

fn read(text: &[u8], gaps: bool) -> Result<Value> {
    let text = without_mark(text);
    let mut reader = Deserializer::from_slice(text);
    // `Exact` counts.
    reader.disable_recursion_limit();
    let json = Exact { depth: 0, in_array: false, gaps }.deserialize(&mut reader).context("not valid JSON")?;
    reader.end().context("not valid JSON")?;
    if let Some((line, column, number)) = too_large(text) {
        bail!("the integer {number} at line {line} column {column} does not fit 64 bits: write it as text");
    }
    Ok(Value::from(json))
}

/// Reads JSON as serde_json does, but for what it leaves out in silence: the first of two equal keys, for one.
#[derive(Clone, Copy)]
struct Exact {
    depth: usize,
    in_array: bool,
    gaps: bool,
}

impl Exact {
    fn inside<E: serde::de::Error>(self, in_array: bool) -> Result<Self, E> {
        match self.depth {
            MAX_DEPTH => Err(E::custom(format!("more than {MAX_DEPTH} levels"))),
            depth => Ok(Exact { depth: depth + 1, in_array, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Exact {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Json, E> {
        if self.in_array && !self.gaps {
            return Err(E::custom("null in an array: a table can't hold nil, so what follows would be lost"));
        }
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inside = self.inside(true)?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            all.push(item);
        }
        Ok(Json::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let inside = self.inside(false)?;
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            all.insert(key, entries.next_value_seed(inside)?);
        }
        Ok(Json::Object(all))
    }
}

/// The first integer in valid JSON that is none of Lua's, and its line and column; serde_json would make a float of it,
/// which is another number.
fn too_large(text: &[u8]) -> Option<(usize, usize, &str)> {
    let (mut line, mut line_start, mut at) = (1, 0, 0);
    while let Some(byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b'\n' => (line, line_start) = (line + 1, at),
            b'"' => {
                while let Some(byte) = text.get(at).filter(|byte| **byte != b'"') {
                    at += if *byte == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let len = text.get(start..)?.iter().take_while(|byte| is_part(byte)).count();
                at = start + len;
                let number = std::str::from_utf8(text.get(start..at)?).ok()?;
                if !number.contains(['.', 'e', 'E']) && number.parse::<i64>().is_err() {
                    return Some((line, start - line_start + 1, number));
                }
            }
            _ => {}
        }
    }
    None
}

/// The results of a run as JSON text: none is null, one is itself, several are an array.
pub fn from_results(values: &[Value]) -> Result<String, Error> {
    let json = match values {
        [] => Json::Null,
        [value] => Json::try_from(value)?,
        several => Json::Array(several.iter().map(Json::try_from).collect::<Result<_, _>>()?),
    };
    serde_json::to_string(&json).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
}

/// `_home` as JSON text from which the same can be made again.
pub fn from_home(home: &Table) -> Result<String, Error> {
    // This also bounds the depth.
    let text = from_results(&[Value::Table(home.clone())])?;
    comes_back(home, &mut Vec::new(), &mut Default::default())?;
    Ok(text)
}

/// Refuses what JSON has another value for.
fn comes_back(
    table: &Table,
    way: &mut Vec<Value>,
    seen: &mut std::collections::HashMap<(usize, u32), String>,
) -> Result<(), Error> {
    let refuse = |what: &str, way: &[Value]| {
        let place = path::show(way);
        Err(Error::new(ErrorKind::Conversion, format!("{what} would not come back from JSON (_home: {place})")))
    };
    if let Some(first) = seen.insert(table.identity(), path::show(way)) {
        return refuse(&format!("one table in two places, the other being {first},"), way);
    }
    let is_array = table.is_sequence();
    for (key, value) in table.pairs() {
        let is_number = matches!(key, Value::Integer(_));
        way.push(key);
        if is_number && !is_array {
            return refuse("a number as a key, beside other keys or with gaps,", way);
        }
        if let Value::Table(inner) = &value {
            comes_back(inner, way, seen)?;
        }
        way.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_results_are_an_array() -> Result<()> {
        assert_eq!(from_results(&[])?, "null");
        assert_eq!(from_results(&[Value::Integer(3)])?, "3");
        assert_eq!(from_results(&[Value::Integer(3), Value::Float(3.0), Value::Nil])?, "[3,3.0,null]");
        Ok(())
    }

    #[test]
    fn text_that_is_no_json() {
        for text in ["", "{", "nil", "[1,]", "1 2"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_would_be_lost_is_refused_with_its_place() {
        for (text, part) in [
            ("[1,\n 9223372036854775808]", "9223372036854775808 at line 2 column 2"),
            ("{\"a\": -9223372036854775809}", "column 7"),
            ("[\"\\\"9223372036854775808\", 123456789012345678901234567890]", "column 27"),
            ("{\"a\": 1, \"b\": {\"a\": 2, \"a\": 3}}", "\"a\" is there twice at line 1 column 26"),
            (&"[".repeat(501), "500 levels"),
            (&format!("{}{}", "{\"a\":".repeat(501), "}".repeat(501)), "500 levels"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
        for exact in
            ["[9223372036854775807,-9223372036854775808]", "[1e19,0.1,\"9223372036854775808\"]", "{\"a\":{\"a\":[]}}"]
        {
            assert!(parse(exact.as_bytes()).is_ok(), "{exact}");
        }
        assert!(parse(b"[1, null]").is_ok());
        assert!(format!("{:#}", parse_to_keep(b"{\"a\": [1, null]}").unwrap_err()).contains("line 1 column 14"));
        assert!(parse_to_keep(b"{\"a\": null}").is_ok());
        assert!(parse(&format!("{}{}", "[".repeat(500), "]".repeat(500)).into_bytes()).is_ok());
    }

    #[test]
    fn a_mark_of_the_byte_order_is_skipped() {
        assert_eq!(parse(b"\xEF\xBB\xBF3").unwrap(), Value::Integer(3));
    }
}
