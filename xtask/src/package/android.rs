//! The AAR: compiled Kotlin, a library for each ABI, and the rules that keep a shrinker from what JNA looks up by name. Its layout is described in
//! Android's documentation of libraries, "Anatomy of an AAR file".

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{NOTICES, fresh};
use crate::steps::{cargo, copy, finish, maven};

/// Options of `cargo xtask package android`.
#[derive(clap::Args)]
pub struct Args {
    /// Features of luacell-uniffi: `redis` for server stores makes the library 1.6 MB larger
    #[arg(long, value_name = "LIST", default_value = "")]
    features: String,
    /// A folder with libraries that were built elsewhere, in folders named after their ABIs
    #[arg(long, value_name = "FOLDER")]
    libraries: Option<PathBuf>,
}

/// Android's name, Rust's target. wasmtime compiles for no 32-bit ARM.
const ABIS: &[(&str, &str)] = &[("arm64-v8a", "aarch64-linux-android"), ("x86_64", "x86_64-linux-android")];

/// The oldest Android: the first with `java.time`, which the Kotlin side uses.
const API: u32 = 26;

const LIBRARY: &str = "libluacell_uniffi.so";

/// Builds what can be built here, and says what could not.
pub fn run(root: &Path, args: &Args) -> Result<()> {
    let kotlin = root.join("uniffi-bindings/kotlin");
    let folder = root.join("target/android");
    let aar = folder.join("aar");
    fresh(&aar)?;

    let classes = classes(root, &kotlin, &folder)?;
    copy(&classes, &aar.join("classes.jar"))?;
    for file in ["AndroidManifest.xml", "proguard.txt"] {
        copy(&kotlin.join("android").join(file), &aar.join(file))?;
    }
    for file in NOTICES {
        copy(&root.join(file), &aar.join("assets/luacell").join(file))?;
    }
    // Without resources it is empty, and has to be there.
    fs::write(aar.join("R.txt"), "").context("cannot write R.txt")?;

    let mut missing = Vec::new();
    for (abi, target) in ABIS {
        match library(root, args, abi, target) {
            Ok(built) => copy(&built, &aar.join("jni").join(abi).join(LIBRARY))?,
            Err(why) => missing.push(format!("{abi}: {why:#}")),
        }
    }
    let file = folder.join(format!("luacell-android-{}.aar", env!("CARGO_PKG_VERSION")));
    finish(Command::new("jar").args(["--create", "--no-manifest", "--file"]).arg(&file).arg("-C").arg(&aar).arg("."))?;
    println!("{}", file.display());
    if !missing.is_empty() {
        bail!("the AAR is there, but not complete:\n  {}", missing.join("\n  "));
    }
    Ok(())
}

/// The compiled Kotlin, without the library for desktops.
fn classes(root: &Path, kotlin: &Path, folder: &Path) -> Result<PathBuf> {
    finish(maven(root).arg("compile"))?;
    let jar = folder.join("classes.jar");
    let mut command = Command::new("jar");
    command.arg("--create").arg("--file").arg(&jar);
    for part in ["luacell", "META-INF"] {
        command.arg("-C").arg(kotlin.join("target/classes")).arg(part);
    }
    finish(&mut command)?;
    Ok(jar)
}

/// The library for one ABI.
fn library(root: &Path, args: &Args, abi: &str, target: &str) -> Result<PathBuf> {
    if let Some(folder) = &args.libraries {
        let library = folder.join(abi).join(LIBRARY);
        if !library.is_file() {
            bail!("{} is missing", library.display());
        }
        return Ok(library);
    }
    let clang = clang(target)?;
    let upper = target.to_uppercase().replace('-', "_");
    let mut command = cargo();
    command.args(["build", "--locked", "--profile", "small", "--config", "profile.small.strip=\"symbols\""]);
    command.args(["--package", "luacell-uniffi", "--target", target, "--no-default-features"]);
    // The guest is compiled for the phone's processor, not for this one.
    command.arg("--features").arg(["luacell/cross", &args.features].join(","));
    command.env(format!("CARGO_TARGET_{upper}_LINKER"), &clang);
    command.env(format!("CC_{}", target.replace('-', "_")), &clang);
    finish(command.current_dir(root))
        .with_context(|| format!("if Rust's library is missing: rustup target add {target}"))?;
    Ok(root.join("target").join(target).join("small").join(LIBRARY))
}

/// The NDK's compiler for a target.
fn clang(target: &str) -> Result<PathBuf> {
    let ndk = std::env::var_os("ANDROID_NDK_HOME")
        .context("the NDK is missing; install it and set ANDROID_NDK_HOME to its folder, or give --libraries")?;
    let prebuilt = Path::new(&ndk).join("toolchains/llvm/prebuilt");
    let hosts = fs::read_dir(&prebuilt).with_context(|| format!("{} is no folder of an NDK", prebuilt.display()))?;
    for host in hosts {
        let clang = host?.path().join("bin").join(format!("{target}{API}-clang"));
        if clang.is_file() {
            return Ok(clang);
        }
    }
    bail!("no {target}{API}-clang in {}", prebuilt.display())
}
