//! `cargo xtask install-c`: libluacell as C programs expect to find it.

#[path = "../../ffi-c/soname.rs"]
mod soname;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::package::NOTICES;
use crate::steps::{cargo, copy, finish, root, strip};

/// Options of `cargo xtask install-c`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to: include/, lib/, lib/pkgconfig/, lib/cmake/luacell/ and share/doc/luacell/ in it. It may be moved afterwards
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

/// What Rust's own library needs of the system, but for what compilers link by themselves: the C library, and what unwinds, which has another name in
/// static programs.
const SYSTEM_LIBRARIES: &[&str] = &["util", "rt", "pthread", "m", "dl"];

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
    let root = root();
    let built = build(root, args)?;
    if args.libdir.is_absolute() {
        bail!("--libdir is a folder within --prefix");
    }
    let (include, lib) = (args.prefix.join("include"), args.prefix.join(&args.libdir));
    let (pkgconfig, cmake) = (lib.join("pkgconfig"), lib.join("cmake/luacell"));
    let doc = args.prefix.join("share/doc/luacell");
    for folder in [&include, &pkgconfig, &cmake, &doc] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for header in ["luacell.h", "luacell.hpp"] {
        copy(&root.join("ffi-c/include").join(header), &include.join(header))?;
    }
    for notice in NOTICES {
        copy(&root.join(notice), &doc.join(notice))?;
    }
    copy(&built.join("libluacell_ffi.a"), &lib.join("libluacell.a"))?;
    let (shared, soname) = (format!("libluacell.so.{VERSION}"), soname());
    copy(&built.join("libluacell_ffi.so"), &lib.join(&shared))?;
    strip(&lib.join(&shared))?;
    link(&shared, &lib.join(&soname))?;
    link(&soname, &lib.join("libluacell.so"))?;
    let to_prefix = |folder: &Path| vec![".."; folder.components().count()].join("/");
    let to_lib = args.libdir.to_string_lossy();
    write(&pkgconfig.join("luacell.pc"), &pc(&to_prefix(&args.libdir.join("pkgconfig")), &to_lib))?;
    let config = cmake_config(&to_prefix(&args.libdir.join("cmake/luacell")), &to_lib, &shared, &soname);
    write(&cmake.join("luacellConfig.cmake"), &config)?;
    write(&cmake.join("luacellConfigVersion.cmake"), &cmake_version())?;
    let bytes = fs::metadata(lib.join(&shared))?.len();
    println!("installed libluacell {VERSION} in {}; {shared} has {bytes} bytes", args.prefix.display());
    Ok(())
}

fn soname() -> String {
    soname::soname(env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"))
}

/// Builds the library; the folder where it is then.
fn build(root: &Path, args: &Args) -> Result<PathBuf> {
    let profile = args.profile.as_str();
    let mut command = cargo();
    command.args(["build", "--package", "luacell-ffi", "--profile", profile]);
    command.args(args.features.as_ref().map(|features| format!("--features={features}")));
    if profile == SHIPPED {
        command.arg("--no-default-features");
    }
    finish(command.current_dir(root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(root.join(target).join(if profile == "dev" { "debug" } else { profile }))
}

#[cfg(unix)]
fn link(to: &str, link: &Path) -> Result<()> {
    let _ = fs::remove_file(link);
    std::os::unix::fs::symlink(to, link).with_context(|| format!("cannot make the link {}", link.display()))
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> Result<()> {
    bail!("links are made on Unix only")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn pc(to_prefix: &str, libdir: &str) -> String {
    let libraries: String = SYSTEM_LIBRARIES.iter().map(|name| format!(" -l{name}")).collect();
    format!(
        "prefix=${{pcfiledir}}/{to_prefix}\n\
         includedir=${{prefix}}/include\n\
         libdir=${{prefix}}/{libdir}\n\n\
         Name: luacell\n\
         Description: Runs untrusted Lua 5.4 inside any program\n\
         Version: {VERSION}\n\
         Cflags: -I${{includedir}}\n\
         Libs: -L${{libdir}} -lluacell\n\
         Libs.private:{libraries}\n"
    )
}

fn cmake_config(to_prefix: &str, libdir: &str, shared: &str, soname: &str) -> String {
    let libraries = SYSTEM_LIBRARIES.join(";");
    format!(
        "# luacell::luacell is the shared library, luacell::static the other one.\n\
         get_filename_component(_luacell_prefix \"${{CMAKE_CURRENT_LIST_DIR}}/{to_prefix}\" ABSOLUTE)\n\
         if(NOT TARGET luacell::luacell)\n  \
           add_library(luacell::luacell SHARED IMPORTED)\n  \
           set_target_properties(luacell::luacell PROPERTIES\n    \
             IMPORTED_LOCATION \"${{_luacell_prefix}}/{libdir}/{shared}\"\n    \
             IMPORTED_SONAME \"{soname}\"\n    \
             INTERFACE_INCLUDE_DIRECTORIES \"${{_luacell_prefix}}/include\")\n  \
           add_library(luacell::static STATIC IMPORTED)\n  \
           set_target_properties(luacell::static PROPERTIES\n    \
             IMPORTED_LOCATION \"${{_luacell_prefix}}/{libdir}/libluacell.a\"\n    \
             INTERFACE_LINK_LIBRARIES \"{libraries}\"\n    \
             INTERFACE_INCLUDE_DIRECTORIES \"${{_luacell_prefix}}/include\")\n\
         endif()\n\
         unset(_luacell_prefix)\n"
    )
}

/// Before 1.0 a minor version may change what programs rely on, as the soname says.
fn cmake_version() -> String {
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let series = if major == "0" { format!("{major}.{minor}") } else { major.to_owned() };
    format!(
        "set(PACKAGE_VERSION \"{VERSION}\")\n\
         if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION\n   \
            OR (PACKAGE_FIND_VERSION AND NOT \"${{PACKAGE_FIND_VERSION}}.\" MATCHES \"^{}[.]\"))\n  \
           set(PACKAGE_VERSION_COMPATIBLE FALSE)\n\
         else()\n  \
           set(PACKAGE_VERSION_COMPATIBLE TRUE)\n  \
           if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)\n    \
             set(PACKAGE_VERSION_EXACT TRUE)\n  \
           endif()\n\
         endif()\n",
        series.replace('.', "[.]")
    )
}
