//! Keys of stored tables: Lua values as UTF-8 text and back. The forms are in `docs/MEMORY_PROTOCOL.md`.

use std::borrow::Cow;
use std::fmt::Write;

use crate::value::{Error, LuaString, Result, Value, exact_integer};

const ESCAPE: char = '\\';
/// Decoders drop it at the start of a text, so it is no plain key there.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The integer that this text is the plain form of.
fn integer_text(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plausible = match digits {
        [] => false,
        [b'0', ..] => text.len() == 1,
        _ => digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit),
    };
    if !plausible {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Writes a value as the text of a key.
///
/// # Errors
/// `InvalidArgument` for nil and NaN, `Conversion` for what cannot be a key of a stored table.
pub(crate) fn encode(key: &Value, out: &mut String) -> Result<()> {
    out.clear();
    match key {
        Value::Integer(n) => write_integer(*n, out),
        Value::Float(x) if x.is_nan() => return Err(Error::invalid("a table key must not be NaN")),
        Value::Float(x) => match exact_integer(*x) {
            Some(n) => write_integer(n, out),
            None => {
                out.push_str("\\f");
                write_float(*x, out);
            }
        },
        Value::String(s) => write_string(s.as_bytes(), out),
        Value::Boolean(b) => out.push_str(if *b { "\\btrue" } else { "\\bfalse" }),
        Value::Nil => return Err(Error::invalid("a table key must not be nil")),
        Value::Table(_) | Value::StoredTable(_) | Value::Function(_) | Value::Object(_) | Value::Null => {
            return Err(Error::conversion(format!("can't use a {} as a key of a stored table", key.type_name())));
        }
    }
    Ok(())
}

fn write_integer(n: i64, out: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(out, "{n}");
}

fn write_string(bytes: &[u8], out: &mut String) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.is_empty()
        && !text.starts_with([ESCAPE, BYTE_ORDER_MARK])
        && !text.contains('\n')
        && integer_text(bytes).is_none()
    {
        out.push_str(text);
        return;
    }
    out.push_str("\\s");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ESCAPE => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// The shortest of `%.15g`, `%.16g` and `%.17g` that reads back as the same number.
fn write_float(x: f64, out: &mut String) {
    if x.is_infinite() {
        out.push_str(if x < 0.0 { "-inf" } else { "inf" });
        return;
    }
    for precision in 15..=17 {
        let text = format_g(x, precision);
        if precision == 17 || text.parse() == Ok(x) {
            out.push_str(&text);
            return;
        }
    }
}

/// C's `%.{precision}g` of a finite number.
fn format_g(x: f64, precision: usize) -> String {
    let scientific = format!("{:.*e}", precision - 1, x);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs());
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    trim_zeros(&format!("{x:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// The key that a text means. Text that is none of the escaped forms is the string itself.
pub(crate) fn decode(text: &[u8]) -> Value {
    if let Some(n) = integer_text(text) {
        return Value::Integer(n);
    }
    let value = match text {
        b"\\btrue" => Some(Value::Boolean(true)),
        b"\\bfalse" => Some(Value::Boolean(false)),
        [b'\\', b's', rest @ ..] => unescape(rest).map(|bytes| Value::String(bytes.into())),
        [b'\\', b'f', rest @ ..] => float_text(rest).map(|x| exact_integer(x).map_or(Value::Float(x), Value::Integer)),
        _ => None,
    };
    value.unwrap_or_else(|| Value::String(LuaString::new(text)))
}

/// The one form of the key that a text means.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    let is_plain = !text.is_empty() && !text.starts_with([ESCAPE, BYTE_ORDER_MARK]) && !text.contains('\n');
    let mut form = String::new();
    if is_plain || encode(&decode(text.as_bytes()), &mut form).is_err() || form == text {
        return Cow::Borrowed(text);
    }
    Cow::Owned(form)
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next()? {
            b'\\' => out.push(b'\\'),
            b'n' => out.push(b'\n'),
            b'x' => out.push(hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?),
            _ => return None,
        }
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn float_text(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" => return Some(f64::INFINITY),
        b"-inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let decimal = text.iter().all(|b| b.is_ascii_digit() || b"+-.e".contains(b));
    if !decimal || text.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(key: impl Into<Value>) -> String {
        let mut out = String::new();
        encode(&key.into(), &mut out).unwrap();
        out
    }

    #[test]
    fn the_documented_examples() {
        assert_eq!(text_of(42), "42");
        assert_eq!(text_of(-7), "-7");
        assert_eq!(text_of("name"), "name");
        assert_eq!(text_of("007"), "007");
        assert_eq!(text_of(""), "\\s");
        assert_eq!(text_of("42"), "\\s42");
        assert_eq!(text_of("a\nb"), "\\sa\\nb");
        assert_eq!(text_of(b"\xff"), "\\s\\xff");
        assert_eq!(text_of("\\d"), "\\s\\\\d");
        assert_eq!(text_of(0.5), "\\f0.5");
        assert_eq!(text_of(true), "\\btrue");
        assert_eq!(text_of(false), "\\bfalse");
    }

    #[test]
    fn numbers_are_those_of_c() {
        assert_eq!(text_of(3.0), "3");
        assert_eq!(text_of(-0.0), "0");
        assert_eq!(text_of(1e100), "\\f1e+100");
        assert_eq!(text_of(1e-7), "\\f1e-07");
        assert_eq!(text_of(0.1), "\\f0.1");
        assert_eq!(text_of(0.0001), "\\f0.0001");
        assert_eq!(text_of(1.0 / 3.0), "\\f0.3333333333333333");
        assert_eq!(text_of(0.1 + 0.2), "\\f0.30000000000000004");
        assert_eq!(text_of(f64::INFINITY), "\\finf");
        assert_eq!(text_of(f64::NEG_INFINITY), "\\f-inf");
        assert_eq!(text_of(9_223_372_036_854_775_808.0), "\\f9.223372036854776e+18");
        assert_eq!(text_of(i64::MIN), "-9223372036854775808");
        assert_eq!(text_of("-9223372036854775809"), "-9223372036854775809");
        assert_eq!(text_of("-0"), "-0");
        assert_eq!(text_of("-"), "-");
    }

    #[test]
    fn text_that_is_no_form_is_itself() {
        for text in ["\\", "\\q", "\\b", "\\f", "\\fnan", "\\f+1", "\\f0x1", "\\s\\", "\\s\\q", "\\s\\x1", "\\s\\xFF"] {
            assert_eq!(decode(text.as_bytes()), Value::from(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = text_of(LuaString::new(&bytes));
            prop_assert!(!text.contains('\n') && !text.is_empty());
            prop_assert_eq!(decode(text.as_bytes()), Value::String(LuaString::new(&bytes)));
        }

        #[test]
        fn awkward_strings_survive(text in "[-0-9\\\\snxfb\na-f]{0,8}") {
            let key = text_of(text.as_str());
            prop_assert!(!key.contains('\n'));
            prop_assert_eq!(decode(key.as_bytes()), Value::from(text));
        }

        #[test]
        fn integers_survive(n in any::<i64>()) {
            prop_assert_eq!(decode(text_of(n).as_bytes()), Value::Integer(n));
        }

        #[test]
        fn floats_survive(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assume!(!x.is_nan());
            let expected = exact_integer(x).map_or(Value::Float(x), Value::Integer);
            prop_assert_eq!(decode(text_of(x).as_bytes()), expected);
        }

        #[test]
        fn different_keys_have_different_texts(a in "[-0-9\\\\sfbx.]{0,5}", b in any::<i8>(), c in -20i32..20) {
            let half = f64::from(c) + 0.5;
            prop_assert_ne!(text_of(a.as_str()), text_of(b));
            prop_assert_ne!(text_of(a.as_str()), text_of(half));
        }
    }
}
