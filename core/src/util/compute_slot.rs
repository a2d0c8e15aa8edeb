//! Threads that compute, and whether they are waiting in a host function instead: what `run::threads` counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::process::PerProcess;

thread_local! {
    /// Whether this thread is one of those who compute.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

fn counter() -> &'static AtomicUsize {
    static IN_HOST: PerProcess<AtomicUsize> = PerProcess::new(AtomicUsize::new(0));
    IN_HOST.get(|| AtomicUsize::new(0))
}

/// How many of those who compute are in host functions.
pub(crate) fn in_host_now() -> usize {
    counter().load(Ordering::Relaxed)
}

/// From now on this thread is one of those who compute, or not.
pub(crate) fn set_at_work(at_work: bool) {
    AT_WORK.set(at_work);
}

/// Whether this thread is one of those who compute: it is nobody else's, and may sleep.
#[cfg(feature = "async")]
pub(crate) fn is_at_work() -> bool {
    AT_WORK.get()
}

/// Does what may wait for other runs.
#[inline]
pub(crate) fn in_host<T>(wait: impl FnOnce() -> T) -> T {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            // Where the host function has forked, its child knows of none.
            let _ = counter().fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            AT_WORK.set(true);
        }
    }
    if !AT_WORK.replace(false) {
        return wait();
    }
    counter().fetch_add(1, Ordering::Relaxed);
    let _back = Back;
    wait()
}
