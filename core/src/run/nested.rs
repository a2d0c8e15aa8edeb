//! A run inside a run.

use std::time::Instant;

use super::limits::LimitOverrides;
use crate::guest::limits::Limits;
use crate::guest::requests::Waits;
use crate::guest::resolver::SandboxResolver;
use crate::guest::{GuestMut, InnerBudget};
use crate::machine::Entry;
use crate::value::{Error, ErrorKind, Metrics, Outcome, Result};

impl GuestMut<'_> {
    /// A run inside a run: a host function uses its own sandbox. What it writes and prints belongs to the outer run,
    /// whose limits hold for it. Limits of its own end it alone.
    pub(crate) fn run_nested(
        &mut self,
        set: Option<&LimitOverrides>,
        enter: impl FnOnce(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        self.host().run.attempt.ran_inside = true;
        let Some(set) = set.filter(|set| **set != LimitOverrides::default()) else {
            let result = self.run_or_end_outer(enter);
            return self.or_ends_run(result);
        };
        let outer = self.narrow(set)?;
        let limits = self.host().run.limits;
        let result = self.change_limits(&limits).and_then(|()| self.run_or_end_outer(enter));
        let widened = self.widen(outer, set, &result);
        self.or_ends_run(result.and_then(|outcome| widened.map(|()| outcome)))
    }

    /// After a crash the guest that called can't go on either.
    pub(crate) fn or_ends_run<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && error.is_fatal()
        {
            let host = self.host();
            host.run.attempt.unreported.get_or_insert_with(|| error.clone());
            host.end_by(error.kind());
        }
        result
    }

    /// The host's part of narrower limits. `widen` has to follow.
    fn narrow(&mut self, set: &LimitOverrides) -> Result<Outer> {
        if set.commit_on_error.is_some() {
            return Err(Error::invalid("only the outermost run can set commit_on_error"));
        }
        if !self.has_limit_review() {
            return Err(Error::invalid("this guest can't limit a run inside another one"));
        }
        let printed = self.review_limits()?.cast_unsigned().into();
        let host = self.host();
        let outer = Outer { limits: host.run.limits, deadline: host.run.deadline };
        host.run.limits = set.within(&outer.limits, host.run.attempt.host_calls, printed);
        if let Some(deadline) = set.timeout.flatten().and_then(|timeout| Instant::now().checked_add(timeout)) {
            host.set_deadline(Some(outer.deadline.map_or(deadline, |outer| outer.min(deadline))));
        }
        host.run
            .attempt
            .inner_budgets
            .push(InnerBudget { instructions: set.instructions.unwrap_or(u64::MAX), from: None });
        Ok(outer)
    }

    /// The outer run's limits hold again. When the inner one reached one of its own, the outer one may go on.
    fn widen(&mut self, outer: Outer, set: &LimitOverrides, result: &Result<Outcome>) -> Result<()> {
        let host = self.host();
        let inner = std::mem::replace(&mut host.run.limits, outer.limits);
        host.set_deadline(outer.deadline);
        host.run.attempt.inner_budgets.pop();
        let instructions_left = host.instructions_left();
        if result.as_ref().is_err_and(Error::is_fatal) {
            return Ok(());
        }
        self.change_limits(&outer.limits)?;
        let own = match result.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Timeout) => {
                set.timeout.flatten().is_some() && outer.deadline.is_none_or(|deadline| Instant::now() < deadline)
            }
            Err(ErrorKind::InstructionLimit) => set.instructions.is_some() && instructions_left > 0,
            Err(ErrorKind::HostCallLimit) => inner.host_calls < outer.limits.host_calls,
            Err(ErrorKind::StoreLimit) => inner.store != outer.limits.store,
            Err(ErrorKind::OutputLimit) => inner.output < outer.limits.output,
            _ => false,
        };
        if own {
            self.host().forget_limit();
            self.review_limits()?;
        }
        Ok(())
    }

    /// As `run_inside`. What the host calls there may panic, a store for one. That leaves the guest in the middle of
    /// the run, as a crash does.
    fn run_or_end_outer(
        &mut self,
        enter: impl FnOnce(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        let mut guard = EndsOuterRun(self.reborrow());
        let result = guard.0.run_inside(enter);
        std::mem::forget(guard);
        result
    }

    fn run_inside(
        &mut self,
        enter: impl FnOnce(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        let outer = self.host().run.resolver.as_ref().ok_or_else(Error::busy)?;
        let resolver = outer.for_nested_run();
        let started = Instant::now();
        let entry = enter(self, &resolver, &mut Vec::new())?;
        let n = self.execute(entry)?;
        if self.host().run.waits != Waits::Never {
            self.host().run.attempt.requests().may_go_on = true;
        }
        if n < 0 {
            return Err(self.read_failure(n, &resolver).nested());
        }
        let outcome = self.read_success(n, &resolver)?;
        if let Some(kind) = self.host().run.attempt.limit {
            return Err(Error::limit(kind).with_output(outcome.output).nested());
        }
        let wall_time = if self.host().virtual_clock.is_some() { Default::default() } else { started.elapsed() };
        Ok(Outcome { metrics: Metrics { wall_time, ..Metrics::default() }, ..outcome })
    }
}

/// Dropped by a panic. No `catch_unwind`, whose frames would count for each run inside another one: there is little
/// native stack.
struct EndsOuterRun<'a>(GuestMut<'a>);

impl Drop for EndsOuterRun<'_> {
    fn drop(&mut self) {
        let trap = Error::new(ErrorKind::Trap, "a run inside this one ended in a panic").fatal();
        let _ = self.0.or_ends_run::<()>(Err(trap));
    }
}

/// The limits of a run, while one inside it has narrower ones.
struct Outer {
    limits: Limits,
    deadline: Option<Instant>,
}
