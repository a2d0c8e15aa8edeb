//! Several runs and writes as one transaction, and runs that are kept although they fail.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use luacell::{
    ComputeOptions, Error, ErrorKind, FileStore, FromValue, MemoryStore, Result, Sandbox, SandboxConfig, StoreResult,
    TableStore,
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
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
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
