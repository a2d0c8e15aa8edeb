//! Programs that commands here need and that registries have: pinned, and installed below `target/` when they are first
//! needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{cargo, finish, printed, root, target, write};

#[path = "../../core/build/wasm2c.rs"]
pub mod pinned;

/// A program of a crate of that name.
pub fn crate_tool(name: &str, version: &str) -> Result<Command> {
    let folder = root().join("target/tools");
    let list = printed(cargo(&["install", "--list", "--root"]).arg(&folder))?;
    if !list.lines().any(|line| line == format!("{name} v{version}:")) {
        let mut install = cargo(&["install", "--quiet", "--locked", "--version", version, name, "--root"]);
        finish(install.arg(&folder).env("CARGO_TARGET_DIR", folder.join("build")))?;
    }
    Ok(Command::new(folder.join("bin").join(name)))
}

/// A Python environment with one package, such as `name==1.0`; the folder of its programs.
pub fn environment(folder: &Path, package: &str) -> Result<PathBuf> {
    let bin = bin(folder);
    // With its place, because an environment does not survive being moved.
    let (stamp, installed) = (folder.join("installed"), format!("{package} in {}", folder.display()));
    if std::fs::read_to_string(&stamp).is_ok_and(|there| there == installed) {
        return Ok(bin);
    }
    println!("installing {package} into {}", folder.display());
    finish(Command::new(system_python()?).args(["-m", "venv", "--clear"]).arg(folder)).context(
        "making a Python virtual environment failed; on Debian and Ubuntu install it with: apt-get install python3-venv",
    )?;
    finish(pip(folder).args(["--only-binary", ":all:", "--no-deps", package]))?;
    write(&stamp, installed)?;
    Ok(bin)
}

/// Installs into a Python environment.
pub fn pip(environment: &Path) -> Command {
    let mut command = Command::new(bin(environment).join("python"));
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command
}

/// Where an environment has its programs.
pub fn bin(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts" } else { "bin" })
}

/// What the feature `static` of the crate luacell needs besides a C compiler, where its build script looks for it.
pub fn wasm2c() -> Result<()> {
    let bin = environment(&target().join(pinned::FOLDER), pinned::PACKAGE)?;
    let version = printed(Command::new(bin.join("wasm2c")).arg("--version"))?;
    ensure!(version.trim() == pinned::VERSION, "wasm2c is of version {version}, wanted is {}", pinned::VERSION);
    Ok(())
}

/// The name of a Python that runs.
fn system_python() -> Result<&'static str> {
    for name in ["python3", "python"] {
        let found = Command::new(name).arg("--version").output();
        if found.is_ok_and(|output| output.status.success()) {
            return Ok(name);
        }
    }
    bail!("python3 is missing; on Debian and Ubuntu install it with: apt-get install python3 python3-venv")
}
