//! Threads for runs that must not hold up the caller's: what the bindings run asynchronous calls on.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use crate::{Error, ErrorKind, Result};

type Work = Box<dyn FnOnce() + Send>;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(5);

struct Threads {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    /// Taken up by idle threads: never more than there are of these.
    queue: VecDeque<Work>,
    idle: usize,
}

static THREADS: Threads =
    Threads { state: Mutex::new(State { queue: VecDeque::new(), idle: 0 }), work: Condvar::new() };

/// Runs something on another thread, at once: on one that has nothing to do, else on a new one.
///
/// However many there are: a run may wait in a host function for another run, and if that had to wait for a thread, neither would ever end.
///
/// # Errors
/// `Memory` when the system gives no thread.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let work = Box::new(work);
    {
        let mut state = THREADS.state();
        if state.idle > state.queue.len() {
            state.queue.push_back(work);
            THREADS.work.notify_one();
            return Ok(());
        }
    }
    let started = Builder::new().name("luacell".to_owned()).spawn(move || THREADS.serve(work));
    started.map(drop).map_err(|error| Error::new(ErrorKind::Memory, format!("no thread for the run: {error}")))
}

impl Threads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does this and whatever comes next.
    fn serve(&self, first: Work) {
        let mut next = Some(first);
        while let Some(work) = next {
            // Whoever waits for the work sees that it came to nothing.
            let _ = catch_unwind(AssertUnwindSafe(work));
            let mut state = self.state();
            state.idle += 1;
            let wait = self.work.wait_timeout_while(state, IDLE, |state| state.queue.is_empty());
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            next = state.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// More than a pool with a bound would have threads, each waiting for the next.
    #[test]
    fn work_may_wait_for_work() {
        fn link(n: usize, done: std::sync::mpsc::Sender<usize>) {
            let (inner, wait) = channel();
            let work = move || {
                if n > 0 {
                    link(n - 1, inner);
                } else {
                    inner.send(0).unwrap();
                }
                done.send(wait.recv().unwrap() + 1).unwrap();
            };
            spawn(work).unwrap();
        }
        let (done, wait) = channel();
        link(1000, done);
        assert_eq!(wait.recv().unwrap(), 1001);
    }

    #[test]
    fn a_panic_ends_no_thread() {
        for _ in 0..100 {
            let (done, wait) = channel::<()>();
            spawn(move || {
                let _done = done;
                panic!("on purpose")
            })
            .unwrap();
            assert!(wait.recv().is_err());
        }
    }
}
