//! `cargo xtask sanitize guest`: the guest's C as a native program that compilers watch, and core's tests on it.
//!
//! It is built from the sources and patches of `lua.wasm` for 32 bits, so that sizes and layouts are the same, with
//! AddressSanitizer, UndefinedBehaviorSanitizer and Lua's own assertions. Each sandbox is a process of its own;
//! `xtask/native` has what lies between it and core.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use self::exports::for_each_export;
use crate::fuzz;
use crate::guest::build::{Folders, copy_sources};
use crate::guest::patch::{apply_all, files_with_extension};
use crate::guest::recipe;
use crate::steps::{cargo, finish, root};
use crate::test::tools::{CC_32, missing};

#[path = "../../../core/src/machine/exports.rs"]
mod exports;

const NATIVE: &str = "xtask/native";

/// What takes the place of these files of the guest: memory and errors.
const REPLACED: &[&str] = &["src/base/alloc.c", "src/base/sbrk.c", "src/lua/stack_guard.c", "src/lua/try.c"];

const FLAGS: &[&str] = &[
    // Sizes, layouts and arithmetic as in wasm.
    "-m32",
    "-malign-double",
    "-msse2",
    "-mfpmath=sse",
    "-ffp-contract=off",
    "-D_TIME_BITS=64",
    "-D_FILE_OFFSET_BITS=64",
    "-std=gnu11",
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=undefined",
    // Wasm has no alignment.
    "-fno-sanitize=alignment",
    "-DLUAI_ASSERT",
    "-DLUA_USE_APICHECK",
    "-Dluacell_native",
    // The recipe's compiler is the one whose warnings count; to this one wasm's attributes are unknown.
    "-w",
];

/// A way to build the guest.
struct Variant {
    name: &'static str,
    flags: &'static [&'static str],
}

const VARIANTS: &[Variant] = &[
    Variant { name: "plain", flags: &[] },
    // Everything is collected, and the stack moved, wherever that may happen.
    Variant { name: "hard", flags: &["-DHARDMEMTESTS", "-DHARDSTACKTESTS"] },
    // Memory seems to be used up at each allocation, and Lua collects although it was told not to.
    Variant { name: "emergency", flags: &["-DEMERGENCYGCTESTS"] },
];

/// Builds the guest in each variant and runs tests on it.
pub fn run(quick: bool) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the native guest is for x86-64 Linux");
    }
    if let Some(missing) = missing(&CC_32) {
        bail!("{missing}");
    }
    let work = root().join("target/sanitize/native");
    let sources = prepare(&work)?;
    // The second variant sees what the first sees, and most of what there is to see.
    for variant in VARIANTS.iter().filter(|variant| !quick || variant.name == "hard") {
        let program = build(variant, &sources, &work)?;
        let findings = work.join("findings").join(variant.name);
        if findings.exists() {
            fs::remove_dir_all(&findings).context("removing the last findings")?;
        }
        fs::create_dir_all(&findings).context("making a folder for findings")?;
        println!("\n== the guest, {}", variant.name);
        let result = tests(quick, &program, &findings);
        report(&findings)?;
        result?;
        if !quick {
            let result = random_programs(&program, &findings);
            report(&findings)?;
            result?;
        }
    }
    Ok(())
}

/// A fresh copy of the sources, patched.
fn prepare(work: &Path) -> Result<PathBuf> {
    let folders = Folders::find()?;
    let sources = work.join("sources");
    if sources.exists() {
        fs::remove_dir_all(&sources).context("removing the last sources")?;
    }
    let native = root().join(NATIVE);
    copy_sources(&folders.lua, &sources.join("lua"))?;
    copy_sources(&folders.guest.join("src"), &sources.join("src"))?;
    copy_sources(&native, &sources.join("native"))?;
    apply_all(&folders.guest.join("patches"), &sources.join("lua"))?;
    apply_all(&native.join("patches"), &sources.join("lua"))?;
    fs::write(sources.join("native/exports.h"), exports_header())?;
    Ok(sources)
}

macro_rules! signatures {
    ($($name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        /// Name, number of parameters, and type of the result.
        const SIGNATURES: &[(&str, usize, &str)] = &[
            $((stringify!($name), <[&str]>::len(&[$(stringify!($param)),*]), signatures!(@result $($result)?))),+
        ];
    };
    (@result) => { "void" };
    (@result $result:ty) => { "uint32_t" };
}

for_each_export!(signatures);

/// The exports with their numbers, and a function that calls any by its number.
fn exports_header() -> String {
    let mut text = String::new();
    let mut cases = String::new();
    for (number, (name, params, result)) in SIGNATURES.iter().enumerate() {
        let types = if *params == 0 { "void".to_owned() } else { vec!["uint32_t"; *params].join(", ") };
        text += &format!("#define NUMBER_{name} {number}\n{result} {name} ({types});\n");
        let args: Vec<&str> = ["a", "b", "c"].into_iter().take(*params).collect();
        let call = format!("{name}({})", args.join(", "));
        cases += &if *result == "void" {
            format!("    case {number}: {call}; return 0;\n")
        } else {
            format!("    case {number}: return {call};\n")
        };
    }
    text += "\nstatic uint32_t plain_export (uint32_t number, uint32_t a, uint32_t b, uint32_t c) {\n  \
             (void)a, (void)b, (void)c;\n  switch (number) {\n";
    text + &cases + "    default: abort();\n  }\n}\n"
}

/// The program of a variant.
fn build(variant: &Variant, sources: &Path, work: &Path) -> Result<PathBuf> {
    let objects = work.join(variant.name);
    fs::create_dir_all(&objects).context("making a folder for objects")?;
    let mut files: Vec<PathBuf> = recipe::LUA_FILES.iter().map(|file| Path::new("lua").join(file)).collect();
    for file in files_with_extension(&sources.join("src"), "c")? {
        let file = file.strip_prefix(sources).context("a source file outside of its folder")?;
        if !REPLACED.iter().any(|replaced| file == Path::new(replaced)) {
            files.push(file.to_owned());
        }
    }
    files.push("native/guest.c".into());

    let queue = Mutex::new(files.iter());
    let compile = || -> Result<Vec<PathBuf>> {
        let mut made = Vec::new();
        while let Some(file) = queue.lock().ok().and_then(|mut queue| queue.next()) {
            let object = objects.join(format!("{}.o", file.display()).replace('/', "-"));
            let mut gcc = Command::new("gcc");
            gcc.current_dir(sources).args(FLAGS).args(variant.flags).args(recipe::INCLUDES).arg("-Inative");
            gcc.args(["-include", recipe::FORCED_INCLUDE]).arg("-c").arg(file).arg("-o").arg(&object);
            finish(&mut gcc)?;
            made.push(object);
        }
        Ok(made)
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    let made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(compile)).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")));
        results.collect::<Result<Vec<_>>>()
    })?;

    let program = objects.join("guest");
    let mut link = Command::new("gcc");
    link.args(FLAGS).args(made.concat()).arg("-lm").arg("-o").arg(&program);
    finish(&mut link)?;
    Ok(program)
}

/// Core's tests that do not look at the guest's memory as a whole: a process can't be copied.
fn tests(quick: bool, program: &Path, findings: &Path) -> Result<()> {
    // The same features as the part `static`, so that little is built for this.
    let features = ["--no-default-features", "--features", "async,static"];
    let mut tests = cargo(&["test", "--no-fail-fast", "--package", "luacell", "--test", "conformance"]);
    tests.args(features).args(if quick {
        // It fills one stack after another, and each move of a full one takes a collection: a quarter of the time of
        // all cases.
        ["--", "--skip", "stack overflows in a row"].as_slice()
    } else {
        // What is to crash for lack of stack does not: a process has enough.
        &["--test", "host_functions", "--test", "transactions", "--test", "modules", "--", "--skip", "crash"]
    });
    finish(on_native_guest(&mut tests, program, findings))
}

/// Fuzzing targets, and how often each runs: random programs beside native Lua, and what promises are tested with.
const RANDOM: &[(&str, u32)] = &[("differential", 3000), ("limits", 1000)];

fn random_programs(program: &Path, findings: &Path) -> Result<()> {
    let target = root().join("target/sanitize/fuzz");
    let mut build = fuzz::build(&target);
    build.args(["--no-default-features", "--features", "static"]);
    build.args(RANDOM.iter().flat_map(|(name, _)| ["--bin", *name]));
    finish(on_native_guest(&mut build, program, findings))?;
    for (name, runs) in RANDOM {
        let mut fuzz = fuzz::program(name, &target)?;
        fuzz.arg(format!("-runs={runs}")).arg("-timeout=600");
        finish(on_native_guest(&mut fuzz, program, findings))?;
    }
    Ok(())
}

fn on_native_guest<'a>(command: &'a mut Command, program: &Path, findings: &Path) -> &'a mut Command {
    command.env("LUACELL_OTHER_RUNTIME", root().join(NATIVE).join("remote.c"));
    command.env("LUACELL_NATIVE_GUEST", program).env("LUACELL_NATIVE_FINDINGS", findings);
    command.env("ASAN_OPTIONS", "detect_leaks=0:handle_abort=1").env("UBSAN_OPTIONS", "print_stacktrace=1")
}

/// Fails when a guest has said anything: shows what, once for each kind.
fn report(findings: &Path) -> Result<()> {
    let mut kinds: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for entry in fs::read_dir(findings)? {
        let text = fs::read(entry?.path())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if !text.trim().is_empty() {
            kinds.entry(kind(&text)).or_insert((0, text)).0 += 1;
        }
    }
    if kinds.is_empty() {
        return Ok(());
    }
    for (count, text) in kinds.values() {
        println!("\n{count} times:\n{text}");
    }
    bail!("{} kinds of faults in the guest, see {}", kinds.len(), findings.display())
}

/// What the same fault says each time: what it is, and where, without addresses.
fn kind(text: &str) -> String {
    let is_telling = |line: &&str| line.contains("Assertion") || line.contains("error:") || line.contains("ERROR:");
    let what = text.lines().find(is_telling).unwrap_or_default();
    let what = what.split(" on ").next().unwrap_or_default().split_once("==ERROR").map_or(what, |(_, rest)| rest);
    let frames = text.lines().filter_map(|line| line.split_once(" in ").map(|(_, place)| place));
    let frames: Vec<&str> = frames.filter(|place| place.contains(".c:") && !place.contains("../")).take(3).collect();
    format!("{what} {}", frames.join(" "))
}

#[cfg(test)]
mod tests_of_names {
    use super::{SIGNATURES, exports_header, kind};

    #[test]
    fn each_export_has_a_number_and_a_case() {
        let header = exports_header();
        assert!(header.contains("uint32_t compute (uint32_t, uint32_t);"), "{header}");
        assert!(header.contains("case 0: return compute(a, b);"), "{header}");
        assert!(header.contains("run_gc(); return 0;"), "{header}");
        assert_eq!(header.matches("#define NUMBER_").count(), SIGNATURES.len());
    }

    #[test]
    fn the_same_fault_is_one_kind() {
        let fault = |address: &str| {
            format!(
                "==12==ERROR: AddressSanitizer: heap-use-after-free on address {address} at pc {address}\n    \
                 #0 {address} in luacell_pairs src/walk.c:204\n    #1 {address} in luaB_pairs lua/lbaselib.c:288\n"
            )
        };
        assert_eq!(kind(&fault("0x1")), kind(&fault("0x22")));
        assert!(kind(&fault("0x1")).contains("walk.c:204"));
    }
}
