//! All tables at one moment.

use std::collections::HashMap;
use std::sync::Arc;

use super::overlay::Overlay;
use super::{Backing, IdSet, Tables, id_set};
use crate::store::reserved::{FIRST_FREE, HOME, IO, RUNS, is_valid};
use crate::store::{MemoryStore, StoreResult, TableStore, Usage, Write, WriteList, WriteSource};
use crate::value::codec;

/// A copy of all tables of a sandbox.
#[derive(Clone)]
pub(crate) struct TableSnapshot {
    store: Arc<MemoryStore>,
    /// The lowest number that no table has.
    next_id: u32,
}

impl TableSnapshot {
    /// `None` when a table has a number that is not below the next one.
    pub(crate) fn new(store: MemoryStore, next_id: u32) -> Option<Self> {
        let all_below = store.ids().all(|id| is_valid(id) && id < next_id);
        ((FIRST_FREE..RUNS).contains(&next_id) && all_below).then(|| TableSnapshot { store: Arc::new(store), next_id })
    }

    pub(crate) fn store(&self) -> &MemoryStore {
        &self.store
    }

    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// What they hold with these writes, whatever their order was. A list from elsewhere may name a key twice.
    pub(crate) fn usage_with(&self, list: &WriteList) -> Usage {
        let mut usage = self.store.held();
        let mut changed = HashMap::new();
        for write in list.writes() {
            match write {
                Write::Set { table, key, value } => changed.insert((table, key), Some(value.len())),
                Write::Delete { table, key } => changed.insert((table, key), None),
                Write::RemoveTable { .. } => None,
            };
        }
        for ((table, key), new) in changed {
            let size = |len: usize| (key.len() + len) as u64;
            let old = self.store.value(table, key).map(<[u8]>::len);
            usage.bytes = usage.bytes.saturating_add(new.map_or(0, size)).saturating_sub(old.map_or(0, size));
            usage.entries += u64::from(new.is_some());
            usage.entries = usage.entries.saturating_sub(u64::from(old.is_some()));
        }
        usage
    }

    /// The tables that `_home` reaches, which a store keeps.
    fn kept(&self) -> IdSet {
        let mut seen = id_set();
        let mut pending = vec![HOME];
        while let Some(table) = pending.pop() {
            if table != IO && is_valid(table) && seen.insert(table) {
                for (_, value) in self.store.entries(table) {
                    codec::references(value, &mut |id| pending.push(id));
                }
            }
        }
        seen
    }
}

impl Tables {
    /// Whether an snapshot has to know which tables Lua holds.
    pub(crate) fn wants_held(&self) -> bool {
        self.has_store()
    }

    /// Whether they are in a store, not just in memory.
    pub(crate) fn has_store(&self) -> bool {
        matches!(self.backing, Backing::Tiered(_))
    }

    /// Whether somebody else may use the store too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(&self.backing, Backing::Tiered(tiered) if tiered.is_shared())
    }

    /// Copies all tables, without what a run that waits has written: in memory everything that there is, of a store what
    /// `_home`, `_io` and these reach. `next_id` is the next number that the guest would give.
    pub(crate) fn snapshot(&mut self, held: Vec<u32>, next_id: u32) -> StoreResult<TableSnapshot> {
        let writes = std::mem::replace(&mut self.overlay, Overlay::new());
        let copied = self.copy(held, next_id);
        self.overlay = writes;
        copied
    }

    /// `_io` alone, and what its entries refer to.
    pub(crate) fn snapshot_io(&mut self) -> StoreResult<(TableSnapshot, Vec<u32>)> {
        let (mut store, mut ids) = (MemoryStore::new(), Vec::new());
        self.scan_any(IO, &mut |key, value| {
            store.put_entry(IO, key, value);
            codec::references(value, &mut |id| ids.push(id));
        })?;
        Ok((TableSnapshot { store: Arc::new(store), next_id: self.next_id }, ids))
    }

    /// Makes `_io` what it is in the snapshot; nothing else.
    pub(crate) fn restore_io(&mut self, snapshot: &TableSnapshot) {
        if let Backing::Tiered(tiered) = &mut self.backing {
            tiered.restore_io(snapshot.store());
        }
    }

    /// The next number for a table, where some below this one are taken: by somebody else, if others use the store.
    pub(crate) fn next_id_beyond(&mut self, taken: u32) -> u32 {
        if self.lease_end.is_none() {
            self.note_id(taken.saturating_sub(1));
        } else {
            if taken > self.next_id {
                self.leave_to_others(taken);
            }
            self.pass_by();
        }
        self.next_id
    }

    fn copy(&mut self, held: Vec<u32>, next_id: u32) -> StoreResult<TableSnapshot> {
        let next_id = self.next_id.max(next_id);
        let store = match &self.backing {
            Backing::Memory(store) => store.clone(),
            Backing::Tiered(_) => {
                let reached = self.reachable([HOME, IO].into_iter().chain(held))?.0;
                let mut copy = MemoryStore::new();
                for id in reached.into_iter().filter(|id| is_valid(*id)) {
                    self.scan(id, &mut |key, value| copy.put_entry(id, key, value))?;
                }
                copy
            }
        };
        // A table that is referred to but empty has a number too.
        let next_id = store.ids().filter(|id| is_valid(*id)).fold(next_id, |next, id| next.max(id.saturating_add(1)));
        Ok(TableSnapshot { store: Arc::new(store), next_id })
    }

    /// What the present run has written.
    pub(crate) fn pending_writes(&self) -> WriteList {
        let mut list = WriteList::default();
        self.overlay.writes().for_each(|write| list.push(write));
        list
    }

    /// Writes for the run that goes on here what it had written where it comes from: whether there is room for that was
    /// looked at before.
    pub(crate) fn write_again(&mut self, list: &WriteList) -> StoreResult<()> {
        for write in list.writes() {
            match write {
                Write::Set { table, key, value } => self.set_by_host(table, key, value)?,
                Write::Delete { table, key } => self.delete(table, key),
                Write::RemoveTable { table } => self.overlay.remove_table(table),
            }
        }
        Ok(())
    }

    /// Makes all tables what they are in an snapshot, in one transaction. The store must not be in use by others.
    pub(crate) fn restore(&mut self, snapshot: &TableSnapshot) -> StoreResult<()> {
        self.rollback();
        match &mut self.backing {
            Backing::Memory(store) => *store = snapshot.store().clone(),
            Backing::Tiered(_) => self.restore_store(snapshot)?,
        }
        self.next_id = self.next_id.max(snapshot.next_id);
        self.floor = self.next_id;
        self.live = snapshot.store().ids().count();
        self.created = 0;
        self.overlay.begin(self.next_id);
        Ok(())
    }

    fn restore_store(&mut self, snapshot: &TableSnapshot) -> StoreResult<()> {
        let next = self.next_id.max(snapshot.next_id);
        self.store()?;
        let mut present = id_set();
        let listed = self.backing.store().tables(&mut |id| {
            present.insert(id);
        })?;
        if !listed {
            present = self.reachable([HOME, RUNS])?.0;
        }
        let Backing::Tiered(tiered) = &mut self.backing else {
            return Ok(());
        };
        let reserved = match tiered.reserve_ids(0)? {
            Some(counter) if counter < next => {
                tiered.reserve_ids(next - counter)?;
                tiered.reserve_ids(0)?
            }
            counter => counter,
        };
        let next = reserved.unwrap_or(next).max(next);
        // The runs of the store that waited were about tables that go.
        present.retain(|id| is_valid(*id) && *id != IO || *id == RUNS);
        let noted = if reserved.is_none() { Some(super::noted_next(next)) } else { None };
        self.interrupted = true;
        let replaced = tiered.replace(snapshot.store(), snapshot.kept(), &present, next, noted);
        self.interrupted = replaced.as_ref().is_err_and(|error| !error.is_conflict());
        if let Err(error) = replaced {
            self.end();
            return Err(error);
        }
        self.begun = false;
        self.next_id = next;
        self.saved_next_id = noted.unwrap_or(next);
        self.lease_end = reserved.map(|_| next);
        Ok(())
    }
}
