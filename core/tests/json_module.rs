//! The guest's module `json` beside serde_json.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use luacell::{LuaString, Sandbox, Value};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value as Json};

fn sandbox(source: &str) -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(format!("local json = require 'json' {source}")).unwrap();
    sandbox
}

/// Of floats it takes whole ones too: they have to stay floats.
fn json() -> impl Strategy<Value = Json> {
    let float = prop_oneof![any::<f64>(), any::<i32>().prop_map(f64::from)];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        float.prop_filter("finite", |float| float.is_finite()).prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    // More than what waits for its table at a time.
    leaf.prop_recursive(6, 400, 150, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..150).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..80)
                .prop_map(|entries| Json::from(Map::from_iter(entries))),
        ]
    })
}

/// Texts that are almost JSON, and some that are.
fn text() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &str = r#"[ ] { } , : [ ] {"a": "a" " \ \u \ud83d \ude00 \n \x 0 1 - -0 . e E+ 1e5 0.5 1e400 1e-400
        9223372036854775807 9223372036854775808 null true false nul NaN // ä 12345678"#;
    const ODD: &[&str] = &[" ", "\n", "\t", "\r", "\u{b}", "\u{0}", "\u{1f}", "\u{7f}", "\u{feff}", "\u{10ffff}"];
    let all: Vec<&str> = PIECES.split_whitespace().chain(ODD.iter().copied()).collect();
    let pieces = prop::collection::vec(select(all.clone()), 0..12).prop_map(|pieces| pieces.concat().into_bytes());
    let string =
        prop::collection::vec(select(all), 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()).into_bytes());
    let damaged = (json(), any::<prop::sample::Index>(), any::<u8>(), 0..3).prop_map(|(json, at, byte, how)| {
        let mut text = json.to_string().into_bytes();
        let at = at.index(text.len());
        match how {
            0 => drop(text.remove(at)),
            1 => text.insert(at, byte),
            _ => text.truncate(at),
        }
        text
    });
    prop_oneof![pieces, string, damaged]
}

/// serde_json reads floats with a small error unless it is told otherwise.
fn alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) if x.is_f64() && y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            (x - y).abs() <= x.abs() * 1e-15 + f64::from_bits(10)
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn values_come_back() {
    let lua = sandbox("function through(text) return json.encode(json.decode(text)) end");
    proptest!(|(json in json(), pretty: bool)| {
        let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) }.unwrap();
        let back = lua.call("through", [text.as_str()]).unwrap().get::<String>().unwrap();
        let back: Json = serde_json::from_str(&back).unwrap();
        prop_assert!(alike(&json, &back), "{json} {back}");
    });
}

#[test]
fn indented_text_is_the_same_as_that_of_serde_json() {
    // Objects of more than one entry have another order.
    let lua = sandbox("function through(text) return json.encode(json.decode(text), {indent = 2}) end");
    let json = serde_json::json!([1, [], {}, {"a": [true, {"b": "c\n"}]}, [[[-5]]]]);
    let text = lua.call("through", [json.to_string().as_str()]).unwrap().get::<String>().unwrap();
    assert_eq!(text, serde_json::to_string_pretty(&json).unwrap());
}

#[test]
fn floats_are_exact() {
    let lua = sandbox("encode, decode = json.encode, json.decode");
    proptest!(|(float: f64)| {
        prop_assume!(float.is_finite());
        let text = lua.call("encode", [float]).unwrap().get::<String>().unwrap();
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), float.to_bits(), "{}", text);
        for text in [text, serde_json::to_string(&float).unwrap(), format!("{float:e}"), format!("{float:.30}")] {
            // Rust writes whole ones like integers there.
            let whole = !text.contains(['.', 'e']);
            let text = if whole { text + ".0" } else { text };
            let wanted = text.parse::<f64>().unwrap();
            match lua.call("decode", [text.as_str()]).unwrap().value() {
                Value::Float(back) => prop_assert_eq!(back.to_bits(), wanted.to_bits(), "{}", text),
                other => prop_assert!(false, "{text}: {other:?}"),
            }
        }
    });
}

#[test]
fn strings_are_exact() {
    let lua = sandbox("encode, decode = json.encode, json.decode");
    proptest!(|(bytes: Vec<u8>, text: String)| {
        for bytes in [bytes, text.into_bytes()] {
            let encoded = lua.call("encode", [LuaString::from(bytes.clone())]);
            let Ok(text) = String::from_utf8(bytes) else {
                prop_assert!(encoded.is_err());
                continue;
            };
            let encoded = encoded.unwrap().get::<String>().unwrap();
            prop_assert_eq!(&serde_json::from_str::<String>(&encoded).unwrap(), &text);
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for json in [encoded, serde_json::to_string(&text).unwrap(), format!("\"{escaped}\"")] {
                prop_assert_eq!(&lua.call("decode", [json.as_str()]).unwrap().get::<String>().unwrap(), &text);
            }
        }
    });
}

#[test]
fn the_same_texts_are_json() {
    let lua = sandbox(
        "function through(text)
           local ok, value = pcall(json.decode, text)
           return ok, ok and json.encode(value) or value
         end",
    );
    proptest!(ProptestConfig::with_cases(4000), |(text in text())| {
        let outcome = lua.call("through", [LuaString::from(text.clone())]).unwrap();
        let ok = outcome.value() == &Value::Boolean(true);
        let said = outcome.values[1].as_str().unwrap().to_owned();
        match serde_json::from_slice::<Json>(&text) {
            Ok(json) => {
                prop_assert!(ok, "{:?}: {said}", String::from_utf8_lossy(&text));
                let json = floats_beyond_integers(json);
                let back: Json = serde_json::from_str(&said).unwrap();
                prop_assert!(alike(&json, &back), "{json} {back}");
            }
            Err(error) => {
                prop_assert!(!ok, "{:?}: {error}", String::from_utf8_lossy(&text));
                prop_assert!(said.starts_with("not valid JSON at line "), "{said}");
            }
        }
    });
}

/// Lua has no unsigned integers.
fn floats_beyond_integers(json: Json) -> Json {
    match json {
        Json::Number(n) if n.is_u64() && !n.is_i64() => Json::from(n.as_f64().unwrap()),
        Json::Array(items) => items.into_iter().map(floats_beyond_integers).collect(),
        Json::Object(entries) => entries.into_iter().map(|(key, value)| (key, floats_beyond_integers(value))).collect(),
        other => other,
    }
}
