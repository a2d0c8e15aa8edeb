//! What a script makes the host hold, and what a host makes the guest hold: it is bounded, and given back. How much
//! memory all that takes is what `growth.rs` measures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;
use std::error::Error as _;
use std::sync::{Arc, Mutex};

use luacell::{
    ComputeOptions, Engine, EngineConfig, Error, ErrorKind, Function, Sandbox, SandboxConfig, Snapshot, StoreLimit,
    Value,
};

fn small() -> Sandbox {
    let config = SandboxConfig::new().memory_limit(2 << 20).store_limit(StoreLimit::new(1 << 20, 10_000));
    Sandbox::with_config(config.timeout(None)).unwrap()
}

fn lua_bytes(lua: &Sandbox) -> u64 {
    lua.gc().unwrap();
    lua.memory_stats().unwrap().lua_bytes
}

fn kind(lua: &Sandbox, source: &str) -> ErrorKind {
    lua.compute(source).unwrap_err().kind()
}

/// A host that registers for each request must not grow.
#[test]
fn registering_leaves_nothing_behind() {
    let lua = small();
    lua.register("f", |()| Ok(0)).unwrap();
    lua.compute("first = f").unwrap();
    let before = lua_bytes(&lua);
    for i in 0..20_000 {
        lua.register("f", move |()| Ok(i)).unwrap();
    }
    for i in 0..10_000 {
        let name = format!("request_{i}.f");
        lua.register(&name, |()| Ok(0)).unwrap();
        assert!(lua.unregister(&name).unwrap());
        lua.compute(format!("request_{i} = nil")).unwrap();
    }
    for i in 0..10_000 {
        lua.register("g", move |()| Ok(i)).unwrap();
        assert!(lua.unregister("g").unwrap());
    }
    let growth = lua_bytes(&lua).saturating_sub(before);
    assert!(growth < 20_000, "{growth} bytes more");
    assert_eq!(
        lua.compute("return f(), first == f, first()").unwrap().values,
        [19_999.into(), true.into(), 19_999.into()]
    );
    // What a script kept works again when its name does, and not before.
    lua.unregister("f").unwrap();
    assert!(lua.compute("first()").unwrap_err().message().contains("'f' is not registered"));
    lua.register("f", |()| Ok("again")).unwrap();
    assert_eq!(lua.compute("return first(), first == f").unwrap().values, ["again".into(), true.into()]);
}

#[test]
fn functions_that_the_host_lets_go_are_collected_in_the_same_run() {
    let lua = small();
    lua.register("drop", |_: Value| Ok(())).unwrap();
    lua.compute("for i = 1, 50000 do drop(function() return i end) end").unwrap();
    lua.compute("for i = 1, 1000 do drop({function() end, {function() end}}) end").unwrap();
    // What the host keeps stays.
    let kept = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&kept);
    lua.register("keep", move |f: Function| {
        list.lock().unwrap().push(f);
        Ok(())
    })
    .unwrap();
    lua.compute("for i = 1, 500 do keep(function() return i end) drop(function() end) end collectgarbage()").unwrap();
    for (i, f) in (1..).zip(kept.lock().unwrap().iter()) {
        assert_eq!(f.call(()).unwrap().values, [Value::from(i)]);
    }
    // A message that could not be written holds nothing.
    let failing =
        "local t = {} for i = 1, 100 do t[i] = function() end end t[101] = coroutine.create(print) pcall(drop, t)";
    lua.compute(format!("for n = 1, 500 do {failing} end")).unwrap();
}

#[test]
fn a_function_is_equal_to_itself() {
    let lua = small();
    let values = lua.compute("function f() end return f, {f}, f, function() end").unwrap().values;
    let f = values[0].as_function().unwrap().clone();
    assert_eq!(values[0], values[2]);
    assert_ne!(values[0], values[3]);
    assert_eq!(values[1].as_table().unwrap().get(1), values[0]);
    let again: Function = lua.compute("return f").unwrap().get().unwrap();
    assert_eq!(again, f);
    assert_eq!(HashSet::from([f.clone(), again.clone()]).len(), 1);
    // Each of them holds it.
    drop((values, again));
    lua.compute("f = nil collectgarbage()").unwrap();
    assert!(f.call(()).is_ok());
    let other = small();
    let g: Function = other.compute("return function() end").unwrap().get().unwrap();
    assert_ne!(f, g);
    lua.reset().unwrap();
    let h: Function = lua.compute("return function() end").unwrap().get().unwrap();
    assert_ne!(f, h);
}

#[test]
fn an_error_of_the_host_keeps_its_cause_or_has_none() {
    let lua = small();
    lua.register("fail", |text: String| Err::<(), _>(Error::host(text))).unwrap();
    let cause = |source: &str| {
        let error = lua.compute(source).unwrap_err();
        (error.message().to_owned(), error.source().map(ToString::to_string))
    };
    for others in [0, 1, 900, 1500, 5000] {
        let source = format!(
            "local _, mine = pcall(fail, 'mine') for i = 1, {others} do pcall(fail, 'other ' .. i) end error(mine, 0)"
        );
        let (message, cause) = cause(&source);
        assert!(message.ends_with("mine"), "{message}");
        assert_eq!(cause, (others < 1000).then(|| "mine".to_owned()), "after {others} others");
    }
    // However large they are, the last one is there.
    let large = "for i = 1, 50 do pcall(fail, ('x'):rep(200000) .. i) end fail('last')";
    assert_eq!(cause(large).1.unwrap(), "last");
    // A text that was made of it is the host's too, and it still is itself.
    for rethrow in ["pcall(error, e) error(e, 0)", "error(e)", "pcall(error, e) pcall(error, e) error(e)"] {
        assert_eq!(cause(&format!("local _, e = pcall(fail, 'a') pcall(fail, 'b') {rethrow}")).1.unwrap(), "a");
    }
    // And they don't add up in Lua.
    lua.compute("for i = 1, 20000 do pcall(fail, 'error ' .. i) end").unwrap();
    lua.register("nan", |()| Err::<(), _>(Error::raise(f64::NAN))).unwrap();
    assert_eq!(lua.compute("local _, e = pcall(nan) return e ~= e").unwrap().values, [true.into()]);
}

#[test]
fn what_a_run_writes_and_deletes_is_bounded() {
    let lua = small();
    lua.compute("_home.before = 1").unwrap();
    // What isn't there needs no deleting, and nothing is to be stored then.
    let outcome = lua.compute("for i = 1, 100000 do _home[i] = nil end local t = ext.table() t.x = nil").unwrap();
    assert_eq!(outcome.metrics.bytes_stored, 0);
    for source in [
        "for i = 1, math.huge do _home[i] = i _home[i] = nil end",
        "local s = ('x'):rep(10000) for i = 1, math.huge do _home[s .. i] = i _home[s .. i] = nil end",
        "local t = ext.table() for i = 1, math.huge do t[i] = i t[i] = nil end",
        "for i = 1, math.huge do local t = ext.table() t.x = 1 t.x = nil end",
        "pcall(function() for i = 1, math.huge do _home[i] = i _home[i] = nil end end)",
    ] {
        assert_eq!(kind(&lua, source), ErrorKind::StoreLimit, "{source}");
        assert_eq!(lua.compute("return _home.before, next(_home, 'before')").unwrap().values, [1.into(), Value::Nil]);
    }
    // One key may be written as often as one likes.
    lua.compute("for i = 1, 100000 do _home.x = i _home.x = nil end").unwrap();
}

/// Small tables take more in the host than they do as bytes.
#[test]
fn tables_as_values_of_the_host_are_bounded() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(3 << 20)).unwrap();
    lua.register("size", |_: Value| Ok(1)).unwrap();
    lua.compute("_home.n = 1 function many(n) local t = {} for i = 1, n do t[i] = {} end return t end").unwrap();
    assert_eq!(lua.compute("return many(1000)").unwrap().values[0].as_table().unwrap().len(), 1000);
    let error = lua.compute("_home.n = 2 _home.t = {1} kept = _home.t return many(29500)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert!(error.message().contains("memory_limit"), "{error}");
    // The run failed, so it stored nothing, and Lua knows that.
    assert_eq!(lua.compute("return _home.n, _home.t, kept[1]").unwrap().values, [1.into(), Value::Nil, 1.into()]);
    assert_eq!(lua.home().get("n").unwrap(), 1.into());
    // For arguments Lua gets it, where it may catch it.
    assert_eq!(lua.compute("return (pcall(size, many(29500)))").unwrap().values, [false.into()]);
    assert_eq!(kind(&lua, "size(many(29500))"), ErrorKind::Memory);
    // Functions among them are not held for good.
    for _ in 0..20 {
        let source = "local t = many(29500) for i = 1, 2000 do t[#t + 1] = function() end end return t";
        assert_eq!(kind(&lua, source), ErrorKind::Memory);
    }
    assert_eq!(lua.compute("return size(many(1000))").unwrap().values, [1.into()]);
    // And what refers to something takes more in the host than its number does, be it one thing many times.
    lua.compute("_home.t = {1} function same(x, n) local t = {} for i = 1, n do t[i] = x end return t end").unwrap();
    for one in ["_home.t", "print", "same", "size"] {
        assert!(lua.compute(format!("return same({one}, 5000)")).is_ok(), "{one}");
        assert_eq!(kind(&lua, &format!("return same({one}, 40000)")), ErrorKind::Memory, "{one}");
        assert_eq!(kind(&lua, &format!("return table.unpack(same({one}, 40000))")), ErrorKind::Memory, "{one}");
    }
    // A limit of the run counts, and others have their own.
    let options = ComputeOptions::new().memory_limit(32 << 20);
    assert!(lua.compute_with("return many(29500)", options).is_ok());
}

/// A metatable is Lua's alone, so who can come back to a table without Lua has to find it there.
#[test]
fn tables_with_metatables_stay_as_long_as_somebody_can_reach_them() {
    let lua = small();
    for _ in 0..8 {
        lua.compute("for i = 1, 5000 do local t = setmetatable(ext.table(), {}) t.x = i end").unwrap();
    }
    lua.compute("for i = 1, 100 do setmetatable(ext.table(), {__gc = function() end}) end").unwrap();
    lua.compute("for i = 1, 30000 do setmetatable(ext.table(), {}) end").unwrap();
    lua.compute("meta = {__index = function(_, k) return k .. '!' end}").unwrap();
    let table = Arc::new(Mutex::new(Value::Nil));
    let place = Arc::clone(&table);
    lua.register("keep", move |t: Value| {
        *place.lock().unwrap() = t;
        Ok(())
    })
    .unwrap();
    for (name, source) in [
        ("set before it is stored", "_home.t = setmetatable(ext.table(), meta)"),
        ("set after", "_home.t = ext.table() setmetatable(_home.t, meta)"),
        ("in a table that is stored", "_home.t = {u = setmetatable(ext.table(), meta)} _home.t = _home.t.u"),
        ("an upvalue", "local t = setmetatable(ext.table(), meta) _home.f = function() return t end"),
        ("a plain one", "_home.t = setmetatable({}, meta)"),
    ] {
        lua.compute(format!("_home.t, _home.f = nil, nil {source} collectgarbage() collectgarbage()")).unwrap();
        lua.gc().unwrap();
        let values = lua.compute("collectgarbage() return (_home.f and _home.f() or _home.t).x").unwrap().values;
        assert_eq!(values, ["x!".into()], "{name}");
    }
    lua.compute("keep(setmetatable(ext.table(), meta)) collectgarbage() collectgarbage()").unwrap();
    lua.home().set("t", table.lock().unwrap().clone()).unwrap();
    assert_eq!(lua.compute("return _home.t.x").unwrap().values, ["x!".into()]);
}

/// An object that is put in the place of the last one, in each run: neither Lua nor the store may keep those that were
/// there before.
#[test]
fn stored_tables_with_metatables_go_when_nobody_can_reach_them() {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(1 << 20).store_limit(1 << 20)).unwrap();
    lua.compute("class = {__index = function(_, k) return k .. '!' end}").unwrap();
    let grown = |source: &str| {
        let mut bytes = 0;
        for round in 0..60 {
            lua.compute(source).unwrap();
            if round % 10 == 9 {
                lua.gc().unwrap();
            }
            if round == 19 {
                bytes = lua_bytes(&lua);
            }
        }
        assert!(lua.table_count().unwrap().unwrap() < 10, "{source}");
        assert_eq!(lua.compute("return _home.t.y, _home.t.x").unwrap().values, ["y!".into(), 500.into()], "{source}");
        lua_bytes(&lua).saturating_sub(bytes)
    };
    for source in [
        "for i = 1, 500 do _home.t = setmetatable({x = i}, class) end",
        "for i = 1, 500 do _home.t = {x = i} setmetatable(_home.t, class) end",
        "for i = 1, 500 do local t = ext.table() t.x = i _home.t = setmetatable(t, class) end",
        "for i = 1, 500 do _home.t = setmetatable({x = i}, {__index = class.__index}) end",
        "for i = 1, 500 do _home.t = setmetatable({x = i}, {__index = class.__index, __gc = error}) end",
    ] {
        let bytes = grown(source);
        assert!(bytes < 64 << 10, "{source}: {bytes} bytes");
    }
    // A table without entries is there as long as something leads to it, and one that the host looks at too.
    lua.compute("_home.t = setmetatable({}, class) seen = setmetatable(ext.table(), class) local s = _home.t").unwrap();
    let view = lua.compute("_home.v = setmetatable({}, class) return _home.v").unwrap().into_value();
    let emptied = lua.compute("_home.w = setmetatable({x = 1}, class) return _home.w").unwrap().into_value();
    lua.compute("_home.v, _home.w.x = nil, nil _home.w = nil").unwrap();
    for _ in 0..4 {
        lua.compute("for i = 1, 2000 do _home.last = {i} end collectgarbage()").unwrap();
        lua.gc().unwrap();
    }
    lua.home().set("v", view).unwrap();
    lua.home().set("w", emptied).unwrap();
    assert_eq!(
        lua.compute("return _home.t.a, seen.b, _home.v.c, _home.w.x").unwrap().values,
        ["a!".into(), "b!".into(), "c!".into(), "x!".into()]
    );
    // What was taken back leaves its metatable to nobody.
    for table in ["setmetatable({}, class)", "setmetatable(ext.table(), class)"] {
        lua.compute(format!("_home.w = {table} collectgarbage() assert(_home.w.a == 'a!') error('x')")).unwrap_err();
        lua.compute("for i = 1, 5 do _home['n' .. i] = {} assert(not getmetatable(_home['n' .. i])) end").unwrap();
    }
}

/// Buffers of the string library too are given what only garbage takes.
#[test]
fn garbage_is_no_lack_of_memory() {
    let lua = small();
    let fill =
        "local t = {} pcall(function() while true do t[#t + 1] = ('0123456789'):rep(1000) .. #t end end) return #t";
    let first = lua.compute(fill).unwrap().values;
    for _ in 0..3 {
        assert_eq!(lua.compute(fill).unwrap().values, first);
    }
    let source = format!(
        "local function fill() {fill} end local n = fill() for i = 1, 3 do if fill() ~= n then return i end end return 'the same'"
    );
    assert_eq!(lua.compute(source).unwrap().values, ["the same".into()]);
}

/// A script that stops the collector does not fail those that come after it: the guest's own buffers are given what
/// garbage takes.
#[test]
fn garbage_of_earlier_runs_is_no_lack_of_memory() {
    let lua = small();
    lua.register("nothing", |_: Value| Ok(())).unwrap();
    lua.compute("collectgarbage('stop')").unwrap();
    for i in 1..300 {
        let n = i * 7919 % 400_000;
        for source in [
            format!("local t = {{}} for i = 1, {} do t[i] = {{}} end", n / 100),
            format!("return ('x'):rep({n})"),
            format!("_home.x = ('x'):rep({n})"),
            format!("_home[('\\xff'):rep({})] = nil", n / 8),
            format!("print(('x'):rep({n}))"),
            format!("nothing(('x'):rep({n}))"),
            "return _home.x".to_owned(),
        ] {
            lua.compute(&source).expect(&source);
        }
    }
}

/// What a run needed for a moment, and left in the middle of, is not missing in the next one.
#[test]
fn a_run_has_the_memory_that_the_one_before_had() {
    let most = "
        local most = 0
        for i = 1, 64 do
          local ok, s = pcall(string.rep, 'x', i * 65536)
          if ok then most = i end
          s = nil
          collectgarbage()
        end
        return most";
    let take = "local function take(n) return (string.rep('\\xff', n)) end ";
    for source in [
        "local s = take(300000) return _home[s] == nil",
        "local s = take(300000) pcall(function() _home[s] = 1 end)",
        "local s = take(300000) pcall(next, _home, s)",
        "local s = take(600000) pcall(function() _home.x = {s, coroutine.create(print)} end)",
        "_home.x = take(600000) error('x')",
        "local s = take(600000) pcall(nothing, s, coroutine.create(print))",
        "return take(600000), coroutine.create(print)",
        "local t = {} for i = 1, 20000 do t[i] = {} end t[20001] = coroutine.create(print) return t",
        "local t = {} for i = 1, 20000 do t[i] = {} end t[20001] = coroutine.create(print) _home.t = t",
        "local name = ('a'):rep(200000)
         local f = load('local ' .. name .. ' = coroutine.create(print) return function() return ' .. name .. ' end')()
         pcall(function() _home.f = f end)",
    ] {
        let lua = small();
        lua.register("nothing", |_: Vec<Value>| Ok(())).unwrap();
        let before = lua.compute(most).unwrap().get::<i64>().unwrap();
        let _ = lua.compute(format!("{take}{source}"));
        let after = lua.compute(most).unwrap().get::<i64>().unwrap();
        assert!(after + 2 >= before, "{before} and then {after} after {source}");
    }
}

/// What waits for finalizers outlives the collections that a lack of memory causes.
#[test]
fn finalizers_can_not_fill_memory_for_good() {
    let lua = small();
    let fill = "for i = 1, math.huge do all[i] = setmetatable({}, {__gc = function() end}) end";
    for source in [format!("local all = {{}} {fill}"), format!("pcall(function() local all = {{}} {fill} end)")] {
        for _ in 0..3 {
            let _ = lua.compute(&source);
            assert_eq!(
                lua.compute("local t = {} for i = 1, 5000 do t[i] = {} end return #t").unwrap().values,
                [5000.into()]
            );
        }
    }
}

#[test]
fn modules_that_fail_leave_no_notes() {
    let config = SandboxConfig::new().memory_limit(2 << 20).timeout(None);
    let config = config.modules(|name: &str| match name.strip_prefix("bad") {
        Some(_) => Ok(Some(luacell::Module::new(name, "error('bad')"))),
        None => Err(Error::host("no such module")),
    });
    let lua = Sandbox::with_config(config).unwrap();
    lua.compute("for i = 1, 30000 do pcall(require, 'missing module ' .. i) end").unwrap();
    lua.compute("for i = 1, 10000 do pcall(require, 'bad' .. i) end").unwrap();
    let error = lua.compute("package.preload.a = function() require 'a' end require 'a'").unwrap_err();
    assert!(error.message().contains("loop"), "{error}");
}

#[test]
fn a_snapshot_keeps_to_the_limits_of_who_restores_it() {
    let large = Sandbox::with_config(SandboxConfig::new().memory_limit(64 << 20)).unwrap();
    large.compute("big = ('x'):rep(12000000)").unwrap();
    let of_memory = large.snapshot().unwrap();
    let stored = Sandbox::new().unwrap();
    stored.compute("for i = 1, 2000 do _home[i] = ('x'):rep(1000) end").unwrap();
    let of_tables = stored.snapshot().unwrap();
    let lua = small();
    lua.compute("_home.mine = 1 mine = 2").unwrap();
    assert_eq!(lua.restore(&of_memory).unwrap_err().kind(), ErrorKind::Memory);
    assert_eq!(lua.restore(&of_tables).unwrap_err().kind(), ErrorKind::StoreLimit);
    assert_eq!(lua.compute("return _home.mine, mine, big").unwrap().values, [1.into(), 2.into(), Value::Nil]);
    let engine = Engine::default();
    let config = || SandboxConfig::new().memory_limit(2 << 20);
    assert_eq!(engine.sandbox_from(&of_memory, config()).unwrap_err().kind(), ErrorKind::Memory);
    // What was large once and is not any more is refused only where it still takes the room.
    large.compute("big = nil collectgarbage()").unwrap();
    let of_room = large.snapshot().unwrap();
    assert_eq!(lua.restore(&of_room).unwrap_err().kind(), ErrorKind::Memory);
    let other = Sandbox::with_config(SandboxConfig::new().memory_limit(16 << 20)).unwrap();
    other.restore(&of_room).unwrap();
    // A fork is what the sandbox is, whatever a run was allowed.
    let wide = || ComputeOptions::new().memory_limit(64 << 20);
    lua.compute_with("x = ('x'):rep(12000000)", wide()).unwrap();
    assert_eq!(lua.fork().unwrap().compute_with("return #x", wide()).unwrap().values, [12_000_000.into()]);

    // Bytes pack well; what they unpack to is known before.
    let bytes = of_memory.to_bytes().unwrap();
    assert!(bytes.len() < 1 << 20);
    let narrow = Engine::new(EngineConfig::new().max_memory(8 << 20).pool_size(0)).unwrap();
    let error = Snapshot::from_bytes(&narrow, &bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("max_memory"), "{error}");
    Snapshot::from_bytes(&engine, &bytes).unwrap();
    let tables = Sandbox::new().unwrap();
    tables.compute("for i = 1, 20 do _home[i] = ('x'):rep(1000000) end").unwrap();
    let bytes = tables.snapshot().unwrap().to_bytes().unwrap();
    let error = Snapshot::from_bytes(&narrow, &bytes).unwrap_err();
    assert!(error.message().contains("its tables"), "{error}");
}

/// Buffers that stay for the next run are small beside what a run may have.
#[test]
fn buffers_of_an_earlier_run_are_no_lack_of_memory() {
    const LIMIT: u64 = 64 << 10;
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(LIMIT)).unwrap();
    let much = "local s = ('x'):rep(12000)";
    lua.compute(much).unwrap();
    let home = "for i = 1, 10 do _home[i] = ('y'):rep(2000 * i) end";
    for source in ["while true do print('abcdefg') end", "for i = 1, 3000 do print('abcdefg') end", home] {
        let _ = lua.compute(source);
        lua.compute(much).unwrap_or_else(|error| panic!("after {source}: {error}"));
    }
}
