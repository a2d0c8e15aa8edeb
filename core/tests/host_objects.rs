//! Objects of the host in Lua.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use luacell::{
    Class, ClassBuilder, Error, ErrorKind, LuaObject, Metamethod, Object, ObjectRef, Sandbox, SandboxConfig, Table,
    Value,
};

/// A point that counts how many of them there are.
struct Point {
    x: AtomicI64,
    y: i64,
    alive: Arc<AtomicUsize>,
}

impl Point {
    fn new(x: i64, y: i64, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Point { x: AtomicI64::new(x), y, alive: Arc::clone(alive) }
    }

    fn x(&self) -> i64 {
        self.x.load(Ordering::SeqCst)
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl LuaObject for Point {
    const NAME: &str = "Point";

    fn describe(class: ClassBuilder<Self>) -> ClassBuilder<Self> {
        class
            .method("sum", |p, ()| Ok(p.x() + p.y))
            .method("plus", |p, (x, y): (i64, i64)| Ok(Object::new(Point::new(p.x() + x, p.y + y, &p.alive))))
            .method("fail", |_, text: String| -> luacell::Result<()> { Err(Error::host(text)) })
            .method("several", |p, ()| Ok((p.x(), p.y)))
            .reader("x", |p| Ok(p.x()))
            .reader("y", |p| Ok(p.y))
            .writer("x", |p, x: i64| {
                p.x.store(x, Ordering::SeqCst);
                Ok(())
            })
            .metamethod(Metamethod::Len, |_, ()| Ok(2))
            .metamethod(Metamethod::Eq, |p, other: ObjectRef<Point>| Ok((p.x(), p.y) == (other.x(), other.y)))
            .metamethod(Metamethod::ToString, |p, ()| Ok(format!("({}, {})", p.x(), p.y)))
            .metamethod(Metamethod::Call, |p, factor: i64| Ok(p.x() * factor))
            .metafunction(Metamethod::Mul, |(a, b): (Value, Value)| {
                let number = |v: &Value| match v {
                    Value::Object(object) => object.downcast_ref::<Point>().map(Point::x),
                    other => other.as_integer(),
                };
                Ok(number(&a).zip(number(&b)).map(|(a, b)| a * b))
            })
    }
}

struct Points {
    lua: Sandbox,
    alive: Arc<AtomicUsize>,
}

impl Points {
    /// A sandbox in which `point(x, y)` gives one.
    fn new() -> Self {
        let (lua, alive) = (Sandbox::new().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&alive);
        lua.register("point", move |(x, y): (i64, i64)| Ok(Object::new(Point::new(x, y, &counted)))).unwrap();
        Points { lua, alive }
    }

    fn eval(&self, source: &str) -> Vec<Value> {
        self.lua.compute(source).unwrap().values
    }

    fn fails(&self, source: &str) -> String {
        self.lua.compute(source).unwrap_err().to_string()
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

#[test]
fn methods_and_fields() {
    let points = Points::new();
    points.eval("p = point(1, 2)");
    assert_eq!(points.eval("return p:sum(), p:plus(10, 20):sum(), p.x, p.y, p:several()").len(), 6);
    assert_eq!(points.eval("p.x = 40 return p.x, p:sum(), type(p)"), [40.into(), 42.into(), "userdata".into()]);
    assert_eq!(
        points.eval("return p.sum == p.sum, p.plus ~= p.sum, p.nothing, p[1], p.__index, p.new"),
        [true.into(), true.into(), Value::Nil, Value::Nil, Value::Nil, Value::Nil]
    );
}

#[test]
fn operators() {
    let points = Points::new();
    points.eval("p, q, r = point(3, 4), point(3, 4), point(5, 6)");
    assert_eq!(points.eval("return #p, p(7), p * q, p * 2, 2 * p"), [2, 21, 9, 6, 6].map(Value::from));
    assert_eq!(
        points.eval("return p == q, p == r, p ~= q, rawequal(p, q), p == 1"),
        [true.into(), false.into(), false.into(), false.into(), false.into()]
    );
    assert_eq!(points.eval("print(p) return tostring(r)"), ["(5, 6)".into()]);
    assert!(points.fails("return p + 1").contains("arithmetic"), "{}", points.fails("return p + 1"));
    assert!(points.fails("return p < q").contains("compare two Point values"), "{}", points.fails("return p < q"));
}

#[test]
fn what_is_wrong_is_said() {
    let points = Points::new();
    points.eval("p = point(1, 2)");
    for (source, text) in [
        ("p.sum()", "the method 'sum' needs a Point in front"),
        ("p.sum({})", "the method 'sum' needs a Point in front"),
        ("p:plus(1, 'x')", "bad argument #2"),
        ("p.y = 1", "can't set 'y' of a Point"),
        ("p.z = 1", "can't set 'z' of a Point"),
        ("p[{}] = 1", "can't set 'table: "),
        ("p.x = 'a'", "expected an integer"),
        ("p:fail('no luck')", "no luck"),
        ("p.nothing()", "nil value (field 'nothing')"),
        ("p:nothing()", "nil value (method 'nothing')"),
        ("setmetatable(p, {})", "table expected"),
        ("_home.p = p", "can't store a Point"),
    ] {
        assert!(points.fails(source).contains(text), "{source}: {}", points.fails(source));
    }
    assert_eq!(points.eval("return getmetatable(p)"), [false.into()]);
    assert_eq!(points.eval("local ok, e = pcall(p.fail, p, 'x') return ok, tostring(e)")[0], false.into());
}

#[test]
fn the_same_one_in_both_directions() {
    let points = Points::new();
    points.eval("function same(...) return ... end  function put(p) kept = p end");
    let shared = Arc::new(Point::new(1, 2, &points.alive));
    let object = Object::shared(Arc::clone(&shared));
    assert_eq!(object, Object::shared(Arc::clone(&shared)));
    let back = points.lua.call("same", (&object, 7, &object)).unwrap().values;
    assert_eq!(back, [Value::from(&object), 7.into(), Value::from(&object)]);
    points.lua.call("put", &object).unwrap();
    points.eval("kept.x = 9");
    assert_eq!(shared.x(), 9);
    let is_same = points.lua.call("same", Object::shared(shared)).unwrap().values[0] == points.eval("return kept")[0];
    assert!(is_same);
    let mut table = Table::new();
    table.set("p", &object).unwrap();
    table.push(&object);
    let sums = "function f(t) return t.p == kept, rawequal(t[1], kept), {q = t.p} end";
    points.eval(sums);
    let values = points.lua.call("f", table).unwrap().values;
    assert_eq!(values[..2], [true.into(), true.into()]);
    assert_eq!(values[2].as_table().unwrap().get("q"), Value::from(&object));
    assert_eq!(values[2].as_table().unwrap().get("q").as_object().unwrap().class_name(), "Point");

    // One value, two classes: two objects, which offer different things.
    let class = Class::<Point>::builder("Other").reader("z", |p| Ok(p.y * 10)).build();
    let value = Arc::new(Point::new(1, 2, &points.alive));
    let pair = (Object::shared(Arc::clone(&value)), class.shared_object(value));
    points.eval("function f(a, b) return rawequal(a, b), a.y, a.z, b.y, b.z end");
    let values = points.lua.call("f", pair.clone()).unwrap().values;
    assert_eq!(values, [false.into(), 2.into(), Value::Nil, Value::Nil, 20.into()]);
    // What one offers can't be had of the other.
    points.eval("function f(a, b) return a.sum(b) end");
    let error = points.lua.call("f", pair).unwrap_err();
    assert!(error.to_string().contains("needs a Point"), "{error}");
}

#[test]
fn what_lua_lets_go_of_is_dropped_within_the_run() {
    let points = Points::new();
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, alive) = (Arc::clone(&most), Arc::clone(&points.alive));
    points
        .lua
        .register("look", move |()| {
            seen.fetch_max(alive.load(Ordering::SeqCst), Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
    points.eval("kept = point(1, 2) for i = 1, 50000 do assert(point(i, i):sum() == 2 * i) look() end");
    assert!(most.load(Ordering::SeqCst) < 5000, "{most:?}");
    points.lua.gc().unwrap();
    assert_eq!(points.alive(), 1);
    // The class goes with the last object, and comes again.
    points.eval("kept = nil");
    points.lua.gc().unwrap();
    points.lua.gc().unwrap();
    assert_eq!(points.alive(), 0);
    assert_eq!(points.eval("return point(3, 4):sum()"), [7.into()]);
    points.eval("kept = {point(1, 1), point(2, 2)}");
    points.lua.reset().unwrap();
    assert_eq!(points.alive(), 0);
    points.eval("kept = {} for i = 1, 100 do kept[i] = point(i, i) end");
    drop(points.lua);
    assert_eq!(points.alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_script_keeps_only_so_many() {
    let points = Points::new();
    let text = points.fails("kept = {} for i = 1, 1000000 do kept[i] = point(i, i) end");
    assert!(text.contains("functions and objects of the host already"), "{text}");
    // There is no room for another class, and there is again.
    let class = Class::<()>::builder("Unit").method("f", |_, ()| Ok(1)).build();
    points.lua.register("unit", move |()| Ok(class.object(()))).unwrap();
    let full = points.fails("kept[#kept] = nil collectgarbage() return unit()");
    assert!(full.contains("no room") || full.contains("already"), "{full}");
    assert_eq!(points.eval("kept = nil collectgarbage() return unit():f()"), [1.into()]);
    points.lua.gc().unwrap();
    assert_eq!(points.alive(), 0);
}

#[test]
fn a_fork_and_a_snapshot_in_memory_have_them_too() {
    let points = Points::new();
    points.eval("p = point(1, 2)");
    let snapshot = points.lua.snapshot().unwrap();
    assert!(snapshot.to_bytes().unwrap_err().to_string().contains("of the host"));
    let fork = points.lua.fork().unwrap();
    points.eval("p.x = 5 p = nil collectgarbage() collectgarbage()");
    assert_eq!(fork.compute("return p:sum(), p:plus(1, 1):sum()").unwrap().values, [7.into(), 9.into()]);
    points.lua.restore(&snapshot).unwrap();
    assert_eq!(points.eval("return p:sum()"), [7.into()]);
    drop((fork, snapshot));
    points.eval("p = nil");
    points.lua.gc().unwrap();
    assert_eq!(points.alive(), 0);
}

#[test]
fn limits_hold_in_what_they_do() {
    let lua = Sandbox::with_config(SandboxConfig::new().host_call_limit(100)).unwrap();
    let again = Arc::new(Mutex::new(None::<luacell::Function>));
    let inner = Arc::clone(&again);
    let class = Class::<()>::builder("Odd")
        .method("call", move |_, ()| match &*inner.lock().unwrap() {
            Some(function) => function.call(()).map(|outcome| outcome.values),
            None => Ok(Vec::new()),
        })
        .metamethod(Metamethod::Index, |_, key: Value| Ok(key))
        .metamethod(
            Metamethod::NewIndex,
            |_, (key, value): (Value, Value)| {
                if key == value { Ok(()) } else { Err(Error::host("no")) }
            },
        )
        .metamethod(Metamethod::Close, |_, _: Vec<Value>| Ok(()))
        .metamethod(Metamethod::ToString, |_, ()| -> luacell::Result<i64> { panic!("on purpose") })
        .build();
    lua.compute("function put(o) odd = o end").unwrap();
    lua.call("put", class.object(())).unwrap();
    let error = lua.compute("while true do local x = odd.x end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostCallLimit);
    assert_eq!(lua.compute("return odd.x, odd[1], odd[odd] == odd").unwrap().values[..2], ["x".into(), 1.into()]);
    lua.compute("odd.x = 'x' do local o <close> = odd end").unwrap();
    assert!(lua.compute("odd.x = 1").unwrap_err().to_string().contains("no"));
    assert!(lua.compute("return tostring(odd)").is_err());
    // It comes back into Lua.
    let function = lua.compute("return function() return odd.again end").unwrap().values[0].clone();
    *again.lock().unwrap() = function.as_function().cloned();
    assert_eq!(lua.compute("return odd:call()").unwrap().values, ["again".into()]);
    *again.lock().unwrap() = None;
}

#[test]
fn they_belong_to_no_sandbox() {
    let (a, b) = (Points::new(), Points::new());
    a.eval("p = point(1, 2)");
    let p = a.eval("return p")[0].clone();
    b.eval("function f(p) p.x = 7 return p:sum() end");
    assert_eq!(b.lua.call("f", p.clone()).unwrap().values, [9.into()]);
    assert_eq!(a.eval("return p.x"), [7.into()]);
    drop(a);
    assert_eq!(p.as_object().unwrap().downcast_ref::<Point>().unwrap().x(), 7);
    assert!(p.as_object().unwrap().downcast_ref::<String>().is_none());
    // One of another kind is not taken for it.
    let other = Class::<String>::builder("Text").build().object(String::new());
    b.eval("function g(p, o) return p.sum(o) end");
    assert!(b.lua.call("g", (p, other)).unwrap_err().to_string().contains("needs a Point"));
}

/// Numbers from 1 to its end, and whether it was dropped.
struct Range(i64, Arc<AtomicUsize>);

impl LuaObject for Range {
    const NAME: &str = "Range";

    fn describe(class: ClassBuilder<Self>) -> ClassBuilder<Self> {
        let items = |range: &Range| {
            let (alive, end) = (Arc::clone(&range.1), range.0);
            alive.fetch_add(1, Ordering::SeqCst);
            let guard = Alive(alive);
            (1..=end).map(move |n| {
                let _ = &guard;
                (n, n * n)
            })
        };
        class
            .metamethod(Metamethod::Iter, move |range, _: Vec<Value>| Ok(Object::iterator(items(range))))
            .metamethod(Metamethod::Pairs, move |range, _: Vec<Value>| Ok(Object::iterator(items(range))))
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn loops() {
    let (lua, alive) = (Sandbox::new().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (Arc::clone(&alive), Arc::clone(&alive));
    lua.register("range", move |n: i64| Ok(Object::new(Range(n, Arc::clone(&counted))))).unwrap();
    lua.register("open", move |()| Ok(seen.load(Ordering::SeqCst) as i64)).unwrap();
    let sum = |source: &str| lua.compute(source).unwrap().values[0].clone();
    assert_eq!(sum("local s = 0 for a, b in range(3) do s = s + a * 100 + b end return s"), 614.into());
    assert_eq!(sum("local s = 0 for a, b in pairs(range(3)) do s = s + a * 100 + b end return s"), 614.into());
    assert_eq!(sum("local s = 0 for a in range(0) do s = s + a end return s"), 0.into());
    assert_eq!(sum("return open()"), 0.into());
    // Each loop has its own.
    let nested = "local s, r = 0, range(3) for a in r do for b in r do s = s + a * b end end return s";
    assert_eq!(sum(nested), 36.into());
    // However it is left.
    for left in [
        "for a in range(1000000000) do if a == 3 then break end end return open()",
        "pcall(function() for a in range(1000000000) do error('x') end end) return open()",
        "local function f() for a in range(1000000000) do return a end end f() return open()",
        "for a in range(10) do goto out end ::out:: return open()",
        "local c = coroutine.wrap(function() for a in range(9) do coroutine.yield(a) end end) c() c() \
         local before = open() local d = coroutine.create(function() for a in range(9) do coroutine.yield(a) end end) \
         coroutine.resume(d) coroutine.close(d) return open() - before",
    ] {
        assert_eq!(sum(left), 0.into(), "{left}");
    }
    // The fourth value is the script's own.
    let own = "local closed local mine = setmetatable({}, {__close = function() closed = true end}) \
               for a in range(2), nil, nil, mine do end return closed";
    assert_eq!(sum(own), true.into());
    lua.gc().unwrap();
    lua.gc().unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    // What is no iterator is said to be none, and nil does not end a loop in silence.
    lua.register("odd", |()| Ok(Object::iterator([Value::from(1), Value::Nil, 3.into()]))).unwrap();
    let error = lua.compute("for x in odd() do seen = x end").unwrap_err();
    assert!(error.to_string().contains("gave nil"), "{error}");
    assert_eq!(sum("return seen"), 1.into());
    let plain = Class::<()>::builder("Plain").build();
    lua.register("plain", move |()| Ok(plain.object(()))).unwrap();
    assert!(lua.compute("for x in plain() do end").unwrap_err().to_string().contains("attempt to call a Plain value"));
    // An iterator that makes iterators, and one that comes back into the loop.
    lua.register("deep", |()| Ok(Object::iterator((1..4).map(|n| Object::iterator(0..n))))).unwrap();
    assert_eq!(sum("local s = 0 for it in deep() do for n in it do s = s + n end end return s"), 4.into());
}
