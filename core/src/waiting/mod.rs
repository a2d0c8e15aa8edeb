//! Runs that their starter answers: begun, let go on, ended. While one waits nothing of it is on any stack.

mod durable;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::guest::GuestMut;
use crate::guest::requests::{Waits, is_waiting};
use crate::guest::resolver::SandboxResolver;
use crate::machine::Entry;
use crate::run::durable::DurableRun;
use crate::run::limits::LimitOverrides;
use crate::run::waiting_run::over;
use crate::run::{SandboxCell, SandboxState};
use crate::value::{Error, ErrorKind, Outcome, Result};

impl SandboxState {
    /// Begins a run; `None` when it waits.
    pub(crate) fn start_run(
        &mut self,
        cell: &Arc<SandboxCell>,
        set: &LimitOverrides,
        durable: Option<DurableRun>,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Option<Outcome>> {
        self.outside_transaction("a run that may wait")?;
        self.factory.check_stack()?;
        if let Some(run) = durable {
            self.begin_durable_run(run)?;
        }
        if let Err(error) = self.wait_for_turn() {
            self.durable = None;
            return Err(error);
        }
        let mut tries = 0;
        let result = loop {
            let entry = match self.begin_attempt(cell, Some(set), tries, Waits::Started, &enter) {
                Ok(entry) => entry,
                Err(error) => break Err(error),
            };
            let executed = self.guest().and_then(|mut guest| guest.execute(entry));
            let ended = self.end_step(executed);
            let conflict = match self.after_attempt(ended, &mut tries) {
                ControlFlow::Continue(conflict) => conflict,
                ControlFlow::Break(ended) => break ended,
            };
            if let Err(error) = self.pause(tries, conflict) {
                break Err(error);
            }
        };
        self.end_unless_waiting(result)
    }

    /// Lets the run that waits go on with what was answered; `None` when it waits again.
    fn resume_waiting_run(&mut self, cell: &Arc<SandboxCell>) -> Result<Option<Outcome>> {
        self.factory.check_stack()?;
        // One that is durable has given its turn back when it was stored. Its time does not go on before it has it again.
        let has_turn = if self.durable.is_some() { self.wait_for_turn() } else { Ok(()) };
        if matches!(&has_turn, Err(error) if error.kind() == ErrorKind::Busy) {
            return has_turn.map(|()| None);
        }
        self.end_wait().ok_or_else(over)?;
        let spoilt = self.durable.as_ref().map_or(Ok(()), |run| run.check_spoilt());
        if let Err(error) = has_turn.and(spoilt) {
            self.abandon_run();
            return self.end_unless_waiting(Err(error));
        }
        let mut answers = self.guest()?.take_answers();
        let mut tries = 0;
        let result = loop {
            let ending = self.host()?.check_limits().is_some();
            let executed = self.guest().and_then(|mut guest| match ending {
                true => guest.end_waiting_run(),
                false => guest.resume_run(&answers),
            });
            if let Some(run) = &mut self.durable {
                run.answers.append(&mut answers);
            }
            let ended = self.end_step(executed);
            if !self.can_go_back() {
                break ended;
            }
            if self.durable.as_ref().is_some_and(|run| run.was_used) {
                break ended.map_err(|error| match error.kind() {
                    ErrorKind::Conflict => error.explained(
                        "the run is not repeated from where it waited because the sandbox was used for it meanwhile",
                    ),
                    _ => error,
                });
            }
            let conflict = match self.after_attempt(ended, &mut tries) {
                ControlFlow::Continue(conflict) => conflict,
                ControlFlow::Break(ended) => break ended,
            };
            match self.pause(tries, conflict).and_then(|()| self.go_back(cell)) {
                Ok(given) => answers = given,
                Err(error) => break Err(error),
            }
        };
        self.end_unless_waiting(result)
    }

    /// What has become of a run that was let go on: it waits again, which is stored if it is durable, or it has ended.
    fn end_step(&mut self, executed: Result<i32>) -> Result<Option<Outcome>> {
        if is_waiting(&executed) {
            return match self.checkpoint() {
                Ok(()) => {
                    self.let_wait();
                    Ok(None)
                }
                Err(error) => {
                    self.abandon_run();
                    Err(error)
                }
            };
        }
        if let Ok(host) = self.host() {
            host.run.attempt.requests().open.clear();
        }
        self.end_attempt(executed).map(Some)
    }

    fn end_unless_waiting(&mut self, result: Result<Option<Outcome>>) -> Result<Option<Outcome>> {
        if !matches!(result, Ok(None)) {
            self.finish_run();
            self.end_durable_run(result.as_ref().err().map(Error::kind));
        }
        result
    }
}

impl SandboxCell {
    /// Lets the run that waits go on; `None` when it waits again.
    pub(crate) fn resume_run(self: &Arc<Self>) -> Result<Option<Outcome>> {
        self.waiting_run(|state| state.resume_waiting_run(self))
    }

    /// Ends the run that waits; nothing of it is kept. `remove`: nor does the store keep one that is durable.
    pub(crate) fn leave_run(&self, remove: bool) -> Result<()> {
        self.waiting_run(|state| {
            state.drop_waiting_run();
            state.leave_durable_run(remove);
            Ok(())
        })
    }
}
