//! What all handles of one sandbox share, and who may use it when.

mod locked;
mod run;
mod snapshot;
mod transaction;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, TryLockResult};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

#[cfg(feature = "async")]
pub(crate) use self::locked::Locked;
#[cfg(not(feature = "async"))]
use self::locked::Locked;
use self::locked::this_thread;
pub(crate) use self::run::pause_before_retry;
#[cfg(feature = "async")]
pub(crate) use self::run::stopped_between_tries;
use self::transaction::Transaction;
use crate::codec::{self, Links};
use crate::config::SandboxConfig;
use crate::control::Control;
use crate::engine::Engine;
use crate::host::{Host, limit_error};
use crate::instance::{Context, Entry, Guest};
use crate::limits::{Limits, SetLimits};
use crate::stored::{Pins, StoredTable, store_error};
use crate::tables::{HOME, IO, Tables};
use crate::value::{Builtin, Function, FunctionKind, Handle, LuaString, ReleaseQueue, Value};
use crate::virtual_time::VirtualTime;
use crate::weight::Weight;
use crate::{Error, ErrorKind, Outcome, RestoreOptions, Result, Snapshot, StoreLimit, active};

/// An I/O buffer that grew beyond this is given back after the run, or beyond a small part of what Lua may have. The least is not given back.
const KEPT_BUFFER: u32 = 1 << 20;
const LEAST_BUFFER: u32 = 1 << 16;

/// So much may the tables of a message take as values, however low the memory limit is.
const LEAST_ROOM: u64 = 1 << 20;

/// How long a call waits at most for the end of a run that was told to end, where the sandbox has no timeout.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a run is repeated after a conflict.
const CONFLICT_RETRIES: u32 = 10;

/// Table ids that a guest of revision 1 may have taken without the host hearing of it.
const UNSEEN_IDS: u32 = 1 << 16;

/// What values of a sandbox point back to.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// The thread that works under the lock, as [`this_thread`] has it; 0 for none.
    holder: AtomicUsize,
    /// In the same way, the one whose transaction is open.
    owner: AtomicUsize,
    closed: AtomicBool,
    /// Who frees what a closed sandbox held, until that is done.
    freeing: Mutex<Option<ThreadId>>,
    /// How long a call waits for the end of a run that was told to end.
    patience: Duration,
    pub(crate) control: Arc<Control>,
    pub(crate) released: ReleaseQueue,
    pub(crate) pins: Arc<Pins>,
    weight: Weight,
}

/// The part that one caller at a time works with.
pub(crate) struct Inner {
    engine: Engine,
    pub(crate) running: Running,
    limits: Limits,
    no_memory_alias: bool,
    deterministic: bool,
    conflict_retries: u32,
    /// Encoded arguments, kept for its room.
    args: Vec<u8>,
    /// Tables that the host has views of.
    pins: Arc<Pins>,
    /// What the host does as one transaction.
    transaction: Option<Transaction>,
}

pub(crate) enum Running {
    Guest(Box<Guest>),
    /// A future has the guest.
    #[cfg(feature = "async")]
    Away,
    /// No instance could be made; the next call tries again.
    Stopped(Box<Host>),
    Closed,
}

impl Running {
    /// The host, wherever it is; `None` when somebody else has it.
    pub(crate) fn host(&mut self) -> Option<&mut Host> {
        match self {
            Running::Guest(guest) => Some(guest.host()),
            Running::Stopped(host) => Some(host),
            _ => None,
        }
    }
}

/// Does what somebody asked for by `close` while the sandbox was in use, and wakes who waits for it. Made before the lock is taken, so that it
/// is dropped after it.
pub(crate) struct Finish<'a>(pub(crate) &'a Shared);

impl Drop for Finish<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.closed.load(Ordering::SeqCst) {
            self.0.free();
        }
        self.0.control.left();
    }
}

/// Who has a sandbox.
enum Hold<'a> {
    /// Now the caller.
    Free(Locked<'a>),
    /// A thread that is at work in it.
    Working,
    /// Somebody who may be doing something else: a run that is driven as a future, or a transaction.
    Kept,
}

/// How values in messages are tied to a sandbox.
#[derive(Clone)]
pub(crate) struct SandboxLinks {
    shared: Arc<Shared>,
    number: u64,
    /// See [`Links::room`].
    room: usize,
}

impl SandboxLinks {
    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Functions of this instance that nobody needs any more.
    pub(crate) fn take_released(&self) -> impl Iterator<Item = u32> + use<> {
        let number = self.number;
        let all = self.shared.released.take().into_iter();
        all.filter(move |(instance, _)| *instance == number).map(|(_, id)| id)
    }
}

impl Links for SandboxLinks {
    fn stored(&self, id: u32, cell: bool) -> StoredTable {
        StoredTable::new(&self.shared, id, cell)
    }

    fn handle(&self, id: u32) -> Function {
        let handle = Handle { sandbox: Arc::downgrade(&self.shared), instance: self.number, id };
        Function(Arc::new(FunctionKind::Live(handle)))
    }

    fn builtin(&self, name: LuaString) -> Function {
        Function(Arc::new(FunctionKind::Builtin(Builtin { name, sandbox: Arc::downgrade(&self.shared) })))
    }

    fn room(&self) -> usize {
        self.room
    }

    fn id_of(&self, table: &StoredTable) -> Result<u32> {
        if table.belongs_to(&self.shared) {
            table.check(&self.shared)?;
            Ok(table.id())
        } else {
            Err(Error::invalid("a stored table of another sandbox can't be passed; copy it with to_table"))
        }
    }

    fn handle_of(&self, function: &Handle) -> Result<u32> {
        if !std::ptr::eq(function.sandbox.as_ptr(), Arc::as_ptr(&self.shared)) {
            return Err(Error::invalid("a function of another sandbox can't be passed"));
        }
        if function.instance != self.number {
            return Err(Error::new(ErrorKind::Closed, "the function is gone: its sandbox was started anew"));
        }
        Ok(function.id)
    }
}

/// A sandbox that the caller may use now.
pub(crate) enum Reach<'a> {
    /// Nothing else happens in it.
    Whole(&'a mut Inner),
    /// It runs a host function on this thread, which uses it.
    Within(Context<'a>),
}

impl Reach<'_> {
    pub(crate) fn links(&mut self, shared: &Arc<Shared>) -> Result<SandboxLinks> {
        match self {
            Reach::Whole(inner) => Ok(inner.links(shared)),
            Reach::Within(context) => context.host().links.clone().ok_or_else(Error::busy),
        }
    }

    /// The tables, for reading and writing from the host.
    pub(crate) fn tables(&mut self) -> Result<&mut Tables> {
        match self {
            Reach::Whole(inner) => inner.tables(),
            Reach::Within(context) => Ok(&mut context.host().tables),
        }
    }

    pub(crate) fn host(&mut self) -> Result<&mut Host> {
        match self {
            Reach::Whole(inner) => inner.host(),
            Reach::Within(context) => Ok(context.host()),
        }
    }

    /// The guest; made anew when there is none.
    pub(crate) fn guest(&mut self) -> Result<Context<'_>> {
        match self {
            Reach::Whole(inner) => {
                inner.engine.check_stack()?;
                inner.guest()
            }
            Reach::Within(context) => Ok(context.reborrow()),
        }
    }

    /// How much the tables may hold.
    pub(crate) fn store_limit(&mut self) -> StoreLimit {
        match self {
            Reach::Whole(inner) => inner.limits.store,
            Reach::Within(context) => context.host().limits.store,
        }
    }

    /// Takes this many table ids.
    pub(crate) fn allocate_ids(&mut self, count: u32) -> Result<u32> {
        let seen = self.tables()?.next_id();
        allocate_ids(&mut self.guest()?, seen, count)
    }

    /// Ends a write from the host: all of it is stored, or nothing. Inside a run it is stored with the run.
    pub(crate) fn finish_write(&mut self, result: Result<()>) -> Result<()> {
        match self {
            Reach::Whole(inner) => inner.finish_write(result),
            Reach::Within(context) => context.doomed_by(result),
        }
    }

    /// The result of a call into the guest that is no run.
    pub(crate) fn check<T>(&mut self, result: Result<T>) -> Result<T> {
        match self {
            Reach::Whole(inner) => inner.check(result),
            Reach::Within(context) => context.doomed_by(result),
        }
    }

    /// Runs the guest once: `enter` passes in what is to be run.
    #[inline]
    pub(crate) fn run(
        &mut self,
        shared: &Arc<Shared>,
        set: Option<&SetLimits>,
        enter: impl Fn(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        match self {
            Reach::Whole(inner) => inner.run(shared, set, enter),
            Reach::Within(context) => context.run_nested(set, enter),
        }
    }
}

impl Shared {
    pub(crate) fn new(engine: Engine, config: SandboxConfig, from: Option<&Snapshot>) -> Result<Arc<Self>> {
        let tables = match config.store {
            Some(store) => {
                let mut tables = store.and_then(Tables::open).map_err(store_error)?;
                tables.refuse_functions(config.no_stored_functions);
                tables
            }
            None => Tables::in_memory(),
        };
        let mut host = Host::new(tables, 1, Arc::default());
        host.print = config.print;
        host.check = config.check;
        host.modules = config.modules;
        host.virtual_time = config.seed.map(VirtualTime::new);
        let inner = Inner {
            engine,
            running: Running::Stopped(Box::new(host)),
            limits: Limits::default().with(&config.limits),
            no_memory_alias: config.no_memory_alias,
            deterministic: config.seed.is_some(),
            conflict_retries: config.conflict_retries.unwrap_or(CONFLICT_RETRIES),
            args: Vec::new(),
            pins: Pins::new(config.seed.is_some()),
            transaction: None,
        };
        Shared::started(inner, from, true)
    }

    fn started(mut inner: Inner, from: Option<&Snapshot>, keep_limits: bool) -> Result<Arc<Self>> {
        match from {
            Some(snapshot) => inner.restore(snapshot, &RestoreOptions::new(), keep_limits)?,
            None => inner.start(false)?,
        }
        let weight = Weight::default();
        weight.set_grown(inner.grown());
        let keeps = inner.deterministic;
        let (pins, control) = (Arc::clone(&inner.pins), Arc::clone(&inner.host()?.control));
        let patience = inner.limits.timeout.unwrap_or(PATIENCE);
        Ok(Arc::new(Shared {
            inner: Mutex::new(inner),
            holder: AtomicUsize::new(0),
            owner: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            freeing: Mutex::default(),
            patience,
            control,
            released: ReleaseQueue::new(keeps),
            pins,
            weight,
        }))
    }

    /// Hands the sandbox to `f` if nobody else has it, or if it runs a host function on this very thread.
    #[inline]
    pub(crate) fn access<T>(self: &Arc<Self>, f: impl FnOnce(&mut Reach<'_>) -> Result<T>) -> Result<T> {
        let Some(mut inner) = self.lock()? else {
            return active::find(self, |context| f(&mut Reach::Within(context))).unwrap_or_else(|| Err(Error::busy()));
        };
        let _finish = Finish(self);
        let result = f(&mut Reach::Whole(&mut inner));
        inner.end_access();
        self.weigh(&mut inner);
        // What closes the sandbox now needs the lock.
        drop(inner);
        result
    }

    /// As `access`, for what can't be done in the middle of a run.
    pub(crate) fn access_whole<T>(&self, f: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        let Some(mut inner) = self.lock()? else {
            return Err(Error::busy());
        };
        let _finish = Finish(self);
        let result = f(&mut inner);
        inner.end_access();
        self.weigh(&mut inner);
        drop(inner);
        result
    }

    /// `None` when somebody else has it.
    #[inline]
    fn lock(&self) -> Result<Option<Locked<'_>>> {
        match self.try_lock()? {
            Hold::Free(guard) => Ok(Some(guard)),
            Hold::Working if !self.is_held_here() => self.lock_later(),
            _ => Ok(None),
        }
    }

    #[inline]
    fn try_lock(&self) -> Result<Hold<'_>> {
        self.hold(self.inner.try_lock())
    }

    #[inline]
    fn hold<'a>(&'a self, locked: TryLockResult<MutexGuard<'a, Inner>>) -> Result<Hold<'a>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        let guard = match locked {
            Ok(guard) => Locked::new(self, guard),
            Err(TryLockError::WouldBlock) => return Ok(Hold::Working),
            Err(TryLockError::Poisoned(poisoned)) => {
                // A store of the user's panicked in the middle of something: nothing of the instance can be relied on.
                self.inner.clear_poison();
                let mut guard = Locked::new(self, poisoned.into_inner());
                guard.restart();
                guard
            }
        };
        #[cfg(feature = "async")]
        if matches!(guard.running, Running::Away) {
            return Ok(Hold::Kept);
        }
        if guard.transaction.as_ref().is_some_and(|t| t.thread != std::thread::current().id()) {
            return Ok(Hold::Kept);
        }
        Ok(Hold::Free(guard))
    }

    /// Whether this thread is at work in it, be it in something of the host's that is called there: a store, what takes printed text.
    fn is_held_here(&self) -> bool {
        self.holder.load(Ordering::Relaxed) == this_thread()
    }

    /// Somebody else has the lock. Who has opened a transaction waits for it: the others see that it is open, and go. And a run that was told to end does not
    /// make the sandbox busy: who comes next waits for its end. Not forever, for a host function of it may wait for who comes.
    #[cold]
    fn lock_later(&self) -> Result<Option<Locked<'_>>> {
        if self.owner.load(Ordering::Relaxed) == this_thread() {
            return match self.hold(self.inner.lock().map_err(TryLockError::Poisoned))? {
                Hold::Free(guard) => Ok(Some(guard)),
                _ => Ok(None),
            };
        }
        if !self.control.is_ending() || active::is_within(self) {
            return Ok(None);
        }
        let begun = Instant::now();
        self.control.wait_for(|| match self.try_lock() {
            Ok(Hold::Free(guard)) => Some(Ok(Some(guard))),
            Ok(Hold::Working) if self.control.is_ending() && begun.elapsed() < self.patience => None,
            Ok(_) => Some(Ok(None)),
            Err(closed) => Some(Err(closed)),
        })
    }

    /// As `lock`, for somebody who brings back what was away.
    #[cfg(feature = "async")]
    pub(crate) fn lock_away(&self) -> Locked<'_> {
        Locked::new(self, self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what the sandbox takes now.
    #[inline]
    pub(crate) fn weigh(&self, inner: &mut Inner) {
        self.weight.set_grown(inner.grown());
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the sandbox; who uses it on another thread comes to an end first. Who uses it on this thread, or drives a run of it as a future, ends it
    /// afterwards.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while !self.free() && !self.is_held_here() && !active::is_within(self) {
            self.control.wait_for(|| self.is_left().then_some(()));
        }
    }

    /// Whether no thread is at work in a closed sandbox, or for its end.
    fn is_left(&self) -> bool {
        let free = !matches!(self.inner.try_lock(), Err(TryLockError::WouldBlock));
        free && self.freeing().is_none_or(|thread| thread == std::thread::current().id())
    }

    fn freeing(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.freeing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees what a closed sandbox holds, unless somebody still uses it, who then does it. Whether no thread is at work for it any more.
    fn free(&self) -> bool {
        let running = match self.inner.try_lock() {
            #[cfg(feature = "async")]
            Ok(inner) if matches!(inner.running, Running::Away) => return true,
            Ok(mut inner) => self.take(&mut inner),
            Err(TryLockError::Poisoned(poisoned)) => self.take(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Some(running) = running else {
            return self.freeing().is_none_or(|thread| thread == std::thread::current().id());
        };
        // Without the lock, for that may lead back here.
        drop(running);
        *self.freeing() = None;
        self.control.left();
        true
    }

    /// Takes what is to be freed from a closed sandbox, if nobody has.
    fn take(&self, inner: &mut Inner) -> Option<Running> {
        if matches!(inner.running, Running::Closed) {
            return None;
        }
        *self.freeing() = Some(std::thread::current().id());
        self.weight.end();
        Some(std::mem::replace(&mut inner.running, Running::Closed))
    }

    /// Calls a function of this sandbox.
    pub(crate) fn call_handle(self: &Arc<Self>, handle: &Handle, args: &[Value]) -> Result<Outcome> {
        self.access(|reach| {
            let id = reach.links(self)?.handle_of(handle)?;
            reach.run(self, None, |guest, links, encoded| {
                codec::encode_args(args, encoded, links)?;
                guest.reserve(encoded.len())?;
                guest.write(&[encoded])?;
                Ok(Entry::CallHandle { handle: id.cast_signed(), args_len: encoded.len() as i32 })
            })
        })
    }

    /// Calls a built-in, whatever the script has made of the global of its name.
    pub(crate) fn call_builtin(self: &Arc<Self>, function: &Function, args: Vec<Value>) -> Result<Outcome> {
        const SOURCE: &[u8] = b"return (function(f, ...) return f(...) end)(...)";
        let all: Vec<Value> = std::iter::once(Value::from(function)).chain(args).collect();
        self.access(|reach| {
            reach.run(self, None, |guest, links, encoded| {
                codec::encode_args(&all, encoded, links)?;
                guest.enter_source(b"=(host)", SOURCE, encoded)
            })
        })
    }
}

fn allocate_ids(guest: &mut Context<'_>, seen: u32, count: u32) -> Result<u32> {
    let none_left = || Error::new(ErrorKind::Store, "no table numbers are left");
    if guest.has_table_ids() {
        let first = guest.allocate_table_ids(count.cast_signed())?.cast_unsigned();
        // A guest that gives out numbers which are taken would mix up its own tables.
        if first < IO + 1 || first.checked_add(count).is_none_or(|end| end == u32::MAX) {
            return Err(none_left());
        }
        return Ok(first);
    }
    let first = seen.checked_add(UNSEEN_IDS).ok_or_else(none_left)?;
    let end = first.checked_add(count).filter(|end| *end < u32::MAX).ok_or_else(none_left)?;
    guest.sync_external_table_counter(end.cast_signed())?;
    Ok(first)
}

impl Inner {
    pub(crate) fn links(&self, shared: &Arc<Shared>) -> SandboxLinks {
        // Without an instance there are no functions of one.
        let number = match &self.running {
            Running::Guest(guest) => guest.told().number,
            _ => 0,
        };
        self.links_with(shared, &self.limits, number)
    }

    /// For a run with these limits in the instance of this number.
    pub(crate) fn links_with(&self, shared: &Arc<Shared>, limits: &Limits, number: u64) -> SandboxLinks {
        let most = limits.memory.min(self.engine.max_memory()).max(LEAST_ROOM);
        SandboxLinks { shared: Arc::clone(shared), number, room: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    pub(crate) fn host(&mut self) -> Result<&mut Host> {
        match &mut self.running {
            #[cfg(feature = "async")]
            Running::Away => Err(Error::busy()),
            running => running.host().ok_or_else(Error::closed),
        }
    }

    pub(crate) fn tables(&mut self) -> Result<&mut Tables> {
        Ok(&mut self.host()?.tables)
    }

    /// What was only read needs no end of its own, and what somebody began to write and did not finish is dropped.
    #[inline]
    fn end_access(&mut self) {
        let open = self.transaction.is_some();
        if let Ok(tables) = self.tables() {
            tables.set_deadline(None, None, u64::MAX);
            if !open {
                if tables.is_dirty() {
                    tables.rollback();
                }
                tables.end();
            }
        }
    }

    /// How much more memory the sandbox takes than a new one.
    #[inline]
    fn grown(&mut self) -> u64 {
        let guest = match &mut self.running {
            Running::Guest(guest) => self.engine.grown(guest),
            _ => 0,
        };
        let tables = self.running.host().map_or(0, |host| host.tables.weight());
        guest.saturating_add(tables)
    }

    /// The guest; made anew when there is none.
    #[inline]
    pub(crate) fn guest(&mut self) -> Result<Context<'_>> {
        if !matches!(self.running, Running::Guest(_)) {
            self.start(false)?;
        }
        match &mut self.running {
            Running::Guest(guest) => Ok(guest.context()),
            _ => Err(Error::closed()),
        }
    }

    /// Makes an instance for the tables that there are.
    #[cold]
    pub(crate) fn start(&mut self, waits: bool) -> Result<()> {
        let pinned = self.pins.highest();
        let host = match std::mem::replace(&mut self.running, Running::Closed) {
            Running::Stopped(mut host) => {
                if pinned == 0 {
                    // What can't be done now is tried again with the next instance.
                    let _ = host.tables.compact();
                }
                *host
            }
            other => {
                self.running = other;
                return Ok(());
            }
        };
        // Without the guest's own bound the whole memory has to be bounded.
        match self.engine.instantiate(host, self.engine.max_memory(), waits) {
            Ok(mut guest) => match self.prepare(&mut guest) {
                Ok(()) => {
                    self.running = Running::Guest(Box::new(guest));
                    Ok(())
                }
                Err(error) => {
                    self.running = Running::Stopped(Box::new(guest.into_host()));
                    Err(error)
                }
            },
            Err(not_started) => {
                self.running = Running::Stopped(Box::new(not_started.host));
                Err(not_started.error)
            }
        }
    }

    /// Tells a new instance how this sandbox is set up.
    fn prepare(&mut self, guest: &mut Guest) -> Result<()> {
        let foreign = guest.is_foreign();
        let mut context = guest.context();
        context.tell_limits(&self.limits)?;
        if self.no_memory_alias {
            context.set_memory_alias_enabled(0)?;
        }
        if context.host().print.is_some() && context.has_print_streaming() {
            context.set_print_streaming(1)?;
        }
        if self.deterministic && context.has_deterministic() {
            context.set_deterministic(1)?;
        }
        if foreign {
            context.attach_memory_table(HOME.cast_signed())?;
        }
        let next = context.host().tables.next_id();
        if next > IO + 1 {
            context.sync_external_table_counter(next.cast_signed())?;
        }
        let functions: Vec<_> = context.host().functions.iter().collect();
        register_all(&mut context, functions)
    }

    /// Gives up the instance, with everything that was not stored.
    #[cold]
    pub(crate) fn restart(&mut self) {
        self.running = match std::mem::replace(&mut self.running, Running::Closed) {
            Running::Guest(guest) => Running::Stopped(Box::new(guest.into_host())),
            other => other,
        };
        let pinned = self.pins.highest();
        if let Running::Stopped(host) = &mut self.running {
            host.tables.rollback();
            host.tables.note_lua(0);
            host.tables.give_back(pinned);
            host.end();
        }
        if let Some(transaction) = &mut self.transaction {
            // What earlier runs of it had written is gone.
            transaction
                .failed
                .get_or_insert_with(|| Error::new(ErrorKind::Trap, "Lua was started anew within the transaction"));
        }
    }

    /// Ends a write from the host: all of it is stored, or nothing.
    pub(crate) fn finish_write(&mut self, result: Result<()>) -> Result<()> {
        let result = result.and_then(|()| self.check_transaction()).and_then(|()| match self.transaction {
            None => self.commit(),
            Some(_) => Ok(()),
        });
        self.check(result)
    }

    /// Stores what was written.
    fn commit(&mut self) -> Result<()> {
        let tables = self.tables()?;
        let (dirty, first) = (tables.is_dirty(), tables.sweeps_first());
        if first && dirty {
            self.sweep_if_due()?;
        }
        if self.tables()?.wants_counter()
            && let Running::Guest(guest) = &mut self.running
        {
            let mut context = guest.context();
            if let Some(next) = context.next_table_id() {
                context.host().tables.note_counter(next?);
            }
        }
        self.tables()?.commit().map_err(store_error)?;
        if !first && (dirty || self.tables()?.asks_for_held()) && self.sweep_if_due().is_err() {
            // The next one will do it.
            self.tables()?.rollback();
        }
        Ok(())
    }

    /// The result of something that is no run: what fails is taken back.
    pub(crate) fn check<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.abandon(error);
        }
        result
    }

    /// Looks for orphans when enough tables were made.
    #[inline]
    fn sweep_if_due(&mut self) -> Result<()> {
        if self.tables()?.wants_sweep() { self.sweep(false) } else { Ok(()) }
    }

    /// Removes stored tables that nothing refers to, as part of the present transaction. Lua knows which ones it still holds; a guest of
    /// revision 1 can't tell, and then nothing is removed.
    #[cold]
    pub(crate) fn sweep(&mut self, all: bool) -> Result<()> {
        let mut held = Vec::new();
        if let Running::Guest(guest) = &mut self.running {
            match held_tables(&mut guest.context())? {
                Some(ids) => held = ids,
                None => return Ok(()),
            }
        }
        // Of an empty table there is nothing to remove, and a script can make any number of them.
        let tables = self.running.host().map(|host| &mut host.tables).ok_or_else(Error::closed)?;
        let (mut empty, full): (Vec<u32>, Vec<u32>) =
            self.pins.ids().into_iter().partition(|id| tables.is_empty_here(*id));
        held.extend(full);
        empty.sort_unstable();
        let viewed = empty.clone();
        let mut gone = tables.sweep(held, all, &mut empty).map_err(store_error)?;
        gone.retain(|id| viewed.binary_search(id).is_err());
        self.pins.forget(&empty);
        match &mut self.running {
            Running::Guest(guest) => forget_tables(&mut guest.context(), &gone),
            _ => Ok(()),
        }
    }

    /// Takes the guest away, for somebody who brings it back.
    #[cfg(feature = "async")]
    pub(crate) fn take_guest(&mut self) -> Result<Box<Guest>> {
        match std::mem::replace(&mut self.running, Running::Away) {
            Running::Guest(guest) => Ok(guest),
            other => {
                self.running = other;
                Err(Error::internal("there is no guest"))
            }
        }
    }

    #[cfg(feature = "async")]
    pub(crate) fn bring_guest(&mut self, guest: Box<Guest>) {
        self.running = Running::Guest(guest);
    }

    /// The guest will not come back, nor what it had of the tables.
    #[cfg(feature = "async")]
    pub(crate) fn lose_guest(&mut self) {
        self.running = Running::Closed;
    }

    /// Sees to it that the instance can wait for futures.
    #[cfg(feature = "async")]
    pub(crate) fn make_waiting(&mut self) -> Result<()> {
        self.outside_transaction("an asynchronous run")?;
        let Running::Guest(guest) = &mut self.running else {
            return self.start(true);
        };
        if guest.make_waiting() || guest.is_foreign() {
            return Ok(());
        }
        if !guest.told().ran {
            // What never ran is as good new.
            self.restart();
            return self.start(true);
        }
        let mut waiting = self.engine.blank(true)?;
        waiting.context().go_on_from(&mut guest.context())?;
        let host = std::mem::replace(&mut **guest, waiting).into_host();
        guest.take_over(host);
        Ok(())
    }
}

/// The stored tables that Lua holds; `None` when it can't tell, or has no memory for the list now.
fn held_tables(guest: &mut Context<'_>) -> Result<Option<Vec<u32>>> {
    if !guest.has_table_lists() {
        return Ok(None);
    }
    let Ok(n) = u32::try_from(guest.list_table_ids()?) else {
        return Ok(None);
    };
    guest.refresh_buffer()?;
    let ids = guest.result(n)?.chunks_exact(4);
    Ok(Some(ids.map(|id| id.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte))).collect()))
}

/// Tells Lua which tables are gone: it may have kept their metatables.
fn forget_tables(guest: &mut Context<'_>, gone: &[u32]) -> Result<()> {
    if !guest.has_forget_tables() {
        return Ok(());
    }
    // As many as the guest has room for in any case.
    for some in gone.chunks(4096) {
        let bytes: Vec<u8> = some.iter().flat_map(|id| id.to_le_bytes()).collect();
        guest.reserve(bytes.len())?;
        guest.write(&[&bytes])?;
        guest.forget_tables(bytes.len() as i32)?;
    }
    Ok(())
}

/// Makes host functions known to a new instance. One that has no place there any more, because of what a script had made of its name, is left out: without it
/// the sandbox goes on.
fn register_all(guest: &mut Context<'_>, functions: impl IntoIterator<Item = (i32, Arc<str>)>) -> Result<()> {
    functions.into_iter().try_for_each(|(id, name)| match register(guest, &name, id) {
        Err(error) if error.is_fatal() => Err(error),
        _ => Ok(()),
    })
}

/// Makes a host function known to the guest.
pub(crate) fn register(guest: &mut Context<'_>, name: &str, id: i32) -> Result<()> {
    change_function(guest, name, |name_len| Entry::RegisterFunction { name_len, id })
}

pub(crate) fn unregister(guest: &mut Context<'_>, name: &str, id: i32) -> Result<()> {
    change_function(guest, name, |name_len| Entry::UnregisterFunction { name_len, id })
}

fn change_function(guest: &mut Context<'_>, name: &str, entry: impl FnOnce(i32) -> Entry) -> Result<()> {
    guest.reserve(name.len())?;
    guest.write(&[name.as_bytes()])?;
    let n = guest.execute(entry(name.len() as i32))?;
    if n >= 0 {
        return Ok(());
    }
    guest.refresh_buffer()?;
    let len = u32::try_from(-i64::from(n) - 1).unwrap_or_default();
    Err(Error::invalid(String::from_utf8_lossy(guest.result(len)?)))
}
