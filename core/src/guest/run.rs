//! One run: everything that ends with it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::kept_errors::{Causes, KeptErrors};
use super::limits::Limits;
use super::requests::{Requests, Waits};
use super::resolver::SandboxResolver;
use crate::value::{Error, ErrorKind};

/// What the host knows of the run that is under way. It is dropped with the run, however that ends, so that nothing of
/// it reaches the next one; between two runs there is an idle one, with the defaults.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) limits: Limits,
    pub(crate) started: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    /// Who answers calls that are not answered at once.
    pub(crate) waits: Waits,
    /// How values are tied to the sandbox. `None` while no script can run.
    pub(crate) resolver: Option<SandboxResolver>,
    /// What the host failed with. Few runs have any.
    pub(super) failures: Option<Box<HostFailures>>,
    /// What this try to run has done: a run is tried again after a conflict.
    pub(crate) attempt: Attempt,
}

impl Run {
    /// How much of its time is left; `None` for one without a timeout.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// What the host failed with in a run.
#[derive(Default)]
pub(super) struct HostFailures {
    /// Errors that host functions gave.
    pub(super) errors: KeptErrors,
    /// For which modules the search failed last, by how their names begin, and the numbers of the errors.
    pub(super) modules: VecDeque<(String, u32)>,
}

/// What one try of a run has done.
#[derive(Default)]
pub(crate) struct Attempt {
    /// The limit that ends the run.
    pub(crate) limit: Option<ErrorKind>,
    /// Whether the guest takes the run back, as it was asked to or because it has been told of that limit: no other one
    /// keeps it from what it needs.
    pub(super) undoing: bool,
    /// Until when that may take.
    pub(super) undo_until: Option<Instant>,
    /// What the guest told of last.
    pub(super) instructions: u64,
    /// The instructions that runs inside this one may use, the outer ones first.
    pub(crate) inner_budgets: Vec<InnerBudget>,
    pub(crate) host_calls: u64,
    /// The host function that was called first of those that must not be called again for the same run.
    pub(crate) unrepeatable: Option<i32>,
    pub(crate) bytes_stored: u64,
    /// Whether something was run inside this one.
    pub(crate) ran_inside: bool,
    /// How many host functions run inside each other.
    pub(crate) nesting: u32,
    /// What may lie behind an error of the host function that runs: what lay behind those that runs inside it gave it.
    pub(crate) causes: Causes,
    /// Why the store failed last.
    pub(super) store_failure: Option<Error>,
    /// A failure that could not be reported to the guest: the run must not succeed.
    pub(crate) unreported: Option<Error>,
    /// An answer that did not fit, to be fetched.
    pub(super) answer: Vec<u8>,
    /// Calls that are answered later. Few runs have any.
    requests: Option<Box<Requests>>,
}

impl Attempt {
    pub(crate) fn requests(&mut self) -> &mut Requests {
        self.requests.get_or_insert_default()
    }
}

/// How many instructions a run inside another one may use.
pub(crate) struct InnerBudget {
    pub(crate) instructions: u64,
    /// From where they count: from the guest's next question on.
    pub(crate) from: Option<u64>,
}
