//! The AAR: compiled Kotlin, a library for each ABI, and the rules that keep a shrinker from what JNA looks up by name.
//! Its layout is described in Android's documentation of libraries, "Anatomy of an AAR file".

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{NOTICES, fresh};
use crate::steps::{cargo, copy, files, finish, maven, root, target, write};

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
pub fn run(args: &Args) -> Result<()> {
    let kotlin = root().join("uniffi-bindings/kotlin");
    let folder = root().join("target/android");
    let aar = fresh(folder.join("aar"))?;

    // The compiled Kotlin, without the library for desktops.
    finish(&mut maven(&kotlin, &["compile"]))?;
    let mut classes = Command::new("jar");
    classes.arg("--create").arg("--file").arg(aar.join("classes.jar"));
    for part in ["luacell", "META-INF"] {
        classes.arg("-C").arg(kotlin.join("target/classes")).arg(part);
    }
    finish(&mut classes)?;
    for file in ["AndroidManifest.xml", "proguard.txt"] {
        copy(&kotlin.join("android").join(file), &aar.join(file))?;
    }
    for file in NOTICES {
        copy(&root().join(file), &aar.join("assets/luacell").join(file))?;
    }
    // Without resources it is empty, and has to be there.
    write(&aar.join("R.txt"), "")?;

    let mut missing = Vec::new();
    for (abi, target) in ABIS {
        match library(args, abi, target) {
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

/// The library for one ABI.
fn library(args: &Args, abi: &str, triple: &str) -> Result<PathBuf> {
    if let Some(folder) = &args.libraries {
        let library = folder.join(abi).join(LIBRARY);
        if !library.is_file() {
            bail!("{} is missing", library.display());
        }
        return Ok(library);
    }
    let clang = clang(triple)?;
    let mut command =
        cargo(&["build", "--locked", "--profile", "small", "--config", "profile.small.strip=\"symbols\""]);
    command.args(["--package", "luacell-uniffi", "--target", triple, "--no-default-features"]);
    // The guest is compiled for the phone's processor, not for this one.
    command.arg("--features").arg(["luacell/cross", &args.features].join(","));
    let name = triple.replace('-', "_");
    command.env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), &clang).env(format!("CC_{name}"), &clang);
    finish(&mut command).with_context(|| format!("if Rust's library is missing: rustup target add {triple}"))?;
    Ok(target().join(triple).join("small").join(LIBRARY))
}

/// The NDK's compiler for a target.
fn clang(triple: &str) -> Result<PathBuf> {
    let ndk = std::env::var_os("ANDROID_NDK_HOME")
        .context("the NDK is missing; install it and set ANDROID_NDK_HOME to its folder, or give --libraries")?;
    let prebuilt = Path::new(&ndk).join("toolchains/llvm/prebuilt");
    let clang = |host: PathBuf| host.join("bin").join(format!("{triple}{API}-clang"));
    let found = files(&prebuilt, "").context("this is no folder of an NDK")?.into_iter().map(clang);
    found
        .into_iter()
        .find(|clang| clang.is_file())
        .with_context(|| format!("no {triple}{API}-clang in {}", prebuilt.display()))
}
