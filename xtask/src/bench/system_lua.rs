//! A second native peer: the `lua5.4` that the system has, such as Debian's package.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};

use super::measure::{Pair, geometric_mean};
use super::table::Row;
use super::{Contestants, cold, output_of, programs, programs_folder};

const PROGRAM: &str = "lua5.4";

/// The programs' mean, and the whole process.
pub fn rows(contestants: &Contestants, root: &Path, rounds: usize, short_rounds: usize) -> Result<Vec<Row>> {
    let lua = Path::new(PROGRAM);
    let Ok(version) = output_of(lua, &[OsStr::new("-e"), OsStr::new("io.write(_VERSION)")]) else {
        return Ok(vec![
            Row::heading("The system's Lua"),
            Row::note("not measured", &format!("`{PROGRAM}` is not installed (apt-get install {PROGRAM})")),
        ]);
    };
    let release = output_of(lua, &[OsStr::new("-v")]).unwrap_or_default();
    let release = release.split("  ").next().unwrap_or(&version).trim().to_owned();
    let script = root.join("xtask/src/bench/timed.lua");
    let mut ratios = Vec::new();
    for file in programs::files(&programs_folder(root), &[])? {
        eprintln!("{PROGRAM}: {}", file.file_stem().unwrap_or_default().to_string_lossy());
        let (_, expected) = programs::run(&contestants.native, &file)?;
        let checked = |timed: Result<(f64, String)>| {
            let (nanoseconds, result) = timed?;
            if result != expected {
                bail!("{} gives {result}, expected is {expected}", file.display());
            }
            Ok(nanoseconds)
        };
        let peer = || checked(programs::timed(lua, &[script.as_os_str(), file.as_os_str()]));
        ratios.push(Pair::measure(rounds, peer, || checked(programs::run(&contestants.runner, &file)))?.ratio());
    }
    Ok(vec![
        Row::heading(&format!("luacell / the system's `{PROGRAM}`, {release}")),
        Row {
            ratio: format!("**{:.2}**", geometric_mean(&ratios)),
            ..Row::note(&format!("geometric mean of {} programs", ratios.len()), "")
        },
        cold::beside_lua(contestants, lua, short_rounds)?,
    ])
}
