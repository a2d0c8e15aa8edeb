//! Runs that can wait: each has a stack of its own, and its thread does other things until a host function has
//! finished.

use std::cell::Cell as Changing;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::ptr::NonNull;
use std::task::{Context as TaskContext, Poll};
use std::thread;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::ffi::{Api, RawMachine};
use super::raw::Raw;
use super::{At, Cell};
use crate::machine::{Entry, Imports, Machine};
use crate::util::block_on;
use crate::value::{Error, ErrorKind, Result};

/// Who polls the run, with its lifetime taken off. It is valid from one `resume` to the next `suspend`.
type Task = NonNull<TaskContext<'static>>;

/// For host functions and for what the guest calls, beyond what the guest may use.
const ROOM: usize = 1 << 20;

/// What the code on a stack of its own knows of it.
#[derive(Clone, Copy)]
pub(super) struct Current(NonNull<Place>);

// SAFETY: it is used by the code on that stack only, whatever thread runs it.
unsafe impl Send for Current {}
// SAFETY: as above.
unsafe impl Sync for Current {}

/// Where to wait.
struct Place {
    yielder: NonNull<Yielder<Task, ()>>,
    task: Changing<Task>,
}

/// A run on its stack.
pub(super) struct Run {
    coroutine: Coroutine<Task, (), thread::Result<Result<i32>>>,
    machine: NonNull<RawMachine>,
    api: &'static Api,
}

// SAFETY: what lies on the stack is the guest's frames, which know of no thread, and frames of this crate's, which hold
// nothing but what is `Send`: a cell, and futures of host functions, which are `Send` by their type.
unsafe impl Send for Run {}

impl Run {
    /// The caller sees to it that nobody touches the cell before the run is done or dropped.
    pub(super) fn new<I: Imports>(cell: &mut Cell<I>, entry: Entry) -> Result<Self> {
        let size = cell.blueprint.config.max_stack + ROOM;
        let stack = DefaultStack::new(size)
            .map_err(|e| Error::new(ErrorKind::Memory, "not enough memory for a stack").with_source(e))?;
        let Raw { machine, api, .. } = cell.raw;
        let cell = Exclusive(NonNull::from(cell));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<Task, ()>, task| {
            let cell = cell;
            let place = Place { yielder: NonNull::from(yielder), task: Changing::new(task) };
            // SAFETY: `execute_async` holds the exclusive borrow that this pointer was made from until this run is done
            // or dropped, and does not use it meanwhile.
            let cell = unsafe { &mut *cell.0.as_ptr() };
            cell.fiber = Some(Current(NonNull::from(&place)));
            let result = catch_unwind(AssertUnwindSafe(|| At(cell).execute(entry)));
            cell.fiber = None;
            result
        });
        Ok(Run { coroutine, machine, api })
    }

    pub(super) fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<i32>> {
        let task = NonNull::from(task).cast();
        // Whichever thread runs it now: this is the machine whose faults it may see.
        // SAFETY: the machine outlives the run.
        let before = unsafe { (self.api.swap_active)(self.machine.as_ptr()) };
        let resumed = self.coroutine.resume(task);
        // SAFETY: what was there before is still there, because its frame is.
        unsafe { (self.api.swap_active)(before) };
        match resumed {
            CoroutineResult::Yield(()) => Poll::Pending,
            CoroutineResult::Return(Ok(result)) => Poll::Ready(result),
            CoroutineResult::Return(Err(panic)) => resume_unwind(panic),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.coroutine.started() && !self.coroutine.done() {
            // Nothing in this crate drops a run in the middle, see `run::Flight`. Unwinding is not possible through the
            // guest's frames. SAFETY: the frames are forgotten, and with them what they own; nothing points into the
            // stack: the guest goes with it.
            unsafe { self.coroutine.force_reset() };
        }
    }
}

/// A cell that belongs to the code on the stack.
struct Exclusive<I: Imports>(NonNull<Cell<I>>);

// SAFETY: a cell is `Send`.
unsafe impl<I: Imports> Send for Exclusive<I> {}

/// The guest waits for the host function that it called; how long the answer is.
pub(super) fn wait<I: Imports>(guest: &mut At<'_, I>) -> i32 {
    let Some(current) = guest.0.fiber else {
        // Nobody can do anything else meanwhile.
        return block_on(I::wait(guest));
    };
    // SAFETY: this code runs on the stack at whose beginning the place lies.
    let place = unsafe { current.0.as_ref() };
    let mut future = pin!(I::wait(guest));
    loop {
        // SAFETY: the poll that resumed this stack last is still under way, and with it the borrow of its context.
        let task = unsafe { place.task.get().as_mut() };
        if let Poll::Ready(answer) = future.as_mut().poll(task) {
            return answer;
        }
        // SAFETY: the yielder lives as long as the stack.
        let task = unsafe { place.yielder.as_ref() }.suspend(());
        place.task.set(task);
    }
}
