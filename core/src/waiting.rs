//! Runs and host functions as futures.
//!
//! A run that waits has a stack of its own (wasmtime's fibers), so that a script can wait in the middle of plain Lua code while its
//! thread does other things.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use futures_timer::Delay;

use crate::config::ComputeOptions;
use crate::control::Canceller;
use crate::functions::{self, FromArgs, HostFunction, Pending};
use crate::instance::{Context, Entry, Guest};
use crate::limits::SetLimits;
use crate::sandbox::{SandboxLinks, Shared};
use crate::shared::{Finish, Inner, Locked, Running, pause_before_retry, stopped_between_tries};
use crate::value::{IntoArgs, Value};
use crate::{Error, ErrorKind, Outcome, Result, Sandbox, active, threads};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps while there is nothing to do.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    // Most futures here never wait: they cost no waker.
    if let Poll::Ready(value) = future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        return value;
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut task = TaskContext::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut task) {
            return value;
        }
        threads::in_host(std::thread::park);
    }
}

/// Since when a run that waited could go on.
#[derive(Default)]
struct Ready {
    since: Mutex<Option<Instant>>,
    waker: AtomicWaker,
}

/// Shorter waits for a thread are not worth talking of; and a future that wakes itself again and again does not stop the clock.
const QUEUED: Duration = Duration::from_millis(1);

impl Ready {
    /// What a host function's future is to wake.
    fn waker(ready: &Arc<Ready>, task: &Waker) -> Waker {
        ready.waker.register(task);
        Waker::from(Arc::clone(ready))
    }

    /// How long it was not polled although it could have gone on.
    fn queued(&self) -> Option<Duration> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(since.elapsed()).filter(|queued| *queued >= QUEUED)
    }
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.waker.wake();
    }
}

/// Waits for a host function, but no longer than the run may take: else the limit, which ends the run then.
pub(crate) async fn finish(
    context: &mut Context<'_>,
    links: &SandboxLinks,
    mut pending: Pending,
) -> Result<Result<Vec<Value>>, ErrorKind> {
    let mut timer = None;
    let ready = Arc::new(Ready::default());
    std::future::poll_fn(|task| {
        let host = context.host();
        host.control.waker.register(task.waker());
        if let Some(queued) = ready.queued() {
            // That an executor has no thread for the run is none of its own doing.
            host.postpone_deadline(queued);
            timer = None;
        }
        if let Some(kind) = host.passed_limit() {
            return Poll::Ready(Err(kind));
        }
        let deadline = host.deadline;
        host.nesting += 1;
        let waker = Ready::waker(&ready, task.waker());
        let polled = active::during(context, Arc::as_ptr(links.shared()), || {
            catch_unwind(AssertUnwindSafe(|| pending.as_mut().poll(&mut TaskContext::from_waker(&waker))))
        });
        context.host().nesting -= 1;
        if let Some(kind) = context.host().refused {
            // A run inside it has ended this one.
            return Poll::Ready(Err(kind));
        }
        match polled {
            Ok(Poll::Ready(result)) => return Poll::Ready(Ok(result)),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Ok(Err(functions::panicked(&*panic)))),
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let timer = timer.get_or_insert_with(|| Delay::new(left));
            if Pin::new(timer).poll(task).is_ready() {
                return Poll::Ready(Err(context.host().refuse(ErrorKind::Timeout)));
            }
        }
        Poll::Pending
    })
    .await
}

/// The guest waits for the host function that it called; how long the answer is, which it fetches.
pub(crate) async fn wait(context: &mut Context<'_>) -> i32 {
    let host = context.host();
    let (Some(pending), Some(links)) = (host.pending.take(), host.links.clone()) else {
        return -1;
    };
    let result = finish(context, &links, pending).await;
    functions::keep_answer(context, result)
}

/// The guest, and what it answered.
type Landed = (Box<Guest>, Result<i32>);

/// A guest that runs, with the way back to its sandbox.
struct Flight {
    shared: Arc<Shared>,
    /// `None` when it has landed.
    future: Option<Pin<Box<dyn Future<Output = Landed> + Send>>>,
}

impl Flight {
    fn new(shared: &Arc<Shared>, mut guest: Box<Guest>, entry: Entry) -> Self {
        let future = async move {
            let result = guest.context().execute_async(entry).await;
            (guest, result)
        };
        Flight { shared: Arc::clone(shared), future: Some(Box::pin(future)) }
    }
}

impl Flight {
    /// A store of the user's panicked in the middle of the run, and the guest went down with it.
    #[cold]
    fn lose(&mut self) {
        self.future = None;
        self.shared.lock_away().lose_guest();
    }
}

impl Future for Flight {
    /// The guest, to be brought back together with the run's end; `None` for who asks again afterwards.
    type Output = Option<Landed>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Ready(None);
        };
        let landed = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(polled) => std::task::ready!(polled),
            Err(panic) => {
                self.lose();
                resume_unwind(panic);
            }
        };
        self.future = None;
        Poll::Ready(Some(landed))
    }
}

impl Drop for Flight {
    /// Somebody lost interest: the script is stopped as by `interrupt`, so that Lua stays whole.
    fn drop(&mut self) {
        let Some(future) = &mut self.future else {
            return;
        };
        let mut task = TaskContext::from_waker(Waker::noop());
        let landed = loop {
            self.shared.control.interrupt();
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut task))) {
                Ok(Poll::Ready(landed)) => break Some(landed),
                Ok(Poll::Pending) => {}
                Err(_) => break None,
            }
        };
        let Some((guest, result)) = landed else {
            return self.lose();
        };
        self.future = None;
        let _finish = Finish(&self.shared);
        let mut inner = self.shared.lock_away();
        inner.bring_guest(guest);
        // Nobody hears of it: whatever it was, it is not kept.
        inner.drop_run(result);
    }
}

/// A sandbox between two tries of a run, which nobody else may use meanwhile.
struct Held<'a> {
    shared: &'a Arc<Shared>,
    /// `None` when it was given back.
    running: Option<Running>,
}

impl<'a> Held<'a> {
    fn new(shared: &'a Arc<Shared>, inner: &mut Inner) -> Self {
        Held { shared, running: Some(std::mem::replace(&mut inner.running, Running::Away)) }
    }

    /// Waits before the run is repeated; the limit, if one ends it meanwhile.
    async fn pause(&mut self, tries: u32) -> Option<ErrorKind> {
        let host = self.running.as_mut().and_then(Running::host)?;
        let until = pause_before_retry(tries);
        let until = host.deadline.map_or(until, |deadline| until.min(deadline));
        let mut delay = Delay::new(until.saturating_duration_since(Instant::now()));
        std::future::poll_fn(|task| {
            host.control.waker.register(task.waker());
            match host.passed_limit() {
                Some(kind) => Poll::Ready(Some(kind)),
                None => Pin::new(&mut delay).poll(task).map(|()| host.passed_limit()),
            }
        })
        .await
    }

    fn give_back(&mut self) -> Locked<'a> {
        let mut inner = self.shared.lock_away();
        if let Some(running) = self.running.take() {
            inner.running = running;
        }
        inner
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.running.is_some() {
            let _finish = Finish(self.shared);
            drop(self.give_back());
        }
    }
}

/// A run as a future.
async fn run(
    shared: Arc<Shared>,
    set: SetLimits,
    canceller: Option<Canceller>,
    enter: impl Fn(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry> + Send + Sync,
) -> Result<Outcome> {
    let run = canceller.map(|canceller| canceller.expect(&shared.control)).transpose()?;
    let enter = |guest: &mut Context<'_>, links: &SandboxLinks, args: &mut Vec<u8>| {
        crate::sandbox::begin(run.as_ref())?;
        enter(guest, links, args)
    };
    let begin = |inner: &mut Inner, tries| {
        inner.make_waiting()?;
        let entry = inner.begin_run(&shared, Some(&set), tries, enter)?;
        Ok((entry, inner.take_guest()?))
    };
    let mut tries = 0;
    let (mut entry, mut guest) = shared.access_whole(|inner| begin(inner, tries))?;
    loop {
        let landed = Flight::new(&shared, guest, entry).await;
        let (landed, executed) = landed.ok_or_else(|| Error::internal("a run that has ended was waited for"))?;
        let (conflict, mut held) = {
            let _finish = Finish(&shared);
            let mut inner = shared.lock_away();
            inner.bring_guest(landed);
            let ended = inner.end_run(executed);
            shared.weigh(&mut inner);
            match ended {
                Err(error) if inner.repeats(&error, &mut tries) => (error, Held::new(&shared, &mut inner)),
                result => return result,
            }
        };
        if let Some(kind) = held.pause(tries).await {
            return Err(stopped_between_tries(kind, conflict));
        }
        let _finish = Finish(&shared);
        let mut inner = held.give_back();
        if shared.is_closed() {
            return Err(Error::closed());
        }
        (entry, guest) = begin(&mut inner, tries)?;
    }
}

impl Sandbox {
    /// As [`compute_with`](Self::compute_with), as a future that any executor can drive: while a host function is waited for, the thread does
    /// other things. The timeout counts while waiting.
    ///
    /// The first such run of a sandbox moves it to an instance that can wait, with all its state; functions that the host has stay
    /// valid. The run begins when the future is first polled. Until it ends the sandbox is in use, and others get `Busy`. Dropping the
    /// future ends the run as [`interrupt`](Self::interrupt) does; the sandbox can be used afterwards.
    ///
    /// # Errors
    /// As `compute_with`.
    pub fn compute_async(
        &self,
        source: impl Into<Vec<u8>>,
        options: ComputeOptions,
    ) -> impl Future<Output = Result<Outcome>> + Send + 'static {
        let source = source.into();
        let canceller = options.canceller.clone();
        run(Arc::clone(&self.shared), options.limits, canceller, move |guest, links, args| {
            crate::sandbox::enter_compute_with(guest, links, args, &source, &options)
        })
    }

    /// As [`call_with`](Self::call_with), as a future; see [`compute_async`](Self::compute_async).
    ///
    /// # Errors
    /// As `call_with`.
    pub fn call_async(
        &self,
        path: impl Into<String>,
        options: ComputeOptions,
    ) -> impl Future<Output = Result<Outcome>> + Send + 'static {
        let path = path.into();
        let canceller = options.canceller.clone();
        run(Arc::clone(&self.shared), options.limits, canceller, move |guest, links, args| {
            crate::sandbox::enter_call(guest, links, args, &path, &options.args)
        })
    }

    /// As [`register`](Self::register), for a function whose results come later. In a script it is called like any other function. In
    /// `compute_async` and `call_async` the script's thread is free while the future is pending; in the other runs, and when the script is itself
    /// called by a host function, the thread sleeps. The future is dropped when the run ends before it.
    ///
    /// While it is polled the future may use the sandbox as other host functions may; what it spawns elsewhere gets `Busy`.
    ///
    /// # Errors
    /// As `register`.
    pub fn register_async<A: FromArgs, R: IntoArgs, F: Future<Output = Result<R>> + Send + 'static>(
        &self,
        name: &str,
        function: impl Fn(A) -> F + Send + Sync + 'static,
    ) -> Result<()> {
        let start = move |args: &mut Vec<Value>| -> Pending {
            match A::from_args(args.drain(..)) {
                Ok(args) => {
                    let results = function(args);
                    Box::pin(async move { results.await.map(IntoArgs::into_args) })
                }
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        };
        self.add_function(name, HostFunction::Future(Arc::new(start)), false)
    }
}
