//! The host's side of the five functions that the guest imports. The contract is in `docs/HOST_FUNCTION_IMPORTS.md`.
//!
//! Every number that comes from the guest is untrusted: pointers and lengths are checked against the memory of this moment, and
//! nothing here panics.

mod channel;
mod errors;
mod imports;
mod limits;
mod memory;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use self::errors::{Behind, KeptErrors};
pub(crate) use self::limits::{Share, limit_error};
pub(crate) use self::memory::part;
use crate::coarse::Tick;
use crate::config::{Check, PrintSink};
use crate::control::Control;
use crate::functions::Functions;
use crate::limits::Limits;
use crate::modules::ModuleResolver;
use crate::protocol::code::{ABSENT, STORE_FAILED};
use crate::sandbox::SandboxLinks;
use crate::tables::Tables;
use crate::value::Value;
use crate::virtual_time::VirtualTime;
use crate::{Error, ErrorKind};

/// "Too small, this many bytes are needed."
#[inline]
fn too_small(needed: usize) -> i32 {
    i32::try_from(needed).ok().and_then(|n| ABSENT.checked_sub(n)).filter(|n| *n != STORE_FAILED).unwrap_or(ABSENT)
}

/// What the five functions work on, and what they need to know of the run.
pub(crate) struct Host {
    pub(crate) tables: Tables,
    /// The revision of the contract that the guest speaks.
    pub(crate) revision: u32,
    /// Why the store failed last.
    pub(crate) failure: Option<Error>,
    /// For which modules the search failed last, by how their names begin, and the numbers of the errors.
    module_failures: VecDeque<(String, u32)>,
    /// A failure that could not be reported to the guest: the run must not succeed.
    pub(crate) doomed: Option<Error>,
    pub(crate) functions: Functions,
    /// What the guest told of last.
    instructions: u64,
    /// The instructions that runs inside this one may use, the outer ones first.
    pub(crate) shares: Vec<Share>,
    /// Errors that host functions gave in this run.
    errors: KeptErrors,
    /// What may lie behind an error of the host function that runs: what lay behind those that runs inside it gave it.
    pub(crate) behind: Behind,
    pub(crate) print: Option<PrintSink>,
    pub(crate) check: Option<Check>,
    pub(crate) modules: Option<Arc<dyn ModuleResolver>>,
    pub(crate) control: Arc<Control>,
    pub(crate) virtual_time: Option<VirtualTime>,
    /// Of the present run.
    pub(crate) limits: Limits,
    /// When the present run began.
    pub(crate) started: Option<Instant>,
    pub(crate) deadline: Option<Instant>,
    /// When the deadline was looked at last.
    tick: Tick,
    /// The limit that ends the present run.
    pub(crate) refused: Option<ErrorKind>,
    /// Whether the guest takes the run back, as it was asked to or because it has been told of that limit: no other one keeps it from what it needs.
    taking_back: bool,
    /// Until when that may take.
    undo_until: Option<Instant>,
    pub(crate) host_calls: u64,
    /// Whether a host function was called that must not be called again for the same run.
    pub(crate) called_unrepeatable: bool,
    pub(crate) bytes_stored: u64,
    /// How many host functions run inside each other.
    pub(crate) nesting: u32,
    /// How values of the present run are tied to the sandbox.
    pub(crate) links: Option<SandboxLinks>,
    /// Whether the instance can wait for futures.
    pub(crate) waits: bool,
    #[cfg(feature = "async")]
    pub(crate) pending: Option<crate::functions::Pending>,
    /// For encoding, kept for its room.
    pub(crate) scratch: Vec<u8>,
    /// For arguments and results of host functions, kept for its room.
    pub(crate) values: Vec<Value>,
    /// An answer that did not fit.
    answer: Vec<u8>,
}

impl Host {
    pub(crate) fn new(tables: Tables, revision: u32, control: Arc<Control>) -> Self {
        Host {
            tables,
            revision,
            failure: None,
            module_failures: VecDeque::new(),
            doomed: None,
            functions: Functions::default(),
            instructions: 0,
            shares: Vec::new(),
            errors: KeptErrors::default(),
            behind: Behind::default(),
            print: None,
            check: None,
            modules: None,
            control,
            virtual_time: None,
            limits: Limits::default(),
            started: None,
            deadline: None,
            tick: Tick::default(),
            refused: None,
            taking_back: false,
            undo_until: None,
            host_calls: 0,
            called_unrepeatable: false,
            bytes_stored: 0,
            nesting: 0,
            links: None,
            waits: false,
            #[cfg(feature = "async")]
            pending: None,
            scratch: Vec::new(),
            values: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// Starts a run.
    #[inline]
    pub(crate) fn begin(&mut self, now: Instant, limits: &Limits) {
        self.started = Some(now);
        self.deadline = limits.timeout.and_then(|timeout| now.checked_add(timeout));
        self.limits = *limits;
        self.control.begin();
        self.begin_again();
    }

    /// Starts another try of a run: its time goes on, and whoever interrupted it meant this one too.
    #[inline]
    pub(crate) fn begin_again(&mut self) {
        self.set_deadline(self.deadline);
        self.failure = None;
        self.doomed = None;
        self.forget_refusal();
        self.host_calls = 0;
        self.called_unrepeatable = false;
        self.bytes_stored = 0;
        self.nesting = 0;
        self.instructions = 0;
        self.shares.clear();
        self.behind = Behind::default();
        if !self.answer.is_empty() {
            self.answer = Vec::new();
        }
    }

    /// From here on the run has to end at this time.
    #[inline]
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.tables.set_deadline(deadline, Some(&self.control), self.limits.most_held());
    }

    /// Something else than the run took this much of its time.
    #[cfg(feature = "async")]
    pub(crate) fn postpone_deadline(&mut self, time: std::time::Duration) {
        self.set_deadline(self.deadline.and_then(|deadline| deadline.checked_add(time)));
    }

    /// Ends a run.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.links = None;
        // What the host failed with may hold on to the sandbox.
        self.errors.clear();
        self.module_failures.clear();
        self.failure = None;
        if self.scratch.capacity() > 1 << 16 {
            self.scratch = Vec::new();
        }
    }

    /// Keeps an error that a host function gave, which Lua sees as a value of this many bytes; its number.
    pub(crate) fn keep_error(&mut self, error: Error, bytes: usize) -> u32 {
        self.errors.keep(error, bytes, self.behind)
    }

    /// The error with the host's error of this number as its cause; as it was when too much came after that one.
    fn caused_by(&mut self, error: Error, number: i64) -> Result<Error, Error> {
        match self.errors.get(number) {
            None => Err(error),
            Some((cause, None)) => Ok(error.ending_causes(&cause)),
            Some((cause, Some(behind))) => {
                self.behind = self.behind.max(behind);
                Ok(error.caused_by_host(cause))
            }
        }
    }

    /// Keeps why there was no module of that name.
    pub(crate) fn keep_module_failure(&mut self, name: &[u8], error: Error) {
        const MOST: usize = 16;
        const NAME: usize = 100;
        if self.module_failures.len() >= MOST {
            self.module_failures.pop_front();
        }
        let name = String::from_utf8_lossy(name).chars().take(NAME).collect();
        let number = self.keep_error(error, 0);
        self.module_failures.push_back((name, number));
    }

    /// A failed run's error with what lies behind it on the host's side: the error of a host function by its number, else what modules or the store failed with.
    pub(crate) fn explain(&mut self, error: Error, number: i64) -> Error {
        let error = match self.caused_by(error, number) {
            Ok(error) => return error,
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Store => match self.failure.clone() {
                Some(failure) => error.caused_by_store(failure),
                None => error,
            },
            ErrorKind::HostFunction => {
                let mut failures = self.module_failures.iter().rev();
                let number = failures.find(|(name, _)| error.message().contains(name)).map(|(_, number)| *number);
                self.caused_by(error, number.unwrap_or_default().into()).unwrap_or_else(|error| error)
            }
            _ => error,
        }
    }
}
