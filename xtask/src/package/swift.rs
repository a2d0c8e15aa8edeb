//! The Swift package for Linux, with the library. Apple's systems get an XCFramework, see `apple`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::Place;
use crate::steps::{cargo, copy, finish, strip};

/// Tried by the example.
pub fn make(place: &Place<'_>) -> Result<Vec<PathBuf>> {
    finish(cargo().args(["build", "--release", "--locked", "--package", "luacell-uniffi"]).current_dir(place.root))?;
    let name = place.for_here("LuaCell");
    let stage = place.stage.join(&name);
    for part in ["Package.swift", "README.md"] {
        copy(&place.root.join("uniffi-bindings/swift").join(part), &stage.join(part))?;
    }
    place.copy_sources("uniffi-bindings/swift/Sources", &stage.join("Sources"))?;
    place.copy_sources("uniffi-bindings/swift/Tests", &stage.join("Tests"))?;
    place.notices(&stage)?;
    let library = stage.join("lib/libluacell_uniffi.so");
    copy(&place.root.join("target/release/libluacell_uniffi.so"), &library)?;
    strip(&library)?;
    let file = place.tar(&name)?;

    place.untar(&file)?;
    // The example names the package by its place in this repository.
    let package = place.clean.join("uniffi-bindings/swift");
    std::fs::create_dir_all(place.clean.join("uniffi-bindings"))?;
    std::fs::rename(place.clean.join(&name), &package)?;
    place.example("swift")?;
    let mut example = Command::new("bash");
    example.arg(place.root.join("uniffi-bindings/swift/tools/test.sh")).arg("example");
    example.env("LUACELL_TREE", &place.clean).env("LUACELL_LIBRARY", package.join("lib"));
    finish(&mut example)?;
    Ok(vec![file])
}
