//! The npm packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Place;
use crate::steps::{finish, printed};

/// Tried by the example, in a project that has both and can't reach a registry.
pub fn make(place: &Place<'_>) -> Result<Vec<PathBuf>> {
    let tool = |name: &str| place.root.join("node/tools").join(name);
    finish(Command::new("node").arg(tool("install.mjs")))?;
    finish(Command::new("node").arg(tool("build-native.mjs")))?;
    let mut types = Command::new("node");
    types.args(["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]).current_dir(place.root.join("node"));
    finish(&mut types)?;
    finish(Command::new("node").arg("wasm/build.mjs").current_dir(place.root.join("node")))?;
    let made = printed(Command::new("node").arg(tool("package.mjs")).arg(&place.stage).arg(&place.out))?;
    let files: Vec<PathBuf> = made.lines().map(PathBuf::from).collect();
    let [main, platform] = files.as_slice() else { bail!("package.mjs names {files:?}") };

    let project = place.example("node")?;
    fs::write(project.join("package.json"), "{ \"private\": true, \"type\": \"module\" }")?;
    let mut install = Command::new("npm");
    install.args(["install", "--offline", "--no-audit", "--no-fund", "--loglevel=error"]).arg(main).arg(platform);
    finish(install.current_dir(&project).stdout(std::process::Stdio::null()))?;
    let mut example = Command::new("node");
    place.check_report(&printed(example.arg("main.mjs").current_dir(&project))?)?;
    let wasm = "import { Sandbox } from 'luacell/wasm'; const lua = await Sandbox.create(); console.log(lua.compute('return 6 * 7'))";
    let mut browser = Command::new("node");
    let answer = printed(browser.args(["--input-type=module", "--eval", wasm]).current_dir(&project))?;
    (answer == "42\n").then_some(files.clone()).context("luacell/wasm gives something else")
}
