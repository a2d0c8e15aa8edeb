//! Where external tables live.

use std::collections::HashMap;

/// Table id -> key text -> encoded value. One map can serve several VMs, one after another; a real program would keep
/// it in a file or a database.
#[derive(Debug, Default)]
pub struct Tables(HashMap<u32, HashMap<String, Vec<u8>>>);

impl Tables {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a value; creates the table if it is new.
    pub fn set(&mut self, id: u32, key: &str, value: &[u8]) {
        self.0.entry(id).or_default().insert(key.to_owned(), value.to_owned());
    }

    /// The value's bytes.
    pub fn get(&self, id: u32, key: &str) -> Option<&[u8]> {
        Some(self.0.get(&id)?.get(key)?)
    }

    /// Removes a key. Returns whether there is such a table.
    pub fn delete(&mut self, id: u32, key: &str) -> bool {
        let table = self.0.get_mut(&id);
        table.map(|table| table.remove(key)).is_some()
    }

    /// How many entries the table has; 0 if it does not exist.
    pub fn size(&self, id: u32) -> usize {
        self.0.get(&id).map_or(0, HashMap::len)
    }

    /// All keys, in no particular order; `None` when there is no such table.
    pub fn keys(&self, id: u32) -> Option<Vec<&str>> {
        Some(self.0.get(&id)?.keys().map(String::as_str).collect())
    }
}
