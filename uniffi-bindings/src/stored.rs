//! Live views of kept tables.

use std::sync::Arc;

use crate::error::{LuaError, guarded};
use crate::table::LuaTable;
use crate::value::{LuaEntry, LuaValue, entries, from_lua};

/// A live view of a table that a sandbox keeps, such as `_home`. Nested tables come as live views too.
///
/// It can be used while its sandbox lives, from any thread, by one caller at a time. Each write is complete or not
/// there at all. All methods fail with `Store`, `Busy` and `Closed`, and those that write with `StoreLimit` too.
#[derive(Debug, uniffi::Object)]
#[uniffi::export(Debug, Eq, Hash)]
pub struct StoredTable(pub(crate) luacell::StoredTable);

#[uniffi::export]
impl StoredTable {
    /// The table's number in the store. `_home` is 1.
    pub fn id(&self) -> i64 {
        self.0.id().into()
    }

    /// The value under a key; nil when there is none.
    ///
    /// Errors: `Conversion` for a key that stored tables can't have (a table, a function), `InvalidArgument` for nil or
    /// NaN.
    pub fn get(&self, key: LuaValue) -> Result<LuaValue, LuaError> {
        guarded(|| self.0.get(key).map(LuaValue::from))
    }

    /// Sets the value under a key; nil removes it. A table becomes a stored table itself, deeply.
    ///
    /// Errors: as `get`, and `Conversion` for a value that can't be stored, naming its place.
    pub fn set(&self, key: LuaValue, value: LuaValue) -> Result<(), LuaError> {
        guarded(|| self.0.set(key, value))
    }

    /// Removes a key; whether it was there.
    pub fn remove(&self, key: LuaValue) -> Result<bool, LuaError> {
        guarded(|| self.0.remove(key))
    }

    /// Removes all entries.
    pub fn clear(&self) -> Result<(), LuaError> {
        guarded(|| self.0.clear())
    }

    /// The number of entries.
    pub fn count(&self) -> Result<i64, LuaError> {
        guarded(|| Ok(i64::try_from(self.0.len()?).unwrap_or(i64::MAX)))
    }

    /// All keys.
    pub fn keys(&self) -> Result<Vec<LuaValue>, LuaError> {
        guarded(|| self.0.keys().map(from_lua))
    }

    /// All entries as they are at this moment.
    pub fn entries(&self) -> Result<Vec<LuaEntry>, LuaError> {
        guarded(|| self.0.entries().map(entries))
    }

    /// A deep copy by value, taken at one moment.
    pub fn to_table(&self) -> Result<Arc<LuaTable>, LuaError> {
        guarded(|| self.0.to_table().map(|table| Arc::new(LuaTable(table))))
    }
}

impl PartialEq for StoredTable {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for StoredTable {}

impl std::hash::Hash for StoredTable {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}
