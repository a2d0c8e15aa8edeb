//! What `cargo metadata` knows: where Lua's sources are, versions, the target folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::steps::{cargo, printed};

/// Places and versions.
pub struct Sources {
    /// Folder with Lua's C files.
    pub lua: PathBuf,
    /// As in `Lua 5.4.9`.
    pub lua_version: String,
    pub wasmtime_version: String,
    /// The shared `target` folder.
    pub target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
}

impl Sources {
    /// Asks cargo.
    pub fn find(root: &Path) -> Result<Self> {
        let answer = printed(cargo().args(["metadata", "--format-version", "1"]).current_dir(root))?;
        let metadata: Metadata = serde_json::from_str(&answer).context("cargo metadata wrote something unexpected")?;
        let package = |name: &str| {
            let found = metadata.packages.iter().find(|package| package.name == name);
            found.with_context(|| format!("the package {name} is not in Cargo.lock"))
        };

        let lua_src = package("lua-src")?;
        let folder = lua_src.manifest_path.parent().context("lua-src has no folder")?;
        let (lua, release) = lua_5_4(folder)?;
        Ok(Self {
            lua,
            lua_version: format!("Lua {release}"),
            wasmtime_version: package("wasmtime")?.version.clone(),
            target: metadata.target_directory.clone(),
        })
    }
}

/// The folder `lua-5.4.x` in the package, and its version.
fn lua_5_4(package: &Path) -> Result<(PathBuf, String)> {
    for entry in std::fs::read_dir(package).with_context(|| format!("cannot read {}", package.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(release) = name.to_string_lossy().strip_prefix("lua-").filter(|r| r.starts_with("5.4.")) {
            return Ok((entry.path(), release.to_owned()));
        }
    }
    bail!("{} has no folder lua-5.4.x", package.display())
}
