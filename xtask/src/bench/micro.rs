//! Small things done often: making a sandbox, running one line.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};

use super::measure::Pair;
use super::table::{Row, at_most, time};
use super::{Contestants, output_of};

/// What both runners offer under the same name.
struct Micro {
    /// The runners' word for it.
    mode: &'static str,
    what: &'static str,
    /// Repetitions in one process, enough for some tenths of a second.
    count: u32,
    /// At most so many nanoseconds.
    limit: Option<f64>,
}

const MICROS: &[Micro] = &[
    Micro {
        mode: "create",
        what: "new sandbox and drop / newstate, openlibs, close",
        count: 10_000,
        limit: Some(8_000.0),
    },
    Micro { mode: "first", what: "the same with `return 1+1` in between", count: 10_000, limit: None },
    Micro {
        mode: "compute",
        what: "compute(\"return 1+1\") / loadstring, pcall",
        count: 300_000,
        limit: Some(1_000.0),
    },
    Micro {
        mode: "hostcall",
        what: "host function, two integers to one, in a Lua loop / the same as a C function",
        count: 1_000_000,
        limit: Some(250.0),
    },
];

/// One row for each.
pub fn rows(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    MICROS
        .iter()
        .map(|micro| row(contestants, micro, rounds).with_context(|| format!("measuring {}", micro.mode)))
        .collect()
}

fn row(contestants: &Contestants, micro: &Micro, rounds: usize) -> Result<Row> {
    eprintln!("{}", micro.mode);
    let run = |program: &Path| -> Result<f64> {
        let text = output_of(program, &[OsStr::new(micro.mode), OsStr::new(&micro.count.to_string())])?;
        text.trim().parse().with_context(|| format!("{} is no time", text.trim()))
    };
    let pair = Pair::measure(rounds, || run(&contestants.native), || run(&contestants.runner))?;
    Ok(Row {
        what: micro.what.to_owned(),
        peer: time(pair.native()),
        ours: time(pair.ours()),
        ratio: format!("{:.2}", pair.ratio()),
        goal: micro.limit.map(|limit| at_most(pair.ours(), limit, &time(limit))).unwrap_or_default(),
    })
}
