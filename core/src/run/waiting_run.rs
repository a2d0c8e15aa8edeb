//! A run that its starter answers: it waits for as long as that takes, and nothing of it is on any stack meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::Access;
use super::at_work::{AtWork, this_thread};
use super::sandbox_cell::{AfterAccess, SandboxCell};
use super::state::{Instance, SandboxState, Waiting};
use crate::guest::limits::Limits;
use crate::guest::requests::{OpenRequest, Waits};
use crate::store::WriteList;
use crate::value::{Error, Result, Value};

impl SandboxState {
    /// The run's time stands still while it waits.
    pub(crate) fn let_wait(&mut self) {
        let left = self.host().ok().and_then(|host| {
            let left = host.run.time_left();
            host.set_deadline(None);
            left
        });
        self.waiting = Some(Waiting::Started { thread: this_thread(), left });
        self.hold_turn_here();
    }

    /// Who has the run that waits, on this thread, is who ends its turn.
    fn hold_turn_here(&self) {
        if let Some(turn) = &self.turn {
            turn.keeps_thread();
        }
    }

    /// The run that waits has no more time left than this.
    pub(crate) fn limit_waiting_run(&mut self, most: Option<Duration>) {
        if let Some(Waiting::Started { left, .. }) = &mut self.waiting {
            *left = left.iter().copied().chain(most).min();
        }
    }

    /// The time of a run that waits goes on; `None` when nobody has one.
    pub(crate) fn end_wait(&mut self) -> Option<()> {
        let Some(Waiting::Started { left, .. }) = self.waiting else {
            return None;
        };
        self.waiting = None;
        let host = self.host().ok()?;
        host.set_deadline(left.and_then(|left| Instant::now().checked_add(left)));
        Some(())
    }

    /// Uses the sandbox as a part of the run that waits. In one that nobody has taken over nothing can run, but what it
    /// will need can be put there.
    pub(super) fn use_waiting_run<T>(&mut self, f: impl FnOnce(&mut Access<'_>) -> Result<T>) -> Result<T> {
        let started = self.end_wait().is_some();
        let result = match &mut self.instance {
            Instance::Live(guest) => {
                let mut guest = guest.get_mut();
                guest.host().run.attempt.ran_inside = false;
                let result = f(&mut Access::Reentrant(guest.reborrow()));
                let host = guest.host();
                if let Some(run) = &mut self.durable {
                    run.was_used |= host.run.attempt.ran_inside || host.tables.is_dirty();
                }
                result
            }
            _ => Err(Error::closed()),
        };
        if started {
            self.let_wait();
        }
        result
    }
}

/// A run that waits, beside what the guest has of it.
#[derive(Clone)]
pub(crate) struct WaitingRun {
    pub(crate) limits: Limits,
    /// How much of its time is left.
    pub(crate) left: Option<Duration>,
    pub(crate) host_calls: u64,
    pub(crate) bytes_stored: u64,
    /// By which number Lua knows the latest error of a host function.
    pub(crate) last_error: u32,
    /// What it has written to tables so far.
    pub(crate) writes: WriteList,
}

impl SandboxState {
    /// The run that waits, for a snapshot.
    pub(crate) fn waiting_run(&mut self) -> Result<Option<WaitingRun>> {
        match self.waiting {
            Some(Waiting::Started { left, .. } | Waiting::Restored { left }) => {
                let writes = self.tables()?.pending_writes();
                self.describe_waiting_run(left, writes).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The run that waits, with so much of its time left and with these writes.
    pub(crate) fn describe_waiting_run(&mut self, left: Option<Duration>, writes: WriteList) -> Result<WaitingRun> {
        let host = self.host()?;
        let attempt = &host.run.attempt;
        let (limits, host_calls, bytes_stored) = (host.run.limits, attempt.host_calls, attempt.bytes_stored);
        let last_error = host.last_error();
        Ok(WaitingRun { limits, left, host_calls, bytes_stored, last_error, writes })
    }

    /// The run that came with the snapshot goes on here, once somebody takes it over. Its limits are no wider than this
    /// sandbox's.
    pub(crate) fn restore_waiting_run(&mut self, run: &WaitingRun, names: &[(i32, Arc<str>)]) -> Result<()> {
        let limits = run.limits.within(&self.settings.limits);
        let mut guest = self.guest()?;
        guest.set_limits(&limits)?;
        // It was granted more where it comes from.
        guest.review_limits()?;
        let host = guest.host();
        host.begin_run_again(Instant::now(), &limits);
        host.set_deadline(None);
        host.run.waits = Waits::Started;
        host.number_errors_after(run.last_error);
        let attempt = &mut host.run.attempt;
        (attempt.host_calls, attempt.bytes_stored) = (run.host_calls, run.bytes_stored);
        attempt.requests().names = names.to_vec();
        let left = run.left.into_iter().chain(limits.timeout).min();
        self.waiting = Some(Waiting::Restored { left });
        Ok(self.tables()?.write_again(&run.writes)?)
    }

    /// The run that was restored is somebody's, on this thread; whether there was one. One that can't go on here is gone:
    /// nobody would have it.
    pub(crate) fn take_over(&mut self, cell: &Arc<SandboxCell>) -> Result<bool> {
        let Some(Waiting::Restored { left }) = self.waiting else {
            return Ok(false);
        };
        let taken = self.restore_requests(cell);
        match taken {
            Ok(()) => self.waiting = Some(Waiting::Started { thread: this_thread(), left }),
            Err(_) => self.drop_waiting_run(),
        }
        taken.map(|()| true)
    }

    fn restore_requests(&mut self, cell: &Arc<SandboxCell>) -> Result<()> {
        let limits = self.host()?.run.limits;
        let instance = self.guest()?.settings().number;
        let resolver = self.links_with(cell, &limits, instance);
        let mut guest = self.guest()?;
        guest.host().run.resolver = Some(resolver.clone());
        guest.restore_requests(&resolver)
    }
}

pub(crate) fn over() -> Error {
    Error::invalid("the run does not wait any more")
}

impl SandboxCell {
    /// Hands the sandbox to `f`, for the run that waits.
    pub(crate) fn waiting_run<T>(&self, f: impl FnOnce(&mut SandboxState) -> Result<T>) -> Result<T> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let _after = AfterAccess(self);
        let mut state = self.try_lock_waiting()?;
        let _at_work = AtWork::begin(self);
        if !matches!(state.waiting, Some(Waiting::Started { .. })) {
            return Err(over());
        }
        let result = f(&mut state);
        self.weigh(&mut state);
        result
    }

    /// Takes over a run that came with a snapshot; whether there is one.
    pub(crate) fn take_restored_run(self: &Arc<Self>) -> Result<bool> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let _after = AfterAccess(self);
        let mut state = self.try_lock_waiting()?;
        let _at_work = AtWork::begin(self);
        state.take_over(self)
    }

    /// The run that waits is this thread's.
    pub(crate) fn take_over_run(&self) -> Result<()> {
        self.waiting_run(|state| {
            if let Some(Waiting::Started { thread, .. }) = &mut state.waiting {
                *thread = this_thread();
            }
            state.hold_turn_here();
            Ok(())
        })
    }

    /// The requests of the run that waits, by number.
    pub(crate) fn open_requests(&self) -> Result<Vec<(u32, OpenRequest)>> {
        self.waiting_run(|state| {
            let open = &state.host()?.run.attempt.requests().open;
            Ok(open.iter().map(|(number, request)| (*number, request.clone())).collect())
        })
    }

    /// Answers a request of the run that waits.
    pub(crate) fn answer_request(&self, number: u64, result: Result<Vec<Value>>) -> Result<()> {
        self.waiting_run(|state| {
            let mut guest = state.guest()?;
            let open = &mut guest.host().run.attempt.requests().open;
            let Some(number) = u32::try_from(number).ok().filter(|number| open.remove(number).is_some()) else {
                return Err(Error::invalid(format!("the run has no open request {number}")));
            };
            guest.add_answer(number, result);
            Ok(())
        })
    }
}
