//! A file under an open store: processes that fork, files that are deleted, replaced, cut off, linked or not to be
//! written.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
#![allow(unsafe_code, reason = "there is no safe fork")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use luacell::{Durability, Error, ErrorKind, FileStore, Sandbox, SandboxConfig, TableStore, Value};

fn open(path: &Path) -> Sandbox {
    try_open(path).unwrap()
}

fn try_open(path: &Path) -> Result<Sandbox, Error> {
    Sandbox::with_config(SandboxConfig::new().store(path))
}

/// One test at a time: a process that is forked off has the locks that other threads held.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fails<T: std::fmt::Debug>(result: Result<T, Error>, part: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error}");
    assert!(error.message().contains(part), "{error}");
}

fn integer(sandbox: &Sandbox, source: &str) -> i64 {
    sandbox.compute(source).unwrap().get().unwrap()
}

/// Runs `body` in a forked process; its number.
fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: the child uses what this thread has, and malloc, which libc sees to.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ended = catch_unwind(AssertUnwindSafe(body));
        if let Err(why) = &ended {
            // Past the harness, which keeps what is printed.
            let why = why.downcast_ref::<String>().map_or("a check failed", String::as_str);
            let _ = std::io::stderr().write_all(format!("in the child: {why}\n").as_bytes());
        }
        // SAFETY: ends the child without running what belongs to its parent.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    child
}

fn join(child: i32) {
    let mut status = -1;
    // SAFETY: the number is ours, and outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "a check in the child failed");
}

/// At any moment there is no file, or one that can be used.
#[test]
fn who_is_killed_while_making_a_file_leaves_none_that_is_half_made() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = |i: u32| folder.path().join(format!("{i}.luacell"));
    let begun = Instant::now();
    drop(FileStore::open(path(0)).unwrap());
    let whole = begun.elapsed();
    let mut killed = 0;
    for i in 1..=120 {
        let child = fork(|| drop(FileStore::open(path(i)).unwrap()));
        let begun = Instant::now();
        while begun.elapsed() < whole * i / 100 {
            std::hint::spin_loop();
        }
        let mut status = 0;
        // SAFETY: the child is ours, and the number outlives the call.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        }
        killed += u32::from(status == libc::SIGKILL);
        assert_eq!(integer(&open(&path(i)), "_home.n = (_home.n or 0) + 1 return _home.n"), 1, "{i}");
    }
    assert!(killed > 20, "{killed}");
}

const FILL: &str = "_home.n = 0 _home.big = {} for i = 1, 5000 do _home.big[i] = ('x'):rep(50) end";
const CHECK: &str =
    "local good = 0 for i = 1, 5000 do good = good + (_home.big[i] == ('x'):rep(50) and 1 or 0) end return good";
const COUNT: &str = "_home.n = _home.n + 1 _home.w = _home.w or {} _home.w[_home.n] = ('y'):rep(100)";

/// Three workers that a process forked while it had the file open: they are refused whatever they try, and what they
/// drop harms nobody.
#[test]
fn a_forked_process_does_not_have_the_file() {
    let _alone = alone();
    for durability in [Durability::Full, Durability::Relaxed] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.luacell");
        let config = || {
            SandboxConfig::new()
                .store(FileStore::options().durability(durability).cache_size(1 << 20).open(&path).unwrap())
        };
        let mut store = FileStore::open(&path).unwrap();
        store.begin().unwrap();
        assert_eq!(store.size(1).unwrap(), 0);
        let mut all = Some((Sandbox::with_config(config()).unwrap(), Sandbox::with_config(config()).unwrap(), store));
        all.as_ref().unwrap().0.compute(FILL).unwrap();
        let workers: Vec<i32> = (0..3)
            .map(|_| {
                fork(|| {
                    let (sandbox, other, store) = all.as_mut().unwrap();
                    for _ in 0..20 {
                        fails(sandbox.compute(COUNT), "before a fork");
                        fails(sandbox.compute("return _home.n"), "before a fork");
                        fails(sandbox.home().set("n", 7), "before a fork");
                        fails(sandbox.export_home(), "before a fork");
                        fails(other.compute("_home.x = {}"), "before a fork");
                    }
                    // What needs no store works.
                    assert_eq!(integer(sandbox, "return 1 + 1"), 2);
                    assert!(store.set(1, "x", b"\0").is_err() && store.sync().is_err());
                    // By itself it can have it when nobody else has it.
                    fails(try_open(&path), "in use by another process");
                    drop((sandbox.fork(), other.snapshot(), store.clone()));
                    drop(all.take());
                    fails(try_open(&path), "in use by another process");
                })
            })
            .collect();
        let (sandbox, other, _) = all.as_ref().unwrap();
        for _ in 0..50 {
            sandbox.compute(COUNT).unwrap();
        }
        workers.into_iter().for_each(join);
        // Its lock is still there: nobody else gets in.
        join(fork(|| fails(try_open(&path), "in use by another process")));
        assert_eq!(integer(other, "return _home.n"), 50);
        assert_eq!(integer(sandbox, CHECK), 5000);
        drop(all);
        let sandbox = open(&path);
        assert_eq!(integer(&sandbox, "return _home.n + #_home.w"), 100);
        assert_eq!(integer(&sandbox, CHECK), 5000);
    }
}

/// A run that was under way in a host function when the process forked.
#[test]
fn a_fork_in_the_middle_of_a_run() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let sandbox = open(&path);
    sandbox.compute(FILL).unwrap();
    sandbox
        .register("fork", move |(): ()| {
            // SAFETY: as above.
            Ok(i64::from(unsafe { libc::fork() }))
        })
        .unwrap();
    let ran = sandbox.compute("_home.n = _home.n + 1 local child = fork() _home.n = _home.n + 1 return child");
    match ran {
        Ok(outcome) => join(outcome.get::<i64>().unwrap() as i32),
        Err(error) => {
            let refused = error.kind() == ErrorKind::Store;
            std::mem::forget(sandbox);
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
    }
    assert_eq!(integer(&sandbox, "return _home.n"), 2);
}

/// A run of another thread does not come to its end in a forked process, and nobody there waits for that.
#[test]
fn a_fork_while_another_thread_runs() {
    let _alone = alone();
    let sandbox = Sandbox::new().unwrap();
    let (running, ran) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (begin, end) = (Arc::clone(&running), Arc::clone(&ran));
    sandbox
        .register("wait", move |(): ()| {
            begin.wait();
            end.wait();
            Ok(())
        })
        .unwrap();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| sandbox.compute("wait()").map(drop));
        running.wait();
        sandbox.interrupt();
        let child = fork(|| {
            assert_eq!(sandbox.compute("return 1").unwrap_err().kind(), ErrorKind::Busy);
            sandbox.close();
            assert_eq!(sandbox.compute("return 1").unwrap_err().kind(), ErrorKind::Closed);
        });
        join(child);
        ran.wait();
        assert_eq!(worker.join().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
    });
    assert_eq!(integer(&sandbox, "return 1"), 1);
}

/// Workers that open the file themselves take turns and lose nothing.
#[test]
fn forked_workers_take_turns() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let sandbox = open(&path);
    sandbox.compute(FILL).unwrap();
    let workers: Vec<i32> = (0..3)
        .map(|_| {
            fork(|| {
                for _ in 0..10 {
                    let mine = loop {
                        match try_open(&path) {
                            Ok(sandbox) => break sandbox,
                            Err(error) => assert!(error.message().contains("in use by another process"), "{error}"),
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    };
                    (0..5).for_each(|_| drop(mine.compute(COUNT).unwrap()));
                    drop(mine);
                }
            })
        })
        .collect();
    (0..20).for_each(|_| drop(sandbox.compute(COUNT).unwrap()));
    drop(sandbox);
    workers.into_iter().for_each(join);
    let sandbox = open(&path);
    assert_eq!(integer(&sandbox, "return _home.n"), 20 + 3 * 50);
    assert_eq!(integer(&sandbox, "return #_home.w"), 20 + 3 * 50);
    assert_eq!(integer(&sandbox, CHECK), 5000);
}

/// A sandbox with its tables in memory is a copy in the child, with all that it had.
#[test]
fn a_sandbox_in_memory_goes_on_in_both() {
    let _alone = alone();
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute(FILL).unwrap();
    sandbox.compute("n = 5 co = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) co()").unwrap();
    let child = fork(|| {
        assert_eq!(integer(&sandbox, "n = n + 1 return n"), 6);
        assert_eq!(integer(&sandbox, "return co()"), 2);
        sandbox.compute(COUNT).unwrap();
        assert_eq!(integer(&sandbox, "return _home.n"), 1);
        assert_eq!(integer(&sandbox.fork().unwrap(), CHECK), 5000);
        assert_eq!(integer(&Sandbox::new().unwrap(), "return 3"), 3);
    });
    join(child);
    assert_eq!(integer(&sandbox, "return n + _home.n + co()"), 7);
}

#[test]
fn a_file_that_is_not_where_it_was() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let elsewhere = folder.path().join("elsewhere");
    let other = folder.path().join("other.luacell");
    open(&other).compute("_home.other = true").unwrap();
    type Change<'a> = &'a dyn Fn();
    let changes: [(&str, Change<'_>, bool); 4] = [
        ("deleted", &|| std::fs::remove_file(&path).unwrap(), true),
        ("moved", &|| std::fs::rename(&path, &elsewhere).unwrap(), false),
        (
            "replaced by another",
            &|| std::fs::copy(&other, &elsewhere).and_then(|_| std::fs::rename(&elsewhere, &path)).unwrap(),
            true,
        ),
        (
            "replaced by a new one",
            &|| {
                std::fs::remove_file(&path).unwrap();
                std::fs::write(&path, "").unwrap();
            },
            true,
        ),
    ];
    for (name, change, is_seen_by_reads) in changes {
        let sandbox = open(&path);
        sandbox.compute("_home.n = 1").unwrap();
        change();
        for _ in 0..3 {
            fails(sandbox.compute("_home.n = 2"), "deleted, moved or replaced");
            fails(sandbox.home().set("n", 2), "deleted, moved or replaced");
        }
        if is_seen_by_reads {
            fails(sandbox.compute("return _home.n"), "deleted, moved or replaced");
        } else {
            assert_eq!(integer(&sandbox, "return _home.n"), 1, "{name}");
        }
        // It is not made anew behind the sandbox's back.
        let there = std::fs::read(&path).ok();
        drop(sandbox);
        assert_eq!(std::fs::read(&path).ok(), there, "{name}");
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(&elsewhere);
    }
    // Back in its place it goes on.
    let sandbox = open(&path);
    sandbox.compute("_home.n = 1").unwrap();
    std::fs::rename(&path, &elsewhere).unwrap();
    fails(sandbox.compute("_home.n = 2"), "moved");
    std::fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(integer(&sandbox, "_home.n = _home.n + 2 return _home.n"), 3);
}

#[test]
fn a_file_that_was_cut_off() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    for len in [0, 100, 4096, 8192, 100_000] {
        let sandbox = open(&path);
        sandbox.compute("for i = 1, 3000 do _home[i] = ('x'):rep(100) end").unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
        for _ in 0..3 {
            fails(sandbox.compute("_home.n = 2"), "");
            fails(sandbox.compute("return _home[1]"), "");
        }
        drop(sandbox);
        // An empty file is a new one; it was not lost in silence.
        if len > 0 {
            fails(try_open(&path), "");
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// Something else is copied over the file, a backup for one: it is the same file.
#[test]
fn a_file_that_was_written_over() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let fill = |sandbox: &Sandbox, n: i64| {
        let source =
            format!("_home.n = {n} _home.t = _home.t or {{}} for i = 1, 3000 do _home.t[i] = 'version {n}' end");
        sandbox.compute(&source).unwrap();
    };
    fill(&open(&path), 1);
    let backup = std::fs::read(&path).unwrap();
    // Shorter than what is open then, and as long.
    let mut padded = backup.clone();
    padded.resize(4 << 20, 0);
    for (durability, copy, why) in [
        (Durability::Full, &backup, ""),
        (Durability::Full, &padded, "replaced"),
        (Durability::Relaxed, &backup, ""),
        (Durability::Relaxed, &padded, "replaced"),
    ] {
        for reads_first in [true, false] {
            std::fs::write(&path, &backup).unwrap();
            let store = FileStore::options().durability(durability).cache_size(1 << 16).open(&path).unwrap();
            let (sandbox, other) = (Sandbox::with_config(SandboxConfig::new().store(store)).unwrap(), open(&path));
            fill(&sandbox, 2);
            other.compute("held = _home.t").unwrap();
            std::fs::write(&path, copy).unwrap();
            for _ in 0..3 {
                if reads_first {
                    fails(sandbox.compute("return _home.n"), why);
                    fails(other.compute("return held[1]"), why);
                }
                fails(sandbox.compute("_home.n = 3"), why);
                fails(other.home().set("n", 3), why);
            }
            drop((sandbox, other));
            // Nothing of ours came to what is there now.
            assert!(std::fs::read(&path).unwrap() == *copy);
        }
        // Nor when nobody has looked before.
        std::fs::write(&path, &backup).unwrap();
        let sandbox = open(&path);
        fill(&sandbox, 2);
        std::fs::write(&path, copy).unwrap();
        drop(sandbox);
        assert!(std::fs::read(&path).unwrap() == *copy);
    }
    std::fs::write(&path, &backup).unwrap();
    let sandbox = open(&path);
    assert_eq!(integer(&sandbox, "for i = 1, 3000 do assert(_home.t[i] == 'version 1') end return _home.n"), 1);
}

#[test]
fn all_names_of_a_file_are_one() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let a = open(&path);
    a.compute("_home.n = 1").unwrap();
    let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
    std::fs::hard_link(&path, &hard).unwrap();
    std::os::unix::fs::symlink(&path, &soft).unwrap();
    for name in [&hard, &soft] {
        let b = open(name);
        b.compute("_home.n = _home.n + 1").unwrap();
        assert_eq!(b.home().get("n").unwrap(), a.home().get("n").unwrap());
        // Another process is refused under each of them.
        join(fork(|| fails(try_open(name), "in use by another process")));
    }
    drop(a);
    assert_eq!(integer(&open(&hard), "return _home.n"), 3);
}

#[test]
fn a_file_that_is_only_read() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    open(&path).compute("_home.n = 1 _home.t = {1, {2}} _home.f = function(x) return x + 1 end").unwrap();
    let before = std::fs::read(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    let read_only = || FileStore::options().read_only(true).open(&path);
    let url = format!("file://{}?read_only=true", path.display());
    let by_url = || Sandbox::with_config(SandboxConfig::new().store(url.as_str()));
    let use_it = |sandbox: &Sandbox| {
        assert_eq!(integer(sandbox, "return _home.f(_home.n) + _home.t[2][1]"), 4);
        assert_eq!(sandbox.compute("_io.output = {_home.n} x = {} return x").unwrap().values.len(), 1);
        fails(sandbox.compute("_home.n = 2"), "reading only");
        fails(sandbox.compute("_home.new = {}"), "reading only");
        fails(sandbox.home().set("n", 2), "reading only");
        assert_eq!(integer(sandbox, "return _home.n"), 1);
        sandbox.gc().unwrap();
    };
    {
        let (a, b) =
            (by_url().unwrap(), Sandbox::with_config(SandboxConfig::new().store(read_only().unwrap())).unwrap());
        use_it(&a);
        use_it(&b);
        // Others read it at the same time; nobody writes.
        join(fork(|| {
            use_it(&by_url().unwrap());
            // Also when this runs as somebody who may write to any file.
            assert!(try_open(&path).is_err());
        }));
        fails(try_open(&path), "reading only in this process");
        // The copy in memory that a fork has can be written to.
        a.fork().unwrap().compute("_home.n = 3").unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    {
        // While one has it for writing nobody else reads it; in the same process both may.
        let writer = open(&path);
        join(fork(|| drop(read_only().unwrap_err())));
        let reader = by_url().unwrap();
        writer.compute("_home.n = 2").unwrap();
        assert_eq!(integer(&reader, "return _home.n"), 2);
        fails(reader.compute("_home.n = 5"), "reading only");
        writer.compute("_home.n = 1").unwrap();
    }
    // After a crash it is put in order in memory.
    join(fork(|| {
        let sandbox = open(&path);
        sandbox.compute("_home.n = 4").unwrap();
        std::mem::forget(sandbox);
    }));
    let before = std::fs::read(&path).unwrap();
    assert_eq!(by_url().unwrap().home().get("n").unwrap(), Value::from(4));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // There has to be one.
    let missing = folder.path().join("missing");
    assert!(FileStore::options().read_only(true).open(&missing).is_err() && !missing.exists());
    std::fs::write(&missing, "").unwrap();
    assert!(FileStore::options().read_only(true).open(&missing).is_err());
}

#[test]
fn a_file_that_has_to_be_there_is_not_made() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.luacell");
    let open = || FileStore::options().create(false).open(&path);
    let url = format!("file://{}?create=false", path.display());
    let with = || Sandbox::with_config(SandboxConfig::new().store(url.as_str()));
    let looked = FileStore::options().read_only(true).open(&path);
    for error in [open().unwrap_err(), looked.unwrap_err(), with().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Store);
        // Who opens it can tell this from a file that may not be opened.
        let mut causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
        let cause = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>()).unwrap();
        assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(FileStore::open(&path).unwrap());
    drop(open().unwrap());
    with().unwrap().compute("_home.n = 1").unwrap();
}

#[test]
fn urls_of_files() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b%?.luacell");
    let with = |url: String| Sandbox::with_config(SandboxConfig::new().store(url));
    let encoded = format!("file://{}/a%20b%25%3f.luacell", folder.path().display());
    with(encoded.clone()).unwrap().compute("_home.n = 1").unwrap();
    assert!(path.exists());
    assert_eq!(integer(&with(format!("{encoded}?read_only=false")).unwrap(), "return _home.n"), 1);
    for (end, part) in [
        ("?readonly=true", "readonly"),
        ("?read_only=maybe", "maybe"),
        ("?read_only", "read_only"),
        ("?create=", "create"),
        ("%zz", "%zz"),
    ] {
        fails(with(format!("{encoded}{end}")), part);
    }
}
