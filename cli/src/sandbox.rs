//! From options to a sandbox.

use luacell::{Error, Sandbox, SandboxConfig};

use crate::args::SandboxArgs;

/// A sandbox with these settings.
pub fn open(args: &SandboxArgs) -> Result<Sandbox, Error> {
    let mut config = SandboxConfig::new();
    if let Some(bytes) = args.memory {
        config = config.memory_limit(bytes);
    }
    Sandbox::with_config(config)
}
