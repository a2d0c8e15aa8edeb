//! `luacell.Sandbox`.

use std::sync::{Arc, Mutex};

use luacell::{Canceller, ComputeOptions, ErrorKind, ImportOptions, RestoreOptions, Value};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::asyncio::Driven;
use crate::callable;
use crate::callbacks::{Callbacks, host_function, lock};
use crate::config::Arguments;
use crate::engine::Engine;
use crate::errors::{self, to_exception};
use crate::metrics::{MemoryStats, Outcome};
use crate::options::{self, Given, set_given, set_limits, wrong_type};
use crate::run::{PendingRun, Run};
use crate::snapshot::Snapshot;
use crate::{table, to_lua, to_python, weight};

/// One isolated Lua with its state.
///
/// Globals stay from run to run, and so do the tables in `home`. Every run is a transaction: what it wrote to stored
/// tables is kept if it succeeds and dropped if it fails. A sandbox may be used from any thread, but only by one caller
/// at a time: a second one gets LuaBusyError at once. Close it when you are done, or use it in a `with` statement.
///
/// Limits: memory_limit (256 MiB), instruction_limit (none), timeout (60 s), output_limit (16 MiB), store_limit (1 GiB)
/// with store_entries (10 million), host_call_limit (none), source_limit (16 MiB). Sizes are numbers of bytes or text
/// such as "64MiB"; times are seconds, text such as "500ms", or a timedelta; None means no limit.
///
/// store: where `home` is kept: a path, a redis:// URL, or an object with get, set, delete, size and keys. on_print:
/// receives printed text immediately, with bytes that are not UTF-8 shown as `\xff`. modules: where `require` looks: a
/// dict of sources, a folder, or a function. seed: makes runs repeatable. claim_term: how long a durable run is claimed
/// each time, during which no other sandbox can resume it (30 s). queue_runs: whether runs of this sandbox take turns
/// with those of others on the same store that do the same, instead of colliding.
#[pyclass(frozen, subclass, weakref, name = "_SandboxBase", module = "luacell._luacell")]
pub struct Sandbox {
    pub sandbox: luacell::Sandbox,
    pub callbacks: Arc<Callbacks>,
    outcome: Mutex<Outcome>,
    /// The keyword arguments that it was made with, apart from the store.
    settings: Mutex<Option<Py<PyDict>>>,
}

impl Sandbox {
    fn from_parts(sandbox: luacell::Sandbox, callbacks: Arc<Callbacks>, settings: Option<Py<PyDict>>) -> Self {
        callbacks.connect(sandbox.interrupter());
        sandbox.set_language_data(Arc::new(Arc::downgrade(&callbacks)));
        Sandbox { sandbox, callbacks, outcome: Mutex::default(), settings: Mutex::new(settings) }
    }

    /// What a run gives in Python.
    #[inline]
    pub fn conclude<'py>(
        &self,
        py: Python<'py>,
        result: luacell::Result<luacell::Outcome>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(exception) = self.callbacks.take_ending() {
            return Err(exception);
        }
        match result {
            Ok(outcome) => {
                let values = to_python::results(py, &outcome.values)?;
                *lock(&self.outcome) = outcome.into();
                Ok(values)
            }
            Err(error) => Err(to_exception(py, error)),
        }
    }

    /// Runs something that is no script.
    fn access<T: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&luacell::Sandbox) -> luacell::Result<T> + Send,
    ) -> PyResult<T> {
        self.callbacks.end_lost_runs(py)?;
        let result = py.detach(|| f(&self.sandbox));
        result.map_err(|error| self.callbacks.take_ending().unwrap_or_else(|| to_exception(py, error)))
    }

    /// Makes a function callable from Lua: `add` tells the core, by name and number.
    fn add_function(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyString>,
        function: Option<Py<PyAny>>,
        repeatable: bool,
        add: impl FnOnce(&luacell::Sandbox, &str, usize) -> luacell::Result<()> + Send,
    ) -> PyResult<()> {
        let name = options::text(name, "name")?;
        let number = self.callbacks.add(function, repeatable);
        let result = py.detach(|| add(&self.sandbox, name, number));
        match result {
            Ok(()) => self.callbacks.name(name, number),
            Err(_) => self.callbacks.forget(Some(number)),
        }
        result.map_err(|error| to_exception(py, error))
    }

    fn set_io(
        &self,
        value: &Bound<'_, PyAny>,
        set: impl FnOnce(&luacell::Sandbox, Value) -> luacell::Result<()> + Send,
    ) -> PyResult<()> {
        let lua = to_lua::one(value)?;
        self.access(value.py(), |sandbox| set(sandbox, lua))
    }
}

/// Name and arguments of one run.
#[inline]
fn options_of(name: Option<&Bound<'_, PyString>>, args: &Bound<'_, PyTuple>) -> PyResult<ComputeOptions> {
    let options = ComputeOptions::new().encoded_args(to_lua::args(args)?);
    Ok(match name {
        Some(name) => options.name(options::text(name, "name")?),
        None => options,
    })
}

#[pymethods]
impl Sandbox {
    #[new]
    #[pyo3(signature = (*, engine=None, store=None, on_print=None, modules=None, seed=None, conflict_retries=None, claim_term=None, queue_runs=false, memory_alias=true, stored_functions=true, **limits))]
    #[pyo3(
        text_signature = "(*, engine=None, store=None, on_print=None, modules=None, seed=None, conflict_retries=None, claim_term=None, queue_runs=False, memory_alias=True, stored_functions=True, memory_limit=..., instruction_limit=..., timeout=..., output_limit=..., store_limit=..., store_entries=..., host_call_limit=..., source_limit=...)"
    )]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments")]
    fn new<'py>(
        py: Python<'py>,
        engine: Option<&Bound<'py, Engine>>,
        store: Option<&Bound<'py, PyAny>>,
        on_print: Option<&Bound<'py, PyAny>>,
        modules: Option<&Bound<'py, PyAny>>,
        seed: Option<&Bound<'py, PyAny>>,
        conflict_retries: Option<&Bound<'py, PyAny>>,
        claim_term: Option<&Bound<'py, PyAny>>,
        queue_runs: bool,
        memory_alias: bool,
        stored_functions: bool,
        limits: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        let seed = seed.map(|seed| options::number(seed, "seed", "from 0 to 18446744073709551615")).transpose()?;
        let retries = |times| options::number(times, "conflict_retries", "from 0 to 4294967295");
        let conflict_retries = conflict_retries.map(retries).transpose()?;
        if let Some(sink) = on_print
            && !sink.is_callable()
        {
            return Err(wrong_type(sink, "on_print has to be a function"));
        }
        let arguments = Arguments {
            engine,
            store,
            on_print,
            modules,
            seed,
            conflict_retries,
            claim_term,
            queue_runs,
            memory_alias,
            stored_functions,
            limits,
        };
        let settings = arguments.settings(py)?;
        let callbacks = Arc::new(Callbacks::default());
        let config = arguments.config(&callbacks)?;
        let engine = engine.map_or_else(luacell::Engine::default, |engine| engine.get().0.clone());
        weight::relieve(py)?;
        match py.detach(|| engine.sandbox(config)) {
            Ok(sandbox) => Ok(Sandbox::from_parts(sandbox, callbacks, settings)),
            Err(error) => {
                let exception = to_exception(py, error);
                if let Some(ending) = callbacks.take_ending() {
                    exception.set_cause(py, Some(ending));
                }
                Err(exception)
            }
        }
    }

    /// Runs Lua source and returns what it returns: None for nothing, a tuple for several values.
    ///
    /// The arguments are the chunk's `...`. name is the chunk's name in messages, as in Lua: "=rules" or "@rules.lua".
    /// Limits replace the sandbox's for this run.
    #[pyo3(signature = (code, /, *args, name=None, memory_limit=Given::ABSENT, instruction_limit=Given::ABSENT, timeout=Given::ABSENT, output_limit=Given::ABSENT, store_limit=Given::ABSENT, store_entries=Given::ABSENT, host_call_limit=Given::ABSENT, source_limit=Given::ABSENT))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments")]
    fn compute<'py>(
        &self,
        py: Python<'py>,
        code: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        name: Option<&Bound<'py, PyString>>,
        memory_limit: Given<'py>,
        instruction_limit: Given<'py>,
        timeout: Given<'py>,
        output_limit: Given<'py>,
        store_limit: Given<'py>,
        store_entries: Given<'py>,
        host_call_limit: Given<'py>,
        source_limit: Given<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let limits = [
            memory_limit,
            instruction_limit,
            timeout,
            output_limit,
            store_limit,
            store_entries,
            host_call_limit,
            source_limit,
        ];
        let source = options::source(code)?;
        self.callbacks.end_lost_runs(py)?;
        let result = if args.is_empty() && name.is_none() && limits.iter().all(|limit| limit.0.is_none()) {
            py.detach(|| self.sandbox.compute(source))
        } else {
            let run = set_given(options_of(name, args)?, &limits)?;
            py.detach(|| self.sandbox.compute_with(source, run))
        };
        self.conclude(py, result)
    }

    /// Calls a global Lua function and returns what it returns. Dots reach into tables: "game.player.move".
    #[pyo3(signature = (path, /, *args, memory_limit=Given::ABSENT, instruction_limit=Given::ABSENT, timeout=Given::ABSENT, output_limit=Given::ABSENT, store_limit=Given::ABSENT, store_entries=Given::ABSENT, host_call_limit=Given::ABSENT, source_limit=Given::ABSENT))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments")]
    fn call<'py>(
        &self,
        py: Python<'py>,
        path: &Bound<'py, PyString>,
        args: &Bound<'py, PyTuple>,
        memory_limit: Given<'py>,
        instruction_limit: Given<'py>,
        timeout: Given<'py>,
        output_limit: Given<'py>,
        store_limit: Given<'py>,
        store_entries: Given<'py>,
        host_call_limit: Given<'py>,
        source_limit: Given<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let limits = [
            memory_limit,
            instruction_limit,
            timeout,
            output_limit,
            store_limit,
            store_entries,
            host_call_limit,
            source_limit,
        ];
        let options = set_given(options_of(None, args)?, &limits)?;
        let path = options::text(path, "path")?;
        self.callbacks.end_lost_runs(py)?;
        let result = py.detach(|| self.sandbox.call_with(path, options));
        self.conclude(py, result)
    }

    /// What the last successful run returned besides its values: printed text, metrics, how many values.
    #[getter]
    fn outcome(&self) -> Outcome {
        lock(&self.outcome).clone()
    }

    #[pyo3(signature = (name, function, *, repeatable))]
    fn _register(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyString>,
        function: Py<PyAny>,
        repeatable: bool,
    ) -> PyResult<()> {
        if !function.bind(py).is_callable() {
            return Err(wrong_type(function.bind(py), "function has to be callable"));
        }
        self.add_function(py, name, Some(function), repeatable, |sandbox, name, number| {
            sandbox.register_maybe_async(name, repeatable, host_function(&self.callbacks, number))
        })
    }

    /// Makes the name a function whose calls whoever starts a run answers: see start. In other runs a call of it is an
    /// error. As for register, dots put it into tables.
    #[pyo3(signature = (name, /))]
    fn declare(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<()> {
        self.add_function(py, name, None, true, |sandbox, name, _| sandbox.declare(name))
    }

    /// Removes a host function. Returns whether it was there.
    fn unregister(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
        let name = options::text(name, "name")?;
        let there = self.access(py, |sandbox| sandbox.unregister(name))?;
        self.callbacks.unname(name);
        Ok(there)
    }

    /// What a fork has to be told.
    fn _settings<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        let settings = lock(&self.settings).as_ref().map(|settings| settings.clone_ref(py));
        settings.map_or_else(|| PyDict::new(py), |settings| settings.into_bound(py))
    }

    fn _registered(&self, py: Python<'_>) -> Vec<(String, Option<Py<PyAny>>, bool)> {
        self.callbacks.registered(py)
    }

    /// A copy of the whole sandbox: globals, closures, suspended coroutines and tables.
    fn snapshot(&self, py: Python<'_>) -> PyResult<Snapshot> {
        self.access(py, luacell::Sandbox::snapshot).map(Snapshot)
    }

    /// Makes this sandbox what it, or another one, was when the snapshot was taken: all or nothing.
    ///
    /// Tables in memory become what they were then. A sandbox with a store keeps what the store holds, and Lua goes on
    /// with that; then a snapshot is refused if Lua holds kept tables in it, in variables or upvalues. `tables=True`
    /// makes `home` and all other tables what they were, and removes everything else from the store; `tables=False`
    /// keeps tables in memory as well.
    ///
    /// Functions that Python still has give LuaClosedError afterwards. If tables were restored, so do views of tables
    /// other than `home`.
    #[pyo3(signature = (snapshot, *, tables=None))]
    fn restore(&self, py: Python<'_>, snapshot: &Bound<'_, Snapshot>, tables: Option<bool>) -> PyResult<()> {
        let snapshot = &snapshot.get().0;
        let options = match tables {
            Some(tables) => RestoreOptions::new().tables(tables),
            None => RestoreOptions::new(),
        };
        self.access(py, |sandbox| sandbox.restore_with(snapshot, &options))
    }

    /// Makes a new sandbox what another one is.
    fn _become(&self, py: Python<'_>, snapshot: &Bound<'_, Snapshot>) -> PyResult<()> {
        let snapshot = &snapshot.get().0;
        self.access(py, |sandbox| sandbox.restore_with(snapshot, &RestoreOptions::new().whatever_size()))
    }

    /// The names of the host functions.
    #[getter]
    fn functions(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        if self.sandbox.is_closed() {
            return Err(errors::new(py, ErrorKind::Closed, "the sandbox is closed"));
        }
        Ok(self.callbacks.names())
    }

    /// A run that asyncio drives.
    #[pyo3(signature = (driver, is_call, code, args, name, limits))]
    fn _drive(
        slf: &Bound<'_, Self>,
        driver: Py<PyAny>,
        is_call: bool,
        code: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        name: Option<&Bound<'_, PyString>>,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Driven> {
        slf.get().callbacks.end_lost_runs(slf.py())?;
        let canceller = Canceller::new();
        let options = set_limits(options_of(name, args)?, limits)?.canceller(&canceller);
        let sandbox = &slf.get().sandbox;
        Ok(if is_call {
            let path = options::text(code.cast::<PyString>()?, "path")?;
            let future = sandbox.call_async(path, options);
            Driven::new(slf, driver, canceller, None, async { future.await.map(Some) })
        } else {
            let future = sandbox.compute_async(options::source(code)?, options);
            Driven::new(slf, driver, canceller, None, async { future.await.map(Some) })
        })
    }

    /// Starts a run of Lua source that may wait: it is done when this returns, or it waits for answers to calls of
    /// functions that were declared. Arguments, name and limits are as for compute; the time that the run waits does
    /// not count for its timeout.
    ///
    /// durable is a name of 1 to 1,000 bytes in the sandbox's store, under which the run survives the process: see
    /// resume. Whenever the run waits, the store gets what it has written so far, and from where it goes on.
    ///
    /// Raises LuaBusyError, LuaClosedError, LuaMemoryError and so on when the run can't begin. What the script fails
    /// with, `result` of the run raises.
    #[pyo3(signature = (code, /, *args, name=None, durable=None, **limits))]
    fn start(
        slf: &Bound<'_, Self>,
        code: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        name: Option<&Bound<'_, PyString>>,
        durable: Option<&Bound<'_, PyString>>,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Run> {
        Self::_begin(slf, false, code, args, name, durable, limits)?.begun(slf.py())
    }

    /// As start, for a global function, with a path as for call.
    #[pyo3(signature = (path, /, *args, durable=None, **limits))]
    fn start_call(
        slf: &Bound<'_, Self>,
        path: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        durable: Option<&Bound<'_, PyString>>,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Run> {
        Self::_begin(slf, true, path, args, None, durable, limits)?.begun(slf.py())
    }

    /// A run that has not begun.
    #[pyo3(signature = (is_call, code, args, name, durable, limits))]
    fn _begin(
        slf: &Bound<'_, Self>,
        is_call: bool,
        code: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        name: Option<&Bound<'_, PyString>>,
        durable: Option<&Bound<'_, PyString>>,
        limits: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Run> {
        slf.get().callbacks.end_lost_runs(slf.py())?;
        let canceller = Canceller::new();
        let mut options = set_limits(options_of(name, args)?, limits)?.canceller(&canceller);
        let durable = durable.map(|name| options::text(name, "durable")).transpose()?.map(str::to_owned);
        if let Some(name) = &durable {
            options = options.durable(name.as_str());
        }
        let sandbox = slf.clone().unbind();
        Ok(if is_call {
            let path = options::text(code.cast::<PyString>()?, "path")?.to_owned();
            Run::new(slf, durable, canceller, move || sandbox.get().sandbox.start_call(&path, options))
        } else {
            let source = options::source(code)?.to_vec();
            Run::new(slf, durable, canceller, move || sandbox.get().sandbox.start(source, options))
        })
    }

    /// The run that came with the snapshot that this sandbox was restored to, or forked from: it waits for the same
    /// requests under the same numbers. Until somebody takes it over, other runs raise LuaBusyError. None when there is
    /// none, or somebody has it.
    fn waiting_run(slf: &Bound<'_, Self>) -> PyResult<Option<Run>> {
        let run = slf.get().access(slf.py(), luacell::Sandbox::waiting_run)?;
        Ok(run.map(|run| Run::open(slf, None, run)))
    }

    /// Goes on with a durable run that waits in this sandbox's store, from where it waited last: it waits for the same
    /// requests under the same numbers, and those whose answers were not stored yet are handed out again.
    ///
    /// The sandbox becomes what that one was, with its globals. Functions that Python still has raise LuaClosedError
    /// afterwards; host functions are linked by their names.
    ///
    /// Raises LuaInvalidArgumentError if no such run waits in the store, and LuaBusyError while somebody else has
    /// claimed it.
    #[pyo3(signature = (name, /))]
    fn resume(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<Run> {
        let name = options::text(name, "name")?;
        let run = slf.get().access(slf.py(), |sandbox| sandbox.resume(name))?;
        Ok(Run::open(slf, Some(name.to_owned()), run))
    }

    /// The durable runs that wait in this sandbox's store, in the order of their names.
    fn pending_runs(&self, py: Python<'_>) -> PyResult<Vec<PendingRun>> {
        let runs = self.access(py, luacell::Sandbox::pending_runs)?;
        Ok(runs.into_iter().map(PendingRun::from).collect())
    }

    /// Removes a durable run that waits in this sandbox's store; what it has written to tables stays. Returns whether
    /// there was one. Raises LuaBusyError while somebody has claimed it.
    #[pyo3(signature = (name, /))]
    fn drop_pending_run(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<bool> {
        let name = options::text(name, "name")?;
        self.access(py, |sandbox| sandbox.drop_pending_run(name))
    }

    /// The kept table `_home`, as a live view.
    #[getter]
    fn home<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.callbacks.end_lost_runs(py)?;
        table::view(py, &self.sandbox.home())
    }

    /// `_io.input`, the script's input. Setting None removes it.
    #[getter]
    fn get_input<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python::value(py, &self.access(py, luacell::Sandbox::input)?)
    }

    #[setter]
    fn set_input(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_io(value, |sandbox, value| sandbox.set_input(value))
    }

    /// `_io.output`, which a script sets; a table is returned as a live view.
    #[getter]
    fn get_output<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python::value(py, &self.access(py, luacell::Sandbox::output)?)
    }

    #[setter]
    fn set_output(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_io(value, |sandbox, value| sandbox.set_output(value))
    }

    /// `_io.meta`.
    #[getter]
    fn get_meta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python::value(py, &self.access(py, luacell::Sandbox::meta)?)
    }

    #[setter]
    fn set_meta(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set_io(value, |sandbox, value| sandbox.set_meta(value))
    }

    /// Removes input, output and meta.
    fn clear_io(&self, py: Python<'_>) -> PyResult<()> {
        self.access(py, luacell::Sandbox::clear_io)
    }

    /// Ends the current run, in another thread or on asyncio, with LuaInterruptedError, which the script can't catch.
    /// Does nothing if nothing is running.
    fn interrupt(&self) {
        self.callbacks.interrupt();
    }

    /// Restarts Lua: globals and functions are gone; stored tables and host functions stay.
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.access(py, luacell::Sandbox::reset)
    }

    /// Collects garbage: all of Lua's, and stored tables that nothing refers to.
    fn gc(&self, py: Python<'_>) -> PyResult<()> {
        self.access(py, luacell::Sandbox::gc)
    }

    /// How much memory the sandbox uses now.
    fn memory_stats(&self, py: Python<'_>) -> PyResult<MemoryStats> {
        self.access(py, luacell::Sandbox::memory_stats).map(MemoryStats::from)
    }

    /// How many tables the store holds; None if it can't list them.
    fn table_count(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        self.access(py, luacell::Sandbox::table_count)
    }

    /// Everything that `home` holds, including functions, as one portable blob.
    fn export_home<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.access(py, luacell::Sandbox::export_home).map(|blob| PyBytes::new(py, &blob))
    }

    /// Replaces everything that `home` holds with what export_home returned. A blob with functions is refused unless it
    /// is `trusted`: they are bytecode, which Lua does not verify, and with bytecode made on purpose a script can take
    /// over the guest.
    #[pyo3(signature = (blob, *, trusted=false))]
    fn import_home(&self, py: Python<'_>, blob: &[u8], trusted: bool) -> PyResult<()> {
        let options = ImportOptions::new().trusted(trusted);
        self.access(py, |sandbox| sandbox.import_home_with(blob, &options))
    }

    /// Ends the sandbox and frees what it holds; later calls give LuaClosedError. The current run is interrupted, and
    /// has ended when this returns: if a host function is running, this waits for it. A host function of that same run
    /// does not wait.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            self.callbacks.begin_close();
            self.sandbox.close();
            self.callbacks.end_runs();
        });
        self.callbacks.close();
    }

    /// Whether close was called.
    #[getter]
    fn closed(&self) -> bool {
        self.sandbox.is_closed()
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(settings) = self.settings.try_lock() {
            settings.iter().try_for_each(|settings| visit.call(settings))?;
        }
        let mut shown = Ok(());
        self.sandbox.visit_language_values(&mut |value| {
            if let (Ok(()), Some(object)) = (&shown, callable::held(value)) {
                shown = visit.call(object);
            }
        });
        shown?;
        self.callbacks.traverse(&visit)
    }

    fn __clear__(&self) {
        self.callbacks.clear();
        self.sandbox.forget_language_values();
        let settings = lock(&self.settings).take();
        drop(settings);
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        if self.sandbox.is_closed() {
            return "<luacell.Sandbox closed>".to_owned();
        }
        let functions = self.callbacks.names().len();
        match py.detach(|| (self.sandbox.memory_stats(), self.sandbox.home().len())) {
            (Ok(memory), Ok(home)) => {
                let kib = memory.lua_bytes.div_ceil(1024);
                format!("<luacell.Sandbox {kib} KiB in use, {home} entries in home, {functions} host functions>")
            }
            (Err(error), _) | (_, Err(error)) => format!("<luacell.Sandbox {}>", error.kind().name().to_lowercase()),
        }
    }
}
