//! Runs and host functions on asyncio. The Python half is `luacell._async`, which knows event loops.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use luacell::{Error, ErrorKind, Outcome, Value};
use pyo3::prelude::*;

use crate::callbacks::{Callbacks, finalizing, lock};
use crate::sandbox::Sandbox;
use crate::to_python;

type Future = Pin<Box<dyn std::future::Future<Output = luacell::Result<Outcome>> + Send>>;

thread_local! {
    /// What drives the run on this thread: an object with `wake()` and `start(function, args, call)`.
    static DRIVER: RefCell<Option<Py<PyAny>>> = const { RefCell::new(None) };
    /// The run on this thread: whose it is, and whether it is to end.
    static RUNNING: RefCell<Option<(Arc<Callbacks>, Arc<AtomicBool>)>> = const { RefCell::new(None) };
}

/// Whether the run of this sandbox on this thread is to end.
pub fn is_to_end(callbacks: &Callbacks) -> bool {
    RUNNING.with_borrow(|running| {
        running
            .as_ref()
            .is_some_and(|(whose, ends)| std::ptr::eq(Arc::as_ptr(whose), callbacks) && ends.load(Ordering::SeqCst))
    })
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
#[pyclass(frozen, name = "_Run", module = "luacell._luacell")]
pub struct Run {
    future: Mutex<Option<Future>>,
    result: Mutex<Option<luacell::Result<Outcome>>>,
    sandbox: Py<Sandbox>,
    driver: Py<PyAny>,
    /// Whether it is to end. The core forgets an interrupt that comes before it begins.
    ends: Arc<AtomicBool>,
    begun: AtomicBool,
    done: AtomicBool,
}

impl Run {
    pub fn new(
        sandbox: &Bound<'_, Sandbox>,
        driver: Py<PyAny>,
        future: impl std::future::Future<Output = luacell::Result<Outcome>> + Send + 'static,
    ) -> Self {
        Run {
            future: Mutex::new(Some(Box::pin(future))),
            result: Mutex::default(),
            sandbox: sandbox.clone().unbind(),
            driver,
            ends: sandbox.get().callbacks.add_run(),
            begun: AtomicBool::new(false),
            done: AtomicBool::new(false),
        }
    }

    fn finish(&self, place: &mut Option<Future>, result: luacell::Result<Outcome>) -> bool {
        *place = None;
        *lock(&self.result) = Some(result);
        self.done.store(true, Ordering::SeqCst);
        true
    }
}

#[pymethods]
impl Run {
    /// Goes on until the script ends, which gives true, or waits for a host function.
    fn poll(&self, py: Python<'_>) -> bool {
        let Sandbox { sandbox, callbacks, .. } = self.sandbox.get();
        let driver = self.driver.clone_ref(py);
        let waker = Waker::from(Arc::new(LoopWaker(self.driver.clone_ref(py))));
        let before = DRIVER.replace(Some(driver));
        let other = RUNNING.replace(Some((Arc::clone(callbacks), Arc::clone(&self.ends))));
        let done = py.detach(|| {
            let mut place = lock(&self.future);
            let Some(future) = place.as_mut() else { return true };
            let first = !self.begun.swap(true, Ordering::SeqCst);
            // A closed sandbox says so itself.
            if first && self.ends.load(Ordering::SeqCst) && !sandbox.is_closed() {
                let error = Error::new(ErrorKind::Interrupted, "the run was interrupted before it began");
                return self.finish(&mut place, Err(error));
            }
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(result) => self.finish(&mut place, result),
                Poll::Pending => {
                    if self.ends.load(Ordering::SeqCst) {
                        sandbox.interrupt();
                    }
                    false
                }
            }
        });
        RUNNING.replace(other);
        DRIVER.replace(before);
        done
    }

    /// Ends this run soon, and no other.
    fn interrupt(&self) {
        self.ends.store(true, Ordering::SeqCst);
        if self.begun.load(Ordering::SeqCst) && !self.done.load(Ordering::SeqCst) {
            self.sandbox.get().sandbox.interrupt();
        }
    }

    /// What the run gave.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let result = lock(&self.result).take();
        let result = result.unwrap_or_else(|| Err(Error::new(ErrorKind::Interrupted, "the run was dropped")));
        self.sandbox.get().conclude(py, result)
    }

    /// Ends the run wherever it is. Nothing may poll it at the moment.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| drop(lock(&self.future).take()));
        let _ = self.sandbox.get().callbacks.take_ending();
    }
}

/// A call of an `async def` function.
#[derive(Default)]
pub struct CallState {
    result: Option<luacell::Result<Vec<Value>>>,
    waker: Option<Waker>,
    /// Cancels the task.
    cancel: Option<Py<PyAny>>,
}

/// Where a task leaves its result.
#[pyclass(frozen, name = "_Call", module = "luacell._luacell")]
struct Call {
    state: Arc<Mutex<CallState>>,
    callbacks: Arc<Callbacks>,
}

impl Call {
    fn finish(&self, result: luacell::Result<Vec<Value>>) {
        let waker = {
            let mut state = lock(&self.state);
            state.result = Some(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[pymethods]
impl Call {
    /// The function returned this.
    fn returned(&self, value: &Bound<'_, PyAny>) {
        self.finish(self.callbacks.results(value));
    }

    /// The function raised this.
    fn raised(&self, exception: &Bound<'_, PyAny>) {
        let py = exception.py();
        self.finish(Err(crate::errors::from_exception(py, PyErr::from_value(exception.clone()))));
    }
}

/// Waits for a task.
pub struct Waiting(luacell::Result<Arc<Mutex<CallState>>, Option<Error>>);

impl std::future::Future for Waiting {
    type Output = luacell::Result<Vec<Value>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let state = match &mut self.0 {
            Ok(state) => state,
            Err(error) => {
                let gone = || Error::new(ErrorKind::Internal, "a call that has failed was waited for");
                return Poll::Ready(Err(error.take().unwrap_or_else(gone)));
            }
        };
        let mut state = lock(state);
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Ok(state) = &self.0 else { return };
        let cancel = lock(state).cancel.take();
        if let Some(cancel) = cancel {
            // Does nothing to a task that is done.
            Python::try_attach(|py| cancel.bind(py).call0().map(drop).ok());
        }
    }
}

/// The core's side of an `async def` function.
pub fn host_function(
    callbacks: &Arc<Callbacks>,
    number: usize,
) -> impl Fn(Vec<Value>) -> Waiting + Send + Sync + 'static {
    let callbacks = Arc::clone(callbacks);
    move |args: Vec<Value>| {
        let started = Python::try_attach(|py| start(py, &callbacks, number, &args));
        Waiting(started.unwrap_or_else(|| Err(finalizing())).map_err(Some))
    }
}

fn start(
    py: Python<'_>,
    callbacks: &Arc<Callbacks>,
    number: usize,
    args: &[Value],
) -> luacell::Result<Arc<Mutex<CallState>>> {
    let driver = DRIVER.with(|place| place.borrow().as_ref().map(|driver| driver.clone_ref(py)));
    let (Some(driver), Some(function)) = (driver, callbacks.function(py, number)) else {
        return Err(Error::host("this host function is async: run the script with compute_async or call_async"));
    };
    let state = Arc::new(Mutex::new(CallState::default()));
    let call = Call { state: Arc::clone(&state), callbacks: Arc::clone(callbacks) };
    let started = to_python::tuple(py, args)
        .and_then(|args| driver.bind(py).call_method1("start", (function, args, call)))
        .map_err(|exception| callbacks.failed(py, exception))?;
    lock(&state).cancel = Some(started.unbind());
    Ok(state)
}
