//! The npm packages.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Place;
use crate::steps::{finish, printed, root, script, write};

/// Tried by the example, in a project that has both and can't reach a registry.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    finish(&mut script("node", "node/tools/install.mjs"))?;
    finish(&mut script("node", "node/tools/build-native.mjs"))?;
    finish(
        script("node", "node/node_modules/typescript/bin/tsc")
            .args(["-p", "tsconfig.json"])
            .current_dir(root().join("node")),
    )?;
    finish(&mut script("node", "node/wasm/build.mjs"))?;
    let made = printed(script("node", "node/tools/package.mjs").arg(&place.stage).arg(&place.out))?;
    let files: Vec<PathBuf> = made.lines().map(PathBuf::from).collect();
    let [main, platform] = files.as_slice() else { bail!("package.mjs names {files:?}") };

    let project = place.example("node")?;
    write(&project.join("package.json"), "{ \"private\": true, \"type\": \"module\" }")?;
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
