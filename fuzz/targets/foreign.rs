//! Somebody else's module: any bytes, and one that calls the five functions with any pointers and answers anything.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use luacell::{Engine, EngineConfig, SandboxConfig};

#[derive(Arbitrary, Debug)]
enum Call {
    Set(i32, i32, i32, i32, i32),
    Get(i32, i32, i32, i32, i32),
    Delete(i32, i32, i32),
    Size(i32),
    Keys(i32, i32, i32),
}

#[derive(Arbitrary, Debug)]
enum Input {
    Module(Vec<u8>),
    Guest { memory: Vec<u8>, calls: Vec<Call>, answer: i32, details: i32 },
}

/// A pointer is more often near the edges than anywhere.
fn near(n: i32) -> i32 {
    match n & 3 {
        0 => n >> 16,
        1 => 1024 + (n >> 24),
        2 => 32 * 65536 - (n >> 20).abs(),
        _ => n,
    }
}

fn guest(memory: &[u8], calls: &[Call], answer: i32, details: i32) -> String {
    let bytes: String = memory.iter().take(2000).map(|byte| format!("\\{byte:02x}")).collect();
    let calls: String = calls
        .iter()
        .take(20)
        .map(|call| match call {
            Call::Set(t, k, n, v, m) => format!("(drop (call $set (i32.const {t}) (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {})))", near(*k), near(*n), near(*v), near(*m)),
            Call::Get(t, k, n, v, m) => format!("(drop (call $get (i32.const {t}) (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {})))", near(*k), near(*n), near(*v), near(*m)),
            Call::Delete(t, k, n) => format!("(drop (call $delete (i32.const {t}) (i32.const {}) (i32.const {})))", near(*k), near(*n)),
            Call::Size(t) => format!("(drop (call $size (i32.const {t})))"),
            Call::Keys(t, v, m) => format!("(drop (call $keys (i32.const {t}) (i32.const {}) (i32.const {})))", near(*v), near(*m)),
        })
        .collect();
    format!(
        r#"(module
  (import "env" "js_ext_table_set" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "js_ext_table_get" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "js_ext_table_delete" (func $delete (param i32 i32 i32) (result i32)))
  (import "env" "js_ext_table_size" (func $size (param i32) (result i32)))
  (import "env" "js_ext_table_keys" (func $keys (param i32 i32 i32) (result i32)))
  (memory (export "memory") 32)
  (data (i32.const 1024) "{bytes}")
  (func (export "init") (result i32) (i32.const 0))
  (func (export "get_buffer_ptr") (result i32) (i32.const 1024))
  (func (export "get_buffer_size") (result i32) (i32.const 65536))
  (func (export "compute") (param i32 i32) (result i32) {calls} (i32.const {answer}))
  (func (export "get_error_details") (result i32) (i32.const {details}))
  (func (export "get_memory_stats") (param i32))
  (func (export "run_gc"))
  (func (export "attach_memory_table") (param i32))
  (func (export "sync_external_table_counter") (param i32)))"#
    )
}

fuzz_target!(|input: Input| {
    let module = match &input {
        Input::Module(bytes) => bytes.clone(),
        Input::Guest { memory, calls, answer, details } => {
            wat::parse_str(guest(memory, calls, near(*answer), near(*details))).expect("the text is right")
        }
    };
    let Ok(engine) = Engine::from_wasm(&module, EngineConfig::new().pool_size(0)) else { return };
    let Ok(lua) = engine.sandbox(SandboxConfig::new()) else { return };
    for _ in 0..2 {
        let _ = lua.compute("");
        let _ = lua.compute("return 1");
        let _ = lua.home().entries();
    }
});
