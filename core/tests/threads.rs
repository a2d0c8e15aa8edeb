//! What several threads do with the same objects at once. `cargo xtask sanitize thread` runs this with ThreadSanitizer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use luacell::{Engine, EngineConfig, ErrorKind, FileStore, Sandbox, SandboxConfig, Value};

const THREADS: usize = 8;

/// Runs the same on all threads, which begin at the same time.
fn together(body: impl Fn(usize) + Sync) {
    let start = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (start, body) = (&start, &body);
            scope.spawn(move || {
                start.wait();
                body(number);
            });
        }
    });
}

#[test]
fn sandboxes_come_and_go() {
    // Some from the pool, some not.
    let engine = Engine::new(EngineConfig::new().pool_size(4)).unwrap();
    together(|number| {
        for round in 0..20 {
            let lua = engine.sandbox(SandboxConfig::new()).unwrap();
            lua.register("me", move |()| Ok(number as i64)).unwrap();
            let n: i64 = lua.compute(format!("_home.n = me() * 1000 + {round} return _home.n")).unwrap().get().unwrap();
            assert_eq!(n, (number * 1000 + round) as i64);
        }
    });
}

#[test]
fn one_sandbox_is_used_by_one_at_a_time() {
    let lua = Sandbox::new().unwrap();
    let (succeeded, busy) = (AtomicI64::new(0), AtomicI64::new(0));
    together(|_| {
        for _ in 0..200 {
            let counter = match lua.compute("n = (n or 0) + 1 _home.n = n") {
                Ok(_) => &succeeded,
                Err(error) if error.kind() == ErrorKind::Busy => &busy,
                Err(error) => panic!("{error}"),
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!(succeeded.load(Ordering::Relaxed) + busy.load(Ordering::Relaxed), 200 * THREADS as i64);
    let n: (i64,) = (lua.compute("return n").unwrap().get().unwrap(),);
    assert_eq!(n.0, succeeded.load(Ordering::Relaxed));
}

#[test]
fn interrupts_meet_runs_that_begin_and_end() {
    let sandboxes: Vec<Sandbox> = (0..THREADS).map(|_| Sandbox::new().unwrap()).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                sandboxes.iter().for_each(Sandbox::interrupt);
            }
        });
        together(|number| {
            for _ in 0..100 {
                match sandboxes[number].compute("local n = 0 for i = 1, 10000 do n = n + i end return n") {
                    Ok(outcome) => assert_eq!(outcome.value().as_integer(), Some(50_005_000)),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
                }
            }
            // Endless, so that it ends only so.
            assert_eq!(sandboxes[number].compute("while true do end").unwrap_err().kind(), ErrorKind::Interrupted);
        });
        over.store(true, Ordering::Relaxed);
    });
    sandboxes.iter().for_each(|lua| assert!(lua.compute("return 1").is_ok()));
}

#[test]
fn closing_while_others_use_it() {
    for _ in 0..10 {
        let lua = Sandbox::new().unwrap();
        let (home, interrupter) = (lua.home(), lua.interrupter());
        together(|number| {
            for round in 0..20 {
                if number == 0 && round == 10 {
                    lua.close();
                }
                interrupter.interrupt();
                let allowed = |kind| matches!(kind, ErrorKind::Busy | ErrorKind::Closed | ErrorKind::Interrupted);
                for kind in [lua.compute("return 1").map(drop), home.set("x", 1)]
                    .into_iter()
                    .filter_map(|r| Some(r.err()?.kind()))
                {
                    assert!(allowed(kind), "{kind}");
                }
            }
        });
        assert_eq!(lua.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn what_belongs_to_a_sandbox_is_dropped_elsewhere() {
    let lua = Sandbox::new().unwrap();
    for _ in 0..20 {
        let outcome = lua.compute("_home.t = {1} return _home.t, function() return 7 end, {2}").unwrap();
        let [Value::StoredTable(table), Value::Function(function), _] = outcome.values.as_slice() else {
            panic!("{:?}", outcome.values)
        };
        let (table, function) = (table.clone(), function.clone());
        together(|_| {
            drop((table.clone(), function.clone()));
            match function.call(()) {
                Ok(outcome) => assert_eq!(outcome.value(), &Value::Integer(7)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Busy),
            }
        });
        thread::spawn(move || drop((table, function, outcome))).join().unwrap();
    }
}

#[test]
fn a_snapshot_is_shared() {
    let lua = Sandbox::new().unwrap();
    lua.compute("list = {} for i = 1, 1000 do list[i] = i end _home.x = {1}").unwrap();
    let (engine, snapshot) = (Engine::default(), lua.snapshot().unwrap());
    together(|number| {
        for _ in 0..5 {
            let copy = engine.sandbox_from(&snapshot, SandboxConfig::new()).unwrap();
            let sum =
                copy.compute(format!("list[1] = {number} _home.x[1] = list[1] return #list, _home.x[1]")).unwrap();
            assert_eq!(sum.values, [Value::Integer(1000), Value::from(number as i64)]);
        }
    });
}

#[test]
fn a_file_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let file = FileStore::open(folder.path().join("store")).unwrap();
    let new = || Sandbox::with_config(SandboxConfig::new().store(file.clone()).conflict_retries(100_000)).unwrap();
    together(|_| {
        let lua = new();
        for _ in 0..10 {
            lua.compute("_home.n = (_home.n or 0) + 1").unwrap();
        }
    });
    assert_eq!(new().compute("return _home.n").unwrap().value(), &Value::from(10 * THREADS as i64));
}

/// Others who only look whether it is free must not make a transaction's own thread find it in use: least of all at its
/// end, which would leave it open.
#[test]
fn a_transaction_beside_those_who_look() {
    const ROUNDS: i64 = 300;
    let lua = Sandbox::new().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = lua.gc();
                }
            });
        }
        let mut done = 0;
        while done < ROUNDS {
            let mut begun = false;
            let result = lua.transaction(|tx| {
                begun = true;
                (0..20).try_for_each(|key| tx.home().set(key, done))
            });
            match result {
                Ok(()) => done += 1,
                Err(error) => assert!(!begun && error.kind() == ErrorKind::Busy, "{error}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(lua.home().get(19).unwrap().as_integer(), Some(ROUNDS - 1));
    lua.transaction(|_| Ok(())).unwrap();
}
