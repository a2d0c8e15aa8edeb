//! What other threads tell a run, and waiting until it has ended.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::lock;

/// How long a thread sleeps here before it looks again: it is woken, except when it falls asleep at that very moment.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What other threads tell a run.
#[derive(Default)]
pub(crate) struct StopSignal {
    interrupted: AtomicBool,
    /// Runs that were cancelled and have not ended, whether they have begun or not.
    ending: AtomicU32,
    /// Who waits until the sandbox is free.
    waiting: AtomicU32,
    /// Who sleeps does so here: between two tries, or until the sandbox is free.
    sleeping: Mutex<()>,
    woken: Condvar,
    /// Who waits for a host function of the run.
    #[cfg(feature = "async")]
    pub(crate) waker: atomic_waker::AtomicWaker,
}

impl StopSignal {
    /// A run begins: what came before it was not meant for it.
    #[inline]
    pub(crate) fn begin(&self) {
        self.interrupted.store(false, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.wake();
    }

    /// A run was cancelled that has not ended. With `begun` it is under way; then [`wake`](Self::wake) has to follow,
    /// without any lock.
    pub(crate) fn expect_end(&self, begun: bool) {
        self.ending.fetch_add(1, Ordering::AcqRel);
        if begun {
            self.interrupted.store(true, Ordering::Release);
        }
    }

    /// A run that was cancelled has ended.
    pub(crate) fn ended(&self) {
        self.ending.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn wake(&self) {
        self.wake_sleepers();
        #[cfg(feature = "async")]
        self.waker.wake();
    }

    /// Without waiting for the lock: this may be a signal handler on the thread that has it.
    fn wake_sleepers(&self) {
        drop(self.sleeping.try_lock());
        self.woken.notify_all();
    }

    /// Lets this thread sleep until then, or until somebody interrupts.
    #[cold]
    pub(crate) fn pause(&self, until: Instant) {
        let mut guard = lock(&self.sleeping);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_interrupted() {
                return;
            }
            guard = self.woken.wait_timeout(guard, left.min(LOOK_AGAIN)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether what runs was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_interrupted() || self.ending.load(Ordering::Acquire) > 0
    }

    /// Somebody has done with the sandbox.
    #[inline]
    pub(crate) fn left(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_sleepers();
        }
    }

    /// Lets this thread sleep until `look`, which must not use this, gives something; it is asked whenever somebody has
    /// done with the sandbox.
    #[cold]
    pub(crate) fn wait_for<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.sleeping);
        let found = loop {
            if let Some(found) = look() {
                break found;
            }
            guard = self.woken.wait_timeout(guard, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(guard);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        found
    }
}
