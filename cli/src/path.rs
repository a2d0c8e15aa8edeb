//! Paths to values in `_home`, as people write them: `players.1.name`, `["a.b"][true]`.

use std::iter::Peekable;
use std::str::Chars;

use anyhow::{Context, Result, bail};
use luacell::Value;

use crate::show::quoted;
use crate::terminal;

/// The keys that a path names, in order. Between dots, digits mean an integer and everything else text; in brackets
/// stands what Lua writes there: a string in quotes, a number, `true` or `false`.
pub fn parse(path: &str) -> Result<Vec<Value>> {
    let mut keys = Vec::new();
    let mut rest = path.chars().peekable();
    loop {
        match rest.peek() {
            Some('[') => {
                rest.next();
                keys.push(literal(&mut rest).with_context(|| format!("in the path {path}"))?);
            }
            _ => {
                let mut name = String::new();
                while let Some(c) = rest.next_if(|c| *c != '.' && *c != '[') {
                    name.push(c);
                }
                keys.push(plain(&name));
            }
        }
        match rest.peek() {
            None => return Ok(keys),
            Some('.') => drop(rest.next()),
            Some('[') => {}
            Some(_) => bail!("after ] there has to be a dot, another [, or nothing, in the path {path}"),
        }
    }
}

fn plain(name: &str) -> Value {
    match name.parse::<i64>() {
        Ok(number) if number.to_string() == name => Value::Integer(number),
        _ => Value::from(name),
    }
}

/// What stands in brackets, up to the closing one.
fn literal(rest: &mut Peekable<Chars<'_>>) -> Result<Value> {
    let key = match rest.next_if(|c| matches!(c, '"' | '\'')) {
        Some(quote) => Value::from(&*string(rest, quote)?),
        None => {
            let mut word = String::new();
            while let Some(c) = rest.next_if(|c| *c != ']') {
                word.push(c);
            }
            match word.as_str() {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                "inf" => Value::Float(f64::INFINITY),
                "-inf" => Value::Float(f64::NEG_INFINITY),
                _ => match (word.parse::<i64>(), word.parse::<f64>()) {
                    (Ok(integer), _) => Value::Integer(integer),
                    (_, Ok(float)) if float.is_finite() && word.contains(['.', 'e', 'E']) => Value::Float(float),
                    _ => bail!("[{word}] is not a key: put a string in quotes"),
                },
            }
        }
    };
    match rest.next() {
        Some(']') => Ok(key),
        _ => bail!("a ] is missing"),
    }
}

/// A string of Lua's up to its closing quote, with the escape sequences that `show` writes and a few more.
fn string(rest: &mut Peekable<Chars<'_>>, quote: char) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let push = |bytes: &mut Vec<u8>, c: char| bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    loop {
        match rest.next().context("the closing quote is missing")? {
            c if c == quote => return Ok(bytes),
            '\\' => match rest.next().context("the closing quote is missing")? {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let digits: String = rest.by_ref().take(2).collect();
                    bytes.push(
                        u8::from_str_radix(&digits, 16)
                            .with_context(|| format!("\\x{digits} needs two hexadecimal digits"))?,
                    );
                }
                'u' => {
                    let digits: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    let number = digits.strip_prefix('{').and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    let c =
                        number.and_then(char::from_u32).with_context(|| format!("\\u{digits}}} is not a character"))?;
                    push(&mut bytes, c);
                }
                c @ ('\\' | '"' | '\'') => push(&mut bytes, c),
                c => bail!("\\{c} is not an escape sequence: there are \\n \\r \\t \\\\ \\\" \\' \\x41 \\u{{41}}"),
            },
            c => push(&mut bytes, c),
        }
    }
}

/// A key as the part of a path that means it and nothing else, without anything that a terminal would obey.
pub fn part(key: &Value) -> String {
    match key {
        Value::String(text) => match text.as_str() {
            Some(name) if is_plain(name) => name.to_owned(),
            _ => format!("[{}]", quoted(text)),
        },
        // Not to be taken for an option of the command line.
        Value::Integer(number) if *number < 0 => format!("[{number}]"),
        Value::Integer(number) => number.to_string(),
        // All digits, unlike what people get to see elsewhere.
        Value::Float(number) => format!("[{number:?}]"),
        other => format!("[{}]", crate::show::readable(other)),
    }
}

/// A whole path.
pub fn show(keys: &[Value]) -> String {
    let mut path = String::new();
    for key in keys {
        let part = part(key);
        if !path.is_empty() && !part.starts_with('[') {
            path.push('.');
        }
        path.push_str(&part);
    }
    path
}

fn is_plain(name: &str) -> bool {
    let special = |c: char| matches!(c, '.' | '[') || terminal::is_hidden(c);
    !name.is_empty() && !name.starts_with('-') && !name.contains(special) && matches!(plain(name), Value::String(_))
}

#[cfg(test)]
mod tests {
    use luacell::LuaString;

    use super::*;

    #[test]
    fn every_key_can_be_written_and_read() {
        let bytes = |bytes: &[u8]| Value::String(LuaString::new(bytes));
        for (key, text) in [
            (Value::from("name"), "name"),
            (Value::from("two words"), "two words"),
            (Value::from("true"), "true"),
            (Value::from(""), "[\"\"]"),
            (Value::from("a.b"), "[\"a.b\"]"),
            (Value::from("a[1]"), "[\"a[1]\"]"),
            (Value::from("]\"\\'"), "]\"\\'"),
            (Value::from("[\"\\"), "[\"[\\\"\\\\\"]"),
            (Value::from("1"), "[\"1\"]"),
            (Value::from("-7"), "[\"-7\"]"),
            (Value::from("01"), "01"),
            (Value::from("1\n\u{1b}[31m\u{9b}\u{202e}"), "[\"1\\n\\x1b[31m\\u{9b}\\u{202e}\"]"),
            (bytes(b"\xff\0a"), "[\"\\xff\\x00a\"]"),
            (Value::from("漢字"), "漢字"),
            (Value::Integer(1), "1"),
            (Value::Integer(i64::MIN), "[-9223372036854775808]"),
            (Value::from("--json"), "[\"--json\"]"),
            (Value::Float(0.1), "[0.1]"),
            (Value::Float(1.0 / 3.0), "[0.3333333333333333]"),
            (Value::Float(1e300), "[1e300]"),
            (Value::Float(f64::INFINITY), "[inf]"),
            (Value::Float(f64::NEG_INFINITY), "[-inf]"),
            (Value::Boolean(true), "[true]"),
            (Value::Boolean(false), "[false]"),
        ] {
            assert_eq!(part(&key), text);
            assert_eq!(parse(text).unwrap(), std::slice::from_ref(&key), "{text}");
            let three = [key.clone(), Value::from("x"), key];
            assert_eq!(parse(&show(&three)).unwrap(), three, "{}", show(&three));
        }
        assert_eq!(parse("a[1].b['c\\x41\\u{e9}']").unwrap(), ["a".into(), 1.into(), "b".into(), Value::from("cAé")]);
    }

    #[test]
    fn what_is_no_path_is_told() {
        for text in
            ["[", "[1", "['a", "['a'", "['a']b", "[a]", "[nan]", "[1_0]", "['\\q']", "['\\xg1']", "['\\u{d800}']", "a["]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
