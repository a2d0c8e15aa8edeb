//! The compiled guest and the pool of instances.

use std::path::Path;

use crate::{Error, Result, Sandbox, SandboxConfig};

/// Settings of an [`Engine`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EngineConfig {}

/// The compiled guest, shared by any number of sandboxes and threads. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Engine(());

impl Engine {
    /// An engine with these settings.
    pub fn new(_config: EngineConfig) -> Result<Engine> {
        Err(Error::internal("not built yet"))
    }

    /// An engine around somebody else's `lua.wasm`. Needs the feature `jit`, else `InvalidArgument`.
    pub fn from_wasm(_wasm: impl AsRef<[u8]>, _config: EngineConfig) -> Result<Engine> {
        Err(Error::internal("not built yet"))
    }

    /// As [`from_wasm`](Self::from_wasm), from a file.
    pub fn from_wasm_file(_path: impl AsRef<Path>, _config: EngineConfig) -> Result<Engine> {
        Err(Error::internal("not built yet"))
    }

    /// A new sandbox.
    pub fn sandbox(&self, _config: SandboxConfig) -> Result<Sandbox> {
        Err(Error::internal("not built yet"))
    }
}
