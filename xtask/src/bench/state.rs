//! State that is kept: the file store beside redb alone.

use std::ffi::OsStr;

use anyhow::{Context, Result};

use super::measure::{Pair, median};
use super::micro::{nanoseconds, pair_row};
use super::table::{Row, at_most, memory, time};
use super::{Contestants, output_of};

/// What the runner offers under `store-` and `redb-`.
struct Case {
    mode: &'static str,
    what: &'static str,
    count: u32,
    /// At most so many nanoseconds.
    limit: f64,
    /// How that is said.
    shown: &'static str,
    /// At most so many times as long as the peer.
    ratio: Option<f64>,
}

const CASES: &[Case] = &[
    Case {
        mode: "durable",
        what: "file store, commit of one write, durable / redb",
        count: 500,
        limit: 1e9 / 300.0,
        shown: "300 commits/s",
        ratio: Some(1.5),
    },
    Case {
        mode: "relaxed",
        what: "file store, commit of one write, relaxed / redb",
        count: 40_000,
        limit: 1e9 / 20_000.0,
        shown: "20,000 commits/s",
        ratio: Some(1.5),
    },
    Case {
        mode: "open",
        what: "file store, opening with 1,000,000 entries and reading one / redb",
        count: 1_000_000,
        limit: 50e6,
        shown: "50 ms",
        ratio: None,
    },
];

/// One row for each.
pub fn rows(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    CASES
        .iter()
        .map(|case| row(contestants, case, rounds).with_context(|| format!("measuring {}", case.mode)))
        .collect()
}

fn row(contestants: &Contestants, case: &Case, rounds: usize) -> Result<Row> {
    eprintln!("file store, {}", case.mode);
    let run = |who: &str| nanoseconds(&contestants.runner, &format!("{who}-{}", case.mode), case.count);
    let pair = Pair::measure(rounds, || run("redb"), || run("store"))?;
    let mut goal = at_most(pair.ours(), case.limit, &time(case.limit));
    goal.push_str(&format!(" ({})", case.shown));
    if let Some(ratio) = case.ratio {
        goal.push_str(&format!(", {}", at_most(pair.ratio(), ratio, &format!("{ratio:.2}"))));
    }
    Ok(Row { goal, ..pair_row(case.what, &pair) })
}

/// What is measured without a peer: snapshots, tables in memory, the memory of sandboxes.
struct Alone {
    /// The runner's word for it.
    mode: &'static str,
    what: &'static str,
    count: u32,
    /// At most so many nanoseconds, or bytes.
    limit: Option<f64>,
    bytes: bool,
}

const ALONE: &[Alone] = &[
    Alone {
        mode: "snapshot",
        what: "snapshot of a sandbox that ran one line",
        count: 2_000,
        limit: Some(300e3),
        bytes: false,
    },
    Alone { mode: "restore", what: "restoring it", count: 2_000, limit: Some(300e3), bytes: false },
    Alone { mode: "snapshot-bytes", what: "the same as bytes", count: 1, limit: Some(102_400.0), bytes: true },
    Alone {
        mode: "table-get",
        what: "kept table of 1,000 in memory: get, in a Lua loop",
        count: 1_000,
        limit: Some(150.0),
        bytes: false,
    },
    Alone {
        mode: "table-set",
        what: "kept table of 1,000 in memory: set, in a Lua loop, with the commit",
        count: 1_000,
        limit: Some(250.0),
        bytes: false,
    },
    Alone {
        mode: "table-pairs",
        what: "kept table in memory: `pairs` over 100,000, each",
        count: 20,
        limit: Some(500.0),
        bytes: false,
    },
    Alone {
        mode: "idle",
        what: "resident memory of each of 10,000 idle sandboxes that ran one line",
        count: 10_000,
        limit: Some(131_072.0),
        bytes: true,
    },
    Alone { mode: "fresh", what: "of each of 10,000 that ran nothing yet", count: 10_000, limit: None, bytes: true },
];

/// One row for each, the median of some rounds.
pub fn alone(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let measure = |case: &Alone| -> Result<Row> {
        eprintln!("{}", case.what);
        let mut values = Vec::new();
        for _ in 0..rounds.max(1) {
            let count = case.count.to_string();
            let text = output_of(&contestants.runner, &[OsStr::new(case.mode), OsStr::new(&count)])?;
            values.push(text.trim().parse::<f64>().with_context(|| format!("{} is no number", text.trim()))?);
        }
        let value = median(&values);
        let show = if case.bytes { memory } else { time };
        Ok(Row {
            what: case.what.to_owned(),
            peer: String::new(),
            ours: show(value),
            ratio: String::new(),
            goal: case.limit.map(|limit| at_most(value, limit, &show(limit))).unwrap_or_default(),
        })
    };
    ALONE.iter().map(measure).collect()
}
