//! Runs that leave the caller's thread alone, and how they are cancelled.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use luacell::{Error, ErrorKind, Interrupter};

/// Cancels a run, from any thread: `cancel` ends the run that it was given to, and no other one of the same sandbox.
#[derive(Default, uniffi::Object)]
pub struct Canceller {
    cancelled: AtomicBool,
    running: Mutex<Option<Interrupter>>,
}

thread_local! {
    /// What may cancel the run of this thread.
    static CURRENT: RefCell<Option<Arc<Canceller>>> = const { RefCell::new(None) };
}

/// Asked by the core now and then. An interruption reaches a run that has begun; this also ends one that was cancelled while it began.
pub(crate) fn may_go_on() -> bool {
    CURRENT.with_borrow(|current| current.as_ref().is_none_or(|canceller| !canceller.is_cancelled()))
}

#[uniffi::export]
impl Canceller {
    /// One that can be given to a run.
    #[uniffi::constructor]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run with the kind `Interrupted`, now or as soon as it begins. Does nothing to a run that has ended.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(interrupter) = &*self.running() {
            interrupter.interrupt();
        }
    }

    /// Whether `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }
}

impl Canceller {
    fn running(&self) -> MutexGuard<'_, Option<Interrupter>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cancels when the run is not waited for any more.
struct CancelOnDrop(Arc<Canceller>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs something on a thread of a pool that grows with need, and waits for it. Dropping the future cancels.
pub(crate) async fn run<T: Send + 'static>(
    canceller: Option<Arc<Canceller>>,
    interrupter: Interrupter,
    work: impl FnOnce() -> Result<T, crate::LuaError> + Send + 'static,
) -> Result<T, crate::LuaError> {
    let canceller = canceller.unwrap_or_default();
    let _cancel = CancelOnDrop(Arc::clone(&canceller));
    blocking::unblock(move || {
        if canceller.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted").into());
        }
        *canceller.running() = Some(interrupter);
        let before = CURRENT.replace(Some(Arc::clone(&canceller)));
        let result = work();
        CURRENT.replace(before);
        *canceller.running() = None;
        result
    })
    .await
}
