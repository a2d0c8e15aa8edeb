//! Functions of the host as values.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use luacell::{ComputeOptions, ErrorKind, Function, Sandbox, Table, Value};

/// Functions that count how many of them there are.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Counted {
    fn function(&self, result: i64) -> Function {
        self.0.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.0));
        Function::new(move |()| {
            let _ = &alive;
            Ok(result)
        })
    }

    fn alive(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A sandbox in which `make(n)` gives a new one.
    fn sandbox(&self) -> Sandbox {
        let lua = Sandbox::new().unwrap();
        let counted = self.clone();
        lua.register("make", move |n: i64| Ok(Value::Function(counted.function(n)))).unwrap();
        lua
    }
}

fn eval(lua: &Sandbox, source: &str) -> Value {
    lua.compute(source).unwrap().values[0].clone()
}

#[test]
fn they_are_values_wherever_values_are() {
    let lua = Sandbox::new().unwrap();
    lua.compute("function apply(f, ...) return f(...) end  function same(...) return ... end").unwrap();
    let add = Function::new(|(a, b): (i64, i64)| Ok(a + b));
    let sum = lua.call("apply", (add.clone(), 2, 3)).unwrap();
    assert_eq!(sum.values, [5.into()]);
    let mut table = Table::new();
    table.set("add", Value::Function(add.clone())).unwrap();
    table.push(Value::Function(add.clone()));
    lua.register("table", move |()| Ok(Value::Table(table.clone()))).unwrap();
    let source = "local t = table() return t.add(1, 2), t[1] == t.add, type(t.add), {f = t.add}, pcall(t.add, {})";
    let values = lua.compute(source).unwrap().values;
    assert_eq!(values[..3], [3.into(), true.into(), "function".into()]);
    assert_eq!(values[4], false.into());
    assert!(format!("{:?}", values[5]).contains("bad argument #1"), "{:?}", values[5]);
    let Value::Table(back) = &values[3] else { panic!("{values:?}") };
    assert_eq!(back.get("f"), Value::Function(add.clone()));

    // The same one, with the same key, in both directions.
    assert_eq!(lua.call("same", add.clone()).unwrap().values, [Value::Function(add.clone())]);
    lua.register("is_known", move |f: Function| Ok(f == add)).unwrap();
    assert_eq!(eval(&lua, "return is_known(table().add)"), true.into());
    assert_eq!(eval(&lua, "return is_known(print)"), false.into());
    let Value::Function(back) = eval(&lua, "return table().add") else { panic!() };
    assert_eq!(back.call((20, 22)).unwrap().values, [42.into()]);
}

#[test]
fn functions_of_lua_are_equal_to_themselves() {
    let lua = Sandbox::new().unwrap();
    let values = lua.compute("function f() end return f, f, function() end").unwrap().values;
    assert_eq!(values[0], values[1]);
    assert_ne!(values[0], values[2]);
    assert_eq!(eval(&lua, "return f"), values[0]);
}

#[test]
fn what_lua_lets_go_of_is_dropped_within_the_run() {
    let counted = Counted::default();
    let lua = counted.sandbox();
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, inner) = (Arc::clone(&most), counted.clone());
    lua.register("look", move |()| {
        seen.fetch_max(inner.alive(), Ordering::SeqCst);
        Ok(())
    })
    .unwrap();
    lua.compute("kept = make(7) for i = 1, 100000 do assert(make(i)() == i) look() end").unwrap();
    assert!(most.load(Ordering::SeqCst) < 5000, "{most:?}");
    assert_eq!(eval(&lua, "return kept()"), 7.into());
    lua.gc().unwrap();
    assert_eq!(counted.alive(), 1);
    lua.compute("kept = nil").unwrap();
    lua.gc().unwrap();
    assert_eq!(counted.alive(), 0);
}

#[test]
fn one_that_is_passed_again_while_lua_lets_go_of_it_stays() {
    let counted = Counted::default();
    let one = counted.function(9);
    let lua = Sandbox::new().unwrap();
    let given = one.clone();
    lua.register("one", move |()| Ok(Value::Function(given.clone()))).unwrap();
    lua.compute("for i = 1, 50000 do local f = one() if i % 3 == 0 then f = {f, {}, tostring(i)} end end").unwrap();
    lua.compute("kept = one() collectgarbage() collectgarbage() assert(kept() == 9 and kept == one())").unwrap();
    lua.compute("kept = nil  local weak = setmetatable({one()}, {__mode = 'v'}) collectgarbage() assert(not weak[1])")
        .unwrap();
    assert_eq!(eval(&lua, "return one()()"), 9.into());
    drop(lua);
    assert_eq!(Arc::strong_count(&counted.0), 2, "the function's and the test's");
}

#[test]
fn a_script_keeps_only_so_many() {
    let counted = Counted::default();
    let lua = counted.sandbox();
    let source = "kept = {} for i = 1, 1000000 do kept[i] = make(i) end";
    let error = lua.compute(source).unwrap_err();
    assert!(error.to_string().contains("functions and objects of the host already"), "{error}");
    assert_eq!(eval(&lua, "return #kept"), 100_000.into());
    lua.compute("kept = nil").unwrap();
    lua.gc().unwrap();
    assert_eq!(counted.alive(), 0);
    assert_eq!(eval(&lua, "return make(3)()"), 3.into());
}

#[test]
fn they_go_with_what_held_them() {
    let counted = Counted::default();
    let lua = counted.sandbox();
    lua.compute("kept = {make(1), make(2)}").unwrap();
    let Value::Function(back) = eval(&lua, "return kept[1]") else { panic!() };
    lua.reset().unwrap();
    assert_eq!(counted.alive(), 1, "the host holds one itself");
    // What came back can be passed in again.
    lua.register("again", move |()| Ok(Value::Function(back.clone()))).unwrap();
    assert_eq!(eval(&lua, "return again()()"), 1.into());
    lua.compute("kept = make(4)").unwrap();
    drop(lua);
    assert_eq!(counted.alive(), 0);
    let lua = counted.sandbox();
    lua.compute("kept = make(4)").unwrap();
    lua.close();
    assert_eq!(counted.alive(), 0);
}

#[test]
fn copies_of_a_sandbox_have_them_too() {
    let counted = Counted::default();
    let lua = counted.sandbox();
    lua.compute("kept = make(5)").unwrap();
    let snapshot = lua.snapshot().unwrap();
    let fork = lua.fork().unwrap();
    lua.compute("kept = nil").unwrap();
    lua.gc().unwrap();
    assert_eq!(eval(&fork, "return kept()"), 5.into());
    let other = Sandbox::new().unwrap();
    other.restore(&snapshot).unwrap();
    assert_eq!(eval(&other, "return kept()"), 5.into());
    assert_eq!(counted.alive(), 1);
    // Bytes can't hold it.
    let error = snapshot.to_bytes().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion, "{error}");
    drop((fork, other, snapshot));
    assert_eq!(counted.alive(), 0);
    // Garbage does not keep a snapshot from becoming bytes.
    lua.compute("make(6)()").unwrap();
    lua.snapshot().unwrap().to_bytes().unwrap();
}

#[test]
fn they_can_not_be_stored() {
    let lua = Counted::default().sandbox();
    for source in
        ["_home.f = make(1)", "_home.t = {a = {make(1)}}", "local f = make(1) _home.g = function() return f() end"]
    {
        let error = lua.compute(source).unwrap_err();
        assert!(error.to_string().contains("can't store"), "{error}");
    }
    let error = lua.home().set("f", Value::Function(Function::new(|()| Ok(1)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion, "{error}");
    assert_eq!(eval(&lua, "return next(_home) == nil"), true.into());
}

#[test]
fn they_obey_the_rules_of_registered_ones() {
    let lua = Sandbox::new().unwrap();
    lua.compute("function apply(f, ...) return f(...) end").unwrap();
    let fails = Function::new(|()| -> luacell::Result<()> { Err(luacell::Error::host("no such thing")) });
    let error = lua.call("apply", fails).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.to_string().contains("no such thing"), "{error}");
    let panics = Function::new(|()| -> luacell::Result<()> { panic!("on purpose") });
    assert_eq!(lua.call("apply", panics).unwrap_err().kind(), ErrorKind::HostFunction);
    lua.register("make", |()| Ok(Value::Function(Function::new(|()| Ok(1))))).unwrap();
    let options = ComputeOptions::new().host_call_limit(3);
    let error = lua.compute_with("local f = make() while true do pcall(f) end", options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostCallLimit);
    // Nested runs.
    let lua = Arc::new(lua);
    let inner = Arc::downgrade(&lua);
    let nested = Function::new(move |source: String| Ok(inner.upgrade().unwrap().compute(source)?.values));
    let value = lua.call("apply", (nested, "return apply(function() return 8 end)")).unwrap();
    assert_eq!(value.values, [8.into()]);
}

#[test]
fn threads_and_engines_do_not_matter() {
    let counted = Counted::default();
    let one = counted.function(6);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let one = one.clone();
            std::thread::spawn(move || {
                let lua = Sandbox::new().unwrap();
                lua.compute("function apply(f) kept = f return f() end").unwrap();
                for _ in 0..100 {
                    assert_eq!(lua.call("apply", one.clone()).unwrap().values, [6.into()]);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(one);
    assert_eq!(counted.alive(), 0);
}

#[test]
fn what_lua_never_read_is_not_kept_for_ever() {
    let counted = Counted::default();
    let lua = Sandbox::new().unwrap();
    let mut most = 0;
    for i in 0..6000 {
        let options = ComputeOptions::new().args(counted.function(i));
        let error = lua.compute_with("not Lua", options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Syntax);
        most = most.max(counted.alive());
    }
    assert!(most < 3000, "{most}");
    // Nor in a copy.
    lua.snapshot().unwrap().to_bytes().unwrap();
    assert_eq!(counted.alive(), 0);
    // Nor when Lua holds so many that there would soon be no place left.
    let lua = counted.sandbox();
    lua.compute("kept = {} for i = 1, 60000 do kept[i] = make(i) end").unwrap();
    for i in 0..50_000 {
        lua.compute_with("not Lua", ComputeOptions::new().args(counted.function(i))).unwrap_err();
    }
    assert_eq!(eval(&lua, "return make(3)()"), 3.into());
}
