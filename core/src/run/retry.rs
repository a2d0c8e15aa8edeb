//! Repeating a run after a conflict.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::state::SandboxState;
use crate::value::{Error, ErrorKind, Result};

impl SandboxState {
    /// What follows from how an attempt ended: the run ends with this, or is repeated after this conflict.
    #[inline]
    pub(crate) fn after_attempt<T>(&mut self, ended: Result<T>, tries: &mut u32) -> ControlFlow<Result<T>, Error> {
        match ended {
            Err(error) if error.kind() == ErrorKind::Conflict => self.after_conflict(error, tries).map_break(Err),
            ended => ControlFlow::Break(ended),
        }
    }

    #[cold]
    fn after_conflict(&mut self, conflict: Error, tries: &mut u32) -> ControlFlow<Error, Error> {
        let most = self.settings.conflict_retries;
        let function =
            self.host().ok().and_then(|host| host.run.attempt.unrepeatable.map(|number| host.functions.name(number)));
        if let Some(name) = function {
            let why = format!("the run is not repeated because it has called '{name}', which is not repeatable");
            return ControlFlow::Break(conflict.explained(&why));
        }
        if *tries >= most {
            return ControlFlow::Break(if most == 0 {
                conflict
            } else {
                conflict.explained(&format!("the run was repeated {most} times"))
            });
        }
        *tries += 1;
        ControlFlow::Continue(conflict)
    }

    /// Waits before a run is repeated, unless it has to end meanwhile; then with this error.
    #[cold]
    pub(crate) fn pause(&mut self, tries: u32, conflict: Error) -> Result<()> {
        let host = self.host()?;
        let until = pause_before_retry(tries);
        let until = host.run.deadline.map_or(until, |deadline| until.min(deadline));
        Arc::clone(&host.signal).pause(until);
        match host.check_limits() {
            Some(kind) => Err(stopped_between_tries(kind, conflict)),
            None => Ok(()),
        }
    }
}

/// A run had to end before it could be repeated.
#[cold]
pub(crate) fn stopped_between_tries(kind: ErrorKind, conflict: Error) -> Error {
    let (output, metrics) = (conflict.output().clone(), *conflict.metrics());
    Error::limit(kind).with_output(output).with_metrics(metrics).with_source(conflict)
}

/// Until when those who are in conflict wait: they come back at different times.
#[cold]
pub(crate) fn pause_before_retry(tries: u32) -> Instant {
    let mut random = [0; 4];
    // Without randomness all wait as long as they may.
    let random = getrandom::fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    let most = 200u64 << tries.min(9);
    Instant::now() + std::time::Duration::from_micros(most * u64::from(random) / u64::from(u32::MAX))
}
