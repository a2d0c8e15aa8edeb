//! Runs and host functions on asyncio. The Python half is `luacell._async`, which knows event loops.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

use luacell::{Canceller, Error, ErrorKind, Interrupter, Outcome, Reply, Value, threads};
use pyo3::PyTraverseError;
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use crate::callbacks::{Callbacks, Caller, lock};
use crate::errors::{ends_run, from_exception};
use crate::sandbox::Sandbox;
use crate::to_lua;

/// Gives no outcome where a run is begun or let go on that Python holds.
type Future = Pin<Box<dyn std::future::Future<Output = luacell::Result<Option<Outcome>>> + Send>>;

thread_local! {
    /// What drives the run on this thread: an object with `wake()` and `start(awaitable, call)`.
    static DRIVER: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
    /// The run on this thread.
    static RUNNING: RefCell<Option<Arc<RunState>>> = const { RefCell::new(None) };
}

/// The run on this thread, if it is one on asyncio.
pub fn running() -> Option<Caller> {
    RUNNING.with_borrow(|running| running.as_ref().map(|run| run.caller()))
}

/// Tells the event loop to go on with a run.
struct LoopWaker(Py<PyAny>);

impl Wake for LoopWaker {
    fn wake(self: Arc<Self>) {
        // A loop that is closed has nobody waiting.
        Python::try_attach(|py| self.0.bind(py).call_method0("wake").map(drop).ok());
    }
}

/// A run that waits for its event loop.
pub struct RunState {
    canceller: Canceller,
    /// Ends a run that the canceller does not know.
    interrupter: Option<Interrupter>,
    future: Mutex<Option<Future>>,
    waker: Mutex<Option<Waker>>,
    result: Mutex<Option<luacell::Result<Option<Outcome>>>>,
}

impl RunState {
    fn caller(&self) -> Caller {
        Caller::Run(std::ptr::from_ref(self).addr())
    }

    /// Ends it soon, also when it has not begun.
    pub fn cancel(&self) {
        self.canceller.cancel();
        if let Some(interrupter) = &self.interrupter {
            interrupter.interrupt();
        }
    }

    /// Ends it here and now, wherever it waits, or when the thread has done with it that is at it; except when that is
    /// this one.
    pub fn end(&self) {
        self.cancel();
        if RUNNING.with_borrow(|running| running.as_ref().is_some_and(|run| std::ptr::eq(Arc::as_ptr(run), self))) {
            return;
        }
        if self.stop() {
            let waker = lock(&self.waker).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.future.try_lock().is_ok_and(|future| future.is_none())
    }

    /// Ends it where it waits; whether it had not ended.
    fn stop(&self) -> bool {
        let Some(future) = lock(&self.future).take() else { return false };
        drop(future);
        *lock(&self.result) = Some(Err(Error::new(ErrorKind::Interrupted, "interrupted")));
        true
    }

    /// Goes on; whether it has ended.
    fn poll(&self, waker: Waker) -> bool {
        let mut place = lock(&self.future);
        let Some(future) = place.as_mut() else { return true };
        *lock(&self.waker) = Some(waker.clone());
        let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return false;
        };
        *place = None;
        *lock(&self.result) = Some(result);
        true
    }
}

/// What asyncio has of a run.
#[pyclass(frozen, name = "_Driven", module = "luacell._luacell")]
pub struct Driven {
    state: Arc<RunState>,
    sandbox: Py<Sandbox>,
    driver: Py<PyAny>,
    /// The event loop's, without which the run does not go on.
    thread: ThreadId,
}

impl Driven {
    pub fn new(
        sandbox: &Bound<'_, Sandbox>,
        driver: Py<PyAny>,
        canceller: Canceller,
        interrupter: Option<Interrupter>,
        future: impl std::future::Future<Output = luacell::Result<Option<Outcome>>> + Send + 'static,
    ) -> Self {
        let future: Future = Box::pin(future);
        let (future, waker, result) = (Mutex::new(Some(future)), Mutex::default(), Mutex::default());
        let state = Arc::new(RunState { canceller, interrupter, future, waker, result });
        sandbox.get().callbacks.add_run(&state);
        Driven { state, sandbox: sandbox.clone().unbind(), driver, thread: std::thread::current().id() }
    }
}

#[pymethods]
impl Driven {
    /// Calls `begin` when there is a place for the run to compute in, at once or later and from any thread: with true,
    /// and it has `poll` called on another thread, which it gives; with false when the run was ended meanwhile.
    fn enqueue(&self, py: Python<'_>, begin: Py<PyAny>) {
        let state = Arc::clone(&self.state);
        let start = move |place: luacell::Result<()>| {
            let has_place = place.is_ok();
            if !has_place {
                state.stop();
            }
            let begins = Python::try_attach(|py| begin.bind(py).call1((has_place,))?.is_truthy());
            begins.is_some_and(|begins| begins.unwrap_or(false))
        };
        py.detach(|| threads::enqueue(&self.state.canceller, start));
    }

    /// Goes on until the script ends, which gives true, or waits for a host function.
    fn poll(&self, py: Python<'_>) -> bool {
        let waker = Waker::from(Arc::new(LoopWaker(self.driver.clone_ref(py))));
        let before = DRIVER.replace(Some(self.driver.clone_ref(py)));
        let other = RUNNING.replace(Some(Arc::clone(&self.state)));
        let poll = || threads::work_for(self.thread, || self.state.poll(waker));
        let done = py.detach(|| threads::at_work(poll));
        RUNNING.replace(other);
        DRIVER.replace(before);
        done
    }

    /// Ends this run soon, and no other.
    fn interrupt(&self, py: Python<'_>) {
        py.detach(|| self.state.cancel());
    }

    /// Ends the run, wherever it waits or computes. On a thread that another run computes on, this does not wait for
    /// that: the two might wait for each other.
    fn end(&self, py: Python<'_>) {
        py.detach(|| match running() {
            Some(_) => self.state.cancel(),
            None => self.state.end(),
        });
    }

    /// What the run gave.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let result = lock(&self.state.result).take();
        let result = result.unwrap_or_else(|| Err(Error::new(ErrorKind::Interrupted, "the run was dropped")));
        let sandbox = self.sandbox.get();
        match sandbox.callbacks.take_ending_of(self.state.caller()) {
            Some(exception) => Err(exception),
            None => match result.transpose() {
                Some(result) => sandbox.conclude(py, result),
                None => Ok(py.None().into_bound(py)),
            },
        }
    }

    /// Ends the run wherever it is. Nothing may poll it at the moment.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.state.stop());
        let _ = self.sandbox.get().callbacks.take_ending_of(self.state.caller());
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.sandbox)?;
        visit.call(&self.driver)
    }
}

/// A call of a function that returned an awaitable.
#[derive(Default)]
pub struct CallState {
    result: Option<luacell::Result<Vec<Value>>>,
    waker: Option<Waker>,
    /// Cancels the task.
    cancel: Option<Py<PyAny>>,
    /// What reading the result raised, when that is to end the run.
    ending: Option<PyErr>,
}

/// Where a task leaves its result.
#[pyclass(frozen, name = "_Call", module = "luacell._luacell")]
struct Call {
    state: Arc<Mutex<CallState>>,
    callbacks: Arc<Callbacks>,
}

impl Call {
    fn finish(&self, result: luacell::Result<Vec<Value>>, ending: Option<PyErr>) {
        let waker = {
            let mut state = lock(&self.state);
            state.result = Some(result);
            state.ending = ending;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn end_run(&self, exception: PyErr) {
        self.finish(Err(Error::host("the run ends")), Some(exception));
    }
}

#[pymethods]
impl Call {
    /// The function returned this. It is the run that an exception ends here, not the event loop's thread, and only if
    /// the run is still there.
    fn returned(&self, value: &Bound<'_, PyAny>) {
        match to_lua::results(value) {
            Err(exception) if ends_run(value.py(), &exception) => self.end_run(exception),
            results => self.finish(self.callbacks.passed(value.py(), results), None),
        }
    }

    /// The function raised this. What ends a run has come out of the event loop by now, which may go on all the same.
    fn raised(&self, exception: &Bound<'_, PyAny>) {
        let (py, raised) = (exception.py(), PyErr::from_value(exception.clone()));
        // That a function was cancelled is an error of its own.
        if ends_run(py, &raised) && !raised.is_instance_of::<CancelledError>(py) {
            self.end_run(raised);
        } else {
            self.finish(Err(from_exception(py, raised)), None);
        }
    }
}

/// Waits for a task.
struct Waiting {
    call: Arc<Mutex<CallState>>,
    callbacks: Arc<Callbacks>,
}

impl std::future::Future for Waiting {
    type Output = luacell::Result<Vec<Value>>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.call);
        match state.result.take() {
            Some(result) => {
                let ending = state.ending.take();
                drop(state);
                let Some(exception) = ending else { return Poll::Ready(result) };
                // The run sees that it was interrupted before it asks here again.
                self.callbacks.end_with(exception);
                task.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                state.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let cancel = lock(&self.call).cancel.take();
        if let Some(cancel) = cancel {
            // Does nothing to a task that is done.
            Python::try_attach(|py| cancel.bind(py).call0().map(drop).ok());
        }
    }
}

/// A host function returned this awaitable, which a task of the event loop waits for from now on.
pub fn later(callbacks: &Arc<Callbacks>, awaitable: &Bound<'_, PyAny>) -> luacell::Result<Reply> {
    let py = awaitable.py();
    let driver = DRIVER.with(|place| place.borrow().as_ref().map(|driver| driver.clone_ref(py)));
    let Some(driver) = driver else {
        discard(awaitable);
        return Err(Error::host("this host function is async: run the script with compute_async or call_async"));
    };
    let state = Arc::new(Mutex::new(CallState::default()));
    let call = Call { state: Arc::clone(&state), callbacks: Arc::clone(callbacks) };
    let cancel = driver.bind(py).call_method1("start", (awaitable, call)).map_err(|exception| {
        discard(awaitable);
        callbacks.failed(py, exception)
    })?;
    lock(&state).cancel = Some(cancel.unbind());
    Ok(Reply::Later(Box::pin(Waiting { call: state, callbacks: Arc::clone(callbacks) })))
}

/// Nobody will await this here.
fn discard(awaitable: &Bound<'_, PyAny>) {
    if let Ok(module) = awaitable.py().import("luacell._async") {
        let _ = module.call_method1("discard", (awaitable,));
    }
}
