//! Crashes, on each machine that can execute the guest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use crate::api::{Engine, Sandbox, SandboxConfig};
use crate::guest::GuestMut;
use crate::machine::EngineConfig;
use crate::run::access::Access;
use crate::store::{MemoryStore, StoreResult, TableStore};
use crate::value::{Error, ErrorKind};

/// Lets the guest follow a pointer to where it has no memory: all of its own is overwritten with them.
fn crash(sandbox: &Sandbox) -> Error {
    fn run(guest: &mut GuestMut<'_>) -> crate::value::Result<i32> {
        guest.memory_and_host()?.0.fill(0xFF);
        guest.execute(guest.compute_entry(8))
    }
    let result = sandbox.cell().access(|access| match access {
        Access::Exclusive(state) => {
            let result = state.guest().and_then(|mut guest| run(&mut guest));
            state.roll_back_on_error(result)
        }
        Access::Reentrant(guest) => run(guest),
    });
    result.unwrap_err()
}

fn get(sandbox: &Sandbox, source: &str) -> i64 {
    sandbox.compute(source).unwrap().get::<i64>().unwrap()
}

#[test]
fn a_crash_is_a_trap_and_the_sandbox_goes_on() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.register("f", |n: i64| Ok(n + 1)).unwrap();
    for round in 1..4 {
        get(&sandbox, "x = 5 _home.n = (_home.n or 0) + 1 return 1");
        let error = crash(&sandbox);
        assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
        assert!(error.message().contains("out of bounds"), "{error}");
        // Lua is new, what was stored is there, and so are host functions.
        assert_eq!(get(&sandbox, "assert(x == nil) return _home.n"), round);
        assert_eq!(get(&sandbox, "return f(1)"), 2);
    }
}

#[test]
fn a_crash_inside_a_host_function() {
    let sandbox = Arc::new(Sandbox::new().unwrap());
    let weak = Arc::downgrade(&sandbox);
    let crashes = move |(): ()| -> crate::value::Result<i64> { Err(crash(&weak.upgrade().unwrap())) };
    sandbox.register("crash", crashes).unwrap();
    let dropped = Arc::new(());
    let held = Arc::downgrade(&dropped);
    sandbox
        .register("outer", {
            let sandbox = Arc::downgrade(&sandbox);
            move |(): ()| {
                // What the frames between two crashes own is freed.
                let _owned = Arc::clone(&dropped);
                sandbox.upgrade().unwrap().call("crash", ()).map(|_| ())
            }
        })
        .unwrap();
    assert!(sandbox.compute("crash()").is_err());
    assert!(sandbox.compute("outer()").is_err());
    assert_eq!(held.strong_count(), 1);
    assert_eq!(get(&sandbox, "return 1 + 1"), 2);
}

#[test]
fn crashes_in_many_threads_at_once() {
    let engine = Engine::new(EngineConfig::new().pool_size(4)).unwrap();
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                for _ in 0..50 {
                    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
                    assert_eq!(crash(&sandbox).kind(), ErrorKind::Trap);
                    assert_eq!(get(&sandbox, "return 1 + 1"), 2);
                }
            });
        }
    });
}

#[test]
fn the_stack_is_bounded() {
    let engine = Engine::new(EngineConfig::new().max_stack(64 << 10)).unwrap();
    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
    let deep =
        "local function f(n) return (string.gsub('x', 'x', function() return pcall(f, n + 1) end)) end return f(0)";
    let error = sandbox.compute(deep).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
    assert!(error.message().contains("stack"), "{error}");
    assert_eq!(get(&sandbox, "return 1 + 1"), 2);
}

/// A store whose reads panic.
struct Panics(MemoryStore, Arc<AtomicBool>);

impl TableStore for Panics {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        assert!(!self.1.load(Ordering::Relaxed), "the store is out of order");
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
fn a_panic_passes_through_the_guest() {
    let order = Arc::new(AtomicBool::new(false));
    let sandbox =
        Sandbox::with_config(SandboxConfig::new().store(Panics(MemoryStore::new(), Arc::clone(&order)))).unwrap();
    get(&sandbox, "_home.n = 7 return 1");
    order.store(true, Ordering::Relaxed);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sandbox.compute("return _home.n")));
    let text = *panicked.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(text, "the store is out of order");
    order.store(false, Ordering::Relaxed);
    assert_eq!(get(&sandbox, "return _home.n"), 7);
}

#[cfg(all(feature = "static", target_os = "linux"))]
#[allow(unsafe_code, reason = "a process crashes on purpose")]
mod other_faults {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    /// Set for the process that crashes.
    const CRASHES: &str = "LUACELL_TEST_CRASHES";
    const SEGV: i32 = 11;

    /// Faults that are not a guest's end the program as before.
    #[test]
    fn other_faults_are_passed_on() {
        if std::env::var_os(CRASHES).is_some() {
            let sandbox = crate::api::Sandbox::new().unwrap();
            let crash = |(): ()| -> crate::value::Result<()> {
                // SAFETY: none; the process is here to crash, in the middle of a call of the guest.
                unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
                Ok(())
            };
            sandbox.register("crash", crash).unwrap();
            let _ = sandbox.compute("crash()");
            return;
        }
        let name = "api::crash_tests::other_faults::other_faults_are_passed_on";
        let mut process = Command::new(std::env::current_exe().unwrap());
        let output = process.args(["--exact", name]).env(CRASHES, "1").output().unwrap();
        assert_eq!(output.status.signal(), Some(SEGV), "{output:?}");
    }
}
