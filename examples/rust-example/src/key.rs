//! Keys of stored tables as text; keys that are not plain text are escaped.

use crate::Value;

/// The Lua key behind the text of a stored table's key. What starts like an escaped key and is none is the string
/// itself.
pub fn decode_key(text: &str) -> Value {
    let other = match text.split_at_checked(2) {
        Some(("\\s", rest)) => unescape(rest).map(Value::String),
        Some(("\\f", rest)) => float(rest).map(Value::Float),
        Some(("\\b", "true")) => Some(Value::Boolean(true)),
        Some(("\\b", "false")) => Some(Value::Boolean(false)),
        _ => integer(text).map(Value::Integer),
    };
    other.unwrap_or_else(|| text.into())
}

/// Digits as Lua writes them: no leading zeros, no plus.
fn integer(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| number.to_string() == text)
}

fn float(text: &str) -> Option<f64> {
    match text {
        "inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        // Rust reads names such as "infinity" too.
        _ => text.parse().ok().filter(|_| !text.contains(|c: char| c.is_ascii_alphabetic() && c != 'e')),
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut pieces = text.split('\\');
    bytes.extend(pieces.next()?.as_bytes());
    while let Some(piece) = pieces.next() {
        let (byte, rest) = match piece.split_at_checked(1) {
            Some(("n", rest)) => (b'\n', rest),
            Some(("x", rest)) => {
                let (hex, rest) = rest.split_at_checked(2)?;
                (u8::from_str_radix(hex, 16).ok()?, rest)
            }
            // Nothing between two backslashes: they stand for one.
            None => (b'\\', pieces.next()?),
            _ => return None,
        };
        bytes.push(byte);
        bytes.extend(rest.as_bytes());
    }
    Some(bytes)
}
