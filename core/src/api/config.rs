//! Settings of sandboxes and of runs.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Engine;
use super::limit_setters::limit_setters;
use crate::guest::limits::Limits;
use crate::guest::modules::ModuleResolver;
use crate::guest::virtual_clock::VirtualClock;
use crate::guest::{Check, Host, PrintSink};
use crate::run::limits::LimitOverrides;
use crate::run::{Canceller, SandboxSettings, SandboxState};
use crate::store::{IntoStore, StoreResult, TableStore};
use crate::tables::Tables;
use crate::value::{ArgList, Args, IntoArgs, Result};

/// How often a run is repeated after a conflict.
const CONFLICT_RETRIES: u32 = 10;

/// How long a durable run is claimed for each time.
const CLAIM_TERM: Duration = Duration::from_secs(30);

/// Settings of one sandbox. More will come.
#[derive(Default)]
#[non_exhaustive]
pub struct SandboxConfig {
    pub(crate) limits: LimitOverrides,
    pub(crate) no_memory_alias: bool,
    pub(crate) store: Option<StoreResult<Box<dyn TableStore>>>,
    pub(crate) no_stored_functions: bool,
    pub(crate) conflict_retries: Option<u32>,
    pub(crate) print: Option<PrintSink>,
    pub(crate) check: Option<Check>,
    pub(crate) modules: Option<Arc<dyn ModuleResolver>>,
    pub(crate) seed: Option<u64>,
    pub(crate) claim_term: Option<Duration>,
    pub(crate) queue_runs: bool,
}

limit_setters!(SandboxConfig);

impl SandboxConfig {
    /// The defaults: tables in memory, and the limits that the methods name.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where `_home` is kept: a store, the path of a [`FileStore`](crate::FileStore), or a server's URL (feature
    /// `redis`). If it can't be opened, making the sandbox fails with the kind `Store`. Default: memory; `_home` ends
    /// with the sandbox.
    #[must_use]
    pub fn store(mut self, store: impl IntoStore) -> Self {
        self.store = Some(store.into_store());
        self
    }

    /// Whether functions in the store are loaded. They are bytecode, which Lua does not verify. Whoever can write to
    /// the store could put one there that takes over the guest, and then only the limits of
    /// [`EngineConfig`](crate::EngineConfig) hold. Default: they are loaded. So use a store that only people you trust
    /// can write to, or set this to false; then reading a function fails with `Store`.
    #[must_use]
    pub fn stored_functions(mut self, loaded: bool) -> Self {
        self.no_stored_functions = !loaded;
        self
    }

    /// How often a run is repeated if somebody else, who uses the same store, changed what it had read. Then it fails
    /// with the kind `Conflict`. Globals that the run has set stay set, as after an error. If a run called a host
    /// function, it is repeated only if all functions that it called were registered as
    /// [repeatable](crate::Sandbox::register_repeatable). Default 10.
    #[must_use]
    pub fn conflict_retries(mut self, times: u32) -> Self {
        self.conflict_retries = Some(times);
        self
    }

    /// Whether this sandbox's runs take turns with those of other sandboxes that use the same store and do the same. Then
    /// none is in conflict with another, also if it waits for a host function between reading and writing; but only one
    /// of them is under way at a time.
    ///
    /// In a process they come in order. On a server a lock says whose turn it is; if its holder does not come back, it
    /// ends after 30 seconds, and a run that takes longer may be in conflict again. A run has its turn from its beginning
    /// to its end, a [durable](ComputeOptions::durable) one from wait to wait. Waiting for it does not count for the
    /// timeout. A run that another one would wait for in vain, because the same thread has to end it first, gets `Busy`.
    /// Default: off, and runs that collide are [repeated](Self::conflict_retries).
    #[must_use]
    pub fn queue_runs(mut self, on: bool) -> Self {
        self.queue_runs = on;
        self
    }

    /// How long the sandbox claims a [durable](ComputeOptions::durable) run each time, in a store that several sandboxes
    /// use. As long as that nobody else can resume the run. The claim is renewed whenever the run waits, and by
    /// [`Run::renew`](crate::Run::renew); it ends with the run, or when the run is dropped. Default: 30 seconds.
    #[must_use]
    pub fn claim_term(mut self, term: Duration) -> Self {
        self.claim_term = Some(term);
        self
    }

    /// Whether `_home` is also the global `Memory`. Default: it is.
    #[must_use]
    pub fn memory_alias(mut self, on: bool) -> Self {
        self.no_memory_alias = !on;
        self
    }

    /// Receives printed text immediately, one call for each `print`, including its newline;
    /// [`Outcome::output`](crate::Outcome) then stays empty. It runs on the thread that runs the script, and can't use
    /// the sandbox.
    #[must_use]
    pub fn on_print(mut self, sink: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.print = Some(Arc::new(Mutex::new(sink)));
        self
    }

    /// Called on the thread that runs the script, about every 100,000 instructions, which is several times in a
    /// millisecond: for things that a host has to watch meanwhile, such as signals. If it returns false, the run ends
    /// as by [`interrupt`](crate::Sandbox::interrupt). It can't use the sandbox.
    #[must_use]
    pub fn on_check(mut self, check: impl FnMut() -> bool + Send + 'static) -> Self {
        self.check = Some(Arc::new(Mutex::new(check)));
        self
    }

    /// Where `require` finds modules: a map from names to sources, [`Folder`](crate::Folder), or a function. Default:
    /// only the guest's own (`bigint`).
    #[must_use]
    pub fn modules(mut self, resolver: impl ModuleResolver + 'static) -> Self {
        self.modules = Some(Arc::new(resolver));
        self
    }

    /// Makes runs repeatable: random numbers come from this seed, the clock is virtual (it starts at 2000-01-01
    /// 00:00:00 UTC and advances a nanosecond with each instruction), and NaN has one form. The same calls on a new
    /// sandbox then give the same results, output and instruction counts, byte for byte, on every platform; wall time
    /// is reported as 0. Combine it with an instruction limit, because a timeout depends on the machine. Default: off,
    /// with randomness from the system.
    #[must_use]
    pub fn deterministic(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl SandboxConfig {
    /// A sandbox that has no instance yet.
    pub(crate) fn into_state(self, engine: &Engine) -> Result<SandboxState> {
        let tables = match self.store {
            Some(store) => {
                let mut tables = store.and_then(Tables::open)?;
                tables.refuse_functions(self.no_stored_functions);
                tables
            }
            None => Tables::in_memory(),
        };
        let host = Host {
            print: self.print,
            check: self.check,
            modules: self.modules,
            virtual_clock: self.seed.map(VirtualClock::new),
            ..Host::new(tables)
        };
        let settings = SandboxSettings {
            limits: self.limits.over(Limits::default()),
            no_memory_alias: self.no_memory_alias,
            deterministic: self.seed.is_some(),
            conflict_retries: self.conflict_retries.unwrap_or(CONFLICT_RETRIES),
            claim_term: self.claim_term.unwrap_or(CLAIM_TERM),
            queue_runs: self.queue_runs,
        };
        Ok(SandboxState::new(Arc::clone(&engine.0), settings, host))
    }
}

impl fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("limits", &self.limits)
            .field("memory_alias", &!self.no_memory_alias)
            .field("store", &self.store.as_ref().map(|store| store.as_ref().map(|_| "...")))
            .field("conflict_retries", &self.conflict_retries)
            .field("deterministic", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Settings of one run. Limits that are set here replace the sandbox's. More will come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ComputeOptions {
    pub(crate) name: String,
    pub(crate) args: ArgList,
    pub(crate) limits: LimitOverrides,
    pub(crate) canceller: Option<Canceller>,
    pub(crate) durable: Option<Arc<str>>,
}

limit_setters!(ComputeOptions);

impl ComputeOptions {
    /// The defaults: no arguments, a chunk named after its source, the sandbox's limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunk's name for messages, as in Lua: `=name` is shown as it is, `@name` as a file's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The chunk's arguments, its `...`; with [`call_with`](crate::Sandbox::call_with) the function's.
    #[must_use]
    pub fn args(mut self, args: impl IntoArgs) -> Self {
        self.args = ArgList::Values(args.into_args());
        self
    }

    /// What can cancel the run, before it begins and while it is running. Not for runs inside a host function: they end
    /// with the run that called it.
    #[must_use]
    pub fn canceller(mut self, canceller: &Canceller) -> Self {
        self.canceller = Some(canceller.clone());
        self
    }

    /// Gives a run that is [started](crate::Sandbox::start) a name in the sandbox's store: it survives the process.
    ///
    /// Whenever the run waits, the store gets in one transaction what it has written so far, and the whole Lua as it is
    /// then. When the run has ended, with a result or with an error of the script, it is removed with its last writes,
    /// again in one. If the process ends before, [`resume`](crate::Sandbox::resume) goes on from where the run waited
    /// last, in any sandbox with the same store: no write is lost or done twice, and requests whose answers were not
    /// stored yet are handed out again under their old numbers.
    ///
    /// A name has 1 to 1,000 bytes, and is free again once its run has ended.
    #[must_use]
    pub fn durable(mut self, name: impl Into<Arc<str>>) -> Self {
        self.durable = Some(name.into());
        self
    }

    /// As [`args`](Self::args), for arguments that are encoded already.
    #[must_use]
    pub fn encoded_args(mut self, args: impl Into<Args>) -> Self {
        self.args = ArgList::Encoded(args.into());
        self
    }
}
