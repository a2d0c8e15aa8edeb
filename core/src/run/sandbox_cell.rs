//! What all handles of one sandbox share, and who may use it when.
//!
//! Locks, in the order in which they are taken. `state` is held for as long as somebody uses the sandbox, also while a
//! script calls a host function. Others only try to take it; only the thread whose transaction is open waits for it.
//! `freeing`, the sleepers of [`StopSignal`], and what the values hold together in [`HeldByHost`] are held for a
//! moment, and no other lock is taken meanwhile.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, TryLockResult};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::access::Access;
use super::at_work::{AtWork, this_thread};
use super::state::{Instance, SandboxState, Waiting};
use super::weight::Weight;
use crate::guest::reentry;
use crate::util::{StopSignal, lock, process};
use crate::value::{Error, HeldByHost, Owner, Result, StoredTable, Table};

/// How long a call waits at most for the end of a run that was told to end, where the sandbox has no timeout.
const PATIENCE: Duration = Duration::from_secs(60);

/// What values of a sandbox point back to.
pub(crate) struct SandboxCell {
    state: Mutex<SandboxState>,
    /// The thread that works under the lock, as [`this_thread`] has it; 0 for none.
    pub(super) holder: AtomicUsize,
    /// In the same way, the one whose transaction is open.
    pub(super) transaction_thread: AtomicUsize,
    /// The process in which a thread worked last.
    pub(super) process: AtomicU32,
    closed: AtomicBool,
    /// Who frees what a closed sandbox held, until that is done.
    freeing: Mutex<Option<ThreadId>>,
    /// How long a call waits for the end of a run that was told to end.
    patience: Duration,
    pub(crate) signal: Arc<StopSignal>,
    pub(crate) held: Arc<HeldByHost>,
    weight: Weight,
}

/// Does what somebody asked for by `close` while the sandbox was in use, and wakes who waits for it. Made before the
/// lock is taken, so that it is dropped after it.
pub(crate) struct AfterAccess<'a>(pub(crate) &'a SandboxCell);

impl Drop for AfterAccess<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.closed.load(Ordering::SeqCst) {
            self.0.free();
        }
        self.0.signal.left();
    }
}

/// Who has a sandbox.
enum Hold<'a> {
    /// Now the caller.
    Free(MutexGuard<'a, SandboxState>),
    /// The caller, who has started a run that waits, or may take one over.
    Waiting(MutexGuard<'a, SandboxState>),
    /// A thread that is at work in it.
    Working,
    /// Somebody who may be doing something else: a run that is driven as a future, or a transaction.
    Kept,
}

impl Owner for SandboxCell {
    fn held(&self) -> &HeldByHost {
        &self.held
    }

    fn copy_table(self: Arc<Self>, table: &StoredTable) -> Result<Table> {
        super::copy_table::copy_table(&self, table)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl SandboxCell {
    pub(crate) fn new(mut state: SandboxState) -> Result<Arc<Self>> {
        let weight = Weight::default();
        weight.set_grown(state.grown());
        let (held, signal) = (Arc::clone(&state.held), Arc::clone(&state.host()?.signal));
        let patience = state.settings.limits.timeout.unwrap_or(PATIENCE);
        Ok(Arc::new(SandboxCell {
            state: Mutex::new(state),
            holder: AtomicUsize::new(0),
            transaction_thread: AtomicUsize::new(0),
            process: AtomicU32::new(process::id()),
            closed: AtomicBool::new(false),
            freeing: Mutex::default(),
            patience,
            signal,
            held,
            weight,
        }))
    }

    /// The sandbox that a value belongs to.
    pub(crate) fn of(owner: Arc<dyn Owner>) -> Result<Arc<Self>> {
        owner.into_any().downcast().map_err(|_| Error::internal("a value belongs to no sandbox"))
    }

    /// Where it is, which tells it from others.
    pub(crate) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Hands the sandbox to `f` if nobody else has it, or if it runs a host function on this very thread.
    #[inline]
    pub(crate) fn access<T>(self: &Arc<Self>, f: impl FnOnce(&mut Access<'_>) -> Result<T>) -> Result<T> {
        let mut state = match self.lock()? {
            Hold::Free(state) => state,
            Hold::Waiting(mut state) => {
                let _after = AfterAccess(self);
                let _at_work = AtWork::begin(self);
                return state.use_waiting_run(f);
            }
            _ => {
                return reentry::find(self.address(), |guest| f(&mut Access::Reentrant(guest)))
                    .unwrap_or_else(|| Err(Error::busy()));
            }
        };
        let _after = AfterAccess(self);
        let at_work = AtWork::begin(self);
        let result = f(&mut Access::Exclusive(&mut state));
        state.end_access();
        self.weigh(&mut state);
        drop(at_work);
        // What closes the sandbox now needs the lock.
        drop(state);
        result
    }

    /// As `access`, for what can't be done in the middle of a run.
    pub(crate) fn access_whole<T>(&self, f: impl FnOnce(&mut SandboxState) -> Result<T>) -> Result<T> {
        let Hold::Free(mut state) = self.lock()? else {
            return Err(Error::busy());
        };
        let _after = AfterAccess(self);
        let at_work = AtWork::begin(self);
        let result = f(&mut state);
        state.end_access();
        self.weigh(&mut state);
        drop(at_work);
        drop(state);
        result
    }

    /// As `access_whole`, also while a run waits that nobody drives.
    pub(crate) fn access_waiting<T>(&self, f: impl FnOnce(&mut SandboxState) -> Result<T>) -> Result<T> {
        let mut state = match self.lock()? {
            Hold::Free(state) | Hold::Waiting(state) => state,
            _ => return Err(Error::busy()),
        };
        let _after = AfterAccess(self);
        let _at_work = AtWork::begin(self);
        let result = f(&mut state);
        state.end_access();
        result
    }

    #[inline]
    fn lock(&self) -> Result<Hold<'_>> {
        match self.try_lock()? {
            Hold::Working if !self.is_held_here() => self.lock_later(),
            hold => Ok(hold),
        }
    }

    #[inline]
    fn try_lock(&self) -> Result<Hold<'_>> {
        self.hold(self.state.try_lock())
    }

    #[inline]
    fn hold<'a>(&'a self, locked: TryLockResult<MutexGuard<'a, SandboxState>>) -> Result<Hold<'a>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        let guard = match locked {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => return Ok(Hold::Working),
            Err(TryLockError::Poisoned(poisoned)) => {
                // A store of the user's panicked in the middle of something: nothing of the instance can be relied on.
                self.state.clear_poison();
                let mut guard = poisoned.into_inner();
                let _at_work = AtWork::begin(self);
                guard.restart();
                guard.finish_run();
                // It waits in the store, where its claim ends by itself.
                guard.durable = None;
                guard
            }
        };
        match guard.waiting {
            Some(Waiting::Started { thread, .. }) if thread == this_thread() => return Ok(Hold::Waiting(guard)),
            Some(Waiting::Restored { .. }) => return Ok(Hold::Waiting(guard)),
            // Somebody is about to end it.
            #[cfg(feature = "async")]
            Some(Waiting::Driven { by_library: true }) if self.signal.is_ending() => return Ok(Hold::Working),
            Some(_) => return Ok(Hold::Kept),
            None => {}
        }
        if guard.transaction.as_ref().is_some_and(|t| t.thread != std::thread::current().id()) {
            return Ok(Hold::Kept);
        }
        Ok(Hold::Free(guard))
    }

    /// Whether this thread is at work in it, be it in something of the host's that is called there: a store, what takes
    /// printed text.
    fn is_held_here(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == this_thread()
    }

    /// Whether whoever has the lock can give it back while this thread waits. This thread can't, nor can one that was
    /// at work when this process was forked off: it is in the other process.
    fn can_wait(&self) -> bool {
        !self.is_held_here()
            && !reentry::is_within(self.address())
            && self.process.load(Ordering::Relaxed) == process::id()
    }

    /// Somebody else has the lock. Who has opened a transaction waits for it: the others see that it is open, and go.
    /// And a run that was told to end does not make the sandbox busy: who comes next waits for its end. Not forever,
    /// for a host function of it may wait for who comes.
    #[cold]
    fn lock_later(&self) -> Result<Hold<'_>> {
        if self.transaction_thread.load(Ordering::Relaxed) == this_thread() {
            return self.hold(self.state.lock().map_err(TryLockError::Poisoned));
        }
        if !self.signal.is_ending() || !self.can_wait() {
            return Ok(Hold::Working);
        }
        let begun = Instant::now();
        self.signal.wait_for(|| match self.try_lock() {
            Ok(Hold::Working) if self.signal.is_ending() && begun.elapsed() < self.patience => None,
            found => Some(found),
        })
    }

    /// As `lock`, for whoever has the run that waits, unless the sandbox is used for it on another thread.
    pub(super) fn try_lock_waiting(&self) -> Result<MutexGuard<'_, SandboxState>> {
        self.state.try_lock().map_err(|_| Error::busy())
    }

    /// As `lock`, for whoever has the run that waits.
    #[cfg(feature = "async")]
    pub(crate) fn lock_waiting(&self) -> MutexGuard<'_, SandboxState> {
        lock(&self.state)
    }

    /// Counts what the sandbox takes now.
    #[inline]
    pub(crate) fn weigh(&self, state: &mut SandboxState) {
        self.weight.set_grown(state.grown());
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the sandbox; who uses it on another thread comes to an end first. Who uses it on this thread, or drives a
    /// run of it as a future, ends it afterwards.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while !self.free() && self.can_wait() {
            self.signal.wait_for(|| self.is_left().then_some(()));
        }
    }

    /// Whether no thread is at work in a closed sandbox, or for its end.
    fn is_left(&self) -> bool {
        let free = !matches!(self.state.try_lock(), Err(TryLockError::WouldBlock));
        free && self.freeing().is_none_or(|thread| thread == std::thread::current().id())
    }

    fn freeing(&self) -> MutexGuard<'_, Option<ThreadId>> {
        lock(&self.freeing)
    }

    /// Frees what a closed sandbox holds, unless somebody still uses it, who then does it. Whether no thread is at work
    /// for it any more.
    fn free(&self) -> bool {
        let running = match self.state.try_lock() {
            #[cfg(feature = "async")]
            Ok(state) if matches!(state.waiting, Some(Waiting::Driven { .. })) => return true,
            Ok(mut state) => self.take(&mut state),
            Err(TryLockError::Poisoned(poisoned)) => self.take(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(running) = running else {
            return self.freeing().is_none_or(|thread| thread == std::thread::current().id());
        };
        // Without the lock, for that may lead back here.
        drop(running);
        self.held.host_values.begin(false);
        *self.freeing() = None;
        self.signal.left();
        true
    }

    /// Takes what is to be freed from a closed sandbox, if nobody has.
    fn take(&self, state: &mut SandboxState) -> Option<Instance> {
        if matches!(state.instance, Instance::Closed) {
            return None;
        }
        *self.freeing() = Some(std::thread::current().id());
        self.weight.end();
        if state.durable.is_some() {
            state.drop_waiting_run();
            state.leave_durable_run(false);
        }
        if state.turn.is_some() {
            state.end_turn();
        }
        Some(std::mem::replace(&mut state.instance, Instance::Closed))
    }
}
