//! Runs that have a thread while they compute, and none while they wait.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, park_timeout};
use std::time::Duration;

use super::spawn;
use crate::run::Canceller;
use crate::util::lock;
use crate::value::{Outcome, Result};

type Run = Pin<Box<dyn Future<Output = Result<Outcome>> + Send>>;

thread_local! {
    static DRIVING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread drives the run that is polled on it.
pub(crate) fn is_driving() -> bool {
    DRIVING.get()
}

struct Job {
    canceller: Canceller,
    work: Mutex<Option<Work>>,
    stage: AtomicU8,
    /// The thread that stays with it for a moment.
    thread: Mutex<Option<Thread>>,
}

/// A host function that answers sooner than this costs no change of threads.
const MOMENT: Duration = Duration::from_micros(200);

struct Work {
    run: Run,
    /// Is given what comes of it.
    done: Box<dyn FnOnce(Result<Outcome>) + Send>,
}

/// Where a job is.
mod stage {
    pub(super) const WAITS: u8 = 0;
    /// It can go on as soon as there is a place for it.
    pub(super) const QUEUED: u8 = 1;
    pub(super) const COMPUTES: u8 = 2;
    /// It computes, and what it waits for has come meanwhile.
    pub(super) const WOKEN: u8 = 3;
    /// It waits, and its thread is still there.
    pub(super) const STAYS: u8 = 4;
}

/// Drives a run, such as [`compute_async`](crate::Sandbox::compute_async) gives, on threads of the library: on one while
/// it computes, as soon as there is a [place](super::enqueue), and on none while it waits. `done` gets what it gave, on one
/// of them. The canceller is the run's own.
pub fn drive(
    canceller: &Canceller,
    run: impl Future<Output = Result<Outcome>> + Send + 'static,
    done: impl FnOnce(Result<Outcome>) + Send + 'static,
) {
    let work = Work { run: Box::pin(run), done: Box::new(done) };
    let job = Job {
        canceller: canceller.clone(),
        work: Mutex::new(Some(work)),
        stage: AtomicU8::new(stage::QUEUED),
        thread: Mutex::default(),
    };
    Arc::new(job).enqueue();
}

impl Job {
    fn enqueue(self: Arc<Self>) {
        let canceller = self.canceller.clone();
        spawn(&canceller, move |place| match place {
            Ok(()) => self.compute(),
            Err(error) => self.end(Err(error)),
        });
    }

    fn compute(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        *lock(&self.thread) = Some(std::thread::current());
        loop {
            self.stage.store(stage::COMPUTES, Ordering::SeqCst);
            let polled = match &mut *lock(&self.work) {
                Some(work) => {
                    let before = DRIVING.replace(true);
                    let polled = work.run.as_mut().poll(&mut Context::from_waker(&waker));
                    DRIVING.set(before);
                    polled
                }
                None => return,
            };
            if let Poll::Ready(result) = polled {
                return self.end(result);
            }
            if self.moves(stage::COMPUTES, stage::STAYS) {
                park_timeout(MOMENT);
                if self.moves(stage::STAYS, stage::WAITS) {
                    return;
                }
            }
        }
    }

    fn moves(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn end(&self, result: Result<Outcome>) {
        let work = lock(&self.work).take();
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
            stage::COMPUTES | stage::STAYS => Some(stage::WOKEN),
            _ => None,
        };
        let before = self.stage.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        match before {
            Ok(stage::WAITS) => self.enqueue(),
            Ok(stage::STAYS) => {
                if let Some(thread) = &*lock(&self.thread) {
                    thread.unpark();
                }
            }
            _ => {}
        }
    }
}
