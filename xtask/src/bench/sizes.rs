//! The sizes of the files that ship.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::build::{self, CLibrary, Contestants};
use super::table::{Row, megabytes};
use crate::steps::{cargo, files, finish, library, root, script, size, target};

/// What there is after this run, and what is still there from others. With `all` the rest is built.
pub fn rows(contestants: &Contestants, c: Option<&CLibrary>, all: bool) -> Result<Vec<Row>> {
    let wheels = build::folder()?.join("wheels");
    if all {
        let mut wheel = script("python3", "py/tools/develop.py");
        finish(wheel.args(["maturin", "build", "--release", "--quiet", "--out"]).arg(&wheels))?;
        finish(&mut cargo(&["build", "--release", "--package", "luacell-uniffi"]))?;
    }
    // The one that was made last.
    let newest = |folder: &Path, suffix: &str| {
        let made = |file: &_| std::fs::metadata(file).and_then(|file| file.modified()).ok();
        files(folder, suffix).unwrap_or_default().into_iter().max_by_key(made)
    };
    let files = [
        ("`lua.wasm`", Some(root().join("core/guest/lua.wasm"))),
        ("`luacell`, the command line program", Some(contestants.cli.clone())),
        ("C library, shared, stripped", c.map(|built| built.library.clone())),
        ("Node.js addon", newest(&root().join("node"), ".node")),
        ("Python wheel, compressed", newest(&wheels, ".whl")),
        (
            "library for Swift and Kotlin on desktops and servers",
            Some(target().join("release").join(library("luacell_uniffi"))),
        ),
    ];
    let row = |(what, file): (&str, Option<PathBuf>)| match file.and_then(|file| size(&file).ok()) {
        Some(bytes) => Row { ours: megabytes(bytes as f64), ..Row::note(what, "") },
        None => Row::note(what, "not built; `cargo xtask bench --sizes` builds it"),
    };
    Ok([Row::heading("Sizes of what ships")].into_iter().chain(files.into_iter().map(row)).collect())
}
