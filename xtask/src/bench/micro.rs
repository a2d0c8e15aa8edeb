//! Small things done often: making a sandbox, running one line.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result};

use super::measure::Pair;
use super::table::{Row, at_most, time};
use super::{Contestants, output_of};

/// What both sides offer under the same name.
struct Micro {
    /// The programs' word for it.
    mode: &'static str,
    what: &'static str,
    /// Repetitions in one process, enough for some tenths of a second.
    count: u32,
    /// At most so many nanoseconds, and how that is said.
    limit: Option<(f64, &'static str)>,
    /// At most so many times as long as the peer.
    ratio: Option<f64>,
}

const MICROS: &[Micro] = &[
    Micro {
        mode: "create",
        what: "new sandbox and drop / newstate, openlibs, close",
        count: 10_000,
        limit: Some((8_000.0, "8 µs")),
        ratio: Some(0.30),
    },
    Micro {
        mode: "first",
        what: "the same with `return 1+1` in between",
        count: 10_000,
        limit: Some((1e9 / 150_000.0, "6.67 µs, 150,000 a second")),
        ratio: None,
    },
    Micro {
        mode: "compute",
        what: "compute(\"return 1+1\") / loadstring, pcall",
        count: 300_000,
        limit: Some((1_000.0, "1 µs")),
        ratio: Some(0.60),
    },
    Micro {
        mode: "call",
        what: "calling a Lua function by name, two integers to one / getglobal, pcall",
        count: 300_000,
        limit: None,
        ratio: None,
    },
    Micro {
        mode: "hostcall",
        what: "host function, two integers to one, in a Lua loop / the same as a C function",
        count: 1_000_000,
        limit: Some((250.0, "250 ns")),
        ratio: None,
    },
    Micro {
        mode: "records-in",
        what: "1,000 records of 3 fields built, passed in, added up / with the C API",
        count: 200,
        limit: None,
        ratio: None,
    },
    Micro {
        mode: "records-out",
        what: "1,000 records of 3 fields as a result, into structs / with the C API",
        count: 200,
        limit: None,
        ratio: None,
    },
];

/// One row for each, beside native Lua.
pub fn rows(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |micro: &Micro| -> Result<Row> {
        let pair = measure(&contestants.native, &contestants.runner, micro.mode, micro.count, rounds)?;
        let absolute = micro.limit.map(|(limit, shown)| at_most(pair.ours(), limit, shown));
        let relative = micro.ratio.map(|limit| at_most(pair.ratio(), limit, &format!("{limit:.2}")));
        Ok(Row {
            goal: [absolute, relative].into_iter().flatten().collect::<Vec<_>>().join(", "),
            ..pair_row(micro.what, &pair)
        })
    };
    MICROS.iter().map(row).collect()
}

/// The C library as the contestant, the Rust interface as the peer.
pub fn c_rows(contestants: &Contestants, c: &Path, rounds: usize) -> Result<Vec<Row>> {
    let names = [
        ("create", "new sandbox and drop"),
        ("first", "the same with `return 1+1` in between"),
        ("compute", "compute(\"return 1+1\")"),
        ("call", "calling a Lua function by name, two integers to one"),
        ("hostcall", "host function, two integers to one, in a Lua loop"),
        ("records-in", "1,000 records of 3 fields built, passed in, added up"),
        ("records-out", "1,000 records of 3 fields as a result, into structs"),
    ];
    let row = |(mode, what): (&str, &str)| -> Result<Row> {
        let count = MICROS.iter().find(|micro| micro.mode == mode).map_or(1000, |micro| micro.count);
        Ok(pair_row(what, &measure(&contestants.runner, c, mode, count, rounds)?))
    };
    names.into_iter().map(row).collect()
}

/// Both programs in turns in one of the modes that they share.
pub fn measure(peer: &Path, ours: &Path, mode: &str, count: u32, rounds: usize) -> Result<Pair> {
    eprintln!("{mode}");
    let run = |program: &Path| nanoseconds(program, mode, count);
    Pair::measure(rounds, || run(peer), || run(ours)).with_context(|| format!("measuring {mode}"))
}

/// What one run of a program in one of its modes prints.
pub fn nanoseconds(program: &Path, mode: &str, count: u32) -> Result<f64> {
    let text = output_of(program, &[OsStr::new(mode), OsStr::new(&count.to_string())])?;
    text.trim().parse().with_context(|| format!("{} is no time", text.trim()))
}

/// A row without a goal.
pub fn pair_row(what: &str, pair: &Pair) -> Row {
    Row {
        what: what.to_owned(),
        peer: time(pair.native()),
        ours: time(pair.ours()),
        ratio: format!("{:.2}", pair.ratio()),
        goal: String::new(),
    }
}
