//! The writes of one run, between the guest and the store.
//!
//! A run sees its own writes; the store gets them together when the run has succeeded, or never.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use hashbrown::hash_table::Entry as IndexEntry;
use hashbrown::{HashMap, HashSet, HashTable};

use crate::bytes::SmallBytes;
use crate::ordered::Place;
use crate::store::{Batch, Source, StoreResult, TableStore, Usage, Write};

/// The end of a list of entries.
const NONE: u32 = u32::MAX;

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
    /// A key of the store's: this run deleted it and all before it. Who takes one entry after the other from the front begins there.
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

/// Writes that are not in the store yet. One list and one hash table for all tables: a run may make a million small ones.
pub(crate) struct Overlay {
    entries: Vec<Entry>,
    index: HashTable<Place>,
    tables: HashMap<u32, TableState, RandomState>,
    state: RandomState,
    /// Tables from this id on are new: the store has nothing of them.
    fresh_from: u32,
    /// But for these, which somebody else made.
    foreign: HashSet<u32, RandomState>,
    /// How many new tables got entries.
    created: usize,
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
            created: 0,
        }
    }

    /// Starts a run.
    pub(crate) fn begin(&mut self, fresh_from: u32) {
        self.fresh_from = fresh_from;
        if !self.foreign.is_empty() {
            self.foreign.retain(|id| *id >= fresh_from);
        }
    }

    /// Remembers that a table of the store has this id, however high it is.
    #[inline]
    pub(crate) fn note_foreign(&mut self, id: u32) {
        if id >= self.fresh_from {
            self.foreign.insert(id);
        }
    }

    pub(crate) fn is_foreign(&self, id: u32) -> bool {
        self.foreign.contains(&id)
    }

    /// Whether this is a table that the present run made.
    pub(crate) fn is_fresh(&self, table: u32) -> bool {
        table >= self.fresh_from && !self.foreign.contains(&table)
    }

    /// Whether there is nothing to write.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
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
    }

    #[inline]
    fn hash(&self, table: u32, key: &[u8]) -> u32 {
        let mut hasher = self.state.build_hasher();
        hasher.write_u32(table);
        hasher.write(key);
        hasher.finish() as u32
    }

    #[inline]
    fn find(&self, hash: u32, table: u32, key: &[u8]) -> Option<u32> {
        self.index
            .find(Place::spread(hash), |place| {
                place.hash == hash && self.entry(place.index).is_some_and(|e| e.is(table, key))
            })
            .map(|place| place.index)
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
            if let Some(i) = self.find(self.hash(table, key.as_bytes()), table, key.as_bytes()) {
                let value = self.entry(i).and_then(|e| e.value.as_ref());
                if let Some(value) = value {
                    read(value.as_slice());
                }
                return Ok(value.is_some());
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
                entry.value = value;
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
        let fresh = table >= self.fresh_from && !self.foreign.contains(&table);
        let created = &mut self.created;
        let state = self.tables.entry(table).or_insert_with(|| {
            *created += usize::from(fresh);
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
        let key = SmallBytes::new(key.as_bytes());
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

    /// Hands every entry to `visit`, as this run sees them: first those of the store, in its order, then new ones.
    pub(crate) fn scan(
        &mut self,
        store: &mut dyn TableStore,
        table: u32,
        visit: &mut dyn FnMut(&str, &[u8]),
    ) -> StoreResult<()> {
        if !self.tables.contains_key(&table) {
            return store.scan(table, visit);
        }
        self.resolve(store, table)?;
        let Some(state) = self.tables.get(&table) else {
            return Ok(());
        };
        if state.removed {
            return Ok(());
        }
        if state.stored != Some(0) {
            store.scan(table, &mut |key, value| match self
                .find(self.hash(table, key.as_bytes()), table, key.as_bytes())
                .and_then(|i| self.entry(i))
            {
                None => visit(key, value),
                Some(Entry { value: Some(value), .. }) => visit(key, value.as_slice()),
                Some(_) => {}
            })?;
        }
        let mut next = state.first_new;
        while let Some(entry) = self.entry(next) {
            if let Some(value) = &entry.value {
                visit(std::str::from_utf8(entry.key.as_slice())?, value.as_slice());
            }
            next = entry.next_new;
        }
        Ok(())
    }

    /// Hands entries to `visit` until that gives false: in the order of `scan`, those that come after the key `after`, or from the first one on. False when
    /// there is no such key; one that this run deleted still has its place. Those come without a value: a script can make many of them, and who passes over
    /// them has to count them.
    pub(crate) fn scan_after(
        &mut self,
        store: &mut dyn TableStore,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, Option<&[u8]>) -> bool,
    ) -> StoreResult<bool> {
        self.resolve(store, table)?;
        let written = after.and_then(|key| self.find(self.hash(table, key.as_bytes()), table, key.as_bytes()));
        let written = written.and_then(|i| self.entry(i));
        if let (None, Some(key)) = (written, after)
            && !store.contains(table, key)?
        {
            return Ok(false);
        }
        let Some(state) = self.tables.get(&table) else {
            store.scan_after(table, after, &mut |key, value| visit(key, Some(value)))?;
            return Ok(true);
        };
        if state.removed {
            return Ok(true);
        }
        let (mut next, mut gone, mut gone_new) = (state.first_new, None::<String>, NONE);
        // Whether everything that was passed is gone.
        let mut all_gone = after.is_none();
        let mut more = true;
        if let Some(Entry { in_store: InStore::No, next_new, .. }) = written {
            next = *next_new;
        } else if state.stored != Some(0) {
            let start = if all_gone { state.gone.as_deref() } else { after };
            store.scan_after(table, start, &mut |key, value| {
                let entry = self.find(self.hash(table, key.as_bytes()), table, key.as_bytes());
                let value = match entry.and_then(|i| self.entry(i)) {
                    None => Some(value),
                    Some(entry) => entry.value.as_ref().map(SmallBytes::as_slice),
                };
                all_gone &= value.is_none();
                if all_gone {
                    let gone = gone.get_or_insert_default();
                    gone.clear();
                    gone.push_str(key);
                }
                more = visit(key, value);
                more
            })?;
        }
        if more && all_gone && state.gone_new != NONE {
            next = self.entry(state.gone_new).map_or(NONE, |entry| entry.next_new);
        }
        while more && let Some(entry) = self.entry(next) {
            let value = entry.value.as_ref().map(SmallBytes::as_slice);
            all_gone &= value.is_none();
            if all_gone {
                gone_new = next;
            }
            more = visit(std::str::from_utf8(entry.key.as_slice())?, value);
            next = entry.next_new;
        }
        if let Some(state) = self.tables.get_mut(&table) {
            if gone.is_some() {
                state.gone = gone;
            }
            if gone_new != NONE {
                state.gone_new = gone_new;
            }
        }
        Ok(true)
    }

    /// Hands every key to `visit`, as `scan` does.
    pub(crate) fn keys(
        &mut self,
        store: &mut dyn TableStore,
        table: u32,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        if self.tables.contains_key(&table) {
            return self.scan(store, table, &mut |key, _| visit(key));
        }
        store.keys(table, visit)
    }

    /// What the tables hold with these writes, when they held `before` without them. Tables that are to be removed still count.
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
        self.tables.entry(table).or_insert_with(|| TableState::new(fresh.then_some(0))).removed = true;
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
        self.find(self.hash(table, key), table, key).is_some()
    }

    /// Whether a table was written to or removed.
    pub(crate) fn touches(&self, table: u32) -> bool {
        self.tables.contains_key(&table)
    }

    /// The tables that were written to or removed.
    pub(crate) fn touched_tables(&self) -> impl Iterator<Item = u32> {
        self.tables.keys().copied()
    }

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::MemoryStore;

    #[derive(Clone, Debug)]
    enum Op {
        Set(u32, u8, u8),
        Delete(u32, u8),
        Size(u32),
        RemoveTable(u32),
        Commit,
        Rollback,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let table = 1u32..5;
        let op = prop_oneof![
            8 => (table.clone(), 0u8..12, any::<u8>()).prop_map(|(t, k, v)| Op::Set(t, k, v)),
            4 => (table.clone(), 0u8..12).prop_map(|(t, k)| Op::Delete(t, k)),
            2 => table.clone().prop_map(Op::Size),
            1 => table.prop_map(Op::RemoveTable),
            2 => Just(Op::Commit),
            1 => Just(Op::Rollback),
        ];
        prop::collection::vec(op, 0..120)
    }

    type Model = BTreeMap<u32, BTreeMap<String, Vec<u8>>>;

    fn check(overlay: &mut Overlay, store: &mut MemoryStore, model: &Model, size_first: bool) {
        for table in 1..5 {
            let empty = BTreeMap::new();
            let expected = model.get(&table).unwrap_or(&empty);
            if size_first {
                assert_eq!(overlay.size(store, table).unwrap(), expected.len() as u64);
            }
            let mut seen = BTreeMap::new();
            overlay
                .scan(store, table, &mut |key, value| {
                    assert!(seen.insert(key.to_owned(), value.to_vec()).is_none(), "a key came twice");
                })
                .unwrap();
            assert_eq!(&seen, expected);
            let mut keys = Vec::new();
            overlay.keys(store, table, &mut |key| keys.push(key.to_owned())).unwrap();
            assert_eq!(keys.len(), expected.len());
            for portion in [1, 3, 100] {
                let mut again: Vec<String> = Vec::new();
                loop {
                    let (last, before) = (again.last().cloned(), again.len());
                    let known = overlay
                        .scan_after(store, table, last.as_deref(), &mut |key, value| {
                            assert_eq!(expected.get(key).map(Vec::as_slice), value);
                            if value.is_some() {
                                again.push(key.to_owned());
                            }
                            again.len() < before + portion
                        })
                        .unwrap();
                    assert!(known);
                    if again.len() == before {
                        break;
                    }
                }
                assert_eq!(again, keys);
            }
            assert!(!overlay.scan_after(store, table, Some("never"), &mut |_, _| true).unwrap());
            for key in 0..12 {
                let key = format!("k{key}");
                let mut value = None;
                let found = overlay.get(store, table, &key, &mut |bytes| value = Some(bytes.to_vec())).unwrap();
                assert_eq!(found, value.is_some());
                assert_eq!(value.as_ref(), expected.get(&key));
            }
            assert_eq!(overlay.size(store, table).unwrap(), expected.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn a_run_sees_its_own_writes(ops in ops(), often in any::<bool>(), fresh in 1u32..6) {
            let mut store = MemoryStore::new();
            let mut overlay = Overlay::new();
            // From the highest table that is in the store on, tables are new.
            let mut committed = Model::new();
            let mut now = Model::new();
            let mut removed = false;
            overlay.begin(fresh);
            for op in ops {
                match op {
                    // A table is removed at the end of a run: nothing writes to it any more.
                    Op::Set(..) | Op::Delete(..) if removed => continue,
                    Op::Set(table, key, value) => {
                        overlay.put(table, &format!("k{key}"), Some(&[value]));
                        now.entry(table).or_default().insert(format!("k{key}"), vec![value]);
                    }
                    Op::Delete(table, key) => {
                        overlay.put(table, &format!("k{key}"), None);
                        now.entry(table).or_default().remove(&format!("k{key}"));
                    }
                    Op::Size(table) => {
                        let expected = now.get(&table).map_or(0, BTreeMap::len) as u64;
                        prop_assert_eq!(overlay.size(&mut store, table).unwrap(), expected);
                    }
                    Op::RemoveTable(table) => {
                        overlay.remove_table(table);
                        now.remove(&table);
                        removed = true;
                    }
                    Op::Commit => {
                        overlay.commit(&mut store).unwrap();
                        committed = now.clone();
                        overlay.begin(committed.keys().max().map_or(fresh, |t| fresh.max(t + 1)));
                        removed = false;
                    }
                    Op::Rollback => {
                        overlay.clear();
                        now = committed.clone();
                        removed = false;
                    }
                }
                if often {
                    check(&mut overlay, &mut store, &now, true);
                }
            }
            check(&mut overlay, &mut store, &now, false);
            // What the batch says is what the store becomes.
            let writes: Vec<String> = overlay.writes().map(|w| format!("{w:?}")).collect();
            let mut one_by_one = committed.clone();
            for write in overlay.writes() {
                match write {
                    Write::Set { table, key, value } => {
                        one_by_one.entry(table).or_default().insert(key.to_owned(), value.to_vec());
                    }
                    Write::Delete { table, key } => {
                        one_by_one.entry(table).or_default().remove(key);
                    }
                    Write::RemoveTable { table } => drop(one_by_one.remove(&table)),
                }
            }
            one_by_one.retain(|_, entries| !entries.is_empty());
            now.retain(|_, entries| !entries.is_empty());
            prop_assert_eq!(one_by_one, now, "{:?}", writes);
        }
    }
}
