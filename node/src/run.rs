//! Runs that wait for whoever started them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use luacell::{Canceller, Error, ErrorKind, Run, threads};
use napi::bindgen_prelude::Either;
use napi_derive::napi;

use crate::bridge::results;
use crate::failure::{Failure, Finished};
use crate::sandbox::Inner;
use crate::value::{Copied, FromJs, ToJs, encode};

/// A request of a run.
#[napi(object, object_from_js = false)]
pub struct RequestParts {
    /// Its number.
    pub id: f64,
    /// The function's name.
    pub name: String,
    /// The arguments, encoded.
    #[napi(ts_type = "Buffer")]
    pub args: Copied,
}

/// A run that was started.
#[napi]
pub struct NativeRun {
    inner: Arc<Inner>,
    canceller: Canceller,
    /// `None` while another thread goes on with it.
    run: Arc<Mutex<Option<Run>>>,
}

fn at_work() -> Error {
    Error::new(ErrorKind::Busy, "the run goes on at the moment")
}

impl NativeRun {
    pub(crate) fn new(inner: &Arc<Inner>, canceller: Canceller, run: Run) -> Self {
        NativeRun { inner: Arc::clone(inner), canceller, run: Arc::new(Mutex::new(Some(run))) }
    }

    /// Not for a host function, or the like, that it calls itself.
    fn lock(&self) -> Result<MutexGuard<'_, Option<Run>>, Error> {
        match self.run.try_lock() {
            Ok(run) => Ok(run),
            Err(TryLockError::Poisoned(run)) => Ok(run.into_inner()),
            Err(TryLockError::WouldBlock) => Err(at_work()),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Run) -> Result<T, Error>) -> Result<T, Error> {
        let result = self.lock()?.as_mut().map_or_else(|| Err(at_work()), f);
        self.inner.weigh();
        result
    }

    fn take(&self) -> Result<Run, Error> {
        self.lock()?.take().ok_or_else(at_work)
    }
}

#[napi]
impl NativeRun {
    /// Its name in the store.
    #[napi(getter)]
    pub fn name(&self) -> Option<String> {
        self.lock().ok()?.as_ref().and_then(Run::name).map(str::to_owned)
    }

    /// What it waits for.
    #[napi]
    pub fn requests(&self) -> Either<Vec<RequestParts>, Failure> {
        let parts = self.with(|run| {
            let parts = run.requests()?.into_iter().map(|request| {
                let args = Copied(encode(&request.args, &self.inner.handles)?);
                Ok(RequestParts { id: request.id as f64, name: request.name.to_string(), args })
            });
            parts.collect::<Result<_, Error>>()
        });
        match parts {
            Ok(parts) => Either::A(parts),
            Err(error) => Either::B(Failure::of(&error, &self.inner.handles)),
        }
    }

    /// Answers a request with what a host function would return.
    #[napi(ts_return_type = "unknown")]
    pub fn answer(&self, id: f64, #[napi(ts_arg_type = "unknown")] answer: FromJs) -> ToJs {
        let id = id as u64;
        self.inner.done(self.with(|run| match results(answer, &self.inner.handles) {
            Ok(values) => run.answer(id, values),
            Err(error) => run.fail(id, error),
        }))
    }

    /// Goes on.
    #[napi(ts_return_type = "unknown")]
    pub fn resume(&self) -> ToJs {
        self.inner.done(self.with(Run::resume))
    }

    /// Goes on on another thread; that it waits again or is done comes as a note of this job.
    #[napi(ts_return_type = "unknown")]
    pub fn resume_later(&self, job: u32) -> ToJs {
        let mut run = match self.take() {
            Ok(run) => run,
            Err(error) => return ToJs::failed(&error, &self.inner.handles),
        };
        let (inner, place, canceller) = (Arc::clone(&self.inner), Arc::clone(&self.run), self.canceller.clone());
        self.inner.begin_job(job, &self.canceller);
        let js = std::thread::current().id();
        threads::spawn(&self.canceller, move |thread| {
            let result = match thread {
                Err(error) if !canceller.is_cancelled() => Err(error),
                _ => threads::work_for(js, || run.resume()),
            };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
            inner.tell(job, inner.done(result));
        });
        ToJs::Nothing
    }

    /// What it gave, once; nothing while it waits. What waits is this thread's.
    #[napi(ts_return_type = "unknown")]
    pub fn outcome(&self) -> ToJs {
        let waits = self.with(|run| if run.is_waiting() { run.take_over().map(|()| true) } else { Ok(false) });
        let result = match waits {
            Ok(true) => return ToJs::Nothing,
            Ok(false) => self.take().and_then(Run::into_result),
            Err(error) => Err(error),
        };
        match result {
            Ok(outcome) => Finished::of(&outcome, &self.inner.handles),
            Err(error) => ToJs::failed(&error, &self.inner.handles),
        }
    }

    /// Claims a durable run for another term.
    #[napi(ts_return_type = "unknown")]
    pub fn renew(&self) -> ToJs {
        self.inner.done(self.with(|run| run.renew()))
    }

    /// Has it end with the kind `Interrupted`.
    #[napi]
    pub fn interrupt(&self) {
        self.canceller.cancel();
    }

    /// Ends it. One that is durable waits on in its store, unless it is to be cancelled.
    #[napi(ts_return_type = "unknown")]
    pub fn leave(&self, cancel: bool) -> ToJs {
        let left = self.take().map(|run| if cancel { run.cancel() } else { drop(run) });
        self.inner.weigh();
        self.inner.done(left)
    }
}
