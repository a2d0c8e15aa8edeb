//! Runs that leave JavaScript's thread alone.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use luacell::{Canceller, Error, Outcome, threads};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

type RunResult = Result<Outcome, Error>;

/// A run that has a thread while it computes, and none while it waits.
struct Job {
    canceller: Canceller,
    work: Mutex<Option<Work>>,
    stage: AtomicU8,
}

struct Work {
    run: Pin<Box<dyn Future<Output = RunResult> + Send>>,
    /// Is given what comes of it.
    done: Box<dyn FnOnce(RunResult) + Send>,
}

/// Where a job is.
mod stage {
    pub(super) const WAITS: u8 = 0;
    /// It can go on as soon as there is a place for it.
    pub(super) const QUEUED: u8 = 1;
    pub(super) const COMPUTES: u8 = 2;
    /// It computes, and what it waits for has come meanwhile.
    pub(super) const WOKEN: u8 = 3;
}

/// Drives a run on luacell's threads.
pub(crate) fn drive(
    canceller: &Canceller,
    run: impl Future<Output = RunResult> + Send + 'static,
    done: impl FnOnce(RunResult) + Send + 'static,
) {
    let work = Work { run: Box::pin(run), done: Box::new(done) };
    let job = Job { canceller: canceller.clone(), work: Mutex::new(Some(work)), stage: AtomicU8::new(stage::QUEUED) };
    Arc::new(job).enqueue();
}

impl Job {
    fn enqueue(self: Arc<Self>) {
        let canceller = self.canceller.clone();
        threads::spawn(&canceller, move |place| match place {
            Ok(()) => self.compute(),
            Err(error) => self.end(Err(error)),
        });
    }

    fn compute(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        loop {
            self.stage.store(stage::COMPUTES, Ordering::SeqCst);
            let polled = match &mut *self.work.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(work) => work.run.as_mut().poll(&mut Context::from_waker(&waker)),
                None => return,
            };
            if let Poll::Ready(result) = polled {
                return self.end(result);
            }
            let waits = self.stage.compare_exchange(stage::COMPUTES, stage::WAITS, Ordering::SeqCst, Ordering::SeqCst);
            if waits.is_ok() {
                return;
            }
        }
    }

    fn end(&self, result: RunResult) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Work { run, done }) = work {
            drop(run);
            done(result);
        }
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let next = |stage| match stage {
            stage::WAITS => Some(stage::QUEUED),
            stage::COMPUTES => Some(stage::WOKEN),
            _ => None,
        };
        let before = self.stage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        if before == Ok(stage::WAITS) {
            self.enqueue();
        }
    }
}
