//! The public interface, as a program uses it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

#[macro_use]
mod forward;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use luacell::{
    ComputeOptions, Engine, EngineConfig, ErrorKind, Function, LuaString, MemoryStore, Sandbox, SandboxConfig,
    StoreResult, StoredTable, Table, TableBuilder, TableStore, Value,
};

fn sandbox() -> Sandbox {
    Sandbox::new().unwrap()
}

fn one(source: &str) -> Value {
    sandbox().compute(source).unwrap().into_value()
}

#[test]
fn numbers_arrive_as_they_are_or_not_at_all() {
    fn misfit<T: luacell::FromValue + std::fmt::Debug>(source: &str) {
        let error = sandbox().compute(source).unwrap().get::<T>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conversion, "{source}: {error}");
    }
    misfit::<f64>("return 9007199254740993");
    misfit::<f64>("return math.maxinteger");
    misfit::<i32>("return 2147483648");
    misfit::<u64>("return -1");
    misfit::<u8>("return 256");
    misfit::<i64>("return 2.0^63");
    misfit::<i64>("return 0.5");
    misfit::<usize>("return 0/0");
    assert_eq!(one("return math.mininteger").as_number(), Some(-(2.0_f64.powi(63))));
    assert_eq!(one("return 1 << 60").as_number(), Some(2.0_f64.powi(60)));
    assert_eq!(one("return math.mininteger").as_integer(), Some(i64::MIN));
    assert!(Value::try_from(u64::MAX).is_err());
}

#[test]
fn values_of_every_type_come_out() {
    let outcome = sandbox().compute("return nil, true, 3, 3.0, 'text', '\\xff', {1, 2, x = {}}").unwrap();
    let mut table = Table::new();
    table.push(1);
    table.push(2);
    table.set("x", Table::new()).unwrap();
    let expected: Vec<Value> =
        vec![Value::Nil, true.into(), 3.into(), 3.0.into(), "text".into(), b"\xff".into(), table.into()];
    assert_eq!(outcome.values, expected);
    assert_eq!(outcome.values[5].as_str(), None);
    assert!(outcome.metrics.wall_time > Duration::ZERO);
}

#[test]
fn empty_source_gives_an_empty_outcome() {
    let outcome = sandbox().compute("").unwrap();
    assert_eq!(outcome.values, []);
    assert_eq!(outcome.value(), &Value::Nil);
}

#[test]
fn arguments_of_every_type_go_in() {
    let sandbox = sandbox();
    let echo = "return ...";
    let args: Vec<Value> = vec![
        Value::Nil,
        false.into(),
        i64::MIN.into(),
        f64::NEG_INFINITY.into(),
        "".into(),
        LuaString::new(&[0, 255, 10]).into(),
        vec![1, 2, 3].into(),
        HashMap::from([("a", 1)]).into(),
        vec![vec!["x"], vec![]].into(),
    ];
    let outcome = sandbox.compute_with(echo, ComputeOptions::new().args(args.clone())).unwrap();
    assert_eq!(outcome.values, args);
    let sum = sandbox.compute_with("local a, b = ... return a + b", ComputeOptions::new().args((2, 0.5))).unwrap();
    assert_eq!(sum.get::<f64>().unwrap(), 2.5);
}

#[test]
fn sharing_and_cycles_are_kept_both_ways() {
    let sandbox = sandbox();
    let value = sandbox.compute("local t = {} t.me = t local s = {} t.a, t.b = s, s return t").unwrap().into_value();
    let table = value.as_table().unwrap();
    let same = |key: &str, other: &Table| table.get(key).as_table().unwrap().identity() == other.identity();
    assert!(same("me", table));
    assert!(same("a", table.get("b").as_table().unwrap()));
    let source = "local t = ... return t.me == t and t.a == t.b and t.a ~= t";
    let outcome = sandbox.compute_with(source, ComputeOptions::new().args((value.clone(),))).unwrap();
    assert!(outcome.get::<bool>().unwrap());

    let mut builder = TableBuilder::new();
    let (t, s) = (builder.table(), builder.table());
    builder.set_table(t, "me", t).unwrap();
    builder.set_table(t, "a", s).unwrap();
    builder.set_table(t, "b", s).unwrap();
    let built = Value::Table(builder.finish(t));
    assert_eq!(built, value);
    // Two views of one table stay one table also when they come from outside.
    let shared = Table::from_iter([1]);
    let pair = vec![shared.clone(), shared];
    assert!(
        sandbox
            .compute_with("local p = ... return p[1] == p[2]", ComputeOptions::new().args((pair,)))
            .unwrap()
            .get::<bool>()
            .unwrap()
    );
}

#[test]
fn functions_are_handles() {
    let sandbox = sandbox();
    let outcome = sandbox.compute("local n = 0 return function(by) n = n + by return n end, string.upper").unwrap();
    let count: Function = outcome.get().unwrap();
    assert_eq!(count.call((2,)).unwrap().get::<i64>().unwrap(), 2);
    assert_eq!(count.call((3,)).unwrap().get::<i64>().unwrap(), 5);
    let upper: Function = outcome.get_at(1).unwrap();
    assert_eq!(upper.builtin_name(), Some("string.upper"));
    assert_eq!(upper.call("x").unwrap().values, ["X".into()]);
    sandbox.compute("string.upper = string.lower").unwrap();
    assert_eq!(upper.call("x").unwrap().values, ["X".into()], "the built-in, not the global of its name");
    // Both can be passed back.
    let source = "local f, up = ... return f(10), up('ok')";
    let outcome = sandbox.compute_with(source, ComputeOptions::new().args((count.clone(), upper))).unwrap();
    assert_eq!(outcome.values, [15.into(), "OK".into()]);
    // But not to another sandbox.
    let other = self::sandbox();
    let error = other.compute_with("return ...", ComputeOptions::new().args((count.clone(),))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    // The error names the place.
    let nested = HashMap::from([("f", count.clone())]);
    let error = other.compute_with("return ...", ComputeOptions::new().args((1, nested))).unwrap_err();
    assert!(error.message().contains("argument 2.f"), "{error}");
    sandbox.reset().unwrap();
    assert_eq!(count.call(()).unwrap_err().kind(), ErrorKind::Closed);
    drop(sandbox);
    assert_eq!(count.call(()).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn dropped_functions_are_collected() {
    let sandbox = sandbox();
    sandbox.compute("alive = setmetatable({}, {__mode = 'k'})").unwrap();
    let source = "local big = {} local f = function() return big end alive[f] = true return f";
    let kept: Function = sandbox.compute(source).unwrap().get().unwrap();
    for _ in 0..100 {
        drop(sandbox.compute(source).unwrap());
    }
    sandbox.gc().unwrap();
    let count = "local n = 0 for _ in pairs(alive) do n = n + 1 end return n";
    assert_eq!(sandbox.compute(count).unwrap().get::<i64>().unwrap(), 1);
    drop(kept);
    sandbox.gc().unwrap();
    assert_eq!(sandbox.compute(count).unwrap().get::<i64>().unwrap(), 0);
}

#[test]
fn call_reaches_into_tables() {
    let sandbox = sandbox();
    sandbox.compute("game = {player = {}} function game.player.move(x, y) return y, x end").unwrap();
    assert_eq!(sandbox.call("game.player.move", (1, "a")).unwrap().values, ["a".into(), 1.into()]);
    assert_eq!(sandbox.call("tostring", [Value::Nil]).unwrap().get::<String>().unwrap(), "nil");
    assert_eq!(sandbox.call("no.such", ()).unwrap_err().kind(), ErrorKind::Runtime);
    sandbox.compute("_home.double = function(x) return 2 * x end").unwrap();
    assert_eq!(sandbox.call("_home.double", (21,)).unwrap().get::<i64>().unwrap(), 42);
}

#[test]
fn errors_carry_what_is_known() {
    let sandbox = sandbox();
    let options = || ComputeOptions::new().name("=demo");
    let error = sandbox.compute_with("print('before')\nlocal t = nil\nreturn t.x", options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Runtime);
    assert_eq!(error.message(), "demo:3: attempt to index a nil value (local 't')");
    assert_eq!(error.to_string(), error.message());
    assert_eq!((error.chunk(), error.line()), (Some("demo"), Some(3)));
    assert_eq!(error.output(), &"before\n");
    assert!(error.traceback().unwrap().starts_with("stack traceback:"), "{error:?}");
    let error = sandbox.compute_with("return =", options()).unwrap_err();
    assert_eq!((error.kind(), error.line()), (ErrorKind::Syntax, Some(1)));
    let error = sandbox.compute("error({code = 7})").unwrap_err();
    assert_eq!(error.value().as_table().unwrap().get("code"), 7.into());
    let error = sandbox.compute("return coroutine.create(print)").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion);
    assert_eq!(sandbox.compute("return 1").unwrap().get::<i64>().unwrap(), 1);
}

#[test]
fn input_output_and_meta() {
    let sandbox = sandbox();
    sandbox.set_input(HashMap::from([("list", vec![1, 2, 3])])).unwrap();
    sandbox.set_meta("m").unwrap();
    sandbox
        .compute(
            "local s = 0 for _, v in ipairs(_io.input.list) do s = s + v end _io.output = {sum = s, meta = _io.meta}",
        )
        .unwrap();
    let output: Table = FromValueExt::into_table(sandbox.output().unwrap());
    assert_eq!(output.get("sum"), 6.into());
    assert_eq!(output.get("meta"), "m".into());
    sandbox.set_output(1).unwrap();
    assert_eq!(sandbox.output().unwrap(), 1.into());
    sandbox.clear_io().unwrap();
    assert!(sandbox.input().unwrap().is_nil() && sandbox.meta().unwrap().is_nil());
}

struct FromValueExt;

impl FromValueExt {
    fn into_table(value: Value) -> Table {
        luacell::FromValue::from_value(value).unwrap()
    }
}

#[test]
fn home_is_seen_from_both_sides() {
    let sandbox = sandbox();
    let home = sandbox.home();
    assert!(home.is_empty().unwrap());
    home.set("config", BTreeMap::from([("depth", 3), ("width", 4)])).unwrap();
    home.set(1, "one").unwrap();
    home.set("1", "text one").unwrap();
    home.set(0.5, true).unwrap();
    home.set(true, "yes").unwrap();
    let source = "return _home.config.depth, _home[1], _home['1'], _home[0.5], _home[true], type(_home.config)";
    let outcome = sandbox.compute(source).unwrap();
    assert_eq!(outcome.values, [3.into(), "one".into(), "text one".into(), true.into(), "yes".into(), "table".into()]);
    assert_eq!(home.len().unwrap(), 5);
    assert_eq!(home.keys().unwrap(), ["config".into(), 1.into(), "1".into(), 0.5.into(), true.into()]);
    sandbox.compute("_home.config.depth = nil _home.config.new = {10}").unwrap();
    let config: StoredTable = luacell::FromValue::from_value(home.get("config").unwrap()).unwrap();
    assert_eq!(config.len().unwrap(), 2);
    assert_eq!(config.to_table().unwrap().get("new").as_table().unwrap().get(1), 10.into());
    assert!(config.remove("width").unwrap());
    assert!(!config.remove("width").unwrap());
    assert_eq!(home.entries().unwrap().len(), 5);
    for (key, _) in home.iter().unwrap() {
        home.remove(key).unwrap();
    }
    assert!(home.is_empty().unwrap());
}

#[test]
fn cycles_go_into_the_store_and_out() {
    let sandbox = sandbox();
    let mut builder = TableBuilder::new();
    let (a, b) = (builder.table(), builder.table());
    builder.set_table(a, "b", b).unwrap();
    builder.set_table(b, "a", a).unwrap();
    let value = Value::Table(builder.finish(a));
    sandbox.home().set("x", value.clone()).unwrap();
    assert!(sandbox.compute("return _home.x.b.a == _home.x").unwrap().get::<bool>().unwrap());
    let stored: StoredTable = luacell::FromValue::from_value(sandbox.home().get("x").unwrap()).unwrap();
    assert_eq!(Value::Table(stored.to_table().unwrap()), value);
}

#[test]
fn what_cannot_be_stored_is_refused_as_a_whole() {
    let sandbox = sandbox();
    let f: Function = sandbox.compute("return function() end").unwrap().get().unwrap();
    let mut table = Table::new();
    table.set("fine", 1).unwrap();
    table.set("list", vec![f]).unwrap();
    let error = sandbox.home().set("x", table).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion);
    assert!(error.message().contains("x.list[1]"), "{error}");
    assert!(sandbox.home().is_empty().unwrap());
    assert_eq!(sandbox.home().set(Value::Nil, 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(sandbox.home().set(f64::NAN, 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(sandbox.home().set(Table::new(), 1).unwrap_err().kind(), ErrorKind::Conversion);
}

#[test]
fn a_failed_run_stores_nothing() {
    let sandbox = sandbox();
    sandbox.compute("_home.n = 1 _home.t = {1, 2}").unwrap();
    sandbox.compute("_home.n = 2 _home.t[3] = 3 _home.u = {} error('no')").unwrap_err();
    let outcome = sandbox.compute("return _home.n, #_home.t, _home.u").unwrap();
    assert_eq!(outcome.values, [1.into(), 2.into(), Value::Nil]);
}

#[test]
fn functions_are_stored_with_their_upvalues() {
    let sandbox = sandbox();
    sandbox.compute("local n = 0 _home.count = function() n = n + 1 return n end").unwrap();
    assert_eq!(sandbox.compute("return _home.count()").unwrap().get::<i64>().unwrap(), 1);
    sandbox.reset().unwrap();
    assert_eq!(sandbox.compute("return _home.count()").unwrap().get::<i64>().unwrap(), 2);
    // A copy under another name shares them.
    let f = sandbox.home().get("count").unwrap();
    assert_eq!(f.type_name(), "function");
    sandbox.home().set("again", f).unwrap();
    assert_eq!(sandbox.compute("return _home.again(), _home.count()").unwrap().values, [3.into(), 4.into()]);
}

#[test]
fn reset_keeps_tables_only() {
    let sandbox = sandbox();
    sandbox.compute("x = 1 _home.x = {y = 2}").unwrap();
    sandbox.reset().unwrap();
    assert_eq!(sandbox.compute("return x, _home.x.y").unwrap().values, [Value::Nil, 2.into()]);
    // New tables do not get the ids of old ones.
    sandbox.compute("_home.z = {y = 3}").unwrap();
    assert_eq!(sandbox.compute("return _home.x.y, _home.z.y").unwrap().values, [2.into(), 3.into()]);
}

#[test]
fn orphans_are_removed() {
    let sandbox = Sandbox::with_config(SandboxConfig::new().timeout(None)).unwrap();
    sandbox.compute("for i = 1, 1000000 do _home.x = {i} end").unwrap();
    assert!(sandbox.table_count().unwrap().unwrap() < 1000);
    assert_eq!(sandbox.compute("return _home.x[1]").unwrap().get::<i64>().unwrap(), 1_000_000);
    sandbox.compute("function over(i) _home.x = {i, {i}} end").unwrap();
    for i in 0..20_000 {
        sandbox.call("over", (i,)).unwrap();
    }
    assert!(sandbox.table_count().unwrap().unwrap() < 1000);
    for i in 0..20_000 {
        sandbox.set_input(vec![vec![i]]).unwrap();
    }
    assert!(sandbox.table_count().unwrap().unwrap() < 1000);
    sandbox.gc().unwrap();
    // _home, _io, x and its table, the input and its table.
    assert_eq!(sandbox.table_count().unwrap(), Some(6));
}

#[test]
fn what_somebody_holds_is_no_orphan() {
    let sandbox = sandbox();
    // Cycles that nothing reaches go; what a global, a view of the host, a function or a cycle in _home holds stays.
    let source = "
        _home.a = {name = 'a'} held = _home.a _home.a = nil
        _home.b = {name = 'b'} local b = _home.b _home.b = nil f = function() return b.name end
        local c = ext.table() c.me = c c.name = 'c'
        _home.d = {name = 'd'} _home.d.e = {up = _home.d}
        _home.g = {name = 'g'}";
    sandbox.compute(source).unwrap();
    let g = sandbox.home().get("g").unwrap();
    sandbox.home().remove("g").unwrap();
    sandbox.gc().unwrap();
    assert_eq!(g.as_stored_table().unwrap().get("name").unwrap(), "g".into());
    assert_eq!(
        sandbox.compute("return held.name, f(), _home.d.e.up.name").unwrap().values,
        ["a".into(), "b".into(), "d".into()]
    );
    let before = sandbox.table_count().unwrap().unwrap();
    drop(g);
    sandbox.compute("held = nil f = nil").unwrap();
    sandbox.gc().unwrap();
    assert_eq!(sandbox.table_count().unwrap().unwrap(), before - 3);
}

#[test]
fn sizes_far_beyond_64_kib() {
    let sandbox = sandbox();
    let big = "x".repeat(5_000_000);
    let outcome = sandbox
        .compute_with(
            "local s = ... _home.s = s _home[s] = 1 return s, #s",
            ComputeOptions::new().args((big.as_str(),)),
        )
        .unwrap();
    assert_eq!(outcome.values, [big.as_str().into(), 5_000_000.into()]);
    assert_eq!(sandbox.home().get("s").unwrap(), big.as_str().into());
    assert_eq!(sandbox.home().get(big.as_str()).unwrap(), 1.into());
    let source = format!("return #'{big}'");
    assert_eq!(sandbox.compute(source).unwrap().get::<i64>().unwrap(), 5_000_000);
    assert!(sandbox.memory_stats().unwrap().buffer_bytes <= 1 << 20, "a large buffer is given back");
    sandbox.compute("for i = 1, 20000 do _home['a long key number ' .. i] = i end").unwrap();
    let count = "local n = 0 for k, v in pairs(_home) do n = n + 1 end return n";
    assert_eq!(sandbox.compute(count).unwrap().get::<i64>().unwrap(), 20_002);
    let printed = sandbox.compute("print(('y'):rep(300000))").unwrap().output;
    assert_eq!(printed.len(), 300_001);
}

#[test]
fn deep_and_cyclic_values_need_no_stack() {
    let work = || {
        // Of the thread's 512 KiB, wasm code may use half.
        let engine = Engine::new(EngineConfig::new().pool_size(1).max_stack(256 << 10)).unwrap();
        let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
        let deep = sandbox.compute("local t = {} for i = 1, 100000 do t = {t} end return t").unwrap().into_value();
        let copy = deep.clone();
        assert!(deep == copy);
        let mut level = 0;
        let mut at = deep.clone();
        while let Value::Table(t) = &at {
            at = t.get(1);
            level += 1;
        }
        assert_eq!(level, 100_001);
        assert!(format!("{deep:?}").ends_with("}}}}"));
        let source = "local t, n = ..., 0 while t do t = t[1] n = n + 1 end return n";
        let outcome = sandbox.compute_with(source, ComputeOptions::new().args((deep,))).unwrap();
        assert_eq!(outcome.get::<i64>().unwrap(), 100_001);
        // Each level a graph of its own.
        let mut own = Table::new();
        for _ in 0..100_000 {
            own = Table::from_iter([own]);
        }
        let own = Value::Table(own);
        assert!(own == copy);
        sandbox.home().set("deep", own.clone()).unwrap();
        let stored = sandbox.home().get("deep").unwrap();
        assert!(Value::Table(stored.as_stored_table().unwrap().to_table().unwrap()) == copy);
        drop(own);
        drop(copy);
        let cyclic = sandbox.compute("local a, b = {}, {} a[1], b[1], a.x = b, a, a return a, b").unwrap();
        drop(cyclic);
    };
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap();
    thread.join().unwrap();
}

#[test]
fn busy_and_closed() {
    let (reached, wait_until_reached) = channel();
    let (go_on, wait) = channel();
    let store = Awkward(MemoryStore::new(), Some((reached, wait)));
    let sandbox = Arc::new(Sandbox::with_config(SandboxConfig::new().store(store)).unwrap());
    let home = sandbox.home();
    let runner = {
        let sandbox = Arc::clone(&sandbox);
        std::thread::spawn(move || sandbox.compute("return _home.slow"))
    };
    wait_until_reached.recv().unwrap();
    assert_eq!(sandbox.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(home.get("x").unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(sandbox.memory_stats().unwrap_err().kind(), ErrorKind::Busy);
    let closer = {
        let sandbox = Arc::clone(&sandbox);
        std::thread::spawn(move || sandbox.close())
    };
    while !sandbox.is_closed() {
        std::thread::yield_now();
    }
    assert_eq!(sandbox.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
    go_on.send(()).unwrap();
    assert!(runner.join().unwrap().is_ok(), "a run in progress comes to its end");
    closer.join().unwrap();
    for _ in 0..2 {
        assert_eq!(sandbox.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(home.get("x").unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(sandbox.reset().unwrap_err().kind(), ErrorKind::Closed);
        sandbox.close();
    }
}

/// A store that says when it is asked for one key and then waits, and that fails or panics at others.
struct Awkward(MemoryStore, Option<(Sender<()>, Receiver<()>)>);

impl TableStore for Awkward {
    pass_on!(delete size keys);
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        match key {
            "slow" => {
                if let Some((reached, wait)) = &self.1 {
                    reached.send(()).unwrap();
                    wait.recv().unwrap();
                }
            }
            "broken" => return Err("the disk is on fire".into()),
            "panic" => panic!("a bug in a store"),
            _ => {}
        }
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        if key == "unwritable" {
            return Err("the disk is full".into());
        }
        self.0.set(table, key, value)
    }
}

#[test]
fn a_store_that_fails() {
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(Awkward(MemoryStore::new(), None))).unwrap();
    let error = sandbox.compute("return _home.broken").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("the disk is on fire"), "{error}");
    let error = sandbox.compute("_home.unwritable = 1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("the disk is full"), "{error}");
    assert_eq!(sandbox.home().get("broken").unwrap_err().kind(), ErrorKind::Store);
    let caught = sandbox.compute("return pcall(function() return _home.broken end)").unwrap();
    assert!(!caught.get::<bool>().unwrap());
    assert_eq!(sandbox.compute("_home.x = 1 return _home.x").unwrap().get::<i64>().unwrap(), 1);
}

#[test]
fn a_store_that_panics() {
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(Awkward(MemoryStore::new(), None))).unwrap();
    sandbox.compute("_home.kept = {1}").unwrap();
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sandbox.compute("_home.lost = 1 return _home.panic")));
    assert!(result.is_err());
    assert_eq!(sandbox.compute("return _home.kept[1], _home.lost").unwrap().values, [1.into(), Value::Nil]);
}

#[test]
fn five_functions_are_a_store() {
    let store = Shelf::default();
    {
        let sandbox = Sandbox::with_config(SandboxConfig::new().store(store.clone())).unwrap();
        sandbox.compute("_home.a = {b = {1, 2, 3}} local n = 5 _home.f = function() return n end").unwrap();
        for _ in 0..3000 {
            sandbox.compute("_home.x = {{}}").unwrap();
        }
        assert_eq!(sandbox.table_count().unwrap(), None);
    }
    assert!(
        store.0.lock().unwrap().len() < 2000,
        "orphans of this session are removed: {}",
        store.0.lock().unwrap().len()
    );
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(store.clone())).unwrap();
    assert_eq!(sandbox.compute("return #_home.a.b, _home.f()").unwrap().values, [3.into(), 5.into()]);
    sandbox.compute("_home.new = {9}").unwrap();
    assert_eq!(sandbox.compute("return #_home.a.b, _home.new[1]").unwrap().values, [3.into(), 9.into()]);
}

/// The smallest store there can be, shared between sandboxes.
#[derive(Clone, Default)]
struct Shelf(Arc<std::sync::Mutex<Entries>>);

type Entries = BTreeMap<(u32, String), Vec<u8>>;

impl TableStore for Shelf {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let found = self.0.lock().unwrap().get(&(table, key.to_owned())).cloned();
        if let Some(value) = &found {
            read(value);
        }
        Ok(found.is_some())
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.lock().unwrap().insert((table, key.to_owned()), value.to_vec());
        Ok(())
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.0.lock().unwrap().remove(&(table, key.to_owned()));
        Ok(())
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        Ok(self.0.lock().unwrap().range((table, String::new())..(table + 1, String::new())).count() as u64)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let keys: Vec<String> =
            self.0.lock().unwrap().keys().filter(|(t, _)| *t == table).map(|(_, k)| k.clone()).collect();
        keys.iter().for_each(|key| visit(key));
        Ok(())
    }
}

#[test]
fn memory_limit() {
    let sandbox = Sandbox::with_config(SandboxConfig::new().memory_limit(8 << 20)).unwrap();
    sandbox.compute("x = 1").unwrap();
    let error = sandbox.compute("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
    assert_eq!(sandbox.compute("return x").unwrap().get::<i64>().unwrap(), 1);
    let caught = sandbox.compute("return pcall(string.rep, 'x', 100000000)").unwrap();
    assert_eq!(caught.values, [false.into(), "not enough memory".into()]);
}

#[test]
fn the_memory_alias_can_be_turned_off() {
    assert_eq!(one("return Memory == _home"), true.into());
    let sandbox = Sandbox::with_config(SandboxConfig::new().memory_alias(false)).unwrap();
    assert_eq!(sandbox.compute("return Memory").unwrap().into_value(), Value::Nil);
    sandbox.reset().unwrap();
    assert_eq!(sandbox.compute("return Memory").unwrap().into_value(), Value::Nil);
}

#[test]
fn more_sandboxes_than_the_pool_has() {
    let engine = Engine::new(EngineConfig::new().pool_size(3)).unwrap();
    let all: Vec<Sandbox> = (0..10).map(|_| engine.sandbox(SandboxConfig::new()).unwrap()).collect();
    for (i, sandbox) in all.iter().enumerate() {
        assert_eq!(
            sandbox
                .compute_with("x = ... return x", ComputeOptions::new().args((i as u32,)))
                .unwrap()
                .get::<usize>()
                .unwrap(),
            i
        );
    }
    let engine = Engine::new(EngineConfig::new().pool_size(0)).unwrap();
    assert!(!engine.is_pooled());
    assert_eq!(engine.sandbox(SandboxConfig::new()).unwrap().compute("return 1").unwrap().get::<i64>().unwrap(), 1);
}

#[test]
fn sandboxes_on_many_threads() {
    let engine = Engine::default();
    std::thread::scope(|scope| {
        for t in 0..8i64 {
            let engine = engine.clone();
            scope.spawn(move || {
                for i in 0..50i64 {
                    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
                    sandbox.home().set("n", t * 1000 + i).unwrap();
                    assert_eq!(sandbox.compute("return _home.n").unwrap().get::<i64>().unwrap(), t * 1000 + i);
                }
            });
        }
    });
    // One sandbox, moved from thread to thread.
    let sandbox = Arc::new(sandbox());
    for i in 0..5i64 {
        let sandbox = Arc::clone(&sandbox);
        std::thread::spawn(move || sandbox.compute(format!("n = (n or 0) + {i} return n")).unwrap()).join().unwrap();
    }
    assert_eq!(sandbox.compute("return n").unwrap().get::<i64>().unwrap(), 10);
}

#[test]
fn tables_have_the_semantics_of_values() {
    let mut a = Table::from_iter([1, 2, 3]);
    let b = a.clone();
    a.push(4);
    a.set("x", 1).unwrap();
    assert_eq!((a.len(), a.count(), b.len()), (4, 5, 3));
    a.set(5.0, 5).unwrap();
    assert_eq!(a.len(), 5, "a float key that is an integer is that integer");
    a.set(7, 7).unwrap();
    assert_eq!(a.len(), 5);
    a.set(6, 6).unwrap();
    assert_eq!(a.len(), 7, "what was in the hash part joins the sequence");
    a.set(7, Value::Nil).unwrap();
    assert_eq!(a.len(), 6);
    assert!(a.set(Value::Nil, 1).is_err() && a.set(f64::NAN, 1).is_err());
    assert!(!a.is_sequence() && b.is_sequence() && !Table::new().is_sequence());
    // A changed copy of an inner table does not change the outer one.
    let mut outer = Table::new();
    outer.set("inner", b).unwrap();
    let mut inner: Table = luacell::FromValue::from_value(outer.get("inner")).unwrap();
    inner.push(99);
    assert_eq!(outer.get("inner").as_table().unwrap().len(), 3);
    outer.set("inner", inner).unwrap();
    assert_eq!(outer.get("inner").as_table().unwrap().len(), 4);
    // A cyclic one included.
    let cyclic = one("local t = {1} t.me = t return t");
    let mut changed = cyclic.as_table().unwrap().clone();
    changed.set("new", 2).unwrap();
    assert_eq!(cyclic.as_table().unwrap().get("new"), Value::Nil);
    assert_eq!(changed.get("me").as_table().unwrap().get("new"), 2.into());
}

#[test]
fn clock_and_seed() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let there = one("return os.time()").as_integer().unwrap();
    assert!((there - now).abs() <= 1);
    assert!(one("return os.clock()").as_number().unwrap() < 5.0);
    let random: std::collections::HashSet<i64> =
        (0..10).map(|_| one("return math.random(0)").as_integer().unwrap()).collect();
    assert_eq!(random.len(), 10, "every sandbox has its own seed");
}

#[test]
fn many_errors_and_many_runs() {
    let sandbox = sandbox();
    let started = Instant::now();
    for i in 0..10_000 {
        assert!(sandbox.compute("error('no')").is_err());
        if i % 100 == 0 {
            assert_eq!(sandbox.compute("return 1").unwrap().get::<i64>().unwrap(), 1);
        }
    }
    let before = sandbox.memory_stats().unwrap();
    for _ in 0..10_000 {
        sandbox.compute("local t = {} for i = 1, 10 do t[i] = i end return t").unwrap();
    }
    sandbox.gc().unwrap();
    let after = sandbox.memory_stats().unwrap();
    assert!(after.wasm_bytes <= before.wasm_bytes + (1 << 20), "{before:?} {after:?} {:?}", started.elapsed());
}

#[test]
fn the_documented_error_kinds_are_the_real_ones() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/API_REFERENCE.md")).unwrap();
    let section = page.split("## ").find(|s| s.starts_with("Error kinds")).unwrap();
    let rows: Vec<(u16, &str)> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            Some((cells.next()?.parse().ok()?, cells.next()?.trim_matches('`')))
        })
        .collect();
    let kinds: Vec<(u16, &str)> = ErrorKind::ALL.iter().map(|kind| (kind.number(), kind.name())).collect();
    assert_eq!(rows, kinds);
    for kind in ErrorKind::ALL {
        assert_eq!(ErrorKind::from_number(kind.number()), Some(*kind));
    }
    assert_eq!(ErrorKind::from_number(0), None);
}

#[test]
fn messages_may_be_any_bytes() {
    let error = sandbox().compute("error('a\\xff', 0)").unwrap_err();
    assert_eq!(error.message(), "a\u{fffd}");
    assert_eq!(error.message_bytes(), b"a\xff");
}

#[test]
fn encoded_arguments_go_in_as_they_are() {
    let sandbox = luacell::Sandbox::new().unwrap();
    let values = [luacell::Value::from(vec![1, 2]), luacell::Value::from("x")];
    let mut bytes = Vec::new();
    luacell::wire::encode(&values, &mut bytes, &luacell::wire::NoHandles).unwrap();
    let options = || luacell::ComputeOptions::new().encoded_args(bytes.clone());
    assert_eq!(
        sandbox.compute_with("local t, s = ... return #t .. s", options()).unwrap().get::<String>().unwrap(),
        "2x"
    );
    sandbox.compute("function f(t, s) return t[1] .. s end").unwrap();
    assert_eq!(sandbox.call_with("f", options()).unwrap().get::<String>().unwrap(), "1x");
    for cut in 1..bytes.len() {
        // What is left may be shorter values; nothing worse happens.
        let _ = sandbox.compute_with("return ...", luacell::ComputeOptions::new().encoded_args(bytes[..cut].to_vec()));
    }
    assert!(sandbox.compute_with("return 1", luacell::ComputeOptions::new().encoded_args(vec![0xEE])).is_err());
    assert_eq!(sandbox.compute("return 1").unwrap().get::<i64>().unwrap(), 1);
}

/// Keeps one function and one view, and has functions of its own.
#[derive(Default)]
struct Kept(std::cell::RefCell<(Option<luacell::Function>, Option<luacell::StoredTable>)>);

impl luacell::wire::Handles for Kept {
    fn keep_function(&self, function: &luacell::Function) -> u32 {
        self.0.borrow_mut().0 = Some(function.clone());
        5
    }
    fn function(&self, number: u32) -> Option<luacell::Function> {
        self.0.borrow().0.clone().filter(|_| number == 5)
    }
    fn keep_table(&self, table: &luacell::StoredTable) -> u32 {
        self.0.borrow_mut().1 = Some(table.clone());
        7
    }
    fn table(&self, number: u32) -> Option<luacell::StoredTable> {
        self.0.borrow().1.clone().filter(|_| number == 7)
    }
    fn own_number(&self, function: &luacell::Function) -> Option<u32> {
        function.language_value()?.downcast_ref().copied()
    }
    fn own_function(&self, number: u32) -> Option<luacell::Function> {
        let call = move |_: Option<&luacell::LanguageData>, _| Ok(luacell::Reply::Now(vec![number.into()]));
        (number < 10).then(|| luacell::Function::of_language(number as usize + 1, std::sync::Arc::new(number), call))
    }
    fn own_object_number(&self, object: &luacell::Object) -> Option<u32> {
        object.language_value().downcast_ref().copied()
    }
    fn own_object(&self, number: u32, class: u32) -> Option<luacell::Object> {
        static CLASS: std::sync::OnceLock<luacell::LanguageClass> = std::sync::OnceLock::new();
        let own =
            |args: Vec<luacell::Value>| *args[0].as_object().unwrap().language_value().downcast_ref::<u32>().unwrap();
        let number_of: luacell::MemberFn = Box::new(move |_, args| Ok(luacell::Reply::Now(vec![own(args).into()])));
        let described = CLASS.get_or_init(|| {
            luacell::LanguageClass::new("Own", vec![(luacell::Member::Method, "number".into(), number_of)])
        });
        (class == 3).then(|| described.object(number as usize + 1, std::sync::Arc::new(number)))
    }
}

#[test]
fn objects_of_the_language_cross_as_its_own_numbers() {
    use luacell::wire;
    let shelf = Kept::default();
    let object = [0x0F, 6, 0, 0, 0, 3, 0, 0, 0];
    let args = wire::decode(&object, &shelf).unwrap();
    assert_eq!(args, wire::decode(&object, &shelf).unwrap());
    let sandbox = luacell::Sandbox::new().unwrap();
    let options = luacell::ComputeOptions::new().args(args);
    let back = sandbox.compute_with("local o = ... return o:number(), o, {o}", options).unwrap().values;
    assert_eq!(back[0], 6.into());
    let mut again = Vec::new();
    wire::encode(&back[1..2], &mut again, &shelf).unwrap();
    // The class is the core's number for it.
    assert_eq!(again[..5], object[..5]);
    assert_eq!(again.len(), object.len());
    assert!(wire::encode(&back[1..], &mut Vec::new(), &shelf).is_ok());
    assert!(wire::encode(&back[1..], &mut Vec::new(), &wire::NoHandles).is_err());
    // A class that nobody has described, a function in the place of an object, and the other way round.
    for bytes in [&[0x0F, 6, 0, 0, 0, 4, 0, 0, 0][..], &[0x0F, 6, 0, 0, 0, 3, 0, 0], &[0x0E, 10, 0, 0, 0]] {
        assert!(wire::decode(bytes, &shelf).is_err());
    }
    assert!(wire::decode(&object, &wire::NoHandles).is_err());
}

#[test]
fn functions_of_the_language_cross_as_its_own_numbers() {
    use luacell::{Value, wire};
    let shelf = Kept::default();
    let six = Value::Function(wire::Handles::own_function(&shelf, 6).unwrap());
    let mut bytes = Vec::new();
    wire::encode(std::slice::from_ref(&six), &mut bytes, &shelf).unwrap();
    assert_eq!(bytes, [0x0E, 6, 0, 0, 0]);
    assert_eq!(wire::decode(&bytes, &shelf).unwrap(), [six]);
    assert!(shelf.0.borrow().0.is_none(), "nobody has to keep it");
    let sandbox = luacell::Sandbox::new().unwrap();
    let back = sandbox.compute_with(
        "local f = ... return f(), f",
        luacell::ComputeOptions::new().args(wire::decode(&bytes, &shelf).unwrap()),
    );
    let back = back.unwrap().values;
    assert_eq!(back[0], 6.into());
    let mut again = Vec::new();
    wire::encode(&back[1..], &mut again, &shelf).unwrap();
    assert_eq!(again, bytes);
    for handles in [&shelf as &dyn wire::Handles, &wire::NoHandles] {
        assert!(wire::decode(&[0x0E, 10, 0, 0, 0], handles).is_err());
    }
}

#[test]
fn functions_and_views_cross_as_numbers() {
    use luacell::wire;
    let sandbox = luacell::Sandbox::new().unwrap();
    let values = sandbox.compute("_home.t = {1} return {function() end, string.upper}, _home.t").unwrap().values;
    let shelf = Kept::default();
    let mut bytes = Vec::new();
    wire::encode(&values[..], &mut bytes, &shelf).unwrap();
    let back = wire::decode(&bytes, &shelf).unwrap();
    assert_eq!(back[1], values[1]);
    assert_eq!(back[0].as_table().unwrap().get(2), values[0].as_table().unwrap().get(2));
    assert_eq!(wire::decode(&bytes, &wire::NoHandles).unwrap_err().kind(), luacell::ErrorKind::Closed);
    assert_eq!(wire::decode(&[0xEE], &shelf).unwrap_err().kind(), luacell::ErrorKind::InvalidArgument);
    // Nobody knows these two, and so not whether they are the same key: that isn't the bytes' fault.
    let keys = sandbox.compute("return {[function() end] = 1, [string.upper] = 2}").unwrap().values;
    bytes.clear();
    wire::encode(&keys[..], &mut bytes, &wire::NoHandles).unwrap();
    assert_eq!(wire::decode(&bytes, &wire::NoHandles).unwrap_err().kind(), luacell::ErrorKind::Closed);
}
