//! Ending runs from outside.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::run::threads;
use crate::util::{StopSignal, lock};
use crate::value::{Error, ErrorKind, Result};

/// Stops what a sandbox runs, from any thread; see [`Sandbox::interrupter`](crate::Sandbox::interrupter).
#[derive(Clone)]
pub struct Interrupter(pub(crate) Arc<StopSignal>);

impl Interrupter {
    /// Ends the current run with an error of the kind `Interrupted`, which the script can't catch. A run that is
    /// repeated after conflicts is one run, including its pauses. Does nothing if nothing is running, and does not
    /// affect the next run. Takes effect within a fraction of a millisecond, or, if a host function is running, when it
    /// returns.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}

/// Cancels the runs that it was [given to](crate::ComputeOptions::canceller), from any thread, and no others. Runs that
/// are under way end as by [`interrupt`](crate::Sandbox::interrupt); runs that have not begun end before they begin.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Cancelling>);

#[derive(Default)]
struct Cancelling {
    cancelled: AtomicBool,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    list: Vec<Expected>,
    next: u64,
}

/// A run that has not ended.
struct Expected {
    number: u64,
    signal: Arc<StopSignal>,
    begun: bool,
}

impl Canceller {
    /// A canceller that was not given to any run.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the runs with the kind `Interrupted`, now or as soon as they begin. Does not wait until they have ended;
    /// the next user of such a sandbox does.
    pub fn cancel(&self) {
        let mut told = Vec::new();
        {
            let runs = lock(&self.0.runs);
            if self.0.cancelled.swap(true, Ordering::SeqCst) {
                return;
            }
            for run in &runs.list {
                // While the run can't end, so that no other one hears of it.
                run.signal.expect_end(run.begun);
                if run.begun {
                    told.push(Arc::clone(&run.signal));
                }
            }
        }
        told.iter().for_each(|signal| signal.wake());
        threads::take_out_cancelled();
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A run is about to begin, unless it was cancelled.
    pub(crate) fn expect(&self, signal: &Arc<StopSignal>) -> Result<Cancellable> {
        let mut runs = lock(&self.0.runs);
        self.check()?;
        let number = runs.next;
        runs.next += 1;
        runs.list.push(Expected { number, signal: Arc::clone(signal), begun: false });
        Ok(Cancellable { canceller: self.clone(), number })
    }

    fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::limit(ErrorKind::Interrupted)) } else { Ok(()) }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// A run that can be cancelled until this is dropped.
pub(crate) struct Cancellable {
    canceller: Canceller,
    number: u64,
}

impl Cancellable {
    /// The run begins, unless it was cancelled: from here on it can be interrupted.
    pub(crate) fn begin(&self) -> Result<()> {
        let mut runs = lock(&self.canceller.0.runs);
        self.canceller.check()?;
        if let Some(run) = runs.list.iter_mut().find(|run| run.number == self.number) {
            run.begun = true;
        }
        Ok(())
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        let mut runs = lock(&self.canceller.0.runs);
        let Some(at) = runs.list.iter().position(|run| run.number == self.number) else {
            return;
        };
        let run = runs.list.swap_remove(at);
        if self.canceller.is_cancelled() {
            run.signal.ended();
        }
    }
}

/// The run has the sandbox now.
#[inline]
pub(crate) fn begin(run: Option<&Cancellable>) -> Result<()> {
    run.map_or(Ok(()), Cancellable::begin)
}
