//! What the store gets of a run that has succeeded.

use super::{InStore, Overlay};
use crate::bytes::SmallBytes;
use crate::store::{Batch, Source, StoreResult, TableStore, Write};

impl Overlay {
    /// The tables that have to be removed from the store.
    pub(crate) fn removed_tables(&self) -> impl Iterator<Item = u32> {
        self.tables.iter().filter(|(_, state)| state.removed && state.stored != Some(0)).map(|(table, _)| *table)
    }

    fn is_removed(&self, table: u32) -> bool {
        self.tables.get(&table).is_some_and(|state| state.removed)
    }

    /// What has to be written, in order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        let mut removed: Vec<u32> = self.removed_tables().collect();
        removed.sort_unstable();
        let removals = removed.into_iter().map(|table| Write::RemoveTable { table });
        let rest = self.entries.iter().filter(|e| !self.is_removed(e.table)).filter_map(|e| {
            let key = std::str::from_utf8(e.key.as_slice()).ok()?;
            match &e.value {
                Some(value) => Some(Write::Set { table: e.table, key, value: value.as_slice() }),
                None if e.in_store == InStore::No => None,
                None => Some(Write::Delete { table: e.table, key }),
            }
        });
        removals.chain(rest)
    }

    /// Hands all writes but removed tables to `take` and forgets them.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(u32, SmallBytes, Option<SmallBytes>)) {
        let tables = &self.tables;
        let any_removed = tables.values().any(|state| state.removed);
        for entry in self.entries.drain(..) {
            if !(any_removed && tables.get(&entry.table).is_some_and(|state| state.removed)) {
                take(entry.table, entry.key, entry.value);
            }
        }
    }

    /// Gives all writes to the store and forgets them. When it fails they are kept, for the guest to look at while it takes the
    /// run back; then they have to be cleared.
    pub(crate) fn commit(&mut self, store: &mut dyn TableStore) -> StoreResult<()> {
        store.commit(&mut Batch(Source::Overlay(self)))?;
        self.clear();
        Ok(())
    }
}
