//! One isolated Lua with its state.

use std::fmt;
use std::sync::Arc;

use crate::args::ArgList;
use crate::control::{Cancellable, Interrupter};
use crate::engine::Engine;
use crate::functions::{self, FromArgs, HostFunction};
use crate::instance::{Context, Entry};
pub(crate) use crate::shared::{Reach, SandboxLinks, Shared};
use crate::stored::{Home, StoredTable, store_error};
use crate::tables::{HOME, IO};
use crate::value::{IntoArgs, Value};
use crate::{ComputeOptions, Error, MemoryStats, Outcome, RestoreOptions, Result, SandboxConfig, Snapshot, shared};

/// One isolated Lua with its state: globals stay from run to run, and so do the tables in `_home`.
///
/// A sandbox may be moved and shared between threads, and is used by one caller at a time: a second one gets `Busy` at once, unless what runs was
/// interrupted or cancelled: then it waits for the end of that, no longer than the sandbox's timeout. Only a host
/// function may use the sandbox that called it. Every
/// run is a transaction: what it wrote to stored tables is kept when it succeeds and dropped when it fails. After an error the next run works as if
/// nothing had happened; after a `Trap` globals are gone, because Lua starts anew, and stored tables are as before the run.
///
/// What a script may use is bounded from the start; the methods of [`SandboxConfig`] name the limits and their defaults.
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
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

    pub(crate) fn create(engine: Engine, config: SandboxConfig, from: Option<&Snapshot>) -> Result<Sandbox> {
        Ok(Sandbox { shared: Shared::new(engine, config, from)? })
    }

    /// Runs Lua source, text or bytes. Empty source gives an empty outcome.
    ///
    /// # Errors
    /// `Syntax`, `Runtime` and whatever else the script fails with; the kind of a limit that it reached; `Conversion` when a result
    /// can't leave Lua; `HostFunction` when a host function failed; `Store` when the store fails; `Busy`, `Closed`, `Trap`.
    pub fn compute(&self, source: impl AsRef<[u8]>) -> Result<Outcome> {
        let source = source.as_ref();
        self.shared.access(|reach| reach.run(&self.shared, None, |guest, _, _| enter_compute(guest, source)))
    }

    /// Runs Lua source with a chunk name, arguments and limits of its own.
    ///
    /// From within a host function the limits can only be narrower than those of the run that called it, and end the inner run alone: the
    /// function gets the error and may go on. `commit_on_error` can't be given there.
    ///
    /// # Errors
    /// As [`compute`](Self::compute); `Conversion` also for an argument that can't be passed, `InvalidArgument` for a value of another sandbox.
    pub fn compute_with(&self, source: impl AsRef<[u8]>, options: ComputeOptions) -> Result<Outcome> {
        let source = source.as_ref();
        self.cancellable(&options, |reach, run| {
            reach.run(&self.shared, Some(&options.limits), |guest, links, args| {
                begin(run)?;
                enter_compute_with(guest, links, args, source, &options)
            })
        })
    }

    /// Calls a global Lua function. Dots reach into tables: `game.player.move`.
    ///
    /// # Errors
    /// As [`compute_with`](Self::compute_with); `Runtime` when there is no such function.
    pub fn call(&self, path: &str, args: impl IntoArgs) -> Result<Outcome> {
        let values = ArgList::Values(args.into_args());
        self.shared.access(|reach| {
            reach.run(&self.shared, None, |guest, links, args| enter_call(guest, links, args, path, &values))
        })
    }

    /// As [`call`](Self::call) with the arguments and limits of these options; a name has no meaning here.
    ///
    /// # Errors
    /// As `call`.
    pub fn call_with(&self, path: &str, options: ComputeOptions) -> Result<Outcome> {
        self.cancellable(&options, |reach, run| {
            reach.run(&self.shared, Some(&options.limits), |guest, links, args| {
                begin(run)?;
                enter_call(guest, links, args, path, &options.args)
            })
        })
    }

    /// Uses the sandbox for a run that may be cancelled.
    #[inline]
    fn cancellable<T>(
        &self,
        options: &ComputeOptions,
        f: impl FnOnce(&mut Reach<'_>, Option<&Cancellable>) -> Result<T>,
    ) -> Result<T> {
        let run = options.expected(&self.shared)?;
        self.shared.access(|reach| match reach {
            Reach::Within(_) if run.is_some() => {
                Err(Error::invalid("a run within a host function can't have a canceller"))
            }
            reach => f(reach, run.as_ref()),
        })
    }

    /// Makes a function callable from Lua, as the global of that name; dots put it into tables, which are made when they are missing.
    /// A function that had the name before is replaced. It stays when the sandbox is reset.
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
    /// The function runs on the thread that runs the script. It may use the sandbox it is called from: run code, call functions that it was
    /// passed, read and write tables; all of that is part of the script's run. Its errors become Lua errors, which `pcall` sees; one
    /// that nothing catches comes out of the run with the kind `HostFunction` and the function's error as its
    /// [`source`](std::error::Error::source). A panic becomes such an error too. [`Error::raise`] raises any Lua value.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is none, or that leads through something that is no table; `Busy`, `Closed`.
    pub fn register<A: FromArgs, R: IntoArgs>(
        &self,
        name: &str,
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_function(name, HostFunction::plain(function), false)
    }

    /// As [`register`](Self::register), for a function that may be called again when a run is repeated after a
    /// [conflict](SandboxConfig::conflict_retries): because it only looks something up, for one.
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
        functions::check_name(name)?;
        self.shared.access(|reach| {
            reach.guest()?;
            let (id, before) = reach.host()?.functions.add(name, function)?;
            reach.host()?.functions.set_repeatable(id, repeatable);
            let result = reach.guest().and_then(|mut guest| shared::register(&mut guest, name, id));
            if result.is_err() {
                reach.host()?.functions.put_back(id, before);
            }
            reach.check(result)
        })
    }

    /// Takes a host function away: the global goes, and scripts that kept the function get an error when they call it. Whether it was there.
    ///
    /// # Errors
    /// `Busy`, `Closed`, `Trap`.
    pub fn unregister(&self, name: &str) -> Result<bool> {
        self.shared.access(|reach| {
            reach.guest()?;
            let Some(id) = reach.host()?.functions.remove(name) else {
                return Ok(false);
            };
            let result = reach.guest().and_then(|mut guest| shared::unregister(&mut guest, name, id));
            reach.check(result).map(|()| true)
        })
    }

    /// Ends the run that is under way in another thread; see [`Interrupter::interrupt`].
    pub fn interrupt(&self) {
        self.shared.control.interrupt();
    }

    /// Something small that can interrupt this sandbox and be passed around; it does not keep the sandbox alive.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(Arc::clone(&self.shared.control))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn stored(&self, id: u32) -> StoredTable {
        StoredTable::new(&self.shared, id, false)
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

    /// The value of `_io.output`, which a script sets. A table comes as a live view.
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
    /// `Store` when the store fails, `Busy`, `Closed`.
    pub fn clear_io(&self) -> Result<()> {
        self.shared.access(|reach| {
            let tables = reach.tables()?;
            let mut there = Vec::new();
            for key in ["input", "output", "meta"] {
                if tables.contains(IO, key).map_err(store_error)? {
                    there.push(key);
                }
            }
            there.into_iter().for_each(|key| tables.delete(IO, key));
            reach.finish_write(Ok(()))
        })
    }

    /// How much memory the sandbox uses now.
    ///
    /// # Errors
    /// `Busy`, `Closed`, `Trap`.
    pub fn memory_stats(&self) -> Result<MemoryStats> {
        self.shared.access_whole(|inner| {
            let result = inner.guest().and_then(|mut guest| guest.memory_stats());
            inner.check(result)
        })
    }

    /// About how many bytes of memory the sandbox takes: Lua's, and those of tables that are kept in memory. As it was after the last call when it is in use;
    /// 0 when it is closed. See [`memory_in_use`](crate::memory_in_use).
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shared.weight()
    }

    /// How many tables the store holds, `_home` and `_io` included when they were written to; `None` when the store can't list them.
    ///
    /// # Errors
    /// `Store` when the store fails, `Busy`, `Closed`.
    pub fn table_count(&self) -> Result<Option<usize>> {
        self.shared.access(|reach| reach.tables()?.count().map_err(store_error))
    }

    /// Collects garbage: all of Lua's, and stored tables that nothing refers to. Finalizers of scripts run, as in a run of their own that the sandbox's
    /// limits bound.
    ///
    /// # Errors
    /// The kind of a limit that finalizers reached; `Store` when the store fails, `Busy`, `Closed`, `Trap`.
    pub fn gc(&self) -> Result<()> {
        self.shared.access_whole(|inner| {
            inner.outside_transaction("a collection")?;
            inner.collect(&self.shared)?;
            let swept = inner.sweep(true);
            inner.finish_write(swept)
        })
    }

    /// Starts Lua anew: globals and functions are gone, stored tables and host functions stay. Functions that the host still has
    /// give `Closed`.
    ///
    /// # Errors
    /// `Memory` when there is no memory for a new instance, `Busy`, `Closed`.
    pub fn reset(&self) -> Result<()> {
        self.shared.access_whole(|inner| {
            inner.outside_transaction("a reset")?;
            inner.restart();
            inner.start(false)
        })
    }

    /// Copies everything: globals, closures, coroutines that wait in the middle of something, and all tables. Host functions are in it by name only.
    ///
    /// The tables are those that `_home` and `_io` reach or that Lua holds, wherever they are kept: a snapshot of a sandbox with a store holds a copy
    /// of what the store holds.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// let sandbox = luacell::Sandbox::new()?;
    /// sandbox.compute("next = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) next()")?;
    /// let snapshot = sandbox.snapshot()?;
    /// assert_eq!(sandbox.call("next", ())?.get::<i64>()?, 2);
    /// sandbox.restore(&snapshot)?;
    /// assert_eq!(sandbox.call("next", ())?.get::<i64>()?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Busy` also from within a host function of this sandbox; `Store` when the store fails, `Closed`, `Trap`.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.shared.access_whole(|inner| inner.snapshot(&self.shared))
    }

    /// Makes this sandbox what it, or another one, was when the snapshot was taken: all or nothing.
    ///
    /// Tables in memory become what they were then. A sandbox with a store of its own keeps its tables: nothing in the store changes, and Lua goes on with the `_home`
    /// that is there. [`restore_with`](Self::restore_with) gives the choice.
    ///
    /// Limits, where printed text goes and where modules come from stay as they are. Host functions are linked by their names: those that the snapshot uses and this
    /// sandbox does not have give an error when a script calls them, until they are registered; those that the snapshot does not know become globals. With a
    /// virtual clock that goes on from the time of the snapshot. Random numbers go on from where they were, in each copy.
    ///
    /// Functions that the host still has give `Closed` afterwards, and so do views of tables other than `_home` and `_io` when tables were restored.
    ///
    /// # Errors
    /// `InvalidArgument` for a snapshot of another guest; when the sandbox keeps its tables and Lua holds kept tables in the snapshot, in variables, upvalues or
    /// coroutines: they are not those of this store; when it does not, and others use its store at this time: theirs would be taken back too.
    /// `Memory` when there is no memory for it, or it is larger than this sandbox's limit; `StoreLimit` when its tables are; `Store` when the store fails, `Busy` also from within a host function of this sandbox, `Closed`,
    /// `Trap`. The sandbox is as before then.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        self.restore_with(snapshot, &RestoreOptions::new())
    }

    /// As [`restore`](Self::restore), with a choice of what happens to the tables.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// use luacell::{MemoryStore, RestoreOptions, Sandbox, SandboxConfig};
    ///
    /// let template = Sandbox::new()?;
    /// template.compute("function visit() _home.n = (_home.n or 0) + 1 return _home.n end")?;
    /// let template = template.snapshot()?;
    /// let user = Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new()))?;
    /// user.home().set("n", 41)?;
    /// user.restore(&template)?;
    /// assert_eq!(user.call("visit", ())?.get::<i64>()?, 42);
    /// user.restore_with(&template, &RestoreOptions::new().tables(true))?;
    /// assert_eq!(user.call("visit", ())?.get::<i64>()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As `restore`.
    pub fn restore_with(&self, snapshot: &Snapshot, options: &RestoreOptions) -> Result<()> {
        self.shared.access_whole(|inner| inner.restore(snapshot, options, !options.whatever_size))
    }

    /// A second sandbox that is as this one is now, with the same settings and host functions, and independent of it from here on. Its tables are a copy in
    /// memory, whatever store this one has. Memory that neither wrote since Lua started is shared; the rest is copied.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot); `Memory` when there is no memory for one more.
    pub fn fork(&self) -> Result<Sandbox> {
        let shared = self.shared.access_whole(|inner| inner.fork(&self.shared))?;
        Ok(Sandbox { shared })
    }

    /// Ends the sandbox and frees what it holds. Every later call gives `Closed`, also of values that belong to it. A run in
    /// another thread comes to its end first, and this waits for it, its host functions included; [`interrupt`](Self::interrupt) shortens that.
    ///
    /// From within a host function of this sandbox it does not wait: the sandbox ends with the run that called the function. Nor does it wait for a run
    /// that is driven as a future, for it may be this thread that drives it.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

impl ComputeOptions {
    /// A run with these options is about to begin; where it can be cancelled, until what this gives is dropped.
    #[inline]
    pub(crate) fn expected(&self, shared: &Shared) -> Result<Option<Cancellable>> {
        self.canceller.as_ref().map(|canceller| canceller.expect(&shared.control)).transpose()
    }
}

/// The run has the sandbox now.
#[inline]
pub(crate) fn begin(run: Option<&Cancellable>) -> Result<()> {
    run.map_or(Ok(()), Cancellable::begin)
}

/// Plain source, passed as it is.
#[inline]
pub(crate) fn enter_compute(guest: &mut Context<'_>, source: &[u8]) -> Result<Entry> {
    check_source(guest, source)?;
    guest.reserve(source.len())?;
    guest.write(&[source])?;
    Ok(Entry::Compute { len: source.len() as i32 })
}

pub(crate) fn enter_compute_with(
    guest: &mut Context<'_>,
    links: &SandboxLinks,
    args: &mut Vec<u8>,
    source: &[u8],
    options: &ComputeOptions,
) -> Result<Entry> {
    check_source(guest, source)?;
    let args = options.args.encoded(args, links)?;
    guest.enter_source(options.name.as_bytes(), source, args)
}

pub(crate) fn enter_call(
    guest: &mut Context<'_>,
    links: &SandboxLinks,
    args: &mut Vec<u8>,
    path: &str,
    values: &ArgList,
) -> Result<Entry> {
    let args = values.encoded(args, links)?;
    guest.reserve(path.len() + args.len())?;
    guest.write(&[path.as_bytes(), args])?;
    Ok(Entry::Call { path_len: path.len() as i32, args_len: args.len() as i32 })
}

#[inline]
fn check_source(guest: &mut Context<'_>, source: &[u8]) -> Result<()> {
    let limit = guest.host().limits.source;
    if source.len() as u64 > limit {
        return Err(Error::invalid(format!(
            "the source has {} bytes, more than the {limit} of source_limit",
            source.len()
        )));
    }
    Ok(())
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = self.shared.is_closed();
        f.debug_struct("Sandbox").field("closed", &closed).finish_non_exhaustive()
    }
}
