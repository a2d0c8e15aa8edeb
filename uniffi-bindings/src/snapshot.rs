//! Snapshots.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{LuaError, guarded};

/// A copy of a whole sandbox: globals, closures, suspended coroutines and tables. It belongs to no sandbox, and may be
/// used from any thread.
#[derive(Debug, uniffi::Object)]
pub struct Snapshot(pub(crate) luacell::Snapshot);

#[uniffi::export]
impl Snapshot {
    /// What `toBytes` gave, in this or another process. The checksum finds accidents, not intent: restore snapshots
    /// only from people whom you trust.
    ///
    /// Errors: `InvalidArgument` when the bytes are no snapshot, damaged, or of another guest.
    #[uniffi::constructor(default(engine = None))]
    pub fn from_bytes(bytes: Vec<u8>, engine: Option<Arc<Engine>>) -> Result<Self, LuaError> {
        guarded(|| luacell::Snapshot::from_bytes(&Engine::or_default(engine), &bytes).map(Snapshot))
    }

    /// The snapshot as bytes, for any platform and this version of the guest.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LuaError> {
        guarded(|| self.0.to_bytes())
    }
}
