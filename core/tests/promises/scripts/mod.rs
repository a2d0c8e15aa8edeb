//! Scripts that try to get away: *every way in which Lua can run* x *what it tries there*.
//!
//! They use functions of the host: `host(...)` returns what it gets, `fail()` fails, `call(f)` calls, `keep(f)` keeps a
//! function for after the run, `run(source)` runs source, `wait()` is one that the script waits for. The module `entry`
//! calls the global `entry`.

mod attempts;
mod library;
mod ways;

pub use attempts::{ATTEMPTS, Attempt};
pub use library::{LIST_FUNCTIONS, call};
pub use ways::{Then, WAYS, Way};

/// Begins each script: nothing of it may be kept when the run fails.
pub const STEAL: &str = "_home.kept = 'stolen' _home.list = nil _home.new = {1, {2}} ";

/// The attempt, made in this way.
pub fn script(way: &Way, attempt: &str) -> String {
    format!("{STEAL}\nlocal function attempt(...) {attempt} end\n{}", way.source)
}
