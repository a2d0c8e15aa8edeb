//! Stopping a run from outside.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// What other threads tell a run.
#[derive(Default)]
pub(crate) struct Control {
    interrupted: AtomicBool,
    /// Who pauses between two tries waits here.
    pausing: Mutex<()>,
    woken: Condvar,
    /// Who waits for a host function of the run.
    #[cfg(feature = "async")]
    pub(crate) waker: atomic_waker::AtomicWaker,
}

impl Control {
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
        drop(self.pausing.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_all();
        #[cfg(feature = "async")]
        self.waker.wake();
    }

    /// Lets this thread sleep until then, or until somebody interrupts.
    #[cold]
    pub(crate) fn pause(&self, until: Instant) {
        let mut guard = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_interrupted() {
                return;
            }
            guard = self.woken.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Stops what a sandbox runs, from any thread; see [`Sandbox::interrupter`](crate::Sandbox::interrupter).
#[derive(Clone)]
pub struct Interrupter(pub(crate) Arc<Control>);

impl Interrupter {
    /// Ends the run that is under way with an error of the kind `Interrupted`, which the script can't catch. A run that is repeated after conflicts is one
    /// run, its pauses included. Does nothing when nothing runs: the next run does not hear of it.
    /// Takes effect within a fraction of a millisecond, or when the host function returns that is running.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}
