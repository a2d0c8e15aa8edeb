//! libluacell, to be unpacked anywhere.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::Place;
use crate::install_c;
use crate::steps::{finish, script};

/// Tried by programs that are built with pkg-config and CMake, shared and static, and by the examples.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    let name = place.for_here("libluacell");
    install_c::install(&place.stage.join(&name), None)?;
    let file = place.tar(&name)?;
    place.untar(&file)?;
    let prefix = place.clean.join(&name);
    finish(script("bash", "ffi-c/test/installed.sh").arg(&prefix))?;
    let examples = place.example("c-embed")?;
    let mut make = Command::new("make");
    make.arg("test").arg(format!("PREFIX={}", prefix.display()));
    finish(make.current_dir(examples))?;
    Ok(vec![file])
}
