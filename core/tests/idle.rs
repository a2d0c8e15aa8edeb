//! What a sandbox that waits for its next run costs. It is the memory of the whole process that tells, so this is a
//! program of its own, and not for emulated processors, whose emulator's memory it would be.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(feature = "static"), not(feature = "pulley")))]
#![allow(clippy::unwrap_used, reason = "tests")]

use luacell::{Engine, EngineConfig, Sandbox, SandboxConfig};

const COUNT: usize = 500;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() * 1024
}

fn idle(engine: &Engine) -> Sandbox {
    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
    sandbox.compute("return 1 + 1").unwrap();
    sandbox
}

#[test]
fn an_idle_sandbox_keeps_at_most_128_kib() {
    let engine = Engine::new(EngineConfig::new()).unwrap();
    let _first = idle(&engine);
    let before = resident();
    let sandboxes: Vec<Sandbox> = (0..COUNT).map(|_| idle(&engine)).collect();
    let each = (resident() - before) / sandboxes.len();
    // Less than the image of a sandbox that ran nothing would mean that nothing was measured.
    assert!((4 << 10..=128 << 10).contains(&each), "{each} bytes each");
}
