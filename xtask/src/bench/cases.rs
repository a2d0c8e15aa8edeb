//! What programs measure about themselves: each does one thing many times in a process, and prints how long it took
//! once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::build::Contestants;
use super::measure::{Pair, median};
use super::table::{Row, at_most, memory, ratio, time};
use crate::steps::printed;

/// One thing that programs do, under the same name in all of them.
struct Case {
    /// The programs' word for it.
    mode: &'static str,
    what: &'static str,
    /// Repetitions in one process, enough for some tenths of a second.
    count: u32,
    /// At most so many nanoseconds, or bytes.
    limit: Option<f64>,
    /// At most so many times as long as the peer.
    ratio: Option<f64>,
}

const fn case(mode: &'static str, what: &'static str, count: u32) -> Case {
    Case { mode, what, count, limit: None, ratio: None }
}

impl Case {
    const fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    const fn ratio(self, ratio: f64) -> Self {
        Self { ratio: Some(ratio), ..self }
    }

    fn row(&self, pair: &Pair) -> Row {
        let limit = self.limit.map(|limit| at_most(pair.ours(), limit, time));
        let ratio = self.ratio.map(|limit| at_most(pair.ratio(), limit, ratio));
        let goals: Vec<String> = limit.into_iter().chain(ratio).collect();
        Row { goal: goals.join(", "), ..Row::pair(self.what, pair) }
    }

    /// What they have in common with other peers: without what native Lua does for it.
    fn ours(&self) -> &'static str {
        self.what.split(" / ").next().unwrap_or(self.what)
    }
}

/// Also the modes of mlua's program, and of the C library's.
const SMALL: &[Case] = &[
    case("create", "new sandbox and drop / newstate, openlibs, close", 10_000).limit(8e3).ratio(0.30),
    // 150,000 a second.
    case("first", "the same with `return 1+1` in between", 10_000).limit(1e9 / 150e3),
    case("compute", "compute(\"return 1+1\") / loadstring, pcall", 300_000).limit(1e3).ratio(0.60),
    case("call", "calling a Lua function by name, two integers to one / getglobal, pcall", 300_000),
    case("hostcall", "host function, two integers to one, in a Lua loop / the same as a C function", 1_000_000)
        .limit(250.0),
    case("records-in", "1,000 records of 3 fields built, passed in, added up / with the C API", 200).ratio(1.5),
    case("records-out", "1,000 records of 3 fields as a result, into structs / with the C API", 200).ratio(2.5),
];

/// Of the runner: under `store-`, and with redb alone under `redb-`.
const STORES: &[Case] = &[
    case("durable", "file store, commit of one write, durable / redb", 500).limit(1e9 / 300.0).ratio(1.5),
    case("relaxed", "file store, commit of one write, relaxed / redb", 40_000).limit(1e9 / 20e3).ratio(1.5),
    case("open", "file store, opening with 1,000,000 entries and reading one / redb", 1_000_000).limit(50e6),
];

/// Of the runner, without a peer.
const TIMES: &[Case] = &[
    case("wait", "1000 sandboxes on one thread, each waits 100 ms for a host function", 1000).limit(1e9),
    case("snapshot", "snapshot of a sandbox that ran one line", 2_000).limit(300e3),
    case("restore", "restoring it", 2_000).limit(300e3),
    case("table-get", "kept table of 1,000 in memory: get, in a Lua loop", 1_000).limit(150.0),
    case("table-set", "kept table of 1,000 in memory: set, in a Lua loop, with the commit", 1_000).limit(250.0),
    case("table-pairs", "kept table in memory: `pairs` over 100,000, each", 20).limit(500.0),
];

/// Runs that wait, of the runner without a peer.
const WAITING: &[Case] = &[
    case("wait-async", "a wait of `compute_async`, for a future that is ready at the next poll", 200_000).limit(2e3),
    case("wait-all", "10,000 started runs on one thread that each wait 100 ms", 10_000).limit(1e9),
    case("wait-each", "100 calls of 20 ms from one script, `task.each` with limit 20", 100).limit(200e6),
    case("waiting-snapshot", "snapshot of a run that waits", 2_000).limit(100e3),
    case("waiting-resume", "going on from it, to the end", 2_000).limit(50e3),
    case("wait-durable", "a wait of a durable run, relaxed file store", 5_000).limit(60e3),
];

const WAITING_BYTES: &[Case] = &[
    case("waiting-bytes", "bytes of a snapshot of a run that waits, beyond those of the idle sandbox", 1).limit(4096.0),
    case("wait-memory", "resident memory of each of 10,000 waiting runs, beyond the idle sandbox", 10_000)
        .limit(2048.0),
];

const BYTES: &[Case] = &[
    case("snapshot-bytes", "bytes of a snapshot of a sandbox that ran one line", 1).limit(102_400.0),
    case("idle", "resident memory of each of 10,000 idle sandboxes that ran one line", 10_000).limit(131_072.0),
    case("fresh", "of each of 10,000 that ran nothing yet", 10_000),
];

/// Two threads beside one.
const THREADS: [(&str, &str); 3] = [
    ("scripts-on", "two threads / one: scripts, a sandbox for each thread"),
    ("sandboxes-on", "two threads / one: 40,000 sandboxes made, used once and dropped"),
    ("engines-on", "the same with an engine for each thread"),
];

/// The small things, beside native Lua.
pub fn beside_native(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |case: &Case| {
        let Case { mode, count, .. } = *case;
        Ok(case.row(&pair(rounds, (&contestants.native, mode, count), (&contestants.runner, mode, count))?))
    };
    SMALL.iter().map(row).collect()
}

/// The small things in a program for the C library, beside the Rust interface.
pub fn beside_rust(contestants: &Contestants, c: &Path, rounds: usize) -> Result<Vec<Row>> {
    let row = |case: &Case| {
        let Case { mode, count, .. } = *case;
        Ok(Row::pair(case.ours(), &pair(rounds, (&contestants.runner, mode, count), (c, mode, count))?))
    };
    SMALL.iter().map(row).collect()
}

/// The small things beside mlua, and what its program can do besides; the goal is to be no slower.
pub fn beside_mlua(contestants: &Contestants, mlua: &Path, rounds: usize) -> Result<Vec<Row>> {
    const FIELDS: [Case; 2] = [
        case("api-get", "reading a field from the host: of a kept table / of a Lua table", 300_000),
        case("api-set", "writing it: the kept table's is a transaction", 100_000),
    ];
    let row = |(case, what): (&Case, &str)| {
        let Case { mode, count, .. } = *case;
        Ok(Row::ahead(what, &pair(rounds, (mlua, mode, count), (&contestants.runner, mode, count))?))
    };
    SMALL.iter().map(|case| (case, case.ours())).chain(FIELDS.iter().map(|case| (case, case.what))).map(row).collect()
}

/// State that is kept: the file store beside redb alone.
pub fn stores(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |case: &Case| {
        let [peer, ours] = ["redb", "store"].map(|who| format!("{who}-{}", case.mode));
        let runner = contestants.runner.as_path();
        Ok(case.row(&pair(rounds, (runner, &peer, case.count), (runner, &ours, case.count))?))
    };
    STORES.iter().map(row).collect()
}

/// What a second thread gains in elapsed time.
pub fn threads(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |(mode, what): (&str, &str)| {
        let pair = pair(rounds, (&contestants.runner, mode, 1), (&contestants.runner, mode, 2))?;
        let gain = 1.0 / pair.ratio();
        let goal = format!("at least 1.7 on 2 cores: {}", if gain >= 1.7 { "met" } else { "MISSED" });
        Ok(Row { ratio: format!("{gain:.2}x as fast"), goal, ..Row::pair(what, &pair) })
    };
    THREADS.into_iter().map(row).collect()
}

/// What is measured without a peer: the median of some rounds.
pub fn alone(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    rows_of(TIMES, BYTES, contestants, rounds)
}

/// Runs that wait, and what a wait costs beside a plain call.
pub fn waiting(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    /// Nanoseconds more than the same with a plain host function.
    const MORE: f64 = 3e3;
    let runner = contestants.runner.as_path();
    let answered = pair(rounds, (runner, "start-plain", 100_000), (runner, "start-answer", 100_000))?;
    let row = Row::pair("`start` with one request, answer, end / `compute` with a plain host call", &answered);
    let mut rows = vec![Row { goal: format!("{} more", at_most(answered.difference(), MORE, time)), ..row }];
    rows.extend(rows_of(WAITING, WAITING_BYTES, contestants, rounds)?);
    Ok(rows)
}

fn rows_of(times: &[Case], bytes: &[Case], contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |(case, show): (&Case, fn(f64) -> String)| {
        eprintln!("{}", case.what);
        let one = |_| number(&contestants.runner, case.mode, case.count);
        let value = median(&(0..rounds).map(one).collect::<Result<Vec<f64>>>()?);
        let goal = case.limit.map(|limit| at_most(value, limit, show)).unwrap_or_default();
        Ok(Row { ours: show(value), ..Row::note(case.what, &goal) })
    };
    let times = times.iter().map(|case| (case, time as fn(f64) -> String));
    times.chain(bytes.iter().map(|case| (case, memory as fn(f64) -> String))).map(row).collect()
}

/// How soon a deadline ends the scripts of `core/tests/hostile` that try to get away: median and worst over all of
/// them.
pub fn deadlines(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let answer = answer(&contestants.runner, "deadline", rounds as u32)?;
    let row = |((what, limit), nanoseconds): ((&str, f64), &str)| {
        let value = nanoseconds.parse().with_context(|| format!("{nanoseconds} is no time"))?;
        let what = format!("hostile scripts, ended by a timeout of 50 ms: {what}");
        Ok(Row { ours: time(value), ..Row::note(&what, &at_most(value, limit, time)) })
    };
    [("median", 60e6), ("worst", 100e6)].into_iter().zip(answer.split_whitespace()).map(row).collect()
}

/// Both programs in turns, each in its mode with its count.
pub fn pair(rounds: usize, peer: (&Path, &str, u32), ours: (&Path, &str, u32)) -> Result<Pair> {
    eprintln!("{}", ours.1);
    Pair::measure(rounds, || number(peer.0, peer.1, peer.2), || number(ours.0, ours.1, ours.2))
        .with_context(|| format!("measuring {}", ours.1))
}

/// The number that a program prints in one of its modes.
pub fn number(program: &Path, mode: &str, count: u32) -> Result<f64> {
    let answer = answer(program, mode, count)?;
    answer.parse().with_context(|| format!("{answer} is no number"))
}

fn answer(program: &Path, mode: &str, count: u32) -> Result<String> {
    Ok(printed(Command::new(program).args([mode, &count.to_string()]))?.trim().to_owned())
}
