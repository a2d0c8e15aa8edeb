//! Sandboxes.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{RunOptions, SandboxConfig, run_options};
use crate::engine::Engine;
use crate::error::{LuaError, guarded};
use crate::host::{HostFunction, adapter};
use crate::job::{self, Canceller};
use crate::snapshot::Snapshot;
use crate::stored::StoredTable;
use crate::value::{LuaValue, from_lua};
use crate::waiting::{self, AsyncHostFunction, HostTasks};

/// What a run used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Metrics {
    /// Wall time.
    pub wall_time: Duration,
    /// Instructions, about those of the Lua machine; the same in every run of the same script.
    pub instructions: i64,
    /// The most bytes that Lua had in use at once.
    pub peak_memory: i64,
    /// Calls of host functions.
    pub host_calls: i64,
    /// Bytes of keys and values written to stored tables.
    pub bytes_stored: i64,
}

fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl From<&luacell::Metrics> for Metrics {
    fn from(metrics: &luacell::Metrics) -> Self {
        Metrics {
            wall_time: metrics.wall_time,
            instructions: count(metrics.instructions),
            peak_memory: count(metrics.peak_memory),
            host_calls: count(metrics.host_calls),
            bytes_stored: count(metrics.bytes_stored),
        }
    }
}

/// A sandbox's memory at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct MemoryStats {
    /// The buffer through which source and results travel.
    pub buffer_bytes: i64,
    /// Lua's own heap.
    pub lua_bytes: i64,
    /// The whole wasm memory.
    pub wasm_bytes: i64,
}

/// What a run gave.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Outcome {
    /// All returned values, in order.
    pub values: Vec<LuaValue>,
    /// What the script printed.
    pub output_data: Vec<u8>,
    /// What the run used.
    pub metrics: Metrics,
}

impl From<luacell::Outcome> for Outcome {
    fn from(outcome: luacell::Outcome) -> Self {
        Outcome {
            values: from_lua(outcome.values),
            output_data: outcome.output.as_bytes().to_vec(),
            metrics: (&outcome.metrics).into(),
        }
    }
}

/// One isolated Lua with its state: globals stay from run to run, and so do the tables in `_home`.
///
/// A sandbox may be shared between threads, and is used by one caller at a time: a second one gets `Busy` at once,
/// unless what runs was interrupted or cancelled: then it waits for the end of that, no longer than the sandbox's
/// timeout. Only a host function may use the sandbox that called it. Every run is a transaction: what it wrote to
/// stored tables is kept when it succeeds and dropped when it fails. After an error the next run works as if nothing
/// had happened. All methods that use Lua fail with `Busy`, `Closed` and `Trap`.
#[derive(Debug, uniffi::Object)]
pub struct Sandbox(pub(crate) Arc<luacell::Sandbox>);

#[uniffi::export]
impl Sandbox {
    /// A new sandbox, of the default engine if none is given.
    ///
    /// Errors: `Store` when the store can't be opened, `Memory` when there is no memory for one more,
    /// `InvalidArgument`.
    #[uniffi::constructor(default(config = None, engine = None))]
    pub fn new(config: Option<SandboxConfig>, engine: Option<Arc<Engine>>) -> Result<Self, LuaError> {
        guarded(|| {
            let config = config.map_or_else(default_config, SandboxConfig::core)?;
            Engine::or_default(engine).sandbox(config).map(Sandbox::of)
        })
    }

    /// A new sandbox that is as another one was when the snapshot was taken.
    ///
    /// Errors: as for a new one; `InvalidArgument` for a snapshot of another guest.
    #[uniffi::constructor(default(config = None, engine = None))]
    pub fn from_snapshot(
        snapshot: Arc<Snapshot>,
        config: Option<SandboxConfig>,
        engine: Option<Arc<Engine>>,
    ) -> Result<Self, LuaError> {
        guarded(|| {
            let config = config.map_or_else(default_config, SandboxConfig::core)?;
            Engine::or_default(engine).sandbox_from(&snapshot.0, config).map(Sandbox::of)
        })
    }

    /// Runs Lua source on this thread.
    ///
    /// Errors: `Syntax`, `Runtime` and whatever else the script fails with; the kind of a limit that it reached;
    /// `Conversion`, `HostFunction`, `Store`.
    #[uniffi::method(default(options = None))]
    pub fn compute(&self, source: String, options: Option<RunOptions>) -> Result<Outcome, LuaError> {
        guarded(|| run_source(&self.0, source.as_bytes(), options))
    }

    /// As `compute`, for source that may be any bytes.
    #[uniffi::method(default(options = None))]
    pub fn compute_data(&self, source: Vec<u8>, options: Option<RunOptions>) -> Result<Outcome, LuaError> {
        guarded(|| run_source(&self.0, &source, options))
    }

    /// Calls a global Lua function on this thread. Dots reach into tables: `game.player.move`.
    ///
    /// Errors: as `compute`; `Runtime` when there is no such function.
    #[uniffi::method(default(options = None))]
    pub fn call(&self, path: String, options: Option<RunOptions>) -> Result<Outcome, LuaError> {
        guarded(|| self.0.call_with(&path, run_options(options)).map(Outcome::from))
    }

    /// Runs Lua source on another thread, which it leaves while it waits for host functions. Cancelling ends the run, and
    /// returns when it has ended: a host function that is running is waited for.
    ///
    /// Errors: as `compute`; `Interrupted` when it is cancelled with the canceller.
    #[uniffi::method(default(options = None, canceller = None, tasks = None))]
    pub async fn compute_async(
        &self,
        source: String,
        options: Option<RunOptions>,
        canceller: Option<Arc<Canceller>>,
        tasks: Option<Arc<dyn HostTasks>>,
    ) -> Result<Outcome, LuaError> {
        let canceller = canceller.unwrap_or_default();
        let options = run_options(options).canceller(&canceller.0);
        job::run(canceller, tasks, self.0.compute_async(source, options)).await
    }

    /// Calls a global Lua function on another thread, which it leaves while it waits for host functions. Cancelling ends
    /// the run, and returns when it has ended: a host function that is running is waited for.
    ///
    /// Errors: as `call`; `Interrupted` when it is cancelled with the canceller.
    #[uniffi::method(default(options = None, canceller = None, tasks = None))]
    pub async fn call_async(
        &self,
        path: String,
        options: Option<RunOptions>,
        canceller: Option<Arc<Canceller>>,
        tasks: Option<Arc<dyn HostTasks>>,
    ) -> Result<Outcome, LuaError> {
        let canceller = canceller.unwrap_or_default();
        let options = run_options(options).canceller(&canceller.0);
        job::run(canceller, tasks, self.0.call_async(path, options)).await
    }

    /// Makes a function callable from Lua, as the global of that name; dots put it into tables. It stays when the
    /// sandbox is reset. One that is `repeatable`, because it only looks something up, does not keep a run from being
    /// repeated after a conflict.
    ///
    /// Errors: `InvalidArgument` for a name that is none, or that leads through something that is no table.
    #[uniffi::method(default(repeatable = false))]
    pub fn register(&self, name: String, function: Arc<dyn HostFunction>, repeatable: bool) -> Result<(), LuaError> {
        let function = adapter(function);
        guarded(
            || {
                if repeatable { self.0.register_repeatable(&name, function) } else { self.0.register(&name, function) }
            },
        )
    }

    /// As `register`, for a function whose results come later. A script calls it as any other. In `computeAsync` and
    /// `callAsync` no thread is held while it waits, and the script's other tasks go on; in all other runs the thread
    /// waits. When the run ends first, the function is cancelled. It can't use the sandbox, which gives `Busy` meanwhile.
    /// One that is `repeatable` is called again when a run is repeated after a conflict.
    ///
    /// Errors: as `register`.
    #[uniffi::method(default(repeatable = false))]
    pub fn register_waiting(
        &self,
        name: String,
        function: Arc<dyn AsyncHostFunction>,
        repeatable: bool,
    ) -> Result<(), LuaError> {
        let function = waiting::adapter(function);
        guarded(|| {
            if repeatable {
                self.0.register_async_repeatable(&name, function)
            } else {
                self.0.register_async(&name, function)
            }
        })
    }

    /// Takes a host function away; whether it was there.
    pub fn unregister(&self, name: String) -> Result<bool, LuaError> {
        guarded(|| self.0.unregister(&name))
    }

    /// Ends the run that is under way in another thread with the kind `Interrupted`, which the script can't catch.
    /// Never blocks.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }

    /// The kept table `_home`, as a live view.
    pub fn home(&self) -> Arc<StoredTable> {
        Arc::new(StoredTable(self.0.home()))
    }

    /// The value of `_io.input`.
    pub fn input(&self) -> Result<LuaValue, LuaError> {
        guarded(|| self.0.input().map(LuaValue::from))
    }

    /// Sets `_io.input`, the script's input; nil removes it.
    pub fn set_input(&self, value: LuaValue) -> Result<(), LuaError> {
        guarded(|| self.0.set_input(value))
    }

    /// The value of `_io.output`, which a script sets. A table comes as a live view.
    pub fn output(&self) -> Result<LuaValue, LuaError> {
        guarded(|| self.0.output().map(LuaValue::from))
    }

    /// Sets `_io.output`; nil removes it.
    pub fn set_output(&self, value: LuaValue) -> Result<(), LuaError> {
        guarded(|| self.0.set_output(value))
    }

    /// The value of `_io.meta`.
    pub fn meta(&self) -> Result<LuaValue, LuaError> {
        guarded(|| self.0.meta().map(LuaValue::from))
    }

    /// Sets `_io.meta`; nil removes it.
    pub fn set_meta(&self, value: LuaValue) -> Result<(), LuaError> {
        guarded(|| self.0.set_meta(value))
    }

    /// Removes `_io.input`, `_io.output` and `_io.meta`.
    pub fn clear_io(&self) -> Result<(), LuaError> {
        guarded(|| self.0.clear_io())
    }

    /// How much memory the sandbox uses now.
    pub fn memory_stats(&self) -> Result<MemoryStats, LuaError> {
        guarded(|| {
            let stats = self.0.memory_stats()?;
            Ok(MemoryStats {
                buffer_bytes: count(stats.buffer_bytes),
                lua_bytes: count(stats.lua_bytes),
                wasm_bytes: count(stats.wasm_bytes),
            })
        })
    }

    /// How many tables the store holds; nothing when the store can't list them.
    pub fn table_count(&self) -> Result<Option<i64>, LuaError> {
        guarded(|| Ok(self.0.table_count()?.map(|n| count(n as u64))))
    }

    /// Collects garbage: all of Lua's, and stored tables that nothing refers to.
    pub fn gc(&self) -> Result<(), LuaError> {
        guarded(|| self.0.gc())
    }

    /// Starts Lua anew: globals and functions are gone, stored tables and host functions stay.
    pub fn reset(&self) -> Result<(), LuaError> {
        guarded(|| self.0.reset())
    }

    /// Copies everything: globals, closures, coroutines that wait in the middle of something, and all tables.
    ///
    /// Errors: `Busy` also from within a host function of this sandbox.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, LuaError> {
        guarded(|| self.0.snapshot().map(|snapshot| Arc::new(Snapshot(snapshot))))
    }

    /// Makes this sandbox what it, or another one, was when the snapshot was taken: all or nothing.
    ///
    /// Tables in memory become what they were then. A sandbox with a store keeps what the store holds, and Lua goes on
    /// with that. With `tables` true `_home` and all else become what they were, and everything else is removed from
    /// the store; with false tables in memory are kept as well.
    ///
    /// Errors: `InvalidArgument` for a snapshot of another guest; when the sandbox keeps its tables and Lua holds kept
    /// tables in the snapshot, in variables or upvalues; when it does not, and others use its store at this time.
    #[uniffi::method(default(tables = None))]
    pub fn restore(&self, snapshot: Arc<Snapshot>, tables: Option<bool>) -> Result<(), LuaError> {
        let options = match tables {
            Some(tables) => luacell::RestoreOptions::new().tables(tables),
            None => luacell::RestoreOptions::new(),
        };
        guarded(|| self.0.restore_with(&snapshot.0, &options))
    }

    /// A second sandbox that is as this one is now, with the same settings and host functions, and independent of it
    /// from here on.
    pub fn fork(&self) -> Result<Arc<Sandbox>, LuaError> {
        guarded(|| self.0.fork().map(|sandbox| Arc::new(Sandbox::of(sandbox))))
    }

    /// Ends the sandbox and frees what it holds, whoever else has this object: every later call gives `Closed`. A run
    /// in another thread comes to its end first, and this waits for it; `interrupt` or cancelling it shortens that.
    /// From within a host function of this sandbox it does not wait: the sandbox ends with the run that called the
    /// function.
    pub fn shut_down(&self) {
        self.0.close();
    }

    /// Whether `shutDown` was called.
    pub fn is_shut_down(&self) -> bool {
        self.0.is_closed()
    }
}

impl Sandbox {
    fn of(sandbox: luacell::Sandbox) -> Self {
        Sandbox(Arc::new(sandbox))
    }
}

fn default_config() -> luacell::Result<luacell::SandboxConfig> {
    Ok(luacell::SandboxConfig::new())
}

/// About how many bytes all sandboxes of this process take now: Lua's memory, and tables that are kept in memory.
#[uniffi::export]
pub fn memory_in_use() -> i64 {
    count(luacell::memory_in_use())
}

fn run_source(sandbox: &luacell::Sandbox, source: &[u8], options: Option<RunOptions>) -> luacell::Result<Outcome> {
    let outcome = match options {
        Some(_) => sandbox.compute_with(source, run_options(options))?,
        None => sandbox.compute(source)?,
    };
    Ok(outcome.into())
}
