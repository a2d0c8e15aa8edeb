//! `cargo xtask test-arm64`: what `xtask/arm64/test.sh` does.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::steps::finish;

/// Runs the command.
pub fn run() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("arm64/test.sh");
    finish(Command::new("bash").arg(&script))
}
