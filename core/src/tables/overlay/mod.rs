//! The writes of one run, between the guest and the store.
//!
//! A run sees its own writes. The store gets them all together when the run has succeeded, or never.

mod commit;
mod scan;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use hashbrown::hash_table::Entry as IndexEntry;
use hashbrown::{HashMap, HashSet, HashTable};

use crate::store::reserved::is_own;
use crate::store::{StoreResult, TableStore, Usage};
use crate::util::SmallBytes;
use crate::util::ordered_map::Place;

/// The end of a list of entries.
const NONE: u32 = u32::MAX;

/// What an entry, and a table, takes at least, with its place in an index that is never quite full.
const ENTRY: usize = size_of::<Entry>() + 2 * size_of::<Place>();
const TABLE: usize = 2 * size_of::<(u32, TableState)>();

/// More room than this is given back after a run.
const KEPT: usize = 4096;

/// Whether the store holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InStore {
    Unknown,
    Yes,
    No,
}

/// One written key.
struct Entry {
    table: u32,
    /// The next entry of the same table.
    next: u32,
    /// The next one of the same table that the store does not have.
    next_new: u32,
    key: SmallBytes,
    /// `None`: deleted.
    value: Option<SmallBytes>,
    in_store: InStore,
}

impl Entry {
    #[inline]
    fn is(&self, table: u32, key: &[u8]) -> bool {
        self.table == table && self.key.as_slice() == key
    }
}

/// What is known of a table that was written to.
struct TableState {
    first: u32,
    last: u32,
    /// The first entry of which it is not known whether the store has it.
    unresolved: u32,
    /// The entries that the store does not have.
    first_new: u32,
    last_new: u32,
    /// A key of the store's: this run deleted it and all before it. Who takes one entry after the other from the front
    /// begins there.
    gone: Option<String>,
    /// The same for entries that the store does not have.
    gone_new: u32,
    /// The size in the store.
    stored: Option<u64>,
    /// How much larger the table is now, without unresolved entries.
    growth: i64,
    /// To be removed with everything in it.
    removed: bool,
}

impl TableState {
    const fn new(stored: Option<u64>) -> Self {
        TableState {
            first: NONE,
            last: NONE,
            unresolved: NONE,
            first_new: NONE,
            last_new: NONE,
            gone: None,
            gone_new: NONE,
            stored,
            growth: 0,
            removed: false,
        }
    }
}

/// Writes that are not in the store yet. One list and one hash table for all tables: a run may make a million small
/// ones.
pub(crate) struct Overlay {
    entries: Vec<Entry>,
    index: HashTable<Place>,
    tables: HashMap<u32, TableState, RandomState>,
    state: RandomState,
    /// Tables from this id on are new: the store has nothing of them.
    fresh_from: u32,
    /// But for these, which somebody else made.
    foreign: HashSet<u32, RandomState>,
    /// Causes the highest of them; 0 when there is none.
    foreign_end: u32,
    /// Numbers below this one are this run's, whoever else has them: while Lua takes back what it did.
    own_end: u32,
    /// How many new tables got entries.
    created: usize,
    /// The bytes that all this takes in memory.
    held: usize,
}

impl Overlay {
    pub(crate) fn new() -> Self {
        let state = RandomState::new();
        Overlay {
            entries: Vec::new(),
            index: HashTable::new(),
            tables: HashMap::with_hasher(state.clone()),
            foreign: HashSet::with_hasher(state.clone()),
            state,
            fresh_from: u32::MAX,
            foreign_end: 0,
            own_end: 0,
            created: 0,
            held: 0,
        }
    }

    /// The bytes that the writes take in memory. What was deleted takes some too.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Starts a run.
    pub(crate) fn begin(&mut self, fresh_from: u32) {
        self.fresh_from = fresh_from;
        if !self.foreign.is_empty() {
            self.foreign.retain(|id| *id >= fresh_from);
            if self.foreign.is_empty() {
                self.foreign_end = 0;
            }
        }
    }

    /// Causes the highest number of a table that somebody else made, of those that are not below the new ones.
    pub(crate) fn foreign_end(&self) -> u32 {
        self.foreign_end
    }

    /// Whether somebody else made a table with one of these numbers.
    pub(crate) fn any_foreign(&self, numbers: std::ops::Range<u32>) -> bool {
        self.foreign.iter().any(|id| numbers.contains(id))
    }

    /// Remembers that a table of the store has this id, however high it is.
    #[inline]
    pub(crate) fn note_foreign(&mut self, id: u32) {
        if id >= self.fresh_from {
            self.foreign.insert(id);
            self.foreign_end = self.foreign_end.max(id.saturating_add(1));
        }
    }

    #[inline]
    pub(crate) fn is_foreign(&self, id: u32) -> bool {
        self.foreign.contains(&id)
    }

    /// Whether this is a table that the present run made.
    #[inline]
    pub(crate) fn is_fresh(&self, table: u32) -> bool {
        table >= self.fresh_from && !is_own(table) && (table < self.own_end || !self.is_foreign(table))
    }

    /// Until 0 is set, new tables with numbers below this one have what the run wrote to them and nothing of others
    /// that have the same numbers.
    pub(crate) fn set_own_end(&mut self, end: u32) {
        self.own_end = end;
    }

    /// Whether there is nothing to write.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// How many keys were written.
    #[inline]
    pub(crate) fn write_count(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(crate) fn created(&self) -> usize {
        self.created
    }

    /// The new tables are counted elsewhere.
    pub(crate) fn forget_created(&mut self) {
        self.created = 0;
    }

    /// Forgets all writes.
    pub(crate) fn clear(&mut self) {
        if self.tables.is_empty() {
            return;
        }
        if self.entries.capacity() > KEPT || self.tables.capacity() > KEPT {
            self.entries = Vec::new();
            self.index = HashTable::new();
            self.tables = HashMap::with_hasher(self.state.clone());
        } else {
            self.entries.clear();
            self.index.clear();
            self.tables.clear();
        }
        self.created = 0;
        self.held = 0;
    }

    #[inline]
    fn hash(&self, table: u32, key: &[u8]) -> u32 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u32(table);
        hasher.write(key);
        hasher.finish() as u32
    }

    /// What was written under a key.
    #[inline]
    fn written(&self, table: u32, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(table, key);
        let is_same = |place: &Place| place.hash == hash && self.entry(place.index).is_some_and(|e| e.is(table, key));
        self.entry(self.index.find(Place::spread(hash), is_same)?.index)
    }

    fn entry(&self, i: u32) -> Option<&Entry> {
        self.entries.get(i as usize)
    }

    /// Reads a value as this run sees it.
    #[inline]
    pub(crate) fn get(
        &self,
        store: &mut dyn TableStore,
        table: u32,
        key: &str,
        read: &mut dyn FnMut(&[u8]),
    ) -> StoreResult<bool> {
        if let Some(state) = self.tables.get(&table) {
            if state.removed {
                return Ok(false);
            }
            if let Some(entry) = self.written(table, key.as_bytes()) {
                if let Some(value) = &entry.value {
                    read(value.as_slice());
                }
                return Ok(entry.value.is_some());
            }
            if state.stored == Some(0) {
                return Ok(false);
            }
        }
        store.get(table, key, read)
    }

    /// Notes a write; `None` deletes.
    #[inline]
    pub(crate) fn put(&mut self, table: u32, key: &str, value: Option<&[u8]>) {
        let hash = self.hash(table, key.as_bytes());
        let value = value.map(SmallBytes::new);
        let value_heap = value.as_ref().map_or(0, SmallBytes::heap);
        let entries = &mut self.entries;
        let i = entries.len() as u32;
        let same = |place: &Place| {
            place.hash == hash && entries.get(place.index as usize).is_some_and(|e| e.is(table, key.as_bytes()))
        };
        match self.index.entry(Place::spread(hash), same, Place::rehash) {
            IndexEntry::Occupied(found) => {
                let Some(entry) = entries.get_mut(found.get().index as usize) else {
                    return;
                };
                let change = i64::from(value.is_some()) - i64::from(entry.value.is_some());
                let before = std::mem::replace(&mut entry.value, value);
                self.held = self.held + value_heap - before.as_ref().map_or(0, SmallBytes::heap);
                if change != 0
                    && let Some(state) = self.tables.get_mut(&table)
                {
                    if entry.in_store != InStore::Unknown {
                        state.growth += change;
                    }
                    if change > 0 {
                        state.gone = None;
                        state.gone_new = NONE;
                    }
                }
                return;
            }
            IndexEntry::Vacant(free) => drop(free.insert(Place { hash, index: i })),
        }
        let fresh = self.is_fresh(table);
        let key = SmallBytes::new(key.as_bytes());
        self.held += ENTRY + key.heap() + value_heap;
        let (created, held) = (&mut self.created, &mut self.held);
        let state = self.tables.entry(table).or_insert_with(|| {
            *created += usize::from(fresh);
            *held += TABLE;
            TableState::new(fresh.then_some(0))
        });
        let in_store = if state.stored == Some(0) { InStore::No } else { InStore::Unknown };
        match in_store {
            InStore::No => state.growth += i64::from(value.is_some()),
            _ if state.unresolved == NONE => state.unresolved = i,
            _ => {}
        }
        let last = std::mem::replace(&mut state.last, i);
        if last == NONE {
            state.first = i;
        } else if let Some(entry) = self.entries.get_mut(last as usize) {
            entry.next = i;
        }
        self.entries.push(Entry { table, next: NONE, next_new: NONE, key, value, in_store });
        if in_store == InStore::No {
            self.append_new(table, i);
        }
    }

    /// Notes that the store does not have this entry.
    #[inline]
    fn append_new(&mut self, table: u32, i: u32) {
        let Some(state) = self.tables.get_mut(&table) else {
            return;
        };
        let last = std::mem::replace(&mut state.last_new, i);
        if last == NONE {
            state.first_new = i;
        } else if let Some(entry) = self.entries.get_mut(last as usize) {
            entry.next_new = i;
        }
    }

    /// The entries of a table, in the order of their first write.
    fn entries_of(&self, table: u32) -> impl Iterator<Item = &Entry> {
        let mut next = self.tables.get(&table).map_or(NONE, |state| state.first);
        std::iter::from_fn(move || {
            let entry = self.entry(next)?;
            next = entry.next;
            Some(entry)
        })
    }

    /// Finds out for each written key of a table whether the store has it. Each key is asked for once in a run.
    fn resolve(&mut self, store: &mut dyn TableStore, table: u32) -> StoreResult<()> {
        let Some(state) = self.tables.get_mut(&table) else {
            return Ok(());
        };
        if state.stored.is_none() {
            state.stored = Some(store.size(table)?);
        }
        if state.stored != Some(0) && state.unresolved != NONE {
            let mut keys = Vec::new();
            let mut next = state.unresolved;
            while let Some(entry) = self.entries.get(next as usize) {
                keys.push((table, std::str::from_utf8(entry.key.as_slice())?));
                next = entry.next;
            }
            if keys.len() > 1 {
                store.prefetch(&keys)?;
            }
        }
        loop {
            let Some(state) = self.tables.get_mut(&table) else {
                return Ok(());
            };
            let i = state.unresolved;
            let Some(entry) = self.entries.get_mut(i as usize) else {
                return Ok(());
            };
            let key = std::str::from_utf8(entry.key.as_slice())?;
            let there = state.stored != Some(0) && store.contains(table, key)?;
            entry.in_store = if there { InStore::Yes } else { InStore::No };
            state.growth += i64::from(entry.value.is_some()) - i64::from(there);
            state.unresolved = entry.next;
            if !there {
                self.append_new(table, i);
            }
        }
    }

    /// The number of entries as this run sees it.
    pub(crate) fn size(&mut self, store: &mut dyn TableStore, table: u32) -> StoreResult<u64> {
        if !self.tables.contains_key(&table) {
            return store.size(table);
        }
        self.resolve(store, table)?;
        Ok(self.tables.get(&table).map_or(0, |state| {
            if state.removed { 0 } else { state.stored.unwrap_or(0).saturating_add_signed(state.growth) }
        }))
    }

    /// Whether anything was ever written to the table.
    pub(crate) fn exists(&self, store: &mut dyn TableStore, table: u32) -> StoreResult<bool> {
        match self.tables.get(&table) {
            Some(state) => Ok(!state.removed),
            None => Ok(store.size(table)? > 0),
        }
    }

    /// What the tables hold with these writes, when they held `before` without them. Tables that are to be removed
    /// still count.
    pub(crate) fn usage_after(&self, store: &mut dyn TableStore, before: Usage) -> StoreResult<Usage> {
        let mut usage = before;
        for entry in &self.entries {
            let key = std::str::from_utf8(entry.key.as_slice())?;
            let mut old = None;
            if self.tables.get(&entry.table).is_none_or(|state| state.stored != Some(0)) {
                store.get(entry.table, key, &mut |value| old = Some(value.len()))?;
            }
            let size = |len: usize| (key.len() + len) as u64;
            if let Some(value) = &entry.value {
                usage.bytes = usage.bytes.saturating_add(size(value.as_slice().len()));
                usage.entries += 1;
            }
            if let Some(old) = old {
                usage.bytes = usage.bytes.saturating_sub(size(old));
                usage.entries = usage.entries.saturating_sub(1);
            }
        }
        Ok(usage)
    }

    /// Notes that a table is to be removed with everything in it.
    pub(crate) fn remove_table(&mut self, table: u32) {
        let fresh = self.is_fresh(table);
        let held = &mut self.held;
        let state = self.tables.entry(table).or_insert_with(|| {
            *held += TABLE;
            TableState::new(fresh.then_some(0))
        });
        state.removed = true;
    }

    /// The tables that were written to.
    pub(crate) fn written_tables(&self) -> impl Iterator<Item = u32> {
        self.tables.iter().filter(|(_, state)| !state.removed).map(|(table, _)| *table)
    }

    /// The written entries of a table, in the order of their first write; `None` was deleted.
    pub(crate) fn written_entries(&self, table: u32) -> impl Iterator<Item = (&SmallBytes, Option<&SmallBytes>)> {
        self.entries_of(table).map(|entry| (&entry.key, entry.value.as_ref()))
    }

    /// Whether a key was written.
    pub(crate) fn writes_to(&self, table: u32, key: &[u8]) -> bool {
        self.written(table, key).is_some()
    }

    /// Whether a table was written to or removed.
    pub(crate) fn touches(&self, table: u32) -> bool {
        self.tables.contains_key(&table)
    }

    /// The tables that were written to or removed.
    pub(crate) fn touched_tables(&self) -> impl Iterator<Item = u32> {
        self.tables.keys().copied()
    }
}
