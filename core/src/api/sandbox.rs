//! One isolated Lua with its state.

use std::fmt;
use std::sync::Arc;

use super::{ComputeOptions, Engine, SandboxConfig};
use crate::guest::host_functions::{self, HostFunction};
use crate::guest::registration::{register, unregister};
use crate::run::access::Access;
use crate::run::cancel::{self, Cancellable, Interrupter};
use crate::run::inputs::{enter_call, enter_compute, enter_compute_with};
use crate::run::{SandboxCell, SandboxState};
use crate::store::reserved::{HOME, IO};
use crate::value::{ArgList, Error, FromArgs, Home, IntoArgs, MemoryStats, Outcome, Result, StoredTable, Value};

/// One isolated Lua with its state: globals stay from run to run, and so do the tables in `_home`.
///
/// A sandbox may be moved and shared between threads, but only one caller can use it at a time. A second caller gets
/// `Busy` at once, unless the current run was interrupted or cancelled: then it waits for that run to end, but no
/// longer than the sandbox's timeout. Only a host function may use the sandbox that called it. Every run is a
/// transaction: what it wrote to stored tables is kept if it succeeds and dropped if it fails. After an error the next
/// run works as if nothing had happened. After a `Trap` globals are gone, because Lua is restarted, and stored tables
/// are as they were before the run.
///
/// What a script may use is limited from the start; the methods of [`SandboxConfig`] name the limits and their
/// defaults.
pub struct Sandbox {
    pub(crate) cell: Arc<SandboxCell>,
}

impl Sandbox {
    /// A sandbox of the default engine with default settings.
    ///
    /// # Errors
    /// As [`Engine::sandbox`].
    pub fn new() -> Result<Sandbox> {
        Engine::default().sandbox(SandboxConfig::default())
    }

    /// A sandbox of the default engine.
    ///
    /// # Errors
    /// As [`Engine::sandbox`].
    pub fn with_config(config: SandboxConfig) -> Result<Sandbox> {
        Engine::default().sandbox(config)
    }

    pub(crate) fn create(engine: &Engine, config: SandboxConfig) -> Result<Sandbox> {
        let mut state = config.into_state(engine)?;
        state.start()?;
        Sandbox::around(state)
    }

    /// A sandbox that has an instance.
    pub(crate) fn around(state: SandboxState) -> Result<Sandbox> {
        Ok(Sandbox { cell: SandboxCell::new(state)? })
    }

    /// Runs Lua source, text or bytes. Empty source gives an empty outcome.
    ///
    /// # Errors
    /// `Syntax`, `Runtime` and whatever else the script fails with; the kind of a limit that it reached; `Conversion`
    /// if a result can't leave Lua; `HostFunction` if a host function failed; `Store` if the store fails; `Busy`,
    /// `Closed`, `Trap`.
    pub fn compute(&self, source: impl AsRef<[u8]>) -> Result<Outcome> {
        let source = source.as_ref();
        self.cell.access(|access| access.run(&self.cell, None, |guest, _, _| enter_compute(guest, source)))
    }

    /// Runs Lua source with a chunk name, arguments and limits of its own.
    ///
    /// Inside a host function, the limits can only be narrower than those of the run that called it. They end only the
    /// inner run: the function gets the error and may go on. `commit_on_error` can't be set there.
    ///
    /// # Errors
    /// As [`compute`](Self::compute); also `Conversion` for an argument that can't be passed, and `InvalidArgument` for
    /// a value of another sandbox.
    pub fn compute_with(&self, source: impl AsRef<[u8]>, options: ComputeOptions) -> Result<Outcome> {
        let source = source.as_ref();
        self.cancellable(&options, |access, run| {
            access.run(&self.cell, Some(&options.limits), |guest, resolver, args| {
                cancel::begin(run)?;
                enter_compute_with(guest, resolver, args, source, &options.name, &options.args)
            })
        })
    }

    /// Calls a global Lua function. Dots reach into tables: `game.player.move`.
    ///
    /// # Errors
    /// As [`compute_with`](Self::compute_with); `Runtime` if there is no such function.
    pub fn call(&self, path: &str, args: impl IntoArgs) -> Result<Outcome> {
        let values = ArgList::Values(args.into_args());
        self.cell.access(|access| {
            access.run(&self.cell, None, |guest, resolver, args| enter_call(guest, resolver, args, path, &values))
        })
    }

    /// As [`call`](Self::call) with the arguments and limits of these options; a name has no meaning here.
    ///
    /// # Errors
    /// As `call`.
    pub fn call_with(&self, path: &str, options: ComputeOptions) -> Result<Outcome> {
        self.cancellable(&options, |access, run| {
            access.run(&self.cell, Some(&options.limits), |guest, resolver, args| {
                cancel::begin(run)?;
                enter_call(guest, resolver, args, path, &options.args)
            })
        })
    }

    /// Uses the sandbox for a run that may be cancelled.
    #[inline]
    pub(super) fn cancellable<T>(
        &self,
        options: &ComputeOptions,
        f: impl FnOnce(&mut Access<'_>, Option<&Cancellable>) -> Result<T>,
    ) -> Result<T> {
        if options.durable.is_some() {
            return Err(Error::invalid("a durable run is begun by `start`"));
        }
        let run = options.expected(&self.cell)?;
        self.cell.access(|access| match access {
            Access::Reentrant(_) if run.is_some() => {
                Err(Error::invalid("a run within a host function can't have a canceller"))
            }
            access => f(access, run.as_ref()),
        })
    }

    /// Makes a function callable from Lua, as the global of that name. Dots put it into tables, which are created if
    /// they are missing. A function that had the name before is replaced. The function stays when the sandbox is reset.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// let sandbox = luacell::Sandbox::new()?;
    /// sandbox.register("price", |article: String| match article.as_str() {
    ///     "tea" => Ok(3.5),
    ///     _ => Err(luacell::Error::host(format!("no such article: {article}"))),
    /// })?;
    /// assert_eq!(sandbox.compute("return 2 * price('tea')")?.get::<f64>()?, 7.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The function runs on the thread that runs the script. It may use the sandbox that called it: run code, call
    /// functions that it was passed, read and write tables. All of that is part of the script's run. Its errors become
    /// Lua errors, which `pcall` can catch. If nothing catches an error, the run fails with the kind `HostFunction`,
    /// and the function's error is its [`source`](std::error::Error::source). A panic becomes such an error too.
    /// [`Error::raise`] raises any Lua value.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is not valid, or that leads through something that is not a table; `Memory` if
    /// Lua has no room for it; `Busy`, `Closed`.
    pub fn register<A: FromArgs, R: IntoArgs>(
        &self,
        name: &str,
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_function(name, HostFunction::plain(function), false)
    }

    /// As [`register`](Self::register), for a function that may be called again when a run is repeated after a
    /// [conflict](SandboxConfig::conflict_retries), for example because it only looks something up.
    ///
    /// # Errors
    /// As `register`.
    pub fn register_repeatable<A: FromArgs, R: IntoArgs>(
        &self,
        name: &str,
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_function(name, HostFunction::plain(function), true)
    }

    pub(crate) fn add_function(&self, name: &str, function: HostFunction, repeatable: bool) -> Result<()> {
        host_functions::check_name(name)?;
        self.cell.access(|access| {
            access.guest()?;
            let (id, before) = access.host()?.functions.add(name, function)?;
            access.host()?.functions.set_repeatable(id, repeatable);
            let result = access.guest().and_then(|mut guest| register(&mut guest, name, id));
            if result.is_err() {
                access.host()?.functions.put_back(id, before);
            }
            access.roll_back_on_error(result)
        })
    }

    /// Removes a host function: the global goes away, and scripts that kept the function get an error when they call
    /// it. Returns whether it was there.
    ///
    /// # Errors
    /// `Busy`, `Closed`, `Trap`.
    pub fn unregister(&self, name: &str) -> Result<bool> {
        self.cell.access(|access| {
            access.guest()?;
            let Some(id) = access.host()?.functions.remove(name) else {
                return Ok(false);
            };
            let result = access.guest().and_then(|mut guest| unregister(&mut guest, name, id));
            access.roll_back_on_error(result).map(|()| true)
        })
    }

    /// Ends the current run, from another thread; see [`Interrupter::interrupt`].
    pub fn interrupt(&self) {
        self.cell.signal.interrupt();
    }

    /// A small handle that can interrupt this sandbox and be passed around; it does not keep the sandbox alive.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.cell.signal))
    }

    pub(crate) fn cell(&self) -> &Arc<SandboxCell> {
        &self.cell
    }

    fn stored(&self, id: u32) -> StoredTable {
        StoredTable::new(Arc::downgrade(&self.cell) as _, &self.cell.held, id, false)
    }

    /// The kept table `_home`, as a live view.
    #[must_use]
    pub fn home(&self) -> Home {
        self.stored(HOME)
    }

    /// The value of `_io.input`.
    ///
    /// # Errors
    /// As [`StoredTable::get`].
    pub fn input(&self) -> Result<Value> {
        self.stored(IO).get("input")
    }

    /// Sets `_io.input`, the script's input. Nil removes it.
    ///
    /// # Errors
    /// As [`StoredTable::set`].
    pub fn set_input(&self, value: impl Into<Value>) -> Result<()> {
        self.stored(IO).set("input", value)
    }

    /// The value of `_io.output`, which a script sets. A table is returned as a live view.
    ///
    /// # Errors
    /// As [`StoredTable::get`].
    pub fn output(&self) -> Result<Value> {
        self.stored(IO).get("output")
    }

    /// Sets `_io.output`. Nil removes it.
    ///
    /// # Errors
    /// As [`StoredTable::set`].
    pub fn set_output(&self, value: impl Into<Value>) -> Result<()> {
        self.stored(IO).set("output", value)
    }

    /// The value of `_io.meta`.
    ///
    /// # Errors
    /// As [`StoredTable::get`].
    pub fn meta(&self) -> Result<Value> {
        self.stored(IO).get("meta")
    }

    /// Sets `_io.meta`. Nil removes it.
    ///
    /// # Errors
    /// As [`StoredTable::set`].
    pub fn set_meta(&self, value: impl Into<Value>) -> Result<()> {
        self.stored(IO).set("meta", value)
    }

    /// Removes `_io.input`, `_io.output` and `_io.meta`.
    ///
    /// # Errors
    /// `Store` if the store fails, `Busy`, `Closed`.
    pub fn clear_io(&self) -> Result<()> {
        self.cell.access(|access| {
            let tables = access.tables()?;
            let mut there = Vec::new();
            for key in ["input", "output", "meta"] {
                if tables.contains(IO, key)? {
                    there.push(key);
                }
            }
            there.into_iter().for_each(|key| tables.delete(IO, key));
            access.finish_write(Ok(()))
        })
    }

    /// How much memory the sandbox uses now.
    ///
    /// # Errors
    /// `Busy`, `Closed`, `Trap`.
    pub fn memory_stats(&self) -> Result<MemoryStats> {
        self.cell.access_waiting(|state| {
            let result = state.guest().and_then(|mut guest| guest.memory_stats());
            state.roll_back_on_error(result)
        })
    }

    /// About how many bytes of memory the sandbox takes: Lua's, and those of tables that are kept in memory. While the
    /// sandbox is in use, this is the number after the last call. It is 0 when the sandbox is closed. See
    /// [`memory_in_use`](crate::memory_in_use).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.cell.weight()
    }

    /// How many tables the store holds, including `_home` and `_io` if they were written to; `None` if the store can't
    /// list them.
    ///
    /// # Errors
    /// `Store` if the store fails, `Busy`, `Closed`.
    pub fn table_count(&self) -> Result<Option<usize>> {
        self.cell.access(|access| access.tables()?.count().map_err(Error::from))
    }

    /// Collects garbage: all of Lua's, and stored tables that nothing refers to. Finalizers of scripts run in a run of
    /// their own, under the sandbox's limits.
    ///
    /// # Errors
    /// The kind of a limit that finalizers reached; `Store` if the store fails, `Busy`, `Closed`, `Trap`.
    pub fn gc(&self) -> Result<()> {
        self.cell.access_whole(|state| {
            state.outside_transaction("a collection")?;
            state.collect(&self.cell)?;
            let swept = state.sweep(true);
            state.finish_write(swept)
        })
    }

    /// Restarts Lua: globals and functions are gone, stored tables and host functions stay. Functions that the host
    /// still has give `Closed`.
    ///
    /// # Errors
    /// `Memory` if there is not enough memory for a new instance, `Busy`, `Closed`.
    pub fn reset(&self) -> Result<()> {
        self.cell.access_whole(|state| {
            state.outside_transaction("a reset")?;
            state.restart();
            state.start()
        })
    }

    /// Ends the sandbox and frees what it holds. Every later call gives `Closed`, also on values that belong to it. If
    /// another thread is running something, this waits until that run has finished, including its host functions;
    /// [`interrupt`](Self::interrupt) shortens the wait.
    ///
    /// Inside a host function of this sandbox it does not wait: the sandbox ends with the run that called the function.
    /// It does not wait for a run that is driven as a future either, because this thread may be the one that drives it.
    pub fn close(&self) {
        self.cell.close();
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.cell.is_closed()
    }
}

impl ComputeOptions {
    /// A run with these options is about to begin; where it can be cancelled, until what this gives is dropped.
    #[inline]
    pub(crate) fn expected(&self, cell: &SandboxCell) -> Result<Option<Cancellable>> {
        self.canceller.as_ref().map(|canceller| canceller.expect(&cell.signal)).transpose()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = self.cell.is_closed();
        f.debug_struct("Sandbox").field("closed", &closed).finish_non_exhaustive()
    }
}
