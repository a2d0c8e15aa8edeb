//! The compiled guest.

use std::sync::Arc;

use crate::config::setting;
use crate::error::{LuaError, guarded};

/// Settings of an engine. What is not set has its default.
#[derive(Clone, Debug, Default, uniffi::Record)]
pub struct EngineConfig {
    /// How many sandboxes at a time come from a pool of prepared memory. Default 1000; 0 for no pool.
    #[uniffi(default = None)]
    pub pool_size: Option<i32>,
    /// The most memory that a sandbox may take, everything included, in bytes. Default 1 GiB, from 2 MiB to 4 GiB.
    #[uniffi(default = None)]
    pub max_memory: Option<i64>,
    /// The most native stack that a sandbox uses, in bytes. Default 512 KiB, from 64 KiB to 1.5 MiB. Threads that run
    /// sandboxes must have this much left, and 64 KiB.
    #[uniffi(default = None)]
    pub max_stack: Option<i64>,
}

/// The compiled guest and a pool of memory, shared by any number of sandboxes and threads. Sandboxes without one share
/// the default engine.
#[derive(Debug, uniffi::Object)]
pub struct Engine(luacell::Engine);

#[uniffi::export]
impl Engine {
    /// A new engine.
    ///
    /// Errors: `Memory` when the system refuses what it needs, `InvalidArgument` for settings out of their range.
    #[uniffi::constructor(default(config = None))]
    pub fn new(config: Option<EngineConfig>) -> Result<Self, LuaError> {
        guarded(|| {
            let mut settings = luacell::EngineConfig::new();
            let config = config.unwrap_or_default();
            if let Some(n) = config.pool_size {
                settings = settings.pool_size(setting("poolSize", n)?);
            }
            if let Some(bytes) = config.max_memory {
                settings = settings.max_memory(setting("maxMemory", bytes)?);
            }
            if let Some(bytes) = config.max_stack {
                settings = settings.max_stack(setting("maxStack", bytes)?);
            }
            luacell::Engine::new(settings).map(Engine)
        })
    }

    /// Whether sandboxes come from a pool.
    pub fn is_pooled(&self) -> bool {
        self.0.is_pooled()
    }
}

impl Engine {
    pub(crate) fn or_default(engine: Option<Arc<Engine>>) -> luacell::Engine {
        engine.map_or_else(luacell::Engine::default, |engine| engine.0.clone())
    }
}
