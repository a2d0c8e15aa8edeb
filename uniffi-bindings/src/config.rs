//! Settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use luacell::{ComputeOptions, Folder, Module, ModuleResolver, Resolved, StoreLimit};

use crate::error::invalid;
use crate::host::{HostError, ModuleSource, Printer};
use crate::store::{OwnStore, TableStore};
use crate::value::{LuaValue, to_lua};

/// What a script may use. What is not set has its default; a negative number stands for no limit.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct Limits {
    /// Bytes for Lua's heap and the buffers of the run. Default 256 MiB. Beyond: Lua's "not enough memory", kind
    /// `Memory`.
    #[uniffi(default = None)]
    pub memory: Option<i64>,
    /// Instructions, about those of the Lua machine. Default: no limit. Beyond: kind `InstructionLimit`.
    #[uniffi(default = None)]
    pub instructions: Option<i64>,
    /// Wall time. Default 60 seconds. Beyond: kind `Timeout`.
    #[uniffi(default = None)]
    pub timeout: Option<Duration>,
    /// Whether there is no timeout at all.
    #[uniffi(default = false)]
    pub no_timeout: bool,
    /// Bytes of printed text. Beyond: kind `OutputLimit`.
    #[uniffi(default = None)]
    pub output: Option<i64>,
    /// Bytes of all keys and values in stored tables. Default 1 GiB. Beyond: kind `StoreLimit`.
    #[uniffi(default = None)]
    pub store_bytes: Option<i64>,
    /// Entries of all stored tables. Default ten million; no limit when only `storeBytes` is given. Beyond: kind
    /// `StoreLimit`.
    #[uniffi(default = None)]
    pub store_entries: Option<i64>,
    /// Calls of host functions. Default: no limit. Beyond: kind `HostCallLimit`.
    #[uniffi(default = None)]
    pub host_calls: Option<i64>,
    /// Bytes of source. Default 16 MiB. Beyond: kind `InvalidArgument`.
    #[uniffi(default = None)]
    pub source: Option<i64>,
}

/// A number for which less than 0 makes no sense.
pub(crate) fn setting<N: Copy + std::fmt::Display, T: TryFrom<N>>(name: &str, n: N) -> luacell::Result<T> {
    T::try_from(n).map_err(|_| invalid(format!("{name} is {n}, but has to be 0 or more")))
}

/// A negative number is more than any.
fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Sandboxes and runs are given limits by methods of the same names.
macro_rules! apply_limits {
    ($limits:expr, $config:expr) => {{
        let mut config = $config;
        let limits: Limits = $limits;
        if let Some(n) = limits.memory {
            config = config.memory_limit(number(n));
        }
        if let Some(n) = limits.instructions {
            config = config.instruction_limit(number(n));
        }
        if let Some(time) = limits.timeout {
            config = config.timeout(time);
        }
        if limits.no_timeout {
            config = config.timeout(None);
        }
        if let Some(n) = limits.output {
            config = config.output_limit(number(n));
        }
        if limits.store_bytes.is_some() || limits.store_entries.is_some() {
            let part = |n: Option<i64>| n.map_or(u64::MAX, number);
            config = config.store_limit(StoreLimit::new(part(limits.store_bytes), part(limits.store_entries)));
        }
        if let Some(n) = limits.host_calls {
            config = config.host_call_limit(number(n));
        }
        if let Some(n) = limits.source {
            config = config.source_limit(number(n));
        }
        config
    }};
}

/// Settings of one run.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct RunOptions {
    /// The chunk's arguments, its `...`.
    #[uniffi(default = [])]
    pub args: Vec<LuaValue>,
    /// The chunk's name for messages, as in Lua: `=name` is shown as it is, `@name` as a file's.
    #[uniffi(default = None)]
    pub name: Option<String>,
    /// Limits of this run, in place of the sandbox's.
    #[uniffi(default = None)]
    pub limits: Option<Limits>,
    /// For runs that are started: a name in the sandbox's store, of 1 to 1,000 bytes, under which the run survives the
    /// process. Whenever the run waits, the store gets in one transaction what it has written so far and the whole Lua as
    /// it is then; `resume` of any sandbox with the same store goes on from there. No write is lost or done twice, and
    /// requests whose answers were not stored yet are handed out again under their old numbers. The name is free again
    /// when the run has ended.
    #[uniffi(default = None)]
    pub durable: Option<String>,
}

impl RunOptions {
    fn core(self) -> ComputeOptions {
        let mut options = ComputeOptions::new().name(self.name.unwrap_or_default()).args(to_lua(self.args));
        if let Some(name) = self.durable {
            options = options.durable(name);
        }
        match self.limits {
            Some(limits) => apply_limits!(limits, options),
            None => options,
        }
    }
}

pub(crate) fn run_options(options: Option<RunOptions>) -> ComputeOptions {
    options.map_or_else(ComputeOptions::new, RunOptions::core)
}

/// Settings of a sandbox.
#[derive(Clone, Default, uniffi::Record)]
pub struct SandboxConfig {
    /// What scripts may use.
    #[uniffi(default = None)]
    pub limits: Option<Limits>,
    /// Where `_home` is kept: the path of a file, also as `file://PATH?read_only=true`, or the URL of a server
    /// (`redis://`, `rediss://`). Default: memory.
    #[uniffi(default = None)]
    pub store: Option<String>,
    /// A store of your own, in place of `store`.
    #[uniffi(default = None)]
    pub own_store: Option<Arc<dyn TableStore>>,
    /// How often a run is repeated when somebody else, who uses the same store, changed what it had read. Default 10.
    #[uniffi(default = None)]
    pub conflict_retries: Option<i32>,
    /// Whether `_home` is also the global `Memory`.
    #[uniffi(default = true)]
    pub memory_alias: bool,
    /// Whether functions that the store holds are loaded. They are bytecode, which Lua does not verify: not from a
    /// store that somebody can write to whom you don't trust. Reading one then fails with `Store`.
    #[uniffi(default = true)]
    pub stored_functions: bool,
    /// Gets what scripts print at once; the output of runs stays empty then.
    #[uniffi(default = None)]
    pub printer: Option<Arc<dyn Printer>>,
    /// Modules for `require`: their sources, text or bytes, by name.
    #[uniffi(default = None)]
    pub modules: Option<HashMap<String, LuaValue>>,
    /// The folder with modules for `require`, as files.
    #[uniffi(default = None)]
    pub module_folder: Option<String>,
    /// Modules for `require` from anywhere else. Of `modules`, `moduleFolder` and this, one may be set.
    #[uniffi(default = None)]
    pub module_source: Option<Arc<dyn ModuleSource>>,
    /// Makes runs repeatable, with random numbers from this seed and a virtual clock.
    #[uniffi(default = None)]
    pub seed: Option<i64>,
    /// How long the sandbox claims a durable run each time, in a store that several sandboxes use; for so long nobody else
    /// can resume the run. The claim is renewed whenever the run waits, and by `renew`; it ends with the run. Default: 30
    /// seconds.
    #[uniffi(default = None)]
    pub claim_term: Option<Duration>,
    /// Whether this sandbox's runs take turns with those of other sandboxes that use the same store and do the same, in
    /// this process and on a server: none is in conflict with another then, also if it waits in between. A run has its
    /// turn from its beginning to its end, a durable one from wait to wait. Waiting for it does not count for the
    /// timeout. A run that would wait in vain, because the same thread has to end the one whose turn it is, gets `Busy`.
    /// On a server a turn ends after 30 seconds if its holder is gone.
    #[uniffi(default = false)]
    pub queue_runs: bool,
}

/// The core's side of the host's modules.
struct FromHost(Arc<dyn ModuleSource>);

impl ModuleResolver for FromHost {
    fn resolve(&self, name: &str) -> luacell::Result<Resolved> {
        Ok(match self.0.source(name.to_owned()).map_err(HostError::into_opaque_error)? {
            Some(source) => Resolved::Found(Module::new(name, source)),
            None => Resolved::Missing(format!("the host has no module '{name}'")),
        })
    }
}

impl SandboxConfig {
    pub(crate) fn core(self) -> luacell::Result<luacell::SandboxConfig> {
        let mut config = apply_limits!(self.limits.unwrap_or_default(), luacell::SandboxConfig::new());
        config = config.memory_alias(self.memory_alias).stored_functions(self.stored_functions);
        config = match (self.store, self.own_store) {
            (Some(_), Some(_)) => return Err(invalid("a sandbox can have only one store")),
            (Some(place), None) => config.store(place),
            (None, Some(store)) => config.store(OwnStore(store)),
            (None, None) => config,
        };
        if let Some(times) = self.conflict_retries {
            config = config.conflict_retries(setting("conflictRetries", times)?);
        }
        if let Some(printer) = self.printer {
            config = config.on_print(move |text| drop(printer.print(text.to_vec())));
        }
        config = match (self.modules, self.module_folder, self.module_source) {
            (None, None, None) => config,
            (Some(modules), None, None) => config.modules(sources(modules)?),
            (None, Some(folder), None) => config.modules(Folder::new(folder)),
            (None, None, Some(source)) => config.modules(FromHost(source)),
            _ => return Err(invalid("modules can come from only one place")),
        };
        if let Some(seed) = self.seed {
            config = config.deterministic(seed.cast_unsigned());
        }
        if let Some(term) = self.claim_term {
            config = config.claim_term(term);
        }
        Ok(config.queue_runs(self.queue_runs))
    }
}

fn sources(modules: HashMap<String, LuaValue>) -> luacell::Result<HashMap<String, Vec<u8>>> {
    let sources = modules.into_iter().map(|(name, source)| match source {
        LuaValue::Text { value } => Ok((name, value.into_bytes())),
        LuaValue::Data { value } => Ok((name, value)),
        _ => Err(invalid(format!("the source of the module '{name}' is neither text nor bytes"))),
    });
    sources.collect()
}
