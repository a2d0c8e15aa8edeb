//! The Kotlin artifact and the Swift package, compared with the Rust interface that they lead to.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, bail};

use super::build::{self, Contestants};
use super::cases;
use super::measure::{Pair, median};
use super::table::{Row, at_most, megabytes, time};
use crate::steps::{cargo, finish, library, maven, printed, root, script, target};

/// What is measured in both languages.
struct Figure {
    /// The word that the language's program prints before it; also the Rust side's word for it.
    name: &'static str,
    what: &'static str,
    /// How often the Rust side does it, where it does it at all.
    count: Option<u32>,
    /// At most so many nanoseconds, in Kotlin and in Swift.
    limits: [Option<f64>; 2],
}

const FIGURES: &[Figure] = &[
    Figure { name: "load", what: "loading the library, its classes included", count: None, limits: [None, None] },
    Figure { name: "first", what: "first sandbox with `return 1+1`", count: None, limits: [Some(10e6), None] },
    Figure { name: "compute", what: "compute(\"return 1+1\")", count: Some(300_000), limits: [Some(30e3), Some(5e3)] },
    Figure {
        name: "hostcall",
        what: "host function, two integers to one, in a Lua loop",
        count: Some(1_000_000),
        limits: [None, None],
    },
    Figure { name: "create", what: "new sandbox and close", count: Some(10_000), limits: [None, None] },
];

/// All rows, of the languages whose tools are there.
pub fn rows(rounds: usize) -> Result<Vec<Row>> {
    let contestants = build::contestants(None)?;
    finish(&mut cargo(&["build", "--release", "--package", "luacell-uniffi"]))?;
    let size = size()?;
    let mut rows = Vec::new();
    for (number, (name, run)) in [("Kotlin", kotlin as fn() -> _), ("Swift", swift)].into_iter().enumerate() {
        rows.push(Row::heading(&format!("{name} / the Rust interface")));
        match run() {
            // It has built what is then measured.
            Ok(_) => rows.extend(language(&contestants, rounds, |figure| figure.limits.get(number).copied()?, run)?),
            Err(error) => {
                eprintln!("{error:#}");
                rows.push(Row::note("not measured", "its tools are missing or failed, see above"));
            }
        }
    }
    rows.push(size);
    Ok(rows)
}

/// Of the library in the packages for phones; built for this system, whose tools are at hand.
fn size() -> Result<Row> {
    finish(&mut cargo(&["build", "--profile", "small", "--package", "luacell-uniffi", "--no-default-features"]))?;
    let bytes = build::stripped_size(&target().join("small").join(library("luacell_uniffi")))?;
    let what = "library of one ABI as phones get it, stripped";
    Ok(Row { ours: megabytes(bytes), ..Row::note(what, &at_most(bytes, 4e6, megabytes)) })
}

fn language(
    contestants: &Contestants,
    rounds: usize,
    limit: impl Fn(&Figure) -> Option<f64>,
    run: fn() -> Result<HashMap<String, f64>>,
) -> Result<Vec<Row>> {
    // The Rust side's figures, where there are any, and the language's.
    let mut figures: Vec<(Pair, Vec<f64>)> = FIGURES.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        let theirs = run()?;
        for (figure, (pair, alone)) in FIGURES.iter().zip(&mut figures) {
            let Some(&ours) = theirs.get(figure.name) else { continue };
            alone.push(ours);
            if let Some(count) = figure.count {
                pair.push(cases::number(&contestants.runner, figure.name, count)?, ours);
            }
        }
    }
    let measured = FIGURES.iter().zip(&figures).filter(|(_, (_, alone))| !alone.is_empty());
    let row = |(figure, (pair, alone)): (&Figure, &(Pair, Vec<f64>))| {
        let ours = median(alone);
        let goal = limit(figure).map(|limit| at_most(ours, limit, time)).unwrap_or_default();
        match figure.count {
            Some(_) => Row { goal, ratio: format!("{:.1}", pair.ratio()), ..Row::pair(figure.what, pair) },
            None => Row { ours: time(ours), ..Row::note(figure.what, &goal) },
        }
    };
    Ok(measured.map(row).collect())
}

/// One run in a JVM of its own.
fn kotlin() -> Result<HashMap<String, f64>> {
    let folder: &Path = &root().join("uniffi-bindings/kotlin");
    printed(&mut maven(folder, &["test-compile"]))?;
    let run = "-Dexec.args=-cp %classpath luacell.FiguresKt";
    parse(&printed(&mut maven(folder, &["exec:exec", "-Dexec.executable=java", "-Dexec.classpathScope=test", run]))?)
}

/// One run in a process of its own.
fn swift() -> Result<HashMap<String, f64>> {
    parse(&printed(script("bash", "uniffi-bindings/swift/tools/test.sh").arg("figures"))?)
}

fn parse(output: &str) -> Result<HashMap<String, f64>> {
    // Maven colours.
    let output = anstream::adapter::strip_str(output).to_string();
    let figure = |line: &str| {
        let (name, figure) = line.split_once('\t')?;
        Some((name.to_owned(), figure.trim().parse().ok()?))
    };
    let figures: HashMap<String, f64> = output.lines().filter_map(figure).collect();
    if !figures.contains_key("compute") {
        bail!("the program printed no figures: {output}");
    }
    Ok(figures)
}
