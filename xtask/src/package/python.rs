//! The wheel and the source distribution.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Place, only};
use crate::steps::{copy, finish, printed, script, target};
use crate::tools::{bin, pip};

/// Each is installed into an environment of its own, the wheel without a registry, and runs the example.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    for what in [&["build", "--release", "--locked"][..], &["sdist"]] {
        let mut maturin = script("python3", "py/tools/develop.py");
        finish(maturin.arg("maturin").args(what).arg("--out").arg(&place.stage))?;
    }
    let mut files = Vec::new();
    for suffix in [".whl", ".tar.gz"] {
        let made = only(&place.stage, suffix)?;
        let file = place.out.join(made.file_name().context("it has a name")?);
        copy(&made, &file)?;
        try_out(place, &file, suffix == ".whl")?;
        files.push(file);
    }
    let wheel = files.first().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    if cfg!(target_os = "linux") {
        ensure!(wheel.contains("manylinux") || wheel.contains("musllinux"), "{wheel} is for this machine only");
    }
    Ok(files)
}

fn try_out(place: &Place, package: &Path, finished: bool) -> Result<()> {
    let venv = place.clean.join(if finished { "wheel" } else { "sdist" });
    finish(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let python = bin(&venv).join("python");
    let mut install = pip(&venv);
    if finished {
        install.args(["--no-index", "--no-deps"]);
    }
    // What a source distribution is compiled with is here already.
    install.env("CARGO_TARGET_DIR", target());
    finish(install.arg(package).current_dir(&place.clean))?;
    let mut example = Command::new(&python);
    example.arg("-I").arg(place.example("python")?.join("rules.py")).current_dir(&place.clean);
    place.check_report(&printed(&mut example)?)?;
    let mut readme = Command::new(&python);
    readme.args(["-I", "-c", &place.readme("README.md", "python")?]).current_dir(&venv);
    ensure!(printed(&mut readme)? == "(7.0, 1)\n", "the README's program prints something else");
    Ok(())
}
