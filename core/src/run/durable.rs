//! A run that has a name in the store: what the sandbox knows of it, and how its store forgets it.

use std::sync::Arc;
use std::time::Duration;

use super::state::SandboxState;
use crate::guest::requests::Answered;
use crate::tables::{Claimant, Tables};
use crate::value::{Error, ErrorKind, Result};

/// A name is a key in the store, and part of another one.
const LONGEST_NAME: usize = 1000;

/// The durable run that is under way.
pub(crate) struct DurableRun {
    pub(crate) name: Arc<str>,
    pub(crate) claimant: Claimant,
    /// How long it is claimed for each time.
    pub(crate) term: Duration,
    /// Whether the store has it: it goes on from there whatever happens.
    pub(crate) stored: bool,
    /// Whether somebody else has taken it over.
    pub(crate) is_lost: bool,
    /// Answers that were given since it was stored.
    pub(crate) answers: Vec<Answered>,
    /// Whether the sandbox was used for it since then, while it waited: nobody would do that again if it went back.
    pub(crate) was_used: bool,
    /// Whether storing that failed: what was written for it must not be stored later, half or over somebody else's.
    pub(crate) is_spoilt: bool,
}

impl DurableRun {
    pub(crate) fn new(name: Arc<str>, term: Duration) -> Result<Self> {
        if !(1..=LONGEST_NAME).contains(&name.len()) {
            return Err(Error::invalid(format!("the name of a durable run has 1 to {LONGEST_NAME} bytes")));
        }
        let mut claimant = [0; 16];
        getrandom::fill(&mut claimant).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        let claimant = Claimant(claimant);
        Ok(DurableRun {
            name,
            claimant,
            term,
            stored: false,
            is_lost: false,
            answers: Vec::new(),
            was_used: false,
            is_spoilt: false,
        })
    }

    /// Fails when somebody else has taken the run over.
    pub(crate) fn check_claim(&mut self, tables: &mut Tables) -> Result<()> {
        if tables.is_claimed_by(&self.name, self.claimant)? { Ok(()) } else { Err(self.taken_over()) }
    }

    /// Fails when what the run has become here can't be stored any more.
    pub(crate) fn check_spoilt(&self) -> Result<()> {
        if !self.is_spoilt {
            return Ok(());
        }
        let name = self.name.escape_debug();
        let text = format!(
            "what the sandbox was used for while the run '{name}' waited could not be stored: it can only be dropped, and resumed by its name from where it was stored"
        );
        Err(Error::new(ErrorKind::Conflict, text))
    }

    pub(crate) fn taken_over(&mut self) -> Error {
        self.is_lost = true;
        let name = self.name.escape_debug();
        Error::new(ErrorKind::Conflict, format!("somebody else has taken over the run '{name}'"))
    }
}

/// Whether a run that failed with this goes on from where it was stored, once somebody resumes it: the script itself
/// has not ended.
pub(crate) fn stays_pending(kind: ErrorKind) -> bool {
    use ErrorKind::{Busy, Closed, Conflict, Interrupted, Store, Trap};
    matches!(kind, Busy | Closed | Conflict | Interrupted | Store | Trap)
}

impl SandboxState {
    /// The run ends with what is about to be stored.
    pub(super) fn end_in_store(&mut self) -> Result<()> {
        match self.durable.as_deref_mut() {
            Some(run) if run.stored => {
                let host = self.instance.host().ok_or_else(Error::closed)?;
                run.check_claim(&mut host.tables)?;
                host.tables.remove_pending_run(&run.name);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The durable run is none of this sandbox's any more: it is removed from the store, or anybody may resume it.
    /// What the store fails with shows when somebody tries.
    pub(crate) fn leave_durable_run(&mut self, remove: bool) {
        let Some(mut run) = self.durable.take().filter(|run| run.stored) else { return };
        let Ok(tables) = self.tables() else { return };
        let left = run.check_claim(tables).and_then(|()| {
            if remove {
                tables.remove_pending_run(&run.name);
            } else {
                tables.release_claim(&run.name);
            }
            Ok(tables.commit()?)
        });
        if left.is_err() {
            tables.rollback();
        }
    }
}
