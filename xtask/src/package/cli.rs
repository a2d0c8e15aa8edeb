//! The program luacell.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{Place, VERSION};
use crate::steps::{cargo, copy, finish, printed, program, target, write};

/// Tried by the README's commands.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    let program = program("luacell");
    let mut build = cargo(&["build", "--release", "--locked", "--package", "luacell-cli"]);
    finish(build.args(["--config", "profile.release.strip=\"symbols\""]))?;
    let name = place.for_here("luacell");
    let stage = place.stage.join(&name);
    copy(&target().join("release").join(&program), &stage.join(&program))?;
    place.notices(&stage)?;
    let file = place.tar(&name)?;

    place.untar(&file)?;
    let run = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(place.clean.join(&name).join(&program));
        printed(command.args(arguments).current_dir(&place.clean).env_clear())
    };
    ensure!(run(&["--version"])?.trim() == format!("luacell {VERSION}"), "another version");
    write(&place.clean.join("count.lua"), "_home.n = (_home.n or 0) + 1 return _home.n, _io.input.x, ...")?;
    for expected in ["1", "2"] {
        let printed = run(&["run", "count.lua", "--home", "state.luacell", "--input", "{\"x\": 7}", "--", "first"])?;
        let printed: Vec<&str> = printed.split_whitespace().collect();
        ensure!(printed == [expected, "7", "first"], "the script gave {printed:?}");
    }
    Ok(vec![file])
}
