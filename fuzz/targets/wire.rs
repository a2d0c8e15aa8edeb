//! Encoded values from anybody: an error or values, which survive being encoded again; and the same through Lua.
#![no_main]

use libfuzzer_sys::fuzz_target;
use luacell::{ComputeOptions, ErrorKind, Sandbox, SandboxConfig, Value, wire};

thread_local! {
    static LUA: Sandbox = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).expect("a sandbox");
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(values) = wire::decode(bytes, &wire::NoHandles) else { return };
    let mut again = Vec::new();
    wire::encode(&values, &mut again, &wire::NoHandles).expect("what was decoded can be encoded");
    let back = match wire::decode(&again, &wire::NoHandles) {
        Ok(back) => back,
        // Functions by name become handles, and there are none here.
        Err(error) if error.kind() == ErrorKind::Closed => return,
        Err(error) => panic!("what was encoded can't be decoded: {error}"),
    };
    let mut third = Vec::new();
    wire::encode(&back, &mut third, &wire::NoHandles).expect("a second time too");
    assert_eq!(again, third);
    LUA.with(|lua| {
        // Too deep, or too much: an error. What comes back is as long as what went in.
        if let Ok(outcome) = lua.compute_with("return ...", ComputeOptions::new().args(values.clone())) {
            assert_eq!(outcome.values.len(), values.len());
            for (sent, got) in values.iter().zip(&outcome.values) {
                match (sent, got) {
                    (Value::Float(a), Value::Float(b)) => assert!(a == b || a.is_nan() && b.is_nan()),
                    (Value::Table(_), got) => assert!(matches!(got, Value::Table(_))),
                    (sent, got) => assert_eq!(sent, got),
                }
            }
        }
        assert_eq!(lua.compute("return 1").expect("it goes on").value(), &Value::Integer(1));
    });
});
