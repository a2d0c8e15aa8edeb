//! `cargo xtask verify-generated`: files that are made from others, and are committed because people read them. It also
//! checks that all packages have the same version, and that the notices name everything that asks for one.

mod bindings;
mod notices;
mod protocol;
mod versions;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::steps::root;

/// Options of `cargo xtask verify-generated`.
#[derive(clap::Args)]
pub struct Args {
    /// Write the files instead of comparing them
    #[arg(long)]
    write: bool,
    /// Kotlin and Swift too, for which a library has to be built
    #[arg(long)]
    bindings: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = root();
    let mut stale = Vec::new();
    // Others are made from these.
    bring(root, protocol::files(root)?, args.write, &mut stale)?;
    bring(root, vec![("ffi-c/include/luacell.h", header(root)?)], args.write, &mut stale)?;
    if args.bindings {
        bring(root, bindings::files(root)?, args.write, &mut stale)?;
    }
    versions::check(root)?;
    notices::check(root)?;
    if stale.is_empty() {
        return Ok(());
    }
    bail!("{} is not what its sources give; run cargo xtask verify-generated --write", stale.join(", "))
}

/// Writes the files that are not what they should be, or notes their names.
fn bring(root: &Path, files: Vec<(&'static str, String)>, write: bool, stale: &mut Vec<&'static str>) -> Result<()> {
    for (name, text) in files {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        if write {
            std::fs::write(&path, text).with_context(|| format!("cannot write {name}"))?;
            eprintln!("written: {name}");
        } else {
            stale.push(name);
        }
    }
    Ok(())
}

/// The C header, from the comments and signatures in the crate luacell-ffi.
fn header(root: &Path) -> Result<String> {
    /// In the order in which they are to be read.
    const SOURCES: &[&str] = &[
        "status",
        "status/kinds",
        "pointers",
        "error",
        "value",
        "table",
        "outcome",
        "sink",
        "store",
        "config",
        "engine",
        "sandbox",
        "host_function",
        "object",
        "snapshot",
        "run",
    ];
    let folder = root.join("ffi-c");
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).with_context(|| format!("cannot read {name}"));
    let mut config =
        cbindgen::Config::from_file(folder.join("cbindgen.toml")).map_err(|e| anyhow::anyhow!("cbindgen.toml: {e}"))?;
    config.header = Some(text("header.h")?);
    config.after_includes = Some(format!(
        "\n/** The version of this header. */\n#define LUACELL_VERSION \"{}\"\n\n\
         /** In place of a limit: none. */\n#define LUACELL_UNLIMITED UINT64_MAX\n\n\
         /** In place of a number for which 0 means the default: 0 itself. */\n#define LUACELL_ZERO (UINT64_MAX - 1)",
        env!("CARGO_PKG_VERSION")
    ));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(folder.join("src").join(source).with_extension("rs"));
    }
    let mut out = Vec::new();
    builder.generate().context("cbindgen can't read ffi-c/src")?.write(&mut out);
    Ok(String::from_utf8(out)?)
}
