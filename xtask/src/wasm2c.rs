//! `cargo xtask static`: installs what the feature `static` of the crate luacell needs besides a C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guest::toolchain::system_python;
use crate::steps::{finish, root};

#[path = "../../core/build/wasm2c.rs"]
pub mod pinned;

/// Options of `cargo xtask static`.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run_command(_: &Args) -> Result<()> {
    let root = root();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    install(&target)
}

/// Puts wasm2c below the target folder, where the build script looks for it, unless it is there.
pub fn install(target: &Path) -> Result<()> {
    let folder = target.join(pinned::FOLDER);
    let bin = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let version = || {
        let output = Command::new(bin.join("wasm2c")).arg("--version").output().ok()?;
        String::from_utf8(output.stdout).ok().map(|version| version.trim().to_owned())
    };
    if version().as_deref() == Some(pinned::VERSION) {
        return Ok(());
    }
    println!("installing {} into {}", pinned::PACKAGE, folder.display());
    // Anew, because an environment does not survive being moved.
    finish(Command::new(system_python()?).args(["-m", "venv", "--clear"]).arg(&folder)).context(
        "making a Python virtual environment failed; on Debian and Ubuntu install it with: apt-get install python3-venv",
    )?;
    finish(
        Command::new(bin.join("python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--only-binary", ":all:", "--no-deps", pinned::PACKAGE]),
    )?;
    match version() {
        Some(version) if version == pinned::VERSION => Ok(()),
        found => bail!("{} reports version {found:?}, wanted {}", pinned::PACKAGE, pinned::VERSION),
    }
}
