//! What the store gets from a run that has succeeded.

use super::{InStore, Overlay};
use crate::store::{Write, WriteSource};
use crate::util::SmallBytes;

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
}

impl WriteSource for Overlay {
    fn writes(&self) -> Box<dyn Iterator<Item = Write<'_>> + '_> {
        Box::new(self.writes())
    }

    fn removed_tables(&self) -> Vec<u32> {
        self.removed_tables().collect()
    }

    fn drain(&mut self, take: &mut dyn FnMut(u32, SmallBytes, Option<SmallBytes>)) {
        let tables = &self.tables;
        let any_removed = tables.values().any(|state| state.removed);
        for entry in self.entries.drain(..) {
            if !(any_removed && tables.get(&entry.table).is_some_and(|state| state.removed)) {
                take(entry.table, entry.key, entry.value);
            }
        }
    }
}
