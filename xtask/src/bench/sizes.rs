//! How large the files are that ship.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::table::Row;
use super::{Contestants, c_library};
use crate::steps::{cargo, finish};

/// What there is after this run, and what is still there from others. With `all` the rest is built.
pub fn rows(
    root: &Path,
    target: &Path,
    contestants: &Contestants,
    c: Option<&c_library::Built>,
    all: bool,
) -> Result<Vec<Row>> {
    let wheels = target.join("bench").join("wheels");
    let release = target.join("release");
    if all {
        let maturin = [OsStr::new("maturin"), "build".as_ref(), "--release".as_ref(), "--quiet".as_ref()];
        let develop = root.join("py/tools/develop.py");
        finish(Command::new("python3").arg(develop).args(maturin).arg("--out").arg(&wheels))?;
        finish(cargo().args(["build", "--release", "--package", "luacell-uniffi"]).current_dir(root))?;
    }
    let library =
        |name: &str| release.join(format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
    let files = [
        ("`lua.wasm`", Some(root.join("core/guest/lua.wasm"))),
        ("`luacell`, the command line program", Some(contestants.cli.clone())),
        ("C library, shared, stripped", c.map(|built| built.library.clone())),
        ("Node.js addon", newest(&root.join("node"), "node")?),
        ("Python wheel, compressed", newest(&wheels, "whl")?),
        ("library for Swift and Kotlin on desktops and servers", Some(library("luacell_uniffi"))),
    ];
    let mut rows = vec![Row::heading("Sizes of what ships")];
    for (what, file) in files {
        rows.push(match file.and_then(|file| std::fs::metadata(file).ok()) {
            Some(file) => Row { ours: format!("{:.2} MB", file.len() as f64 / 1e6), ..Row::note(what, "") },
            None => Row::note(what, "not built; `cargo xtask bench --sizes` builds it"),
        });
    }
    Ok(rows)
}

/// The file with this extension that was made last.
fn newest(folder: &Path, extension: &str) -> Result<Option<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(None) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        if entry.path().extension() == Some(OsStr::new(extension)) {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    Ok(found.into_iter().max().map(|(_, path)| path))
}
