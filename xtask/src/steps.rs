//! What the commands here do again and again: call programs, copy files.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The repository, in which this package is a folder.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The features of the crate luacell in tests: always the same, so that little is built twice.
pub const CORE_FEATURES: &str = "async,hardened,jit,json,redis,testkit";

/// The running cargo.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Maven in the folder of the Kotlin artifact, with what it fetches below `target/`.
pub fn maven(root: &Path) -> Command {
    let mut command = Command::new("mvn");
    command.args(["--batch-mode", "--quiet", "-Dmaven.repo.local=../../target/maven"]);
    command.current_dir(root.join("uniffi-bindings/kotlin"));
    command
}

/// Waits until the command has done its work.
pub fn finish(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// What the command prints; its errors when it fails.
pub fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {}", output.status, errors.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} does not write UTF-8"))
}

/// Copies a file into a folder that may not be there yet.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // A library that a program has loaded must not change under it.
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Takes from a library what only debuggers want.
pub fn strip(library: &Path) -> Result<()> {
    let status = Command::new("strip").arg("--strip-unneeded").arg(library).status();
    if !status.context("cannot start strip; apt-get install binutils")?.success() {
        bail!("{} could not be stripped", library.display());
    }
    Ok(())
}
