//! From options to a sandbox.

use luacell::{Engine, EngineConfig, Error, Sandbox, SandboxConfig};

use crate::args::SandboxArgs;

/// A sandbox with these settings.
pub fn open(args: &SandboxArgs) -> Result<Sandbox, Error> {
    let mut config = SandboxConfig::new();
    if let Some(bytes) = args.memory {
        config = config.memory_limit(bytes);
    }
    if let Some(home) = &args.home {
        config = config.store(home.as_str());
    }
    // A process with one sandbox has no use for a pool.
    Engine::new(EngineConfig::new().pool_size(0))?.sandbox(config)
}
