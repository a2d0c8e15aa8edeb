//! Host functions through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use luacell::{ComputeOptions, Error, ErrorKind, Function, Sandbox, SandboxConfig, StoredTable, Table, Value};

fn sandbox() -> Sandbox {
    Sandbox::new().unwrap()
}

#[test]
fn arguments_and_results_of_every_type() {
    let lua = sandbox();
    lua.register("echo", |args: Vec<Value>| Ok(args)).unwrap();
    let out = lua.compute("return echo(nil, true, 3, 3.0, 'x\\0\\xff', {1, 2, k = {}}, print, _home, nil)").unwrap();
    assert_eq!(out.values.len(), 9);
    assert_eq!(out.values[2], Value::Integer(3));
    assert_eq!(out.values[3], Value::Float(3.0));
    assert!(matches!(out.values[3], Value::Float(_)));
    assert_eq!(out.values[4], Value::from(b"x\0\xff"));
    assert_eq!(
        lua.compute("local t = {} t.t = t local u = echo(t) return u ~= t and u.t == u").unwrap().values,
        [true.into()]
    );
    assert_eq!(
        lua.compute("return echo(_home) == _home, echo(print) == print, echo(echo) == echo").unwrap().values,
        [true.into(), true.into(), true.into()]
    );
    assert_eq!(lua.compute("local f = function() end return echo(f) == f").unwrap().values, [true.into()]);
    assert_eq!(lua.compute("return select('#', echo())").unwrap().values, [0.into()]);
    assert_eq!(lua.compute("return #echo(('x'):rep(1000000))").unwrap().values, [1_000_000.into()]);
    let many = lua.compute("return select('#', echo(table.unpack({}, 1, 5000)))").unwrap();
    assert_eq!(many.values, [5000.into()]);
    assert_eq!(many.metrics.host_calls, 1);
}

#[test]
fn typed_arguments() {
    let lua = sandbox();
    lua.register("add", |(a, b): (i64, i64)| Ok(a + b)).unwrap();
    lua.register("greet", |name: Option<String>| Ok(format!("hello {}", name.unwrap_or("you".into())))).ok();
    lua.register("util.text.upper", |s: String| Ok((s.to_uppercase(), s.len() as i64))).unwrap();
    lua.register("util.nothing", |()| Ok(())).unwrap();
    let out = lua.compute("return add(1, 2), util.text.upper('abc')").unwrap();
    assert_eq!(out.values, [3.into(), "ABC".into(), 3.into()]);
    assert_eq!(lua.compute("return util.nothing(1, 2, 3)").unwrap().values, []);
    let error = lua.compute_with("\nadd(1, 'x')", ComputeOptions::new().name("=demo")).unwrap_err();
    assert_eq!(error.message(), "demo:2: bad argument #2 (expected an integer, got string)");
    assert_eq!(error.line(), Some(2));
}

#[derive(Debug)]
struct Down(u32);
impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the price list is down ({})", self.0)
    }
}
impl std::error::Error for Down {}

#[test]
fn errors_are_seen_by_pcall_and_come_out_as_themselves() {
    let lua = sandbox();
    let count = AtomicUsize::new(0);
    lua.register("fail", move |()| -> Result<(), Error> {
        Err(Error::host(Down(count.fetch_add(1, Ordering::Relaxed) as u32)))
    })
    .unwrap();
    lua.register("raise", |v: Value| -> Result<(), Error> { Err(Error::raise(v)) }).unwrap();
    lua.register("panics", |()| -> Result<(), Error> { panic!("oops {}", 7) }).unwrap();
    let out = lua.compute_with("return pcall(fail)", ComputeOptions::new().name("=x")).unwrap();
    assert_eq!(out.values, [false.into(), "the price list is down (0)".into()]);
    let error = lua.compute_with("print(1)\nlocal x = fail()", ComputeOptions::new().name("=x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert_eq!(error.message(), "x:2: the price list is down (1)");
    assert_eq!(error.source().unwrap().downcast_ref::<Down>().unwrap().0, 1);
    assert_eq!(error.output(), &"1\n");
    assert_eq!(error.metrics().host_calls, 1);
    assert!(error.traceback().unwrap().contains("in function 'fail'"), "{:?}", error.traceback());
    // Caught and raised again, even after another one.
    let error = lua.compute("local _, a = pcall(fail) local _, b = pcall(fail) error(a, 0)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert_eq!(error.source().unwrap().downcast_ref::<Down>().unwrap().0, 2);
    // Another message is another error.
    let error = lua.compute("local _, a = pcall(fail) error('mine: ' .. a, 0)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    assert!(error.source().is_none());
    // Any value.
    let out = lua.compute("local t = {} local ok, e = pcall(raise, {code = 7}) return ok, e.code").unwrap();
    assert_eq!(out.values, [false.into(), 7.into()]);
    let error = lua.compute("raise({code = 8})").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert_eq!(error.value().as_table().unwrap().get("code").as_integer(), Some(8));
    assert_eq!(lua.compute("return pcall(raise, nil)").unwrap().values, [false.into(), Value::Nil]);
    let error = lua.compute("panics()").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.message().contains("oops 7"), "{error}");
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn what_can_not_be_passed() {
    let lua = sandbox();
    lua.register("f", |v: Value| Ok(v)).unwrap();
    let error = lua.compute("f({a = {coroutine.create(print)}})").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion);
    assert!(error.message().contains("can't pass a coroutine (argument 1.a[1])"), "{error}");
    let other = sandbox();
    let foreign = other.compute("return function() end").unwrap().into_value();
    lua.register("g", move |()| Ok(foreign.clone())).unwrap();
    let error = lua.compute("g()").unwrap_err();
    assert!(error.message().contains("another sandbox"), "{error}");
    assert_eq!(lua.compute("return f(5)").unwrap().values, [5.into()]);
}

#[test]
fn names() {
    let lua = sandbox();
    for bad in ["", "a b", "1a", "a..b", ".a", "a.", "a-b", "ä"] {
        assert_eq!(lua.register(bad, |()| Ok(())).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
    }
    lua.compute("taken = 5").unwrap();
    let error = lua.register("taken.f", |()| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("'taken'"), "{error}");
    let error = lua.register("_home.f", |()| Ok(())).unwrap_err();
    assert!(error.message().contains("stored table"), "{error}");
    lua.register("n.f", |()| Ok(1)).unwrap();
    lua.register("n.f", |()| Ok(2)).unwrap();
    lua.register("string.shout", |s: String| Ok(s.to_uppercase())).unwrap();
    assert_eq!(lua.compute("return n.f(), ('x'):shout()").unwrap().values, [2.into(), "X".into()]);
    lua.compute("kept = n.f").unwrap();
    assert!(lua.unregister("n.f").unwrap());
    assert!(!lua.unregister("n.f").unwrap());
    assert_eq!(lua.compute("return n.f").unwrap().values, [Value::Nil]);
    let error = lua.compute("kept()").unwrap_err();
    assert!(error.message().contains("'n.f' is not registered"), "{error}");
    // What a script put there stays.
    lua.register("m", |()| Ok(())).unwrap();
    lua.compute("m = 'mine'").unwrap();
    assert!(lua.unregister("m").unwrap());
    assert_eq!(lua.compute("return m").unwrap().values, ["mine".into()]);
    // And they stay over a new start.
    lua.register("stays", |()| Ok(9)).unwrap();
    lua.reset().unwrap();
    assert_eq!(lua.compute("return stays()").unwrap().values, [9.into()]);
}

#[test]
fn stored_by_name() {
    let lua = sandbox();
    lua.register("price", |n: i64| Ok(n * 3)).unwrap();
    lua.compute("_home.f = price _home.g = function(n) return price(n) + 1 end").unwrap();
    lua.reset().unwrap();
    assert_eq!(
        lua.compute("return _home.f(2), _home.g(2), _home.f == price").unwrap().values,
        [6.into(), 7.into(), true.into()]
    );
    lua.unregister("price").unwrap();
    lua.reset().unwrap();
    let error = lua.compute("return _home.f").unwrap_err();
    assert!(error.message().contains("price"), "{error}");
}

#[test]
fn callbacks_while_the_call_runs_and_later() {
    let lua = Arc::new(sandbox());
    let kept: Arc<Mutex<Vec<Function>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    lua.register("map", move |(list, f): (Vec<i64>, Function)| {
        let mut out = Vec::new();
        for n in list {
            out.push(f.call(n)?.get::<i64>()?);
        }
        keeps.lock().unwrap().push(f);
        Ok(Value::from(out))
    })
    .unwrap();
    let out = lua
        .compute("local sum = 0 local t = map({1, 2, 3}, function(n) sum = sum + n print(n) return n * n end) print'end' return sum, t[3]")
        .unwrap();
    assert_eq!(out.values, [6.into(), 9.into()]);
    assert_eq!(out.output, "1\n2\n3\nend\n");
    let f = kept.lock().unwrap().pop().unwrap();
    assert_eq!(f.call(5).unwrap().get::<i64>().unwrap(), 25);
    lua.reset().unwrap();
    assert_eq!(f.call(5).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn errors_in_callbacks_pass_through() {
    let lua = sandbox();
    lua.register("call", |f: Function| f.call(()).map(|out| out.values)).unwrap();
    lua.register("fail", |()| -> Result<(), Error> { Err(Error::host(Down(9))) }).unwrap();
    let out = lua.compute("local t = {} return pcall(call, function() error(t) end)").unwrap();
    assert_eq!(out.values[0], false.into());
    let error =
        lua.compute_with("call(function()\n error({code = 5}) end)", ComputeOptions::new().name("=x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    assert_eq!(error.value().as_table().unwrap().get("code").as_integer(), Some(5));
    let error =
        lua.compute_with("\ncall(function() local x = nil; x() end)", ComputeOptions::new().name("=x")).unwrap_err();
    assert_eq!(error.message(), "x:2: attempt to call a nil value (local 'x')");
    assert_eq!(error.kind(), ErrorKind::Runtime);
    let error = lua.compute("call(fail)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    assert!(error.source().unwrap().downcast_ref::<Down>().is_some());
    let error = lua.compute("call(function() coroutine.yield() end)").unwrap_err();
    assert!(error.message().contains("outside a coroutine") || error.message().contains("across"), "{error}");
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}

#[test]
fn what_a_host_function_writes_is_seen_at_once() {
    let lua = Arc::new(sandbox());
    let weak = Arc::downgrade(&lua);
    lua.register("write", move |value: i64| weak.upgrade().unwrap().home().set("x", value)).unwrap();
    let weak = Arc::downgrade(&lua);
    lua.register("between", move |value: i64| {
        let lua = weak.upgrade().unwrap();
        let read = || lua.compute("return _home.x").map(|out| out.value().clone());
        let before = read()?;
        lua.home().set("x", value)?;
        Ok::<_, luacell::Error>(vec![before, read()?])
    })
    .unwrap();
    let out = lua.compute("_home.x = 1 local a = _home.x write(2) local b = _home.x return a, b, _home.x").unwrap();
    assert_eq!(out.values, [1.into(), 2.into(), 2.into()]);
    let out = lua.compute("local a = _home.x local b, c = between(3) return a, b, c, _home.x").unwrap();
    assert_eq!(out.values, [2.into(), 2.into(), 3.into(), 3.into()]);
}

#[test]
fn a_host_function_may_use_its_sandbox() {
    let lua = Arc::new(sandbox());
    let weak = Arc::downgrade(&lua);
    lua.register("eval", move |source: String| {
        let lua = weak.upgrade().unwrap();
        lua.home().set("from host", 1)?;
        assert_eq!(lua.memory_stats().unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(lua.reset().unwrap_err().kind(), ErrorKind::Busy);
        lua.compute(source).map(|out| out.values)
    })
    .unwrap();
    let out = lua
        .compute("x = 1 local a = eval('x = x + 1 print(x) return x, _home[\"from host\"]') print('out') return a, x")
        .unwrap();
    assert_eq!(out.values, [2.into(), 2.into()]);
    assert_eq!(out.output, "2\nout\n");
    assert_eq!(lua.home().get("from host").unwrap(), 1.into());
    // Everything belongs to the outer run.
    lua.home().clear().unwrap();
    lua.compute("eval('_home.inner = 1') error('x')").unwrap_err();
    assert!(lua.home().is_empty().unwrap());
    let error = lua.compute("return eval('return +')").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Syntax);
    // From within a coroutine.
    let out =
        lua.compute("return coroutine.wrap(function() local a = eval('return 5') coroutine.yield(a) end)()").unwrap();
    assert_eq!(out.values, [5.into()]);
    // Others have to wait.
    let weak = Arc::downgrade(&lua);
    lua.register("elsewhere", move |()| {
        let lua = weak.upgrade().unwrap();
        let busy = std::thread::spawn(move || lua.compute("return 1").unwrap_err().kind()).join().unwrap();
        Ok(busy.name())
    })
    .unwrap();
    assert_eq!(lua.compute("return elsewhere()").unwrap().values, ["Busy".into()]);
}

#[test]
fn endless_mutual_recursion_ends_with_an_error() {
    let lua = sandbox();
    lua.register("call", |f: Function| f.call(()).map(|out| out.values)).unwrap();
    let error = lua.compute("function f() return call(f) end return f()").unwrap_err();
    assert!(error.message().contains("too many") || error.message().contains("overflow"), "{:?} {error}", error.kind());
    assert_ne!(error.kind(), ErrorKind::Trap);
    let ok =
        lua.compute("local n = 0 local function f() n = n + 1 if n < 20 then call(f) end end f() return n").unwrap();
    assert_eq!(ok.values, [20.into()]);
}

#[test]
fn two_sandboxes_may_call_each_other() {
    let (a, b) = (Arc::new(sandbox()), Arc::new(sandbox()));
    let (wa, wb) = (Arc::downgrade(&a), Arc::downgrade(&b));
    a.register("to_b", move |n: i64| wb.upgrade().unwrap().call("f", n).map(|o| o.values)).unwrap();
    b.register("to_a", move |n: i64| wa.upgrade().unwrap().call("f", n).map(|o| o.values)).unwrap();
    a.compute("function f(n) if n == 0 then return 'done' end return to_b(n - 1) end").unwrap();
    b.compute("function f(n) if n == 0 then return 'done' end return to_a(n - 1) end").unwrap();
    assert_eq!(a.call("f", 10).unwrap().values, ["done".into()]);
}

#[test]
fn stored_tables_as_arguments() {
    let lua = sandbox();
    lua.register("count", |t: StoredTable| {
        t.set("n", t.get("n")?.as_integer().unwrap_or(0) + 1)?;
        t.set("list", Table::from_iter([1, 2, 3]))?;
        Ok(t)
    })
    .unwrap();
    let out = lua.compute("_home.c = {} count(_home.c) count(_home.c) return _home.c.n, #_home.c.list").unwrap();
    assert_eq!(out.values, [2.into(), 3.into()]);
}

#[test]
fn a_host_function_may_drop_its_sandbox() {
    let slot: Arc<Mutex<Option<Sandbox>>> = Arc::default();
    let lua = sandbox();
    let takes = Arc::clone(&slot);
    lua.register("close", move |()| {
        if let Some(lua) = takes.lock().unwrap().as_ref() {
            lua.close();
        }
        Ok(())
    })
    .unwrap();
    let shared = Arc::new(lua);
    drop(slot);
    assert_eq!(shared.compute("close() return 1").unwrap().values, [1.into()]);
    let weak = Arc::downgrade(&shared);
    shared
        .register("shut", move |()| {
            weak.upgrade().unwrap().close();
            Ok(())
        })
        .unwrap();
    let _ = shared.compute("shut() return 2");
    assert_eq!(shared.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn finalizers_and_close_handlers_may_call_the_host() {
    let lua = sandbox();
    let n = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n);
    lua.register("hit", move |v: Value| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(v)
    })
    .unwrap();
    lua.compute(
        "for i = 1, 300 do setmetatable({}, {__gc = function() hit({1, 2, {3}}) end}) end
         do local c <close> = setmetatable({}, {__close = function() hit('close') end}) end
         for i = 1, 2000 do local t = hit({i, {i}}) assert(t[2][1] == i) end collectgarbage()",
    )
    .unwrap();
    assert_eq!(n.load(Ordering::Relaxed), 2301);
}

#[test]
fn print_goes_to_a_function() {
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let config = SandboxConfig::new().on_print(move |text| sink.lock().unwrap().push(text.to_vec())).output_limit(1000);
    let lua = Sandbox::with_config(config).unwrap();
    let out = lua.compute("print('a', 1) print() print(('x'):rep(300)) return 1").unwrap();
    assert_eq!(out.output, "");
    let lines = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], b"a\t1\n");
    assert_eq!(lines[1], b"\n");
    let error = lua.compute("while true do print('line') end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutputLimit);
    assert_eq!(seen.lock().unwrap().len(), 200);
    let lua = Sandbox::with_config(SandboxConfig::new().on_print(|_| panic!("no"))).unwrap();
    assert_eq!(lua.compute("print(1)").unwrap_err().kind(), ErrorKind::HostFunction);
    assert_eq!(lua.compute("return 1").unwrap().values, [1.into()]);
}
