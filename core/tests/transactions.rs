//! Several runs and writes as one transaction, and runs that are kept although they fail.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use luacell::{
    ComputeOptions, Engine, EngineConfig, Error, ErrorKind, FileStore, FromValue, MemoryStore, Result, Sandbox,
    SandboxConfig, StoreResult, TableStore,
};

fn get<T: FromValue>(sandbox: &Sandbox, source: &str) -> T {
    sandbox.compute(source).unwrap().get().unwrap()
}

fn refused<T>() -> Result<T> {
    Err(Error::host("no"))
}

/// Sandboxes with tables in each kind of place.
fn everywhere(test: impl Fn(Sandbox)) {
    test(Sandbox::new().unwrap());
    test(Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new())).unwrap());
    let folder = tempfile::tempdir().unwrap();
    test(Sandbox::with_config(SandboxConfig::new().store(folder.path().join("file"))).unwrap());
}

const START: &str = "
    _home.n = 1
    _home.list = {1, 2, 3}
    local count = 0
    function counter() count = count + 1 return count end
    _home.counter = counter
    counter()";

const CHANGE: [&str; 3] = [
    "_home.n = 2 _home.list[4] = 4 mine = {inner = {5}} _home.mine = mine counter()",
    "_home.mine.more = {6} _home.list = nil counter() local up = 7 f = function() up = up + 1 return up end _home.f = f f()",
    "assert(_home.mine.inner[1] == 5 and f() == 9 and _home.n == 2) _home.n = 3 counter()",
];

fn is_as_before(sandbox: &Sandbox) {
    let source = "
        assert(_home.n == 1 and #_home.list == 3 and _home.mine == nil and _home.f == nil)
        -- Plain again, with their content.
        if mine then assert(mine.inner[1] == 5 and (mine.more == nil or mine.more[1] == 6)) rawset(mine, 'x', 1) assert(rawget(mine, 'x') == 1) mine = nil end
        assert(counter() == 2 and _home.counter() == 3)
        local before = _home.n
        _home.n = 1";
    sandbox.compute(source).unwrap();
}

#[test]
fn all_or_nothing() {
    everywhere(|sandbox| {
        sandbox.compute(START).unwrap();
        let result = sandbox.transaction(|tx| {
            for source in CHANGE {
                tx.compute(source)?;
            }
            tx.home().set("host", 1)?;
            assert_eq!(tx.home().get("host")?.as_integer(), Some(1));
            assert_eq!(tx.call("counter", ())?.get::<i64>()?, 5);
            refused::<()>()
        });
        assert_eq!(result.unwrap_err().message(), "no");
        assert!(sandbox.home().get("host").unwrap().is_nil());
        is_as_before(&sandbox);
        // And now it is kept.
        sandbox.compute("_home.counter = nil").unwrap();
        sandbox.compute(START).unwrap();
        let value = sandbox
            .transaction(|tx| {
                for source in CHANGE {
                    tx.compute(source)?;
                }
                tx.home().set("host", 1)?;
                Ok(5)
            })
            .unwrap();
        assert_eq!(value, 5);
        let source = "return _home.n == 3 and _home.mine.more[1] == 6 and _home.list == nil and counter() == 5 and _home.f() == 10 and _home.host == 1";
        assert!(get::<bool>(&sandbox, source));
    });
}

#[test]
fn what_fails_within_ends_it() {
    type Failure = dyn Fn(&Sandbox) -> Result<()>;
    let failures: [&Failure; 4] = [
        &|tx| tx.compute("_home.n = 9 _home.y = {} error('first')").map(drop),
        &|tx| tx.compute_with("_home.n = 9 while true do end", ComputeOptions::new().instruction_limit(1000)).map(drop),
        &|tx| tx.home().set("f", tx.compute("return function() end")?.value().clone()),
        &|tx| tx.compute("local").map(drop),
    ];
    for failure in failures {
        everywhere(|sandbox| {
            sandbox.compute(START).unwrap();
            let mut kind = None;
            let result = sandbox.transaction(|tx| {
                for source in CHANGE {
                    tx.compute(source)?;
                }
                let error = failure(tx).unwrap_err();
                kind = Some(error.kind());
                // It is over, whatever comes.
                assert_eq!(tx.compute("_home.n = 5").unwrap_err().kind(), error.kind());
                assert_eq!(tx.home().set("n", 5).unwrap_err().kind(), error.kind());
                Ok(())
            });
            assert_eq!(Some(result.unwrap_err().kind()), kind);
            is_as_before(&sandbox);
        });
    }
}

#[test]
fn others_wait_outside() {
    let sandbox = Arc::new(Sandbox::new().unwrap());
    let other = Arc::clone(&sandbox);
    sandbox
        .transaction(|tx| {
            tx.compute("_home.x = 1")?;
            let kinds = std::thread::spawn(move || {
                let kinds = [other.compute("return 1").unwrap_err().kind(), other.home().get("x").unwrap_err().kind()];
                (kinds, other.transaction(|_| Ok(())).unwrap_err().kind())
            });
            assert_eq!(kinds.join().unwrap(), ([ErrorKind::Busy; 2], ErrorKind::Busy));
            let impossible = [
                tx.gc().unwrap_err(),
                tx.reset().unwrap_err(),
                tx.snapshot().unwrap_err(),
                tx.fork().unwrap_err(),
                tx.transaction(|_| Ok(())).unwrap_err(),
            ];
            for error in impossible {
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
                assert!(error.message().contains("within a transaction"), "{error}");
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(get::<i64>(&sandbox, "return _home.x"), 1);
}

#[test]
fn a_panic_takes_it_back() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(START).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = sandbox.transaction(|tx| {
            tx.compute(CHANGE[0]).unwrap();
            assert!(tx.home().is_empty().unwrap(), "on purpose");
            Ok(())
        });
    }));
    assert!(panicked.is_err());
    is_as_before(&sandbox);
    sandbox.transaction(|tx| tx.compute("_home.n = 4")).unwrap();
    assert_eq!(get::<i64>(&sandbox, "return _home.n"), 4);
}

#[test]
fn from_within_a_host_function_it_is_busy() {
    let sandbox = Arc::new(Sandbox::new().unwrap());
    let weak = Arc::downgrade(&sandbox);
    sandbox
        .register("try", move |(): ()| {
            let error = weak.upgrade().unwrap().transaction(|_| Ok(())).unwrap_err();
            Ok(error.kind() == ErrorKind::Busy)
        })
        .unwrap();
    assert!(get::<bool>(&sandbox, "return try()"));
    // But a run of a transaction may call host functions that use the sandbox.
    let weak = Arc::downgrade(&sandbox);
    sandbox.register("put", move |n: i64| weak.upgrade().unwrap().home().set("n", n)).unwrap();
    let _ = sandbox.transaction(|tx| {
        tx.compute("put(5) assert(_home.n == 5)")?;
        refused::<()>()
    });
    assert!(get::<bool>(&sandbox, "return _home.n == nil"));
}

/// What a store around another one leaves to it.
macro_rules! as_in_memory {
    () => {
        fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
            self.0.delete(table, key)
        }
        fn size(&mut self, table: u32) -> StoreResult<u64> {
            self.0.size(table)
        }
        fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
            self.0.keys(table, visit)
        }
    };
}

/// Fails to commit when the test says so.
struct Broken(MemoryStore, Arc<std::sync::atomic::AtomicBool>);

impl TableStore for Broken {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return Err("the disk is full".into());
        }
        self.0.set(table, key, value)
    }
    as_in_memory!();
}

#[test]
fn a_commit_that_fails_takes_all_back() {
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let store = Broken(MemoryStore::new(), Arc::clone(&broken));
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
    sandbox.compute(START).unwrap();
    broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let result = sandbox.transaction(|tx| CHANGE.iter().try_for_each(|source| tx.compute(source).map(drop)));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Store);
    // The same for a failed run that was to be kept.
    let options = || ComputeOptions::new().commit_on_error(true);
    let error = sandbox.compute_with(format!("{} error('x')", CHANGE[0]), options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    broken.store(false, std::sync::atomic::Ordering::Relaxed);
    is_as_before(&sandbox);
}

#[test]
fn sandboxes_on_one_file_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("file")).unwrap();
    let a = Sandbox::with_config(SandboxConfig::new().store(store.clone())).unwrap();
    let b = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
    a.compute("_home.n = 1").unwrap();
    let add = |between: &dyn Fn()| {
        a.transaction(|tx| {
            let n = tx.home().get("n")?.as_integer().unwrap_or_default();
            between();
            tx.home().set("n", n + 1)?;
            tx.compute("_home.t = {}")
        })
    };
    let error = add(&|| drop(b.compute("_home.n = 10").unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    add(&|| ()).unwrap();
    assert_eq!(get::<i64>(&b, "return _home.n"), 11);
}

#[test]
fn kept_although_it_failed() {
    everywhere(|sandbox| {
        sandbox.compute(START).unwrap();
        let options = || ComputeOptions::new().commit_on_error(true).instruction_limit(100_000);
        let source = "_home.n = 7 _home.mine = {inner = {1}} mine = _home.mine counter() ";
        let error = sandbox.compute_with(format!("{source} error('x')"), options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Runtime);
        let check = "return _home.n == 7 and _home.mine.inner[1] == 1 and mine == _home.mine and counter() == 3 and _home.counter() == 4";
        assert!(get::<bool>(&sandbox, check));
        let error = sandbox.compute_with("_home.n = 8 counter() while true do end", options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InstructionLimit);
        assert!(get::<bool>(&sandbox, "return _home.n == 8 and counter() == 6"));
        // Only what asked for it.
        sandbox.compute("_home.n = 9 error('x')").unwrap_err();
        assert!(get::<bool>(&sandbox, "return _home.n == 8"));
        // Within a transaction it does not end that.
        sandbox
            .transaction(|tx| {
                tx.compute_with("_home.n = 10 error('x')", options()).unwrap_err();
                tx.compute("assert(_home.n == 10) _home.n = 11")
            })
            .unwrap();
        assert_eq!(get::<i64>(&sandbox, "return _home.n"), 11);
    });
    let always = Sandbox::with_config(SandboxConfig::new().commit_on_error(true)).unwrap();
    always.compute("_home.x = 1 error('x')").unwrap_err();
    assert_eq!(get::<i64>(&always, "return _home.x"), 1);
}

/// A sandbox whose guest can be made to crash: by a stack that is too small for what it does.
fn fragile(config: SandboxConfig) -> Sandbox {
    let sandbox = Engine::new(EngineConfig::new().max_stack(64 << 10).pool_size(2)).unwrap().sandbox(config).unwrap();
    // It is there again after each crash.
    sandbox.register("one", |()| Ok(1)).unwrap();
    sandbox
}

const CRASH: &str =
    "local function f(n) return (string.gsub('x', 'x', function() return pcall(f, n + 1) end)) end return f(0)";

/// A new instance has been told nothing of what the one before it knew.
#[test]
fn after_a_crash_everything_holds_that_held_before() {
    let sandbox = fragile(SandboxConfig::new().memory_limit(8 << 20).output_limit(100));
    let narrow = || ComputeOptions::new().memory_limit(4 << 20).output_limit(10).instruction_limit(5000);
    for limits in [narrow, ComputeOptions::new] {
        let crash = || limits().instruction_limit(u64::MAX).commit_on_error(true);
        for _ in 0..2 {
            assert_eq!(sandbox.compute_with(CRASH, crash()).unwrap_err().kind(), ErrorKind::Trap);
            // The same limits as in the run before.
            let error = sandbox.compute_with("_home.kept = 1 return ('x'):rep(9 << 20)", crash()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Memory);
            assert!(get::<bool>(&sandbox, "return _home.kept == 1"));
            assert_eq!(sandbox.compute_with(CRASH, crash()).unwrap_err().kind(), ErrorKind::Trap);
            let error = sandbox.compute_with("print(('x'):rep(100))", crash()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutputLimit);
            assert_eq!(sandbox.compute_with(CRASH, crash()).unwrap_err().kind(), ErrorKind::Trap);
            // What the first run returns can be used at once, and goes back in.
            let out = sandbox.compute("n = 5 return function(f) return f and f() or n end").unwrap();
            let function: luacell::Function = out.get().unwrap();
            assert_eq!(function.call(()).unwrap().get::<i64>().unwrap(), 5);
            assert_eq!(function.call((function.clone(),)).unwrap().get::<i64>().unwrap(), 5);
            assert_eq!(get::<i64>(&sandbox, "return one()"), 1);
            // That of an earlier one can't.
            assert_eq!(sandbox.compute_with(CRASH, crash()).unwrap_err().kind(), ErrorKind::Trap);
            assert_eq!(function.call(()).unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(get::<i64>(&sandbox, "return 1"), 1);
            assert_eq!(function.call(()).unwrap_err().kind(), ErrorKind::Closed);
            sandbox.home().clear().unwrap();
        }
    }
}

#[test]
fn a_crash_within_a_transaction_ends_it() {
    let sandbox = fragile(SandboxConfig::new());
    sandbox.compute("_home.n = 1").unwrap();
    let result = sandbox.transaction(|tx| {
        tx.compute("_home.n = 2")?;
        assert_eq!(tx.compute(CRASH).unwrap_err().kind(), ErrorKind::Trap);
        assert_eq!(tx.home().set("n", 3).unwrap_err().kind(), ErrorKind::Trap);
        assert_eq!(tx.compute("_home.n = 4").unwrap_err().kind(), ErrorKind::Trap);
        Ok(())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Trap);
    // The next runs are no part of one: each is taken back alone.
    sandbox.compute("_home.n = _home.n + 1 mine = {7} _home.mine = mine").unwrap();
    sandbox.compute("_home.mine = nil _home.n = 9 error('x')").unwrap_err();
    assert!(get::<bool>(&sandbox, "return _home.n == 2 and _home.mine[1] == 7 and mine[1] == 7"));
}

/// A crash of a run inside a host function: the guest that called it is the same one.
#[test]
fn a_crash_inside_a_host_function_ends_the_outer_run() {
    let sandbox = Arc::new(fragile(SandboxConfig::new()));
    for narrower in [false, true] {
        let weak = Arc::downgrade(&sandbox);
        sandbox
            .register("inside", move |source: String| {
                let options = if narrower { ComputeOptions::new().output_limit(5) } else { ComputeOptions::new() };
                // What the host function makes of it does not matter.
                let _ = weak.upgrade().unwrap().compute_with(source, options);
                Ok(())
            })
            .unwrap();
        let error = sandbox.call("inside_of", ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Runtime);
        let source = format!("_home.n = 1 pcall(inside, [[{CRASH}]]) print('more than five') _home.n = 2 return 1");
        assert_eq!(sandbox.compute(source).unwrap_err().kind(), ErrorKind::Trap, "{narrower}");
        assert!(sandbox.home().is_empty().unwrap());
        assert_eq!(sandbox.compute("print('more than five') return one()").unwrap().values, [1.into()]);
    }
}

/// The guest has succeeded, and the host finds that it must not have: Lua's own view of its tables agrees with that.
#[test]
fn what_the_host_refuses_afterwards_is_taken_back_in_lua_too() {
    let panics = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = Arc::clone(&panics);
    let config = SandboxConfig::new().on_print(move |_| assert!(!flag.load(std::sync::atomic::Ordering::Relaxed)));
    let sandbox = Sandbox::with_config(config).unwrap();
    sandbox.compute(START).unwrap();
    for on_error in [false, true] {
        let options = ComputeOptions::new().commit_on_error(on_error);
        let error = sandbox.compute_with(format!("{} print('x')", CHANGE[0]), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostFunction, "{error}");
        is_as_before(&sandbox);
        sandbox.compute("_home.counter = nil").unwrap();
        sandbox.compute(START).unwrap();
    }
}

/// Fails or panics at the key of that name.
struct Fragile(MemoryStore);

impl TableStore for Fragile {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        assert_ne!(key, "panic", "on purpose");
        if table == 2 && key == "meta" {
            return Err("the disk is gone".into());
        }
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.set(table, key, value)
    }
    as_in_memory!();
}

#[test]
fn a_store_that_panics_within_a_transaction_ends_it() {
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(Fragile(MemoryStore::new()))).unwrap();
    sandbox.compute("_home.n = 1").unwrap();
    let result = sandbox.transaction(|tx| {
        tx.compute("_home.n = 2")?;
        let read = std::panic::AssertUnwindSafe(|| tx.home().get("panic"));
        assert!(std::panic::catch_unwind(read).is_err());
        // Half of a transaction is none.
        let _ = tx.compute("_home.m = 2");
        Ok(())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Trap);
    assert!(get::<bool>(&sandbox, "return _home.n == 1 and _home.m == nil"));
}

/// Panics at one of its writes.
struct Shaky(MemoryStore, Arc<std::sync::atomic::AtomicI64>);

impl Shaky {
    fn write(&self) {
        assert_ne!(self.1.fetch_sub(1, std::sync::atomic::Ordering::Relaxed), 0, "on purpose");
    }
}

impl TableStore for Shaky {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.write();
        self.0.set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.write();
        self.0.delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.0.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.0.keys(table, visit)
    }
}

#[test]
fn a_commit_in_which_the_store_panics_is_all_or_nothing() {
    for write in 0..8 {
        let writes = Arc::new(std::sync::atomic::AtomicI64::new(-1));
        let store = Shaky(MemoryStore::new(), Arc::clone(&writes));
        let sandbox = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
        sandbox.compute("_home.a = {1} _home.b = 1").unwrap();
        writes.store(write, std::sync::atomic::Ordering::Relaxed);
        let run = || sandbox.compute("_home.new = {x = 'new', y = {z = 1}} _home.b = 2").is_ok();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok();
        writes.store(-1, std::sync::atomic::Ordering::Relaxed);
        // A table that comes next is another one.
        sandbox.compute("_home.other = {x = 'other', y = 1}").unwrap();
        let state = get::<String>(&sandbox, "local n = _home.new return _home.b .. (n and n.x .. n.y.z or '')");
        assert_eq!(state, if done { "2new1" } else { "1" }, "{write}");
    }
}

/// The same when a store panics there: that leaves the guest in the middle of the run, and from then on no limit would
/// hold.
#[test]
fn a_panic_in_a_run_inside_a_host_function_ends_the_outer_run() {
    let config = SandboxConfig::new().store(Fragile(MemoryStore::new())).instruction_limit(1_000_000);
    let sandbox = Arc::new(Sandbox::with_config(config).unwrap());
    for options in [ComputeOptions::new, || ComputeOptions::new().output_limit(5)] {
        let weak = Arc::downgrade(&sandbox);
        sandbox
            .register("inside", move |caught: bool| {
                let inner = weak.upgrade().unwrap();
                let run = || inner.compute_with("return _home.panic", options()).map(drop);
                if caught {
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(Ok(()))
                } else {
                    run()
                }
            })
            .unwrap();
        for caught in [false, true] {
            let source = format!("_home.n = 1 pcall(inside, {caught}) _home.n = 2 return 1");
            assert_eq!(sandbox.compute(source).unwrap_err().kind(), ErrorKind::Trap, "{caught}");
            assert!(sandbox.home().is_empty().unwrap());
            let outcome = sandbox.compute("print('out') for i = 1, 1000 do end return 1").unwrap();
            assert_eq!(outcome.output.as_bytes(), b"out\n");
            assert!((1000..10_000).contains(&outcome.metrics.instructions));
            assert_eq!(sandbox.compute("while true do end").unwrap_err().kind(), ErrorKind::InstructionLimit);
        }
    }
}
