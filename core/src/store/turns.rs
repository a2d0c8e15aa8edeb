//! Runs that take turns on one store, in the order in which they came.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use crate::util::lock;

thread_local! {
    /// The thread that this one works for.
    static WORKS_FOR: Cell<Option<ThreadId>> = const { Cell::new(None) };
}

/// Does something for another thread, without which the runs that it begins or lets go on can't come to an end. If that
/// thread would wait for the turn of one of them, it gets `Busy`: see [`queue_runs`](crate::SandboxConfig::queue_runs).
pub fn work_for<T>(thread: ThreadId, work: impl FnOnce() -> T) -> T {
    struct Leave(Option<ThreadId>);
    impl Drop for Leave {
        fn drop(&mut self) {
            WORKS_FOR.set(self.0);
        }
    }
    let _leave = Leave(WORKS_FOR.replace(Some(thread)));
    work()
}

/// Who waits for a turn on a store in this process, and who has it.
#[derive(Debug, Default)]
pub struct Turns(Mutex<Line>);

#[derive(Debug, Default)]
struct Line {
    /// The first has the turn.
    places: VecDeque<Place>,
    next: u64,
}

#[derive(Debug)]
struct Place {
    number: u64,
    /// The thread that works for this one, and for nobody else until that has ended.
    thread: Option<ThreadId>,
    /// Where the sandbox of this one is, whose threads do other things too.
    sandbox: Option<usize>,
}

impl Line {
    fn place(&mut self, number: u64) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.number == number)
    }

    fn before(&self, number: u64) -> impl Iterator<Item = &Place> {
        self.places.iter().take_while(move |place| place.number != number)
    }
}

/// A place in the line. When it is dropped, the next one has its turn.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    number: u64,
}

impl Turn {
    pub(crate) fn join(turns: Arc<Turns>) -> Self {
        let number = {
            let mut line = lock(&turns.0);
            let number = line.next;
            line.next += 1;
            // A thread that it does not run on may have to see to it that its turn comes.
            line.places.push_back(Place { number, thread: WORKS_FOR.get(), sandbox: None });
            number
        };
        Turn { turns, number }
    }

    /// Whether all that came before have ended.
    pub(crate) fn has_come(&self) -> bool {
        lock(&self.turns.0).places.front().is_some_and(|first| first.number == self.number)
    }

    /// Whether somebody comes before who can't end the turn, or take it, while this thread waits.
    pub(crate) fn is_blocked(&self) -> bool {
        let this = std::thread::current().id();
        lock(&self.turns.0).before(self.number).any(|place| place.thread == Some(this))
    }

    /// The sandbox that has the turn before this one, and works on whatever thread there is.
    pub(crate) fn sandbox_before(&self) -> Option<usize> {
        lock(&self.turns.0).before(self.number).next()?.sandbox
    }

    /// It is the turn of the sandbox there, on changing threads.
    #[cfg(feature = "async")]
    pub(crate) fn belongs_to(&self, sandbox: usize) {
        if let Some(place) = lock(&self.turns.0).place(self.number) {
            place.sandbox = Some(sandbox);
        }
    }

    /// This thread, or the one that it works for, works for nobody else until the turn ends.
    pub(crate) fn keeps_thread(&self) {
        let thread = WORKS_FOR.get().unwrap_or_else(|| std::thread::current().id());
        if let Some(place) = lock(&self.turns.0).place(self.number) {
            place.thread = Some(thread);
        }
    }

    /// The same for a run that any thread may let go on: only one that this one works for.
    #[cfg(feature = "async")]
    pub(crate) fn keeps_other_thread(&self) {
        if WORKS_FOR.get().is_some() {
            self.keeps_thread();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.turns.0).places.retain(|place| place.number != self.number);
    }
}
