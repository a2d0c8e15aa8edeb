//! Which runs compute at a time, and threads for them: the bindings run asynchronous calls on this.
//!
//! Only a few runs compute at a time, so that each makes progress; those that have not begun wait where their time does
//! not count. But a run may wait for another run, for example in a host function. If that other run had to wait for a
//! place, neither would ever end. So a run in a host function does not count for long. And if nothing makes progress at
//! all, for whatever reason, now and then there is room for one more: however many runs wait for each other, all of
//! them begin.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Builder, available_parallelism};
use std::time::Duration;

use crate::run::Canceller;
use crate::util::process::PerProcess;
use crate::util::{compute_slot, lock};
use crate::value::{Error, ErrorKind, Result};

type Work = Box<dyn FnOnce() + Send>;

/// See [`enqueue`].
type Start = Box<dyn FnOnce(Result<()>) -> bool + Send>;

/// How often it is looked who is in host functions, while somebody waits.
const TICK: Duration = Duration::from_millis(2);

/// After so many ticks in which nobody could begin there is room for one more.
const STARVING: u32 = 25;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(5);

struct Places {
    state: Mutex<Queue>,
}

struct Queue {
    waiting: VecDeque<(Start, Canceller)>,
    /// How many compute, or are about to.
    active: usize,
    /// Whether a thread sees to it that those who wait get on.
    watched: bool,
    /// Ticks since somebody could begin.
    starving: u32,
}

/// Those of this process.
fn all_places() -> &'static Places {
    static PLACES: PerProcess<Places> = PerProcess::new(Places::new());
    PLACES.get(Places::new)
}

/// How many may compute at a time: more than there are processors, for one in between may take long.
fn places() -> usize {
    static PLACES: OnceLock<usize> = OnceLock::new();
    *PLACES.get_or_init(|| 4 * available_parallelism().map_or(2, usize::from).max(2))
}

/// Calls `start` when there is a place: at once, else later and from any thread. It has a thread compute [`at_work`],
/// and gives whether there will be one. When that is cancelled before there is a place, it gets the error.
pub fn enqueue(canceller: &Canceller, start: impl FnOnce(Result<()>) -> bool + Send + 'static) {
    let start: Start = Box::new(start);
    let mut queue = lock(&all_places().state);
    if queue.active < places() && queue.waiting.is_empty() {
        queue.active += 1;
        drop(queue);
        return begin(start);
    }
    queue.waiting.push_back((start, canceller.clone()));
    let watched = std::mem::replace(&mut queue.watched, true);
    drop(queue);
    if !watched && Builder::new().name("luacell-watch".to_owned()).spawn(|| all_places().watch()).is_err() {
        lock(&all_places().state).watched = false;
    }
    if canceller.is_cancelled() {
        take_out_cancelled();
    }
}

/// Somebody has cancelled something.
pub(crate) fn take_out_cancelled() {
    let mut queue = lock(&all_places().state);
    if queue.waiting.iter().any(|(_, canceller)| canceller.is_cancelled()) {
        let all = queue.waiting.drain(..);
        let (out, rest): (VecDeque<_>, _) = all.partition(|(_, canceller)| canceller.is_cancelled());
        queue.waiting = rest;
        drop(queue);
        for (start, _) in out {
            start(Err(Error::limit(ErrorKind::Interrupted)));
        }
    }
}

/// Who was counted begins; where that fails, the next.
fn begin(start: Start) {
    let mut next = Some(start);
    while let Some(start) = next {
        next = if start(Ok(())) { None } else { all_places().left() };
    }
}

/// Computes in a place that [`enqueue`] has given.
pub fn at_work<T>(work: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            compute_slot::set_at_work(false);
            if let Some(next) = all_places().left() {
                begin(next);
            }
        }
    }
    compute_slot::set_at_work(true);
    let _leave = Leave;
    work()
}

impl Places {
    const fn new() -> Self {
        let queue = Queue { waiting: VecDeque::new(), active: 0, watched: false, starving: 0 };
        Places { state: Mutex::new(queue) }
    }

    /// One has done; who comes next.
    fn left(&self) -> Option<Start> {
        let mut queue = lock(&self.state);
        queue.active = queue.active.saturating_sub(1);
        if queue.active < places() { queue.next() } else { None }
    }

    /// Lets those begin who would wait for others that wait themselves.
    fn watch(&self) {
        loop {
            thread::sleep(TICK);
            let mut next = Vec::new();
            let mut queue = lock(&self.state);
            if queue.waiting.is_empty() {
                queue.watched = false;
                return;
            }
            queue.starving += 1;
            if queue.starving > STARVING {
                next.extend(queue.next());
            }
            while queue.active < places() + compute_slot::in_host_now()
                && let Some(start) = queue.next()
            {
                next.push(start);
            }
            drop(queue);
            next.into_iter().for_each(begin);
        }
    }
}

impl Queue {
    fn next(&mut self) -> Option<Start> {
        let (next, _) = self.waiting.pop_front()?;
        self.active += 1;
        self.starving = 0;
        Some(next)
    }
}

struct Threads {
    state: Mutex<Idle>,
    work: Condvar,
}

struct Idle {
    /// Taken up by idle threads: never more than there are of these.
    work: VecDeque<Work>,
    idle: usize,
}

/// Those of this process.
fn all_threads() -> &'static Threads {
    static THREADS: PerProcess<Threads> = PerProcess::new(Threads::new());
    THREADS.get(Threads::new)
}

/// Computes something on another thread, as soon as there is a [place](enqueue). It is told instead why there will be
/// none: it was cancelled before, or the system gives no thread.
pub fn spawn(canceller: &Canceller, work: impl FnOnce(Result<()>) + Send + 'static) {
    let work = Arc::new(Mutex::new(Some(work)));
    let begin = move |place| {
        let work = lock(&work).take();
        if let Some(work) = work {
            work(place);
        }
    };
    enqueue(canceller, move |place| {
        let run = begin.clone();
        let started = place.and_then(|()| start(move || at_work(|| run(Ok(())))));
        let begins = started.is_ok();
        if let Err(error) = started {
            begin(Err(error));
        }
        begins
    });
}

/// Does something on another thread, at once: on one that has nothing to do, else on a new one.
///
/// # Errors
/// `Memory` when the system gives no thread.
pub fn start(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let work = Box::new(work);
    let threads = all_threads();
    {
        let mut state = lock(&threads.state);
        if state.idle > state.work.len() {
            state.work.push_back(work);
            threads.work.notify_one();
            return Ok(());
        }
    }
    let started = Builder::new().name("luacell".to_owned()).spawn(move || threads.serve(work));
    started.map(drop).map_err(|error| Error::new(ErrorKind::Memory, format!("no thread for the run: {error}")))
}

impl Threads {
    const fn new() -> Self {
        Threads { state: Mutex::new(Idle { work: VecDeque::new(), idle: 0 }), work: Condvar::new() }
    }

    /// Does this and whatever comes next.
    fn serve(&self, first: Work) {
        let mut next = Some(first);
        while let Some(work) = next {
            // Whoever waits for the work sees that it came to nothing.
            let _ = catch_unwind(AssertUnwindSafe(work));
            let mut state = lock(&self.state);
            state.idle += 1;
            let wait = self.work.wait_timeout_while(state, IDLE, |state| state.work.is_empty());
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            next = state.work.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn go(work: impl FnOnce() + Send + 'static) {
        spawn(&Canceller::new(), |place| {
            place.unwrap();
            work();
        });
    }

    /// More than pools of threads use to have, each waiting for the next.
    #[test]
    fn work_may_wait_for_work() {
        fn link(n: usize, done: Sender<usize>) {
            let (inner, wait) = channel();
            go(move || {
                if n > 0 {
                    link(n - 1, inner);
                } else {
                    inner.send(0).unwrap();
                }
                done.send(compute_slot::in_host(|| wait.recv()).unwrap() + 1).unwrap();
            });
        }
        let (done, wait) = channel();
        link(300, done);
        assert_eq!(wait.recv().unwrap(), 301);
    }

    /// Also where nobody knows that it waits; and few begin at a time.
    #[test]
    fn whatever_it_waits_for_work_begins() {
        let most = places() + 5;
        let (met, meet) = channel();
        let (let_go, go_on) = std::sync::mpsc::sync_channel::<()>(0);
        let go_on = Arc::new(Mutex::new(go_on));
        for _ in 0..most {
            let (met, go_on) = (met.clone(), Arc::clone(&go_on));
            go(move || {
                met.send(()).unwrap();
                go_on.lock().unwrap().recv().unwrap();
            });
        }
        (0..most).for_each(|_| meet.recv().unwrap());
        (0..most).for_each(|_| let_go.send(()).unwrap());
    }

    #[test]
    fn a_panic_ends_no_thread_and_takes_no_place() {
        for _ in 0..10 * places() {
            let (done, wait) = channel::<()>();
            go(move || {
                let _done = done;
                panic!("on purpose")
            });
            assert!(wait.recv().is_err());
        }
    }

    /// Where there is no thread, the place goes to the next.
    #[test]
    fn what_cannot_begin_takes_no_place() {
        let (done, wait) = channel();
        for n in 0..10 * places() {
            let done = done.clone();
            enqueue(&Canceller::new(), move |place| {
                done.send((n, place.is_ok())).unwrap();
                false
            });
        }
        (0..10 * places()).for_each(|_| assert!(wait.recv().unwrap().1));
        go(move || done.send((7, true)).unwrap());
        assert_eq!(wait.recv().unwrap().0, 7);
    }

    #[test]
    fn what_is_cancelled_before_it_has_a_place_is_taken_out() {
        let (let_go, go_on) = channel::<()>();
        let go_on = Arc::new(Mutex::new(go_on));
        for _ in 0..2 * places() {
            let go_on = Arc::clone(&go_on);
            go(move || assert!(lock(&go_on).recv().is_err()));
        }
        for _ in 0..100 {
            let canceller = Canceller::new();
            let (done, wait) = channel();
            spawn(&canceller, move |place| done.send(place.map_err(|error| error.kind())).unwrap());
            canceller.cancel();
            // It may have got a place in time.
            let told = wait.recv().unwrap();
            assert!(told == Ok(()) || told == Err(ErrorKind::Interrupted));
        }
        drop(let_go);
    }
}
