//! Runs that wait for their turn on a store, instead of colliding with others.

use std::time::{Duration, Instant};

use super::state::SandboxState;
use crate::guest::reentry;
use crate::store::Turn;
use crate::value::{Error, ErrorKind, Result};

/// How often somebody who waits looks whether it is his turn.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A server gives a turn to the next one after so long, if its holder is gone.
const TERM: Duration = Duration::from_secs(30);

impl SandboxState {
    /// A place in the line, if runs on this store take turns.
    #[inline]
    pub(super) fn join_line(&mut self) -> Result<Option<Turn>> {
        if !self.settings.queue_runs || self.transaction.is_some() || self.turn.is_some() {
            return Ok(None);
        }
        Ok(self.tables()?.turns().map(Turn::join))
    }

    /// Whether it is this one's turn, here and on the server.
    pub(super) fn has_turn(&mut self, turn: &Turn) -> Result<bool> {
        let is_within = |sandbox| reentry::is_within(std::ptr::without_provenance(sandbox));
        if turn.is_blocked() || turn.sandbox_before().is_some_and(is_within) {
            return Err(Error::new(ErrorKind::Busy, "the run whose turn it is on this store would wait for this one"));
        }
        Ok(turn.has_come() && self.tables()?.take_turn(TERM)?)
    }

    /// Waits, on this thread, until all runs have ended that came to the store before. That is none of the run's own
    /// time.
    #[inline]
    pub(crate) fn wait_for_turn(&mut self) -> Result<()> {
        match self.join_line()? {
            None => Ok(()),
            Some(turn) => self.wait_in_line(turn),
        }
    }

    #[cold]
    fn wait_in_line(&mut self, turn: Turn) -> Result<()> {
        let signal = self.host()?.signal.clone();
        // Whoever interrupted a run that is under way meant it.
        if !self.can_go_back() {
            signal.begin();
        }
        while !self.has_turn(&turn)? {
            if signal.is_interrupted() {
                return Err(Error::limit(ErrorKind::Interrupted));
            }
            signal.pause(Instant::now() + LOOK_AGAIN);
        }
        turn.keeps_thread();
        self.turn = Some(turn);
        Ok(())
    }

    /// Lets the next one have its turn.
    #[cold]
    pub(crate) fn end_turn(&mut self) {
        if let Ok(tables) = self.tables() {
            tables.end_turn();
        }
        self.turn = None;
    }
}
