//! Snapshots: the whole VM with its tables, copied, restored, forked, as bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
#[cfg(feature = "hardened")]
use std::time::Duration;

use luacell::{
    ComputeOptions, Engine, EngineConfig, Error, ErrorKind, FileStore, FromValue, MemoryStore, RestoreOptions, Sandbox,
    SandboxConfig, Snapshot, Value,
};

fn get<T: FromValue>(sandbox: &Sandbox, source: &str) -> T {
    sandbox.compute(source).unwrap().get().unwrap()
}

/// Globals, closures that share an upvalue, a coroutine in the middle of nested calls, tables.
const PROGRAM: &str = "
    n = 0
    local shared = 0
    function add(by) shared = shared + by return shared end
    function look() return shared end
    local function deep(k) if k == 0 then coroutine.yield('bottom') else deep(k - 1) end return k end
    co = coroutine.wrap(function(...)
        local got = coroutine.yield(...)
        for i = 1, 3 do got = got + coroutine.yield(got * i) end
        deep(20)
        local ok = pcall(function() coroutine.yield('in pcall') error('x') end)
        return ok, got
    end)
    co('start')
    big = {}
    for i = 1, 2000 do big[i] = {i, tostring(i)} end
    meta = setmetatable({}, {__index = function(_, k) return k .. '!' end})
    _home.players = {{name = 'Ada', level = 1}, {name = 'Bob', level = 2}}
    _home.f = add
    held = ext.table()
    held.x = 'held'
    _io.output = {1, 2, 3}
";

fn changed(sandbox: &Sandbox) {
    sandbox
        .compute(
            "n = 7 add(100) pcall(co, 5) big = nil meta = nil look = nil collectgarbage()
             _home.players[1].level = 99 _home.players[2] = nil _home.more = {1} _home.f = nil held.x = nil _io.output = nil",
        )
        .unwrap();
}

fn check(sandbox: &Sandbox) {
    let source = "
        assert(n == 0 and look() == 0 and add(2) == 2 and look() == 2)
        assert(co(5) == 5 and co(1) == 12 and co(1) == 21)
        assert(co(1) == 'bottom' and co() == 'in pcall')
        local ok, got = co()
        assert(ok == false and got == 8)
        assert(#big == 2000 and big[2000][1] == 2000 and big[1000][2] == '1000')
        assert(meta.hey == 'hey!')
        assert(#_home.players == 2 and _home.players[1].level == 1 and _home.players[2].name == 'Bob')
        assert(_home.more == nil and type(_home.f) == 'function' and _home.f(1) == 3)
        assert(held.x == 'held' and #_io.output == 3)
        local fresh = ext.table()
        fresh.x = 1
        assert(held.x == 'held' and _home.players[1].name == 'Ada')
        _home.fresh = fresh";
    sandbox.compute(source).unwrap();
}

#[test]
fn everything_comes_back() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    for _ in 0..3 {
        changed(&sandbox);
        sandbox.restore(&snapshot).unwrap();
        check(&sandbox);
    }
    // Taking one changes nothing.
    sandbox.restore(&snapshot).unwrap();
    sandbox.snapshot().unwrap();
    check(&sandbox);
}

#[test]
fn a_snapshot_outlives_its_sandbox_and_fits_any_engine() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    drop(sandbox);
    for pool_size in [0, 10] {
        let engine = Engine::new(EngineConfig::new().pool_size(pool_size)).unwrap();
        check(&engine.sandbox_from(&snapshot, SandboxConfig::new()).unwrap());
        let bytes = snapshot.to_bytes().unwrap();
        let other = Snapshot::from_bytes(&engine, &bytes).unwrap();
        assert_eq!(other.to_bytes().unwrap(), bytes);
        check(&engine.sandbox_from(&other, SandboxConfig::new()).unwrap());
        let used = engine.sandbox(SandboxConfig::new()).unwrap();
        used.compute("x = {} for i = 1, 1e5 do x[i] = {} end _home.x = 1").unwrap();
        used.restore(&other).unwrap();
        check(&used);
    }
}

#[test]
fn forks_are_independent() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let forks: Vec<Sandbox> = (0..4).map(|_| sandbox.fork().unwrap()).collect();
    changed(&sandbox);
    for (i, fork) in forks.iter().enumerate() {
        if i > 0 {
            check(fork);
        }
        fork.home().set("mine", i as i64).unwrap();
    }
    check(&forks[0]);
    for (i, fork) in forks.iter().enumerate() {
        assert_eq!(get::<i64>(fork, "return _home.mine"), i as i64);
        let second = fork.fork().unwrap();
        assert_eq!(get::<i64>(&second, "_home.mine = _home.mine + 10 return _home.mine"), i as i64 + 10);
    }
    assert!(get::<bool>(&sandbox, "return _home.mine == nil and n == 7"));
}

#[test]
fn a_fork_has_the_settings_and_host_functions() {
    let printed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&printed);
    let config = SandboxConfig::new()
        .instruction_limit(100_000)
        .on_print(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .modules(std::collections::HashMap::from([("m".to_owned(), "return 5".to_owned())]));
    let sandbox = Sandbox::with_config(config).unwrap();
    sandbox.register("double", |n: i64| Ok(2 * n)).unwrap();
    let fork = sandbox.fork().unwrap();
    drop(sandbox);
    assert_eq!(get::<i64>(&fork, "print('x') return double(require('m'))"), 10);
    assert_eq!(printed.load(Ordering::Relaxed), 1);
    assert_eq!(fork.compute("while true do end").unwrap_err().kind(), ErrorKind::InstructionLimit);
}

#[test]
fn what_the_host_held_is_closed() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let function = sandbox.compute("return function() return 1 end").unwrap().get::<luacell::Function>().unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    let players = sandbox.home().get("players").unwrap();
    let players = players.as_stored_table().unwrap();
    let home = sandbox.home();
    sandbox.restore(&snapshot).unwrap();
    assert_eq!(function.call(()).unwrap_err().kind(), ErrorKind::Closed);
    for error in [
        players.get(1).unwrap_err(),
        players.set(1, 2).unwrap_err(),
        players.remove(1).unwrap_err(),
        players.len().unwrap_err(),
        players.keys().unwrap_err(),
        players.to_table().unwrap_err(),
        sandbox.compute_with("return ...", ComputeOptions::new().args(players.clone())).unwrap_err(),
        home.set("x", players.clone()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(error.message().contains("restored"), "{error}");
    }
    assert_eq!(home.get("players").unwrap().as_stored_table().unwrap().len().unwrap(), 2);
    // The restored Lua does not keep what the host had.
    sandbox.compute("weak = setmetatable({}, {__mode = 'k'})").unwrap();
    let kept = sandbox.compute("local f = function() return n end weak[f] = true return f").unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    sandbox.restore(&snapshot).unwrap();
    assert!(get::<bool>(&sandbox, "collectgarbage() collectgarbage() return next(weak) == nil"));
    drop(kept);
    check(&sandbox);
}

#[test]
fn host_functions_are_linked_by_name() {
    let first = Sandbox::new().unwrap();
    first.register("util.one", |(): ()| Ok(1)).unwrap();
    first.register("two", |(): ()| Ok(2)).unwrap();
    first.register("gone", |(): ()| Ok(0)).unwrap();
    first.unregister("gone").unwrap();
    first.compute("one = util.one function sum() return one() + two() end _home.two = two").unwrap();
    let snapshot = first.snapshot().unwrap();
    // The same names with other numbers, and one more.
    let second = Sandbox::new().unwrap();
    for name in ["other", "two", "gone", "util.one"] {
        let value = name.len() as i64 * 10;
        second.register(name, move |(): ()| Ok(value)).unwrap();
    }
    second.restore(&snapshot).unwrap();
    assert_eq!(get::<i64>(&second, "return sum()"), 110);
    assert_eq!(get::<i64>(&second, "return _home.two()"), 30);
    assert_eq!(get::<i64>(&second, "return other() + gone()"), 90);
    // Missing ones fail at the call, until they are there.
    let bytes = snapshot.to_bytes().unwrap();
    let engine = Engine::default();
    let snapshot = Snapshot::from_bytes(&engine, &bytes).unwrap();
    let third = engine.sandbox_from(&snapshot, SandboxConfig::new()).unwrap();
    let error = third.compute("return sum()").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.message().contains("the host function 'util.one' is not registered"), "{error}");
    third.register("two", |(): ()| Ok(5)).unwrap();
    third.register("util.one", |(): ()| Ok(4)).unwrap();
    assert_eq!(get::<i64>(&third, "return sum()"), 9);
    // And the first goes on too.
    first.restore(&snapshot).unwrap();
    assert_eq!(get::<i64>(&first, "return sum()"), 3);
    assert!(get::<bool>(&first, "return gone == nil"));
}

#[test]
fn busy_from_within() {
    let sandbox = Arc::new(Sandbox::new().unwrap());
    let snapshot = sandbox.snapshot().unwrap();
    let inner = Arc::downgrade(&sandbox);
    sandbox
        .register("try", move |(): ()| {
            let sandbox = inner.upgrade().unwrap();
            let kinds = [sandbox.snapshot().err(), sandbox.restore(&snapshot).err(), sandbox.fork().err()];
            Ok(kinds
                .map(|e| e.map_or(0, |e: Error| i64::from(e.kind().number())))
                .to_vec()
                .into_iter()
                .map(Value::from)
                .collect::<Vec<_>>())
        })
        .unwrap();
    let kinds = sandbox.compute("return try()").unwrap().values;
    assert_eq!(kinds, vec![Value::from(i64::from(ErrorKind::Busy.number())); 3]);
}

#[test]
fn after_errors_limits_and_traps() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let spoil: [&str; 4] = [
        "error('x')",
        "local function f() return pcall(f) end coroutine.wrap(function() while true do f() end end)()",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1e6) end",
        "_home.x = {} coroutine.wrap(function() local y <close> = setmetatable({}, {__close = function() error('y') end}) error('x') end)()",
    ];
    for source in spoil {
        let options = || ComputeOptions::new().instruction_limit(300_000).memory_limit(20 << 20);
        // Before the failure, after it, and after a fork.
        let before = sandbox.snapshot().unwrap();
        sandbox.compute_with(source, options()).unwrap_err();
        let after = sandbox.snapshot().unwrap();
        let fork = sandbox.fork().unwrap();
        sandbox.restore(&before).unwrap();
        check(&sandbox);
        sandbox.restore(&after).unwrap();
        check(&fork);
        sandbox.restore(&before).unwrap();
    }
    sandbox.close();
    assert_eq!(sandbox.snapshot().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_reset_sandbox_and_an_empty_one() {
    let sandbox = Sandbox::new().unwrap();
    let empty = sandbox.snapshot().unwrap();
    assert!(empty.to_bytes().unwrap().len() < 100 << 10);
    sandbox.compute(PROGRAM).unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    sandbox.reset().unwrap();
    sandbox.restore(&snapshot).unwrap();
    check(&sandbox);
    sandbox.restore(&empty).unwrap();
    assert!(get::<bool>(&sandbox, "return n == nil and next(_home) == nil and _home == Memory"));
}

#[test]
fn settings_are_those_of_the_sandbox() {
    let small = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20).output_limit(10)).unwrap();
    small.compute("x = 1").unwrap();
    let snapshot = small.snapshot().unwrap();
    let large = Sandbox::new().unwrap();
    large.restore(&snapshot).unwrap();
    assert_eq!(
        large.compute("t = ('x'):rep(30 << 20) print('0123456789ABC') return x").unwrap().output,
        "0123456789ABC\n"
    );
    let large = large.snapshot().unwrap();
    // More than the limit is there.
    assert_eq!(small.restore(&large).unwrap_err().kind(), ErrorKind::Memory);
    assert_eq!(get::<i64>(&small, "return x"), 1);
    let small = Sandbox::with_config(SandboxConfig::new().memory_limit(48 << 20).output_limit(10)).unwrap();
    small.restore(&large).unwrap();
    let narrow = || ComputeOptions::new().memory_limit(16 << 20);
    let source = "local t = {} for i = 1, 1e5 do t[i] = i end";
    assert_eq!(small.compute_with(source, narrow()).unwrap_err().kind(), ErrorKind::Memory);
    small.compute("t = nil collectgarbage()").unwrap();
    small.compute_with(source, narrow()).unwrap();
    assert_eq!(small.compute("print('0123456789ABC')").unwrap_err().kind(), ErrorKind::OutputLimit);
    // More than the engine has room for.
    let tiny = Engine::new(EngineConfig::new().pool_size(0).max_memory(8 << 20)).unwrap();
    let error = tiny.sandbox_from(&large, SandboxConfig::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    let error = Snapshot::from_bytes(&tiny, &large.to_bytes().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

/// Whatever the bytes hold, and however well it packs.
#[test]
fn bytes_unpack_to_no_more_than_there_is_room() {
    let most = 32 << 20;
    let engine = Engine::new(EngineConfig::new().pool_size(0).max_memory(most)).unwrap();
    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
    let bytes = sandbox.snapshot().unwrap().to_bytes().unwrap();
    let content = unpack(&bytes[52..]);
    let number = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().unwrap()) as usize;
    // Behind the pages: the next number of a function, and how many there are.
    let functions = (0..number(8)).fold(12, |at, _| {
        let blocks = number(at + 4).count_ones() + number(at + 8).count_ones();
        at + 12 + 64 * blocks as usize
    });
    assert_eq!((number(functions), number(functions + 4)), (0, 0));
    let count = 1_000_000u32;
    let mut many_functions = content[..functions].to_vec();
    many_functions.extend(1u32.to_le_bytes());
    many_functions.extend(count.to_le_bytes());
    many_functions.extend(std::iter::repeat_n(0, 12 * count as usize));
    many_functions.extend(&content[functions + 8..]);
    let tables = functions + 8 + 17;
    let mut many_tables = content[..tables].to_vec();
    many_tables.extend((count + 10).to_le_bytes());
    many_tables.extend(count.to_le_bytes());
    for id in 3..count + 3 {
        many_tables.extend(id.to_le_bytes());
        many_tables.extend([1u64, 1].into_iter().flat_map(u64::to_le_bytes));
        many_tables.push(b'k');
        many_tables.extend(1u64.to_le_bytes());
        many_tables.push(0);
    }
    for content in [many_functions, many_tables] {
        let mut bytes = bytes[..52].to_vec();
        pack(&content, &mut bytes);
        with_checksum(&mut bytes);
        let error = Snapshot::from_bytes(&engine, &bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("max_memory"), "{error}");
    }
}

#[test]
fn the_virtual_clock_goes_on() {
    let source = "return os.time(), os.clock(), math.random(1000000), math.random(1000000)";
    let config = || SandboxConfig::new().deterministic(7);
    let sandbox = Sandbox::with_config(config()).unwrap();
    sandbox.compute("for i = 1, 1e6 do end t0 = os.time() math.random()").unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    let expected = sandbox.compute(source).unwrap();
    let later = sandbox.compute(source).unwrap();
    sandbox.restore(&snapshot).unwrap();
    for other in [
        sandbox.fork().unwrap(),
        Engine::default().sandbox_from(&snapshot, config()).unwrap(),
        Engine::default()
            .sandbox_from(&Snapshot::from_bytes(&Engine::default(), &snapshot.to_bytes().unwrap()).unwrap(), config())
            .unwrap(),
        sandbox,
    ] {
        let outcome = other.compute(source).unwrap();
        assert_eq!((outcome.values, outcome.metrics), (expected.values.clone(), expected.metrics));
        assert_eq!(other.compute(source).unwrap().values, later.values);
    }
}

fn with_tables() -> RestoreOptions {
    RestoreOptions::new().tables(true)
}

/// A template's functions come to a sandbox that has a store, and the store keeps all that it has.
#[test]
fn a_store_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let open = || Sandbox::with_config(SandboxConfig::new().store(FileStore::open(&path).unwrap())).unwrap();
    let template = Sandbox::new().unwrap();
    // Its own tables have numbers that the store's have too, and it has stored functions with upvalues.
    template
        .compute(
            "_home.orders, _home.name, _home.more = {'template'}, 'template', {{{}}}
             for _, t in ipairs{_home.orders, _home.more, _home.more[1]} do setmetatable(t, {__index = function() return 'template' end}) end
             local seen = 0
             function decide(x) seen = seen + 1 _home.n = (_home.n or 0) + 1 return x * 2, _home.n, seen end
             function name() return _home.name end
             _home.decide = decide
             function more() local t = ext.table() t.x = 1 _home.made = {t, {2}} return #_home.made end",
        )
        .unwrap();
    let template = template.snapshot().unwrap();
    open().compute("_home.orders, _home.name = {1, 2, {3}}, 'ada' _home.count = (function() local n = 10 return function() n = n + 1 return n end end)()").unwrap();
    let blob = open().export_home().unwrap();
    for shared in [false, true] {
        let sandbox = open();
        let other = shared.then(open);
        sandbox.compute("before = _home.orders").unwrap();
        let orders = sandbox.home().get("orders").unwrap();
        sandbox.restore(&template).unwrap();
        assert_eq!(sandbox.export_home().unwrap(), blob);
        // What the host has of the store is still so.
        assert_eq!(orders.as_stored_table().unwrap().len().unwrap(), 3);
        assert!(get::<bool>(&sandbox, "return not getmetatable(_home.orders) and not getmetatable(_home.orders[3])"));
        assert_eq!(sandbox.call("decide", 2).unwrap().values, [4.into(), 1.into(), 1.into()]);
        assert_eq!(sandbox.call("decide", 2).unwrap().values, [4.into(), 2.into(), 2.into()]);
        assert_eq!(get::<String>(&sandbox, "return name()"), "ada");
        assert_eq!(get::<i64>(&sandbox, "return more()"), 2);
        assert_eq!(get::<i64>(&sandbox, "return _home.orders[3][1] + _home.count()"), 14);
        assert!(get::<bool>(&sandbox, "return before == nil and _home.made[1].x == 1 and _home.made[2][1] == 2"));
        drop(other);
        sandbox.gc().unwrap();
        drop(sandbox);
        let sandbox = open();
        assert_eq!(get::<i64>(&sandbox, "return _home.orders[3][1] + _home.count() + _home.n + _home.made[1].x"), 18);
        sandbox.import_home_with(&blob, &luacell::ImportOptions::new().trusted(true)).unwrap();
    }
    // A new sandbox from a snapshot likewise.
    let config = || SandboxConfig::new().store(FileStore::open(&path).unwrap());
    let sandbox = Engine::default().sandbox_from(&template, config()).unwrap();
    assert_eq!(sandbox.call("decide", 2).unwrap().values, [4.into(), 1.into(), 1.into()]);
    assert_eq!(get::<String>(&sandbox, "return name()"), "ada");
    // In memory it is the other way round, unless it is said.
    let memory = Sandbox::new().unwrap();
    memory.compute("_home.name = 'mine'").unwrap();
    memory.restore_with(&template, &RestoreOptions::new().tables(false)).unwrap();
    assert_eq!(get::<String>(&memory, "return name()"), "mine");
    memory.restore(&template).unwrap();
    assert_eq!(get::<String>(&memory, "return name()"), "template");
}

/// What Lua holds of the tables of another store is never taken for those of this one.
#[test]
fn tables_of_another_store_are_refused() {
    let holders = [
        "held = _home.t",
        "local t = _home.t function f() return t[1] end",
        "co = coroutine.wrap(function(t) coroutine.yield() return t[1] end) co(_home.t)",
        "held = ext.table()",
        "_io.output = {1} held = _io.output",
        "held = setmetatable(_home.t, {__index = function() return 1 end})",
        "local t = _home.t _home.f = function() t[1] = 2 end held = _home.f",
        "walk = pairs(_home.t)",
    ];
    for source in holders {
        let template = Sandbox::new().unwrap();
        template.compute("_home.t = {'template'} _home.u = {2}").unwrap();
        template.compute(source).unwrap();
        let template = template.snapshot().unwrap();
        let sandbox = Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new())).unwrap();
        sandbox.compute("n = 5 _home.t = {'mine'} _home.u = {'mine'}").unwrap();
        let error = sandbox.restore(&template).expect_err(source);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{source}");
        assert!(error.message().contains("kept tables"), "{error}");
        assert!(get::<bool>(&sandbox, "return n == 5 and _home.t[1] == 'mine' and _home.u[1] == 'mine'"), "{source}");
        sandbox.restore_with(&template, &with_tables()).unwrap();
        assert!(get::<bool>(&sandbox, "return n == nil and _home.t[1] == 'template'"), "{source}");
    }
    // Garbage is nobody's, and metatables belong to the tables that had them.
    let template = Sandbox::new().unwrap();
    template.compute("_home.t = {'template'} for i = 1, 100 do local t = _home.t end x = 1").unwrap();
    template.compute("setmetatable(_home.t, {__index = function() return 1 end})").unwrap();
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new())).unwrap();
    sandbox.compute("_home.t = {'mine'}").unwrap();
    sandbox.restore(&template.snapshot().unwrap()).unwrap();
    assert!(get::<bool>(&sandbox, "return x == 1 and _home.t[1] == 'mine' and getmetatable(_home.t) == nil"));
}

/// Also those that had not asked for any before.
#[test]
fn copies_go_on_with_the_same_random_numbers() {
    let numbers = |sandbox: &Sandbox| -> Vec<Value> {
        (0..3)
            .flat_map(|_| sandbox.compute("return math.random(0), math.random(0), math.random()").unwrap().values)
            .collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let configs = || {
        [
            SandboxConfig::new(),
            SandboxConfig::new().deterministic(7),
            SandboxConfig::new().store(MemoryStore::new()),
            SandboxConfig::new().store(&path),
        ]
    };
    for (i, config) in configs().into_iter().enumerate() {
        for before in
            ["", "math.random()", "math.randomseed(3)", "math.randomseed()", "math = nil", "random = math.random"]
        {
            let sandbox = Sandbox::with_config(configs().into_iter().nth(i).unwrap()).unwrap();
            sandbox.compute(before).unwrap();
            if before == "math = nil" {
                sandbox.fork().unwrap().snapshot().unwrap();
                continue;
            }
            let (fork, snapshot) = (sandbox.fork().unwrap(), sandbox.snapshot().unwrap());
            let bytes = snapshot.to_bytes().unwrap();
            let engine = Engine::default();
            let copy =
                engine.sandbox_from(&Snapshot::from_bytes(&engine, &bytes).unwrap(), SandboxConfig::new()).unwrap();
            let second = fork.fork().unwrap();
            let expected = numbers(&sandbox);
            assert!(expected[0] != expected[1]);
            for other in [&fork, &second, &copy] {
                assert_eq!(numbers(other), expected, "{before}");
            }
            sandbox.restore(&snapshot).unwrap();
            assert_eq!(numbers(&sandbox), expected, "{before}");
            // Until they are parted.
            sandbox.compute("math.randomseed()").unwrap();
            fork.compute("math.randomseed()").unwrap();
            if i != 1 {
                assert_ne!(numbers(&sandbox), numbers(&fork));
            }
        }
        drop(config);
    }
    // Those that are no copies have nothing in common, and taking one changes no number that a seed gives.
    assert_ne!(numbers(&Sandbox::new().unwrap()), numbers(&Sandbox::new().unwrap()));
    let seeded = || Sandbox::with_config(SandboxConfig::new().deterministic(7)).unwrap();
    let with_copy = seeded();
    with_copy.snapshot().unwrap();
    assert_eq!(numbers(&with_copy), numbers(&seeded()));
}

#[test]
fn a_store_becomes_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let open = || FileStore::open(&path).unwrap();
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(open())).unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    changed(&sandbox);
    sandbox.restore_with(&snapshot, &with_tables()).unwrap();
    check(&sandbox);
    sandbox.restore_with(&snapshot, &with_tables()).unwrap();
    let tables = sandbox.table_count().unwrap();
    drop(sandbox);
    // It is in the file.
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(open())).unwrap();
    assert!(get::<bool>(&sandbox, "return #_home.players == 2 and _home.f(1) == 1 and _home.more == nil"));
    assert!(sandbox.table_count().unwrap() <= tables);
    sandbox.compute("_home.later = {{}, {}, {}}").unwrap();
    drop(sandbox);
    // Another file, which holds something else: that goes.
    let other = folder.path().join("other.luacell");
    for round in 0..2 {
        let sandbox = Sandbox::with_config(SandboxConfig::new().store(FileStore::open(&other).unwrap())).unwrap();
        if round == 0 {
            sandbox.compute("for i = 1, 50 do _home[i] = {x = {i}} end").unwrap();
        }
        sandbox.restore_with(&snapshot, &with_tables()).unwrap();
        check(&sandbox);
        assert!(get::<bool>(&sandbox, "return _home[1] == nil"));
        assert!(sandbox.table_count().unwrap().unwrap() < 20);
        // New tables don't meet old ones.
        sandbox.compute("for i = 1, 100 do _home.players[i + 2] = {name = i} end").unwrap();
        assert!(get::<bool>(&sandbox, "return _home.players[1].name == 'Ada' and _home.players[102].name == 100"));
    }
    // A store of the user's, and a fork, which leaves the store alone.
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new())).unwrap();
    sandbox.restore_with(&snapshot, &with_tables()).unwrap();
    let fork = sandbox.fork().unwrap();
    check(&sandbox);
    changed(&sandbox);
    check(&fork);
    // Somebody else has the file.
    let (a, b) = (open(), open());
    let a = Sandbox::with_config(SandboxConfig::new().store(a)).unwrap();
    let error = a.restore_with(&snapshot, &with_tables()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("others use"), "{error}");
    assert!(get::<bool>(&a, "return _home.later ~= nil"));
    drop(b);
    a.restore_with(&snapshot, &with_tables()).unwrap();
    assert!(get::<bool>(&a, "return _home.later == nil and n == 0"));
}

#[test]
fn a_store_that_fails_leaves_the_sandbox_as_it_was() {
    struct Failing(MemoryStore, Arc<AtomicU32>);
    impl luacell::TableStore for Failing {
        fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> luacell::StoreResult<bool> {
            self.0.get(table, key, read)
        }
        fn set(&mut self, table: u32, key: &str, value: &[u8]) -> luacell::StoreResult<()> {
            if self.1.load(Ordering::Relaxed) > 0 {
                return Err("the disk is full".into());
            }
            self.0.set(table, key, value)
        }
        fn delete(&mut self, table: u32, key: &str) -> luacell::StoreResult<()> {
            self.0.delete(table, key)
        }
        fn size(&mut self, table: u32) -> luacell::StoreResult<u64> {
            self.0.size(table)
        }
        fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> luacell::StoreResult<()> {
            self.0.keys(table, visit)
        }
    }
    let broken = Arc::new(AtomicU32::new(0));
    let store = Failing(MemoryStore::new(), Arc::clone(&broken));
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
    sandbox.compute("n = 1 _home.n = 1 _home.t = {1}").unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    sandbox.compute("n = 2 _home.n = 2 _home.t[1] = 2").unwrap();
    broken.store(1, Ordering::Relaxed);
    let error = sandbox.restore_with(&snapshot, &with_tables()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Store, "the disk is full"));
    assert!(get::<bool>(&sandbox, "return n == 2 and _home.n == 2 and _home.t[1] == 2"));
    broken.store(0, Ordering::Relaxed);
    sandbox.restore_with(&snapshot, &with_tables()).unwrap();
    assert!(get::<bool>(&sandbox, "return n == 1 and _home.n == 1 and _home.t[1] == 1"));
}

#[test]
fn bytes_that_are_no_snapshot() {
    let engine = Engine::default();
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute("x = 1 _home.x = {1, 2}").unwrap();
    let bytes = sandbox.snapshot().unwrap().to_bytes().unwrap();
    let refused = |bytes: &[u8]| {
        let error = Snapshot::from_bytes(&engine, bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.message().to_owned()
    };
    assert!(refused(b"").contains("its first bytes are wrong"));
    assert!(refused(&sandbox.export_home().unwrap()).contains("its first bytes are wrong"));
    for len in [9, 30, 51, 52, 60, bytes.len() / 2, bytes.len() - 1] {
        refused(&bytes[..len]);
    }
    assert!(refused(&bytes[..bytes.len() - 1]).contains("cut off"));
    for at in (0..bytes.len()).step_by(bytes.len() / 200) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        refused(&damaged);
    }
    let mut later = bytes.clone();
    later[8] = 99;
    assert!(refused(&later).contains("format 99"));
    // The SHA-256 of another guest, with everything else right.
    let mut foreign = bytes.clone();
    foreign[20] ^= 1;
    with_checksum(&mut foreign);
    assert!(refused(&foreign).contains("another guest"), "{}", refused(&foreign));
    let mut base = bytes;
    base[48] ^= 1;
    with_checksum(&mut base);
    assert!(refused(&base).contains("another version"));
}

/// CRC-32 as the format wants it.
fn with_checksum(bytes: &mut [u8]) {
    let mut crc = !0u32;
    for byte in bytes[..12].iter().chain(&bytes[16..]) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xEDB8_8320 };
        }
    }
    bytes[12..16].copy_from_slice(&(!crc).to_le_bytes());
}

/// The same for a run that waits, whose part is at the end: it goes on, or is refused.
#[test]
#[cfg(feature = "hardened")]
fn hostile_bytes_of_a_run_stay_inside() {
    let config = EngineConfig::new().hardened(true).call_deadline(Duration::from_secs(1));
    let engine = Engine::new(config).unwrap();
    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
    sandbox.declare("ask").unwrap();
    let source = "_home.x = 1 _home.y = {} _home.y.z = 'w' _home.y = nil ask('q') task = require('task') task.all(ask, ask) return _home.x";
    let _run = sandbox.start(source, luacell::ComputeOptions::new()).unwrap();
    let bytes = sandbox.snapshot().unwrap().to_bytes().unwrap();
    let mut gone_on = 0;
    for at in (bytes.len() - 150..bytes.len()).rev() {
        for bit in 0..8 {
            let mut hostile = bytes.clone();
            hostile[at] ^= 1 << bit;
            with_checksum(&mut hostile);
            let Ok(snapshot) = Snapshot::from_bytes(&engine, &hostile) else { continue };
            let Ok(there) = engine.sandbox_from(&snapshot, SandboxConfig::new()) else { continue };
            let Ok(Some(mut run)) = there.waiting_run() else { continue };
            let mut turns = 0;
            while run.is_waiting() && turns < 10 {
                for request in run.requests().unwrap() {
                    run.answer(request.id, ()).unwrap();
                }
                run.resume().unwrap();
                turns += 1;
            }
            gone_on += u32::from(!run.is_waiting());
            drop(run);
            // Its own memory may be spoilt for good, such as the count of what it has; nothing else is.
            if there.compute("return 1").is_err() {
                there.reset().unwrap();
                there.compute("return 1").unwrap();
            }
        }
    }
    assert!(gone_on > 0, "some changes do not matter");
    assert_eq!(sandbox.snapshot().unwrap().to_bytes().unwrap().len(), bytes.len());
}

/// Somebody who knows the format makes bytes on purpose: whatever they do, the host stays whole and other sandboxes
/// work.
#[test]
#[cfg(feature = "hardened")]
fn hostile_bytes_stay_inside() {
    // An interpreter needs longer for what is not hostile.
    let deadline = Duration::from_millis(if cfg!(feature = "pulley") { 2000 } else { 50 });
    let config = EngineConfig::new().hardened(true).pool_size(4).call_deadline(deadline).max_memory(64 << 20);
    let engine = Engine::new(config).unwrap();
    // What is not hostile takes as long as it takes.
    let patient = Engine::new(EngineConfig::new().hardened(true).pool_size(0)).unwrap();
    let source = patient.sandbox(SandboxConfig::new()).unwrap();
    source.compute(PROGRAM).unwrap();
    source.register("f", |n: i64| Ok(n)).unwrap();
    let bytes = source.snapshot().unwrap().to_bytes().unwrap();
    let content = unpack(&bytes[52..]);
    let mut random = 0x1234_5678_9ABC_DEF1u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let (mut refused, mut ran) = (0, 0);
    for round in 0..48 {
        let mut mutated = content.clone();
        match round % 4 {
            // Bits, bytes, runs of pages, the part behind the pages.
            0 => (0..20).for_each(|_| mutated[next(content.len())] ^= 1 << next(8)),
            1 => (0..2000).for_each(|_| mutated[next(content.len())] = next(256) as u8),
            2 => {
                let (from, to) = (next(content.len() - 9000), next(content.len() - 9000));
                mutated.copy_within(from..from + 8192, to);
            }
            _ => {
                let tail = content.len().min(600);
                (0..3).for_each(|_| mutated[content.len() - 1 - next(tail)] = next(256) as u8);
            }
        }
        let mut bytes = bytes[..52].to_vec();
        pack(&mutated, &mut bytes);
        with_checksum(&mut bytes);
        let Ok(snapshot) = Snapshot::from_bytes(&engine, &bytes) else {
            refused += 1;
            continue;
        };
        let config = || {
            SandboxConfig::new().instruction_limit(1_000_000).timeout(Duration::from_millis(200)).memory_limit(32 << 20)
        };
        let Ok(sandbox) = engine.sandbox_from(&snapshot, config()) else {
            refused += 1;
            continue;
        };
        ran += 1;
        let _ = sandbox.register("f", |n: i64| Ok(n));
        for source in
            ["return f(1)", "add(1) return look()", "co(5) return co", "for k, v in pairs(_home) do v = k end"]
        {
            let _ = sandbox.compute(source);
        }
        let _ = sandbox.memory_stats();
        let _ = sandbox.gc();
        let _ = sandbox.home().to_table();
        if let Ok(snapshot) = sandbox.snapshot() {
            let _ = snapshot.to_bytes();
        }
        // A sandbox that was taken over is as new after a reset.
        sandbox.reset().unwrap();
        assert_eq!(get::<i64>(&sandbox, "return 1 + 1"), 2);
    }
    assert!(ran > 8, "{ran} ran, {refused} were refused");
    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
    assert_eq!(get::<i64>(&sandbox, "return 1 + 1"), 2);
}

fn unpack(mut packed: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while !packed.is_empty() {
        let len = u32::from_le_bytes(packed[..4].try_into().unwrap()) as usize;
        let n = u32::from_le_bytes(packed[4..8].try_into().unwrap()) as usize;
        content.extend(lz4_flex::block::decompress(&packed[8..8 + n], len).unwrap());
        packed = &packed[8 + n..];
    }
    content
}

fn pack(content: &[u8], out: &mut Vec<u8>) {
    for piece in content.chunks(4 << 20) {
        let packed = lz4_flex::block::compress(piece);
        out.extend((piece.len() as u32).to_le_bytes());
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend(packed);
    }
}

#[test]
#[cfg(feature = "jit")]
fn another_guest_is_refused() {
    let wasm = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/guest/lua.wasm")).unwrap();
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    // The same guest, compiled and started at run time.
    let same = Engine::from_wasm(&wasm, EngineConfig::new()).unwrap();
    check(&same.sandbox_from(&snapshot, SandboxConfig::new()).unwrap());
    let from_same = same.sandbox(SandboxConfig::new()).unwrap();
    from_same.compute(PROGRAM).unwrap();
    let copy = from_same.snapshot().unwrap();
    sandbox.restore(&copy).unwrap();
    check(&sandbox);
    from_same.restore(&Snapshot::from_bytes(&same, &copy.to_bytes().unwrap()).unwrap()).unwrap();
    check(&from_same);
    // One that differs by a custom section.
    let mut other = wasm;
    other.extend([0, 2, 1, b'x']);
    let other = Engine::from_wasm(other, EngineConfig::new()).unwrap();
    for error in [
        other.sandbox_from(&snapshot, SandboxConfig::new()).unwrap_err(),
        Snapshot::from_bytes(&other, &snapshot.to_bytes().unwrap()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("another guest"), "{error}");
    }
}

#[test]
#[cfg(feature = "async")]
fn with_waiting_sandboxes() {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(PROGRAM).unwrap();
    let snapshot = sandbox.snapshot().unwrap();
    pollster::block_on(sandbox.compute_async("n = 5", ComputeOptions::new())).unwrap();
    let fork = sandbox.fork().unwrap();
    assert_eq!(get::<i64>(&fork, "return n"), 5);
    sandbox.restore(&snapshot).unwrap();
    check(&sandbox);
    sandbox.restore(&snapshot).unwrap();
    pollster::block_on(sandbox.compute_async("assert(n == 0 and co(5) == 5)", ComputeOptions::new())).unwrap();
    // While it runs it can be neither copied nor replaced.
    let goes_on = std::sync::Arc::new(AtomicBool::new(false));
    let waits = std::sync::Arc::clone(&goes_on);
    sandbox
        .register_async("pause", move |(): ()| {
            let goes_on = std::sync::Arc::clone(&waits);
            async move {
                std::future::poll_fn(|task| {
                    task.waker().wake_by_ref();
                    if goes_on.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                Ok(())
            }
        })
        .unwrap();
    let mut run = std::pin::pin!(sandbox.compute_async("pause()", ComputeOptions::new()));
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(run.as_mut().poll(&mut task).is_pending());
    assert_eq!(sandbox.snapshot().unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(sandbox.restore(&snapshot).unwrap_err().kind(), ErrorKind::Busy);
    goes_on.store(true, Ordering::SeqCst);
    pollster::block_on(run).unwrap();
    sandbox.restore(&snapshot).unwrap();
    check(&sandbox);
}
