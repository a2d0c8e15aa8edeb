//! When a store need not go on.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::control::Control;

/// Tells a store when what it is asked for is of no use any more: the run that asks has passed its deadline, or was interrupted. See
/// [`TableStore::set_cancel`](crate::TableStore::set_cancel).
#[derive(Clone, Default)]
pub struct CancelToken {
    deadline: Option<Instant>,
    control: Option<Arc<Control>>,
}

impl CancelToken {
    pub(crate) fn new(deadline: Option<Instant>, control: Option<Arc<Control>>) -> Self {
        CancelToken { deadline, control }
    }

    /// When it will be cancelled at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether it is cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.is_interrupted())
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
