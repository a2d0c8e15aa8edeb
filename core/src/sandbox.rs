//! One isolated Lua with its state.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Instant;

use crate::codec::{self, Links};
use crate::engine::Engine;
use crate::host::Host;
use crate::instance::{self, Guest};
use crate::stored::{Home, Pins, StoredTable, store_error};
use crate::tables::{HOME, IO, Tables};
use crate::value::{Function, FunctionKind, Handle, IntoArgs, LuaString, ReleaseQueue, Value};
use crate::{Error, ErrorKind, IntoStore, MemoryStats, Metrics, Outcome, Result, StoreResult, TableStore};

/// An I/O buffer that grew beyond this is given back after the run.
const KEPT_BUFFER: u32 = 1 << 20;

/// How often a run is repeated after a conflict.
const CONFLICT_RETRIES: u32 = 10;

/// Table ids that a guest of revision 1 may have taken without the host hearing of it.
const UNSEEN_IDS: u32 = 1 << 16;

/// Settings of one sandbox. More will come.
#[derive(Default)]
#[non_exhaustive]
pub struct SandboxConfig {
    memory_limit: Option<u64>,
    no_memory_alias: bool,
    store: Option<StoreResult<Box<dyn TableStore>>>,
    conflict_retries: Option<u32>,
}

impl SandboxConfig {
    /// The defaults: tables in memory, no limit on memory but the engine's.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At most this many bytes for Lua's heap and the buffers of the run. What goes beyond fails as it does in Lua: "not enough memory", which `pcall`
    /// sees, and which is an error of the kind `Memory` when nothing catches it.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Where `_home` is kept: a store, the path of a [`FileStore`](crate::FileStore), or a server's URL (feature `redis`). When it can't be
    /// opened, making the sandbox fails with the kind `Store`. Default: memory; `_home` ends with the sandbox.
    #[must_use]
    pub fn store(mut self, store: impl IntoStore) -> Self {
        self.store = Some(store.into_store());
        self
    }

    /// How often a run is repeated when somebody else, who uses the same store, changed what it had read. Then it fails with the kind
    /// `Conflict`. Globals that the run has set stay set, as after an error. Default 10.
    #[must_use]
    pub fn conflict_retries(mut self, times: u32) -> Self {
        self.conflict_retries = Some(times);
        self
    }

    /// Whether `_home` is also the global `Memory`. Default: it is.
    #[must_use]
    pub fn memory_alias(mut self, on: bool) -> Self {
        self.no_memory_alias = !on;
        self
    }
}

impl fmt::Debug for SandboxConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxConfig")
            .field("memory_limit", &self.memory_limit)
            .field("memory_alias", &!self.no_memory_alias)
            .field("store", &self.store.as_ref().map(|store| store.as_ref().map(|_| "...")))
            .field("conflict_retries", &self.conflict_retries)
            .finish()
    }
}

/// Settings of one run. More will come.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ComputeOptions {
    name: String,
    args: Vec<Value>,
}

impl ComputeOptions {
    /// The defaults: no arguments, a chunk that is named after its source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunk's name for messages, as in Lua: `=name` is shown as it is, `@name` as a file's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The chunk's arguments, its `...`.
    #[must_use]
    pub fn args(mut self, args: impl IntoArgs) -> Self {
        self.args = args.into_args();
        self
    }
}

/// One isolated Lua with its state: globals stay from run to run, and so do the tables in `_home`.
///
/// A sandbox may be moved and shared between threads, and is used by one caller at a time: a second one gets `Busy` at once. Every
/// run is a transaction: what it wrote to stored tables is kept when it succeeds and dropped when it fails. After an error the next run works as if
/// nothing had happened; after a `Trap` globals are gone, because Lua starts anew, and stored tables are as before the run.
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// What values of a sandbox point back to.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    closed: AtomicBool,
    pub(crate) released: ReleaseQueue,
    pub(crate) pins: Arc<Pins>,
}

/// The part that one caller at a time works with.
pub(crate) struct Inner {
    engine: Engine,
    running: Running,
    /// Counts instances: functions of an earlier one can't be called any more.
    number: u64,
    memory_limit: Option<u64>,
    no_memory_alias: bool,
    conflict_retries: u32,
    /// Encoded arguments, kept for its room.
    args: Vec<u8>,
    /// Tables that the host has views of.
    pins: Arc<Pins>,
}

enum Running {
    Guest(Box<Guest>),
    /// No instance could be made; the next call tries again.
    Stopped(Box<Host>),
    Closed,
}

/// Access to a sandbox for one caller. The order of the fields matters: first the lock is released.
pub(crate) struct Access<'a> {
    guard: MutexGuard<'a, Inner>,
    _finish: Finish<'a>,
}

/// Does what somebody asked for by `close` while the sandbox was in use.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if self.0.closed.load(Ordering::SeqCst) {
            self.0.free();
        }
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        // What was only read needs no end of its own.
        if let Ok(tables) = self.guard.tables() {
            tables.end();
        }
    }
}

impl Deref for Access<'_> {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.guard
    }
}

impl DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.guard
    }
}

/// How values in messages are tied to a sandbox.
pub(crate) struct SandboxLinks {
    shared: Arc<Shared>,
    number: u64,
}

impl Links for SandboxLinks {
    fn stored(&self, id: u32, cell: bool) -> StoredTable {
        StoredTable::new(&self.shared, id, cell)
    }

    fn handle(&self, id: u32) -> Function {
        let handle = Handle { sandbox: Arc::downgrade(&self.shared), instance: self.number, id };
        Function(Arc::new(FunctionKind::Live(handle)))
    }

    fn id_of(&self, table: &StoredTable) -> Result<u32> {
        if table.belongs_to(&self.shared) {
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

impl Shared {
    /// Access for this caller, if nobody else has it.
    #[inline]
    pub(crate) fn lock(&self) -> Result<Access<'_>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        match self.inner.try_lock() {
            Ok(guard) => Ok(Access { guard, _finish: Finish(self) }),
            Err(TryLockError::WouldBlock) => Err(Error::busy()),
            Err(TryLockError::Poisoned(poisoned)) => {
                // A store of the user's panicked in the middle of something: nothing of the instance can be relied on.
                self.inner.clear_poison();
                let mut access = Access { guard: poisoned.into_inner(), _finish: Finish(self) };
                access.restart();
                Ok(access)
            }
        }
    }

    /// Frees what a closed sandbox holds, unless somebody still uses it, who then does it.
    fn free(&self) {
        let running = match self.inner.try_lock() {
            Ok(mut inner) => std::mem::replace(&mut inner.running, Running::Closed),
            Err(TryLockError::Poisoned(poisoned)) => {
                std::mem::replace(&mut poisoned.into_inner().running, Running::Closed)
            }
            Err(TryLockError::WouldBlock) => return,
        };
        drop(running);
    }

    /// Calls a function of this sandbox.
    pub(crate) fn call_handle(self: &Arc<Self>, handle: &Handle, args: &[Value]) -> Result<Outcome> {
        let mut access = self.lock()?;
        let id = access.links(self).handle_of(handle)?;
        access.run(self, |guest, links, encoded| {
            codec::encode_args(args, encoded, links)?;
            guest.reserve(encoded.len())?;
            guest.write(&[encoded])?;
            guest.run_call_handle(id.cast_signed(), encoded.len() as i32)
        })
    }
}

impl Inner {
    pub(crate) fn links(&self, shared: &Arc<Shared>) -> SandboxLinks {
        SandboxLinks { shared: Arc::clone(shared), number: self.number }
    }

    /// The tables, for reading and writing from the host.
    pub(crate) fn tables(&mut self) -> Result<&mut Tables> {
        match &mut self.running {
            Running::Guest(guest) => Ok(&mut guest.host().tables),
            Running::Stopped(host) => Ok(&mut host.tables),
            Running::Closed => Err(Error::closed()),
        }
    }

    /// The guest; made anew when there is none.
    #[inline]
    fn guest(&mut self) -> Result<&mut Guest> {
        if !matches!(self.running, Running::Guest(_)) {
            self.start()?;
        }
        match &mut self.running {
            Running::Guest(guest) => Ok(guest),
            _ => Err(Error::closed()),
        }
    }

    /// Makes an instance for the tables that there are.
    #[cold]
    fn start(&mut self) -> Result<()> {
        let host = match std::mem::replace(&mut self.running, Running::Closed) {
            Running::Stopped(host) => *host,
            other => {
                self.running = other;
                return Ok(());
            }
        };
        self.number += 1;
        // Without the guest's own bound the whole memory has to be bounded.
        match self.engine.instantiate(host, self.engine.max_memory()) {
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
    fn prepare(&self, guest: &mut Guest) -> Result<()> {
        if let Some(limit) = self.memory_limit {
            if guest.has_memory_limit() {
                // For the guest 0 means no limit.
                guest.set_memory_limit(u32::try_from(limit.max(1)).unwrap_or(u32::MAX).cast_signed())?;
            } else {
                guest.set_max_memory(limit);
            }
        }
        if self.no_memory_alias {
            guest.set_memory_alias_enabled(0)?;
        }
        if guest.is_foreign() {
            guest.attach_memory_table(HOME.cast_signed())?;
        }
        let next = guest.host().tables.next_id();
        if next > IO + 1 {
            guest.sync_external_table_counter(next.cast_signed())?;
        }
        Ok(())
    }

    /// Gives up the instance, with everything that was not stored.
    #[cold]
    fn restart(&mut self) {
        match std::mem::replace(&mut self.running, Running::Closed) {
            Running::Guest(guest) => {
                let mut host = guest.into_host();
                host.tables.rollback();
                self.running = Running::Stopped(Box::new(host));
            }
            other => self.running = other,
        }
    }

    /// Ends a write from the host: all of it is stored, or nothing.
    pub(crate) fn finish_write(&mut self, result: Result<()>) -> Result<()> {
        let result = result.and_then(|()| self.commit());
        if let Err(error) = &result {
            if error.kind() == ErrorKind::Conflict {
                self.follow_counter()?;
            }
            self.abandon(error);
        }
        result
    }

    /// Tells the guest from where it may count tables.
    fn follow_counter(&mut self) -> Result<()> {
        let guest = self.guest()?;
        let next = guest.host().tables.next_id();
        guest.sync_external_table_counter(next.cast_signed())
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
            && guest.has_table_ids()
        {
            let next = guest.take_table_ids(0)?.cast_unsigned();
            guest.host().tables.note_counter(next);
        }
        self.tables()?.commit().map_err(store_error)?;
        if !first && dirty && self.sweep_if_due().is_err() {
            // The next one will do it.
            self.tables()?.rollback();
        }
        Ok(())
    }

    /// A run that had succeeded could not be stored: Lua takes back what it stored, and counts tables from where it may.
    #[cold]
    fn commit_failed(&mut self) -> Result<()> {
        let guest = self.guest()?;
        if guest.has_undo() {
            guest.undo_run()?;
        }
        self.follow_counter()
    }

    /// The result of a call into the guest that is no run.
    fn check<T>(&mut self, result: Result<T>) -> Result<T> {
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
    fn sweep(&mut self, all: bool) -> Result<()> {
        let mut held = self.pins.ids();
        match &mut self.running {
            Running::Guest(guest) => {
                if !guest.has_table_lists() {
                    return Ok(());
                }
                let n = guest.list_table_ids()?;
                let Ok(n) = u32::try_from(n) else {
                    // No memory for the list: another time.
                    return Ok(());
                };
                guest.refresh_buffer()?;
                let ids = guest.result(n)?.chunks_exact(4);
                held.extend(ids.map(|id| id.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte))));
            }
            Running::Stopped(_) => {}
            Running::Closed => return Err(Error::closed()),
        }
        self.tables()?.sweep(held, all).map_err(store_error)
    }

    /// Takes this many table ids.
    pub(crate) fn allocate_ids(&mut self, count: u32) -> Result<u32> {
        let none_left = || Error::new(ErrorKind::Store, "no table numbers are left");
        let seen = self.tables()?.next_id();
        let guest = self.guest()?;
        if guest.has_table_ids() {
            let first = guest.take_table_ids(count.cast_signed())?.cast_unsigned();
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

    /// Runs the guest: `enter` passes in what is to be run and returns what the guest answered. When somebody else changed what the run
    /// had read, it is repeated.
    #[inline]
    fn run(
        &mut self,
        shared: &Arc<Shared>,
        enter: impl Fn(&mut Guest, &SandboxLinks, &mut Vec<u8>) -> Result<i32>,
    ) -> Result<Outcome> {
        let mut tries = 0;
        loop {
            match self.run_once(shared, &enter) {
                Err(error) if error.kind() == ErrorKind::Conflict && tries < self.conflict_retries => {
                    tries += 1;
                    wait_before_retry(tries);
                }
                result => return result,
            }
        }
    }

    #[inline]
    fn run_once(
        &mut self,
        shared: &Arc<Shared>,
        enter: impl Fn(&mut Guest, &SandboxLinks, &mut Vec<u8>) -> Result<i32>,
    ) -> Result<Outcome> {
        let started = instance::now();
        self.release_handles(shared)?;
        let links = self.links(shared);
        let mut args = std::mem::take(&mut self.args);
        args.clear();
        let guest = self.guest()?;
        guest.host().begin(started);
        let entered = enter(guest, &links, &mut args);
        if args.capacity() <= KEPT_BUFFER as usize {
            self.args = args;
        }
        let result = match entered {
            Ok(n) if n >= 0 => self.finish_run(n, &links, started),
            Ok(n) => Err(self.run_failed(n, &links, started)),
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            self.abandon(error);
        }
        if let Running::Guest(guest) = &self.running
            && guest.buffer.size > KEPT_BUFFER
        {
            self.shrink_buffer();
        }
        result
    }

    /// Reads a successful run's results and stores what it wrote.
    #[inline]
    fn finish_run(&mut self, n: i32, links: &SandboxLinks, started: Instant) -> Result<Outcome> {
        let guest = self.guest()?;
        let n = n.cast_unsigned();
        if n > guest.buffer.size {
            guest.refresh_buffer()?;
        }
        let (output, values) = read_result(guest.result(n)?, links)?;
        let host = guest.host();
        if host.unreported {
            let message = host.failure.take().unwrap_or_default();
            return Err(Error::new(ErrorKind::Store, message).with_output(output));
        }
        if host.tables.is_open()
            && let Err(error) = self.commit()
        {
            self.commit_failed()?;
            return Err(error.with_output(output).with_metrics(metrics(started)));
        }
        Ok(Outcome { values, output, metrics: metrics(started) })
    }

    /// What a failed run says of itself.
    #[cold]
    fn run_failed(&mut self, n: i32, links: &SandboxLinks, started: Instant) -> Error {
        match self.read_error(n, links) {
            Ok(error) => error.with_metrics(metrics(started)),
            Err(error) => error,
        }
    }

    fn read_error(&mut self, n: i32, links: &SandboxLinks) -> Result<Error> {
        let guest = self.guest()?;
        // The message may have moved the buffer.
        guest.refresh_buffer()?;
        let len =
            u32::try_from(-i64::from(n) - 1).map_err(|_| Error::internal("the guest gave an impossible length"))?;
        let message = LuaString::new(guest.result(len)?);
        if guest.revision >= 2 && guest.has_error_details() {
            let len = guest.get_error_details()?;
            if len != 0 {
                guest.refresh_buffer()?;
                let values = codec::decode(guest.result(len.cast_unsigned())?, links)?;
                return details(&message, values);
            }
        }
        if message.is_empty() {
            return Ok(Error::new(ErrorKind::Runtime, "the guest refused the source and gave no message"));
        }
        let (chunk, line) = position(&message.to_string_lossy());
        Ok(Error::from_lua(ErrorKind::Runtime, &message).with_position(chunk, line))
    }

    /// Takes back what a failed run wrote. After a crash, or when the guest breaks its contract, the instance goes too.
    #[cold]
    fn abandon(&mut self, error: &Error) {
        if error.is_fatal() {
            self.restart();
        } else if let Ok(tables) = self.tables() {
            tables.rollback();
        }
    }

    #[cold]
    fn shrink_buffer(&mut self) {
        if let Ok(guest) = self.guest()
            && guest.revision >= 2
            && (guest.reserve_buffer(0).is_err() || guest.refresh_buffer().is_err())
        {
            self.restart();
        }
    }

    /// Tells the guest which functions nobody needs any more.
    #[inline]
    fn release_handles(&mut self, shared: &Shared) -> Result<()> {
        let released = shared.released.take();
        if released.is_empty() {
            return Ok(());
        }
        let number = self.number;
        if let Running::Guest(guest) = &mut self.running {
            for (_, id) in released.into_iter().filter(|(instance, _)| *instance == number) {
                if let Err(error) = guest.release_handle(id.cast_signed()) {
                    self.restart();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Those who are in conflict come back at different times.
#[cold]
pub(crate) fn wait_before_retry(tries: u32) {
    let mut random = [0; 4];
    // Without randomness all wait as long as they may.
    let random = getrandom::fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    let most = 200u64 << tries.min(9);
    std::thread::sleep(std::time::Duration::from_micros(most * u64::from(random) / u64::from(u32::MAX)));
}

fn metrics(started: Instant) -> Metrics {
    Metrics { wall_time: started.elapsed() }
}

/// Output and values of a successful run.
#[inline]
fn read_result(bytes: &[u8], links: &SandboxLinks) -> Result<(LuaString, Vec<Value>)> {
    if bytes.is_empty() {
        return Ok((LuaString::default(), Vec::new()));
    }
    let (len, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| Error::internal("the guest gave a result that is too short").fatal())?;
    let (output, values) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or_else(|| Error::internal("the guest claims more output than it gave").fatal())?;
    Ok((LuaString::new(output), codec::decode(values, links)?))
}

/// The error that `get_error_details` describes.
fn details(message: &LuaString, values: Vec<Value>) -> Result<Error> {
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or_default();
    let kind = next().as_integer().and_then(|n| u16::try_from(n).ok()).and_then(ErrorKind::from_number);
    let message = match next() {
        Value::String(text) => text,
        _ => message.clone(),
    };
    let text = |value: Value| match value {
        Value::String(text) => Some(text.to_string_lossy().into_owned()),
        _ => None,
    };
    let chunk = text(next());
    let line = next().as_integer().and_then(|n| u32::try_from(n).ok());
    let traceback = text(next());
    let output = match next() {
        Value::String(text) => text,
        _ => LuaString::default(),
    };
    let value = next();
    Ok(Error::from_lua(kind.unwrap_or(ErrorKind::Runtime), &message)
        .with_position(chunk, line)
        .with_traceback(traceback)
        .with_output(output)
        .with_value(value))
}

/// Chunk and line at the start of a message in Lua's usual form.
fn position(message: &str) -> (Option<String>, Option<u32>) {
    let after = message.strip_prefix("[string \"").and_then(|rest| rest.find("\"]:")).map_or(0, |i| i + 9 + 2);
    let Some(end) = message.get(after..).and_then(|rest| rest.find(':')).map(|i| i + after) else {
        return (None, None);
    };
    let (chunk, rest) = message.split_at(end);
    let digits: String = rest.chars().skip(1).take_while(char::is_ascii_digit).collect();
    let complete = rest.get(1 + digits.len()..).is_some_and(|rest| rest.starts_with(':'));
    match digits.parse() {
        Ok(line) if complete => (Some(chunk.to_owned()), Some(line)),
        _ => (None, None),
    }
}

impl Sandbox {
    /// A sandbox of the default engine with default settings.
    ///
    /// # Errors
    /// As [`Engine::sandbox`].
    pub fn new() -> Result<Sandbox> {
        Engine::default().sandbox(SandboxConfig::default())
    }

    /// A sandbox of the default engine.
    ///
    /// # Errors
    /// As [`Engine::sandbox`].
    pub fn with_config(config: SandboxConfig) -> Result<Sandbox> {
        Engine::default().sandbox(config)
    }

    pub(crate) fn create(engine: Engine, config: SandboxConfig) -> Result<Sandbox> {
        let tables = match config.store {
            Some(store) => store.and_then(Tables::open).map_err(store_error)?,
            None => Tables::in_memory(),
        };
        let pins = Arc::new(Pins::default());
        let mut inner = Inner {
            engine,
            running: Running::Stopped(Box::new(Host::new(tables, 1))),
            number: 0,
            memory_limit: config.memory_limit,
            no_memory_alias: config.no_memory_alias,
            conflict_retries: config.conflict_retries.unwrap_or(CONFLICT_RETRIES),
            args: Vec::new(),
            pins: Arc::clone(&pins),
        };
        inner.start()?;
        Ok(Sandbox {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                closed: AtomicBool::new(false),
                released: ReleaseQueue::default(),
                pins,
            }),
        })
    }

    /// Runs Lua source, text or bytes. Empty source gives an empty outcome.
    ///
    /// # Errors
    /// `Syntax`, `Runtime` and whatever else the script fails with; `Conversion` when a result can't leave Lua; `Store` when the store
    /// fails; `Busy`, `Closed`, `Trap`.
    pub fn compute(&self, source: impl AsRef<[u8]>) -> Result<Outcome> {
        let source = source.as_ref();
        self.shared.lock()?.run(&self.shared, |guest, _, _| {
            guest.reserve(source.len())?;
            guest.write(&[source])?;
            guest.run_compute(guest.buffer.ptr.cast_signed(), source.len() as i32)
        })
    }

    /// Runs Lua source with a chunk name and arguments.
    ///
    /// # Errors
    /// As [`compute`](Self::compute); `Conversion` also for an argument that can't be passed, `InvalidArgument` for a value of another sandbox.
    pub fn compute_with(&self, source: impl AsRef<[u8]>, options: ComputeOptions) -> Result<Outcome> {
        let source = source.as_ref();
        let name = options.name.as_bytes();
        self.shared.lock()?.run(&self.shared, |guest, links, args| {
            codec::encode_args(&options.args, args, links)?;
            guest.reserve(name.len() + source.len() + args.len())?;
            guest.write(&[name, source, args])?;
            guest.run_compute_named(name.len() as i32, source.len() as i32, args.len() as i32)
        })
    }

    /// Calls a global Lua function. Dots reach into tables: `game.player.move`.
    ///
    /// # Errors
    /// As [`compute_with`](Self::compute_with); `Runtime` when there is no such function.
    pub fn call(&self, path: &str, args: impl IntoArgs) -> Result<Outcome> {
        let values = args.into_args();
        self.shared.lock()?.run(&self.shared, |guest, links, args| {
            codec::encode_args(&values, args, links)?;
            guest.reserve(path.len() + args.len())?;
            guest.write(&[path.as_bytes(), args])?;
            guest.run_call(path.len() as i32, args.len() as i32)
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn stored(&self, id: u32) -> StoredTable {
        StoredTable::new(&self.shared, id, false)
    }

    /// The kept table `_home`, as a live view.
    #[must_use]
    pub fn home(&self) -> Home {
        self.stored(HOME)
    }

    /// The value of `_io.input`.
    ///
    /// # Errors
    /// As [`StoredTable::get`].
    pub fn input(&self) -> Result<Value> {
        self.stored(IO).get("input")
    }

    /// Sets `_io.input`, the script's input. Nil removes it.
    ///
    /// # Errors
    /// As [`StoredTable::set`].
    pub fn set_input(&self, value: impl Into<Value>) -> Result<()> {
        self.stored(IO).set("input", value)
    }

    /// The value of `_io.output`, which a script sets. A table comes as a live view.
    ///
    /// # Errors
    /// As [`StoredTable::get`].
    pub fn output(&self) -> Result<Value> {
        self.stored(IO).get("output")
    }

    /// Sets `_io.output`. Nil removes it.
    ///
    /// # Errors
    /// As [`StoredTable::set`].
    pub fn set_output(&self, value: impl Into<Value>) -> Result<()> {
        self.stored(IO).set("output", value)
    }

    /// The value of `_io.meta`.
    ///
    /// # Errors
    /// As [`StoredTable::get`].
    pub fn meta(&self) -> Result<Value> {
        self.stored(IO).get("meta")
    }

    /// Sets `_io.meta`. Nil removes it.
    ///
    /// # Errors
    /// As [`StoredTable::set`].
    pub fn set_meta(&self, value: impl Into<Value>) -> Result<()> {
        self.stored(IO).set("meta", value)
    }

    /// Removes `_io.input`, `_io.output` and `_io.meta`.
    ///
    /// # Errors
    /// `Store` when the store fails, `Busy`, `Closed`.
    pub fn clear_io(&self) -> Result<()> {
        let mut access = self.shared.lock()?;
        let tables = access.tables()?;
        for key in ["input", "output", "meta"] {
            if tables.contains(IO, key).map_err(store_error)? {
                tables.delete(IO, key);
            }
        }
        access.finish_write(Ok(()))
    }

    /// How much memory the sandbox uses now.
    ///
    /// # Errors
    /// `Busy`, `Closed`, `Trap`.
    pub fn memory_stats(&self) -> Result<MemoryStats> {
        let mut access = self.shared.lock()?;
        let result = access.guest().and_then(|guest| {
            guest.get_memory_stats(guest.buffer.ptr.cast_signed())?;
            let bytes = guest.bytes(guest.buffer.ptr, 12)?;
            let mut numbers = bytes.chunks_exact(4).map(|c| c.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)));
            let mut next = || numbers.next().unwrap_or_default();
            let (buffer_bytes, lua_bytes) = (next(), next());
            Ok(MemoryStats { buffer_bytes, lua_bytes, wasm_bytes: guest.memory_size() })
        });
        access.check(result)
    }

    /// How many tables the store holds, `_home` and `_io` included when they were written to; `None` when the store can't list them.
    ///
    /// # Errors
    /// `Store` when the store fails, `Busy`, `Closed`.
    pub fn table_count(&self) -> Result<Option<usize>> {
        self.shared.lock()?.tables()?.count().map_err(store_error)
    }

    /// Collects garbage: all of Lua's, and stored tables that nothing refers to.
    ///
    /// # Errors
    /// `Store` when the store fails, `Busy`, `Closed`, `Trap`.
    pub fn gc(&self) -> Result<()> {
        let mut access = self.shared.lock()?;
        let result = access.release_handles(&self.shared).and_then(|()| access.guest()?.run_gc());
        access.check(result)?;
        let swept = access.sweep(true);
        access.finish_write(swept)
    }

    /// Starts Lua anew: globals and functions are gone, stored tables stay. Functions that the host still has give `Closed`.
    ///
    /// # Errors
    /// `Memory` when there is no memory for a new instance, `Busy`, `Closed`.
    pub fn reset(&self) -> Result<()> {
        let mut access = self.shared.lock()?;
        access.restart();
        access.start()
    }

    /// Ends the sandbox and frees what it holds. Every later call gives `Closed`, also of values that belong to it. A run in
    /// another thread comes to its end first.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.free();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = self.shared.closed.load(Ordering::Acquire);
        f.debug_struct("Sandbox").field("closed", &closed).finish_non_exhaustive()
    }
}
