//! Durable runs: stored each time that they wait, and taken up again.

use std::sync::Arc;
use std::time::Duration;

use crate::guest::requests::Answered;
use crate::run::durable::{DurableRun, stays_pending};
use crate::run::waiting_run::over;
use crate::run::{SandboxCell, SandboxState};
use crate::snapshot::Snapshot;
use crate::store::reserved::is_valid;
use crate::store::{WriteList, WriteSource};
use crate::tables::Claimed;
use crate::value::{Error, ErrorKind, Result};

impl SandboxState {
    /// The run that begins has this name.
    pub(super) fn begin_durable_run(&mut self, run: DurableRun) -> Result<()> {
        if !self.tables()?.has_store() {
            return Err(Error::invalid("a durable run needs a sandbox with a store of its own"));
        }
        if !self.guest()?.has_checkpoints() {
            return Err(Error::invalid("this guest has no durable runs"));
        }
        let tables = self.tables()?;
        let pending = tables.has_pending_run(&run.name);
        tables.end();
        if pending? {
            return Err(is_pending(&run.name));
        }
        self.durable = Some(Box::new(run));
        Ok(())
    }

    /// Whether the run that is under way can go back to where the store has it.
    pub(crate) fn can_go_back(&self) -> bool {
        self.durable.as_ref().is_some_and(|run| run.stored && !run.is_lost)
    }

    /// Stores the run that waits, with what it has written so far, if it is durable.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let Some(mut run) = self.durable.take() else { return Ok(()) };
        let stored = self.store_waiting_run(&mut run);
        let run = self.durable.insert(run);
        stored?;
        run.stored = true;
        run.answers.clear();
        run.was_used = false;
        self.end_turn();
        self.guest()?.end_checkpoint()?;
        self.note_ids();
        // What is repeated from here on is what comes from here on.
        self.host()?.run.attempt.unrepeatable = None;
        Ok(())
    }

    /// Stores the run that waits once more, so that it is claimed for another term. When that fails it waits on, with
    /// nothing written that a later attempt would store.
    fn renew(&mut self) -> Result<()> {
        let Some(run) = self.durable.as_deref() else { return Ok(()) };
        run.check_spoilt()?;
        let was_used = run.was_used;
        if !was_used {
            // What was only looked at meanwhile is in conflict with nobody.
            self.tables()?.rollback();
        }
        let Err(error) = self.checkpoint() else { return Ok(()) };
        match self.durable.as_deref_mut().filter(|_| was_used) {
            Some(run) => {
                run.is_spoilt = true;
                Err(error.explained("the run can only be dropped, and resumed by its name from where it was stored"))
            }
            None => {
                self.tables()?.rollback();
                Err(error)
            }
        }
    }

    fn store_waiting_run(&mut self, run: &mut DurableRun) -> Result<()> {
        let mut guest = self.guest()?;
        if guest.host().values.len() > 0 {
            // Functions of the host can't be stored, those that are garbage need not be.
            guest.run_gc()?;
        }
        let mut held = guest.hand_over()?;
        if let Some(next) = guest.next_table_id() {
            guest.host().tables.note_counter(next?);
        }
        let (io, ids) = self.tables()?.snapshot_io()?;
        held.extend(ids);
        held.retain(|id| is_valid(*id));
        let left = self.host()?.run.time_left();
        let waiting = self.describe_waiting_run(left, WriteList::default())?;
        let bytes = self.snapshot_with(io, Some(waiting))?.to_bytes()?;
        let tables = self.tables()?;
        if run.stored {
            run.check_claim(tables)?;
        } else if tables.has_pending_run(&run.name)? {
            return Err(is_pending(&run.name));
        }
        if let Err(Claimed(_)) = tables.claim(&run.name, run.claimant, run.term)? {
            return Err(run.taken_over());
        }
        tables.put_pending_run(&run.name, &bytes, &held);
        Ok(tables.commit()?)
    }

    /// Takes up a run that waits in the store.
    pub(crate) fn resume_stored_run(&mut self, cell: &Arc<SandboxCell>, name: &str, term: Duration) -> Result<()> {
        let mut run = DurableRun::new(name.into(), term)?;
        run.stored = true;
        self.take_up_stored_run(cell, run)
    }

    /// Becomes what a run in the store would go on as, which stays as it is there: nothing is written, nobody is asked.
    pub(crate) fn look_at_stored_run(&mut self, cell: &Arc<SandboxCell>, name: &str) -> Result<()> {
        let run = DurableRun::new(name.into(), Duration::ZERO)?;
        let looked = self.take_up_stored_run(cell, run);
        self.durable = None;
        looked
    }

    /// Goes on with a run, which it claims if the store is to know.
    fn take_up_stored_run(&mut self, cell: &Arc<SandboxCell>, run: DurableRun) -> Result<()> {
        self.outside_transaction("resuming a run")?;
        self.factory.check_stack()?;
        self.durable = Some(Box::new(run));
        self.host()?.signal.begin();
        let resumed = self.restore_stored(cell);
        if resumed.is_err() {
            self.leave_durable_run(false);
        }
        resumed
    }

    /// Makes the sandbox what it was when the durable run was stored last.
    fn restore_stored(&mut self, cell: &Arc<SandboxCell>) -> Result<()> {
        let read = self.read_stored_run();
        let snapshot = self.roll_back_on_error(read)?;
        self.restore_stored_run(&snapshot)?;
        if !self.take_over(cell)? {
            return Err(no_run());
        }
        let resumed = self.guest().and_then(|mut guest| guest.end_checkpoint());
        if resumed.is_err() {
            // It waits here already, and nobody would have it.
            self.drop_waiting_run();
        }
        resumed
    }

    fn read_stored_run(&mut self) -> Result<Snapshot> {
        let Some(run) = self.durable.as_deref() else { return Err(Error::internal("no run is durable")) };
        let factory = Arc::clone(&self.factory);
        let tables = &mut self.instance.host().ok_or_else(Error::closed)?.tables;
        if tables.refuses_functions() {
            return Err(Error::invalid(
                "a run in a store is a whole Lua, with functions, and this sandbox loads none from its store (stored_functions)",
            ));
        }
        let name = run.name.escape_debug();
        let Some(bytes) = tables.pending_run(&run.name)? else {
            return Err(Error::invalid(format!("no run '{name}' waits in the store")));
        };
        if run.stored
            && let Err(Claimed(left)) = tables.claim(&run.name, run.claimant, run.term)?
        {
            return Err(is_claimed(&run.name, left));
        }
        let snapshot = Snapshot::parse(&factory, &bytes)?;
        // Its writes are in the store.
        if snapshot.parts().waiting.as_ref().is_some_and(|run| run.writes.writes().next().is_some()) {
            return Err(no_run());
        }
        match tables.commit() {
            Ok(()) => Ok(snapshot),
            Err(error) if error.is_conflict() => {
                Err(Error::new(ErrorKind::Busy, format!("somebody else has just taken the run '{name}'")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The run goes on from where it was stored last, since what it has done from there on is in conflict with somebody
    /// else's writes. The answers that it was given since.
    pub(super) fn go_back(&mut self, cell: &Arc<SandboxCell>) -> Result<Vec<Answered>> {
        let left = self.host()?.run.time_left();
        self.finish_run();
        self.wait_for_turn()?;
        if let Err(error) = self.restore_stored(cell) {
            // Somebody else has it, or has ended it.
            let is_lost = matches!(error.kind(), ErrorKind::Busy | ErrorKind::InvalidArgument);
            return Err(match self.durable.as_mut().filter(|_| is_lost) {
                Some(run) => run.taken_over(),
                None => error,
            });
        }
        // What it has done since is done again, but not in the same time.
        self.limit_waiting_run(left);
        let answers = self.durable.as_mut().map(|run| std::mem::take(&mut run.answers)).unwrap_or_default();
        self.guest()?.forget_answered(&answers);
        self.end_wait();
        Ok(answers)
    }

    pub(crate) fn drop_pending_run(&mut self, name: &str) -> Result<bool> {
        self.outside_transaction("dropping a run")?;
        let dropped = self.try_drop_pending_run(name);
        self.roll_back_on_error(dropped)
    }

    fn try_drop_pending_run(&mut self, name: &str) -> Result<bool> {
        let run = DurableRun::new(name.into(), Duration::ZERO)?;
        let tables = self.tables()?;
        if !tables.has_pending_run(name)? {
            return Ok(false);
        }
        if let Err(Claimed(left)) = tables.claim(name, run.claimant, run.term)? {
            return Err(is_claimed(name, left));
        }
        tables.remove_pending_run(name);
        tables.commit()?;
        Ok(true)
    }

    /// The run has ended, in the store too; or it failed with this, and may not have.
    pub(super) fn end_durable_run(&mut self, failed: Option<ErrorKind>) {
        match failed {
            None => self.durable = None,
            Some(kind) => self.leave_durable_run(!stays_pending(kind)),
        }
    }
}

fn is_claimed(name: &str, left: Duration) -> Error {
    let (name, left) = (name.escape_debug(), left.as_secs_f64());
    Error::new(ErrorKind::Busy, format!("somebody has claimed the run '{name}', for {left:.1} more seconds at least"))
}

fn no_run() -> Error {
    Error::invalid("what is stored of the run is no run that waits")
}

fn is_pending(name: &str) -> Error {
    Error::invalid(format!("a run '{}' waits in the store already: resume it", name.escape_debug()))
}

impl SandboxCell {
    /// Claims the run that waits for another term.
    pub(crate) fn renew_claim(&self) -> Result<()> {
        self.waiting_run(|state| {
            state.end_wait().ok_or_else(over)?;
            let renewed = state.renew();
            state.let_wait();
            renewed
        })
    }
}
