//! libluacell as it ships, beside the Rust interface.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::table::Row;
use super::{Contestants, Features, micro, native};
use crate::steps::finish;

const DRIVER: &str = include_str!("ffi.c");

/// Builds the library and a program for it; both their paths. `None` where `install-c` can't.
pub fn build(target: &Path, features: Features) -> Result<Option<Built>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    let folder = target.join("bench").join("c");
    let library = crate::install_c::install(&folder, features)?;
    let (source, program) = (folder.join("ffi.c"), folder.join("ffi"));
    std::fs::write(&source, DRIVER).with_context(|| format!("cannot write {}", source.display()))?;
    let mut command = Command::new(native::compiler());
    command.args(["-O3", "-Wall", "-I"]).arg(folder.join("include")).arg("-o").arg(&program).arg(&source);
    command.arg(format!("-L{}", folder.join("lib").display())).args(["-lluacell", "-Wl,-rpath,$ORIGIN/lib"]);
    finish(&mut command)?;
    Ok(Some(Built { library, program }))
}

/// What `build` made.
pub struct Built {
    pub library: PathBuf,
    pub program: PathBuf,
}

/// The same rows as beside native Lua.
pub fn rows(contestants: &Contestants, built: Option<&Built>, rounds: usize) -> Result<Vec<Row>> {
    let mut rows = vec![Row::heading("C library / the Rust interface")];
    match built {
        Some(built) => rows.extend(micro::c_rows(contestants, &built.program, rounds)?),
        None => rows.push(Row::note("not measured", "`cargo xtask install-c` knows Linux only")),
    }
    Ok(rows)
}
