//! Looking at the clock in the middle of long work.

use std::time::Instant;

use crate::store::StoreResult;

/// How often it is looked at: that many steps take some microseconds.
const STEPS: u32 = 1024;

/// For work in many small steps that has to end at a deadline.
pub(crate) struct Clock {
    deadline: Option<Instant>,
    steps: u32,
    over: bool,
}

impl Clock {
    pub(crate) fn new(deadline: Option<Instant>) -> Self {
        Clock { deadline, steps: 0, over: false }
    }

    /// Asked at each step.
    #[inline]
    pub(crate) fn is_over(&mut self) -> bool {
        self.steps += 1;
        if self.steps == STEPS {
            self.steps = 0;
            self.over |= self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        }
        self.over
    }

    pub(super) fn check(&self) -> StoreResult<()> {
        if self.over { Err("the run has no time left".into()) } else { Ok(()) }
    }

    pub(crate) fn was_over(&self) -> bool {
        self.over
    }
}
