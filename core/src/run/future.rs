//! A run as a future.
//!
//! A run that waits has a stack of its own (wasmtime's fibers), so that a script can wait in the middle of plain Lua
//! code while its thread does other things.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use futures_timer::Delay;

use super::at_work::AtWork;
use super::cancel::Canceller;
use super::lifecycle::{pause_before_retry, stopped_between_tries};
use super::limits::LimitOverrides;
use super::sandbox_cell::{AfterAccess, SandboxCell};
use super::state::{Instance, SandboxState};
use crate::guest::resolver::SandboxResolver;
use crate::guest::{Guest, GuestMut};
use crate::machine::Entry;
use crate::value::{Error, ErrorKind, Outcome, Result};

/// The guest, and what it answered.
type Landed = (Box<Guest>, Result<i32>);

/// A guest that runs, with the way back to its sandbox.
struct Flight {
    cell: Arc<SandboxCell>,
    /// `None` when it has landed.
    future: Option<Pin<Box<dyn Future<Output = Landed> + Send>>>,
}

impl Flight {
    fn new(cell: &Arc<SandboxCell>, mut guest: Box<Guest>, entry: Entry) -> Self {
        let future = async move {
            let result = guest.get_mut().execute_async(entry).await;
            (guest, result)
        };
        Flight { cell: Arc::clone(cell), future: Some(Box::pin(future)) }
    }
}

impl Flight {
    /// A store of the user's panicked in the middle of the run, and the guest went down with it.
    #[cold]
    fn lose(&mut self) {
        self.future = None;
        let mut state = self.cell.lock_away();
        let _at_work = AtWork::begin(&self.cell);
        state.lose_guest();
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
            self.cell.signal.interrupt();
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
        let _after = AfterAccess(&self.cell);
        let mut state = self.cell.lock_away();
        let _at_work = AtWork::begin(&self.cell);
        state.bring_guest(guest);
        // Nobody hears of it: whatever it was, it is not kept.
        state.drop_run(result);
    }
}

/// A sandbox between two tries of a run, which nobody else may use meanwhile.
struct Held<'a> {
    cell: &'a Arc<SandboxCell>,
    /// `None` when it was given back.
    instance: Option<Instance>,
}

impl<'a> Held<'a> {
    fn new(cell: &'a Arc<SandboxCell>, state: &mut SandboxState) -> Self {
        Held { cell, instance: Some(std::mem::replace(&mut state.instance, Instance::Lent)) }
    }

    /// Waits before the run is repeated; the limit, if one ends it meanwhile.
    async fn pause(&mut self, tries: u32) -> Option<ErrorKind> {
        let host = self.instance.as_mut().and_then(Instance::host)?;
        let until = pause_before_retry(tries);
        let until = host.run.deadline.map_or(until, |deadline| until.min(deadline));
        let mut delay = Delay::new(until.saturating_duration_since(Instant::now()));
        std::future::poll_fn(|task| {
            host.signal.waker.register(task.waker());
            match host.check_limits() {
                Some(kind) => Poll::Ready(Some(kind)),
                None => Pin::new(&mut delay).poll(task).map(|()| host.check_limits()),
            }
        })
        .await
    }

    fn give_back(&mut self) -> MutexGuard<'a, SandboxState> {
        let mut state = self.cell.lock_away();
        if let Some(running) = self.instance.take() {
            state.instance = running;
        }
        state
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.instance.is_some() {
            let _after = AfterAccess(self.cell);
            let mut state = self.give_back();
            let _at_work = AtWork::begin(self.cell);
            state.finish_run();
        }
    }
}

/// A run as a future.
pub(crate) async fn run(
    cell: Arc<SandboxCell>,
    set: LimitOverrides,
    canceller: Option<Canceller>,
    enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry> + Send + Sync,
) -> Result<Outcome> {
    let run = canceller.map(|canceller| canceller.expect(&cell.signal)).transpose()?;
    let enter = |guest: &mut GuestMut<'_>, resolver: &SandboxResolver, args: &mut Vec<u8>| {
        super::cancel::begin(run.as_ref())?;
        enter(guest, resolver, args)
    };
    let begin = |state: &mut SandboxState, tries| {
        state.make_waiting()?;
        let entry = state.begin_attempt(&cell, Some(&set), tries, enter)?;
        Ok((entry, state.take_guest()?))
    };
    let mut tries = 0;
    let (mut entry, mut guest) = cell.access_whole(|state| begin(state, tries))?;
    loop {
        let landed = Flight::new(&cell, guest, entry).await;
        let (landed, executed) = landed.ok_or_else(|| Error::internal("a run that has ended was waited for"))?;
        let (conflict, mut held) = {
            let _after = AfterAccess(&cell);
            let mut state = cell.lock_away();
            let _at_work = AtWork::begin(&cell);
            state.bring_guest(landed);
            let ended = state.end_attempt(executed);
            cell.weigh(&mut state);
            match ended {
                Err(error) if state.repeats(&error, &mut tries) => (error, Held::new(&cell, &mut state)),
                result => {
                    state.finish_run();
                    return result;
                }
            }
        };
        if let Some(kind) = held.pause(tries).await {
            return Err(stopped_between_tries(kind, conflict));
        }
        let _after = AfterAccess(&cell);
        let mut state = held.give_back();
        let _at_work = AtWork::begin(&cell);
        if cell.is_closed() {
            return Err(Error::closed());
        }
        (entry, guest) = begin(&mut state, tries)?;
    }
}
