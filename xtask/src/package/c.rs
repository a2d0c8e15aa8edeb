//! libluacell, to be unpacked anywhere.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::Place;
use crate::install_c;
use crate::steps::finish;

/// Tried by programs that are built with pkg-config and CMake, shared and static, and by the examples.
pub fn make(place: &Place<'_>) -> Result<Vec<PathBuf>> {
    let name = place.for_here("libluacell");
    install_c::install(&place.stage.join(&name), None)?;
    let file = place.tar(&name)?;
    place.untar(&file)?;
    let prefix = place.clean.join(&name);
    finish(Command::new("bash").arg(place.root.join("ffi-c/test/installed.sh")).arg(&prefix))?;
    place.copy_sources("examples/c-embed", &place.clean.join("examples/c-embed"))?;
    for file in ["rules.lua", "rules-report.txt"] {
        crate::steps::copy(&place.root.join("examples").join(file), &place.clean.join("examples").join(file))?;
    }
    let mut make = Command::new("make");
    make.arg("test").arg(format!("PREFIX={}", prefix.display()));
    finish(make.current_dir(place.clean.join("examples/c-embed")))?;
    Ok(vec![file])
}
