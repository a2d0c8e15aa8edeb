//! What the guest does around the code of a script: read and write messages, report errors, take runs back, collect. No
//! code of a script runs there, or it runs under the sandbox's limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use luacell::{ComputeOptions, Error, ErrorKind, Function, Sandbox, SandboxConfig, Table, Value};

/// A sandbox with host functions that come back into it.
fn nesting(config: SandboxConfig) -> (Arc<Sandbox>, Arc<AtomicUsize>) {
    let lua = Arc::new(Sandbox::with_config(config).unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    lua.register("apply", move |(f, value): (Function, Value)| {
        counter.fetch_add(1, Ordering::Relaxed);
        f.call([value]).map(|outcome| outcome.values)
    })
    .unwrap();
    let (weak, counter) = (Arc::downgrade(&lua), Arc::clone(&calls));
    lua.register("run", move |source: String| {
        counter.fetch_add(1, Ordering::Relaxed);
        weak.upgrade().unwrap().compute(source).map(|outcome| outcome.values)
    })
    .unwrap();
    let counter = Arc::clone(&calls);
    lua.register("count", move |_: Vec<Value>| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
    .unwrap();
    (lua, calls)
}

/// Makes finalizers that disturb whatever buffer is in use, and a collector that runs them at every chance.
const DISTURB: &str = "
    disturbed = 0
    local noise = ('\\4\\255\\255\\0\\0\\7\\77\\0\\0\\0'):rep(200)
    local function disturb()
        disturbed = disturbed + 1
        pcall(apply, function(s) return s, noise end, noise)
        pcall(run, 'return ' .. ('%q'):format(noise))
        pcall(run, 'error {}') pcall(run, 'syntax error')
        _home.noise = {noise} local n = _home.noise[1]
        left = left - 1 if left > 0 then setmetatable({}, {__gc = disturb}) end
    end
    function prepare() left = 60 for i = 1, 30 do setmetatable({}, {__gc = disturb}) end collectgarbage('incremental', 10, 1000, 2) end
    function rest() left = 0 collectgarbage() collectgarbage() return disturbed end";

fn rows(n: i64) -> Table {
    (0..n).map(|i| Value::from(Table::from_iter([Value::from(i), Value::from(format!("row {i}"))]))).collect()
}

#[test]
fn a_message_that_is_read_is_nobodys_to_write() {
    let (lua, calls) = nesting(SandboxConfig::new());
    lua.compute(DISTURB).unwrap();
    lua.compute(
        "function f(t) for i, r in ipairs(t) do assert(r[1] == i - 1 and r[2] == 'row ' .. i - 1) end return t end",
    )
    .unwrap();
    lua.compute("big = {} for i = 0, 2999 do big[i + 1] = {i, 'row ' .. i} end").unwrap();
    lua.register("give", |n: i64| Ok(rows(n))).unwrap();
    let disturbed = |what: &str| lua.compute(format!("prepare() {what}")).unwrap();
    for _ in 0..5 {
        disturbed("");
        // Arguments and results of a run.
        assert_eq!(lua.call("f", [rows(3000)]).unwrap().values, [Value::from(rows(3000))]);
        disturbed("");
        assert_eq!(lua.compute("return big").unwrap().values, [Value::from(rows(3000))]);
        // A source, which is compiled where it lies.
        disturbed("");
        let source = format!("local n = 0 {} return n", "n = n + #'some words' * 1 ".repeat(2000));
        assert_eq!(lua.compute(&source).unwrap().values, [20_000.into()]);
        // Arguments and results of host functions, large ones too.
        disturbed("for i = 1, 10 do f(give(100)) f(give(3)) end local t = apply(f, big) assert(#t == 3000)");
        // Stored values.
        disturbed(
            "_home.t = big big = {} for i = 0, 2999 do big[i + 1] = {i, 'row ' .. i} end
            local n = 0 for i, r in pairs(_home.t) do assert(r[2] == 'row ' .. r[1]) n = n + 1 end assert(n == 3000)",
        );
        lua.compute("rest()").unwrap();
    }
    assert!(lua.compute("return rest()").unwrap().get::<i64>().unwrap() > 100);
    assert!(calls.load(Ordering::Relaxed) > 100);
}

#[test]
fn the_path_of_a_call_is_read_before_a_script_runs() {
    let (lua, _) = nesting(SandboxConfig::new());
    lua.compute("setmetatable(_G, {__index = function(_, k) run('return ' .. ('%q'):format(('x'):rep(100000))) return {inner = {f = function(...) return ... end}} end})").unwrap();
    let args: Vec<Value> = (0..200).map(Value::from).collect();
    assert_eq!(lua.call("some.inner.f", args.clone()).unwrap().values, args);
    assert_eq!(lua.call("some.inner.g", args).unwrap_err().message(), "attempt to call a nil value ('some.inner.g')");
}

#[test]
fn each_run_tells_its_own_error() {
    let (lua, _) = nesting(SandboxConfig::new());
    // Others fail while the message is made, and while frames are left.
    let source = "local x <close> = setmetatable({}, {__close = function() pcall(run, 'local a = 1\\n\\n\\n\\nerror(\"inner\")') end})
        error(setmetatable({}, {__tostring = function()
            pcall(run, '\\n\\n\\n\\n\\n\\n\\nerror(\"inner\")') pcall(run, 'not Lua')
            return 'outer' end}))";
    let error = lua.compute_with(source, ComputeOptions::new().name("=mine")).unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), error.chunk(), error.line()),
        (ErrorKind::Runtime, "outer", Some("mine"), Some(2))
    );
    assert!(error.traceback().unwrap().contains("mine:2"), "{:?}", error.traceback());
    // Too deep: that, and not what failed before.
    let messages = Arc::new(Mutex::new(Vec::new()));
    let (sink, weak) = (Arc::clone(&messages), Arc::downgrade(&lua));
    lua.register("deeper", move |()| {
        let result = weak.upgrade().unwrap().compute("deeper() error({}) ");
        let error = result.unwrap_err();
        sink.lock().unwrap().push((error.kind(), error.message().to_owned(), error.line()));
        Ok(())
    })
    .unwrap();
    lua.compute("pcall(run, '\\n\\nerror(\"older\")') deeper()").unwrap();
    let messages = messages.lock().unwrap();
    assert_eq!(messages[0], (ErrorKind::Runtime, "too many runs inside each other".to_owned(), None));
    assert!(
        messages[1..].iter().all(|(_, message, line)| message == "(error object is a table value)" && *line == Some(1))
    );
    assert_eq!(messages.len(), 32);
}

#[test]
fn nothing_is_called_after_a_limit() {
    let limits: [fn(SandboxConfig) -> SandboxConfig; 3] =
        [|c| c.timeout(Duration::from_millis(50)), |c| c.instruction_limit(1_000_000), |c| c.host_call_limit(50)];
    for limit in limits {
        for (name, way) in [
            (
                "close",
                "local mt = {__close = count} local function f(n) local x <close> = setmetatable({}, mt) if n > 0 then return f(n - 1) + 0 end spend() end f(5000)",
            ),
            (
                "print",
                "local mt = {__close = print} local function f(n) local x <close> = setmetatable({}, mt) if n > 0 then return f(n - 1) + 0 end spend() end f(5000)",
            ),
            ("gc", "for i = 1, 5000 do setmetatable({}, {__gc = count}) end spend()"),
            (
                "collect",
                "setmetatable({}, {__gc = function() spend() end}) for i = 1, 5000 do setmetatable({}, {__gc = count}) end collectgarbage()",
            ),
            ("tostring", "error(setmetatable({}, {__tostring = function() spend() end}))"),
            (
                "coroutine",
                "local co = coroutine.create(function() local x <close> = setmetatable({}, {__close = count}) coroutine.yield() end) coroutine.resume(co) spend(co)",
            ),
        ] {
            let (lua, calls) = nesting(limit(SandboxConfig::new()));
            lua.compute("function spend() while true do if limited then count() end end end").unwrap();
            let source = format!("limited = {} {way}", way.contains("spend") && !way.contains("__gc = count"));
            let error = lua.compute(source).unwrap_err();
            let kinds = [ErrorKind::Timeout, ErrorKind::InstructionLimit, ErrorKind::HostCallLimit];
            assert!(kinds.contains(&error.kind()), "{name}: {error}");
            assert_eq!(error.output(), "", "{name}");
            // The host was called as often as the run may, and not once after the limit.
            assert_eq!(error.metrics().host_calls, calls.load(Ordering::Relaxed) as u64, "{name}");
            let most = if error.kind() == ErrorKind::HostCallLimit { 50 } else { u64::MAX };
            assert!(error.metrics().host_calls <= most, "{name}");
            assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
        }
    }
}

#[test]
fn finalizers_have_the_limits_of_a_run() {
    let lua = Sandbox::with_config(SandboxConfig::new().instruction_limit(2_000_000)).unwrap();
    lua.register("store", |value: Value| Ok(value)).unwrap();
    let endless = "for i = 1, 3 do setmetatable({}, {__gc = function() n = (n or 0) + 1 while true do end end}) end";
    // Asked for by the host: a run.
    lua.compute(endless).unwrap();
    assert_eq!(lua.gc().unwrap_err().kind(), ErrorKind::InstructionLimit);
    assert_eq!(lua.compute("return n").unwrap().values, [1.into()]);
    assert_eq!(lua.gc().unwrap_err().kind(), ErrorKind::InstructionLimit);
    assert_eq!(lua.gc().unwrap_err().kind(), ErrorKind::InstructionLimit);
    lua.gc().unwrap();
    assert_eq!(lua.compute("return n").unwrap().values, [3.into()]);
    // Between runs: none.
    lua.compute(format!("n = nil collectgarbage('stop') {endless}")).unwrap();
    let _ = lua.snapshot().unwrap();
    let _ = lua.fork().unwrap();
    let passed = lua.compute("return function() end").unwrap();
    drop(passed);
    lua.compute("return 1").unwrap();
    let _ = lua.compute("_home.t = {} for i = 1, 1000 do _home.t[i] = {} end error('undone')").unwrap_err();
    // A sweep after a commit collects too.
    lua.compute("for i = 1, 2000 do ext.table()[1] = i end").unwrap();
    assert_eq!(lua.compute("return n").unwrap().values, [Value::Nil]);
    lua.reset().unwrap();
    assert_eq!(lua.compute("return n").unwrap().values, [Value::Nil]);
    // What a finalizer stores when the host collects is stored, or taken back with its limit.
    lua.compute("setmetatable({}, {__gc = function() _home.x = 'kept' end})").unwrap();
    lua.gc().unwrap();
    assert_eq!(lua.home().get("x").unwrap(), "kept".into());
    lua.compute("setmetatable({}, {__gc = function() _home.x = 'lost' while true do end end})").unwrap();
    lua.gc().unwrap_err();
    assert_eq!(lua.home().get("x").unwrap(), "kept".into());
}

#[test]
fn globals_are_set_raw() {
    let lua = Sandbox::with_config(SandboxConfig::new().instruction_limit(1_000_000)).unwrap();
    lua.compute(
        "setmetatable(_G, {__newindex = function() while true do end end, __index = function() while true do end end})",
    )
    .unwrap();
    lua.register("a.b", |()| Ok(1)).unwrap();
    assert_eq!(lua.compute("return rawget(rawget(_G, 'a'), 'b')()").unwrap().values, [1.into()]);
    lua.unregister("c.d").unwrap();
    lua.unregister("a.b").unwrap();
}

#[test]
fn what_a_script_puts_in_the_way_of_a_name_never_bricks_a_sandbox() {
    for value in [
        "nil",
        "false",
        "5",
        "'text'",
        "_home",
        "print",
        "setmetatable({}, {__index = error, __newindex = error})",
        "setmetatable({}, _G)",
    ] {
        let lua = Sandbox::new().unwrap();
        lua.register("a.b", |()| Ok(1)).unwrap();
        lua.compute(format!("a = {value}")).unwrap();
        let snapshot = lua.snapshot().unwrap();
        // Either it works or it says why not, and the sandbox is usable.
        match lua.register("a.b", |()| Ok(2)) {
            Ok(()) => assert_eq!(lua.compute("return rawget(a, 'b')()").unwrap().values, [2.into()], "{value}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{value}"),
        }
        assert_eq!(lua.compute("return 1").unwrap().values, [1.into()], "{value}");
        lua.unregister("a.b").unwrap();
        lua.register("a.c", |()| Ok(3)).ok();
        lua.restore(&snapshot).unwrap();
        assert_eq!(lua.compute("return 1").unwrap().values, [1.into()], "{value}");
        lua.reset().unwrap();
        lua.register("a.b", |()| Ok(4)).unwrap();
        assert_eq!(lua.compute("return a.b()").unwrap().values, [4.into()], "{value}");
    }
    // A name that only worked because the script had taken the table away.
    let lua = Sandbox::new().unwrap();
    lua.compute("_home = nil").unwrap();
    lua.register("_home.f", |()| Ok(1)).unwrap();
    lua.reset().unwrap();
    assert_eq!(lua.compute("_home.x = 1 return _home.x").unwrap().values, [1.into()]);
}

#[test]
fn a_run_is_taken_back_in_one_pass() {
    let lua = Sandbox::new().unwrap();
    // A chain of which only the head is alive: each link comes back to life when the one before it is taken back.
    let chain = |n: u32| {
        format!("local all = {{}} for i = 1, {n} do all[i] = ext.table() end for i = 2, {n} do all[i].n = all[i - 1] all[i].i = i end
            head = all[{n}] all = nil collectgarbage() error('x')")
    };
    let walk = "local n, t = 0, head while t do assert(t.i == nil or t.i == ... - n) n, t = n + 1, t.n end return n";
    let mut took = Vec::new();
    for n in [10, 3000, 60_000] {
        let begun = Instant::now();
        assert_eq!(lua.compute(chain(n)).unwrap_err().message().split(": ").last(), Some("x"));
        let back = lua.compute_with(walk, ComputeOptions::new().args([i64::from(n)])).unwrap();
        assert_eq!(back.values, [i64::from(n).into()]);
        took.push(begun.elapsed());
        // Ordinary tables again: the host knows none of them.
        lua.compute("head = nil").unwrap();
    }
    assert_eq!(lua.home().len().unwrap(), 0);
    // Twenty times as many take about twenty times as long, not four hundred times.
    assert!(took[2] < 100 * took[1].max(Duration::from_millis(5)), "{took:?}");
}

#[test]
fn a_run_whose_content_finds_no_memory_leaves_no_numbers_behind() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(4 << 20)).unwrap();
    let error = lua
        .compute(
            "all = {} for i = 1, 200 do all[i] = ext.table() all[i].s = ('x'):rep(100000) all[i].i = i end error('x')",
        )
        .unwrap_err();
    assert!(error.message().ends_with('x'), "{error}");
    // What they hold is theirs: later tables take no part in it.
    lua.compute("for i = 1, 200 do local t = ext.table() t.i = -i _home[i] = t end for i = 1, 200 do local v = rawget(all[i], 'i') assert(v == nil or v == i, v) all[i].own = i end").unwrap();
    lua.compute(
        "for i = 1, 200 do assert(_home[i].i == -i and _home[i].own == nil) assert(rawget(all[i], 'own') == i) end",
    )
    .unwrap();
}

#[test]
fn an_error_gives_back_what_was_held() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(4 << 20)).unwrap();
    lua.register("take", |v: Value| Ok(v)).unwrap();
    // Memory ends in the middle of storing, and of passing; afterwards the collector goes on as ever.
    let source = "for _, use in ipairs {function(t) _home.t = t end, take} do
            local t, ballast, done = {}, {}, 0
            for i = 1, 3000 do t[i] = {i} end
            while pcall(function() ballast[#ballast + 1] = ('x'):rep(4000) .. #ballast end) do end
            local ok, e = pcall(use, t)
            ballast = nil
            assert(not ok and e == 'not enough memory', e)
            for i = 1, 10 do setmetatable({}, {__gc = function() done = done + 1 end}) end
            collectgarbage()
            assert(done == 10)
            for i = 1, 10 do setmetatable({}, {__gc = function() done = done + 1 end}) end
            for i = 1, 20000 do local junk = {i, {}} end
            assert(done == 20)
        end";
    lua.compute(source).unwrap();
}

#[test]
fn causes_stay_with_their_errors() {
    let lua = Sandbox::new().unwrap();
    lua.register("fail", |n: i64| Err::<(), _>(Error::host(format!("failed {n}")))).unwrap();
    let source = "local last for i = 1, 5000 do local ok, e = pcall(fail, i) last = e end error(last, 0)";
    let error = lua.compute(source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.message().contains("failed 5000"), "{error}");
    assert!(
        std::error::Error::source(&error).is_none_or(|cause| cause.to_string().contains("failed 5000")),
        "{error:?}"
    );
}

#[test]
fn an_error_keeps_its_kind_whatever_is_raised_on_the_way_out() {
    let lua = Sandbox::new().unwrap();
    lua.register("fail", |n: i64| Err::<(), _>(Error::host(format!("failed {n}")))).unwrap();
    let handler = "local x <close> = setmetatable({}, {__close = function()
            pcall(function() _home.y = coroutine.create(print) end)
            for i = 1, 3000 do pcall(fail, i) end
        end}) ";
    let error = lua.compute(format!("{handler} _home.x = coroutine.create(print)")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion, "{error}");
    let error = lua.compute(format!("{handler} fail(0)")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction, "{error}");
    assert!(error.message().ends_with("failed 0"), "{error}");
    // What replaces it counts for itself.
    let error = lua
        .compute("local x <close> = setmetatable({}, {__close = function() error('other') end}) fail(0)")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime, "{error}");
}

#[test]
fn a_stored_function_is_loaded_whole_or_not_at_all() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
    lua.compute("local s, n = ('x'):rep(2000000), 0 _home.f = function() n = n + 1 return #s, n end").unwrap();
    lua.reset().unwrap();
    let source = "local ballast = {}
        while pcall(function() ballast[#ballast + 1] = ('x'):rep(100000) .. #ballast end) do end
        local ok, e = pcall(function() return _home.f end)
        assert(not ok and e == 'not enough memory', e)
        ballast = nil collectgarbage()
        return _home.f()";
    assert_eq!(lua.compute(source).unwrap().values, [2_000_000.into(), 1.into()]);
    assert_eq!(lua.compute("return _home.f()").unwrap().values, [2_000_000.into(), 2.into()]);
}

#[test]
fn a_limit_without_memory_for_its_message() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(3 << 20).instruction_limit(3_000_000)).unwrap();
    let source = "local ballast = {}
        for _, n in ipairs {100000, 1000, 100, 30, 1} do
            while pcall(function() ballast[#ballast + 1] = ('x'):rep(n) .. #ballast end) do end
        end
        while true do pcall(error) end";
    let error = lua.compute(source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit, "{error}");
    assert!(error.message().ends_with("instruction limit reached"), "{error}");
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn tables_that_the_host_made_are_taken_back_with_the_run() {
    let lua = Arc::new(Sandbox::new().unwrap());
    let weak = Arc::downgrade(&lua);
    lua.register("make", move |()| {
        let inner: Table = (1..4).map(Value::from).collect();
        weak.upgrade().unwrap().home().set("t", Table::from_iter([Value::from(inner)]))
    })
    .unwrap();
    lua.compute("make() x = _home.t x.own = 1 error('x')").unwrap_err();
    assert!(lua.home().is_empty().unwrap());
    // As tables that the script made: what it still holds is an ordinary table with what was in it.
    let out = lua.compute("return #x[1], x.own, next(_home), pcall(setmetatable, {}, x)").unwrap();
    assert_eq!(out.values[..4], [3.into(), 1.into(), Value::Nil, true.into()]);
    // In a transaction too.
    let failed = lua.transaction(|tx| {
        tx.home().set("t", Table::from_iter([Value::from(1)]))?;
        tx.compute("y = _home.t y.own = 2")?;
        Err::<(), _>(Error::host("no"))
    });
    assert!(failed.is_err());
    assert_eq!(lua.compute("return y[1], y.own, next(_home)").unwrap().values, [1.into(), 2.into(), Value::Nil]);
}

/// Lua clears weak tables of what only a finalizer can bring back. The guest's own are not cleared of it: there is one
/// Lua table for each stored one, and one upvalue, and the host knows which ones Lua still has.
#[test]
fn what_a_finalizer_brings_back_is_what_it_was() {
    let lua = Sandbox::new().unwrap();
    lua.compute(
        "local n = 0
        _home.t, _home.f = {}, function() n = n + 1 return n end
        setmetatable({t = _home.t, f = _home.f, u = ext.table()}, {__gc = function(o) back = o end})",
    )
    .unwrap();
    // In the run that follows nothing but the finalizer leads to them.
    lua.compute("collectgarbage() assert(back.t == _home.t and back.f == _home.f) back.u.x = 1 back.f()").unwrap();
    lua.compute("for i = 1, 1000 do _home.last = {i} end").unwrap();
    assert_eq!(lua.compute("return back.u.x, _home.f(), back.f()").unwrap().values, [1.into(), 2.into(), 3.into()]);
    // What a run made is taken back with it, wherever it is.
    let failing = "
        setmetatable({t = ext.table()}, {__gc = function(o) back = o.t end})
        collectgarbage() back.x = 1 error('x')";
    lua.compute(failing).unwrap_err();
    assert!(lua.compute("return back").unwrap().value().as_table().is_some_and(|t| t.get("x") == 1.into()));
}

/// After a lack of memory finalizers run before the next source is read.
#[test]
fn a_source_that_is_not_read_yet_is_nobodys_to_write() {
    let (lua, _) = nesting(SandboxConfig::new().memory_limit(2 << 20));
    let starve = "local t = setmetatable({}, {__gc = function() tried, done = true, pcall(run, [[return 'no' ]]) end})
        local all = {} while true do all[#all + 1] = ('x'):rep(1000) .. #all end";
    for round in 0..3 {
        assert_eq!(lua.compute(starve).unwrap_err().kind(), ErrorKind::Memory);
        assert_eq!(lua.compute("return 'yes'").unwrap().values, ["yes".into()], "{round}");
        assert_eq!(lua.compute("return tried").unwrap().values, [true.into()]);
        assert_eq!(lua.compute(starve).unwrap_err().kind(), ErrorKind::Memory);
        lua.compute("function same(...) return ... end").unwrap();
        assert_eq!(lua.compute(starve).unwrap_err().kind(), ErrorKind::Memory);
        assert_eq!(lua.call("same", "some words").unwrap().values, ["some words".into()]);
    }
    assert_eq!(lua.compute("return run('return 1')").unwrap().values, [1.into()]);
}

/// An error in a finalizer is nobody's, in a task that it begins as well.
#[test]
fn a_task_of_a_finalizer_that_fails_fails_no_run() {
    let lua = Sandbox::new().unwrap();
    let source = "local task = require 'task'
        setmetatable({}, {__gc = function() t = task.spawn(function() task.spawn(error, 'inner') error('outer') end) end})";
    lua.compute(source).unwrap();
    lua.compute("collectgarbage() return t:status()").unwrap();
    assert_eq!(lua.compute("return t:status(), pcall(t.wait, t)").unwrap().get::<String>().unwrap(), "failed");
    assert!(lua.compute("require 'task'.spawn(error, 'x')").is_err(), "elsewhere it does");
}
