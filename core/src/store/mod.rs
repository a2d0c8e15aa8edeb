//! Where stored tables live.

mod memory;

use std::fmt;

pub use memory::MemoryStore;

/// Why a store failed.
///
/// Any error converts into one, so `?` works in an implementation, and so does `"text".into()`.
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// The error behind it.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.0
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for StoreError {
    fn from(error: E) -> Self {
        StoreError(error.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a store's functions return.
pub type StoreResult<T> = Result<T, StoreError>;

/// Keeps tables: entries of UTF-8 keys and opaque values, in tables with numbers from 1.
///
/// The first five functions are all that a store needs; the others have defaults that build on them and may be replaced
/// by something faster. A sandbox calls them from one thread at a time, never while another one runs.
///
/// Laws:
/// - `get` after `set` of the same key gives the value, until the next `set` or `delete` of it or `remove_table` of its table.
/// - `keys` gives every key exactly once, in an order that does not change while the table does not change.
/// - `size` is the number of keys that `keys` gives; 0 for a table that was never written.
/// - Values and keys come back byte for byte; empty values and values of many megabytes too.
///
/// Writes of one run arrive together, through [`commit`](Self::commit), when the run has succeeded. A store that replaces its default
/// should apply all of a batch or nothing.
///
/// Table 4294967295 is the library's own: it keeps the next free table number under the key `next`.
pub trait TableStore: Send {
    /// Hands the value under a key to `read` and gives true; false when there is no such table or key. `read` is called at
    /// most once, so that the value can be read in place.
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

    /// Hands every key to `visit`.
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

    /// Hands every entry to `visit`, in the order of [`keys`](Self::keys).
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

    /// Hands the number of every table to `visit` and gives true; false when the store can't list them. Then only tables made since
    /// the sandbox was opened are removed when nothing refers to them any more.
    ///
    /// # Errors
    /// When the store failed.
    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        let _ = visit;
        Ok(false)
    }

    /// How much all tables but the library's own hold, if the store keeps count; it should be quick. A sandbox's
    /// [`store_limit`](crate::SandboxConfig::store_limit) bounds the whole store by it; where a store does not know, it bounds what a single run
    /// adds.
    ///
    /// # Errors
    /// When the store failed.
    fn usage(&mut self) -> StoreResult<Option<Usage>> {
        Ok(None)
    }

    /// Applies all writes of one run, in order. The default does so one by one.
    ///
    /// # Errors
    /// When the store failed; the run then fails with the kind `Store`.
    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        batch.apply_to(self)
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

/// One write of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Write<'a> {
    /// As [`TableStore::set`].
    Set {
        /// The table.
        table: u32,
        /// The key.
        key: &'a str,
        /// The value.
        value: &'a [u8],
    },
    /// As [`TableStore::delete`].
    Delete {
        /// The table.
        table: u32,
        /// The key.
        key: &'a str,
    },
    /// As [`TableStore::remove_table`].
    RemoveTable {
        /// The table.
        table: u32,
    },
}

/// The writes of one run. No key is written twice in it.
pub struct Batch<'a> {
    pub(crate) overlay: &'a mut crate::overlay::Overlay,
}

impl Batch<'_> {
    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.overlay.writes().count()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.overlay.writes().next().is_none()
    }

    /// The writes, in the order in which they have to be applied.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.overlay.writes()
    }

    /// Applies the writes one by one with the store's other functions.
    ///
    /// # Errors
    /// The first one that the store gives.
    pub fn apply_to<S: TableStore + ?Sized>(&self, store: &mut S) -> StoreResult<()> {
        self.writes().try_for_each(|write| match write {
            Write::Set { table, key, value } => store.set(table, key, value),
            Write::Delete { table, key } => store.delete(table, key),
            Write::RemoveTable { table } => store.remove_table(table),
        })
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.writes()).finish()
    }
}
