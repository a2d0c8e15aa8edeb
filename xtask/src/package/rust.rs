//! The crate, as a registry would hold it.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::{Place, VERSION};
use crate::steps::{cargo, copy, finish, printed, root, target, write};

/// Tried by the program in the README, in a project that has the unpacked crate as its only dependency.
pub fn make(place: &Place) -> Result<Vec<PathBuf>> {
    finish(&mut cargo(&["package", "--package", "luacell", "--locked", "--no-verify", "--allow-dirty"]))?;
    let name = format!("luacell-{VERSION}");
    let file = place.out.join(format!("{name}.crate"));
    copy(&target().join("package").join(format!("{name}.crate")), &file)?;

    place.untar(&file)?;
    for notice in super::NOTICES {
        ensure!(place.clean.join(&name).join(notice).is_file(), "{notice} is missing in the crate");
    }
    let project = place.clean.join("project");
    let manifest = format!(
        "[package]\nname = \"newcomer\"\nedition = \"2024\"\n\n[dependencies]\nluacell = {{ path = \"../{name}\" }}\n\n[workspace]\n"
    );
    write(&project.join("Cargo.toml"), manifest)?;
    // The versions that were tested, not the newest.
    copy(&root().join("Cargo.lock"), &project.join("Cargo.lock"))?;
    let program = place.readme("README.md", "rust")?.replace("    Ok(())", "    println!(\"done\");\n    Ok(())");
    write(&project.join("src/main.rs"), program)?;
    let mut run = cargo(&["run", "--quiet"]);
    run.current_dir(&project).env("CARGO_TARGET_DIR", target());
    ensure!(printed(&mut run)? == "done\n", "the README's program did not get to its end");
    Ok(vec![file])
}
