//! What the imports work on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::host_functions::HostFunctions;
use super::kept_errors::KeptErrors;
use super::limits::Limits;
use super::modules::ModuleResolver;
use super::run::{Attempt, HostFailures, Run};
use super::virtual_clock::VirtualClock;
use crate::tables::Tables;
use crate::util::{CoarseTick, StopSignal};
use crate::value::host_values::{HostValue, HostValues};
use crate::value::{Error, ErrorKind, Value};

/// Takes what a script prints, piece by piece.
pub(crate) type PrintSink = Arc<Mutex<dyn FnMut(&[u8]) + Send>>;

/// Asked now and then whether a run may go on.
pub(crate) type Check = Arc<Mutex<dyn FnMut() -> bool + Send>>;

/// The host's side of one sandbox: what stays from run to run, whatever instance there is, and the present run.
pub(crate) struct Host {
    pub(crate) tables: Tables,
    pub(crate) functions: HostFunctions,
    /// What the present instance was given.
    pub(crate) values: Arc<HostValues>,
    /// Of these what Lua has let go of, until it can be dropped.
    pub(crate) gone: Vec<HostValue>,
    pub(crate) print: Option<PrintSink>,
    pub(crate) check: Option<Check>,
    pub(crate) modules: Option<Arc<dyn ModuleResolver>>,
    pub(crate) signal: Arc<StopSignal>,
    pub(crate) virtual_clock: Option<VirtualClock>,
    /// The revision of the contract that the guest speaks.
    pub(crate) revision: u32,
    pub(crate) run: Run,
    /// When a deadline was looked at last.
    pub(crate) tick: CoarseTick,
    /// For encoding, kept for its room.
    pub(crate) scratch: Vec<u8>,
    /// For arguments and results of host functions, kept for its room.
    pub(crate) args: Vec<Value>,
}

impl Host {
    pub(crate) fn new(tables: Tables) -> Self {
        Host {
            tables,
            functions: HostFunctions::default(),
            values: Arc::default(),
            gone: Vec::new(),
            print: None,
            check: None,
            modules: None,
            signal: Arc::default(),
            virtual_clock: None,
            revision: 1,
            run: Run::default(),
            tick: CoarseTick::default(),
            scratch: Vec::new(),
            args: Vec::new(),
        }
    }

    /// As another sandbox's host, with other tables: functions, modules, and where output goes, are the same.
    pub(crate) fn forked(&self, tables: Tables) -> Self {
        Host {
            functions: self.functions.clone(),
            print: self.print.clone(),
            check: self.check.clone(),
            modules: self.modules.clone(),
            virtual_clock: self.virtual_clock,
            ..Host::new(tables)
        }
    }

    /// Drops what Lua has let go of. What that runs is the host's own.
    #[inline]
    pub(crate) fn drop_gone(&mut self) {
        while let Some(value) = self.gone.pop() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(value)));
        }
    }

    /// Starts a run.
    #[inline]
    pub(crate) fn begin_run(&mut self, now: Instant, limits: &Limits) {
        self.signal.begin();
        self.begin_run_again(now, limits);
    }

    /// The same for one that goes on here: whoever interrupts it meanwhile means it.
    #[inline]
    pub(crate) fn begin_run_again(&mut self, now: Instant, limits: &Limits) {
        debug_assert!(self.run.started.is_none(), "the run before was not ended");
        self.run.started = Some(now);
        self.run.limits = *limits;
        self.set_deadline(limits.timeout.and_then(|timeout| now.checked_add(timeout)));
    }

    /// Starts another try of the run: its time goes on, and whoever interrupted it meant this one too.
    pub(crate) fn begin_attempt(&mut self) {
        self.set_deadline(self.run.deadline);
        self.run.attempt = Attempt::default();
    }

    /// From here on no script runs; what the host failed with may hold on to the sandbox.
    #[inline]
    pub(crate) fn end_script(&mut self) {
        self.run.resolver = None;
        self.run.failures = None;
        self.run.attempt.store_failure = None;
    }

    /// Ends the run.
    #[inline]
    pub(crate) fn end_run(&mut self) {
        self.run = Run::default();
        self.drop_gone();
        self.tables.set_deadline(None, None, u64::MAX);
        if self.scratch.capacity() > 1 << 16 {
            self.scratch = Vec::new();
        }
    }

    /// From here on the run has to end at this time.
    #[inline]
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.run.deadline = deadline;
        self.tables.set_deadline(deadline, Some(&self.signal), self.run.limits.most_held());
    }

    /// Something else than the run took this much of its time.
    pub(crate) fn postpone_deadline(&mut self, time: std::time::Duration) {
        self.set_deadline(self.run.deadline.and_then(|deadline| deadline.checked_add(time)));
    }

    fn failures(&mut self) -> &mut HostFailures {
        self.run.failures.get_or_insert_default()
    }

    /// The number of the error that was kept last.
    pub(crate) fn last_error(&self) -> u32 {
        self.run.failures.as_ref().map_or(0, |failures| failures.errors.last_number().unwrap_or(u32::MAX))
    }

    /// What the run knows of errors that were kept elsewhere is never taken for one of those that are kept here.
    pub(crate) fn number_errors_after(&mut self, last: u32) {
        if last > 0 {
            self.failures().errors = KeptErrors::beginning_after(last);
        }
    }

    /// Keeps an error that a host function gave, which Lua sees as a value of this many bytes; its number.
    pub(crate) fn keep_error(&mut self, error: Error, bytes: usize) -> u32 {
        let causes = self.run.attempt.causes;
        self.failures().errors.keep(error, bytes, causes)
    }

    /// The error with the host's error of this number as its cause; as it was when too much came after that one.
    fn caused_by(&mut self, error: Error, number: i64) -> Result<Error, Error> {
        match self.run.failures.as_ref().and_then(|failures| failures.errors.get(number)) {
            None => Err(error),
            Some((cause, None)) => Ok(error.ending_causes(&cause)),
            Some((cause, Some(behind))) => {
                self.run.attempt.causes = self.run.attempt.causes.max(behind);
                Ok(error.caused_by_host(cause))
            }
        }
    }

    /// Keeps why there was no module of that name.
    pub(crate) fn keep_module_failure(&mut self, name: &[u8], error: Error) {
        const MOST: usize = 16;
        const NAME: usize = 100;
        let modules = &mut self.failures().modules;
        if modules.len() >= MOST {
            modules.pop_front();
        }
        let name = String::from_utf8_lossy(name).chars().take(NAME).collect();
        let number = self.keep_error(error, 0);
        self.failures().modules.push_back((name, number));
    }

    /// A failed run's error with what lies behind it on the host's side: the error of a host function by its number,
    /// else what modules or the store failed with.
    pub(crate) fn explain(&mut self, error: Error, number: i64) -> Error {
        let error = match self.caused_by(error, number) {
            Ok(error) => return error,
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Store => match self.run.attempt.store_failure.clone() {
                Some(failure) => error.caused_by_store(failure),
                None => error,
            },
            ErrorKind::HostFunction => {
                let mut failures = self.run.failures.iter().flat_map(|failures| failures.modules.iter().rev());
                let number = failures.find(|(name, _)| error.message().contains(name)).map(|(_, number)| *number);
                self.caused_by(error, number.unwrap_or_default().into()).unwrap_or_else(|error| error)
            }
            _ => error,
        }
    }
}
