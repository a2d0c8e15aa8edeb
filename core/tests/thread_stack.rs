//! Runs on threads with little stack.

#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(any(target_os = "linux", target_os = "android"))]

use std::sync::Arc;

use luacell::{ComputeOptions, Engine, EngineConfig, ErrorKind, Sandbox, SandboxConfig};

fn on_thread<T: Send + 'static>(stack: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(stack).spawn(body).unwrap().join().unwrap()
}

/// As deep into the native stack as a script comes.
const DEEP: &str = "local function f() return (string.gsub('x', 'x', function() return pcall(f) end)) end return f()";

#[test]
fn a_run_on_a_small_stack_is_refused() {
    let sandbox = Arc::new(Sandbox::new().unwrap());
    sandbox.compute("function f() return 1 end").unwrap();
    let function = sandbox.compute("return f").unwrap().value().as_function().unwrap().clone();
    let small = Arc::clone(&sandbox);
    let errors = on_thread(300 << 10, move || {
        let register = small.register("g", |()| Ok(())).unwrap_err();
        let with = small.compute_with(DEEP, ComputeOptions::new()).unwrap_err();
        [
            small.compute(DEEP).unwrap_err(),
            with,
            small.call("f", ()).unwrap_err(),
            function.call(()).unwrap_err(),
            small.gc().unwrap_err(),
            register,
        ]
    });
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains("bytes of stack left"), "{error}");
    }
    assert!(sandbox.compute(DEEP).is_ok());
    let large = Arc::clone(&sandbox);
    on_thread(2 << 20, move || large.compute(DEEP).map(drop)).unwrap();
    let engine = Engine::new(EngineConfig::new().max_stack(64 << 10)).unwrap();
    let modest = engine.sandbox(SandboxConfig::new()).unwrap();
    assert_eq!(on_thread(300 << 10, move || modest.compute(DEEP).map(drop)).unwrap_err().kind(), ErrorKind::Trap);
}
