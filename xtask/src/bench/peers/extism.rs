//! extism: a Lua plug-in that gets JSON and gives JSON.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::{Contestants, output_of};
use super::{Pair, Row, Sources, ahead, micro};
use crate::guest::toolchain::{self, Toolchain};
use crate::steps::finish;

/// The library comes as a Python wheel.
const PACKAGE: &str = "extism-sys";
const VERSION: &str = "1.41.0";

const DRIVER: &str = include_str!("extism.c");
const PLUGIN: &str = include_str!("plugin.c");

/// Not in the plug-in: files, processes, modules in files, the two programs.
const LEFT_OUT: [&str; 7] = ["lua.c", "luac.c", "linit.c", "liolib.c", "loslib.c", "loadlib.c", "ldblib.c"];

/// Lua without error handling: what would be an error is a trap.
const FLAGS: &[&str] = &[
    "-target",
    "wasm32-wasi",
    "-O3",
    "-flto",
    "-std=gnu11",
    "-s",
    "-mexec-model=reactor",
    "-Wl,--no-entry",
    "-Wl,-z,stack-size=524288",
    "-D_WASI_EMULATED_SIGNAL",
    "-lwasi-emulated-signal",
    "-DLUAI_THROW(L,c)=__builtin_trap()",
    "-DLUAI_TRY(L,c,a)={ a }",
    "-Dluai_jmpbuf=int",
    "-Inone",
    "-Ilua",
];

/// The program and the plug-in for it.
pub struct Built {
    program: PathBuf,
    plugin: PathBuf,
}

/// (mode of the peer, mode of the runner, what, repetitions of the peer, of the runner)
const CASES: &[(&str, &str, &str, u32, u32)] = &[
    ("compile", "engine", "first result: compiled code loaded / compiled, or taken from extism's cache", 3, 20),
    ("first", "first", "new sandbox, `return 1+1`, drop / new plug-in, the same, freed", 300, 10_000),
    ("eval", "first", "the same / a new Lua in a plug-in that is there: no state is kept", 3_000, 10_000),
    ("call", "call", "calling a Lua function by name, two integers to one", 20_000, 300_000),
    ("records-in", "records-in", "1,000 records of 3 fields built, passed in, added up", 100, 200),
    ("records-out", "records-out", "1,000 records of 3 fields as a result, into structs", 100, 200),
];

/// Installs the library, compiles plug-in and program.
pub fn build(sources: &Sources) -> Result<Built> {
    let folder = sources.target.join("bench").join("extism");
    let library = install(&folder)?;
    let lua = folder.join("lua");
    for made in [&folder.join("none"), &lua] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    // wasi-libc's header refuses to be included.
    fs::write(folder.join("none").join("setjmp.h"), "").context("writing an empty setjmp.h")?;
    fs::write(folder.join("plugin.c"), PLUGIN).context("writing the plug-in")?;
    let mut args: Vec<OsString> = FLAGS.iter().map(Into::into).collect();
    for entry in fs::read_dir(&sources.lua).context("reading Lua's sources")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::copy(&path, lua.join(&name)).with_context(|| format!("copying {name}"))?;
        if name.ends_with(".c") && !LEFT_OUT.contains(&name.as_str()) {
            args.push(Path::new("lua").join(name).into());
        }
    }
    args.extend(["plugin.c", "-o", "plugin.wasm"].map(Into::into));
    Toolchain::install(&sources.target.join("guest"))?.compile(&folder, &args)?;

    let (source, program) = (folder.join("extism.c"), folder.join("extism"));
    fs::write(&source, DRIVER).with_context(|| format!("cannot write {}", source.display()))?;
    let mut rpath = OsString::from("-Wl,-rpath,");
    rpath.push(library.parent().unwrap_or(&folder));
    let compiler = super::super::native::compiler();
    finish(Command::new(compiler).args(["-O3", "-Wall", "-o"]).arg(&program).arg(&source).arg(&library).arg(rpath))?;
    // Else the library keeps compiled code in the user's folder.
    let cache = folder.join("cache");
    fs::create_dir_all(&cache).context("making a folder for extism's cache")?;
    fs::write(folder.join("cache.toml"), format!("[cache]\ndirectory = {:?}\n", cache))
        .context("writing cache.toml")?;
    Ok(Built { program, plugin: folder.join("plugin.wasm") })
}

/// The rows beside luacell's runner.
pub fn rows(contestants: &Contestants, built: &Built, rounds: usize) -> Result<Vec<Row>> {
    let mut rows = vec![Row::heading(&format!("luacell / a Lua plug-in in extism {VERSION}, JSON in and out"))];
    let cache = built.plugin.with_file_name("cache.toml");
    for (theirs, ours, what, count, our_count) in CASES {
        eprintln!("extism: {theirs}");
        let peer = || {
            let mut command = Command::new(&built.program);
            command.args([*theirs, &count.to_string()]).arg(&built.plugin).env("EXTISM_CACHE_CONFIG", &cache);
            let output = command.output().context("cannot start the program for extism")?;
            if !output.status.success() {
                bail!("extism {theirs}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.trim().parse().with_context(|| format!("{text} is no time"))
        };
        let pair = Pair::measure(rounds, peer, || micro::nanoseconds(&contestants.runner, ours, *our_count))?;
        rows.push(ahead(what, &pair));
    }
    Ok(rows)
}

/// The library in a Python environment of its own; its path.
fn install(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("venv");
    let python = venv.join("bin").join("python");
    let find = "import extism_sys, os; print(os.path.join(os.path.dirname(extism_sys.__file__), 'libextism_sys.so'))";
    let wanted = format!("{PACKAGE}=={VERSION}");
    if !python.exists() {
        finish(Command::new(toolchain::system_python()?).args(["-m", "venv"]).arg(&venv))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", &wanted];
        finish(Command::new(&python).args(pip))?;
    }
    Ok(PathBuf::from(output_of(&python, &["-c".as_ref(), find.as_ref()])?.trim()))
}
