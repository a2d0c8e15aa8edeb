//! What the commands here do often: call programs, read and write files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The repository, in which this package is a folder.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// The features of the crate luacell in tests: always the same, so that little is built twice.
pub const CORE_FEATURES: &str = "async,hardened,jit,json,redis,testkit";

/// The running cargo, in the repository's folder.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// A script or program of the repository, for one that runs such: `bash`, `node`, `python3`.
pub fn script(program: &str, file: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(root().join(file));
    command
}

/// Maven in the folder of the Kotlin artifact, with what it fetches below `target/`.
pub fn maven(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("mvn");
    command
        .args(["--batch-mode", "--quiet"])
        .arg(format!("-Dmaven.repo.local={}", root().join("target/maven").display()));
    command.args(arguments).current_dir(folder);
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

/// The text of a file.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file into a folder that may not be there yet.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    make_folder(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Copies a file into a folder that may not be there yet.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to.parent().unwrap_or(to))?;
    // A library that a program has loaded must not change under it.
    let _ = fs::remove_file(to);
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Makes a folder, and those that it is in.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// What is in a folder and has a name that ends so, sorted.
pub fn files(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix)));
    files.sort();
    Ok(files)
}

/// How many bytes a file has.
pub fn size(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len())
}

/// Takes from a library or program what only debuggers want.
pub fn strip(file: &Path) -> Result<()> {
    finish(Command::new("strip").arg("--strip-unneeded").arg(file)).context("strip is in Debian's package binutils")
}

/// What a program is called here.
pub fn program(name: &str) -> String {
    format!("{name}{}", std::env::consts::EXE_SUFFIX)
}

/// What a shared library is called here.
pub fn library(name: &str) -> String {
    format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The name of a file without its folder and its extension.
pub fn stem(file: &Path) -> String {
    file.file_stem().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}
