//! Which runs compute at a time, and threads for them: the bindings run asynchronous calls on this.
//!
//! Only a few runs compute at a time, so that each makes progress; those that have not begun wait where their time does
//! not count. A run that has computed for long makes room for others: there are places of their own for such runs, where
//! they take turns, each on its thread; the time until its turn does not count either. So runs that compute little and
//! wait much find a place, however many others compute on and on.
//!
//! But a run may wait for another run, for example in a host function. If that other run had to wait for a
//! place, neither would ever end. So a run in a host function does not count for long. And if nothing makes progress at
//! all, for whatever reason, now and then there is room for one more: however many runs wait for each other, all of
//! them begin.

#[cfg(feature = "async")]
mod drive;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Builder, Thread, available_parallelism};
use std::time::Duration;

#[cfg(feature = "async")]
pub use self::drive::drive;
#[cfg(feature = "async")]
pub(crate) use self::drive::is_driving;
use crate::run::Canceller;
pub use crate::store::work_for;
use crate::util::process::PerProcess;
use crate::util::{StopSignal, compute_slot, lock};
use crate::value::{Error, ErrorKind, Result};

type Work = Box<dyn FnOnce() + Send>;

/// See [`enqueue`].
type Start = Box<dyn FnOnce(Result<()>) -> bool + Send>;

/// How often it is looked who is in host functions, while somebody waits.
const TICK: Duration = Duration::from_millis(2);

/// After so many ticks in which nobody could begin there is room for one more.
const STARVING: u32 = 25;

/// How many threads wait for their turn at most; with more, runs that compute for long stay where they are.
const MOST_RESTING: usize = 256;

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(5);

thread_local! {
    /// Whether the run on this thread has computed for long.
    static IS_LONG: Cell<bool> = const { Cell::new(false) };
}

struct Places {
    state: Mutex<Queues>,
}

struct Queues {
    /// Those who have not computed for long.
    short: Queue<(Start, Canceller)>,
    long: Queue<Arc<Resting>>,
    /// Whether a thread sees to it that those who wait get on.
    watched: bool,
}

struct Queue<T> {
    waiting: VecDeque<T>,
    /// How many compute, or are about to.
    active: usize,
    /// Ticks since somebody could go on.
    starving: u32,
}

/// Those of this process.
fn all_places() -> &'static Places {
    static PLACES: PerProcess<Places> = PerProcess::new(Places::new());
    PLACES.get(Places::new)
}

/// How many processors there are, so to speak: so many runs that have computed for long go on at a time.
fn long_places() -> usize {
    static PLACES: OnceLock<usize> = OnceLock::new();
    *PLACES.get_or_init(|| available_parallelism().map_or(2, usize::from).max(2))
}

/// How many others may compute at a time: more than there are processors, for one in between may take long.
fn places() -> usize {
    4 * long_places()
}

/// Calls `start` when there is a place: at once, else later and from any thread. It has a thread compute [`at_work`],
/// and gives whether there will be one. When that is cancelled before there is a place, it gets the error.
pub fn enqueue(canceller: &Canceller, start: impl FnOnce(Result<()>) -> bool + Send + 'static) {
    let start: Start = Box::new(start);
    let mut queues = lock(&all_places().state);
    let short = &mut queues.short;
    if short.active < places() && short.waiting.is_empty() {
        short.active += 1;
        drop(queues);
        return begin(start);
    }
    short.waiting.push_back((start, canceller.clone()));
    let watch = queues.begin_watch();
    drop(queues);
    if watch {
        all_places().start_watch();
    }
    if canceller.is_cancelled() {
        take_out_cancelled();
    }
}

/// Somebody has cancelled something.
pub(crate) fn take_out_cancelled() {
    let mut queues = lock(&all_places().state);
    let waiting = &mut queues.short.waiting;
    if waiting.iter().any(|(_, canceller)| canceller.is_cancelled()) {
        let (out, rest): (VecDeque<_>, _) = waiting.drain(..).partition(|(_, canceller)| canceller.is_cancelled());
        *waiting = rest;
        drop(queues);
        for (start, _) in out {
            start(Err(Error::limit(ErrorKind::Interrupted)));
        }
    }
}

/// Who was counted begins; where that fails, the next.
fn begin(start: Start) {
    let mut next = Some(start);
    while let Some(start) = next {
        next =
            if start(Ok(())) { None } else { lock(&all_places().state).short.left(places()).map(|(start, _)| start) };
    }
}

/// Computes in a place that [`enqueue`] has given.
pub fn at_work<T>(work: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            compute_slot::set_at_work(None);
            let mut queues = lock(&all_places().state);
            if IS_LONG.replace(false) {
                if let Some(next) = queues.long.left(long_places()) {
                    next.go_on();
                }
            } else if let Some((next, _)) = queues.short.left(places()) {
                drop(queues);
                begin(next);
            }
        }
    }
    compute_slot::set_at_work(Some(give_way));
    let _leave = Leave;
    work()
}

/// The run on this thread has computed for long: others come first, if there are any. Whether it waited for them.
fn give_way(signal: &StopSignal) -> bool {
    let mut queues = lock(&all_places().state);
    let is_long = IS_LONG.get();
    if if is_long { queues.long.waiting.is_empty() } else { queues.long.waiting.len() >= MOST_RESTING } {
        return false;
    }
    let this = Arc::new(Resting { thread: thread::current(), goes_on: AtomicBool::new(false) });
    queues.long.waiting.push_back(Arc::clone(&this));
    let (begins, goes_on) = if is_long {
        (None, queues.long.left(long_places()))
    } else {
        IS_LONG.set(true);
        (queues.short.left(places()), queues.long.next_in(long_places()))
    };
    if let Some(next) = goes_on {
        next.go_on();
    }
    let watch = queues.begin_watch();
    drop(queues);
    if watch {
        all_places().start_watch();
    }
    if let Some((start, _)) = begins {
        begin(start);
    }
    this.rest(signal)
}

/// A thread that waits for its turn, in the middle of its run.
struct Resting {
    thread: Thread,
    goes_on: AtomicBool,
}

impl Resting {
    fn go_on(&self) {
        self.goes_on.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Waits for its turn, or until the run is to end; whether that took any time.
    fn rest(self: &Arc<Self>, signal: &StopSignal) -> bool {
        #[cfg(feature = "async")]
        signal.waker.register(&std::task::Waker::from(Arc::clone(self)));
        let mut waited = false;
        while !self.goes_on.load(Ordering::Acquire) {
            if signal.is_interrupted() {
                // It ends at once.
                let long = &mut lock(&all_places().state).long;
                if let Some(at) = long.waiting.iter().position(|resting| Arc::ptr_eq(resting, self)) {
                    long.waiting.remove(at);
                    long.active += 1;
                }
                break;
            }
            waited = true;
            thread::park();
        }
        waited
    }
}

#[cfg(feature = "async")]
impl std::task::Wake for Resting {
    fn wake(self: Arc<Self>) {
        self.thread.unpark();
    }
}

impl Places {
    const fn new() -> Self {
        Places { state: Mutex::new(Queues { short: Queue::new(), long: Queue::new(), watched: false }) }
    }

    /// [`begin_watch`](Queues::begin_watch) has said so.
    fn start_watch(&'static self) {
        if Builder::new().name("luacell-watch".to_owned()).spawn(|| self.watch()).is_err() {
            lock(&self.state).watched = false;
        }
    }

    /// Lets those go on who would wait for others that wait themselves.
    fn watch(&self) {
        loop {
            thread::sleep(TICK);
            let mut queues = lock(&self.state);
            if !queues.is_anybody_waiting() {
                queues.watched = false;
                return;
            }
            let in_host = compute_slot::in_host_now();
            queues.long.due(long_places() + in_host).iter().for_each(|resting| resting.go_on());
            let begins = queues.short.due(places() + in_host);
            drop(queues);
            begins.into_iter().for_each(|(start, _)| begin(start));
        }
    }
}

impl Queues {
    fn is_anybody_waiting(&self) -> bool {
        !self.short.waiting.is_empty() || !self.long.waiting.is_empty()
    }

    /// Whether a thread has to be started that sees to those who wait.
    fn begin_watch(&mut self) -> bool {
        self.is_anybody_waiting() && !std::mem::replace(&mut self.watched, true)
    }
}

impl<T> Queue<T> {
    const fn new() -> Self {
        Queue { waiting: VecDeque::new(), active: 0, starving: 0 }
    }

    fn next(&mut self) -> Option<T> {
        let next = self.waiting.pop_front()?;
        self.active += 1;
        self.starving = 0;
        Some(next)
    }

    /// Who comes next where there are so many places.
    fn next_in(&mut self, places: usize) -> Option<T> {
        if self.active < places { self.next() } else { None }
    }

    /// One has done; who comes next.
    fn left(&mut self, places: usize) -> Option<T> {
        self.active = self.active.saturating_sub(1);
        self.next_in(places)
    }

    /// A tick later: who goes on where there is room for so many.
    fn due(&mut self, room: usize) -> Vec<T> {
        let mut next = Vec::new();
        if self.waiting.is_empty() {
            return next;
        }
        self.starving += 1;
        if self.starving > STARVING {
            next.extend(self.next());
        }
        next.extend(std::iter::from_fn(|| self.next_in(room)));
        next
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
