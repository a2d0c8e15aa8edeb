//! extism: a Lua plug-in that receives JSON and returns JSON.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::build::{self, Contestants};
use super::cases::number;
use super::measure::Pair;
use super::table::Row;
use crate::guest::build::Folders;
use crate::guest::toolchain::Toolchain;
use crate::steps::{copy, files, finish, make_folder, printed, root, write};
use crate::tools::environment;

/// The library comes as a Python wheel.
const VERSION: &str = "1.41.0";

/// Not in the plug-in: files, processes, modules in files, the two programs.
const LEFT_OUT: [&str; 7] = ["lua.c", "luac.c", "linit.c", "liolib.c", "loslib.c", "loadlib.c", "ldblib.c"];

/// Lua without error handling: what would be an error is a trap. The macros are without spaces, which part the flags.
const FLAGS: &str = "-target wasm32-wasi -O3 -flto -std=gnu11 -s -mexec-model=reactor -Wl,--no-entry -Wl,-z,stack-size=524288 \
                     -D_WASI_EMULATED_SIGNAL -lwasi-emulated-signal -DLUAI_THROW(L,c)=__builtin_trap() -DLUAI_TRY(L,c,a)={a} \
                     -Dluai_jmpbuf=int -Inone -Ilua";

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
pub fn build() -> Result<Built> {
    let folder = build::folder()?.join("extism");
    let bin = environment(&folder.join("venv"), &format!("extism-sys=={VERSION}"))?;
    // Without importing it, which needs more than the library.
    let find = "from importlib.util import find_spec; print(find_spec('extism_sys').submodule_search_locations[0])";
    let package = printed(Command::new(bin.join("python")).args(["-c", find]))?;
    let library = Path::new(package.trim()).join("libextism_sys.so");

    let sources = root().join("xtask/bench-peers");
    copy(&sources.join("plugin.c"), &folder.join("plugin.c"))?;
    // wasi-libc's header refuses to be included.
    write(&folder.join("none/setjmp.h"), "")?;
    let mut args: Vec<OsString> = FLAGS.split(' ').map(Into::into).collect();
    let guest = Folders::find()?;
    for path in files(&guest.lua, "")? {
        let name = path.file_name().context("a file without a name")?;
        copy(&path, &folder.join("lua").join(name))?;
        if path.extension().is_some_and(|extension| extension == "c") && LEFT_OUT.iter().all(|left| name != *left) {
            args.push(Path::new("lua").join(name).into());
        }
    }
    args.extend(["plugin.c", "-o", "plugin.wasm"].map(Into::into));
    Toolchain::install(&guest.work)?.compile(&folder, &args)?;

    let program = folder.join("extism");
    let mut rpath = OsString::from("-Wl,-rpath,");
    rpath.push(package.trim());
    let mut compile = Command::new(build::compiler());
    compile.args(["-O3", "-Wall", "-o"]).arg(&program).arg(sources.join("extism.c")).arg(&library).arg(rpath);
    finish(&mut compile)?;
    // Else the library keeps compiled code in the user's folder.
    let cache = folder.join("cache");
    make_folder(&cache)?;
    write(&folder.join("cache.toml"), format!("[cache]\ndirectory = {cache:?}\n"))?;
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
            let text = printed(&mut command)?;
            text.trim().parse().with_context(|| format!("{text} is no time"))
        };
        let pair = Pair::measure(rounds, peer, || number(&contestants.runner, ours, *our_count))?;
        rows.push(Row::ahead(what, &pair));
    }
    Ok(rows)
}
