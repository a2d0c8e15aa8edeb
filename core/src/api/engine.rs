//! The compiled guest and the pool of instances.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::{Sandbox, SandboxConfig};
use crate::guest::factory::GuestFactory;
use crate::machine::EngineConfig;
use crate::value::{Error, Result};

/// The compiled guest, shared by any number of sandboxes and threads. Cloning is cheap and gives the same engine.
///
/// [`Engine::default`] is shared by the whole process. Loading the guest takes a fraction of a millisecond and happens
/// with the first sandbox.
///
/// Threads that create and drop many thousands of sandboxes a second slow each other down a little if they share an
/// engine: give each its own, for 1 MB more.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<GuestFactory>);

impl Engine {
    /// An engine with these settings.
    ///
    /// # Errors
    /// `Internal` if the guest can't be loaded, for example because the processor lacks instructions that every x86-64
    /// processor since 2009 has; `InvalidArgument` for settings that are out of range.
    pub fn new(config: EngineConfig) -> Result<Engine> {
        config.check()?;
        let factory = GuestFactory::new(config);
        factory.load()?;
        Ok(Engine(Arc::new(factory)))
    }

    /// An engine for somebody else's `lua.wasm`, compiled here and now. The module is treated as hostile: it can reach
    /// only the sandbox's tables, and whatever it does wrong gives errors. A module of revision 1 can only run plain
    /// [`compute`](Sandbox::compute).
    ///
    /// # Errors
    /// `InvalidArgument` if the feature `jit` is off, the bytes are not such a module, or a setting is out of range.
    pub fn from_wasm(wasm: impl AsRef<[u8]>, config: EngineConfig) -> Result<Engine> {
        config.check()?;
        Ok(Engine(Arc::new(GuestFactory::from_wasm(wasm.as_ref(), config)?)))
    }

    /// As [`from_wasm`](Self::from_wasm), from a file.
    ///
    /// # Errors
    /// As `from_wasm`; also `InvalidArgument` if the file can't be read.
    pub fn from_wasm_file(path: impl AsRef<Path>, config: EngineConfig) -> Result<Engine> {
        let path = path.as_ref();
        let wasm = std::fs::read(path)
            .map_err(|e| Error::invalid(format!("can't read {}: {e}", path.display())).with_source(e))?;
        Engine::from_wasm(wasm, config)
    }

    /// A new sandbox.
    ///
    /// # Errors
    /// `Memory` if there is not enough memory for another one, `Store` if the store fails.
    pub fn sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        Sandbox::create(self, config)
    }

    /// Whether sandboxes come from a pool; see [`EngineConfig::pool_size`].
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.0.is_pooled()
    }
}

impl Default for Engine {
    /// The engine that the whole process shares.
    fn default() -> Self {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        SHARED.get_or_init(|| Engine(Arc::new(GuestFactory::new(EngineConfig::default())))).clone()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", self.0.config()).field("foreign", &self.0.is_foreign()).finish()
    }
}
