//! Runs that are started and answered by whoever holds them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use luacell::{ComputeOptions, Error, ErrorKind, Run, Sandbox, SandboxConfig, StoreLimit, Value};

fn options() -> ComputeOptions {
    ComputeOptions::new()
}

fn sandbox() -> Sandbox {
    let lua = Sandbox::new().unwrap();
    lua.declare("ask").unwrap();
    lua.declare("web.fetch").unwrap();
    lua
}

fn start(lua: &Sandbox, source: &str) -> Run {
    lua.start(source, options()).unwrap()
}

/// The open requests, as `id:name(args)`.
fn open(run: &Run) -> Vec<String> {
    let shown = |value: &Value| format!("{value:?}");
    run.requests()
        .unwrap()
        .iter()
        .map(|r| format!("{}:{}({})", r.id, r.name, r.args.iter().map(shown).collect::<Vec<_>>().join(",")))
        .collect()
}

#[test]
fn a_run_waits_for_its_answer() {
    let lua = sandbox();
    let mut run = start(&lua, "print('a') local a = ask('q', 1) print('b') return a, 2");
    assert!(run.is_waiting());
    assert_eq!(open(&run), ["1:ask(\"q\",1)"]);
    run.answer(1, "yes").unwrap();
    assert!(run.requests().unwrap().is_empty());
    run.resume().unwrap();
    let outcome = run.into_result().unwrap();
    assert_eq!(outcome.values, ["yes".into(), Value::Integer(2)]);
    assert_eq!(outcome.output, "a\nb\n");
    assert_eq!(outcome.metrics.host_calls, 1);
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn the_result_of_a_run_that_is_done_is_taken_while_another_waits() {
    let lua = sandbox();
    let done = start(&lua, "return 1");
    let mut waiting = start(&lua, "return ask()");
    assert_eq!(done.into_result().unwrap().values, [1.into()]);
    waiting.answer(1, 2).unwrap();
    waiting.resume().unwrap();
    assert_eq!(waiting.into_result().unwrap().values, [2.into()]);
}

#[test]
fn a_run_that_need_not_wait_is_done_at_once() {
    let lua = sandbox();
    lua.register("now", |()| Ok(5)).unwrap();
    let run = start(&lua, "return now() + ...");
    assert!(!run.is_waiting());
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Runtime);
    let run = lua.start("return now() + ...", options().args(1)).unwrap();
    assert_eq!(run.into_result().unwrap().values, [6.into()]);
    assert_eq!(start(&lua, "return +").into_result().unwrap_err().kind(), ErrorKind::Syntax);
    lua.compute("function f(x) return ask(x) end").unwrap();
    let mut run = lua.start_call("f", options().args("x")).unwrap();
    run.answer(1, 7).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [7.into()]);
}

#[test]
fn answers_come_in_any_order_and_only_once() {
    let lua = sandbox();
    let source = "return require('task').all(function() return ask(1) end, function() return web.fetch(2) end)";
    let mut run = start(&lua, source);
    assert_eq!(open(&run), ["1:ask(1)", "2:web.fetch(2)"]);
    run.answer(2, "second").unwrap();
    for id in [2, 3, 0, u64::MAX] {
        assert_eq!(run.answer(id, 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    run.resume().unwrap();
    assert_eq!(open(&run), ["1:ask(1)"]);
    run.resume().unwrap();
    assert!(run.is_waiting(), "nothing was answered");
    run.fail(1, Error::host("no luck")).unwrap();
    run.resume().unwrap();
    assert_eq!(run.resume().unwrap_err().kind(), ErrorKind::InvalidArgument);
    let error = run.into_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.message().contains("no luck"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn nobody_answers_in_other_runs() {
    let lua = sandbox();
    let error = lua.compute("ask()").unwrap_err();
    assert!(error.message().contains("'ask'") && error.message().contains("start"), "{error}");
    assert_eq!(lua.compute("return (pcall(ask))").unwrap().values, [false.into()]);
}

#[test]
fn it_is_one_transaction() {
    let lua = sandbox();
    let mut run = start(&lua, "_home.x = 1 x = 1 ask() _home.y = 2 ask()");
    run.answer(1, ()).unwrap();
    run.resume().unwrap();
    assert!(run.is_waiting());
    run.cancel();
    assert_eq!(lua.compute("return _home.x, _home.y").unwrap().values, [Value::Nil, Value::Nil]);
    let mut run = start(&lua, "_home.x = 1 ask() _home.y = 2");
    run.answer(1, ()).unwrap();
    run.resume().unwrap();
    run.into_result().unwrap();
    assert_eq!(lua.compute("return _home.x, _home.y").unwrap().values, [1.into(), 2.into()]);
    let mut run = start(&lua, "_home.x = 9 ask()");
    run.fail(1, Error::host("x")).unwrap();
    run.resume().unwrap();
    run.into_result().unwrap_err();
    assert_eq!(lua.home().get("x").unwrap(), 1.into());
}

#[test]
fn limits_hold_over_all_of_it() {
    let lua = sandbox();
    let all = || options().instruction_limit(200_000).output_limit(100).host_call_limit(3);
    let mut run =
        lua.start("for i = 1, 1e9 do if i % 10000 == 1 then ask(i) end end", all().host_call_limit(1000)).unwrap();
    let mut turns = 0;
    while run.is_waiting() {
        turns += 1;
        run.answer(run.requests().unwrap()[0].id, ()).unwrap();
        run.resume().unwrap();
    }
    assert!(turns > 2, "{turns}");
    let error = run.into_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit);
    for (source, kind) in [
        ("print(('x'):rep(60)) ask() print(('x'):rep(60))", ErrorKind::OutputLimit),
        ("ask() pcall(ask) ask() ask()", ErrorKind::HostCallLimit),
        ("ask() pcall(function() while true do end end)", ErrorKind::InstructionLimit),
    ] {
        let mut run = lua.start(source, all()).unwrap();
        while run.is_waiting() {
            run.answer(run.requests().unwrap()[0].id, ()).unwrap();
            run.resume().unwrap();
        }
        assert_eq!(run.into_result().unwrap_err().kind(), kind, "{source}");
        assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
    }
}

/// The time that it waits is not its own.
#[test]
fn its_time_stands_still_while_it_waits() {
    let lua = sandbox();
    let timeout = Duration::from_millis(100);
    let mut run = lua.start("ask() return 1", options().timeout(timeout)).unwrap();
    std::thread::sleep(timeout * 2);
    run.answer(1, ()).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [1.into()]);
    let mut run = lua.start("ask() while true do end", options().timeout(timeout)).unwrap();
    run.answer(1, ()).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn it_can_be_interrupted_and_cancelled_while_it_waits() {
    let lua = sandbox();
    let mut run = start(&lua, "_home.x = 1 pcall(ask) return 1");
    lua.interrupt();
    run.answer(1, ()).unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(lua.compute("return _home.x").unwrap().values, [Value::Nil]);
    let canceller = luacell::Canceller::new();
    let mut run = lua.start("ask()", options().canceller(&canceller)).unwrap();
    canceller.cancel();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Interrupted);
    drop(start(&lua, "ask()"));
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn who_holds_it_uses_the_sandbox_and_others_do_not() {
    let lua = Arc::new(sandbox());
    let mut run = start(&lua, "_home.n = 1 local r = ask(function(x) return x + _home.n end) return r, _home.n, g");
    let f = run.requests().unwrap()[0].args[0].as_function().unwrap().clone();
    assert_eq!(f.call(41).unwrap().values, [42.into()]);
    assert_eq!(lua.home().get("n").unwrap(), 1.into(), "what the run wrote is seen");
    lua.home().set("n", 5).unwrap();
    assert_eq!(lua.compute("g = 7 return _home.n").unwrap().values, [5.into()]);
    assert!(lua.compute("ask()").unwrap_err().message().contains("'ask' can't wait here"));
    let (other, g) = (Arc::clone(&lua), f.clone());
    std::thread::spawn(move || {
        assert_eq!(other.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(other.home().get("n").unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(g.call(1).unwrap_err().kind(), ErrorKind::Busy);
    })
    .join()
    .unwrap();
    assert_eq!(lua.start("return 1", options()).unwrap_err().kind(), ErrorKind::Busy);
    run.answer(1, "done").unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, ["done".into(), Value::Integer(5), Value::Integer(7)]);
    assert_eq!(lua.home().get("n").unwrap(), 5.into());
    // Whoever takes it over is the one.
    let run = start(&lua, "x = 1 return ask()");
    lua.memory_stats().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            run.take_over().unwrap();
            assert_eq!(lua.compute("x = x + 1 return x").unwrap().values, [2.into()]);
        });
        other.join().unwrap();
        assert_eq!(lua.compute("return x").unwrap_err().kind(), ErrorKind::Busy);
        run.take_over().unwrap();
        assert_eq!(lua.compute("return x").unwrap().values, [2.into()]);
    });
    run.cancel();
    // On another thread it goes on as well.
    let mut run = start(&lua, "return ask()");
    let lua = std::thread::spawn(move || {
        assert_eq!(lua.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
        run.take_over().unwrap();
        assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
        run.answer(1, 1).unwrap();
        run.resume().unwrap();
        run.into_result().unwrap();
        lua
    })
    .join()
    .unwrap();
    lua.compute("return 1").unwrap();
}

#[test]
fn a_closed_sandbox_ends_it() {
    let lua = sandbox();
    let mut run = start(&lua, "ask()");
    assert!(run.is_waiting());
    lua.close();
    assert!(!run.is_waiting());
    assert_eq!(run.requests().unwrap_err().kind(), ErrorKind::Closed);
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn with_a_seed_sleeping_costs_no_time() {
    let lua = Sandbox::with_config(SandboxConfig::new().deterministic(1)).unwrap();
    let source = "local t = os.time() require('task').sleep(3600) return os.time() - t";
    assert_eq!(lua.compute(source).unwrap().values, [3600.into()]);
}

#[test]
fn a_million_tasks_end_at_a_limit() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
    lua.declare("ask").unwrap();
    let run =
        lua.start("local t = require 'task' for i = 1, 1e6 do t.spawn(function() ask(i) end) end", options()).unwrap();
    assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::Memory);
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

/// Answers all that is open with its first argument in capitals, until the run is done.
fn to_end(mut run: Run) -> luacell::Result<Vec<Value>> {
    while run.is_waiting() {
        for request in run.requests().unwrap() {
            let text = format!("{:?}", request.args.first().unwrap_or(&Value::Nil)).to_uppercase();
            run.answer(request.id, text).unwrap();
        }
        run.resume().unwrap();
    }
    run.into_result().map(|outcome| outcome.values)
}

#[test]
fn a_snapshot_has_the_run_that_waits() {
    let engine = luacell::Engine::default();
    let lua = sandbox();
    lua.compute("_home.kept = 'before' g = 1").unwrap();
    let source = "local n = 5 _home.kept = 'run' _home.t = {x = n} g = g + 1
        local a, b = require('task').all(function() return ask('a', {n}) end, function() return ask('b') end)
        _home.t.x = _home.t.x + 1
        return a, b, n, g, _home.kept, _home.t.x";
    let mut run = start(&lua, source);
    run.answer(2, "B").unwrap();
    run.resume().unwrap();
    let bytes = lua.snapshot().unwrap().to_bytes().unwrap();
    let snapshot = luacell::Snapshot::from_bytes(&engine, &bytes).unwrap();
    let expected = |a: &str| [a.into(), "B".into(), 5.into(), 2.into(), "run".into(), Value::Integer(6)];
    for from in [Sandbox::with_config(SandboxConfig::new()).unwrap(), sandbox()] {
        from.restore(&snapshot).unwrap();
        assert_eq!(from.compute("return 1").unwrap_err().kind(), ErrorKind::Busy, "somebody has to take it over");
        let again = from.snapshot().unwrap();
        let run = from.waiting_run().unwrap().unwrap();
        assert!(from.waiting_run().unwrap().is_none(), "somebody has it");
        let requests = run.requests().unwrap();
        assert_eq!(requests.len(), 1);
        assert_eq!((requests[0].id, &*requests[0].name), (1, "ask"));
        assert_eq!(requests[0].args[1].as_table().unwrap().get(1), 5.into());
        assert_eq!(to_end(run).unwrap(), expected("\"A\""));
        assert_eq!(from.home().get("kept").unwrap(), "run".into());
        // A snapshot of what nobody has taken over is the same.
        let third = engine.sandbox_from(&again, SandboxConfig::new()).unwrap();
        assert_eq!(to_end(third.waiting_run().unwrap().unwrap()).unwrap(), expected("\"A\""));
    }
    // What it wrote is taken back where it fails.
    let other = engine.sandbox_from(&snapshot, SandboxConfig::new()).unwrap();
    let mut failing = other.waiting_run().unwrap().unwrap();
    failing.fail(1, Error::host("no")).unwrap();
    failing.resume().unwrap();
    failing.into_result().unwrap_err();
    assert_eq!(other.compute("return _home.kept, _home.t, g").unwrap().values, ["before".into(), Value::Nil, 2.into()]);
    // A fork has it too, and neither knows of the other.
    let fork = lua.fork().unwrap();
    assert_eq!(to_end(fork.waiting_run().unwrap().unwrap()).unwrap(), expected("\"A\""));
    run.answer(1, "mine").unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, expected("mine"));
    assert!(lua.waiting_run().unwrap().is_none());
}

/// Nobody could take it over or end it, and no limit would hold for what is run as a part of it.
#[test]
fn a_run_that_came_with_a_snapshot_and_has_no_room_is_gone() {
    let lua = sandbox();
    for (texts, memory) in [(10, 4 << 20), (20, 8 << 20)] {
        let run = start(
            &lua,
            &format!(
                "local task, text = require 'task', ('x'):rep(1 << 20) for i = 1, {texts} do task.spawn(ask, text) end"
            ),
        );
        let snapshot = lua.snapshot().unwrap();
        drop(run);
        let small = SandboxConfig::new().memory_limit(memory).timeout(Duration::from_millis(50));
        let there = Sandbox::with_config(small).unwrap();
        there.restore(&snapshot).unwrap();
        assert_eq!(there.waiting_run().unwrap_err().kind(), ErrorKind::Memory);
        assert!(there.waiting_run().unwrap().is_none());
        assert_eq!(there.compute("while true do end").unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(there.compute("return 1").unwrap().values, [1.into()]);
        there.reset().unwrap();
        assert_eq!(there.compute("return 1").unwrap().values, [1.into()]);
        there.restore(&lua.snapshot().unwrap()).unwrap();
    }
}

/// A caught error is a value of Lua, which goes along; what lies behind it stays with the host that it came from.
#[test]
fn an_error_of_before_a_snapshot_has_no_cause_of_after_it() {
    let lua = sandbox();
    let source = "local _, first = pcall(ask) ask() pcall(ask) error(first, 0)";
    let mut run = start(&lua, source);
    run.fail(1, Error::host("one")).unwrap();
    run.resume().unwrap();
    let fork = lua.fork().unwrap();
    for mut run in [run, fork.waiting_run().unwrap().unwrap()] {
        run.answer(2, ()).unwrap();
        run.resume().unwrap();
        run.fail(3, Error::host("two")).unwrap();
        run.resume().unwrap();
        let error = run.into_result().unwrap_err();
        assert!(error.message().contains("one"), "{error}");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_ne!(cause.as_deref(), Some("two"));
    }
}

#[test]
fn requests_keep_their_names_when_their_function_is_declared_after_the_restore() {
    let lua = sandbox();
    let run = start(&lua, "local task = require 'task' task.all(function() task.sleep(1) end, ask, web.fetch)");
    let there = luacell::Engine::default().sandbox_from(&lua.snapshot().unwrap(), SandboxConfig::new()).unwrap();
    there.declare("ask").unwrap();
    let restored = there.waiting_run().unwrap().unwrap();
    assert_eq!(open(&restored)[1..], ["2:ask()", "3:web.fetch()"]);
    assert_eq!(open(&restored), open(&run));
}

#[test]
fn limits_of_a_restored_run_hold() {
    let lua = sandbox();
    let limits = options().instruction_limit(100_000).host_call_limit(2).output_limit(10).store_limit(1000);
    for (source, kind) in [
        ("ask() ask() ask()", ErrorKind::HostCallLimit),
        ("for i = 1, 60000 do end ask() for i = 1, 60000 do end", ErrorKind::InstructionLimit),
        ("print('12345') ask() print('123456')", ErrorKind::OutputLimit),
        ("_home.a = ('x'):rep(600) ask() _home.b = ('x'):rep(600)", ErrorKind::StoreLimit),
    ] {
        let run = lua.start(source, limits.clone()).unwrap();
        let snapshot = lua.snapshot().unwrap();
        let there = luacell::Engine::default().sandbox_from(&snapshot, SandboxConfig::new()).unwrap();
        there.declare("ask").unwrap();
        assert_eq!(to_end(there.waiting_run().unwrap().unwrap()).unwrap_err().kind(), kind, "{source}");
        there.compute("return 1").unwrap();
        // The sandbox's own limits are no wider for it.
        let narrow = SandboxConfig::new().store_limit(100).host_call_limit(1);
        if let Ok(there) = luacell::Engine::default().sandbox_from(&snapshot, narrow) {
            to_end(there.waiting_run().unwrap().unwrap()).unwrap_err();
        }
        drop(run);
    }
}

#[test]
fn a_restored_run_can_be_cancelled_and_needs_its_tables() {
    let lua = sandbox();
    let run = start(&lua, "_home.x = 1 ask()");
    let snapshot = lua.snapshot().unwrap();
    drop(run);
    let there = luacell::Engine::default().sandbox_from(&snapshot, SandboxConfig::new()).unwrap();
    drop(there.waiting_run().unwrap());
    assert_eq!(there.compute("return _home.x").unwrap().values, [Value::Nil]);
    let stored = Sandbox::with_config(SandboxConfig::new().store(luacell::MemoryStore::new())).unwrap();
    let error = stored.restore(&snapshot).unwrap_err();
    assert!(error.message().contains("without its tables"), "{error}");
    stored.compute("return 1").unwrap();
    let options = luacell::RestoreOptions::new().tables(true);
    stored.restore_with(&snapshot, &options).unwrap();
    to_end(stored.waiting_run().unwrap().unwrap()).unwrap();
    assert_eq!(stored.home().get("x").unwrap(), 1.into());
    // From a store as well.
    stored.declare("ask").unwrap();
    let run = start(&stored, "_home.x = 2 _home.y = {} ask() _home.y.z = 3");
    let snapshot = stored.snapshot().unwrap();
    let there = luacell::Engine::default().sandbox_from(&snapshot, SandboxConfig::new()).unwrap();
    drop(run);
    assert_eq!(stored.home().get("x").unwrap(), 1.into());
    to_end(there.waiting_run().unwrap().unwrap()).unwrap();
    assert_eq!(there.compute("return _home.x, _home.y.z").unwrap().values, [2.into(), 3.into()]);
}

/// What a run had written counts with the tables, before anything of the sandbox is replaced.
#[test]
fn a_run_that_wrote_too_much_for_another_sandbox_is_refused() {
    let lua = sandbox();
    let run = start(&lua, "_home.t = {} for i = 1, 100 do _home.t[i] = ('x'):rep(100) end ask()");
    let snapshot = lua.snapshot().unwrap();
    drop(run);
    for limit in [StoreLimit::new(5000, 1000), StoreLimit::new(50_000, 50)] {
        let there = Sandbox::with_config(SandboxConfig::new().store_limit(limit)).unwrap();
        let stored =
            Sandbox::with_config(SandboxConfig::new().store(luacell::MemoryStore::new()).store_limit(limit)).unwrap();
        for there in [there, stored] {
            there.compute("_home.mine = 1 x = 2").unwrap();
            let error = there.restore_with(&snapshot, &luacell::RestoreOptions::new().tables(true)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreLimit, "{error}");
            assert_eq!(there.compute("return _home.mine, x").unwrap().values, [1.into(), 2.into()]);
            assert!(there.waiting_run().unwrap().is_none());
        }
    }
}

/// Only what it had written in the end takes room, whatever came first.
#[test]
fn what_a_run_had_written_fits_again() {
    let lua = Sandbox::with_config(SandboxConfig::new().store_limit(1000)).unwrap();
    lua.declare("ask").unwrap();
    lua.compute("_home.a = ('x'):rep(600)").unwrap();
    let run = start(&lua, "_home.b = 1 _home.a = nil _home.b = ('x'):rep(700) ask() _home.c = ('x'):rep(400)");
    let fork = lua.fork().unwrap();
    let snapshot = lua.snapshot().unwrap();
    drop(run);
    lua.restore(&snapshot).unwrap();
    for lua in [lua, fork] {
        let mut run = lua.waiting_run().unwrap().unwrap();
        assert_eq!(lua.compute("return _home.a, #_home.b").unwrap().values, [Value::Nil, 700.into()]);
        run.answer(1, ()).unwrap();
        run.resume().unwrap();
        assert_eq!(run.into_result().unwrap_err().kind(), ErrorKind::StoreLimit);
        assert_eq!(lua.compute("return #_home.a, _home.b").unwrap().values, [600.into(), Value::Nil]);
    }
}

/// Each byte of the part that describes the run.
#[test]
fn damaged_runs_are_refused_or_harmless() {
    let engine = luacell::Engine::default();
    let lua = sandbox();
    let _run = start(&lua, "_home.x = 1 _home.y = {} _home.y.z = ('x'):rep(30) ask(1)");
    let bytes = lua.snapshot().unwrap().to_bytes().unwrap();
    for at in (0..bytes.len()).rev().step_by(bytes.len() / 400 + 1) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x41;
        assert!(luacell::Snapshot::from_bytes(&engine, &broken).is_err(), "a checksum covers byte {at}");
    }
}

/// Groups nest as deep as there is memory, and C's stack is small.
#[test]
fn groups_of_any_depth_are_cancelled() {
    let lua = sandbox();
    let source = "local task, closed, outermost = require 'task', 0, nil
        local mt = {__close = function() closed = closed + 1 end}
        local function f(d)
            local c <close> = setmetatable({}, mt)
            ask()
            if d == 0 then outermost:cancel() else task.all(function() f(d - 1) end) end
        end
        outermost = task.spawn(f, 20000)
        local ok, e = pcall(outermost.wait, outermost)
        return ok, e, closed";
    let mut run = start(&lua, source);
    while run.is_waiting() {
        run.answer(run.requests().unwrap()[0].id, ()).unwrap();
        run.resume().unwrap();
    }
    let values = run.into_result().unwrap().values;
    assert_eq!(values, [false.into(), "the task was cancelled".into(), 20_001.into()]);
}

/// Lua has the text once, and the host would have it a thousand times.
#[test]
fn arguments_that_wait_count_as_memory() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(4 << 20)).unwrap();
    lua.declare("ask").unwrap();
    let source = "local task, n, text = require 'task', 0, ('x'):rep(1 << 20)
        local ok, e = true, nil
        local function call() ok, e = pcall(ask, text) end
        while ok and n < 1000 do n = n + 1 task.spawn(call) end
        return n, e";
    let mut run = start(&lua, source);
    let held: usize = run.requests().unwrap().iter().map(|r| r.args[0].as_str().unwrap().len()).sum();
    assert!(held > 2 << 20 && held <= 4 << 20, "{held}");
    // What has its answer is not held any more.
    for _ in 0..2 {
        for request in run.requests().unwrap() {
            run.answer(request.id, ()).unwrap();
        }
    }
    run.resume().unwrap();
    let values = run.into_result().unwrap().values;
    assert_eq!(values[0], 4.into());
    assert!(values[1].as_str().unwrap().contains("not enough memory"), "{values:?}");
    let source = "for i = 1, 20 do ask(('x'):rep(1 << 20)) end";
    let mut run = start(&lua, source);
    while run.is_waiting() {
        run.answer(run.requests().unwrap()[0].id, ()).unwrap();
        run.resume().unwrap();
    }
    run.into_result().unwrap();
}

/// Listing what it waits for takes memory too, which the run did not need before.
#[test]
fn a_run_with_large_arguments_goes_on_elsewhere() {
    let config = || SandboxConfig::new().memory_limit(4 << 20);
    let lua = Sandbox::with_config(config()).unwrap();
    lua.declare("ask").unwrap();
    let source = "local task, text = require 'task', ('x'):rep(1 << 20)
        local t = {} for i = 1, 3 do t[i] = task.spawn(ask, text) end
        local n = 0 for i = 1, 3 do n = n + t[i]:wait() end return n";
    let run = start(&lua, source);
    let other = lua.fork().unwrap();
    drop(run);
    let mut run = other.waiting_run().unwrap().unwrap();
    for request in run.requests().unwrap() {
        assert_eq!(request.args[0].as_str().unwrap().len(), 1 << 20);
        run.answer(request.id, 5).unwrap();
    }
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [15.into()]);
    // The limit holds as before.
    let error = other.compute("return #('x'):rep(5 << 20)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
}

/// Functions of Lua's among the answers are held until the script has them.
#[test]
fn functions_that_are_answers_are_held() {
    let lua = sandbox();
    lua.register("drop", |_: Value| Ok(())).unwrap();
    let mut run = start(&lua, "return ask(function() return 1 end)()");
    run.answer(1, run.requests().unwrap()[0].args.clone()).unwrap();
    lua.compute("for i = 1, 200 do drop(function() return 2 end) end collectgarbage()").unwrap();
    run.resume().unwrap();
    assert_eq!(run.into_result().unwrap().values, [1.into()]);
}

/// What it was granted where it comes from does not hold in a sandbox with less.
#[test]
fn narrower_limits_hold_from_where_it_goes_on() {
    let lua = sandbox();
    let run = start(&lua, "for i = 1, 2000 do end ask() for i = 1, 2000 do end return 1");
    let snapshot = lua.snapshot().unwrap();
    drop(run);
    let engine = luacell::Engine::new(luacell::EngineConfig::new()).unwrap();
    for (limit, ends) in [(1000, true), (3000, true), (1_000_000, false)] {
        let config = SandboxConfig::new().instruction_limit(limit);
        let there = engine.sandbox_from(&snapshot, config).unwrap();
        let mut run = there.waiting_run().unwrap().unwrap();
        run.answer(1, ()).unwrap();
        run.resume().unwrap();
        let kind = run.into_result().map_err(|error| error.kind()).err();
        assert_eq!(kind == Some(ErrorKind::InstructionLimit), ends, "{limit}: {kind:?}");
        assert_eq!(there.compute("return 1").unwrap().values, [1.into()]);
    }
}
