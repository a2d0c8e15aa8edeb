//! Kept tables that are larger than the memory that a script may have.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use luacell::{ComputeOptions, ErrorKind, FileStore, Sandbox, SandboxConfig};

/// Without optimisation the same with fewer entries and less memory.
const ENTRIES: i64 = if cfg!(debug_assertions) { 200_000 } else { 5_000_000 };
const MEMORY: u64 = if cfg!(debug_assertions) { 1 << 20 } else { 16 << 20 };

fn config() -> SandboxConfig {
    SandboxConfig::new().memory_limit(MEMORY).timeout(None)
}

fn run(sandbox: &Sandbox, source: &str) {
    let options = ComputeOptions::new().args((ENTRIES,));
    sandbox.compute_with(source, options).unwrap();
}

const GO_THROUGH: &str = "
    local n = ...
    local t, sum, count = _home.t, 0, 0
    assert(#t == n, #t)
    for k, v in pairs(t) do sum = sum + v count = count + 1 end
    assert(count == n and sum == n * (n + 1) // 2)
    -- 'next' too, from anywhere
    local k, v = next(t, n // 2)
    assert(v == k)
    local seen = 0
    for k, v in next, t do
        seen = seen + 1
        if seen == 10000 then break end
    end
    -- What Lua allows while a table is gone through: to assign to fields that are there, and to clear them.
    count = 0
    for k, v in pairs(t) do
        count = count + 1
        if k % 2 == 0 then t[k] = nil else t[k] = -v end
    end
    assert(count == n)
    count = 0
    for k, v in next, t do
        assert(v == -k and k % 2 == 1)
        t[k] = nil
        count = count + 1
    end
    assert(count == (n + 1) // 2 and next(t) == nil and #t == 0)";

#[test]
fn in_memory_in_several_runs() {
    let sandbox = Sandbox::with_config(config()).unwrap();
    sandbox.compute("_home.t = {}").unwrap();
    for part in 0..10 {
        run(
            &sandbox,
            &format!(
                "local n = ... local t = _home.t for i = {part} * n // 10 + 1, {part} * n // 10 + n // 10 do t[i] = i end"
            ),
        );
    }
    assert_eq!(sandbox.home().get("t").unwrap().as_stored_table().unwrap().len().unwrap() as i64, ENTRIES);
    run(&sandbox, GO_THROUGH);
    assert!(sandbox.home().get("t").unwrap().as_stored_table().unwrap().is_empty().unwrap());
}

#[test]
fn in_one_run_that_nothing_was_kept_before() {
    let sandbox = Sandbox::with_config(config()).unwrap();
    run(&sandbox, &format!("local n = ... _home.t = {{}} local t = _home.t for i = 1, n do t[i] = i end {GO_THROUGH}"));
    // Removed as a whole.
    run(&sandbox, "local n = ... local t = {} _home.t = t for i = 1, n // 10 do t[i] = i end _home.t = nil");
    sandbox.gc().unwrap();
    assert!(sandbox.home().is_empty().unwrap());
}

#[test]
fn in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("large.luacell")).unwrap();
    let sandbox = Sandbox::with_config(config().store(store)).unwrap();
    let n = ENTRIES / 20;
    let options = || ComputeOptions::new().args((n,)).memory_limit(MEMORY);
    sandbox.compute_with("_home.t = {} local t = _home.t for i = 1, ... do t[i] = i end", options()).unwrap();
    sandbox.compute_with(GO_THROUGH, options()).unwrap();
}

#[test]
fn a_run_that_fails_gives_a_clear_error() {
    let sandbox = Sandbox::with_config(config()).unwrap();
    sandbox.compute("_home.t = {}").unwrap();
    run(&sandbox, "for i = 1, ... // 4 do _home.t[i] = i end");
    let error = sandbox.compute("for k in pairs(_home.t) do _home.t[k] = nil end error('no')").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    run(&sandbox, "local n = 0 for k, v in pairs(_home.t) do assert(v == k) n = n + 1 end assert(n == ... // 4)");
}

/// A walk that goes on in a later run, when what it has passed is gone for good.
#[test]
fn a_walk_outlives_its_run() {
    let sandbox = Sandbox::with_config(config()).unwrap();
    sandbox
        .compute(
            "_home.t = {} for i = 1, 30000 do _home.t[i] = i end
             walk = coroutine.wrap(function() for k, v in pairs(_home.t) do coroutine.yield(k) end end)
             deleting = coroutine.wrap(function() for k in pairs(_home.t) do _home.t[k] = nil coroutine.yield(k) end end)",
        )
        .unwrap();
    sandbox
        .compute(
            "for i = 1, 10000 do assert(walk() == i) end for i = 1, 20500 do _home.t[i] = i < 9000 and i or nil end",
        )
        .unwrap();
    sandbox
        .compute("assert(walk() == 20501) for i = 20502, 30000 do assert(walk() == i) end assert(walk() == nil)")
        .unwrap();
    // Each entry goes in a run of its own.
    sandbox.compute("for i = 9001, 30000 do _home.t[i] = nil end").unwrap();
    let mut i = 0i64;
    let error = loop {
        match sandbox.compute("return deleting()") {
            Ok(outcome) => i += i64::from(outcome.get::<i64>().unwrap() == i + 1),
            Err(error) => break error,
        }
    };
    // When all entries of a portion are gone for good, nobody knows where it was: that is said.
    assert!(i > 16 && error.message().ends_with("the table was changed while 'pairs' went through it"), "{i} {error}");
}

#[test]
fn the_order_is_that_of_the_first_write() {
    let sandbox = Sandbox::new().unwrap();
    let source = "
        for _, k in ipairs {'z', 'a', 'm'} do _home[k] = k end
        local function keys() local all = {} for k in pairs(_home) do all[#all + 1] = k end return table.concat(all) end
        local before = keys()
        _home.a = nil _home.b = 1 _home.a = 2 _home.z = 3
        return before, keys()";
    let outcome = sandbox.compute(source).unwrap();
    assert_eq!(outcome.values, ["zam".into(), "zamb".into()]);
    let outcome = sandbox
        .compute("_home.m = nil _home.c = 1 _home.m = 1 local s = '' for k in next, _home do s = s .. k end return s")
        .unwrap();
    assert_eq!(outcome.values, ["zambc".into()]);
}

/// Who takes one entry after the other from the front of a table does not pay for those that are gone, and nobody walks
/// over them for nothing.
#[test]
fn a_queue_is_emptied_from_the_front() {
    let instructions = |kept: bool, n: i64| {
        let sandbox = Sandbox::new().unwrap();
        let fill = "local n = ... _home.t = {} local t = _home.t for i = 1, n do t[i] = i end";
        let empty = "local t, n = _home.t, 0
            while true do
                local k = next(t)
                if k == nil then break end
                t[k] = nil
                n = n + 1
            end
            return n";
        let run = |source: &str| {
            let outcome = sandbox.compute_with(source, ComputeOptions::new().args((n,))).unwrap();
            (outcome.metrics.instructions, outcome.into_value())
        };
        if kept {
            run(fill);
            let (instructions, count) = run(empty);
            assert_eq!(count, n.into());
            instructions
        } else {
            run(&format!("do {fill} end {empty}")).0
        }
    };
    for kept in [true, false] {
        let (few, many) = (instructions(kept, 1000), instructions(kept, 8000));
        assert!(many < 12 * few, "kept {kept}: {few} for 1000, {many} for 8000");
    }
}

/// Entries that a run deleted cost who passes over them.
#[test]
fn passing_over_deleted_entries_counts() {
    for fill in ["", "_home.t = _home.t"] {
        let sandbox = Sandbox::new().unwrap();
        sandbox.compute("_home.t = {} local t = _home.t for i = 1, 20000 do t[i] = i end").unwrap();
        let source = format!("{fill} local t = _home.t for i = 1, 20000 do t[i] = nil end assert(next(t) == nil)");
        let once = sandbox.compute(format!("{source} error('again')")).unwrap_err();
        // Each time the last entry comes back and goes again, so that nobody can know that all is gone.
        let again = format!("{source} for i = 1, 10 do t[20000] = 1 t[20000] = nil next(t) end error('again')");
        let again = sandbox.compute(again).unwrap_err();
        let instructions = |error: &luacell::Error| error.metrics().instructions;
        assert!(instructions(&again) > instructions(&once) + 10 * 20000, "{once:?} {again:?}");
    }
}
