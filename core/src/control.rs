//! Stopping a run from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What other threads tell a run.
#[derive(Default)]
pub(crate) struct Control {
    interrupted: AtomicBool,
    /// Who waits for a host function of the run.
    #[cfg(feature = "async")]
    pub(crate) waker: atomic_waker::AtomicWaker,
}

impl Control {
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
        #[cfg(feature = "async")]
        self.waker.wake();
    }
}

/// Stops what a sandbox runs, from any thread; see [`Sandbox::interrupter`](crate::Sandbox::interrupter).
#[derive(Clone)]
pub struct Interrupter(pub(crate) Arc<Control>);

impl Interrupter {
    /// Ends the run that is under way with an error of the kind `Interrupted`, which the script can't catch. Does nothing when nothing runs.
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
