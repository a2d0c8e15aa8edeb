//! Keeps what is worth keeping in a store, and everything else in memory.
//!
//! A new table lives in memory, and so does `_io`, until something in the store refers to the table: then it moves
//! there, with everything that it refers to. So a store holds what can be reached from `_home`. A sandbox's `_io` is
//! not visible in another sandbox that shares the store, and the store never refers to memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::store::reserved::{FIRST_FREE, IO, NEXT_KEY, OWN, RUNS, encode_next};
use crate::store::{
    Batch, CancelToken, MemoryStore, StoreError, StoreResult, TableStore, Turns, Usage, Write, WriteList,
};
use crate::tables::overlay::Overlay;
use crate::tables::{IdSet, id_set};
use crate::util::SmallBytes;
use crate::value::codec;

/// A store behind a [`MemoryStore`].
pub(crate) struct Tiered {
    kept: Box<dyn TableStore>,
    local: MemoryStore,
    /// The tables in memory that were written to, but for `_io`.
    local_ids: IdSet,
    /// The numbers that this sandbox gives to new tables: first and after the last, in order.
    own: Vec<(u32, u32)>,
    /// Those of them that moved to the store.
    moved: IdSet,
    /// Those that were on their way when a commit failed: nobody knows whether they arrived.
    doubtful: IdSet,
    /// Of the present run.
    cancel: CancelToken,
    /// Whether the store was asked for something.
    asked: bool,
}

impl Tiered {
    pub(crate) fn new(kept: Box<dyn TableStore>) -> Self {
        Tiered {
            kept,
            local: MemoryStore::new(),
            local_ids: id_set(),
            own: Vec::new(),
            moved: id_set(),
            doubtful: id_set(),
            cancel: CancelToken::default(),
            asked: false,
        }
    }

    /// Whether no number is this sandbox's own yet.
    pub(crate) fn is_new(&self) -> bool {
        self.own.is_empty()
    }

    /// From now on tables with these numbers are this sandbox's own.
    pub(crate) fn add_own(&mut self, first: u32, end: u32) {
        match self.own.last_mut() {
            Some((_, last)) if *last == first => *last = end,
            _ => self.own.push((first, end)),
        }
    }

    /// The tables in memory, if this is one.
    pub(crate) fn local_of(&self, table: u32) -> Option<&MemoryStore> {
        self.is_local(table).then_some(&self.local)
    }

    pub(crate) fn is_local(&self, table: u32) -> bool {
        let own = || {
            let behind = self.own.partition_point(|(first, _)| *first <= table);
            behind.checked_sub(1).and_then(|at| self.own.get(at)).is_some_and(|(_, end)| table < *end)
        };
        table == IO || own() && !self.moved.contains(&table)
    }

    /// The tables in memory, but for `_io`.
    pub(crate) fn local_ids(&self) -> impl Iterator<Item = u32> {
        self.local_ids.iter().copied()
    }

    /// What the tables in memory hold.
    pub(crate) fn local_usage(&self) -> Usage {
        self.local.held()
    }

    pub(crate) fn local_len(&self) -> usize {
        self.local_ids.len()
    }

    /// The tables that moved to the store.
    pub(crate) fn moved(&self) -> impl Iterator<Item = u32> {
        self.moved.iter().copied()
    }

    /// After a commit that failed: finds out which tables did move. Reads from the store.
    pub(crate) fn settle(&mut self) -> StoreResult<()> {
        for id in self.doubtful.clone() {
            // An empty one is the same in either place.
            if self.kept.size(id)? > 0 || self.local.size(id)? == 0 {
                self.remove_local(id)?;
                self.moved.insert(id);
            }
            self.doubtful.remove(&id);
        }
        Ok(())
    }

    /// Removes a table from memory.
    pub(crate) fn remove_local(&mut self, table: u32) -> StoreResult<()> {
        self.local_ids.remove(&table);
        self.local.remove_table(table)
    }

    fn of(&mut self, table: u32) -> &mut dyn TableStore {
        if self.is_local(table) {
            return &mut self.local;
        }
        self.asked = true;
        &mut *self.kept
    }

    /// Whether the store, behind what is in memory, was asked for something since this was asked last.
    #[inline]
    pub(crate) fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    /// The tables in memory that the store is about to refer to, with those that they refer to.
    fn moving(&mut self, overlay: &Overlay) -> StoreResult<IdSet> {
        let mut moving = id_set();
        let mut pending = Vec::new();
        for write in overlay.writes() {
            if let Write::Set { table, value, .. } = write
                && codec::may_refer(value)
                && !self.is_local(table)
            {
                codec::references(value, &mut |id| pending.push(id));
            }
        }
        while let Some(id) = pending.pop() {
            if id == IO || !self.is_local(id) || !moving.insert(id) {
                continue;
            }
            for (_, value) in overlay.written_entries(id) {
                if let Some(value) = value {
                    codec::references(value.as_slice(), &mut |id| pending.push(id));
                }
            }
            let mut entries = self.cancel.watch(self.local.entries(id));
            for (key, value) in &mut entries {
                if !overlay.writes_to(id, key.as_bytes()) {
                    codec::references(value, &mut |id| pending.push(id));
                }
            }
            entries.finish()?;
        }
        Ok(moving)
    }

    /// Ends a run, whose writes these are.
    pub(crate) fn commit_overlay(&mut self, overlay: &mut Overlay) -> StoreResult<()> {
        let moving = self.moving(overlay)?;
        if moving.is_empty() && !overlay.touched_tables().any(|table| self.is_local(table)) {
            // By far the most frequent: plain values in tables that are kept.
            let removed: Vec<u32> = overlay.removed_tables().collect();
            self.kept.commit(&mut Batch(overlay))?;
            for id in removed {
                self.moved.remove(&id);
            }
            return Ok(());
        }
        let mut kept = WriteList::default();
        let mut local = WriteList::default();
        for table in overlay.removed_tables() {
            let list = if self.is_local(table) { &mut local } else { &mut kept };
            list.removed.push(table);
        }
        for id in &moving {
            let mut entries = self.cancel.watch(self.local.entries(*id));
            for (key, value) in &mut entries {
                if !overlay.writes_to(*id, key.as_bytes()) {
                    kept.entries.push((*id, SmallBytes::new(key.as_bytes()), Some(SmallBytes::new(value))));
                }
            }
            entries.finish()?;
        }
        for write in overlay.writes() {
            let (table, key, value) = match write {
                Write::Set { table, key, value } => (table, key, Some(SmallBytes::new(value))),
                Write::Delete { table, key } => (table, key, None),
                Write::RemoveTable { .. } => continue,
            };
            let list = if self.is_local(table) && !moving.contains(&table) { &mut local } else { &mut kept };
            list.entries.push((table, SmallBytes::new(key.as_bytes()), value));
        }
        // The one that can fail goes first, by a panic even.
        self.doubtful.extend(&moving);
        let committed = self.kept.commit(&mut Batch(&mut kept));
        if committed.as_ref().map_or_else(StoreError::is_conflict, |()| true) {
            self.doubtful.retain(|id| !moving.contains(id));
        }
        committed?;
        self.local.commit(&mut Batch(&mut local))?;
        for id in &local.removed {
            self.local_ids.remove(id);
        }
        let written = overlay.written_tables().filter(|id| *id != IO && self.is_local(*id) && !moving.contains(id));
        let written: Vec<u32> = written.collect();
        self.local_ids.extend(written);
        for id in &kept.removed {
            self.moved.remove(id);
        }
        for id in moving {
            self.remove_local(id)?;
            self.moved.insert(id);
        }
        Ok(())
    }
}

impl Tiered {
    /// Makes all tables what they are in `image`: those of `kept` in the store, in one commit, which removes the others
    /// that are `present` there, and the rest in memory. All numbers below `next` are this sandbox's own from here on,
    /// which `noted` says in the store.
    pub(crate) fn replace(
        &mut self,
        image: &MemoryStore,
        kept: IdSet,
        present: &IdSet,
        next: u32,
        noted: Option<u32>,
    ) -> StoreResult<()> {
        let mut list = WriteList { removed: present.difference(&kept).copied().collect(), entries: Vec::new() };
        list.removed.sort_unstable();
        let entries = &mut list.entries;
        for id in &kept {
            let mut same = 0;
            self.kept.scan(*id, &mut |key, value| match image.value(*id, key) {
                Some(wanted) if wanted == value => same += 1,
                Some(_) => {}
                None => entries.push((*id, SmallBytes::new(key.as_bytes()), None)),
            })?;
            if same == image.entries(*id).count() {
                continue;
            }
            for (key, value) in image.entries(*id) {
                let mut changed = true;
                self.kept.get(*id, key, &mut |now| changed = now != value)?;
                if changed {
                    entries.push((*id, SmallBytes::new(key.as_bytes()), Some(SmallBytes::new(value))));
                }
            }
        }
        if let Some(noted) = noted {
            let (key, value) = (SmallBytes::new(NEXT_KEY.as_bytes()), SmallBytes::new(&encode_next(noted)));
            entries.push((OWN, key, Some(value)));
        }
        self.kept.commit(&mut Batch(&mut list))?;
        self.local = MemoryStore::new();
        self.local_ids.clear();
        for id in image.ids().filter(|id| !kept.contains(id)) {
            image.entries(id).for_each(|(key, value)| self.local.put_entry(id, key, value));
            if id != IO {
                self.local_ids.insert(id);
            }
        }
        self.own = vec![(FIRST_FREE, if noted.is_some() { RUNS } else { next })];
        self.moved = kept;
        self.doubtful.clear();
        Ok(())
    }
}

impl Tiered {
    /// Makes `_io` what it is there.
    pub(crate) fn restore_io(&mut self, image: &MemoryStore) {
        // In memory nothing fails.
        let _ = self.local.remove_table(IO);
        image.entries(IO).for_each(|(key, value)| self.local.put_entry(IO, key, value));
    }
}

impl TableStore for Tiered {
    fn usage(&mut self) -> StoreResult<Option<Usage>> {
        let (kept, local) = (self.kept.usage()?.unwrap_or_default(), self.local.usage()?.unwrap_or_default());
        Ok(Some(Usage { bytes: kept.bytes + local.bytes, entries: kept.entries + local.entries }))
    }

    fn held(&self) -> usize {
        self.kept.held()
    }

    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.of(table).get(table, key, read)
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.of(table).set(table, key, value)
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.of(table).delete(table, key)
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.of(table).size(table)
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.of(table).keys(table, visit)
    }

    fn contains(&mut self, table: u32, key: &str) -> StoreResult<bool> {
        self.of(table).contains(table, key)
    }

    fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        self.of(table).scan(table, visit)
    }

    fn keys_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        self.of(table).keys_after(table, after, limit, visit)
    }

    fn scan_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> StoreResult<()> {
        self.of(table).scan_after(table, after, visit)
    }

    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        self.of(table).remove_table(table)
    }

    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        self.kept.tables(visit)
    }

    fn prefetch(&mut self, keys: &[(u32, &str)]) -> StoreResult<()> {
        if keys.iter().all(|(table, _)| !self.is_local(*table)) {
            return self.kept.prefetch(keys);
        }
        let kept: Vec<(u32, &str)> = keys.iter().copied().filter(|(table, _)| !self.is_local(*table)).collect();
        if kept.is_empty() { Ok(()) } else { self.kept.prefetch(&kept) }
    }

    fn set_cancel(&mut self, token: &CancelToken) {
        self.cancel = token.clone();
        self.kept.set_cancel(token);
    }

    fn begin(&mut self) -> StoreResult<()> {
        self.kept.begin()
    }

    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        self.kept.commit(batch)
    }

    fn rollback(&mut self) {
        self.kept.rollback();
    }

    fn reserve_ids(&mut self, count: u32) -> StoreResult<Option<u32>> {
        self.kept.reserve_ids(count)
    }

    fn known_next_id(&self) -> Option<u32> {
        self.kept.known_next_id()
    }

    fn now(&mut self) -> StoreResult<SystemTime> {
        self.kept.now()
    }

    fn turns(&self) -> Option<Arc<Turns>> {
        self.kept.turns()
    }

    fn take_turn(&mut self, term: Duration) -> StoreResult<bool> {
        self.kept.take_turn(term)
    }

    fn end_turn(&mut self) {
        self.kept.end_turn();
    }

    fn era(&self) -> u64 {
        self.kept.era()
    }

    fn share_held(&mut self, held: &[u32], collect: bool) -> StoreResult<()> {
        self.kept.share_held(held, collect)
    }

    fn asks_for_held(&self) -> bool {
        self.kept.asks_for_held()
    }

    fn is_shared(&self) -> bool {
        self.kept.is_shared()
    }
}
