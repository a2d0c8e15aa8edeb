//! Where kept tables live.

/// Keeps tables. Stub: the functions follow.
pub trait TableStore: Send {}

/// Tables in memory: the default.
#[derive(Debug, Default)]
pub struct MemoryStore(());

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl TableStore for MemoryStore {}
