//! Stopping a run from outside, and waiting for its end.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::host::limit_error;
use crate::{ErrorKind, Result, threads};

/// How long a thread sleeps here before it looks again: it is woken, except when it falls asleep at that very moment.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What other threads tell a run.
#[derive(Default)]
pub(crate) struct Control {
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
        self.wake();
    }

    fn wake(&self) {
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

    /// Lets this thread sleep until `look`, which must not use this, gives something; it is asked whenever somebody has done with the sandbox.
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

/// Cancels the runs that it was [given to](crate::ComputeOptions::canceller), from any thread, and no others: those that are under way as
/// [`interrupt`](crate::Sandbox::interrupt) does, and those that have not begun before they begin.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Cancelling>);

#[derive(Default)]
struct Cancelling {
    cancelled: AtomicBool,
    runs: Mutex<Runs>,
}

#[derive(Default)]
struct Runs {
    known: Vec<Known>,
    next: u64,
}

/// A run that has not ended.
struct Known {
    number: u64,
    control: Arc<Control>,
    begun: bool,
}

impl Canceller {
    /// One that nothing was given to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the runs with the kind `Interrupted`, now or as soon as they begin. Does not wait for their ends; whoever uses such a sandbox next does.
    pub fn cancel(&self) {
        let mut told = Vec::new();
        {
            let runs = lock(&self.0.runs);
            if self.0.cancelled.swap(true, Ordering::SeqCst) {
                return;
            }
            for run in &runs.known {
                run.control.ending.fetch_add(1, Ordering::AcqRel);
                if run.begun {
                    // While the run can't end, so that no other one hears of it.
                    run.control.interrupted.store(true, Ordering::Release);
                    told.push(Arc::clone(&run.control));
                }
            }
        }
        told.iter().for_each(|control| control.wake());
        threads::take_out_cancelled();
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A run is about to begin, unless it was cancelled.
    pub(crate) fn expect(&self, control: &Arc<Control>) -> Result<Cancellable> {
        let mut runs = lock(&self.0.runs);
        self.check()?;
        let number = runs.next;
        runs.next += 1;
        runs.known.push(Known { number, control: Arc::clone(control), begun: false });
        Ok(Cancellable { canceller: self.clone(), number })
    }

    fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(limit_error(ErrorKind::Interrupted)) } else { Ok(()) }
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
        if let Some(run) = runs.known.iter_mut().find(|run| run.number == self.number) {
            run.begun = true;
        }
        Ok(())
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        let mut runs = lock(&self.canceller.0.runs);
        let Some(at) = runs.known.iter().position(|run| run.number == self.number) else {
            return;
        };
        let run = runs.known.swap_remove(at);
        if self.canceller.is_cancelled() {
            run.control.ending.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
