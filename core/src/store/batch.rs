//! What a run writes, on its way into a store.

use std::fmt;

use super::{StoreResult, TableStore};
use crate::util::SmallBytes;

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

/// The writes of one run. No key is written twice in it, and nothing is written to a table that it removes.
pub struct Batch<'a>(pub(crate) &'a mut dyn WriteSource);

/// Where the writes of a batch are.
pub(crate) trait WriteSource {
    /// The writes, in the order in which they have to be applied.
    fn writes(&self) -> Box<dyn Iterator<Item = Write<'_>> + '_>;

    fn removed_tables(&self) -> Vec<u32>;

    /// Hands all writes but removed tables to `take` and forgets them. `None` deletes.
    fn drain(&mut self, take: &mut dyn FnMut(u32, SmallBytes, Option<SmallBytes>));
}

/// Writes in a list.
#[derive(Clone, Default)]
pub(crate) struct WriteList {
    pub(crate) removed: Vec<u32>,
    /// `None` deletes.
    pub(crate) entries: Vec<(u32, SmallBytes, Option<SmallBytes>)>,
}

impl WriteList {
    pub(crate) fn push(&mut self, write: Write<'_>) {
        match write {
            Write::Set { table, key, value } => {
                self.entries.push((table, SmallBytes::new(key.as_bytes()), Some(SmallBytes::new(value))));
            }
            Write::Delete { table, key } => self.entries.push((table, SmallBytes::new(key.as_bytes()), None)),
            Write::RemoveTable { table } => self.removed.push(table),
        }
    }
}

impl WriteSource for WriteList {
    fn writes(&self) -> Box<dyn Iterator<Item = Write<'_>> + '_> {
        let removals = self.removed.iter().map(|table| Write::RemoveTable { table: *table });
        Box::new(removals.chain(self.entries.iter().filter_map(|(table, key, value)| {
            let (table, key) = (*table, std::str::from_utf8(key.as_slice()).ok()?);
            Some(match value {
                Some(value) => Write::Set { table, key, value: value.as_slice() },
                None => Write::Delete { table, key },
            })
        })))
    }

    fn removed_tables(&self) -> Vec<u32> {
        self.removed.clone()
    }

    fn drain(&mut self, take: &mut dyn FnMut(u32, SmallBytes, Option<SmallBytes>)) {
        self.entries.drain(..).for_each(|(table, key, value)| take(table, key, value));
    }
}

impl Batch<'_> {
    /// The number of writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes().count()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes().next().is_none()
    }

    /// The writes, in the order in which they have to be applied.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.0.writes()
    }

    /// Applies the writes one by one with the store's other functions. What was applied before an error stays.
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
