//! The version: `Cargo.toml` has it, and the files of other package managers repeat it.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::steps::read;

/// Files, and what stands before each version in them when all white space is left out.
const PLACES: &[(&str, &str)] = &[
    // What the members of the workspace want of the crate luacell.
    ("Cargo.toml", "luacell={path=\"core\",version=\""),
    ("node/package.json", "\"name\":\"luacell\",\"version\":\""),
    ("node/package-lock.json", "\"name\":\"luacell\",\"version\":\""),
    ("uniffi-bindings/kotlin/pom.xml", "<artifactId>luacell</artifactId><version>"),
    ("examples/kotlin/pom.xml", "<artifactId>luacell</artifactId><version>"),
];

/// Fails when a file has another version than this workspace.
pub fn check(root: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    for (name, before) in PLACES {
        let text: String = read(&root.join(name))?.split_whitespace().collect();
        let found: Vec<&str> = text.split(before).skip(1).filter_map(|after| after.split(['"', '<']).next()).collect();
        ensure!(!found.is_empty(), "{name} has no version behind {before}");
        ensure!(
            found.iter().all(|found| *found == version),
            "the version is {version}, as in [workspace.package] of Cargo.toml, but {name} has {}; write {version} there",
            found.join(", ")
        );
    }
    Ok(())
}
