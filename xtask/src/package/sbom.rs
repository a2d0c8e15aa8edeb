//! Lists of parts in the form of CycloneDX: cargo's crates, and the C code in the guest, which cargo does not know.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Place, VERSION};
use crate::guest::recipe;
use crate::steps::{finish, printed, read, root, write};
use crate::tools::crate_tool;

/// The packages that people get, by the crate that they are made of.
const SHIPPED: [(&str, &str); 6] = [
    ("core", "luacell"),
    ("cli", "luacell-cli"),
    ("ffi-c", "luacell-ffi"),
    ("node", "luacell-node"),
    ("py", "luacell-py"),
    ("uniffi-bindings", "luacell-uniffi"),
];

/// Makes one list for each.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (folder, name) in SHIPPED {
        let mut list = crate_tool("cargo-cyclonedx", "0.5.9")?;
        list.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--override-filename", "luacell-sbom"]);
        list.arg("--manifest-path").arg(root().join(folder).join("Cargo.toml"));
        finish(list.current_dir(root()))?;
        let made = root().join(folder).join("luacell-sbom.json");
        let text = read(&made)?;
        // One is written for each package of the workspace, also those that nobody gets.
        for manifest in printed(Command::new("git").args(["ls-files", "*Cargo.toml"]).current_dir(root()))?.lines() {
            let _ = std::fs::remove_file(root().join(manifest).with_file_name("luacell-sbom.json"));
        }
        let mut bom: Value = serde_json::from_str(&text).context("cargo-cyclonedx writes no JSON")?;
        let parts = bom.get_mut("components").and_then(Value::as_array_mut).context("the list has no components")?;
        ensure!(parts.iter().any(|part| part["name"] == "wasmtime"), "the list of {name} lacks wasmtime");
        parts.extend(guest());
        let file = place.out.join(format!("{name}-{VERSION}.cdx.json"));
        write(&file, serde_json::to_string_pretty(&bom)? + "\n")?;
        files.push(file);
    }
    Ok(files)
}

/// What `lua.wasm` is made of.
fn guest() -> [Value; 2] {
    let part = |name: &str, version: &str, by: &str| {
        json!({
            "type": "library",
            "bom-ref": format!("luacell-guest-{name}"),
            "name": name,
            "version": version,
            "description": format!("In lua.wasm; {by}"),
            "licenses": [{ "license": { "id": "MIT" } }],
        })
    };
    let lua = recipe::LUA_FOLDER.trim_start_matches("lua-");
    let zig = format!("as {} {} brings it", recipe::ZIG_PACKAGE, recipe::ZIG_VERSION);
    [part("lua", lua, "by PUC-Rio"), part("wasi-libc", "", &zig)]
}
