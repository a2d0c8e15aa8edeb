//! Building what is compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Feature;
use crate::guest::build::Folders;
use crate::steps::{cargo, copy, files, finish, make_folder, program, root, target};

/// The two programs that are compared, and the command line program.
pub struct Contestants {
    pub native: PathBuf,
    pub runner: PathBuf,
    pub cli: PathBuf,
}

/// Builds our side as users get it, or with a feature, and native Lua.
pub fn contestants(feature: Feature) -> Result<Contestants> {
    let mut build = cargo(&["build", "--release", "--package=bench-runner", "--package=luacell-cli"]);
    finish(build.args(feature.map(|feature| format!("--features={feature}"))))?;
    let release = target().join("release");
    let (runner, cli) = (release.join(program("bench-runner")), release.join(program("luacell")));
    Ok(Contestants { native: native()?, runner, cli })
}

/// The peer: PUC Lua from the same sources as the guest, as its own makefile builds it for Linux, with -O3 instead of
/// -O2.
pub fn native() -> Result<PathBuf> {
    let lua = Folders::find()?.lua;
    let platform = if cfg!(target_os = "linux") { "-DLUA_USE_LINUX" } else { "-DLUA_USE_POSIX" };
    let made = folder()?.join("native");
    let mut command = Command::new(compiler());
    command.args(["-O3", "-Wall", platform, "-I"]).arg(&lua).arg("-o").arg(&made);
    command.arg(root().join("xtask/bench-peers/native.c"));
    // But for Lua's two programs.
    let is_program = |file: &PathBuf| ["lua.c", "luac.c"].iter().any(|name| file.ends_with(name));
    command.args(files(&lua, ".c")?.into_iter().filter(|file| !is_program(file)));
    finish(command.args(["-Wl,-E", "-lm", "-ldl"]))
        .context("native Lua needs a C compiler: apt-get install gcc libc6-dev")?;
    Ok(made)
}

/// `CC`, or gcc.
pub fn compiler() -> String {
    std::env::var("CC").unwrap_or_else(|_| "gcc".to_owned())
}

/// Where programs lie that are only measured.
pub fn folder() -> Result<PathBuf> {
    let folder = target().join("bench");
    make_folder(&folder)?;
    Ok(folder)
}

/// A runner with these features of core's and no others.
pub fn runner_with(features: &str) -> Result<PathBuf> {
    let name = format!("runner-{features}");
    kept_runner(
        &name,
        cargo(&["build", "--release", "--package=bench-runner", "--no-default-features", "--features", features]),
    )
}

/// A runner around a guest that counts nothing.
pub fn unmetered() -> Result<PathBuf> {
    let guest = folder()?.join("unmetered.wasm");
    crate::guest::write_unmetered(&guest)?;
    let mut build = cargo(&["build", "--release", "--package=bench-runner", "--package=luacell-cli"]);
    build.env("LUACELL_BENCH_GUEST", guest);
    kept_runner("runner-unmetered", build)
}

/// Runs cargo, and puts the runner where the next build leaves it alone.
fn kept_runner(name: &str, mut build: Command) -> Result<PathBuf> {
    finish(&mut build)?;
    let kept = folder()?.join(program(name));
    copy(&target().join("release").join(program("bench-runner")), &kept)?;
    Ok(kept)
}

/// libluacell as it ships, and a program for it.
pub struct CLibrary {
    pub library: PathBuf,
    pub program: PathBuf,
}

/// Builds both. `None` where `install-c` can't.
pub fn c_library(feature: Feature) -> Result<Option<CLibrary>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let folder = folder()?.join("c");
    let library = crate::install_c::install(&folder, feature)?;
    let program = folder.join("ffi");
    let mut command = Command::new(compiler());
    command.args(["-O3", "-Wall", "-I"]).arg(folder.join("include")).arg("-o").arg(&program);
    command.arg(root().join("xtask/bench-runner/ffi.c")).arg("-L").arg(folder.join("lib"));
    finish(command.args(["-lluacell", "-Wl,-rpath,$ORIGIN/lib"]))?;
    Ok(Some(CLibrary { library, program }))
}

/// The program with mlua in it.
pub fn mlua() -> Result<PathBuf> {
    let target = folder()?.join("mlua");
    let mut build = cargo(&["build", "--release", "--locked"]);
    finish(build.current_dir(root().join("xtask/bench-peers")).env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("release").join(program("bench-peers")))
}

/// The size of a program or library as it ships, in bytes.
pub fn stripped_size(file: &Path) -> Result<f64> {
    let stripped = folder()?.join("stripped");
    copy(file, &stripped)?;
    crate::steps::strip(&stripped)?;
    Ok(crate::steps::size(&stripped)? as f64)
}
