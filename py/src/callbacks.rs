//! What a sandbox calls in Python: host functions, the print sink, the store, the module function, the signal check.
//!
//! The sandbox's Python object owns these objects through this, so that the garbage collector sees them; the core's
//! closures hold numbers or nothing.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use luacell::{Error, ErrorKind, Interrupter, Reply, Value};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::asyncio::{self, RunState};
use crate::errors::{Raised, ends_run, from_exception, has_kind};
use crate::{to_lua, to_python};

/// What belongs to one sandbox.
#[derive(Default)]
pub struct Callbacks {
    functions: Mutex<Functions>,
    pub print: Slot,
    pub modules: Slot,
    pub store: Slot,
    /// Exceptions that end a run and come out of it as themselves, such as `KeyboardInterrupt`. While one is on its way
    /// out, another caller may begin.
    endings: Mutex<Vec<(Caller, PyErr)>>,
    has_ending: AtomicBool,
    interrupter: OnceLock<Interrupter>,
    closed: AtomicBool,
    /// Runs on asyncio.
    runs: Mutex<Vec<Weak<RunState>>>,
    has_runs: AtomicBool,
}

/// Whose run it is: a thread's, or one on asyncio, which has another thread each time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Thread(ThreadId),
    /// The address of its state.
    Run(usize),
}

impl Caller {
    fn here() -> Self {
        asyncio::running().unwrap_or_else(|| Caller::Thread(std::thread::current().id()))
    }
}

/// A Python object that the garbage collector finds here.
#[derive(Default)]
pub struct Slot {
    object: Mutex<Option<Py<PyAny>>>,
    full: AtomicBool,
}

impl Slot {
    pub fn put(&self, object: Py<PyAny>) {
        let before = {
            let mut place = lock(&self.object);
            self.full.store(true, Ordering::Release);
            place.replace(object)
        };
        drop(before);
    }

    pub fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        lock(&self.object).as_ref().map(|object| object.clone_ref(py))
    }

    /// Empties it. Whoever drops the object does so when nothing is locked, since that may run any code.
    #[inline]
    pub fn take(&self) -> Option<Py<PyAny>> {
        // Each run asks.
        if !self.full.load(Ordering::Acquire) {
            return None;
        }
        let mut object = lock(&self.object);
        self.full.store(false, Ordering::Release);
        object.take()
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Who has a lock is alive: nothing is garbage then.
        match self.object.try_lock() {
            Ok(object) => object.iter().try_for_each(|object| visit.call(object)),
            Err(_) => Ok(()),
        }
    }
}

#[derive(Default)]
struct Functions {
    numbers: HashMap<String, usize>,
    list: HashMap<usize, Registered>,
    /// A number is given out once: the core may hold on to one that is gone here.
    next: usize,
}

/// A host function and how it was registered.
struct Registered {
    /// `None` for one that is declared.
    function: Option<Py<PyAny>>,
    repeatable: bool,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error for callbacks that come when there is no Python any more.
pub fn finalizing() -> Error {
    Error::host("Python is shutting down")
}

impl Callbacks {
    /// Tells whom to stop.
    pub fn connect(&self, interrupter: Interrupter) {
        let _ = self.interrupter.set(interrupter);
    }

    /// A run on asyncio is about to begin.
    pub fn add_run(&self, run: &Arc<RunState>) {
        let mut runs = lock(&self.runs);
        runs.retain(|run| run.strong_count() > 0);
        runs.push(Arc::downgrade(run));
        self.has_runs.store(true, Ordering::Release);
    }

    /// Ends runs of event loops that were closed, which would keep the sandbox for ever.
    #[inline]
    pub fn end_lost_runs(&self, py: Python<'_>) -> PyResult<()> {
        if self.has_runs.load(Ordering::Acquire) { self.look_for_lost_runs(py) } else { Ok(()) }
    }

    #[cold]
    fn look_for_lost_runs(&self, py: Python<'_>) -> PyResult<()> {
        // Whoever drops a run last ends it, which may wait for the GIL.
        let is_all_over = py.detach(|| self.runs().iter().all(|run| run.has_ended()));
        if is_all_over {
            self.has_runs.store(false, Ordering::Release);
            return Ok(());
        }
        py.import(intern!(py, "luacell._async"))?.call_method0(intern!(py, "end_lost")).map(drop)
    }

    fn runs(&self) -> Vec<Arc<RunState>> {
        lock(&self.runs).iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends what runs, and the runs on asyncio that are about to begin.
    pub fn interrupt(&self) {
        self.runs().iter().for_each(|run| run.cancel());
        if let Some(interrupter) = self.interrupter.get() {
            interrupter.interrupt();
        }
    }

    /// Ends the runs on asyncio, which this waits for.
    pub fn end_runs(&self) {
        self.runs().iter().for_each(|run| run.end());
    }

    /// Keeps a function, `None` for one that is declared; its number.
    pub fn add(&self, function: Option<Py<PyAny>>, repeatable: bool) -> usize {
        let mut functions = lock(&self.functions);
        let number = functions.next;
        functions.next += 1;
        functions.list.insert(number, Registered { function, repeatable });
        number
    }

    /// Says by which name a function is known now, and lets go of the one before.
    pub fn name(&self, name: &str, number: usize) {
        let before = lock(&self.functions).numbers.insert(name.to_owned(), number);
        self.forget(before);
    }

    /// A function is registered no more.
    pub fn unname(&self, name: &str) {
        let before = lock(&self.functions).numbers.remove(name);
        self.forget(before);
    }

    /// Lets go of a function. It is dropped when nothing is locked, since that may run any code.
    pub fn forget(&self, number: Option<usize>) {
        let Some(number) = number else { return };
        let function = lock(&self.functions).list.remove(&number);
        drop(function);
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = lock(&self.functions).numbers.keys().cloned().collect();
        names.sort();
        names
    }

    pub fn function(&self, py: Python<'_>, number: usize) -> Option<Py<PyAny>> {
        lock(&self.functions).list.get(&number)?.function.as_ref().map(|function| function.clone_ref(py))
    }

    /// All that is registered: name, function, whether it may be repeated.
    pub fn registered(&self, py: Python<'_>) -> Vec<(String, Option<Py<PyAny>>, bool)> {
        let functions = lock(&self.functions);
        let all = functions.numbers.iter().filter_map(|(name, number)| {
            let registered = functions.list.get(number)?;
            let function = registered.function.as_ref().map(|function| function.clone_ref(py));
            Some((name.clone(), function, registered.repeatable))
        });
        all.collect()
    }

    /// A script calls a host function.
    fn call(self: &Arc<Self>, number: usize, args: &[Value]) -> luacell::Result<Reply> {
        let call = |py: Python<'_>| {
            let Some(function) = self.function(py, number) else {
                return Err(Error::host("the host function is gone"));
            };
            self.call_object(function.bind(py), args)
        };
        Python::try_attach(call).unwrap_or_else(|| Err(finalizing()))
    }

    /// A script calls this.
    pub fn call_object(self: &Arc<Self>, function: &Bound<'_, PyAny>, args: &[Value]) -> luacell::Result<Reply> {
        let py = function.py();
        let result = to_python::tuple(py, args).and_then(|args| function.call1(args));
        let result = result.map_err(|exception| self.failed(py, exception))?;
        if is_awaitable(&result) {
            return asyncio::later(self, &result);
        }
        self.passed(py, to_lua::results(&result)).map(Reply::Now)
    }

    /// What a host function returned, once it was read. When it can't be passed, the script does not hear what it was.
    pub fn passed(&self, py: Python<'_>, results: PyResult<Vec<Value>>) -> luacell::Result<Vec<Value>> {
        results.map_err(|exception| {
            let error = self.failed(py, exception);
            if error.kind() == ErrorKind::Conversion { error.shown_as(UNFIT) } else { error }
        })
    }

    /// What a host function's exception is to the script.
    pub fn failed(&self, py: Python<'_>, exception: PyErr) -> Error {
        if ends_run(py, &exception) {
            self.end_with(exception);
            return Error::host("the run ends");
        }
        from_exception(py, exception)
    }

    /// The same for the function that finds modules: the script sees the text of an error that is made for scripts, and
    /// no other.
    pub fn no_module(&self, py: Python<'_>, exception: PyErr) -> Error {
        if ends_run(py, &exception) || has_kind(py, &exception, ErrorKind::HostFunction) {
            return self.failed(py, exception);
        }
        Error::opaque(Raised::new(py, exception))
    }

    /// Ends the run on this thread with this exception.
    pub fn end_with(&self, exception: PyErr) {
        let caller = Caller::here();
        let before = {
            let mut endings = lock(&self.endings);
            let before = endings.iter().position(|(who, _)| *who == caller).map(|at| endings.swap_remove(at));
            endings.push((caller, exception));
            self.has_ending.store(true, Ordering::Release);
            before
        };
        drop(before);
        if let Some(interrupter) = self.interrupter.get() {
            interrupter.interrupt();
        }
    }

    /// The exception that ended the run of this thread.
    #[inline]
    pub fn take_ending(&self) -> Option<PyErr> {
        self.has_ending.load(Ordering::Acquire).then(|| self.take_ending_of(Caller::here())).flatten()
    }

    #[cold]
    pub fn take_ending_of(&self, caller: Caller) -> Option<PyErr> {
        let mut endings = lock(&self.endings);
        let at = endings.iter().position(|(who, _)| *who == caller)?;
        let (_, exception) = endings.swap_remove(at);
        self.has_ending.store(!endings.is_empty(), Ordering::Release);
        Some(exception)
    }

    #[cold]
    fn ends(&self, caller: Caller) -> bool {
        lock(&self.endings).iter().any(|(who, _)| *who == caller)
    }

    /// A script printed.
    pub fn print(&self, text: &[u8]) {
        // What is printed between a failure and the end of the run is for nobody.
        if self.has_ending.load(Ordering::Acquire) && self.ends(Caller::here()) {
            return;
        }
        Python::try_attach(|py| {
            let Some(sink) = self.print.get(py) else { return };
            if let Err(exception) = to_python::text(py, text).and_then(|text| sink.bind(py).call1((text,))) {
                self.end_with(exception);
            }
        });
    }

    /// Looks whether a signal's handler has to run. Gives whether the run may go on.
    pub fn check(&self, clock: &mut Instant) -> bool {
        // The core forgets an interrupt that came just before the run began.
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        let now = Instant::now();
        let passed = now - *clock;
        if passed < SIGNALS {
            return true;
        }
        *clock = now;
        // After a long pause another run has just begun: there is nothing to look for yet.
        if passed > PAUSE || MAIN.get() == Some(false) {
            return true;
        }
        let look = |py: Python<'_>| match is_main(py).and_then(|main| if main { py.check_signals() } else { Ok(()) }) {
            Ok(()) => true,
            Err(exception) => {
                self.end_with(exception);
                false
            }
        };
        Python::try_attach(look).unwrap_or(false)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(functions) = self.functions.try_lock() {
            functions.list.values().try_for_each(|registered| visit.call(&registered.function))?;
        }
        [&self.print, &self.modules, &self.store].into_iter().try_for_each(|slot| slot.traverse(visit))
    }

    /// The sandbox is about to be closed: what runs ends.
    pub fn begin_close(&self) {
        self.closed.store(true, Ordering::Release);
        self.interrupt();
    }

    /// The sandbox is closed: nothing is called any more. Only the store is, to roll back; it goes with the core's part
    /// of it.
    pub fn close(&self) {
        self.begin_close();
        let functions = std::mem::take(&mut *lock(&self.functions));
        drop((functions, self.print.take(), self.modules.take()));
    }

    /// Lets go of everything, for the garbage collector.
    pub fn clear(&self) {
        self.close();
        drop(self.store.take());
    }
}

/// What a script sees of a result that is no value.
const UNFIT: &str = "the host function gave a result that can't be passed";

/// How often it is looked for signals; each look takes the GIL.
const SIGNALS: Duration = Duration::from_millis(15);
const PAUSE: Duration = Duration::from_millis(500);

thread_local! {
    /// Whether this is Python's main thread, the only one that handles signals.
    static MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

fn is_main(py: Python<'_>) -> PyResult<bool> {
    if let Some(known) = MAIN.get() {
        return Ok(known);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?.eq(threading.call_method0("get_ident")?)?;
    MAIN.set(Some(main));
    Ok(main)
}

/// Whether a task can wait for this. Most of what functions return is told by its type.
#[inline]
fn is_awaitable(result: &Bound<'_, PyAny>) -> bool {
    let is_plain = result.is_none()
        || result.is_exact_instance_of::<PyInt>()
        || result.is_exact_instance_of::<PyString>()
        || result.is_exact_instance_of::<PyFloat>()
        || result.is_exact_instance_of::<PyBool>()
        || result.is_exact_instance_of::<PyTuple>()
        || result.is_exact_instance_of::<PyList>()
        || result.is_exact_instance_of::<PyDict>()
        || result.is_exact_instance_of::<PyBytes>();
    !is_plain
        && (result.get_type().hasattr(intern!(result.py(), "__await__")).unwrap_or(false) || is_old_coroutine(result))
}

/// What `types.coroutine` makes of a generator can be awaited without saying so in its type.
fn is_old_coroutine(result: &Bound<'_, PyAny>) -> bool {
    const CO_ITERABLE_COROUTINE: u32 = 0x100;
    let py = result.py();
    let flags = || result.getattr(intern!(py, "gi_code"))?.getattr(intern!(py, "co_flags"))?.extract::<u32>();
    result.get_type().hasattr(intern!(py, "gi_code")).unwrap_or(false)
        && flags().is_ok_and(|flags| flags & CO_ITERABLE_COROUTINE != 0)
}

/// The core's side of a host function.
pub fn host_function(
    callbacks: &Arc<Callbacks>,
    number: usize,
) -> impl Fn(Vec<Value>) -> luacell::Result<Reply> + Send + Sync + 'static {
    let callbacks = Arc::clone(callbacks);
    move |args: Vec<Value>| callbacks.call(number, &args)
}
