//! `cargo xtask test-arm64`: what `xtask/arm64/test.sh` does.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs the command.
pub fn run() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("arm64/test.sh");
    let status = Command::new("bash").arg(&script).status().context("cannot start bash")?;
    if !status.success() {
        bail!("{} ended with {status}", script.display());
    }
    Ok(())
}
