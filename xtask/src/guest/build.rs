//! From sources to the linked module, before any pass of ours.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::patch::{apply_all, files_with_extension};
use super::recipe;
use super::toolchain::Toolchain;
use crate::steps::{cargo, printed, root, target};

/// The folders that the build works with.
pub struct Folders {
    /// `core/guest` of this repository.
    pub guest: PathBuf,
    /// Where everything intermediate goes.
    pub work: PathBuf,
    /// Lua's sources as the crate carries them.
    pub lua: PathBuf,
}

impl Folders {
    /// Asks cargo where Lua is.
    pub fn find() -> Result<Self> {
        let answer = printed(&mut cargo(&["metadata", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&answer).context("reading cargo metadata")?;
        let wanted =
            |package: &&Value| package["name"] == recipe::LUA_CRATE && package["version"] == recipe::LUA_CRATE_VERSION;
        let package = metadata.get("packages").and_then(Value::as_array).into_iter().flatten().find(wanted);
        let manifest = package.and_then(|package| package["manifest_path"].as_str()).with_context(|| {
            format!("crate {} {} is not among the dependencies", recipe::LUA_CRATE, recipe::LUA_CRATE_VERSION)
        })?;
        Ok(Self {
            guest: root().join("core/guest"),
            work: target().join("guest"),
            lua: Path::new(manifest).with_file_name(recipe::LUA_FOLDER),
        })
    }
}

/// Copies and patches the sources, compiles and links them. Returns the linked module. Only for measuring what metering
/// costs there is one without.
pub fn linked_module(folders: &Folders, metered: bool) -> Result<Vec<u8>> {
    fs::create_dir_all(&folders.work).context("making a folder for the build")?;
    let lock = File::create(folders.work.join("lock")).context("making the build's lock")?;
    lock.lock().context("waiting for another build")?; // held to the end of this function
    let toolchain = Toolchain::install(&folders.work)?;
    // A fresh copy each time, and compiler runs with relative paths only, so that nothing depends on where the
    // repository is or what was built before.
    let build = folders.work.join("build");
    if build.exists() {
        fs::remove_dir_all(&build).context("removing the last build")?;
    }
    copy_sources(&folders.lua, &build.join("lua"))?;
    copy_sources(&folders.guest.join("src"), &build.join("src"))?;
    apply_all(&folders.guest.join("patches"), &build.join("lua"))?;
    if !metered {
        let settings = build.join(recipe::FORCED_INCLUDE);
        let text = fs::read_to_string(&settings).context("reading the guest's settings")?;
        fs::write(&settings, format!("#define luacell_unmetered\n{text}")).context("changing the guest's settings")?;
    }

    let in_one_piece = recipe::LUA_FILES.iter().filter(|file| !recipe::METERED_FILES.contains(file));
    let mut files: Vec<PathBuf> = in_one_piece.map(|file| Path::new("lua").join(file)).collect();
    for file in files_with_extension(&build.join("src"), "c")? {
        let file = file.strip_prefix(&build).context("a source file outside of its folder")?;
        if recipe::SMALL_FILES.iter().any(|small| file == Path::new(small)) {
            let mut args = lua_flags();
            // Zig takes `-Oz` for `-Os`, unless it does not see it.
            args.extend(["-Os", "-Xclang", "-Oz"].map(Into::into));
            files.push(object(&toolchain, &build, file, args)?);
        } else if file != Path::new(recipe::LIBC_SUBSTITUTE) {
            files.push(file.to_owned());
        }
    }
    // Before anything that needs them, or else the linker takes the library's own.
    let mut objects = libc_objects(&toolchain, &build)?;
    objects.extend(metered_objects(&toolchain, &build)?);
    files.splice(0..0, objects);
    toolchain.compile(&build, &arguments(&files))?;
    fs::read(build.join(LINKED)).context("reading the linked module")
}

const LINKED: &str = "linked.wasm";

/// How every file of Lua and of the guest is compiled.
fn lua_flags() -> Vec<OsString> {
    let mut args: Vec<OsString> = recipe::COMPILE_FLAGS.iter().map(Into::into).collect();
    args.extend(recipe::INCLUDES.iter().map(Into::into));
    args.extend(["-include", recipe::FORCED_INCLUDE].map(Into::into));
    args.push(format!("-DINITIAL_PAGES={}", recipe::INITIAL_PAGES).into());
    args
}

/// Compiles the files whose loops are metered, each for itself: a loop of the interpreter's core that was inlined into
/// one of them would be metered too, and left by an error in the middle of what must not be left. Returns the objects.
fn metered_objects(toolchain: &Toolchain, build: &Path) -> Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for file in recipe::METERED_FILES {
        let mut args = lua_flags();
        args.push("-fno-lto".into());
        objects.push(object(toolchain, build, &Path::new("lua").join(file), args)?);
    }
    Ok(objects)
}

fn arguments(files: &[PathBuf]) -> Vec<OsString> {
    let mut args = lua_flags();
    args.extend(["-mexec-model=reactor", "-Wl,--no-entry"].map(Into::into));
    for name in [recipe::BUDGET, recipe::BUDGET_SPENT] {
        args.push(format!("-Wl,--export={name}").into());
    }
    args.push(format!("-Wl,-z,stack-size={}", recipe::STACK_SIZE).into());
    args.extend(files.iter().map(Into::into));
    args.extend(["-o", LINKED].map(Into::into));
    args
}

/// Compiles the files of the C library that the recipe wants differently, and the guest's own in place of one. Returns
/// the objects.
fn libc_objects(toolchain: &Toolchain, build: &Path) -> Result<Vec<PathBuf>> {
    let libc = toolchain.libc()?;
    fs::create_dir_all(build.join("libc")).context("making a folder for libc's files")?;
    let mut objects = Vec::new();
    for file in recipe::LIBC_FILES {
        let name = Path::new(file).file_name().context("a file without a name")?;
        let source = Path::new("libc").join(name);
        fs::copy(libc.join(file), build.join(&source)).with_context(|| format!("copying {file}"))?;
        let mut args: Vec<OsString> = recipe::COMPILE_FLAGS.iter().map(Into::into).collect();
        args.push("-w".into()); // not our code
        for folder in recipe::LIBC_INCLUDES {
            args.extend(["-I".into(), libc.join(folder).into()]);
        }
        args.extend(["-include", recipe::LIBC_FORCED_INCLUDE].map(Into::into));
        objects.push(object(toolchain, build, &source, args)?);
    }
    objects.push(object(toolchain, build, Path::new(recipe::LIBC_SUBSTITUTE), lua_flags())?);
    Ok(objects)
}

/// Compiles one file with these flags. Returns the object beside it.
fn object(toolchain: &Toolchain, build: &Path, source: &Path, mut args: Vec<OsString>) -> Result<PathBuf> {
    let object = source.with_extension("o");
    args.extend(["-c".into(), source.into(), "-o".into(), object.clone().into()]);
    toolchain.compile(build, &args)?;
    Ok(object)
}

/// Copies C files and headers, and the folders that they are in.
pub fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    for extension in ["c", "h"] {
        for file in files_with_extension(from, extension)? {
            let copy = to.join(file.strip_prefix(from).context("a source file outside of its folder")?);
            fs::create_dir_all(copy.parent().unwrap_or(to)).context("making a folder for sources")?;
            fs::copy(&file, copy).with_context(|| format!("copying {}", file.display()))?;
        }
    }
    Ok(())
}
