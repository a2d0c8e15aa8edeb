//! `cargo xtask test-arm64`: what `xtask/arm64/test.sh` does.

use std::process::Command;

use anyhow::Result;

use crate::steps::{finish, root};

/// Runs the command.
pub fn run() -> Result<()> {
    finish(Command::new("bash").arg(root().join("xtask/arm64/test.sh")))
}
