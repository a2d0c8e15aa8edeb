//! JSON in and out; how values and JSON correspond is the core's affair.

use anyhow::{Context, Result};
use luacell::{Error, ErrorKind, Value};
use serde_json::Value as Json;

/// Reads one JSON value.
pub fn parse(text: &[u8]) -> Result<Value> {
    let json: Json = serde_json::from_slice(text).context("not valid JSON")?;
    Ok(Value::from(json))
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
}
