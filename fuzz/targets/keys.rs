//! Keys of stored tables: what was written under a key is found under it, by host and script, and listed as it was.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use luacell::{ComputeOptions, Sandbox, Value};

#[derive(Arbitrary, Debug, Clone)]
enum Key {
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Text(Vec<u8>),
}

impl From<&Key> for Value {
    fn from(key: &Key) -> Value {
        match key {
            Key::Integer(n) => Value::from(*n),
            Key::Float(x) => Value::from(*x),
            Key::Boolean(b) => Value::from(*b),
            Key::Text(text) => Value::from(text.as_slice()),
        }
    }
}

/// As Lua has it: a float with an integer's value is that integer.
fn normal(value: &Value) -> Value {
    match value {
        Value::Float(x) if *x == x.floor() && *x >= -(2f64.powi(63)) && *x < 2f64.powi(63) => Value::Integer(*x as i64),
        value => value.clone(),
    }
}

thread_local! {
    static LUA: Sandbox = Sandbox::new().expect("a sandbox");
}

fuzz_target!(|keys: Vec<Key>| {
    LUA.with(|lua| {
        let home = lua.home();
        home.clear().expect("it can be emptied");
        let mut written: Vec<Value> = Vec::new();
        for (i, key) in keys.iter().take(16).enumerate() {
            let key = Value::from(key);
            let value = i as i64;
            let done = if i % 2 == 0 {
                home.set(key.clone(), value).is_ok()
            } else {
                let options = ComputeOptions::new().args((key.clone(), value));
                lua.compute_with("local k, v = ... _home[k] = v", options).is_ok()
            };
            assert_eq!(done, !matches!(&key, Value::Float(x) if x.is_nan()), "{key:?}");
            if !done {
                continue;
            }
            assert_eq!(home.get(key.clone()).expect("it can be read"), Value::from(value));
            let options = ComputeOptions::new().args((key.clone(),));
            let read = lua.compute_with("return _home[...]", options).expect("it can be read from Lua");
            assert_eq!(read.value(), &Value::from(value));
            let key = normal(&key);
            if !written.contains(&key) {
                written.push(key);
            }
        }
        let listed: Vec<Value> = home.keys().expect("they can be listed").iter().map(normal).collect();
        assert_eq!(listed.len(), written.len());
        assert!(written.iter().all(|key| listed.contains(key)), "{written:?} {listed:?}");
        let counted = lua.compute("local n = 0 for _ in pairs(_home) do n = n + 1 end return n").expect("pairs works");
        assert_eq!(counted.value(), &Value::from(written.len() as i64));
    });
});
