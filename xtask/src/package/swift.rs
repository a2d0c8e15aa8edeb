//! The Swift package for Linux, with the library. Apple's systems get an XCFramework, see `apple`.

use std::path::PathBuf;

use anyhow::Result;

use super::Place;
use crate::steps::{cargo, copy, finish, make_folder, root, script, strip, target};

/// Tried by the example.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    finish(&mut cargo(&["build", "--release", "--locked", "--package", "luacell-uniffi"]))?;
    let name = place.for_here("LuaCell");
    let stage = place.stage.join(&name);
    for part in ["Package.swift", "README.md"] {
        copy(&root().join("uniffi-bindings/swift").join(part), &stage.join(part))?;
    }
    place.copy_sources("uniffi-bindings/swift/Sources", &stage.join("Sources"))?;
    place.copy_sources("uniffi-bindings/swift/Tests", &stage.join("Tests"))?;
    place.notices(&stage)?;
    let library = stage.join("lib/libluacell_uniffi.so");
    copy(&target().join("release/libluacell_uniffi.so"), &library)?;
    strip(&library)?;
    let file = place.tar(&name)?;

    place.untar(&file)?;
    // The example names the package by its place in this repository.
    let package = place.clean.join("uniffi-bindings/swift");
    make_folder(&place.clean.join("uniffi-bindings"))?;
    std::fs::rename(place.clean.join(&name), &package)?;
    place.example("swift")?;
    let mut example = script("bash", "uniffi-bindings/swift/tools/test.sh");
    example.arg("example").env("LUACELL_TREE", &place.clean).env("LUACELL_LIBRARY", package.join("lib"));
    finish(&mut example)?;
    Ok(vec![file])
}
