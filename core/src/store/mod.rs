//! Where stored tables live.

mod batch;
mod cancel;
mod file;
mod into_store;
mod memory;
#[cfg(feature = "redis")]
mod redis;
pub(crate) mod reserved;
mod turns;
mod undo_log;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::value::{Error, ErrorKind, keys, path};
pub use batch::{Batch, Write};
pub(crate) use batch::{WriteList, WriteSource};
pub use cancel::CancelToken;
pub use file::{Durability, FileOptions, FileStore};
pub use into_store::IntoStore;
pub use memory::MemoryStore;
#[cfg(feature = "redis")]
pub use redis::{RedisOptions, RedisStore};
pub(crate) use turns::Turn;
#[doc(hidden)]
pub use turns::{Turns, work_for};
pub(crate) use undo_log::recover;

/// Why a store failed.
///
/// Any error converts into one, so `?` works in an implementation, and so does `"text".into()`.
pub struct StoreError {
    cause: Box<dyn std::error::Error + Send + Sync>,
    conflict: bool,
}

impl StoreError {
    /// What [`TableStore::commit`] returns if somebody else has changed what the run read. Nothing was written; the run
    /// is repeated, or fails with the kind `Conflict`.
    pub fn conflict(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StoreError { cause: cause.into(), conflict: true }
    }

    /// Somebody else has changed this entry of a table, or without a key any of its entries.
    pub(crate) fn changed(table: u32, key: Option<&str>) -> Self {
        let root = if table == reserved::HOME { "_home".to_owned() } else { format!("table {table}") };
        let place = match key {
            _ if reserved::is_own(table) => "what it keeps of its runs".to_owned(),
            Some(key) => path::path(&root, std::iter::once(keys::decode(key.as_bytes()))),
            None => format!("the entries of {root}"),
        };
        StoreError::conflict(format!("another sandbox changed what this one had read: {place}"))
    }

    /// Whether it is a conflict with somebody else's writes.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.conflict
    }

    /// Whether a commit may have been done even so.
    #[cfg(feature = "redis")]
    pub(crate) fn is_uncertain(&self) -> bool {
        self.cause.is::<Uncertain>()
    }

    /// The error behind it.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.cause
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for StoreError {
    fn from(error: E) -> Self {
        StoreError { cause: error.into(), conflict: false }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = if error.is_conflict() { ErrorKind::Conflict } else { ErrorKind::Store };
        let text = error.to_string();
        Error::new(kind, text).with_boxed_source(error.into_inner()).shown_as("the store failed")
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

/// The cause of an error of a commit that may have been done all the same, as a whole.
#[derive(Debug)]
pub(crate) struct Uncertain(pub(crate) String);

impl fmt::Display for Uncertain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Uncertain {}

/// What a store's functions return.
pub type StoreResult<T> = Result<T, StoreError>;

/// Keeps tables: entries of UTF-8 keys and opaque values, in tables with numbers from 1.
///
/// A store only needs the first five functions. The others have defaults that build on them and may be replaced by
/// something faster. A sandbox calls them from one thread at a time, and never while another call is running. The
/// feature `testkit` checks any store against the laws below.
///
/// Laws:
/// - `get` after `set` of the same key returns the value, until the next `set` or `delete` of it or `remove_table` of
///   its table.
/// - `keys` returns every key exactly once, in an order that does not change while the table does not change.
/// - `size` is the number of keys that `keys` returns; 0 for a table that was never written.
/// - Values and keys come back byte for byte, including empty ones and those of many megabytes. Keys are compared byte
///   by byte.
/// - What one call wrote is written completely or not at all, and is there at the next call; in a store that outlives
///   the process, also after a crash.
/// - `commit` writes all or nothing. The default keeps that promise for a store that obeys the law above and has one
///   user at a time: before it writes more than one key, it saves the old values, and an interrupted commit is rolled
///   back when the store is next used.
/// - In a store that several sandboxes use at a time, `commit` fails with a [conflict](StoreError::conflict) if what
///   was read since `begin` is not what is there now, and [`reserve_ids`](Self::reserve_ids) never returns a number
///   twice.
///
/// What a run writes arrives together, through [`commit`](Self::commit), when the run has succeeded; until then the
/// sandbox only reads. `_io` and tables that nothing in `_home` refers to never go into a store.
///
/// Tables 4294967294 and 4294967295 are the library's own. The first keeps durable runs that wait, under their names.
/// The second keeps the next free table number under the key `next`, what has to be rolled back after an interrupted
/// commit under `undo`, who wrote last under `writer`, and who has claimed a durable run under `claim:` and its name.
pub trait TableStore: Send {
    /// Passes the value under a key to `read` and returns true; returns false if there is no such table or key. `read`
    /// is called at most once, so that the value can be read in place.
    ///
    /// # Errors
    /// When the store failed; the run then fails with the kind `Store`.
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool>;

    /// Stores a value under a key; creates the table if it is new.
    ///
    /// # Errors
    /// When the store failed.
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()>;

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// When the store failed.
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()>;

    /// The number of entries.
    ///
    /// # Errors
    /// When the store failed.
    fn size(&mut self, table: u32) -> StoreResult<u64>;

    /// Passes every key to `visit`.
    ///
    /// # Errors
    /// When the store failed.
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()>;

    /// Whether there is such a key.
    ///
    /// # Errors
    /// When the store failed.
    fn contains(&mut self, table: u32, key: &str) -> StoreResult<bool> {
        self.get(table, key, &mut |_| {})
    }

    /// Passes every entry to `visit`, in the order of [`keys`](Self::keys).
    ///
    /// # Errors
    /// When the store failed.
    fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        let mut keys = Vec::new();
        self.keys(table, &mut |key| keys.push(key.to_owned()))?;
        for key in keys {
            self.get(table, &key, &mut |value| visit(&key, value))?;
        }
        Ok(())
    }

    /// Removes a table with everything in it.
    ///
    /// # Errors
    /// When the store failed.
    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        let mut keys = Vec::new();
        self.keys(table, &mut |key| keys.push(key.to_owned()))?;
        keys.iter().try_for_each(|key| self.delete(table, key))
    }

    /// Passes the number of every table to `visit` and returns true; returns false if the store can't list them. Then
    /// only tables made since the sandbox was opened are removed when nothing refers to them any more.
    ///
    /// # Errors
    /// When the store failed.
    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        let _ = visit;
        Ok(false)
    }

    /// How much all tables except the library's own hold, if the store keeps count; it should be quick. A sandbox's
    /// [`store_limit`](crate::SandboxConfig::store_limit) limits the whole store by it; if a store does not know, it
    /// limits what a single run adds.
    ///
    /// # Errors
    /// When the store failed.
    fn usage(&mut self) -> StoreResult<Option<Usage>> {
        Ok(None)
    }

    /// How many bytes of memory the store holds for the current run, for example what it has read and remembers. If a
    /// run makes this grow too far, [`store_limit`](crate::SandboxConfig::store_limit) ends it.
    fn held(&self) -> usize {
        0
    }

    /// Passes at most `limit` keys to `visit`: those that come after the key `after` in the order of
    /// [`keys`](Self::keys), or the first ones. `after` is a key of the table.
    ///
    /// # Errors
    /// When the store failed.
    fn keys_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        let mut found = after.is_none();
        let mut left = limit;
        self.keys(table, &mut |key| {
            if found && left > 0 {
                left -= 1;
                visit(key);
            }
            found |= after == Some(key);
        })
    }

    /// Passes entries to `visit` until that returns false: those that come after the key `after` in the order of
    /// [`keys`](Self::keys), or from the first one on. `after` is a key of the table. A script's `pairs` reads large
    /// tables this way.
    ///
    /// # Errors
    /// When the store failed.
    fn scan_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> StoreResult<()> {
        const PORTION: usize = 1024;
        let mut last = after.map(str::to_owned);
        loop {
            let mut keys = Vec::new();
            self.keys_after(table, last.as_deref(), PORTION, &mut |key| keys.push(key.to_owned()))?;
            for key in &keys {
                let mut more = true;
                self.get(table, key, &mut |value| more = visit(key, value))?;
                if !more {
                    return Ok(());
                }
            }
            if keys.len() < PORTION {
                return Ok(());
            }
            last = keys.pop();
        }
    }

    /// Says that these keys will be read soon, so that they can be fetched together. The default does nothing.
    ///
    /// # Errors
    /// When the store failed.
    fn prefetch(&mut self, keys: &[(u32, &str)]) -> StoreResult<()> {
        let _ = keys;
        Ok(())
    }

    /// Says when reading is no longer of any use. Until the next call of this, code that waits for a server or a lock
    /// may give up with any error once the token is cancelled; the run then ends with the limit that it reached. A
    /// [`commit`](Self::commit) may give up only as long as it is certain that nothing was written. The default does
    /// nothing; if something takes long between two calls, that is noticed in any case.
    fn set_cancel(&mut self, token: &CancelToken) {
        let _ = token;
    }

    /// Starts a run: what is read from now on until [`commit`](Self::commit) or [`rollback`](Self::rollback) belongs
    /// together.
    ///
    /// # Errors
    /// When the store failed.
    fn begin(&mut self) -> StoreResult<()> {
        Ok(())
    }

    /// Applies all writes of one run, or none; an empty batch ends a run that only read.
    ///
    /// # Errors
    /// When the store failed; the run then fails with the kind `Store`. See also [`StoreError::conflict`].
    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        undo_log::commit(self, batch)
    }

    /// Ends a run that writes nothing.
    fn rollback(&mut self) {}

    /// Takes `count` numbers for new tables out of those that were never given to anybody, and returns the first; with
    /// 0, the next one that would be given. `None`, the default, means that one sandbox at a time uses the store and
    /// counts by itself.
    ///
    /// # Errors
    /// When the store failed.
    fn reserve_ids(&mut self, count: u32) -> StoreResult<Option<u32>> {
        let _ = count;
        Ok(None)
    }

    /// The next number that [`reserve_ids`](Self::reserve_ids) would return, if it costs nothing to know.
    #[doc(hidden)]
    fn known_next_id(&self) -> Option<u32> {
        None
    }

    /// For a store that others use too: these are all of its tables that this sandbox holds between two runs, in
    /// variables, in views of the host, or in what it has in memory. With `collect`, the store may remove what neither
    /// they nor `_home`, nor any other sandbox, can reach; the default removes nothing. Without it, the store is told
    /// because it [asked](Self::asks_for_held).
    ///
    /// # Errors
    /// When the store failed.
    fn share_held(&mut self, held: &[u32], collect: bool) -> StoreResult<()> {
        let _ = (held, collect);
        Ok(())
    }

    /// Whether the store wants to know which tables this sandbox holds, after the next run.
    fn asks_for_held(&self) -> bool {
        false
    }

    /// The time by which all users of the store go when they claim durable runs. The default is this machine's clock: for
    /// a store that several machines use, those have to agree within a fraction of the
    /// [term](crate::ComputeOptions::claim_term).
    ///
    /// # Errors
    /// When the store failed.
    fn now(&mut self) -> StoreResult<SystemTime> {
        Ok(SystemTime::now())
    }

    /// Where runs of this process wait for their turn on the store.
    #[doc(hidden)]
    fn turns(&self) -> Option<Arc<Turns>> {
        None
    }

    /// Takes the turn among the users of a store on a server, for so long; whether nobody else has it.
    ///
    /// # Errors
    /// When the store failed.
    #[doc(hidden)]
    fn take_turn(&mut self, term: Duration) -> StoreResult<bool> {
        let _ = term;
        Ok(true)
    }

    /// Gives it back.
    #[doc(hidden)]
    fn end_turn(&mut self) {}

    /// A number that changes once all users of the store are gone, if the store can tell: what they had claimed is free
    /// then.
    #[doc(hidden)]
    fn era(&self) -> u64 {
        0
    }

    /// Whether somebody else may use the store at the same time. Then tables that nothing refers to are not removed,
    /// because somebody may hold one in a variable.
    fn is_shared(&self) -> bool {
        false
    }
}

/// How much tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all keys and values together.
    pub bytes: u64,
    /// The number of entries of all tables together.
    pub entries: u64,
}
