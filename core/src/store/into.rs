//! What can be given as a store.

use std::path::{Path, PathBuf};

use super::{FileStore, StoreResult, TableStore};

/// What [`SandboxConfig::store`](crate::SandboxConfig::store) takes: a store, the path of a [`FileStore`], or the URL of a server
/// (`redis://`, `rediss://`, `valkey://`, `valkeys://`; needs the feature `redis`).
pub trait IntoStore {
    /// The store.
    ///
    /// # Errors
    /// When it can't be opened.
    fn into_store(self) -> StoreResult<Box<dyn TableStore>>;
}

impl<S: TableStore + 'static> IntoStore for S {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        Ok(Box::new(self))
    }
}

impl IntoStore for Box<dyn TableStore> {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        Ok(self)
    }
}

impl IntoStore for &str {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        let Some((scheme, _)) = self.split_once("://") else {
            return Path::new(self).into_store();
        };
        match scheme.to_ascii_lowercase().as_str() {
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "valkey" | "valkeys" => Ok(Box::new(super::RedisStore::open(self)?)),
            #[cfg(not(feature = "redis"))]
            "redis" | "rediss" | "valkey" | "valkeys" => {
                Err("this build of luacell has no server store; turn on the feature `redis`".into())
            }
            _ => Err(format!("there is no store for {scheme}:// (a path, redis:// and rediss:// are known)").into()),
        }
    }
}

impl IntoStore for String {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        self.as_str().into_store()
    }
}

impl IntoStore for &Path {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        Ok(Box::new(FileStore::open(self)?))
    }
}

impl IntoStore for PathBuf {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        self.as_path().into_store()
    }
}

impl IntoStore for &PathBuf {
    fn into_store(self) -> StoreResult<Box<dyn TableStore>> {
        self.as_path().into_store()
    }
}
