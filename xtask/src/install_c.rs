//! `cargo xtask install-c`: installs libluacell as C programs expect to find it.

#[path = "../../ffi-c/soname.rs"]
mod soname;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::package::NOTICES;
use crate::steps::{cargo, copy, files, finish, read, root, size, strip, target, write};

/// Options of `cargo xtask install-c`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to: include/, lib/, lib/pkgconfig/, lib/cmake/luacell/ and share/doc/luacell/ in it. It may be moved
    /// afterwards
    #[arg(long, value_name = "FOLDER")]
    prefix: PathBuf,
    /// The folder for libraries in it, such as lib64 or lib/x86_64-linux-gnu
    #[arg(long, default_value = "lib", value_name = "NAME")]
    libdir: PathBuf,
    /// The cargo profile to build with
    #[arg(long, default_value = SHIPPED)]
    profile: String,
    /// Features of the package luacell-ffi to build with, such as static
    #[arg(long, value_name = "NAME")]
    features: Option<String>,
}

/// The profile that is not shared with the other bindings.
const SHIPPED: &str = "small";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Installs what ships below `prefix`; the path of the shared library.
pub fn install(prefix: &Path, features: Option<&str>) -> Result<PathBuf> {
    let features = features.map(str::to_owned);
    run(&Args { prefix: prefix.to_owned(), libdir: "lib".into(), profile: SHIPPED.to_owned(), features })?;
    Ok(prefix.join("lib").join(format!("libluacell.so.{VERSION}")))
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!(
            "install-c knows Linux only; elsewhere build the package luacell-ffi and copy ffi-c/include and the library"
        );
    }
    if args.libdir.is_absolute() {
        bail!("--libdir is a folder within --prefix");
    }
    let built = build(args)?;
    let (prefix, lib) = (&args.prefix, args.prefix.join(&args.libdir));
    for header in ["luacell.h", "luacell.hpp"] {
        copy(&root().join("ffi-c/include").join(header), &prefix.join("include").join(header))?;
    }
    for notice in NOTICES {
        copy(&root().join(notice), &prefix.join("share/doc/luacell").join(notice))?;
    }
    copy(&built.join("libluacell_ffi.a"), &lib.join("libluacell.a"))?;
    let soname = soname::soname(env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let shared = format!("libluacell.so.{VERSION}");
    copy(&built.join("libluacell_ffi.so"), &lib.join(&shared))?;
    strip(&lib.join(&shared))?;
    link(&shared, &lib.join(&soname))?;
    link(&soname, &lib.join("libluacell.so"))?;
    for template in files(&root().join("ffi-c/install"), ".in")? {
        let name = template.file_stem().context("a template without a name")?;
        let folder = args.libdir.join(if template.ends_with("luacell.pc.in") { "pkgconfig" } else { "cmake/luacell" });
        let text = read(&template)?
            .replace("@TO_PREFIX@", &vec![".."; folder.components().count()].join("/"))
            .replace("@LIBDIR@", &args.libdir.to_string_lossy())
            .replace("@VERSION@", VERSION)
            .replace("@SONAME@", &soname);
        write(&prefix.join(folder).join(name), text)?;
    }
    let bytes = size(&lib.join(&shared))?;
    println!("installed libluacell {VERSION} in {}; {shared} has {bytes} bytes", prefix.display());
    Ok(())
}

/// Builds the library; the folder where it is then.
fn build(args: &Args) -> Result<PathBuf> {
    let profile = args.profile.as_str();
    let mut command = cargo(&["build", "--package", "luacell-ffi", "--profile", profile]);
    command.args(args.features.as_ref().map(|features| format!("--features={features}")));
    finish(command.args((profile == SHIPPED).then_some("--no-default-features")))?;
    Ok(target().join(if profile == "dev" { "debug" } else { profile }))
}

#[cfg(unix)]
fn link(to: &str, link: &Path) -> Result<()> {
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(to, link).with_context(|| format!("cannot make the link {}", link.display()))
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> Result<()> {
    bail!("links are made on Unix only")
}
