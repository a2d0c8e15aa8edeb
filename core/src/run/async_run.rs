//! A run as a future: whoever polls it drives the host functions that the run waits for.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_timer::Delay;

use super::at_work::AtWork;
use super::cancel::Canceller;
use super::limits::LimitOverrides;
use super::retry::{pause_before_retry, stopped_between_tries};
use super::sandbox_cell::{AfterAccess, SandboxCell};
use super::state::{Instance, SandboxState, Waiting};
use super::threads;
use super::turn::LOOK_AGAIN;
use crate::guest::GuestMut;
use crate::guest::host_functions::Pending;
use crate::guest::host_future::{Ready, Wait, poll_function};
use crate::guest::requests::{Waits, is_waiting};
use crate::guest::resolver::SandboxResolver;
use crate::machine::Entry;
use crate::util::lock;
use crate::value::{Error, ErrorKind, Outcome, Result, Value};

/// The host functions that a run waits for, by the numbers of their requests.
///
/// A set of futures from a library would do, but those wake themselves, and then nobody knows how long a run that could
/// go on has waited for its thread.
#[derive(Default)]
struct HostFutures {
    list: HashMap<u32, Pending>,
    woken: Arc<Woken>,
}

impl HostFutures {
    /// Takes over what the guest has asked for, and lets go of what it needs no more.
    fn collect(&mut self, state: &mut SandboxState) -> Result<()> {
        let requests = &mut state.host()?.run.attempt.requests();
        for (number, future) in requests.begun.drain(..) {
            self.list.insert(number, future);
            self.woken.add(number);
        }
        for number in requests.dropped.drain(..) {
            self.list.remove(&number);
        }
        Ok(())
    }

    /// Polls those that were woken; what those gave that are done.
    fn poll(&mut self) -> Vec<(u32, Result<Vec<Value>>)> {
        let mut done = Vec::new();
        for number in self.woken.take() {
            let Some(future) = self.list.get_mut(&number) else { continue };
            let waker = Waker::from(Arc::new(WakesOne { number, all: Arc::clone(&self.woken) }));
            let Poll::Ready(result) = poll_function(future, &mut TaskContext::from_waker(&waker)) else { continue };
            self.list.remove(&number);
            done.push((number, result));
        }
        done
    }
}

/// Which futures can go on.
#[derive(Default)]
struct Woken {
    numbers: Mutex<Vec<u32>>,
    ready: Ready,
}

impl Woken {
    fn add(&self, number: u32) {
        lock(&self.numbers).push(number);
    }

    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *lock(&self.numbers))
    }
}

/// Wakes the run for one of them.
struct WakesOne {
    number: u32,
    all: Arc<Woken>,
}

impl Wake for WakesOne {
    fn wake(self: Arc<Self>) {
        self.all.add(self.number);
        self.all.ready.wake();
    }
}

/// The right to a run that waits: dropped in the middle, it ends the run.
struct Driver<'a> {
    cell: &'a Arc<SandboxCell>,
    over: bool,
}

impl<'a> Driver<'a> {
    fn lock(&self) -> (AfterAccess<'a>, MutexGuard<'a, SandboxState>, AtWork<'a>) {
        let after = AfterAccess(self.cell);
        let state = self.cell.lock_waiting();
        (after, state, AtWork::begin(self.cell))
    }

    /// Waits until one of the host functions is done, or for the limit that ends the run.
    async fn wait(&self, futures: &mut HostFutures) -> Result<(), ErrorKind> {
        let mut wait = Wait::default();
        let woken = Arc::clone(&futures.woken);
        woken.ready.restart();
        std::future::poll_fn(|task| {
            let (_after, mut state, _at_work) = self.lock();
            let Instance::Live(guest) = &mut state.instance else {
                return Poll::Ready(Err(ErrorKind::Closed));
            };
            let mut guest = guest.get_mut();
            let poll = || {
                let done = futures.poll();
                if done.is_empty() { Poll::Pending } else { Poll::Ready(done) }
            };
            let failed = |done: &Vec<_>| done.iter().any(|(_, result): &(_, Result<_>)| result.is_err());
            let polled = wait.poll(&mut guest, self.cell.address(), &woken.ready, task, poll, failed);
            let goes_on = std::mem::take(&mut guest.host().run.attempt.requests().may_go_on);
            match polled {
                Poll::Ready(Ok(done)) => {
                    done.into_iter().for_each(|(number, result)| guest.add_answer(number, result));
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(kind)) => Poll::Ready(Err(kind)),
                Poll::Pending if goes_on => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Waits before the run is repeated; the limit, if one ends it meanwhile.
    async fn pause(&self, tries: u32) -> Option<ErrorKind> {
        let until = pause_before_retry(tries);
        let mut delay = Delay::new(Duration::ZERO);
        let mut set = false;
        std::future::poll_fn(|task| {
            let (_after, mut state, _at_work) = self.lock();
            let Ok(host) = state.host() else {
                return Poll::Ready(Some(ErrorKind::Closed));
            };
            if !set {
                let until = host.run.deadline.map_or(until, |deadline| until.min(deadline));
                delay.reset(until.saturating_duration_since(Instant::now()));
                set = true;
            }
            host.signal.waker.register(task.waker());
            match host.check_limits() {
                Some(kind) => Poll::Ready(Some(kind)),
                None => Pin::new(&mut delay).poll(task).map(|()| host.check_limits()),
            }
        })
        .await
    }
}

impl Drop for Driver<'_> {
    /// Somebody lost interest: the script is stopped as by `interrupt`, so that Lua stays whole.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (_after, mut state, _at_work) = self.lock();
        if std::thread::panicking() {
            // A store of the user's did, in the middle of the run: nothing of the instance can be relied on.
            state.restart();
            state.finish_run();
        } else {
            state.drop_waiting_run();
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
    let mut turn = cell.access_whole(SandboxState::join_line)?;
    let mut tries = 0;
    let waiting = Waiting::Driven { by_library: threads::is_driving() };
    let mut executed = loop {
        // From the first lock to the last the sandbox is this run's. So is its turn, which nobody else would end.
        let begun = cell.access_whole(|state| {
            state.outside_transaction("an asynchronous run")?;
            state.factory.check_stack()?;
            if let Some(place) = &turn {
                if !state.has_turn(place)? {
                    return Ok(None);
                }
                place.belongs_to(cell.address().addr());
                place.keeps_other_thread();
            }
            state.turn = turn.take();
            let entry = state.begin_attempt(&cell, Some(&set), 0, Waits::Driven, enter)?;
            let executed = state.guest().and_then(|mut guest| guest.execute(entry));
            state.waiting = Some(waiting);
            Ok(Some(executed))
        })?;
        match begun {
            Some(executed) => break executed,
            None => Delay::new(LOOK_AGAIN).await,
        }
    };
    let mut driver = Driver { cell: &cell, over: false };
    loop {
        let mut futures = HostFutures::default();
        while is_waiting(&executed) {
            {
                // By name: they are to be dropped from the last to the first, which a temporary would not do.
                let (_after, mut state, _at_work) = driver.lock();
                futures.collect(&mut state)?;
            }
            let waited = driver.wait(&mut futures).await;
            let (_after, mut state, _at_work) = driver.lock();
            if waited == Err(ErrorKind::Closed) {
                return Err(Error::closed());
            }
            let mut guest = state.guest()?;
            executed = if waited.is_ok() {
                let answers = guest.take_answers();
                guest.resume_run(&answers)
            } else {
                guest.end_waiting_run()
            };
        }
        let conflict = {
            let (_after, mut state, _at_work) = driver.lock();
            state.waiting = None;
            let ended = state.end_attempt(executed);
            cell.weigh(&mut state);
            match state.after_attempt(ended, &mut tries) {
                ControlFlow::Continue(conflict) => {
                    state.waiting = Some(waiting);
                    conflict
                }
                ControlFlow::Break(result) => {
                    state.finish_run();
                    state.end_access();
                    driver.over = true;
                    return result;
                }
            }
        };
        if let Some(kind) = driver.pause(tries).await {
            return Err(stopped_between_tries(kind, conflict));
        }
        let (_after, mut state, _at_work) = driver.lock();
        if cell.is_closed() {
            return Err(Error::closed());
        }
        let entry = state.begin_attempt(&cell, Some(&set), tries, Waits::Driven, enter)?;
        executed = state.guest().and_then(|mut guest| guest.execute(entry));
    }
}
