//! A store that fails when it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use luacell::{Batch, StoreError, StoreResult, TableStore};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    Nothing,
    FailedCommit,
    Conflict,
    Panic,
}

/// Told from outside.
#[derive(Clone, Default)]
pub struct Switch(Arc<AtomicU8>);

impl Switch {
    pub fn set(&self, fault: Fault) {
        self.0.store(fault as u8, Ordering::Relaxed);
    }

    pub fn is(&self, fault: Fault) -> bool {
        self.0.load(Ordering::Relaxed) == fault as u8
    }
}

pub struct Faulty {
    tables: BTreeMap<u32, BTreeMap<String, Vec<u8>>>,
    switch: Switch,
}

impl Faulty {
    pub fn new(switch: &Switch) -> Faulty {
        Faulty { tables: BTreeMap::new(), switch: switch.clone() }
    }
}

impl TableStore for Faulty {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        assert!(!self.switch.is(Fault::Panic), "on purpose");
        let value = self.tables.get(&table).and_then(|entries| entries.get(key));
        if let Some(value) = value {
            read(value);
        }
        Ok(value.is_some())
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.tables.entry(table).or_default().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        if let Some(entries) = self.tables.get_mut(&table) {
            entries.remove(key);
        }
        Ok(())
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        Ok(self.tables.get(&table).map_or(0, BTreeMap::len) as u64)
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.tables.get(&table).into_iter().flat_map(BTreeMap::keys).for_each(|key| visit(key));
        Ok(())
    }

    fn commit(&mut self, batch: &mut Batch<'_>) -> StoreResult<()> {
        if self.switch.is(Fault::FailedCommit) {
            return Err(std::io::Error::other("the store is full").into());
        }
        if self.switch.is(Fault::Conflict) {
            return Err(StoreError::conflict("somebody else was here"));
        }
        batch.apply_to(self)
    }
}
