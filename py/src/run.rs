//! `luacell.Run`: runs that wait as plain values.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use luacell::{Canceller, Error, ErrorKind};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::asyncio::Driven;
use crate::errors::{OrRaise, from_exception, to_exception};
use crate::metrics::Outcome;
use crate::options::{self, wrong_type};
use crate::sandbox::Sandbox;
use crate::{to_lua, to_python};

/// A call of a declared function that waits for its answer.
#[pyclass(frozen, module = "luacell")]
pub struct Request {
    /// Its number, which it keeps for as long as the run waits for it, also in a snapshot and in a store. Counted from 1
    /// in each run.
    #[pyo3(get)]
    id: u64,
    /// The function's name; "task.sleep" for a script that lets time pass, with the seconds as its argument.
    #[pyo3(get)]
    name: String,
    /// What the script passed.
    #[pyo3(get)]
    args: Py<PyTuple>,
}

#[pymethods]
impl Request {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (name, args) = (PyString::new(py, &self.name).repr()?, self.args.bind(py).repr()?);
        Ok(format!("Request(id={}, name={name}, args={args})", self.id))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.args)
    }
}

/// A durable run that waits in a store.
#[pyclass(frozen, eq, module = "luacell")]
#[derive(PartialEq)]
pub struct PendingRun {
    /// Its name.
    #[pyo3(get)]
    name: String,
    /// For how many seconds somebody has claimed it still, who may be at work for it; None when anybody may resume it.
    #[pyo3(get)]
    claimed: Option<f64>,
}

impl From<luacell::PendingRun> for PendingRun {
    fn from(run: luacell::PendingRun) -> Self {
        PendingRun { name: run.name, claimed: run.claimed.map(|left| left.as_secs_f64()) }
    }
}

#[pymethods]
impl PendingRun {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let claimed = self.claimed.map_or_else(|| "None".to_owned(), |left| left.to_string());
        Ok(format!("PendingRun(name={}, claimed={claimed})", PyString::new(py, &self.name).repr()?))
    }
}

/// A run that was started: it is done, or it waits for answers to its requests.
///
/// While it waits no thread belongs to it. Answer its requests and let it go on with resume, from any thread. The thread
/// that started or resumed it last may use the sandbox, and the functions in the requests, as part of the run; on other
/// threads that raises LuaBusyError. After start_async and resume_async this is the thread of the event loop.
///
/// In a `with` statement the run is left at the end, as close does. One that is dropped is left, too.
#[pyclass(frozen, weakref, module = "luacell")]
pub struct Run {
    sandbox: Py<Sandbox>,
    name: Option<String>,
    /// Of one that was started here.
    canceller: Option<Canceller>,
    state: Arc<Mutex<State>>,
}

/// How a run begins.
type Begin = Box<dyn FnOnce() -> luacell::Result<luacell::Run> + Send>;

enum State {
    New(Begin),
    /// It waits.
    Open(luacell::Run),
    /// What it gave, before that is Python's.
    Ended(luacell::Result<luacell::Outcome>),
    Done(Py<PyAny>, Outcome),
    /// An exception.
    Failed(Py<PyAny>),
}

impl State {
    fn of(run: luacell::Run) -> Self {
        if run.is_waiting() { State::Open(run) } else { State::Ended(run.into_result()) }
    }

    /// Goes on as far as it comes.
    fn go(&mut self) -> luacell::Result<()> {
        let gone = State::Ended(Err(Error::new(ErrorKind::Internal, "the run was lost")));
        match std::mem::replace(self, gone) {
            State::New(begin) => {
                *self = State::of(begin()?);
                Ok(())
            }
            State::Open(mut run) => {
                let resumed = run.resume();
                *self = State::of(run);
                resumed
            }
            done => {
                *self = done;
                Err(Error::new(ErrorKind::InvalidArgument, "the run is done"))
            }
        }
    }
}

fn in_use() -> Error {
    Error::new(ErrorKind::Busy, "the run is in use on another thread")
}

/// Nobody waits for somebody who may wait for the GIL.
fn try_lock(state: &Mutex<State>) -> luacell::Result<MutexGuard<'_, State>> {
    match state.try_lock() {
        Ok(state) => Ok(state),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(in_use()),
    }
}

impl Run {
    fn with(sandbox: &Bound<'_, Sandbox>, name: Option<String>, canceller: Option<Canceller>, state: State) -> Self {
        Run { sandbox: sandbox.clone().unbind(), name, canceller, state: Arc::new(Mutex::new(state)) }
    }

    /// One that has not begun.
    pub fn new(
        sandbox: &Bound<'_, Sandbox>,
        name: Option<String>,
        canceller: Canceller,
        begin: impl FnOnce() -> luacell::Result<luacell::Run> + Send + 'static,
    ) -> Self {
        Self::with(sandbox, name, Some(canceller), State::New(Box::new(begin)))
    }

    /// One that waits.
    pub fn open(sandbox: &Bound<'_, Sandbox>, name: Option<String>, run: luacell::Run) -> Self {
        Self::with(sandbox, name, None, State::of(run))
    }

    /// The same, begun.
    pub fn begun(self, py: Python<'_>) -> PyResult<Self> {
        self.go(py)?;
        Ok(self)
    }

    fn go(&self, py: Python<'_>) -> PyResult<()> {
        let went = py.detach(|| try_lock(&self.state)?.go());
        let ending = self.sandbox.get().callbacks.take_ending();
        let settled = self.settle(py);
        match (ending, went) {
            (Some(exception), _) => Err(exception),
            (None, Err(error)) => Err(to_exception(py, error)),
            (None, Ok(())) => settled,
        }
    }

    /// What it gave is Python's from here on.
    fn settle(&self, py: Python<'_>) -> PyResult<()> {
        let mut state = try_lock(&self.state).or_raise(py)?;
        let State::Ended(result) = &mut *state else { return Ok(()) };
        let result = std::mem::replace(result, Err(in_use()));
        drop(state);
        let outcome = result.as_ref().ok().cloned().map(Outcome::from).unwrap_or_default();
        let settled = match self.sandbox.get().conclude(py, result) {
            Ok(values) => State::Done(values.unbind(), outcome),
            Err(exception) => State::Failed(exception.into_value(py).into_any()),
        };
        *try_lock(&self.state).or_raise(py)? = settled;
        Ok(())
    }

    /// Does something for the run that waits.
    fn with_open<T: Send>(
        &self,
        py: Python<'_>,
        done: impl FnOnce() -> luacell::Result<T> + Send,
        f: impl FnOnce(&luacell::Run) -> luacell::Result<T> + Send,
    ) -> PyResult<T> {
        let result = py.detach(|| match &*try_lock(&self.state)? {
            State::Open(run) => f(run),
            _ => done(),
        });
        result.or_raise(py)
    }

    /// Ends a run that waits, which then is `ended`.
    fn end(&self, py: Python<'_>, ended: Error, end: impl FnOnce(luacell::Run) + Send) -> PyResult<()> {
        py.detach(|| {
            let mut state = try_lock(&self.state)?;
            if matches!(*state, State::Open(_) | State::New(_))
                && let State::Open(run) = std::mem::replace(&mut *state, State::Ended(Err(ended)))
            {
                end(run);
            }
            Ok(())
        })
        .or_raise(py)?;
        let ending = self.sandbox.get().callbacks.take_ending();
        self.settle(py)?;
        ending.map_or(Ok(()), Err)
    }
}

fn request_id(id: &Bound<'_, PyAny>) -> PyResult<u64> {
    options::number(id, "id", "of a request")
}

fn not_open<T>(id: u64) -> impl FnOnce() -> luacell::Result<T> {
    move || Err(Error::new(ErrorKind::InvalidArgument, format!("the run has no open request {id}")))
}

#[pymethods]
impl Run {
    /// Whether it waits for answers.
    #[getter]
    fn waiting(&self) -> bool {
        try_lock(&self.state).is_ok_and(|state| matches!(&*state, State::Open(run) if run.is_waiting()))
    }

    /// Its name in the store, if it is durable.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What it waits for, in the order in which it was asked; nothing when it is done.
    #[getter]
    fn requests(&self, py: Python<'_>) -> PyResult<Vec<Request>> {
        let open = self.with_open(py, || Ok(Vec::new()), luacell::Run::requests)?;
        let request = |request: luacell::Request| {
            let args = to_python::tuple(py, &request.args)?.unbind();
            Ok(Request { id: request.id, name: request.name.to_string(), args })
        };
        open.into_iter().map(request).collect()
    }

    /// Answers a request with any number of values. The script gets them when the run is resumed.
    ///
    /// Raises LuaInvalidArgumentError when there is no such request, or no more.
    #[pyo3(signature = (id, /, *values))]
    fn answer(&self, py: Python<'_>, id: &Bound<'_, PyAny>, values: &Bound<'_, PyTuple>) -> PyResult<()> {
        let id = request_id(id)?;
        let values = to_lua::args(values)?.into_values().or_raise(py)?;
        self.with_open(py, not_open(id), |run| run.answer(id, values))
    }

    /// Answers a request with an error, which the script can catch: an exception as a host function raises it, or text.
    /// When nothing catches it, it is the `__cause__` of what the run raises.
    #[pyo3(signature = (id, error, /))]
    fn fail(&self, py: Python<'_>, id: &Bound<'_, PyAny>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let id = request_id(id)?;
        let error = if let Ok(text) = error.cast::<PyString>() {
            Error::host(options::text(text, "error")?)
        } else if error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            from_exception(py, PyErr::from_value(error.clone()))
        } else {
            return Err(wrong_type(error, "error has to be an exception or text"));
        };
        self.with_open(py, not_open(id), |run| run.fail(id, error))
    }

    /// Lets the script go on with the answers that were given, as far as it comes with them: until it is done or waits
    /// again. Raises LuaInvalidArgumentError when it is done already. What the script fails with, `result` raises.
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        self.go(py)
    }

    /// Like resume, for asyncio: Lua runs on one of luacell's own threads. When the task is cancelled, the run is
    /// interrupted.
    fn resume_async<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("luacell._async")?.call_method1("go", (slf,))
    }

    /// The next part of the run, for asyncio to drive.
    fn _go(&self, py: Python<'_>, driver: Py<PyAny>) -> Driven {
        let sandbox = self.sandbox.bind(py);
        let interrupter = self.canceller.is_none().then(|| sandbox.get().sandbox.interrupter());
        let canceller = self.canceller.clone().unwrap_or_default();
        let state = Arc::clone(&self.state);
        Driven::new(sandbox, driver, canceller, interrupter, async move {
            try_lock(&state)?.go()?;
            Ok(None)
        })
    }

    /// The part that asyncio drove is over: what comes next is for this thread.
    fn _went(&self, py: Python<'_>) -> PyResult<()> {
        self.with_open(py, || Ok(()), luacell::Run::take_over)?;
        self.settle(py)
    }

    /// Claims a durable run for another term, for waits that take longer. Does nothing for other runs. Raises
    /// LuaConflictError if somebody else has taken it over.
    fn renew(&self, py: Python<'_>) -> PyResult<()> {
        self.with_open(py, || Ok(()), luacell::Run::renew)
    }

    /// Ends a run that waits: it fails with LuaInterruptedError, and nothing of it is kept; of a durable run what it had
    /// written when it waited. Does nothing when it is done.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, Error::new(ErrorKind::Interrupted, "the run was cancelled"), luacell::Run::cancel)
    }

    /// Leaves a run that waits: one that is durable waits on in its store, and anybody may resume it. Others are
    /// cancelled. Does nothing when it is done.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, Error::new(ErrorKind::Closed, "the run was left"), drop)
    }

    /// What the script returned, in the form in which compute returns it; raises what it failed with, and LuaBusyError
    /// while it waits.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &*try_lock(&self.state).or_raise(py)? {
            State::Done(values, _) => Ok(values.bind(py).clone()),
            State::Failed(exception) => Err(PyErr::from_value(exception.bind(py).clone())),
            State::Open(run) => Err(to_exception(py, run.no_result())),
            State::New(_) | State::Ended(_) => Err(to_exception(py, in_use())),
        }
    }

    /// What it returned besides its values; None unless it has succeeded.
    #[getter]
    fn outcome(&self, py: Python<'_>) -> PyResult<Option<Outcome>> {
        match &*try_lock(&self.state).or_raise(py)? {
            State::Done(_, outcome) => Ok(Some(outcome.clone())),
            _ => Ok(None),
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let state = match self.state.try_lock().as_deref() {
            Ok(State::Open(run)) if run.is_waiting() => "waits",
            Ok(State::Done(..)) => "done",
            Ok(State::Open(_) | State::Ended(_) | State::Failed(_)) => "failed",
            _ => "runs",
        };
        match &self.name {
            Some(name) => format!("<luacell.Run {name:?} {state}>"),
            None => format!("<luacell.Run {state}>"),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.sandbox)?;
        match self.state.try_lock().as_deref() {
            Ok(State::Done(object, _) | State::Failed(object)) => visit.call(object),
            _ => Ok(()),
        }
    }
}

impl Drop for Run {
    /// What ends a script may wait for somebody who waits for the GIL.
    fn drop(&mut self) {
        let mut open = match try_lock(&self.state) {
            Ok(mut state) if matches!(*state, State::Open(_)) => {
                Some(std::mem::replace(&mut *state, State::Ended(Err(in_use()))))
            }
            _ => return,
        };
        Python::try_attach(|py| py.detach(|| drop(open.take())));
        drop(open);
    }
}
