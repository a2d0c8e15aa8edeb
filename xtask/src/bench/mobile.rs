//! The Kotlin artifact and the Swift package, beside the Rust interface that they lead to.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Contestants;
use super::measure::{Pair, median};
use super::table::{Row, at_most, time};
use crate::steps::{cargo, copy, finish, maven, printed, strip};

/// What is measured in both languages.
struct Figure {
    /// The word that the language's program prints before it.
    name: &'static str,
    what: &'static str,
    /// The word of the Rust side's program, and how often it does it.
    rust: Option<(&'static str, &'static str)>,
    kotlin_limit: Option<(f64, &'static str)>,
    swift_limit: Option<(f64, &'static str)>,
}

const FIGURES: &[Figure] = &[
    Figure {
        name: "load",
        what: "loading the library, its classes included",
        rust: None,
        kotlin_limit: None,
        swift_limit: None,
    },
    Figure {
        name: "first",
        what: "first sandbox with `return 1+1`",
        rust: None,
        kotlin_limit: Some((10e6, "10 ms")),
        swift_limit: None,
    },
    Figure {
        name: "compute",
        what: "compute(\"return 1+1\")",
        rust: Some(("compute", "300000")),
        kotlin_limit: Some((30e3, "30 µs")),
        swift_limit: Some((5e3, "5 µs")),
    },
    Figure {
        name: "hostcall",
        what: "host function, two integers to one, in a Lua loop",
        rust: Some(("hostcall", "1000000")),
        kotlin_limit: None,
        swift_limit: None,
    },
    Figure {
        name: "create",
        what: "new sandbox and close",
        rust: Some(("create", "10000")),
        kotlin_limit: None,
        swift_limit: None,
    },
];

/// All rows, of the languages whose tools are there.
pub fn rows(contestants: &Contestants, root: &Path, rounds: usize) -> Result<Vec<Row>> {
    finish(cargo().args(["build", "--release", "--package", "luacell-uniffi"]).current_dir(root))?;
    let size = size(root)?;
    let mut rows = language(contestants, "Kotlin / the Rust interface", rounds, |f| f.kotlin_limit, || kotlin(root))?;
    rows.extend(language(contestants, "Swift / the Rust interface", rounds, |f| f.swift_limit, || swift(root))?);
    rows.push(size);
    Ok(rows)
}

/// Of the library in the packages for phones; built for this system, whose tools are at hand.
fn size(root: &Path) -> Result<Row> {
    let mut build = cargo();
    build.args(["build", "--profile", "small", "--package", "luacell-uniffi", "--no-default-features"]);
    finish(build.current_dir(root))?;
    let name = format!("{}luacell_uniffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let (built, stripped) = (root.join("target/small").join(&name), root.join("target/bench").join(&name));
    copy(&built, &stripped)?;
    strip(&stripped)?;
    let bytes =
        std::fs::metadata(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?.len() as f64;
    Ok(Row {
        ours: format!("{:.2} MB", bytes / 1e6),
        goal: at_most(bytes, 4e6, "4 MB"),
        ..Row::note("library of one ABI as phones get it, stripped", "")
    })
}

fn language(
    contestants: &Contestants,
    heading: &str,
    rounds: usize,
    limit: impl Fn(&Figure) -> Option<(f64, &'static str)>,
    run: impl Fn() -> Result<HashMap<String, f64>>,
) -> Result<Vec<Row>> {
    let mut rows = vec![Row::heading(heading)];
    // Builds, which is not to meet a measurement.
    if let Err(error) = run() {
        eprintln!("{error:#}");
        rows.push(Row::note("not measured", "its tools are missing or failed, see above"));
        return Ok(rows);
    }
    let mut alone: HashMap<&str, Vec<f64>> = HashMap::new();
    let mut pairs: HashMap<&str, Pair> = HashMap::new();
    for _ in 0..rounds {
        let theirs = run()?;
        for figure in FIGURES {
            let Some(&ours) = theirs.get(figure.name) else { continue };
            match figure.rust {
                None => alone.entry(figure.name).or_default().push(ours),
                Some((mode, count)) => {
                    let answer = printed(Command::new(&contestants.runner).args([mode, count]))?;
                    let rust = answer.trim().parse().with_context(|| format!("{mode}: {answer}"))?;
                    pairs.entry(figure.name).or_default().push(rust, ours);
                }
            }
        }
    }
    for figure in FIGURES {
        let (peer, ours, ratio) = if let Some(pair) = pairs.get(figure.name) {
            (time(pair.native()), pair.ours(), format!("{:.1}", pair.ratio()))
        } else if let Some(times) = alone.get(figure.name) {
            (String::new(), median(times), String::new())
        } else {
            continue;
        };
        rows.push(Row {
            what: figure.what.to_owned(),
            peer,
            ours: time(ours),
            ratio,
            goal: limit(figure).map(|(limit, shown)| at_most(ours, limit, shown)).unwrap_or_default(),
        });
    }
    Ok(rows)
}

/// One run in a JVM of its own.
fn kotlin(root: &Path) -> Result<HashMap<String, f64>> {
    printed(maven(root).arg("test-compile"))?;
    let run = "-Dexec.args=-cp %classpath luacell.FiguresKt";
    parse(&printed(maven(root).args(["exec:exec", "-Dexec.executable=java", "-Dexec.classpathScope=test", run]))?)
}

/// One run in a process of its own.
fn swift(root: &Path) -> Result<HashMap<String, f64>> {
    parse(&printed(Command::new("bash").arg(root.join("uniffi-bindings/swift/tools/test.sh")).arg("figures"))?)
}

fn parse(output: &str) -> Result<HashMap<String, f64>> {
    // Maven colours.
    let figures: HashMap<String, f64> = anstream::adapter::strip_str(output)
        .to_string()
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(name, figure)| Some((name.to_owned(), figure.trim().parse().ok()?)))
        .collect();
    if !figures.contains_key("compute") {
        bail!("the program printed no figures: {output}");
    }
    Ok(figures)
}
