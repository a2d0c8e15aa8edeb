//! Stores of the other language.

use std::sync::Arc;

use luacell::StoreResult;

use crate::host::HostError;

/// Keeps tables: entries of keys, which are text, and values, which are bytes, in tables with numbers from 1.
///
/// A sandbox calls it from one thread at a time, which is the thread that runs the script. It can't use the sandbox.
/// What a failed run wrote never comes here.
#[uniffi::export(with_foreign)]
pub trait TableStore: Send + Sync {
    /// The value under a key; nothing when there is no such table or key.
    fn get(&self, table: i64, key: String) -> Result<Option<Vec<u8>>, HostError>;

    /// Stores a value under a key; creates the table if it is new.
    fn set(&self, table: i64, key: String, value: Vec<u8>) -> Result<(), HostError>;

    /// Removes a key, if it is there.
    fn delete(&self, table: i64, key: String) -> Result<(), HostError>;

    /// The number of entries; 0 for a table that was never written.
    fn size(&self, table: i64) -> Result<i64, HostError>;

    /// Every key once, in an order that stays while the table stays.
    fn keys(&self, table: i64) -> Result<Vec<String>, HostError>;
}

/// The core's side of such a store.
pub(crate) struct OwnStore(pub(crate) Arc<dyn TableStore>);

impl luacell::TableStore for OwnStore {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        match self.0.get(table.into(), key.to_owned()).map_err(HostError::into_store_error)? {
            Some(value) => {
                read(&value);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.0.set(table.into(), key.to_owned(), value.to_vec()).map_err(HostError::into_store_error)
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.0.delete(table.into(), key.to_owned()).map_err(HostError::into_store_error)
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        let size = self.0.size(table.into()).map_err(HostError::into_store_error)?;
        u64::try_from(size).map_err(|_| "the store's size has to be 0 or more".into())
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let keys = self.0.keys(table.into()).map_err(HostError::into_store_error)?;
        keys.iter().for_each(|key| visit(key));
        Ok(())
    }
}
