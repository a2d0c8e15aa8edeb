//! Quick figures while working on the core; the real benchmark is `cargo xtask bench`.

#![allow(clippy::unwrap_used, reason = "a tool for developers")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use luacell::{ComputeOptions, Engine, EngineConfig, Sandbox, SandboxConfig};

/// The median time of one call, over several rounds.
fn time(name: &str, per_round: u32, mut f: impl FnMut()) {
    let mut rounds: Vec<Duration> = (0..15)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..per_round {
                f();
            }
            start.elapsed() / per_round
        })
        .collect();
    rounds.sort();
    println!("{name:44} {:>10.1?}", rounds.get(7).copied().unwrap_or_default());
}

/// The time of one pass through a loop body in Lua.
fn time_loop(sandbox: &Sandbox, name: &str, n: u32, source: &str) {
    let source = format!("local n = ... for i = 1, n do {source} end");
    let mut rounds: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            sandbox.compute_with(&source, ComputeOptions::new().args((n,))).unwrap();
            start.elapsed() / n
        })
        .collect();
    rounds.sort();
    println!("{name:44} {:>10.1?}", rounds.get(4).copied().unwrap_or_default());
}

fn main() {
    let start = Instant::now();
    let sandbox = Sandbox::new().unwrap();
    let ready = start.elapsed();
    sandbox.compute("return 1+1").unwrap();
    println!("first sandbox {ready:?}, first result {:?}", start.elapsed());

    let pooled = Engine::default();
    println!("pooled: {}", pooled.is_pooled());
    time("new sandbox, pooled", 2000, || drop(black_box(pooled.sandbox(SandboxConfig::new()).unwrap())));
    let plain = Engine::new(EngineConfig::new().pool_size(0)).unwrap();
    time("new sandbox, on demand", 500, || drop(black_box(plain.sandbox(SandboxConfig::new()).unwrap())));
    time("new sandbox and first compute, pooled", 1000, || {
        let sandbox = pooled.sandbox(SandboxConfig::new()).unwrap();
        sandbox.compute("return 1+1").unwrap();
    });
    time("compute(\"return 1+1\")", 20_000, || drop(black_box(sandbox.compute("return 1+1").unwrap())));
    sandbox.compute("function add(a, b) return a + b end").unwrap();
    time("call(\"add\", (1, 2))", 20_000, || drop(black_box(sandbox.call("add", (1, 2)).unwrap())));
    time("compute that fails", 5000, || drop(black_box(sandbox.compute("error('x')").unwrap_err())));

    time_loop(&sandbox, "empty loop", 1_000_000, "");
    sandbox.compute("_home.x = 1 for i = 1, 1000 do _home['k' .. i] = i end").unwrap();
    time_loop(&sandbox, "get, short key", 1_000_000, "local v = _home.x");
    time_loop(&sandbox, "get, integer keys", 100_000, "local v = _home[i]");
    time_loop(&sandbox, "set, one key", 1_000_000, "_home.x = i");
    time_loop(&sandbox, "set, new integer keys", 100_000, "_home[i] = i");
    time_loop(&sandbox, "get, integer keys that are there", 100_000, "local v = _home[i]");
    time_loop(&sandbox, "get after a write", 1_000_000, "if i == 1 then _home.y = 1 end local v = _home.x");
    time_loop(&sandbox, "add one", 1_000_000, "_home.x = _home.x + 1");
    time_loop(&sandbox, "t[#t+1] = i", 100_000, "if i == 1 then _home.t = {} t = _home.t end t[#t + 1] = i");
    time_loop(&sandbox, "overwritten small table", 100_000, "_home.s = {i}");
    sandbox.compute("t = _home.t").unwrap();
    let mut rounds: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            sandbox.compute("local s = 0 for k, v in pairs(t) do s = s + v end return s").unwrap();
            start.elapsed()
        })
        .collect();
    rounds.sort();
    println!("{:44} {:>10.1?}", "pairs over 100,000", rounds.get(4).copied().unwrap_or_default());
}
