//! What a second thread gains.

use anyhow::Result;

use super::Contestants;
use super::measure::Pair;
use super::micro::nanoseconds;
use super::table::{Row, at_least, time};

/// The same work on one thread and on two; elapsed time.
pub fn rows(contestants: &Contestants, rounds: usize) -> Result<Vec<Row>> {
    let row = |(mode, what): (&str, &str)| {
        eprintln!("{mode}");
        let on = |threads| nanoseconds(&contestants.runner, mode, threads);
        let pair = Pair::measure(rounds, || on(1), || on(2))?;
        let gain = 1.0 / pair.ratio();
        Ok(Row {
            what: what.to_owned(),
            peer: time(pair.native()),
            ours: time(pair.ours()),
            ratio: format!("{gain:.2}x as fast"),
            goal: at_least(gain, 1.7, "1.7 on 2 cores"),
        })
    };
    let cases = [
        ("scripts-on", "two threads / one: scripts, a sandbox for each thread"),
        ("sandboxes-on", "two threads / one: 40,000 sandboxes made, used once and dropped"),
        ("engines-on", "the same with an engine for each thread"),
    ];
    cases.into_iter().map(row).collect()
}
