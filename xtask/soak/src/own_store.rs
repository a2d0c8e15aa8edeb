//! A store of the host's own, the simplest that there is.

use std::collections::BTreeMap;

use luacell::{StoreResult, TableStore};

/// Tables in maps.
#[derive(Default)]
pub struct Maps(BTreeMap<u32, BTreeMap<String, Vec<u8>>>);

impl TableStore for Maps {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let value = self.0.get(&table).and_then(|entries| entries.get(key));
        if let Some(value) = value {
            read(value);
        }
        Ok(value.is_some())
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.entry(table).or_default().insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        if let Some(entries) = self.0.get_mut(&table) {
            entries.remove(key);
        }
        Ok(())
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        Ok(self.0.get(&table).map_or(0, BTreeMap::len) as u64)
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.0.get(&table).into_iter().flat_map(BTreeMap::keys).for_each(|key| visit(key));
        Ok(())
    }
}
