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
    numbers: VecDeque<u64>,
    next: u64,
    /// The thread that works for the first one, and for nobody else until that has ended.
    thread: Option<ThreadId>,
    /// Where the sandbox of the first one is, whose threads do other things too.
    sandbox: Option<usize>,
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
            line.numbers.push_back(number);
            number
        };
        Turn { turns, number }
    }

    /// Whether all that came before have ended.
    pub(crate) fn has_come(&self) -> bool {
        lock(&self.turns.0).numbers.front() == Some(&self.number)
    }

    /// Whether somebody has the turn who can't end it before this one has had its own.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.has_come() && lock(&self.turns.0).thread == Some(std::thread::current().id())
    }

    /// The sandbox that has the turn before this one, and works on whatever thread there is.
    pub(crate) fn sandbox_before(&self) -> Option<usize> {
        if self.has_come() { None } else { lock(&self.turns.0).sandbox }
    }

    /// It is the turn of the sandbox there, on changing threads.
    pub(crate) fn belongs_to(&self, sandbox: usize) {
        lock(&self.turns.0).sandbox = Some(sandbox);
    }

    /// This thread, or the one that it works for, works for nobody else until the turn ends.
    pub(crate) fn keeps_thread(&self) {
        let thread = WORKS_FOR.get().unwrap_or_else(|| std::thread::current().id());
        lock(&self.turns.0).thread = Some(thread);
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
        let mut line = lock(&self.turns.0);
        if line.numbers.front() == Some(&self.number) {
            line.thread = None;
            line.sandbox = None;
        }
        line.numbers.retain(|number| *number != self.number);
    }
}
