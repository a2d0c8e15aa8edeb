//! Tables in memory.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use hashbrown::HashMap;

use super::{Batch, StoreResult, TableStore, Usage};
use crate::store::reserved::is_own;
use crate::util::SmallBytes;
use crate::util::ordered_map::OrderedMap;

/// Tables in memory: the default. They live as long as the sandbox.
///
/// Keys come in the order in which they were first set, so that a script sees the same order in every run. Hashes are
/// keyed, so that a script can't choose keys that collide.
#[derive(Clone)]
pub struct MemoryStore {
    tables: HashMap<u32, OrderedMap<SmallBytes, SmallBytes>, RandomState>,
    state: RandomState,
    usage: Usage,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let state = RandomState::new();
        MemoryStore { tables: HashMap::with_hasher(state.clone()), state, usage: Usage::default() }
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    #[inline]
    fn find(&self, table: u32, key: &[u8]) -> Option<&SmallBytes> {
        let entries = self.tables.get(&table)?;
        entries.get(self.hash(key), |other| other.as_slice() == key)
    }

    fn put(&mut self, table: u32, key: SmallBytes, value: SmallBytes) {
        let hash = self.hash(key.as_slice());
        let (key_len, len) = (key.as_slice().len(), value.as_slice().len());
        let old = self.tables.entry(table).or_default().insert(hash, key, value, SmallBytes::eq);
        if is_own(table) {
            return;
        }
        match old {
            Some(old) => self.usage.bytes -= old.as_slice().len() as u64,
            None => {
                self.usage.bytes += key_len as u64;
                self.usage.entries += 1;
            }
        }
        self.usage.bytes += len as u64;
    }

    fn take(&mut self, table: u32, key: &[u8]) {
        let hash = self.hash(key);
        let entries = self.tables.get_mut(&table);
        if let Some((key, value)) = entries.and_then(|entries| entries.remove(hash, |other| other.as_slice() == key))
            && !is_own(table)
        {
            self.usage.bytes -= (key.as_slice().len() + value.as_slice().len()) as u64;
            self.usage.entries -= 1;
        }
    }

    pub(crate) fn held(&self) -> Usage {
        self.usage
    }

    /// As `set`, which can't fail here.
    pub(crate) fn put_entry(&mut self, table: u32, key: &str, value: &[u8]) {
        self.put(table, SmallBytes::new(key.as_bytes()), SmallBytes::new(value));
    }

    /// The numbers of all tables, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.tables.keys().copied()
    }

    /// The entries of a table.
    pub(crate) fn entries(&self, table: u32) -> impl Iterator<Item = (&str, &[u8])> {
        self.tables.get(&table).into_iter().flat_map(|all| all.iter().map(|(key, value)| (text(key), value.as_slice())))
    }

    /// The value under a key.
    pub(crate) fn value(&self, table: u32, key: &str) -> Option<&[u8]> {
        self.find(table, key.as_bytes()).map(SmallBytes::as_slice)
    }

    fn drop_table(&mut self, table: u32) {
        if let Some(entries) = self.tables.remove(&table) {
            let bytes: usize = entries.iter().map(|(key, value)| key.as_slice().len() + value.as_slice().len()).sum();
            self.usage.bytes -= bytes as u64;
            self.usage.entries -= entries.len() as u64;
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("tables", &self.tables.len()).finish()
    }
}

/// What the store holds is text, because only text gets in.
fn text(key: &SmallBytes) -> &str {
    std::str::from_utf8(key.as_slice()).unwrap_or_default()
}

impl TableStore for MemoryStore {
    #[inline]
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let found = self.find(table, key.as_bytes());
        if let Some(value) = found {
            read(value.as_slice());
        }
        Ok(found.is_some())
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.put_entry(table, key, value);
        Ok(())
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.take(table, key.as_bytes());
        Ok(())
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        Ok(self.tables.get(&table).map_or(0, |entries| entries.len() as u64))
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        if let Some(entries) = self.tables.get(&table) {
            entries.iter().for_each(|(key, _)| visit(text(key)));
        }
        Ok(())
    }

    fn contains(&mut self, table: u32, key: &str) -> StoreResult<bool> {
        Ok(self.find(table, key.as_bytes()).is_some())
    }

    fn scan(&mut self, table: u32, visit: &mut dyn FnMut(&str, &[u8])) -> StoreResult<()> {
        if let Some(entries) = self.tables.get(&table) {
            entries.iter().for_each(|(key, value)| visit(text(key), value.as_slice()));
        }
        Ok(())
    }

    fn remove_table(&mut self, table: u32) -> StoreResult<()> {
        self.drop_table(table);
        Ok(())
    }

    fn tables(&mut self, visit: &mut dyn FnMut(u32)) -> StoreResult<bool> {
        self.tables.keys().for_each(|table| visit(*table));
        Ok(true)
    }

    fn usage(&mut self) -> StoreResult<Option<Usage>> {
        Ok(Some(self.usage))
    }

    fn keys_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        limit: usize,
        visit: &mut dyn FnMut(&str),
    ) -> StoreResult<()> {
        let mut left = limit;
        if limit == 0 {
            return Ok(());
        }
        self.scan_after(table, after, &mut |key, _| {
            visit(key);
            left -= 1;
            left > 0
        })
    }

    fn scan_after(
        &mut self,
        table: u32,
        after: Option<&str>,
        visit: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> StoreResult<()> {
        let Some(entries) = self.tables.get(&table) else {
            return Ok(());
        };
        let mut position = 0;
        if let Some(after) = after {
            let found = entries.position(self.hash(after.as_bytes()), |other| other.as_slice() == after.as_bytes());
            position = found.map_or(usize::MAX, |i| i + 1);
        }
        while let Some((next, key, value)) = entries.next_from(position) {
            if !visit(text(key), value.as_slice()) {
                break;
            }
            position = next;
        }
        Ok(())
    }

    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        for table in batch.0.removed_tables() {
            self.drop_table(table);
        }
        batch.0.drain(&mut |table, key, value| match value {
            Some(value) => self.put(table, key, value),
            None => self.take(table, key.as_slice()),
        });
        // A store that was large once gives the room back.
        if self.tables.capacity() > 1024 && self.tables.len() < self.tables.capacity() / 8 {
            self.tables.shrink_to(self.tables.len() * 2);
        }
        Ok(())
    }
}
