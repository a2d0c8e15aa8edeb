//! A sandbox that is used again and again, or for long, does not grow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use luacell::{ComputeOptions, Function, Sandbox, Table, Value};

/// Where Lua's collector starts anew lies at twice what is in use, which is little in these tests.
const ROOM: u64 = 400 << 10;

fn lua_bytes(lua: &Sandbox) -> u64 {
    lua.memory_stats().unwrap().lua_bytes
}

/// Garbage of one use is so small that it takes thousands to see that it stays.
fn stays_small(lua: &Sandbox, what: &str, mut once: impl FnMut(i64)) {
    for i in 0..100 {
        once(i);
    }
    let before = lua_bytes(lua);
    for i in 100..20_000 {
        once(i);
    }
    let growth = lua_bytes(lua).saturating_sub(before);
    assert!(growth < ROOM, "{what}: {growth} bytes more than before");
}

#[test]
fn runs_leave_nothing_behind() {
    let lua = Sandbox::new().unwrap();
    stays_small(&lua, "the same source", |_| {
        lua.compute("return 1+1").unwrap();
    });
    stays_small(&lua, "the same source with a function in it", |_| {
        lua.compute("local f = function(x) return x + 1 end return f(1)").unwrap();
    });
    stays_small(&lua, "the same source, which assigns to _ENV", |_| {
        lua.compute("_ENV = {} x = 1 return x").unwrap();
    });
    stays_small(&lua, "different sources", |i| {
        lua.compute(format!("return {i}")).unwrap();
    });
    stays_small(&lua, "sources with errors", |i| {
        lua.compute(format!("error({{{i}}})")).unwrap_err();
    });
    stays_small(&lua, "syntax errors", |_| {
        lua.compute("return return").unwrap_err();
    });
    let list: Table = (0..20).map(|i| Value::from(format!("text {i}"))).collect();
    stays_small(&lua, "arguments", |_| {
        lua.compute_with("return #(...)", ComputeOptions::new().args((list.clone(),))).unwrap();
    });
    lua.compute("function count(list) return #list end").unwrap();
    stays_small(&lua, "calls of a global function", |_| {
        lua.call("count", (list.clone(),)).unwrap();
    });
    let count: Function = lua.compute("return count").unwrap().get().unwrap();
    stays_small(&lua, "calls of a function that the host holds", |_| {
        count.call((list.clone(),)).unwrap();
    });
    stays_small(&lua, "functions that the host gives up", |_| {
        let f: Function = lua.compute("return function() end").unwrap().get().unwrap();
        f.call(()).unwrap();
    });
    stays_small(&lua, "stored tables", |i| {
        lua.compute("_home.t = {1, 2, {3}} _home.n = #_home.t _home.t = nil").unwrap();
        lua.home().set("text", format!("text {i}")).unwrap();
        lua.compute("return _home.text").unwrap();
    });
    stays_small(&lua, "input and output", |i| {
        lua.set_input(Value::from(vec![Value::from(i); 10])).unwrap();
        lua.compute("_io.output = _io.input[1]").unwrap();
    });
    lua.register("again", |(text,): (String,)| Ok(text)).unwrap();
    stays_small(&lua, "host functions", |_| {
        lua.compute("return again(1)").unwrap_err();
        lua.compute("return again('a')").unwrap();
    });
}

/// In one run too, where nothing but the host makes the garbage.
#[test]
fn what_the_host_sends_is_collected_during_a_run() {
    let lua = Sandbox::new().unwrap();
    lua.register("list", |()| Ok(Value::from(vec![Value::from(1); 50]))).unwrap();
    lua.home().set("text", "x".repeat(1000)).unwrap();
    lua.home().set("list", Value::from(vec![Value::from("y".repeat(100)); 10])).unwrap();
    for source in [
        "for i = 1, 20000 do list() end",
        "for i = 1, 20000 do local s = _home.text end",
        "for i = 1, 5000 do for k, v in pairs(_home.list) do end end",
    ] {
        let outcome = lua.compute(source).unwrap();
        let peak = outcome.metrics.peak_memory;
        assert!(peak < 2 * ROOM, "{source}: {peak} bytes at most");
    }
}

/// Runs of the same source share their function, unless a script could tell.
#[test]
fn a_function_that_is_shown_is_not_used_again() {
    let lua = Sandbox::new().unwrap();
    let source = "return debug.getinfo(1, 'f').func";
    let mut seen = Vec::new();
    for _ in 0..4 {
        lua.compute(source).unwrap();
    }
    for _ in 0..3 {
        let f: Function = lua.compute(source).unwrap().get().unwrap();
        seen.push(f);
    }
    let same = "local a, b, c = ... return a == b or b == c or a == c";
    let outcome = lua.compute_with(same, ComputeOptions::new().args(seen)).unwrap();
    assert_eq!(outcome.values, [false.into()]);

    let lua = Sandbox::new().unwrap();
    lua.compute("function spoil() debug.setupvalue(debug.getinfo(2, 'f').func, 1, {}) end").unwrap();
    for _ in 0..4 {
        assert_eq!(lua.compute("local before = type(x) spoil() return before").unwrap().values, ["nil".into()]);
    }
}
