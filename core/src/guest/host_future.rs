//! Waiting for host functions that are futures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use futures_timer::Delay;

use super::host_functions::{self, Pending};
use super::resolver::SandboxResolver;
use super::{GuestMut, reentry};
use crate::util::lock;
use crate::value::{ErrorKind, Result, Value};

/// Since when a run that waited could go on.
#[derive(Default)]
pub(crate) struct Ready {
    since: Mutex<Option<Instant>>,
    waker: AtomicWaker,
}

/// Shorter waits for a thread are not worth talking of; and a future that wakes itself again and again does not stop
/// the clock.
const QUEUED: Duration = Duration::from_millis(1);

impl Ready {
    /// Whom to wake.
    pub(crate) fn register(&self, task: &Waker) {
        self.waker.register(task);
    }

    /// The run can go on.
    pub(crate) fn wake(&self) {
        lock(&self.since).get_or_insert_with(Instant::now);
        self.waker.wake();
    }

    /// How long it was not polled although it could have gone on.
    pub(crate) fn queued(&self) -> Option<Duration> {
        let since = lock(&self.since).take()?;
        Some(since.elapsed()).filter(|queued| *queued >= QUEUED)
    }
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        Ready::wake(&self);
    }
}

/// Waits for a host function, but no longer than the run may take: else the limit, which ends the run then.
pub(crate) async fn drive(
    guest: &mut GuestMut<'_>,
    resolver: &SandboxResolver,
    mut pending: Pending,
) -> Result<Result<Vec<Value>>, ErrorKind> {
    let mut timer = None;
    let ready = Arc::new(Ready::default());
    std::future::poll_fn(|task| {
        let host = guest.host();
        host.signal.waker.register(task.waker());
        if let Some(queued) = ready.queued() {
            // That an executor has no thread for the run is none of its own doing.
            host.postpone_deadline(queued);
            timer = None;
        }
        if let Some(kind) = host.check_limits() {
            return Poll::Ready(Err(kind));
        }
        let deadline = host.run.deadline;
        host.run.attempt.nesting += 1;
        ready.register(task.waker());
        let waker = Waker::from(Arc::clone(&ready));
        let polled = reentry::while_in_host_function(guest, Arc::as_ptr(resolver.owner()).cast(), || {
            catch_unwind(AssertUnwindSafe(|| pending.as_mut().poll(&mut TaskContext::from_waker(&waker))))
        });
        guest.host().run.attempt.nesting -= 1;
        if let Some(kind) = guest.host().run.attempt.limit {
            // A run inside it has ended this one.
            return Poll::Ready(Err(kind));
        }
        match polled {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Ok(Err(host_functions::panicked(&*panic)))),
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let timer = timer.get_or_insert_with(|| Delay::new(left));
            if Pin::new(timer).poll(task).is_ready() {
                return Poll::Ready(Err(guest.host().end_by(ErrorKind::Timeout)));
            }
        }
        Poll::Pending
    })
    .await
}
