//! The XCFramework: what `uniffi-bindings/swift/tools/apple.sh` does.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::steps::finish;

/// Runs the script, which says what it misses.
pub fn run(root: &Path) -> Result<()> {
    finish(Command::new("bash").arg(root.join("uniffi-bindings/swift/tools/apple.sh")))
}
