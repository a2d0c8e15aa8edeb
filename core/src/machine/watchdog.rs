//! The second line of defence: a clock outside the guest, for engines whose code is compiled with checks for it.

use std::fmt;
use std::time::{Duration, Instant};

use super::Imports;
use crate::value::{Error, ErrorKind, Result};

/// How often the clock ticks.
const TICK: Duration = Duration::from_millis(10);

/// How long a guest may take to end a run by itself, once it should.
const GRACE: Duration = Duration::from_millis(50);

/// Watches over the calls into one guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchdog {
    /// How long one call may take, whatever the limits of the run are.
    longest_call: Duration,
    /// How many calls are inside each other: the outermost one counts.
    depth: u32,
    entered: Instant,
    /// Since when the run should have ended.
    overdue: Option<Instant>,
}

impl Watchdog {
    pub(crate) fn new(longest_call: Duration) -> Self {
        Watchdog { longest_call, depth: 0, entered: Instant::now(), overdue: None }
    }

    /// A call begins.
    pub(crate) fn enter(&mut self) {
        if self.depth == 0 {
            self.entered = Instant::now();
            self.overdue = None;
        }
        self.depth += 1;
    }

    /// A call has ended.
    pub(crate) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Why the call has to be stopped now. Asked with each tick of the clock while the guest runs.
    pub(crate) fn verdict(&mut self, imports: &mut impl Imports) -> Option<ErrorKind> {
        let now = Instant::now();
        if now.saturating_duration_since(self.entered) >= self.longest_call {
            return Some(ErrorKind::Timeout);
        }
        let kind = imports.check_limits()?;
        let since = *self.overdue.get_or_insert(now);
        (now.saturating_duration_since(since) >= GRACE).then_some(kind)
    }
}

/// The watchdog has ended a call.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) ErrorKind);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ErrorKind::Interrupted => "interrupted; the guest did not stop by itself",
            _ => "the guest ran longer than it may",
        })
    }
}

impl std::error::Error for Stopped {}

/// Starts a clock, which ticks as long as somebody wants it to.
pub(crate) fn start_clock(mut tick: impl FnMut() -> bool + Send + 'static) -> Result<()> {
    let run = move || {
        while tick() {
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new()
        .name("luacell-clock".to_owned())
        .spawn(run)
        .map_err(|e| Error::internal("can't start a thread for the clock").with_source(e))?;
    Ok(())
}
