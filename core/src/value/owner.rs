//! The sandbox that values belong to.

use std::any::Any;
use std::sync::{Arc, OnceLock, Weak};

use super::host_values::HostValues;
use super::pins::Pins;
use super::release_queue::ReleaseQueue;
use super::{Error, LanguageData, Result, StoredTable, Table};

/// A sandbox, as far as values have to know it.
pub(crate) trait Owner: Any + Send + Sync {
    fn held(&self) -> &HeldByHost;

    /// A deep copy of one of its tables.
    fn copy_table(self: Arc<Self>, table: &StoredTable) -> Result<Table>;

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What the host holds of a sandbox, or has let go, and what the sandbox holds of the host.
pub(crate) struct HeldByHost {
    pub(crate) released: ReleaseQueue,
    pub(crate) tables: Pins,
    pub(crate) host_values: Arc<HostValues>,
    /// What the binding knows the sandbox by.
    pub(crate) language: OnceLock<LanguageData>,
}

impl HeldByHost {
    /// `deterministic`: what scripts see must not depend on when the host lets go of something.
    pub(crate) fn new(deterministic: bool, host_values: Arc<HostValues>) -> Self {
        HeldByHost {
            released: ReleaseQueue::new(deterministic),
            tables: Pins::new(deterministic),
            host_values,
            language: OnceLock::new(),
        }
    }
}

/// The owner of what belongs to no sandbox.
pub(crate) fn nobody() -> Weak<dyn Owner> {
    Weak::<Nobody>::new()
}

enum Nobody {}

impl Owner for Nobody {
    fn held(&self) -> &HeldByHost {
        match *self {}
    }

    fn copy_table(self: Arc<Self>, _: &StoredTable) -> Result<Table> {
        Err(Error::closed())
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
