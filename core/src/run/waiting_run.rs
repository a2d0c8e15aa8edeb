//! A run that its starter answers: it waits for as long as that takes, and nothing of it is on any stack meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::Access;
use super::at_work::{AtWork, this_thread};
use super::limits::LimitOverrides;
use super::sandbox_cell::{AfterAccess, SandboxCell};
use super::state::{Instance, SandboxState, Waiting};
use crate::guest::GuestMut;
use crate::guest::limits::Limits;
use crate::guest::requests::{OpenRequest, Waits, is_waiting};
use crate::guest::resolver::SandboxResolver;
use crate::machine::Entry;
use crate::store::WriteList;
use crate::value::{Error, ErrorKind, Outcome, Result, Value};

impl SandboxState {
    /// Begins a run; `None` when it waits.
    pub(crate) fn start_run(
        &mut self,
        cell: &Arc<SandboxCell>,
        set: &LimitOverrides,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Option<Outcome>> {
        self.outside_transaction("a run that may wait")?;
        self.factory.check_stack()?;
        let mut tries = 0;
        loop {
            let entry = self.begin_attempt(cell, Some(set), tries, Waits::Started, &enter)?;
            let executed = self.guest().and_then(|mut guest| guest.execute(entry));
            if is_waiting(&executed) {
                self.let_wait();
                return Ok(None);
            }
            let conflict = match self.end_attempt(executed) {
                Err(error) if self.repeats(&error, &mut tries) => error,
                result => {
                    self.finish_run();
                    return result.map(Some);
                }
            };
            if let Err(error) = self.pause(tries, conflict) {
                self.finish_run();
                return Err(error);
            }
        }
    }

    /// The run's time stands still while it waits.
    fn let_wait(&mut self) {
        let left = self.host().ok().and_then(|host| {
            let deadline = host.run.deadline;
            host.set_deadline(None);
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        });
        self.waiting = Some(Waiting::Started { thread: this_thread(), left });
    }

    /// The time of a run that waits goes on; `None` when nobody has one.
    fn end_wait(&mut self) -> Option<()> {
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
            Instance::Live(guest) => f(&mut Access::Reentrant(guest.get_mut())),
            _ => Err(Error::closed()),
        };
        if started {
            self.let_wait();
        }
        result
    }

    fn resume_waiting(&mut self) -> Result<Option<Outcome>> {
        self.factory.check_stack()?;
        self.end_wait().ok_or_else(over)?;
        let ending = self.host()?.check_limits().is_some();
        let executed =
            self.guest().and_then(|mut guest| if ending { guest.end_waiting_run() } else { guest.resume_run() });
        if is_waiting(&executed) {
            self.let_wait();
            return Ok(None);
        }
        if let Ok(host) = self.host() {
            host.run.attempt.requests().open.clear();
        }
        let result = self.end_attempt(executed);
        self.finish_run();
        result.map(Some)
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
    /// What it has written to tables so far.
    pub(crate) writes: WriteList,
}

impl SandboxState {
    /// The run that waits, for a snapshot.
    pub(crate) fn waiting_run(&mut self) -> Result<Option<WaitingRun>> {
        let left = match self.waiting {
            Some(Waiting::Started { left, .. } | Waiting::Restored { left }) => left,
            _ => return Ok(None),
        };
        let host = self.host()?;
        let attempt = &host.run.attempt;
        let (limits, host_calls, bytes_stored) = (host.run.limits, attempt.host_calls, attempt.bytes_stored);
        Ok(Some(WaitingRun { limits, left, host_calls, bytes_stored, writes: host.tables.pending_writes() }))
    }

    /// The run that came with the snapshot goes on here, once somebody takes it over. Its limits are no wider than this
    /// sandbox's.
    pub(crate) fn restore_waiting_run(&mut self, run: &WaitingRun, names: &[(i32, Arc<str>)]) -> Result<()> {
        let limits = run.limits.within(&self.settings.limits);
        let mut guest = self.guest()?;
        guest.set_limits(&limits)?;
        let host = guest.host();
        host.begin_run(Instant::now(), &limits);
        host.set_deadline(None);
        host.run.waits = Waits::Started;
        let attempt = &mut host.run.attempt;
        (attempt.host_calls, attempt.bytes_stored) = (run.host_calls, run.bytes_stored);
        attempt.called_unrepeatable = true;
        attempt.requests().names = names.to_vec();
        let left = run.left.into_iter().chain(limits.timeout).min();
        self.waiting = Some(Waiting::Restored { left });
        match self.tables()?.write_again(&run.writes, &limits.store) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::limit(ErrorKind::StoreLimit)),
            Err(error) => Err(error.into()),
        }
    }
}

fn over() -> Error {
    Error::invalid("the run does not wait any more")
}

impl SandboxCell {
    /// Hands the sandbox to `f`, for the run that waits.
    fn waiting_run<T>(&self, f: impl FnOnce(&mut SandboxState) -> Result<T>) -> Result<T> {
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
        let Some(Waiting::Restored { left }) = state.waiting else {
            return Ok(false);
        };
        let limits = state.host()?.run.limits;
        let instance = state.guest()?.settings().number;
        let resolver = state.links_with(self, &limits, instance);
        let mut guest = state.guest()?;
        guest.host().run.resolver = Some(resolver.clone());
        guest.restore_requests(&resolver)?;
        state.waiting = Some(Waiting::Started { thread: this_thread(), left });
        Ok(true)
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
            guest.add_answer(number, Ok(result));
            Ok(())
        })
    }

    /// Lets the run that waits go on; `None` when it waits again.
    pub(crate) fn resume_run(&self) -> Result<Option<Outcome>> {
        self.waiting_run(SandboxState::resume_waiting)
    }

    /// Ends the run that waits; nothing of it is kept.
    pub(crate) fn cancel_run(&self) -> Result<()> {
        self.waiting_run(|state| {
            state.drop_waiting_run();
            Ok(())
        })
    }
}
