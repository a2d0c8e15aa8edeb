//! Host functions that wait, as coroutines or tasks of the other language.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::sync::Arc;

use luacell::{Error, ErrorKind, Value};

use crate::host::HostError;
use crate::value::{LuaValue, from_lua, to_lua};

/// A function of the host's whose results come later. The packages make it of a coroutine or of a task.
#[uniffi::export(with_foreign)]
pub trait AsyncHostFunction: Send + Sync {
    /// Begins a call, on the thread that runs the script, and returns soon; the call gets the results later, from any
    /// thread.
    fn begin(&self, args: Vec<LuaValue>, call: Arc<HostCall>) -> Result<Arc<dyn HostTask>, HostError>;
}

/// What a host function that waits is at work with.
#[uniffi::export(with_foreign)]
pub trait HostTask: Send + Sync {
    /// Nobody needs the results any more. An error is ignored.
    fn cancel(&self) -> Result<(), HostError>;
}

/// Where the host functions of an asynchronous run wait: the coroutine or the task that waits for the run.
#[uniffi::export(with_foreign)]
pub trait HostTasks: Send + Sync {
    /// Begins a call there; see `AsyncHostFunction`.
    fn begin(
        &self,
        function: Arc<dyn AsyncHostFunction>,
        args: Vec<LuaValue>,
        call: Arc<HostCall>,
    ) -> Result<Arc<dyn HostTask>, HostError>;
}

/// A call that waits for its results. The first ones count, if the run still needs them.
#[derive(uniffi::Object)]
pub struct HostCall(async_channel::Sender<luacell::Result<Vec<Value>>>);

#[uniffi::export]
impl HostCall {
    /// The function returned these.
    pub fn answer(&self, values: Vec<LuaValue>) {
        drop(self.0.try_send(Ok(to_lua(values))));
    }

    /// The function failed.
    pub fn fail(&self, error: HostError) {
        drop(self.0.try_send(Err(error.into_error())));
    }
}

thread_local! {
    /// Where the functions wait that the run on this thread calls.
    static TASKS: RefCell<Option<Arc<dyn HostTasks>>> = const { RefCell::new(None) };
}

/// A run whose host functions wait there.
pub(crate) async fn with_tasks<T>(tasks: Option<Arc<dyn HostTasks>>, run: impl Future<Output = T>) -> T {
    struct Restore(Option<Arc<dyn HostTasks>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            TASKS.set(self.0.take());
        }
    }
    let mut run = pin!(run);
    std::future::poll_fn(|context| {
        let _restore = Restore(TASKS.replace(tasks.clone()));
        run.as_mut().poll(context)
    })
    .await
}

/// Cancelled unless it has come to its end.
struct Task(Option<Arc<dyn HostTask>>);

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            drop(task.cancel());
        }
    }
}

/// What a host function that waits gives the core.
type Results = Pin<Box<dyn Future<Output = luacell::Result<Vec<Value>>> + Send>>;

/// The core's side of a host function that waits.
pub(crate) fn adapter(function: Arc<dyn AsyncHostFunction>) -> impl Fn(Vec<Value>) -> Results {
    move |args| {
        let function = Arc::clone(&function);
        // It begins when it is polled, as a part of the run.
        Box::pin(async move {
            let (results, wait) = async_channel::bounded(1);
            let call = Arc::new(HostCall(results));
            let begun = match TASKS.with_borrow(Clone::clone) {
                Some(tasks) => tasks.begin(function, from_lua(args), call),
                None => function.begin(from_lua(args), call),
            };
            let mut task = Task(Some(begun.map_err(HostError::into_error)?));
            let result = wait.recv().await;
            task.0 = None;
            result
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a host function has ended without a result")))
        })
    }
}
