//! Memory of a sandbox that is gone is used for the next one, which must find nothing in it: not in this process, nor
//! in one that was forked from it.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unsafe_code, reason = "there is no safe fork")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use luacell::{ComputeOptions, Engine, EngineConfig, ErrorKind, SandboxConfig};

fn engine() -> Engine {
    Engine::new(EngineConfig::new()).unwrap()
}

/// Whole sandboxes, one that used little and one whose memory grew. New ones are the same to the last byte.
fn content(engine: &Engine) -> [Vec<u8>; 2] {
    ["x = 1", "x = ('x'):rep(3000000) y = {x .. 1}"].map(|source| {
        let sandbox = engine.sandbox(SandboxConfig::new().deterministic(1)).unwrap();
        sandbox.compute(source).unwrap();
        sandbox.snapshot().unwrap().to_bytes().unwrap()
    })
}

/// What leaves much behind: in new pages and in old ones, on the C stack, at the end of the memory, in runs that a
/// limit ended.
const SCRIPTS: &[&str] = &[
    "t = {} for i = 1, 100 do t[i] = 'secret' .. i end",
    "t = {} for i = 1, 20000 do t[i] = 'secret' .. i end",
    "t = ('secret'):rep(2000000)",
    "t = {} for i = 1, 10 do t[i] = ('secret'):rep(1000000) .. i end",
    "local function deep(n) return n == 0 and 'secret' or (deep(n - 1) .. '') end t = deep(150)",
    "string.format, print, _G.t = nil, nil, {} for k in pairs(string) do string[k] = 'secret' end",
    "return ('x'):rep(100, ('secret'):rep(1000))",
    "_home.t = {('secret'):rep(1000)} return _home.t[1]",
    "while true do t = {t, 'secret'} end",
    "local function f() return 'secret' .. f() end f()",
    "error({('secret'):rep(1000)})",
];

fn use_some(engine: &Engine) {
    let new = || engine.sandbox(SandboxConfig::new().deterministic(1).memory_limit(32 << 20)).unwrap();
    for source in SCRIPTS {
        let ended = new().compute_with(*source, ComputeOptions::new().instruction_limit(3_000_000));
        if let Err(error) = ended {
            let kinds = [ErrorKind::Memory, ErrorKind::InstructionLimit, ErrorKind::Runtime];
            assert!(kinds.contains(&error.kind()), "{source}: {error}");
        }
    }
    let sandbox = new();
    sandbox
        .register("panic", |(): ()| -> luacell::Result<()> { std::panic::resume_unwind(Box::new("secret")) })
        .unwrap();
    let error = sandbox.compute("t = {'secret'} string.gsub('secret', '.', panic)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
}

#[test]
fn the_next_sandbox_finds_nothing() {
    let engine = engine();
    let first = content(&engine);
    for _ in 0..3 {
        use_some(&engine);
        assert!((0..20).all(|_| content(&engine) == first));
    }
}

/// A child has its parent's memory, and what the system told the parent of it is wrong there.
#[cfg(target_os = "linux")]
#[test]
fn nor_in_a_forked_process() {
    let engine = engine();
    let first = content(&engine);
    // SAFETY: the child calls nothing that waits for another thread's lock: sandboxes of this thread, and malloc, which
    // libc sees to.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let found = catch_unwind(AssertUnwindSafe(|| {
            use_some(&engine);
            (0..20).any(|_| content(&engine) != first)
        }));
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { libc::_exit(if matches!(found, Ok(false)) { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: the number is ours, and outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "a sandbox of the child found something");
    use_some(&engine);
    assert!(content(&engine) == first);
}
