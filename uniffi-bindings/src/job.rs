//! Runs that leave the caller's thread alone, and how they are cancelled.

use std::sync::Arc;

use luacell::{Error, ErrorKind};

use crate::LuaError;
use crate::sandbox::Outcome;
use crate::waiting::{HostTasks, with_tasks};

/// Cancels a run, from any thread: `cancel` ends the run that it was given to, and no other one of the same sandbox.
#[derive(Default, uniffi::Object)]
pub struct Canceller(pub(crate) luacell::Canceller);

#[uniffi::export]
impl Canceller {
    /// One that can be given to a run.
    #[uniffi::constructor]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run with the kind `Interrupted`, now or as soon as it begins, and does not wait for its end: who uses
    /// the sandbox next does. Does nothing to a run that has ended.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Cancels when the run is not waited for any more.
struct CancelOnDrop(Arc<Canceller>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Drives a run on threads of the library, which it leaves while it waits, and waits for it. Dropping the future cancels.
pub(crate) async fn run(
    canceller: Arc<Canceller>,
    tasks: Option<Arc<dyn HostTasks>>,
    run: impl Future<Output = luacell::Result<luacell::Outcome>> + Send + 'static,
) -> Result<Outcome, LuaError> {
    let (answer, result) = async_channel::bounded(1);
    luacell::threads::drive(&canceller.0, with_tasks(tasks, run), move |result| {
        drop(answer.try_send(result.map(Outcome::from).map_err(LuaError::from)));
    });
    let _cancel = CancelOnDrop(canceller);
    let panicked = |_| Err(Error::new(ErrorKind::Internal, "the thread of the run panicked").into());
    result.recv().await.unwrap_or_else(panicked)
}
