//! Limits of the present run, and how many instructions it may still use.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Host;
use crate::limits::GRANT;
use crate::tables::OWN;
use crate::{Error, ErrorKind};

/// How long the store may take where the guest takes a run back that had to end.
const GRACE: Duration = Duration::from_secs(1);

/// How long the guest may take for that beyond the run's own time.
const UNDO: Duration = Duration::from_millis(25);

/// The error of a limit that the guest did not raise itself, in its words.
#[cold]
pub(crate) fn limit_error(kind: ErrorKind) -> Error {
    let message = match kind {
        ErrorKind::InstructionLimit => "instruction limit reached",
        ErrorKind::Timeout => "time limit reached",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::OutputLimit => "output limit reached",
        ErrorKind::StoreLimit => "store limit reached",
        ErrorKind::HostCallLimit => "host call limit reached",
        _ => "stopped by the host",
    };
    Error::new(kind, message)
}

/// How many instructions a run inside another one may use.
pub(crate) struct Share {
    pub(crate) instructions: u64,
    /// From where they count: from the guest's next question on.
    pub(crate) from: Option<u64>,
}

impl Host {
    /// Notes that a limit ends the run.
    pub(crate) fn refuse(&mut self, kind: ErrorKind) -> ErrorKind {
        *self.refused.get_or_insert(kind)
    }

    /// The limit that was passed, apart from instructions.
    #[inline]
    pub(crate) fn passed_limit(&mut self) -> Option<ErrorKind> {
        self.passes_limit_within(Duration::ZERO)
    }

    /// The same for what can't be stopped and takes this long.
    pub(crate) fn passes_limit_within(&mut self, time: Duration) -> Option<ErrorKind> {
        if self.refused.is_some() {
            return self.refused;
        }
        if self.control.is_interrupted() {
            return Some(self.refuse(ErrorKind::Interrupted));
        }
        if self.deadline.is_some_and(|deadline| deadline.saturating_duration_since(Instant::now()) <= time) {
            return Some(self.refuse(ErrorKind::Timeout));
        }
        None
    }

    /// The limit that was passed while something went on that takes as long as it takes. To be asked after each of that, so it costs little.
    #[inline]
    pub(crate) fn passed_meanwhile(&mut self) -> Option<ErrorKind> {
        let look =
            self.refused.is_some() || self.control.is_interrupted() || (self.deadline.is_some() && self.tick.passed());
        if look { self.passed_limit() } else { None }
    }

    /// Whether somebody may have waited for the store, and longer than the run may take.
    #[inline]
    pub(super) fn waited_too_long(&mut self) -> bool {
        self.tables.has_waited() && !self.taking_back && self.passed_meanwhile().is_some()
    }

    /// Whether the run makes the host hold more than it may, so that it has to end.
    #[inline]
    pub(super) fn holds_too_much(&mut self) -> bool {
        let too_much = !self.taking_back && self.tables.held() as u64 > self.limits.most_held();
        if too_much {
            self.refuse(ErrorKind::StoreLimit);
        }
        too_much
    }

    /// Whether nothing outside need be asked any more: the run has to end, and the guest does not know it yet.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.refused.is_some() && !self.taking_back
    }

    /// The guest is told of the limit that was reached.
    #[cold]
    pub(crate) fn tell_refusal(&mut self, kind: ErrorKind) -> u32 {
        if !self.taking_back {
            self.begin_taking_back();
        }
        u32::from(kind.number())
    }

    /// The run that a limit ended is over.
    #[inline]
    pub(crate) fn forget_refusal(&mut self) {
        self.refused = None;
        self.taking_back = false;
        self.undo_until = None;
    }

    /// Whether there is no more time to take a run back.
    fn undo_is_over(&mut self) -> bool {
        let now = Instant::now();
        let end = if self.control.is_interrupted() { Some(now) } else { self.deadline.map(|end| end.max(now)) };
        let latest = end.and_then(|end| end.checked_add(UNDO));
        self.undo_until = self.undo_until.into_iter().chain(latest).min();
        self.undo_until.is_some_and(|until| now >= until)
    }

    /// What is asked from here on is to take a run back.
    #[cold]
    pub(crate) fn begin_undo(&mut self) {
        self.refused = None;
        self.begin_taking_back();
    }

    fn begin_taking_back(&mut self) {
        self.taking_back = true;
        self.tables.set_deadline(Instant::now().checked_add(GRACE), None, u64::MAX);
    }

    /// How many instructions may follow those that the guest told of last.
    pub(crate) fn instructions_left(&mut self) -> u64 {
        let used = self.instructions;
        let mut left = self.limits.instructions.saturating_sub(used);
        for share in &mut self.shares {
            let from = *share.from.get_or_insert(used);
            left = left.min(share.instructions.saturating_sub(used.saturating_sub(from)));
        }
        left
    }

    /// The guest has used up what it was granted: the limit that was passed or 0, and what is granted now.
    pub(super) fn grant(&mut self, payload: &[u8]) -> Option<[u8; 8]> {
        /// The guest takes a run back.
        const UNDO: u64 = u64::MAX;
        let answer = |kind: u32, ticks: u32| Some((u64::from(kind) | u64::from(ticks) << 32).to_le_bytes());
        let used = u64::from_le_bytes(payload.try_into().ok()?);
        if used == UNDO {
            // What it looks at for that are the tables that the run made.
            self.tables.set_own_end(OWN);
            let kind = if self.undo_is_over() { u32::from(ErrorKind::Timeout.number()) } else { 0 };
            return answer(kind, GRANT.cast_unsigned());
        }
        self.instructions = used;
        let left = self.instructions_left();
        if let Some(check) = &self.check
            && !catch_unwind(AssertUnwindSafe(|| check.lock().unwrap_or_else(PoisonError::into_inner)()))
                .unwrap_or(false)
        {
            self.control.interrupt();
        }
        let mut kind = self.passed_limit();
        if kind.is_none() && left == 0 {
            kind = Some(self.refuse(ErrorKind::InstructionLimit));
        }
        let kind = kind.map_or(0, |kind| self.tell_refusal(kind));
        let ticks = u32::try_from(left).unwrap_or(u32::MAX).min(GRANT.cast_unsigned());
        answer(kind, ticks)
    }
}
