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
    /// The run can go on.
    pub(crate) fn wake(&self) {
        lock(&self.since).get_or_insert_with(Instant::now);
        self.waker.wake();
    }

    /// The run was at work itself until now: what woke it meanwhile has not waited for its thread.
    pub(crate) fn restart(&self) {
        if let Some(since) = &mut *lock(&self.since) {
            *since = Instant::now();
        }
    }

    /// How long it was not polled although it could have gone on.
    fn queued(&self) -> Option<Duration> {
        let since = lock(&self.since).take()?;
        Some(since.elapsed()).filter(|queued| *queued >= QUEUED)
    }
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        Ready::wake(&self);
    }
}

/// A run waits for host functions, but no longer than it may take.
#[derive(Default)]
pub(crate) struct Wait {
    timer: Option<Delay>,
}

impl Wait {
    /// Polls what the run waits for, as a part of the run: what that gave, or the limit that ends the run. `ready` says
    /// when it could go on, and `failed` whether a host function has failed in what it gave.
    pub(crate) fn poll<T>(
        &mut self,
        guest: &mut GuestMut<'_>,
        sandbox: *const (),
        ready: &Ready,
        task: &mut TaskContext<'_>,
        poll: impl FnOnce() -> Poll<T>,
        failed: impl FnOnce(&T) -> bool,
    ) -> Poll<Result<T, ErrorKind>> {
        let host = guest.host();
        host.signal.waker.register(task.waker());
        ready.waker.register(task.waker());
        if let Some(queued) = ready.queued() {
            // That an executor has no thread for the run is none of its own doing.
            host.postpone_deadline(queued);
            self.timer = None;
        }
        if let Some(kind) = host.check_limits() {
            return Poll::Ready(Err(kind));
        }
        host.run.attempt.nesting += 1;
        let polled = reentry::while_in_host_function(guest, sandbox, poll);
        ready.restart();
        let host = guest.host();
        host.run.attempt.nesting -= 1;
        // A run inside it may have ended this one. What a function fails with that was told to end is no error that a
        // script may catch. A result is one all the same: the function may have ended the run itself, with its last act.
        let ended = match &polled {
            Poll::Ready(result) if failed(result) => host.check_limits_cheaply(),
            _ => host.run.attempt.limit,
        };
        if let Some(kind) = ended {
            return Poll::Ready(Err(kind));
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(Ok(result));
        }
        if let Some(deadline) = host.run.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let timer = self.timer.get_or_insert_with(|| Delay::new(left));
            if Pin::new(timer).poll(task).is_ready() {
                return Poll::Ready(Err(host.end_by(ErrorKind::Timeout)));
            }
        }
        Poll::Pending
    }
}

/// Waits for a host function on this thread.
pub(crate) async fn drive(
    guest: &mut GuestMut<'_>,
    resolver: &SandboxResolver,
    mut pending: Pending,
) -> Result<Result<Vec<Value>>, ErrorKind> {
    let mut wait = Wait::default();
    let ready = Arc::new(Ready::default());
    let waker = Waker::from(Arc::clone(&ready));
    std::future::poll_fn(|task| {
        let sandbox = Arc::as_ptr(resolver.owner()).cast();
        let poll = || poll_function(&mut pending, &mut TaskContext::from_waker(&waker));
        wait.poll(guest, sandbox, &ready, task, poll, Result::is_err)
    })
    .await
}

/// Polls a host function; a panic of it is an error.
pub(crate) fn poll_function(pending: &mut Pending, task: &mut TaskContext<'_>) -> Poll<Result<Vec<Value>>> {
    catch_unwind(AssertUnwindSafe(|| pending.as_mut().poll(task)))
        .unwrap_or_else(|panic| Poll::Ready(Err(host_functions::panicked(&*panic))))
}
