//! Runs one thing many times, for a profiler.

#![allow(clippy::unwrap_used, reason = "a tool for developers")]

use luacell::{ComputeOptions, Sandbox, SandboxConfig};

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let n: u32 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let sandbox = Sandbox::new().unwrap();
    let repeat = |source: &str| {
        let source = format!("local n = ... for i = 1, n do {source} end");
        sandbox.compute_with(source, ComputeOptions::new().args((n,))).unwrap();
    };
    match what.as_str() {
        "compute" => (0..n).for_each(|_| drop(sandbox.compute("return 1+1").unwrap())),
        "call" => {
            sandbox.compute("function f(a, b) return a + b end").unwrap();
            (0..n).for_each(|_| drop(sandbox.call("f", (1, 2)).unwrap()));
        }
        "new" => (0..n).for_each(|_| drop(Sandbox::with_config(SandboxConfig::new()).unwrap())),
        "first" => (0..n).for_each(|_| drop(Sandbox::new().unwrap().compute("return 1+1").unwrap())),
        "empty" => repeat(""),
        "get" => repeat("local v = _home.x"),
        "set" => repeat("_home.x = i"),
        "append" => repeat("t = t or {} if i == 1 then _home.t = {} t = _home.t end t[#t + 1] = i"),
        other => eprintln!("compute, call, new, first, empty, get, set or append, not '{other}'"),
    }
}
