//! Whether the current run has to end, and how many instructions it may still use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::Host;
use crate::protocol::{INSTRUCTION_GRANT, LIMITS_UNDO, UNDO_MILLISECONDS};
use crate::store::reserved::OWN;
use crate::util::{compute_slot, lock};
use crate::value::ErrorKind;

/// How long the store may take where the guest takes a run back that had to end.
const GRACE: Duration = Duration::from_secs(1);

impl Host {
    /// Notes that a limit ends the run.
    pub(crate) fn end_by(&mut self, kind: ErrorKind) -> ErrorKind {
        *self.run.attempt.limit.get_or_insert(kind)
    }

    /// The limit that was passed, apart from instructions.
    #[inline]
    pub(crate) fn check_limits(&mut self) -> Option<ErrorKind> {
        self.check_limits_within(Duration::ZERO)
    }

    /// The same for what can't be stopped and takes this long.
    pub(crate) fn check_limits_within(&mut self, time: Duration) -> Option<ErrorKind> {
        if self.run.attempt.limit.is_some() {
            return self.run.attempt.limit;
        }
        if self.signal.is_interrupted() {
            return Some(self.end_by(ErrorKind::Interrupted));
        }
        if self.run.deadline.is_some_and(|deadline| deadline.saturating_duration_since(Instant::now()) <= time) {
            return Some(self.end_by(ErrorKind::Timeout));
        }
        None
    }

    /// The limit that was passed while something went on that takes as long as it takes. To be asked after each of
    /// that, so it costs little.
    #[inline]
    pub(crate) fn check_limits_cheaply(&mut self) -> Option<ErrorKind> {
        let look = self.run.attempt.limit.is_some()
            || self.signal.is_interrupted()
            || (self.run.deadline.is_some() && self.tick.passed());
        if look { self.check_limits() } else { None }
    }

    /// Whether somebody may have waited for the store, and longer than the run may take.
    #[inline]
    pub(super) fn waited_too_long(&mut self) -> bool {
        self.tables.has_waited() && !self.run.attempt.undoing && self.check_limits_cheaply().is_some()
    }

    /// Whether the run makes the host hold more than it may, so that it has to end.
    #[inline]
    pub(super) fn holds_too_much(&mut self) -> bool {
        let too_much = !self.run.attempt.undoing && self.tables.held() as u64 > self.run.limits.most_held();
        if too_much {
            self.end_by(ErrorKind::StoreLimit);
        }
        too_much
    }

    /// Whether nothing outside need be asked any more: the run has to end, and the guest does not know it yet.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.run.attempt.limit.is_some() && !self.run.attempt.undoing
    }

    /// The guest is told of the limit that was reached.
    #[cold]
    pub(crate) fn report_limit(&mut self, kind: ErrorKind) -> u32 {
        if !self.run.attempt.undoing {
            self.start_undo();
        }
        u32::from(kind.number())
    }

    /// The run that a limit ended is over.
    #[inline]
    pub(crate) fn forget_limit(&mut self) {
        self.run.attempt.limit = None;
        self.run.attempt.undoing = false;
        self.run.attempt.undo_until = None;
    }

    /// Whether there is no more time to take a run back.
    fn undo_is_over(&mut self) -> bool {
        let now = Instant::now();
        let end = if self.signal.is_interrupted() { Some(now) } else { self.run.deadline.map(|end| end.max(now)) };
        let latest = end.and_then(|end| end.checked_add(Duration::from_millis(UNDO_MILLISECONDS.into())));
        self.run.attempt.undo_until = self.run.attempt.undo_until.into_iter().chain(latest).min();
        self.run.attempt.undo_until.is_some_and(|until| now >= until)
    }

    /// What is asked from here on is to take a run back.
    #[cold]
    pub(crate) fn begin_undo(&mut self) {
        self.run.attempt.limit = None;
        self.start_undo();
    }

    fn start_undo(&mut self) {
        self.run.attempt.undoing = true;
        self.tables.set_deadline(Instant::now().checked_add(GRACE), None, u64::MAX);
    }

    /// How many instructions may follow those that the guest told of last.
    pub(crate) fn instructions_left(&mut self) -> u64 {
        let used = self.run.attempt.instructions;
        let mut left = self.run.limits.instructions.saturating_sub(used);
        for share in &mut self.run.attempt.inner_budgets {
            let from = *share.from.get_or_insert(used);
            left = left.min(share.instructions.saturating_sub(used.saturating_sub(from)));
        }
        left
    }

    /// The guest has used up what it was granted: the limit that was passed or 0, and what is granted now.
    pub(super) fn grant(&mut self, payload: &[u8]) -> Option<[u8; 8]> {
        let answer = |kind: u32, ticks: u32| Some((u64::from(kind) | u64::from(ticks) << 32).to_le_bytes());
        let used = u64::from_le_bytes(payload.try_into().ok()?);
        if used == LIMITS_UNDO.cast_unsigned() {
            // What it looks at for that are the tables that the run made.
            self.tables.set_own_end(OWN);
            let kind = if self.undo_is_over() { u32::from(ErrorKind::Timeout.number()) } else { 0 };
            return answer(kind, INSTRUCTION_GRANT.cast_unsigned());
        }
        self.run.attempt.instructions = used;
        let left = self.instructions_left();
        if let Some(check) = &self.check
            && !catch_unwind(AssertUnwindSafe(|| lock(check)())).unwrap_or(false)
        {
            self.signal.interrupt();
        }
        let mut kind = self.check_limits();
        if kind.is_none() && left == 0 {
            kind = Some(self.end_by(ErrorKind::InstructionLimit));
        }
        if kind.is_none()
            && let Some(away) = compute_slot::give_way(&self.signal)
        {
            self.postpone_deadline(away);
            kind = self.check_limits();
        }
        let kind = kind.map_or(0, |kind| self.report_limit(kind));
        let ticks = u32::try_from(left).unwrap_or(u32::MAX).min(INSTRUCTION_GRANT.cast_unsigned());
        answer(kind, ticks)
    }
}
