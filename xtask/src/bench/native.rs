//! The peer: PUC Lua from the same sources as the guest, compiled by the platform's C compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::finish;

const DRIVER: &str = include_str!("native.c");

/// As Lua's own makefile builds it for Linux, with -O3 instead of -O2.
#[cfg(target_os = "linux")]
const PLATFORM: &[&str] = &["-DLUA_USE_LINUX"];
#[cfg(not(target_os = "linux"))]
const PLATFORM: &[&str] = &["-DLUA_USE_POSIX"];

/// Builds the driver with Lua in it, if that has not been done; its path.
pub fn build(sources: &Path, target: &Path) -> Result<PathBuf> {
    let folder = target.join("bench").join("native");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let program = folder.join("native");

    let compiler = compiler();
    let mut flags = vec!["-O3", "-Wall"];
    flags.extend(PLATFORM);
    let recipe = format!("{compiler} {flags:?} {}\n{DRIVER}", sources.display());
    let stamp = folder.join("recipe");
    if program.exists() && std::fs::read_to_string(&stamp).is_ok_and(|known| known == recipe) {
        return Ok(program);
    }

    let driver = folder.join("driver.c");
    std::fs::write(&driver, DRIVER).with_context(|| format!("cannot write {}", driver.display()))?;
    let mut command = Command::new(&compiler);
    command.args(&flags).arg("-I").arg(sources).arg("-o").arg(&program).arg(&driver);
    command.args(library_sources(sources)?).args(["-Wl,-E", "-lm", "-ldl"]);
    eprintln!("building native Lua with {compiler} {}", flags.join(" "));
    finish(&mut command).context("native Lua needs a C compiler: apt-get install gcc libc6-dev")?;
    std::fs::write(&stamp, recipe).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(program)
}

/// `CC`, or gcc.
pub fn compiler() -> String {
    std::env::var("CC").unwrap_or_else(|_| "gcc".to_owned())
}

/// All of Lua except its two programs.
fn library_sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".c") && name != "lua.c" && name != "luac.c" {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
