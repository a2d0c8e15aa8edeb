//! Limits that scripts can't dodge, through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[macro_use]
mod forward;
mod hostile;

use cpu_time::ThreadTime;
use hostile::HOSTILE;
use luacell::{
    ComputeOptions, Engine, EngineConfig, ErrorKind, MemoryStore, Sandbox, SandboxConfig, StoreLimit, StoreResult,
    TableStore, Value,
};

fn run_after(lua: &Sandbox, name: &str) {
    assert_eq!(lua.compute("return still_here, 1 + 1").unwrap().values, ["yes".into(), 2.into()], "after {name}");
}

#[test]
fn a_timeout_ends_every_hostile_script() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(64 << 20)).unwrap();
    lua.compute("still_here = 'yes'").unwrap();
    for (name, source) in HOSTILE {
        let options = ComputeOptions::new().timeout(Duration::from_millis(50));
        let error = lua.compute_with(source, options).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{name}: {error}");
        assert!(error.metrics().wall_time >= Duration::from_millis(50), "{name}");
        run_after(&lua, name);
    }
}

#[test]
fn an_instruction_limit_ends_every_hostile_script_at_the_same_place() {
    let run = || {
        // What a script makes of the date would take another amount of memory in another second.
        let config = SandboxConfig::new().memory_limit(64 << 20).instruction_limit(3_000_000).deterministic(1);
        let lua = Sandbox::with_config(config).unwrap();
        lua.compute("still_here = 'yes'").unwrap();
        let count = |(name, source): &(&str, &str)| {
            let error = lua.compute(source).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{name}: {error}");
            run_after(&lua, name);
            (error.metrics().instructions, error.metrics().peak_memory, error.message().to_owned())
        };
        HOSTILE.iter().map(count).collect::<Vec<_>>()
    };
    let first = run();
    for ((instructions, ..), (name, _)) in first.iter().zip(HOSTILE) {
        assert_eq!(*instructions, 3_000_000, "{name}");
    }
    assert_eq!(first, run());
}

#[test]
fn interrupt_from_another_thread() {
    let lua = Sandbox::new().unwrap();
    lua.compute("still_here = 'yes'").unwrap();
    // Nothing runs: nothing happens.
    lua.interrupt();
    let (started, wait) = std::sync::mpsc::channel();
    lua.register("going", move |()| {
        let _ = started.send(());
        Ok(())
    })
    .unwrap();
    let interrupter = lua.interrupter();
    let thread = std::thread::spawn(move || {
        while wait.recv().is_ok() {
            interrupter.interrupt();
        }
    });
    for (name, source) in HOSTILE {
        let error = lua.compute(format!("going() {source}")).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{name}: {error}");
        run_after(&lua, name);
    }
    drop(lua);
    thread.join().unwrap();
}

#[test]
fn limits_of_one_run_hold_for_that_run() {
    let lua = Sandbox::with_config(SandboxConfig::new().instruction_limit(10_000)).unwrap();
    let loop_ = "for i = 1, 100000 do end return 1";
    assert_eq!(lua.compute(loop_).unwrap_err().kind(), ErrorKind::InstructionLimit);
    let more = ComputeOptions::new().instruction_limit(1_000_000);
    assert_eq!(lua.compute_with(loop_, more).unwrap().values, [1.into()]);
    assert_eq!(lua.compute(loop_).unwrap_err().kind(), ErrorKind::InstructionLimit);
    lua.compute("function f(n) for i = 1, n do end return n end").unwrap();
    assert_eq!(lua.call("f", 100_000).unwrap_err().kind(), ErrorKind::InstructionLimit);
    let options = ComputeOptions::new().instruction_limit(u64::MAX).args(100_000);
    assert_eq!(lua.call_with("f", options).unwrap().values, [100_000.into()]);
    // Beyond one grant, and beyond 32 bits of grants.
    let exact =
        lua.compute_with(loop_, ComputeOptions::new().instruction_limit(u64::MAX)).unwrap().metrics.instructions;
    let options = |n| ComputeOptions::new().instruction_limit(n);
    assert!(lua.compute_with(loop_, options(exact)).is_ok());
    assert_eq!(lua.compute_with(loop_, options(exact - 1000)).unwrap_err().kind(), ErrorKind::InstructionLimit);
    assert_eq!(lua.compute_with("return 1", options(0)).unwrap_err().kind(), ErrorKind::InstructionLimit);
}

#[test]
fn memory() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(8 << 20)).unwrap();
    lua.compute("still_here = 'yes'").unwrap();
    for (name, source) in [
        ("string", "return ('x'):rep(1 << 30)"),
        ("doubling", "local s = 'x' while true do s = s .. s end"),
        ("table", "local t = {} for i = 1, math.huge do t[i] = i end"),
        ("hash", "local t = {} for i = 1, math.huge do t['k' .. i] = i end"),
        ("closures", "local t = {} for i = 1, math.huge do t[i] = function() return i end end"),
        ("coroutines", "local t = {} for i = 1, math.huge do t[i] = coroutine.create(print) end"),
        ("concat", "local t = {} for i = 1, 100000 do t[i] = ('x'):rep(1000) end return table.concat(t)"),
        ("gsub", "return (('x'):rep(1000000):gsub('x', ('y'):rep(1000)))"),
        ("output", "while true do print(('x'):rep(10000)) end"),
        ("stored", "local t = {} for i = 1, 1e6 do t[i] = {i} end _home.x = t"),
    ] {
        let error = lua.compute(source).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Memory, "{name}: {error}");
        assert_eq!(error.message(), "not enough memory", "{name}");
        run_after(&lua, name);
        lua.gc().unwrap();
    }
    let caught = lua.compute("local ok, e = pcall(string.rep, 'x', 1 << 30) return ok, e").unwrap();
    assert_eq!(caught.values, [false.into(), "not enough memory".into()]);
    assert!(caught.metrics.peak_memory < 8 << 20);
    let used = lua.compute("local s = ('x'):rep(3000000) return #s").unwrap();
    assert!((3_000_000..8 << 20).contains(&used.metrics.peak_memory), "{}", used.metrics.peak_memory);
}

#[test]
fn the_hard_ceiling_of_the_engine() {
    let engine = Engine::new(EngineConfig::new().max_memory(16 << 20).pool_size(4)).unwrap();
    let (a, b) = (engine.sandbox(SandboxConfig::new()).unwrap(), engine.sandbox(SandboxConfig::new()).unwrap());
    a.compute("still_here = 'yes'").unwrap();
    b.compute("still_here = 'yes'").unwrap();
    let error = a.compute("local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1000) .. i end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
    run_after(&a, "the ceiling");
    run_after(&b, "the other one's ceiling");
    assert!(a.memory_stats().unwrap().wasm_bytes <= 16 << 20);
}

#[test]
fn output() {
    let lua = Sandbox::with_config(SandboxConfig::new().output_limit(10)).unwrap();
    assert_eq!(lua.compute("print('123456789')").unwrap().output, "123456789\n");
    for source in ["print('1234567890')", "pcall(print, '1234567890') return 1", "while true do pcall(print, 1) end"] {
        let error = lua.compute(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutputLimit, "{source}");
    }
    let options = ComputeOptions::new().output_limit(u64::MAX);
    assert_eq!(lua.compute_with("print(('x'):rep(1000))", options).unwrap().output.len(), 1001);
    assert_eq!(lua.compute("print(('x'):rep(1000))").unwrap_err().kind(), ErrorKind::OutputLimit);
}

/// The text of a key that is no text is four times as long.
/// Remembered sources give way to what a run needs.
#[test]
fn sources_that_were_run_often_leave_room_for_others() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(1 << 20)).unwrap();
    let large = "return #('x'):rep(350 << 10)";
    assert_eq!(lua.compute(large).unwrap().get::<i64>().unwrap(), 350 << 10);
    for i in 0..500 {
        let source = format!("local t = {{{}}}", format!("'{i}', ").repeat(500));
        for _ in 0..2 {
            lua.compute(&source).unwrap();
        }
    }
    assert_eq!(lua.compute(large).unwrap().get::<i64>().unwrap(), 350 << 10);
}

/// What is remembered of a source for its next runs is taken where there is room for it.
#[test]
fn a_source_that_ran_in_little_memory_runs_in_it_again() {
    let mut worked = 0;
    for limit in (33 << 10..36 << 10).step_by(8) {
        let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(limit)).unwrap();
        for source in ["return 1 + 1", "local a = {...} return #a, 'text of some length, so that it is not shared'"] {
            if lua.compute(source).is_ok() {
                worked += 1;
                for again in 2..5 {
                    let result = lua.compute(source);
                    assert!(result.is_ok(), "{limit}: run {again} of {source}: {result:?}");
                }
            }
        }
    }
    assert!(worked > 100, "{worked}");
}

#[test]
fn long_binary_keys_end_in_time() {
    let lua = Sandbox::new().unwrap();
    lua.compute("s = ('\\xff'):rep(30000000)").unwrap();
    for source in [
        "return _home[s]",
        "_home[s] = nil",
        "return next(_home, s)",
        "return {[s] = 1}, (function() _home.t = {[s] = 1} end)()",
    ] {
        let options = ComputeOptions::new().instruction_limit(2_000_000);
        let error = lua.compute_with(source, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{source}");
        assert_eq!(error.metrics().instructions, 2_000_000);
        assert!(error.metrics().peak_memory < 50 << 20, "{source}: it went on after the limit, {:?}", error.metrics());
    }
}

/// Lines for which there is no memory neither count nor come out in part.
#[test]
fn output_without_memory() {
    let fill = "
        local print, pcall, rep, line = print, pcall, string.rep, ('x'):rep(60)
        local kept, n, failed = {}, 0, 0
        local function take(size) n = n + 1 kept[n] = rep('y', size) .. n end
        for _, size in ipairs{100000, 10000, 1000, 500, 300, 200, 100, 41} do while pcall(take, size) do end end
        for i = 1, 100000 do if not pcall(print, line, line) then failed = failed + 1 end end
        kept = nil collectgarbage()
        assert(failed > 0)";
    let printed = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&printed);
    let config = || SandboxConfig::new().memory_limit(2 << 20).output_limit(1000);
    let streaming = config().on_print(move |text| sink.lock().unwrap().push_str(&String::from_utf8_lossy(text)));
    for (lua, streams) in
        [(Sandbox::with_config(config()).unwrap(), false), (Sandbox::with_config(streaming).unwrap(), true)]
    {
        let error = lua.compute(format!("{fill} while true do print('end') end")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutputLimit);
        let text =
            if streams { printed.lock().unwrap().clone() } else { error.output().to_string_lossy().into_owned() };
        assert!(text.len() <= 1000 && text.len() > 950, "{}", text.len());
        assert!(text.lines().all(|line| line == "end" || line.len() == 121 || "end".starts_with(line)), "{text:?}");
        assert!(!error.output().to_string_lossy().contains('\0'));
    }
}

#[test]
fn store() {
    let lua = Sandbox::with_config(SandboxConfig::new().store_limit(StoreLimit::new(10_000, 100))).unwrap();
    lua.compute("still_here = 'yes'").unwrap();
    let fails = |source: &str| {
        let error = lua.compute(source).expect_err(source);
        assert_eq!(error.kind(), ErrorKind::StoreLimit, "{source}: {error}");
        run_after(&lua, source);
    };
    fails("for i = 1, 101 do _home[i] = 1 end");
    fails("while true do pcall(function() _home[#_home + 1] = 1 end) end");
    fails("_home.x = ('x'):rep(10001)");
    fails("local t = {} for i = 1, 101 do t[i] = {} end _home.t = t");
    fails("ext.table().x = ('x'):rep(10001)");
    assert_eq!(lua.home().len().unwrap(), 0);
    lua.compute("for i = 1, 100 do _home[i] = 1 end").unwrap();
    fails("_home[101] = 1");
    // What goes makes room, and what is overwritten takes none.
    lua.compute("_home[1] = nil _home[101] = 1").unwrap();
    lua.compute("for i = 2, 101 do _home[i] = 2 end for j = 1, 1000 do _home[5] = j end").unwrap();
    fails("_home[1] = 1");
    lua.home().clear().unwrap();
    for _ in 0..20 {
        let out = lua.compute("_home.x = ('x'):rep(9000)").unwrap();
        assert_eq!(out.metrics.bytes_stored, 9006);
    }
    fails("_home.y = ('x'):rep(1000)");
    // The host is not refused, but what it stores counts.
    lua.home().set("y", "x".repeat(1000)).unwrap();
    fails("_home.z = 1");
    lua.compute_with("_home.z = 1", ComputeOptions::new().store_limit(20_000)).unwrap();
}

/// Whatever the host writes while a run goes on is neither forgotten nor room for the script when it goes again.
#[test]
fn what_the_host_writes_in_a_run_counts() {
    let lua = Sandbox::with_config(SandboxConfig::new().store_limit(10_000)).unwrap();
    let home = lua.home();
    lua.register("put", move |(key, n): (String, usize)| home.set(key, "x".repeat(n))).unwrap();
    let home = lua.home();
    lua.register("put_table", move |(key, n): (String, usize)| {
        let mut table = luacell::Table::new();
        table.set("x", "x".repeat(n))?;
        home.set(key, table)
    })
    .unwrap();
    // Before the first write of the script, after it, and when it has come near to the limit.
    let near = "pcall(function() for i = 1, 9 do _home['n' .. i] = ('n'):rep(1000) end end)";
    for (before, sure) in [("", 0), ("_home.a = 1", 0), (near, 9000)] {
        for put in ["put", "put_table"] {
            let most = (10_000 - sure) / 100;
            // Each has 100 bytes with its key and what belongs to a string.
            let fill = |n: i32| format!("for i = 1, {n} do _home[100 + i] = ('y'):rep(92) end");
            lua.compute(format!("{before} {}", fill(most - 1))).unwrap();
            lua.home().clear().unwrap();
            // All that the host puts there takes room, and none is gained when it goes.
            for text in [
                format!("{before} {put}('big', 5000) {}", fill(most - 1)),
                format!("{before} for i = 1, 20 do {put}('big', 5000) _home.big = nil end {}", fill(most + 10)),
                format!("{before} {put}('big', 5000) {put}('big', 10) {put}('other', 5000) {}", fill(most - 1)),
            ] {
                assert_eq!(lua.compute(&text).unwrap_err().kind(), ErrorKind::StoreLimit, "{text}");
                assert!(lua.home().is_empty().unwrap());
            }
        }
    }
}

/// So does a `_home` that the host loads in the middle of a run.
#[test]
fn a_home_that_is_imported_in_a_run_counts() {
    let from = Sandbox::new().unwrap();
    from.compute("_home.big = {('x'):rep(6000)}").unwrap();
    let blob = from.export_home().unwrap();
    let lua = Sandbox::with_config(SandboxConfig::new().store_limit(10_000)).unwrap();
    lua.declare("ask").unwrap();
    for before in ["", "_home.a = 1", "pcall(function() for i = 1, 9 do _home[i] = ('n'):rep(1000) end end)"] {
        for (n, fits) in [(3000, true), (6000, false)] {
            let source = format!("{before} ask() _home.b = ('y'):rep({n})");
            let mut run = lua.start(&source, ComputeOptions::new()).unwrap();
            lua.import_home(&blob).unwrap();
            run.answer(1, ()).unwrap();
            run.resume().unwrap();
            let kind = run.into_result().map_err(|error| error.kind()).err();
            assert_eq!(kind, (!fits).then_some(ErrorKind::StoreLimit), "{source}");
            lua.home().clear().unwrap();
            lua.gc().unwrap();
        }
    }
}

/// What the host does after a run is no part of it.
#[test]
fn a_runs_own_memory_limit_ends_with_it() {
    let lua = Sandbox::new().unwrap();
    lua.register("old", |()| Ok(())).unwrap();
    lua.compute("x = ('x'):rep(1 << 20)").unwrap();
    let narrow = || ComputeOptions::new().memory_limit(1 << 16);
    assert_eq!(lua.compute_with("return {}", narrow()).unwrap_err().kind(), ErrorKind::Memory);
    lua.register("new", |()| Ok(1)).unwrap();
    lua.declare("ask").unwrap();
    assert_eq!(lua.compute_with("return {}", narrow()).unwrap_err().kind(), ErrorKind::Memory);
    assert!(lua.unregister("old").unwrap());
    assert_eq!(lua.compute("return new(), old, ask ~= nil").unwrap().values, [1.into(), Value::Nil, true.into()]);
    // Where the sandbox itself has no room, that is what is told.
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(1)).unwrap();
    assert_eq!(lua.register("f", |()| Ok(())).unwrap_err().kind(), ErrorKind::Memory);
}

/// The traceback of a limit is made after it, and each level that is walked counts.
#[test]
fn a_traceback_walks_a_deep_stack_once() {
    const DEPTH: u64 = 30_000;
    let lua = Sandbox::new().unwrap();
    let counted = |function: &str, depth: u64| {
        let body = "local function f(n) if n > 0 then return 1 + f(n - 1) end return #g('') end";
        let source = format!("local g = {function} {body} collectgarbage('stop') return f({depth})");
        lua.compute(&source).unwrap().metrics.instructions
    };
    let traceback = |depth| counted("debug.traceback", depth) - counted("tostring", depth);
    let (shallow, deep) = (traceback(DEPTH), traceback(2 * DEPTH));
    // Two for each level; some for whatever else depends on the size of the stack.
    assert!(deep - shallow < 2 * DEPTH + DEPTH / 10, "{shallow} and {deep} instructions");
}

#[test]
fn host_calls() {
    let lua = Sandbox::with_config(SandboxConfig::new().host_call_limit(10)).unwrap();
    lua.register("f", |()| Ok(())).unwrap();
    assert_eq!(lua.compute("for i = 1, 10 do f() end").unwrap().metrics.host_calls, 10);
    for source in ["for i = 1, 11 do f() end", "while true do pcall(f) end"] {
        let error = lua.compute(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostCallLimit, "{source}");
        assert_eq!(error.metrics().host_calls, 10, "{source}: what was refused is no call");
    }
    lua.compute("for i = 1, 10 do f() end").unwrap();
}

#[test]
fn a_host_function_that_takes_too_long() {
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_millis(20))).unwrap();
    lua.register("slow", |()| {
        let end = Instant::now() + Duration::from_millis(25);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(())
    })
    .unwrap();
    let error = lua.compute("pcall(slow) reached = true").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(lua.compute("return reached").unwrap().values, [Value::Nil]);
}

#[test]
fn a_limit_inside_a_callback_ends_everything() {
    let lua = Sandbox::with_config(SandboxConfig::new().instruction_limit(1_000_000)).unwrap();
    lua.register("call", |f: luacell::Function| Ok(f.call(()).map(|_| "fine").unwrap_or("caught by the host")))
        .unwrap();
    let error = lua.compute("x = 1 pcall(call, function() while true do end end) x = 2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit);
    assert_eq!(lua.compute("return x").unwrap().values, [1.into()]);
}

#[test]
fn source_size() {
    let lua = Sandbox::with_config(SandboxConfig::new().source_limit(100)).unwrap();
    let error = lua.compute(" ".repeat(101)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("101"), "{error}");
    lua.compute(" ".repeat(100)).unwrap();
    lua.compute_with(" ".repeat(101), ComputeOptions::new().source_limit(1000)).unwrap();
}

#[test]
fn nesting() {
    let lua = Sandbox::new().unwrap();
    for source in [
        format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("return {}{}", "{".repeat(100_000), "}".repeat(100_000)),
        format!("x = {}1", "-".repeat(10).replace('-', "- ").repeat(20_000)),
        "do ".repeat(100_000),
        format!("return {}", "function() return ".repeat(100_000)),
        format!("x = 'a' {}", ".. 'a' ".repeat(100_000)),
    ] {
        let error = lua.compute(&source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax, "{error}");
    }
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn metrics_of_errors_and_outcomes() {
    let lua = Sandbox::new().unwrap();
    let short = lua.compute("for i = 1, 100 do end").unwrap().metrics;
    let long = lua.compute("for i = 1, 10000 do end").unwrap().metrics;
    assert!(short.instructions > 100 && long.instructions > 10_000 && long.instructions < 100_000, "{long:?}");
    assert_eq!(lua.compute("for i = 1, 10000 do end").unwrap().metrics.instructions, long.instructions);
    assert!(short.wall_time > Duration::ZERO && short.peak_memory > 0);
    let error = lua.compute("_home.x = 'abc' error('x')").unwrap_err();
    assert!(error.metrics().instructions > 0 && error.metrics().bytes_stored == 9, "{:?}", error.metrics());
}

#[test]
fn deterministic_runs() {
    let run = |seed| {
        let lua = Sandbox::with_config(SandboxConfig::new().deterministic(seed).instruction_limit(10_000_000)).unwrap();
        let mut all = Vec::new();
        for source in [
            "print(math.random(), math.random(1000), os.time(), os.clock(), os.date()) return math.random(0)",
            "local t = {} for i = 1, 100 do t['k' .. i] = i end local s = {} for k in pairs(t) do s[#s + 1] = k end return table.concat(s, ',')",
            "return tostring({}), tostring(print), string.format('%p', {}), 0 / 0, -(0 / 0), tostring(0 / 0), string.format('%f %g', 0/0, -(0/0)), string.pack('d', 0/0)",
            "_home.t = {x = {}, y = 0/0} for i = 1, 50 do _home['k' .. i] = i end local s = {} for k in pairs(_home) do s[#s + 1] = tostring(k) end return table.concat(s, ',')",
            "while os.clock() < 0.001 do end return os.time{year = 2024, month = 1, day = 1, hour = 0}",
            "error(math.random(0))",
            "while true do end",
        ] {
            match lua.compute(source) {
                Ok(out) => all.push(format!("{:?} {:?} {:?}", out.values, out.output, out.metrics)),
                Err(error) => all.push(format!("{error:?} {:?}", error.metrics())),
            }
        }
        all
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1)[0], run(2)[0]);
    assert!(run(1)[2].contains("\"nan\""), "{}", run(1)[2]);
    assert!(run(3)[0].contains("946684800"), "{}", run(3)[0]);
}

#[test]
fn without_a_seed_every_sandbox_has_its_own_random_numbers() {
    let random = || Sandbox::new().unwrap().compute("return math.random(0)").unwrap().values;
    assert_ne!(random(), random());
    let lua = Sandbox::new().unwrap();
    let first = lua.compute("return math.random(0)").unwrap().values;
    lua.reset().unwrap();
    assert_ne!(first, lua.compute("return math.random(0)").unwrap().values);
}

#[cfg(feature = "hardened")]
#[test]
fn a_hardened_engine_runs_the_same() {
    let engine = Engine::new(EngineConfig::new().hardened(true).pool_size(2)).unwrap();
    let lua = engine.sandbox(SandboxConfig::new()).unwrap();
    lua.register("add", |(a, b): (i64, i64)| Ok(a + b)).unwrap();
    lua.compute("still_here = 'yes'").unwrap();
    // Long enough for the clock to tick a few times.
    let out = lua.compute("local n = 0 for i = 1, 3000000 do n = add and n + 1 end return n, add(1, 2)").unwrap();
    assert_eq!(out.values, [3_000_000.into(), 3.into()]);
    let options = ComputeOptions::new().timeout(Duration::from_millis(50));
    assert_eq!(lua.compute_with("while true do end", options).unwrap_err().kind(), ErrorKind::Timeout);
    run_after(&lua, "a timeout");
}

#[cfg(not(feature = "hardened"))]
#[test]
fn a_hardened_engine_needs_its_feature() {
    let error = Engine::new(EngineConfig::new().hardened(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("`hardened`"), "{error}");
}

#[test]
fn the_defaults_hold() {
    let lua = Sandbox::new().unwrap();
    lua.compute("still_here = 'yes'").unwrap();
    assert_eq!(lua.compute("return ('x'):rep(256 << 20)").unwrap_err().kind(), ErrorKind::Memory);
    assert_eq!(lua.compute("return #('x'):rep(100 << 20)").unwrap().values, [(100 << 20).into()]);
    let error = lua.compute("local s = ('x'):rep(1 << 20) for i = 1, 17 do print(s) end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputLimit);
    assert_eq!(lua.compute(" ".repeat((16 << 20) + 1)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    run_after(&lua, "the defaults");
}

#[test]
fn the_host_is_asked_whether_a_run_may_go_on() {
    let mut left = 5;
    let config = SandboxConfig::new().on_check(move || {
        left -= 1;
        left >= 0
    });
    let sandbox = Sandbox::with_config(config).unwrap();
    let error = sandbox.compute("while true do end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!((500_000..700_000).contains(&error.metrics().instructions), "{:?}", error.metrics());
    assert_eq!(sandbox.compute("return 1").unwrap().get::<i64>().unwrap(), 1);
}

/// A host function runs something of its own with narrower limits: they end that, and nothing else.
#[test]
fn limits_of_a_run_inside_a_host_function() {
    let lua = std::sync::Arc::new(Sandbox::new().unwrap());
    let weak = std::sync::Arc::downgrade(&lua);
    let inner = move |source: &str, options: ComputeOptions| {
        weak.upgrade().map_or_else(|| Ok(Vec::new()), |lua| lua.compute_with(source, options).map(|o| o.values))
    };
    let options = || ComputeOptions::new().timeout(None);
    let cases: Vec<(&str, &str, ComputeOptions, ErrorKind)> = vec![
        ("time", "while true do end", ComputeOptions::new().timeout(Duration::from_millis(20)), ErrorKind::Timeout),
        ("steps", "while true do pcall(error) end", options().instruction_limit(1000), ErrorKind::InstructionLimit),
        ("text", "while true do print('x') end", options().output_limit(10), ErrorKind::OutputLimit),
        ("store", "_home.large = ('x'):rep(1000)", options().store_limit(100), ErrorKind::StoreLimit),
        ("calls", "while true do again() end", options().host_call_limit(3), ErrorKind::HostCallLimit),
        ("memory", "return #('x'):rep(100000000)", options().memory_limit(10_000_000), ErrorKind::Memory),
    ];
    lua.register("again", |()| Ok(())).unwrap();
    for (name, source, options, _) in &cases {
        let (inner, source, options) = (inner.clone(), (*source).to_owned(), options.clone());
        lua.register(name, move |()| inner(&source, options.clone())).unwrap();
    }
    for (name, _, _, kind) in &cases {
        // Caught, and the run goes on with all that it may use.
        let source = format!(
            "kept = 1 print('before') local ok, e = pcall({name}) print('after')
            local n = 0 for i = 1, 100000 do n = n + i again() end
            return ok, n, #('x'):rep(20000000), kept"
        );
        let outcome = lua.compute(&source).unwrap();
        assert_eq!(outcome.values, [false.into(), 5_000_050_000i64.into(), 20_000_000.into(), 1.into()], "{name}");
        let text = outcome.output.to_string_lossy().into_owned();
        assert!(text.starts_with("before\n") && text.ends_with("after\n"), "{name}: {text}");
        // Not caught, it says what it was.
        assert_eq!(lua.compute(format!("{name}()")).unwrap_err().kind(), *kind, "{name}");
        assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
    }
    assert!(lua.home().is_empty().unwrap());
    // Each is one call and three inside it; those that were refused were none.
    let most = ComputeOptions::new().host_call_limit(21);
    let outcome = lua.compute_with("for i = 1, 5 do pcall(calls) end", most).unwrap();
    assert_eq!(outcome.metrics.host_calls, 20);

    // The outer run's limits are never widened.
    let wide = inner.clone();
    lua.register("wide", move |()| {
        let options = ComputeOptions::new().instruction_limit(u64::MAX).timeout(None).host_call_limit(u64::MAX);
        wide("while true do end", options)
    })
    .unwrap();
    let outer = ComputeOptions::new().instruction_limit(100_000);
    assert_eq!(lua.compute_with("pcall(wide)", outer).unwrap_err().kind(), ErrorKind::InstructionLimit);
    let outer = ComputeOptions::new().timeout(Duration::from_millis(20));
    assert_eq!(lua.compute_with("pcall(wide)", outer).unwrap_err().kind(), ErrorKind::Timeout);
    let outer = ComputeOptions::new().instruction_limit(500_000);
    let source = "for i = 1, 1e9 do pcall(steps) end";
    assert_eq!(lua.compute_with(source, outer).unwrap_err().kind(), ErrorKind::InstructionLimit);

    // One inside the other.
    let deep = inner.clone();
    lua.register("deep", move |()| deep("pcall(steps) pcall(steps) return 7", options().instruction_limit(50_000)))
        .unwrap();
    assert_eq!(lua.compute("return deep()").unwrap().values, [7.into()]);
    lua.register("late", move |()| inner("return 1", ComputeOptions::new().commit_on_error(true))).unwrap();
    assert_eq!(lua.compute("late()").unwrap_err().kind(), ErrorKind::HostFunction);
}

/// Whatever the script does between two looks at the clock.
#[test]
fn the_clock_is_looked_at_after_every_long_host_call() {
    let slow_calls = Arc::new(AtomicU32::new(0));
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_millis(20))).unwrap();
    let count = Arc::clone(&slow_calls);
    lua.register("slow", move |()| {
        count.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(60));
        Ok(())
    })
    .unwrap();
    lua.register("quick", |()| Ok(())).unwrap();
    for before in 0..10 {
        let error = lua.compute(format!("{} slow() slow() slow()", "quick() ".repeat(before))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{before}");
        assert_eq!(slow_calls.swap(0, Ordering::Relaxed), 1, "after {before} quick calls");
    }
}

/// A store that takes its time.
struct Slow(MemoryStore, Arc<AtomicU32>);

impl Slow {
    fn wait(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(60));
    }
}

impl TableStore for Slow {
    pass_on!(set delete);
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        if key.starts_with("slow") {
            self.wait();
        }
        self.0.get(table, key, read)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        if table > 2 && table < 1000 {
            self.wait();
        }
        self.0.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        if table > 2 && table < 1000 {
            self.wait();
        }
        self.0.keys(table, visit)
    }
}

#[test]
fn the_clock_is_looked_at_after_every_long_look_into_the_store() {
    let looks = Arc::new(AtomicU32::new(0));
    let store = Slow(MemoryStore::new(), Arc::clone(&looks));
    let lua = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
    lua.compute("_home.t = {1, 2, 3} still_here = 'yes'").unwrap();
    for source in [
        "for i = 1, 100 do pcall(function() return _home['slow' .. i] end) end return 1",
        "for i = 1, 100 do pcall(function() return #_home.t end) end return 1",
        "for i = 1, 100 do pcall(function() for k in pairs(_home.t) do end end) end return 1",
        "return _home.slow",
        "return #_home.t",
    ] {
        looks.store(0, Ordering::Relaxed);
        let options = ComputeOptions::new().timeout(Duration::from_millis(20));
        let error = lua.compute_with(source, options).expect_err(source);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{source}: {error}");
        let looks = looks.load(Ordering::Relaxed);
        assert!(looks <= 3, "{source}: {looks}");
        run_after(&lua, source);
    }
    // What the run has done is taken back although its time is over.
    let options = || ComputeOptions::new().timeout(Duration::from_millis(20));
    for end in ["_home.slow", "#_home.t", "next(_home.t)"] {
        let source = format!("mine = {{7, {{8}}}} _home.mine = mine _home.t[1] = mine return {end}");
        assert_eq!(lua.compute_with(source, options()).unwrap_err().kind(), ErrorKind::Timeout, "{end}");
        let check = "rawset(mine, 'x', 1) return mine[1], mine[2][1], rawget(mine, 'x'), _home.mine, _home.t[1]";
        assert_eq!(lua.compute(check).unwrap().values, [7.into(), 8.into(), 1.into(), Value::Nil, 1.into()], "{end}");
    }
}

/// What Lua needs to have its tables back is read also when the host holds more than the run may have.
#[test]
fn a_run_that_filled_the_host_is_taken_back() {
    let fill = "large = {('x'):rep(9000), {('y'):rep(9000)}} _home.large = large
        for i = 1, math.huge do _home[i] = i _home[i] = nil end";
    let check = |lua: &Sandbox, end: &str| {
        let values = lua.compute("return #large[1], #large[2][1], rawlen(large), _home.large").unwrap().values;
        assert_eq!(values, [9000.into(), 9000.into(), 2.into(), Value::Nil], "{end}");
    };
    let (lua, _, conflict) = contested(0, |_| ());
    let options = || ComputeOptions::new().memory_limit(2 << 20).store_limit(1 << 20).timeout(None);
    conflict.store(false, Ordering::Relaxed);
    let error = lua.compute_with(fill, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreLimit, "{error}");
    check(&lua, "a limit");
    // What a failed run did is to be kept, but can't be stored.
    conflict.store(true, Ordering::Relaxed);
    let error = lua.compute_with(fill, options().commit_on_error(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    conflict.store(false, Ordering::Relaxed);
    check(&lua, "a failed commit");
}

/// A store in which somebody else is always faster.
struct Contested {
    store: MemoryStore,
    commits: Arc<AtomicU32>,
    at_commit: Box<dyn FnMut(u32) + Send>,
    contested: Arc<AtomicBool>,
}

impl TableStore for Contested {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.store.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.store.set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.store.delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.store.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.store.keys(table, visit)
    }
    fn commit(&mut self, batch: &mut luacell::Batch<'_>) -> StoreResult<()> {
        if self.contested.load(Ordering::Relaxed) {
            (self.at_commit)(self.commits.fetch_add(1, Ordering::Relaxed) + 1);
            return Err(luacell::StoreError::conflict("somebody was faster"));
        }
        self.store.commit(batch)
    }
}

/// A sandbox whose commits are in conflict as long as it says so, and how many there were.
fn contested(retries: u32, at_commit: impl FnMut(u32) + Send + 'static) -> (Sandbox, Arc<AtomicU32>, Arc<AtomicBool>) {
    let (commits, contested) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
    let store = Contested {
        store: MemoryStore::new(),
        commits: Arc::clone(&commits),
        at_commit: Box::new(at_commit),
        contested: Arc::clone(&contested),
    };
    let lua = Sandbox::with_config(SandboxConfig::new().store(store).conflict_retries(retries)).unwrap();
    (lua, commits, contested)
}

#[test]
fn all_tries_of_a_run_share_one_deadline() {
    let (lua, commits, contested) = contested(300, |_| ());
    let options = || ComputeOptions::new().timeout(Duration::from_millis(100));
    let check = |error: luacell::Error| {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let commits = commits.swap(0, Ordering::Relaxed);
        assert!(commits < 200, "{commits}");
        assert!(std::error::Error::source(&error).is_some_and(|source| source.to_string().contains("faster")));
    };
    check(lua.compute_with("_home.x = 1", options()).unwrap_err());
    #[cfg(feature = "async")]
    check(pollster::block_on(lua.compute_async("_home.x = 1", options())).unwrap_err());
    contested.store(false, Ordering::Relaxed);
    assert_eq!(lua.compute_with("_home.x = 2 return _home.x", options()).unwrap().values, [2.into()]);
}

#[test]
fn an_interrupt_between_two_tries_ends_the_run_and_no_other() {
    let interrupter = Arc::new(std::sync::OnceLock::<luacell::Interrupter>::new());
    let from_store = Arc::clone(&interrupter);
    // Within the first commit: what comes next is the pause.
    let at_commit = move |_| {
        if let Some(interrupter) = from_store.get() {
            interrupter.interrupt();
        }
    };
    let (lua, commits, contested) = contested(300, at_commit);
    interrupter.set(lua.interrupter()).unwrap();
    assert_eq!(lua.compute("_home.x = 1").unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(commits.swap(0, Ordering::Relaxed), 1);
    #[cfg(feature = "async")]
    {
        let error = pollster::block_on(lua.compute_async("_home.x = 1", ComputeOptions::new())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert_eq!(commits.swap(0, Ordering::Relaxed), 1);
    }
    contested.store(false, Ordering::Relaxed);
    // One that comes when nothing runs is for nobody.
    lua.interrupt();
    assert_eq!(lua.compute("_home.x = 2 return _home.x").unwrap().values, [2.into()]);
    assert_eq!(lua.home().get("x").unwrap(), 2.into());
}

#[test]
fn a_huge_timeout_is_no_timeout() {
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_millis(u64::MAX)] {
        let config = EngineConfig::new().call_deadline(timeout).pool_size(4);
        #[cfg(feature = "hardened")]
        let config = config.hardened(true);
        let lua = Engine::new(config).unwrap().sandbox(SandboxConfig::new().timeout(timeout)).unwrap();
        let lua = Arc::new(lua);
        let weak = Arc::downgrade(&lua);
        lua.register("inside", move |()| {
            let options = ComputeOptions::new().timeout(timeout);
            weak.upgrade().map_or(Ok(Vec::new()), |lua| lua.compute_with("return 1", options).map(|out| out.values))
        })
        .unwrap();
        let source = "for i = 1, 1000000 do end return inside()";
        assert_eq!(lua.compute(source).unwrap().values, [1.into()]);
        let options = ComputeOptions::new().timeout(timeout);
        assert_eq!(lua.compute_with(source, options.clone()).unwrap().values, [1.into()]);
        #[cfg(feature = "async")]
        assert_eq!(pollster::block_on(lua.compute_async(source, options)).unwrap().values, [1.into()]);
    }
}

/// What a run uses is never reported as more than it may, whatever ends it.
#[test]
fn no_more_instructions_are_reported_than_there_may_be() {
    let lua = Sandbox::new().unwrap();
    for limit in [1, 10, 999, 100_000, 100_001, 250_000] {
        for source in [
            "while true do end",
            "local s = ('x'):rep(1000) while true do s = s .. s:sub(1, 100) end",
            "return #('x'):rep(1 << 20)",
        ] {
            let options = ComputeOptions::new().instruction_limit(limit);
            let metrics = match lua.compute_with(source, options) {
                Ok(outcome) => outcome.metrics,
                Err(error) => *error.metrics(),
            };
            assert!(metrics.instructions <= limit, "{source}: {} of {limit}", metrics.instructions);
        }
    }
}

/// A run that can't be ended by the host at once: the time that a look for orphans takes is bounded all the same.
#[test]
fn looking_for_orphans_keeps_the_deadline() {
    let lua = Sandbox::new().unwrap();
    lua.compute("for i = 1, 300000 do _home[i] = i end").unwrap();
    let make = |n: u32| format!("local t = {{}} for i = 1, {n} do t[i] = {{i}} end _home.t = t _home.t = nil");
    // Few tables are no reason to look at many entries.
    let before = lua.table_count().unwrap().unwrap();
    for _ in 0..3 {
        lua.compute(make(1000)).unwrap();
    }
    assert!(lua.table_count().unwrap().unwrap() > before + 2000);
    lua.compute(make(40_000)).unwrap();
    lua.gc().unwrap();
    assert!(lua.table_count().unwrap().unwrap() <= before + 1);
}

/// A run that pauses between two tries is under way: nobody gets in between.
#[cfg(feature = "async")]
#[test]
fn between_two_tries_the_sandbox_is_in_use() {
    use std::task::{Context, Poll, Waker};
    let (lua, commits, contested) = contested(300, |_| ());
    lua.register_repeatable("here", |()| Ok(1)).unwrap();
    for drops in [false, true] {
        contested.store(true, Ordering::Relaxed);
        commits.store(0, Ordering::Relaxed);
        let mut run = Box::pin(lua.compute_async("_home.x = here() return _home.x", ComputeOptions::new()));
        while commits.load(Ordering::Relaxed) < 8 {
            assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(lua.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(lua.home().get("x").unwrap_err().kind(), ErrorKind::Busy);
        contested.store(false, Ordering::Relaxed);
        if drops {
            drop(run);
            assert_eq!(lua.compute("return _home.x").unwrap().values, [1.into()]);
            continue;
        }
        let out = pollster::block_on(run).unwrap();
        assert_eq!(out.values, [1.into()]);
    }
    // Closed in the pause.
    contested.store(true, Ordering::Relaxed);
    let mut run = Box::pin(lua.compute_async("_home.x = 2", ComputeOptions::new()));
    assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    lua.close();
    assert_eq!(lua.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
    loop {
        if let Poll::Ready(result) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Everything that a run stores goes to the file at its end, in whatever runs it was made.
#[test]
fn storing_keeps_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let lua = Sandbox::with_config(SandboxConfig::new().store(folder.path().join("file"))).unwrap();
    lua.compute("_home.n = 1 large = ext.table()").unwrap();
    for round in 0..5 {
        lua.compute(format!("local t = large for i = 1, 20000 do t[i + {round} * 20000] = i end")).unwrap();
    }
    let options = ComputeOptions::new().timeout(Duration::from_millis(2));
    let error = lua.compute_with("_home.large = large _home.n = 2", options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // Nothing of it is there, and nothing is lost.
    assert_eq!(
        lua.compute("return _home.n, _home.large, #large").unwrap().values,
        [1.into(), Value::Nil, 100_000.into()]
    );
    lua.compute("_home.large = large").unwrap();
    assert_eq!(lua.compute("return #_home.large").unwrap().values, [100_000.into()]);
}

#[test]
fn straight_line_comparisons_with_a_long_constant_count() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
    let source = format!(
        "local s = ('x'):rep(1 << 20) local K <const> = '{}' local a {} return a",
        "x".repeat(1 << 20),
        "a = s == K ".repeat(2000)
    );
    let options = ComputeOptions::new().instruction_limit(10_000_000);
    let error = lua.compute_with(&source, options).expect_err("32 million instructions");
    assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{error}");
}

#[test]
fn straight_line_remainders_of_floats_count() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
    let source =
        format!("local x, y = 1.7e308, 2.2250738585072019e-308 local a {} return a", "a = x % y ".repeat(10_000));
    let error = lua.compute_with(&source, ComputeOptions::new().instruction_limit(5_000_000)).expect_err("20 million");
    assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{error}");
}

/// Without memory for the message of a limit, the error that ended the run was a lack of memory, and handlers had a
/// billion instructions.
#[test]
fn nothing_runs_after_a_limit_that_finds_no_memory_or_stack() {
    const FULL: &str = "
        local i, S = 100000, {}
        for j = 1, 64 do S[j] = false end
        local function tables() local keep = K while true do keep = {keep} K = keep end end
        local function functions() local keep = K while true do keep = function() return keep end K = keep end end
        local function strings() for j = 1, 64 do i = i + 1 S[j] = S[j] or i .. '' end end
        local mt = {__close = function() late = true end}
        pcall(function()
            local x <close> = setmetatable({}, mt)
            pcall(tables) pcall(functions) pcall(strings)
            while true do end
        end)";
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(4 << 20)).unwrap();
    lua.compute("late = false").unwrap();
    let error = lua.compute_with(FULL, ComputeOptions::new().instruction_limit(20_000_000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{error}");
    assert_eq!(lua.compute("K = nil return late").unwrap().values, [false.into()]);
}

#[test]
fn a_limit_is_told_without_a_look_at_millions_of_names() {
    const NAMES: &str = "
        local t = {}
        package.loaded.many = t
        for i = 1, 1 << 20 do t[i] = true end
        local function deep(n) if n == 0 then while true do end end return (deep(n - 1)) end
        deep(40)";
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(64 << 20)).unwrap();
    let error = lua.compute_with(NAMES, ComputeOptions::new().instruction_limit(20_000_000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{error}");
    assert_eq!(error.traceback(), None, "looked for 44 functions among a million names");
    let error = lua.compute_with(
        "package.loaded.many = nil while true do end",
        ComputeOptions::new().instruction_limit(1_000_000),
    );
    assert!(error.unwrap_err().traceback().is_some());
}

/// What a script stores costs no look into a chain of a Lua table, but taking it back does.
#[test]
fn taking_back_keys_that_collide_ends() {
    let took = |factor: u32| {
        let source = format!(
            "T = ext.table() _home.x = T
            for i = 1, 65000 do T[i * {factor}] = true end
            error('done')"
        );
        let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
        let start = ThreadTime::now();
        let error = lua.compute(&source).unwrap_err();
        assert!(error.message().ends_with("done"), "{error}");
        let took = start.elapsed();
        assert_eq!(lua.compute("T[1] = 2 return T[1], _home.x").unwrap().values, [2.into(), Value::Nil]);
        took
    };
    let (usual, colliding) = (took(65_539), took(65_535));
    assert!(colliding < usual * 4 + Duration::from_millis(500), "{colliding:?} where {usual:?} is usual");
}

/// Each new string tried to make the string table grow, and each time a full collection looked for memory first.
#[test]
fn taking_back_without_memory_for_the_string_table_is_not_a_collection_for_each_string() {
    let took = |released: u32| {
        let source = format!(
            "local fmt = string.format
            T = ext.table()
            _home.x = T
            for i = 1, 2000 do T[i] = 'value number ' .. i end
            collectgarbage() collectgarbage('stop')
            local S = {{}}
            for i = 1, 70000 do S[i] = false end
            KS = S
            local n, before = 0, collectgarbage('count')
            repeat
                local last = before
                n = n + 1
                S[n] = fmt('s%d', n)
                before = collectgarbage('count')
            until before - last > 100
            for i = 1, 32700 do n = n + 1 S[n] = fmt('s%d', n) end
            collectgarbage() collectgarbage('stop')
            pcall(function() local keep = K while true do keep = {{keep}} K = keep end end)
            local k = K
            for i = 1, {released} do k = k[1] end
            K, k = k, nil
            collectgarbage()
            error('done')"
        );
        let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
        let start = ThreadTime::now();
        let error = lua.compute(&source).unwrap_err();
        assert!(error.message().ends_with("done"), "{error}");
        start.elapsed()
    };
    let (ample, scarce) = (took(20_000), took(3000));
    assert!(scarce < ample * 15 + Duration::from_secs(1), "{scarce:?} where {ample:?} is usual");
}

const COLLISIONS: &str = include_str!("hostile/collisions.lua");

/// The collector asks each table's metatable for '__mode', however many keys there collide with it.
#[test]
fn keys_that_collide_with_mode_cost_a_collection_nothing() {
    let used = |mode: &str| {
        let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(32 << 20)).unwrap();
        let tables = format!(
            "collide = '__mode' {COLLISIONS}
            local mt = {{}}
            T = {{mt}}
            for i = 2, 20000 do T[i] = setmetatable({{}}, mt) end
            mt[list[1]] = true
            mt.{mode} = 'k'
            for i = 2, 8190 do mt[list[i]] = true end"
        );
        lua.compute(&tables).unwrap();
        lua.compute("collectgarbage()").unwrap().metrics.instructions
    };
    let (usual, colliding) = (used("__modf"), used("__mode"));
    assert!(colliding < usual * 2, "{colliding} where {usual} is usual");
}

/// What looks for a name among keys that collide with it, again and again, ends where the limit is.
#[test]
fn looking_for_names_among_keys_that_collide_ends_in_time() {
    const FINALIZERS: &str = "
        local mt = {__gc = function() end}
        for i = 1, 20000 do setmetatable({}, mt) end
        for i = 1, 8190 do mt[list[i]] = true end
        mt.__gc = nil
        collectgarbage('restart')
        collectgarbage()";
    const PRINT: &str = "
        local mt = {}
        local t, T = setmetatable({}, mt), {}
        for i = 1, 8190 do mt[list[i]] = true end
        for i = 1, 20000 do T[i] = t end
        print(table.unpack(T))";
    const ECHO: &str = "echo(table.unpack(list))";
    for (name, source) in [("__gc", FINALIZERS), ("__name", PRINT), ("__mode", ECHO)] {
        let took = |limit: u64| {
            let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(32 << 20)).unwrap();
            lua.compute(format!(
                "collide = '{name}' {COLLISIONS} _G.list = list collectgarbage() collectgarbage('stop')"
            ))
            .unwrap();
            lua.register("echo", |args: Vec<Value>| Ok(args)).unwrap();
            let start = ThreadTime::now();
            let result = lua.compute_with(source, ComputeOptions::new().instruction_limit(limit));
            (start.elapsed(), result.map(|outcome| outcome.metrics.instructions).map_err(|error| error.kind()))
        };
        let (all, result) = took(1 << 40);
        let instructions = result.expect(name);
        let (third, result) = took(instructions / 3);
        assert_eq!(result, Err(ErrorKind::InstructionLimit), "{name}");
        assert!(third < all * 2 / 3, "{name}: {third:?} for a third of {instructions} instructions, {all:?} for all");
    }
}

/// Each piece of text would take a collection there, or not be there at all.
#[test]
fn a_limit_is_told_of_in_full_memory() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(2 << 20).timeout(None)).unwrap();
    let fill = "t, n = {}, 1 << 16
        while n > 0 do if not pcall(function() while true do t = {t, ('x'):rep(n) .. #t} end end) then n = n // 2 end end
        while true do end";
    let error = lua.compute_with(fill, ComputeOptions::new().instruction_limit(3_000_000)).unwrap_err();
    assert_eq!((error.kind(), error.line()), (ErrorKind::InstructionLimit, Some(3)), "{error}");
    assert!(error.message().ends_with("]:3: instruction limit reached"), "{error}");
    assert!(error.traceback().is_some_and(|text| text.contains(":3: in main chunk")), "{error:?}");
}

#[test]
fn a_traceback_goes_through_a_deep_stack_a_few_times() {
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(None)).unwrap();
    lua.compute("function deep(n, last) if n == 0 then return last() end return (deep(n - 1, last)) end").unwrap();
    let instructions = |last: &str| lua.compute(format!("deep(100000, {last})")).unwrap().metrics.instructions;
    let (with, without) = (instructions("debug.traceback"), instructions("print"));
    assert!(with - without < 100_000 * 60, "{}", with - without);
}

/// A run's time is up, and what it did is much: taking that back, or storing it, does not take as long again. Measured
/// is this thread's time, which doesn't depend on what else the machine does.
#[test]
fn what_follows_a_run_has_its_time_limit_too() {
    let timeout = Duration::from_secs(1);
    let forever = [
        "g = {} local i = 0 while true do i = i + 1 local t = {i} g[i] = t _home[i] = t end",
        "g = {} local a = {} _home.a = a while true do local t = {a} a.x = t a = t end",
        "while true do local t = ext.table() t.x = 1 setmetatable(t, {}) end",
        "while true do ext.table() end",
    ];
    for source in forever {
        let lua = Sandbox::with_config(SandboxConfig::new().timeout(timeout)).unwrap();
        lua.compute("_home.before = 1").unwrap();
        let start = ThreadTime::now();
        assert_eq!(lua.compute(source).unwrap_err().kind(), ErrorKind::Timeout, "{source}");
        let took = start.elapsed();
        assert!(took < timeout * 3 / 2, "{took:?}: {source}");
        let kept = lua.compute("_home.after = 1 return _home.before, _home[1], _home.a").unwrap().values;
        assert_eq!(kept, [Value::Integer(1), Value::Nil, Value::Nil], "{source}");
    }
    // It ends by itself, too late to be stored in time, or is stored.
    let late = "local start = os.clock()
        repeat for i = 1, 500 do local n = (_G.n or 0) + 1 _G.n = n _home[n] = n end until os.clock() - start > 0.95";
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(timeout)).unwrap();
    let start = ThreadTime::now();
    let kind = lua.compute(late).map_err(|error| error.kind()).err();
    let took = start.elapsed();
    assert!(took < timeout * 5 / 4, "{took:?}");
    assert!(matches!(kind, None | Some(ErrorKind::Timeout)), "{kind:?}");
    let stored = lua.compute("return _home[1] ~= nil").unwrap().into_value();
    assert_eq!(stored, Value::Boolean(kind.is_none()));
}

/// There is time for it when another limit ended the run, so all of it is taken back.
#[test]
fn what_a_run_stored_is_plain_again_while_there_is_time() {
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_secs(3600))).unwrap();
    let source = "g = {} local i = 0 while true do i = i + 1 local t = {i} g[i] = t _home[i] = t end";
    let options = ComputeOptions::new().instruction_limit(20_000_000);
    assert_eq!(lua.compute_with(source, options).unwrap_err().kind(), ErrorKind::InstructionLimit);
    let whole = lua.compute("for i, t in ipairs(g) do if t[1] ~= i then return i end end return #g > 100000").unwrap();
    assert_eq!(whole.into_value(), Value::Boolean(true));
}
