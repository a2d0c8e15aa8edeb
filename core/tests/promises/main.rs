//! What `docs/security.md` promises, tested as promises: every way in which Lua can run x what it may try there, with
//! all limits and in all states of a sandbox by turns; and every library function with odd arguments. `cargo xtask
//! promises` looks for more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod harness;
mod scripts;

use harness::case::functions;
use harness::{Selection, watch};
use libtest_mimic::{Arguments, Failed, Trial};
use scripts::WAYS;

/// Every so manieth attempt in each way, and how often each function is called with other arguments. All attempts would
/// take ten minutes, and an interpreter for the guest takes a multiple of that; what runs the guest as C code runs the
/// same guest.
const STRIDE: usize = if cfg!(feature = "pulley") {
    40
} else if cfg!(feature = "static") {
    20
} else {
    5
};
const TIMES: usize = if cfg!(any(feature = "pulley", feature = "static")) { 1 } else { 6 };

fn main() {
    harness::work_if_asked(false);
    let mut trials = Vec::new();
    for (number, way) in WAYS.iter().enumerate() {
        let selection = Selection::Way { way: number, stride: STRIDE };
        trials.push(trial(format!("way: {}", way.name), selection));
    }
    for name in functions().expect("the functions") {
        trials.push(trial(format!("function: {name}"), Selection::Function { name, times: TIMES }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial(name: String, selection: Selection) -> Trial {
    Trial::test(name, move || {
        let hardened = cfg!(feature = "hardened") && matches!(selection, Selection::Way { way, .. } if way % 4 == 0);
        let report = watch(&selection, hardened, |_| {})?;
        if report.findings.is_empty() { Ok(()) } else { Err(Failed::from(report.findings.join("\n"))) }
    })
}
