//! Threads that compute, and whether they are waiting in a host function instead: what `run::threads` counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::StopSignal;
use super::process::PerProcess;

/// After so many looks at its limits a run has computed for long: some milliseconds, more where there are more threads
/// than processors. What waits for a store or a host function looks less often, and takes no processor from others.
const LONG: u32 = 50;

/// Lets others compute, and comes back when it is this thread's turn again. Whether it was away.
pub(crate) type GiveWay = fn(&StopSignal) -> bool;

thread_local! {
    /// Set where this thread is one of those who compute.
    static AT_WORK: Cell<Option<GiveWay>> = const { Cell::new(None) };
    static LOOKS: Cell<u32> = const { Cell::new(0) };
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
pub(crate) fn set_at_work(give_way: Option<GiveWay>) {
    AT_WORK.set(give_way);
    LOOKS.set(0);
}

/// The run on this thread looks at its limits. When it has computed for long, others may come first; how long that took.
pub(crate) fn give_way(signal: &StopSignal) -> Option<Duration> {
    let give_way = AT_WORK.get()?;
    let looks = LOOKS.get() + 1;
    LOOKS.set(looks % LONG);
    if looks < LONG {
        return None;
    }
    let left = Instant::now();
    give_way(signal).then(|| left.elapsed())
}

/// Whether this thread is one of those who compute: it is nobody else's, and may sleep.
#[cfg(feature = "async")]
pub(crate) fn is_at_work() -> bool {
    AT_WORK.get().is_some()
}

/// Does what may wait for other runs.
#[inline]
pub(crate) fn in_host<T>(wait: impl FnOnce() -> T) -> T {
    struct Back(GiveWay);
    impl Drop for Back {
        fn drop(&mut self) {
            // Where the host function has forked, its child knows of none.
            let _ = counter().fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            AT_WORK.set(Some(self.0));
        }
    }
    let Some(give_way) = AT_WORK.take() else {
        return wait();
    };
    counter().fetch_add(1, Ordering::Relaxed);
    let _back = Back(give_way);
    wait()
}
