//! When a run is cancelled, interrupted or its sandbox closed: who may use the sandbox then, and what is over when the
//! call returns.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use luacell::{
    Canceller, ComputeOptions, ErrorKind, FileStore, MemoryStore, Sandbox, SandboxConfig, StoreResult, TableStore,
};

const FOREVER: &str = "while true do pcall(error) end";

fn sandbox() -> Arc<Sandbox> {
    Arc::new(Sandbox::with_config(SandboxConfig::new().timeout(None)).unwrap())
}

/// Lets some time pass, another one each time: from nothing to the time that a run takes to begin.
fn a_while(round: usize) {
    (0..round % 50 * 200).for_each(|_| std::hint::spin_loop());
    if round.is_multiple_of(7) {
        thread::yield_now();
    }
}

fn kind<T: std::fmt::Debug>(result: luacell::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// Ends endless runs in one way or another and uses the sandbox at once.
fn is_free_after(stop: impl Fn(&Sandbox, &Canceller, &AtomicBool)) {
    let lua = sandbox();
    for round in 0..1000usize {
        let (canceller, begun) = (Canceller::new(), Arc::new(AtomicBool::new(false)));
        let runner = {
            let (lua, options) = (Arc::clone(&lua), ComputeOptions::new().canceller(&canceller));
            let begun = Arc::clone(&begun);
            thread::spawn(move || {
                begun.store(true, Ordering::SeqCst);
                kind(lua.compute_with(FOREVER, options))
            })
        };
        if !round.is_multiple_of(5) {
            while !begun.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            a_while(round);
        }
        stop(&lua, &canceller, &begun);
        match round % 3 {
            0 => assert_eq!(lua.compute("return 1").unwrap().values, [1.into()], "round {round}"),
            1 => lua.home().set("x", 1).unwrap(),
            _ => assert!(lua.memory_stats().unwrap().lua_bytes > 0),
        }
        assert_eq!(runner.join().unwrap(), ErrorKind::Interrupted);
    }
}

#[test]
fn a_cancelled_run_makes_nobody_busy() {
    is_free_after(|_, canceller, _| canceller.cancel());
}

#[test]
fn an_interrupted_run_makes_nobody_busy() {
    let lua = sandbox();
    for _ in 0..1000 {
        let (begun, wait) = channel();
        lua.register("begun", move |()| {
            let _ = begun.send(());
            Ok(())
        })
        .unwrap();
        thread::scope(|scope| {
            let run = scope.spawn(|| kind(lua.compute(format!("begun() {FOREVER}"))));
            wait.recv().unwrap();
            lua.interrupt();
            lua.compute("return 1").unwrap();
            assert_eq!(run.join().unwrap(), ErrorKind::Interrupted);
        });
    }
}

#[test]
fn a_canceller_ends_its_runs_and_no_others() {
    let lua = sandbox();
    let canceller = Canceller::new();
    let options = ComputeOptions::new().canceller(&canceller);
    assert_eq!(lua.compute_with("return 1", options.clone()).unwrap().values, [1.into()]);
    let (begun, wait) = channel();
    lua.register("begun", move |()| {
        begun.send(()).unwrap();
        Ok(())
    })
    .unwrap();
    thread::scope(|scope| {
        let run = scope.spawn(|| lua.compute("begun() local n = 0 for i = 1, 3000000 do n = n + 1 end return n"));
        wait.recv().unwrap();
        canceller.cancel();
        canceller.cancel();
        assert!(canceller.is_cancelled());
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Busy, "the run that is under way goes on");
        assert_eq!(run.join().unwrap().unwrap().values, [3_000_000.into()]);
    });
    // Nothing of it begins any more.
    assert_eq!(kind(lua.compute_with("_home.x = 1", options.clone())), ErrorKind::Interrupted);
    assert_eq!(kind(lua.call_with("begun", options.clone())), ErrorKind::Interrupted);
    assert!(lua.home().is_empty().unwrap());
    // Several at once, of several sandboxes.
    let sandboxes: Vec<_> = (0..4).map(|_| sandbox()).collect();
    let canceller = Canceller::new();
    let run = |lua| kind(Sandbox::compute_with(lua, FOREVER, ComputeOptions::new().canceller(&canceller)));
    thread::scope(|scope| {
        let runs: Vec<_> = sandboxes.iter().map(|lua| scope.spawn(|| run(lua))).collect();
        a_while(49);
        canceller.cancel();
        sandboxes.iter().for_each(|lua| assert!(lua.compute("return 1").is_ok()));
        runs.into_iter().for_each(|run| assert_eq!(run.join().unwrap(), ErrorKind::Interrupted));
    });
    // Within a host function there is one run.
    let inner = Arc::clone(&lua);
    lua.register("inner", move |()| {
        let options = ComputeOptions::new().canceller(&Canceller::new());
        Ok(kind(inner.compute_with("return 1", options)).name())
    })
    .unwrap();
    assert_eq!(lua.compute("return inner()").unwrap().values, ["InvalidArgument".into()]);
}

/// A host function that waits for the very thread that waits for its run.
#[test]
fn waiting_for_the_end_of_a_run_has_an_end() {
    let lua = Arc::new(Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_millis(50))).unwrap());
    let (begun, wait) = channel();
    let (go_on, answer) = channel::<()>();
    let answer = Mutex::new(answer);
    lua.register("stuck", move |()| {
        begun.send(()).unwrap();
        answer.lock().unwrap().recv().unwrap();
        Ok(())
    })
    .unwrap();
    thread::scope(|scope| {
        let run = scope.spawn(|| kind(lua.compute("stuck()")));
        wait.recv().unwrap();
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Busy);
        lua.interrupt();
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Busy);
        go_on.send(()).unwrap();
        assert!(lua.compute("return 1").is_ok());
        run.join().unwrap();
    });
}

/// Tells when it is gone, and can do something then.
struct Noted(MemoryStore, Box<dyn Fn() + Send>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1();
    }
}

impl TableStore for Noted {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
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
fn when_closed_nothing_is_left() {
    for round in 0..100 {
        let (ended, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let slot: Arc<Mutex<Weak<Sandbox>>> = Arc::default();
        let store = {
            let (gone, slot) = (Arc::clone(&gone), Arc::clone(&slot));
            Noted(
                MemoryStore::new(),
                Box::new(move || {
                    a_while(49);
                    // What ends with the sandbox may close it once more.
                    if let Some(lua) = slot.lock().unwrap().upgrade() {
                        lua.close();
                        lua.interrupt();
                    }
                    gone.fetch_add(1, Ordering::SeqCst);
                }),
            )
        };
        let lua = Arc::new(Sandbox::with_config(SandboxConfig::new().store(store)).unwrap());
        *slot.lock().unwrap() = Arc::downgrade(&lua);
        let (begun, wait) = channel();
        let last = Arc::clone(&ended);
        lua.register("slow", move |()| {
            begun.send(()).unwrap();
            a_while(round);
            last.store(true, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        let home = lua.home();
        thread::scope(|scope| {
            let run = scope.spawn(|| lua.compute("slow() for i = 1, 1000 do _home.x = i end return 1"));
            wait.recv().unwrap();
            let closers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        lua.close();
                        assert!(ended.load(Ordering::SeqCst), "the run goes on");
                        assert_eq!(gone.load(Ordering::SeqCst), 1, "its store is still there");
                    })
                })
                .collect();
            closers.into_iter().for_each(|closer| closer.join().unwrap());
            assert_eq!(run.join().unwrap().unwrap().values, [1.into()], "a run comes to its end");
        });
        assert_eq!(kind(home.get("x")), ErrorKind::Closed);
        assert_eq!(kind(lua.table_count()), ErrorKind::Closed);
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Closed);
    }
}

#[test]
fn a_file_can_be_opened_again_when_its_sandbox_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for round in 0..50 {
        let store = FileStore::open(&path).unwrap();
        let lua = Arc::new(Sandbox::with_config(SandboxConfig::new().store(store)).unwrap());
        let (begun, wait) = channel();
        lua.register("begun", move |()| {
            begun.send(()).unwrap();
            Ok(())
        })
        .unwrap();
        thread::scope(|scope| {
            let run = scope.spawn(|| lua.compute("begun() _home.n = (_home.n or 0) + 1 return _home.n"));
            wait.recv().unwrap();
            lua.close();
            drop(FileStore::open(&path).unwrap());
            assert_eq!(run.join().unwrap().unwrap().values, [(round + 1).into()]);
        });
    }
}

#[cfg(feature = "async")]
mod futures {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_future_is_not_waited_for() {
        let lua = sandbox();
        lua.register_async("never", |()| std::future::pending::<luacell::Result<()>>()).unwrap();
        let mut run = pin!(lua.compute_async("_home.x = 1 never()", ComputeOptions::new()));
        assert!(poll_once(run.as_mut()).is_pending());
        lua.interrupt();
        // This thread drives it: nobody else can end it.
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Busy);
        lua.close();
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Closed);
        let Poll::Ready(result) = poll_once(run.as_mut()) else { panic!("it goes on") };
        assert_eq!(kind(result), ErrorKind::Interrupted);
    }

    #[test]
    fn futures_can_be_cancelled() {
        let lua = sandbox();
        lua.register_async("never", |()| std::future::pending::<luacell::Result<()>>()).unwrap();
        let canceller = Canceller::new();
        let options = || ComputeOptions::new().canceller(&canceller);
        let mut run = pin!(lua.compute_async("_home.x = 1 pcall(never) _home.x = 2", options()));
        let mut late = pin!(lua.compute_async("_home.x = 3", options()));
        assert!(poll_once(run.as_mut()).is_pending());
        canceller.cancel();
        let Poll::Ready(result) = poll_once(run.as_mut()) else { panic!("it goes on") };
        assert_eq!(kind(result), ErrorKind::Interrupted);
        let Poll::Ready(result) = poll_once(late.as_mut()) else { panic!("it goes on") };
        assert_eq!(kind(result), ErrorKind::Interrupted);
        assert!(lua.compute("return _home.x").unwrap().value().is_nil());
    }
}

/// Alone in its process, for it counts what all sandboxes take.
#[test]
fn the_weight_follows_what_a_sandbox_takes() {
    if std::env::var_os("LUACELL_ALONE").is_none() {
        let this = std::env::current_exe().unwrap();
        let test = std::process::Command::new(this)
            .args(["--exact", "the_weight_follows_what_a_sandbox_takes"])
            .env("LUACELL_ALONE", "1")
            .output()
            .unwrap();
        assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stderr));
        return;
    }
    const MIB: u64 = 1 << 20;
    assert_eq!(luacell::memory_in_use(), 0);
    let lua = sandbox();
    let fresh = lua.weight();
    assert!((1..MIB).contains(&fresh));
    lua.compute("x = ('x'):rep(3 << 20)").unwrap();
    let with_text = lua.weight();
    assert!((3 * MIB..9 * MIB).contains(&(with_text - fresh)), "{with_text}");
    lua.home().set("x", "x".repeat(5 << 20)).unwrap();
    assert!(lua.weight() >= with_text + 5 * MIB);
    let fork = lua.fork().unwrap();
    assert!(fork.weight() >= 8 * MIB);
    assert_eq!(luacell::memory_in_use(), lua.weight() + fork.weight());
    lua.home().clear().unwrap();
    lua.reset().unwrap();
    assert_eq!(lua.weight(), fresh);
    lua.close();
    assert_eq!((lua.weight(), luacell::memory_in_use()), (0, fork.weight()));
    drop(fork);
    assert_eq!(luacell::memory_in_use(), 0);
}

/// Calls back when a key is asked for.
struct Calling(MemoryStore, Callback);

type Callback = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

impl TableStore for Calling {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        if key == "call"
            && let Some(call) = &*self.1.lock().unwrap()
        {
            call();
        }
        self.0.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
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

/// Runs a script in which something of the host's comes back to the sandbox: a store, what takes printed text, what is
/// asked now and then. Gives an error when it does not come to an end.
fn comes_back(back: impl Fn(&Sandbox) + Clone + Send + 'static) {
    let sources = ["return _home.call", "print('x')", "for i = 1, 1000000 do end"];
    let (ended, end) = channel();
    thread::spawn(move || {
        for (which, source) in sources.iter().enumerate() {
            let callback = Callback::default();
            let called = Arc::clone(&callback);
            let call = move || called.lock().unwrap().as_ref().is_none_or(|call| (call(), true).1);
            let config = SandboxConfig::new().timeout(None);
            let lua = Arc::new(
                Sandbox::with_config(match which {
                    0 => config.store(Calling(MemoryStore::new(), Arc::clone(&callback))),
                    1 => config.on_print(move |_| _ = call()),
                    _ => config.on_check(call),
                })
                .unwrap(),
            );
            let (here, back) = (Arc::downgrade(&lua), back.clone());
            *callback.lock().unwrap() = Some(Box::new(move || back(&here.upgrade().unwrap())));
            let _ = lua.compute(source);
            *callback.lock().unwrap() = None;
        }
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(30)).unwrap();
}

#[test]
fn whatever_is_called_in_a_run_may_close_the_sandbox() {
    comes_back(|lua| {
        lua.close();
        assert!(lua.is_closed());
    });
}

#[test]
fn whatever_is_called_in_a_run_does_not_wait_for_its_end() {
    comes_back(|lua| {
        lua.interrupt();
        assert_eq!(kind(lua.compute("return 1")), ErrorKind::Busy);
    });
}
