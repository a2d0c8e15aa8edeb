//! A run from its start to its end: begun, executed, stored or rolled back, and repeated after a conflict.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::limits::LimitOverrides;
use super::sandbox_cell::SandboxCell;
use super::state::{Instance, SandboxState};
use crate::guest::GuestMut;
use crate::guest::held_values::compare_host_values;
use crate::guest::requests::Waits;
use crate::guest::resolver::SandboxResolver;
use crate::machine::Entry;
use crate::protocol::{BUFFER_SIZE, KEPT_BUFFER};
use crate::store::Uncertain;
use crate::value::{Error, ErrorKind, Outcome, Result};

/// How a run failed.
struct Failure {
    error: Error,
    /// Whether what it wrote is stored all the same.
    kept: bool,
}

/// Whatever fails on the way is taken back.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, kept: false }
    }
}

impl SandboxState {
    /// Runs the guest: `enter` passes in what is to be run. When somebody else changed what the run had read, it is
    /// repeated.
    #[inline]
    pub(crate) fn run(
        &mut self,
        cell: &Arc<SandboxCell>,
        set: Option<&LimitOverrides>,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        self.factory.check_stack()?;
        self.wait_for_turn()?;
        let result = self.run_until_stored(cell, set, enter);
        self.finish_run();
        result
    }

    #[inline]
    fn run_until_stored(
        &mut self,
        cell: &Arc<SandboxCell>,
        set: Option<&LimitOverrides>,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        let mut tries = 0;
        loop {
            let entry = self.begin_attempt(cell, set, tries, Waits::Never, &enter)?;
            let executed = self.guest().and_then(|mut guest| guest.execute(entry));
            let ended = self.end_attempt(executed);
            let conflict = match self.after_attempt(ended, &mut tries) {
                ControlFlow::Continue(conflict) => conflict,
                ControlFlow::Break(ended) => return ended,
            };
            self.pause(tries, conflict)?;
        }
    }

    /// Collects Lua's garbage, as a run: it may run finalizers.
    pub(crate) fn collect(&mut self, cell: &Arc<SandboxCell>) -> Result<()> {
        self.factory.check_stack()?;
        let tells = !self.factory.is_foreign();
        self.begin_attempt(cell, None, 0, Waits::Never, |guest, _, _| Ok(guest.compute_entry(0)))?;
        let collected = self.guest().and_then(|mut guest| {
            guest.run_gc()?;
            let failed = tells && guest.get_error_details()? != 0;
            Ok(-i32::from(failed))
        });
        let ended = self.end_attempt(collected);
        self.finish_run();
        ended.map(|_| ())
    }

    /// The run is over: nothing of it is left.
    #[inline]
    pub(crate) fn finish_run(&mut self) {
        if let Instance::Live(guest) = &mut self.instance {
            // Nor of its limits: what the host does next is no part of it. What fails here fails then, too.
            let _ = guest.get_mut().set_limits(&self.settings.limits);
        }
        if let Ok(host) = self.host() {
            host.end_run();
        }
        if self.turn.is_some() {
            self.end_turn();
        }
    }

    /// The first part of a run: everything up to the guest's own work. What fails is taken back. `tries` came before
    /// it: their time is the run's too.
    #[inline]
    pub(crate) fn begin_attempt(
        &mut self,
        cell: &Arc<SandboxCell>,
        set: Option<&LimitOverrides>,
        tries: u32,
        waits: Waits,
        enter: impl FnOnce(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Entry> {
        self.enter_run(cell, set, tries, waits, enter).map_err(|error| {
            let error = self.take_back(error, false);
            self.finish_run();
            error
        })
    }

    #[inline]
    fn enter_run(
        &mut self,
        cell: &Arc<SandboxCell>,
        set: Option<&LimitOverrides>,
        tries: u32,
        waits: Waits,
        enter: impl FnOnce(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Entry> {
        let started = Instant::now();
        self.check_transaction()?;
        self.release_handles(cell)?;
        let limits = set.map_or(self.settings.limits, |set| set.over(self.settings.limits));
        // What comes in and goes out belongs to the instance, which may be made here.
        let number = self.guest()?.settings().number;
        let resolver = self.links_with(cell, &limits, number);
        let mut args = std::mem::take(&mut self.args);
        args.clear();
        let in_transaction = self.transaction.is_some();
        let mut guest = self.guest()?;
        compare_host_values(&mut guest)?;
        if !in_transaction && let Some(next) = guest.host().tables.pass_by() {
            guest.sync_external_table_counter(next.cast_signed())?;
        }
        if tries == 0 {
            guest.host().begin_run(started, &limits);
        } else {
            guest.host().begin_attempt();
        }
        let result = guest
            .set_limits(&limits)
            .and_then(|()| guest.set_waits(waits))
            .and_then(|()| enter(&mut guest, &resolver, &mut args));
        guest.host().run.resolver = Some(resolver);
        if args.capacity() <= KEPT_BUFFER as usize {
            self.args = args;
        }
        result
    }

    /// The last part of a run: from what the guest answered. What fails is taken back, what was unusually large is
    /// given back.
    #[inline]
    pub(crate) fn end_attempt(&mut self, executed: Result<i32>) -> Result<Outcome> {
        // Of a failed run the guest takes back its part by itself.
        let keeps = matches!(&self.instance, Instance::Live(guest) if guest.settings().limits.keep_failed);
        let undo = matches!(executed, Ok(n) if n >= 0 || keeps);
        let result = match self.settle(executed) {
            Err(Failure { error, kept: false }) => {
                let error = self.look_for_collision(error);
                Err(self.take_back(error, undo))
            }
            result => {
                self.note_ids();
                result.map_err(|failure| failure.error)
            }
        };
        self.forget_limit();
        if let Instance::Live(guest) = &mut self.instance {
            let kept = guest.host().run.limits.memory / 32;
            if u64::from(guest.buffer_size()) > kept.clamp(BUFFER_SIZE.into(), KEPT_BUFFER.into()) {
                self.shrink_buffer();
            }
        }
        result
    }

    /// A run that had a table of somebody else's for a new one of its own may have failed for that: then it has to be
    /// repeated.
    #[cold]
    fn look_for_collision(&mut self, error: Error) -> Error {
        let says_something = error.is_fatal() || self.host().is_ok_and(|host| host.run.attempt.limit.is_some());
        if says_something || self.transaction.is_some() {
            return error;
        }
        let Ok(mut guest) = self.guest() else { return error };
        let Some(Ok(next)) = guest.next_table_id() else { return error };
        let tables = &mut guest.host().tables;
        if !tables.collides(next) {
            return error;
        }
        tables.note_counter(next);
        match tables.extend_lease() {
            Err(conflict) if conflict.is_conflict() => Error::from(conflict).with_source(error),
            _ => error,
        }
    }

    /// What is done from here on is not for the limit to end that ended the attempt. The deadline ends with the run.
    #[inline]
    fn forget_limit(&mut self) {
        if let Ok(host) = self.host() {
            host.forget_limit();
            host.tables.set_own_end(0);
        }
    }

    /// The last part of a run that nobody waits for any more: nothing of it is kept.
    pub(crate) fn drop_waiting_run(&mut self) {
        if self.waiting.take().is_some() {
            self.abandon_run();
            self.finish_run();
        }
    }

    /// Ends an attempt that waits; nothing of it is kept.
    pub(crate) fn abandon_run(&mut self) {
        if let Ok(host) = self.host() {
            host.end_by(ErrorKind::Interrupted);
            host.run.limits.commit_on_error = false;
        }
        let executed = self.guest().and_then(|mut guest| guest.end_waiting_run());
        let _ = self.end_attempt(executed);
    }

    /// Reads what the guest answered, and stores what the run wrote.
    #[inline]
    fn settle(&mut self, executed: Result<i32>) -> Result<Outcome, Failure> {
        let mut guest = self.guest()?;
        let metrics = guest.finish_metrics();
        let resolver = guest.host().run.resolver.take();
        let resolver = resolver.ok_or_else(|| Error::internal("a run ends that never began"))?;
        let read = match executed {
            Ok(n) if n >= 0 => guest.read_success(n, &resolver),
            Ok(n) => Err(guest.read_failure(n, &resolver)),
            Err(error) => Err(error),
        };
        let host = guest.host();
        host.end_script();
        let keeps = host.run.limits.commit_on_error;
        // What the guest was not told of, or did not mind.
        let unheard = host
            .run
            .attempt
            .unreported
            .take()
            .or_else(|| host.run.attempt.limit.filter(|_| read.is_ok()).map(Error::limit));
        if let Some(error) = unheard {
            let output = match read {
                Ok(outcome) => outcome.output,
                Err(error) => error.output().clone(),
            };
            return Err(error.with_output(output).with_metrics(metrics).into());
        }
        let outcome = match read {
            Ok(outcome) => outcome,
            Err(error) if keeps && !error.is_fatal() => {
                let error = error.with_metrics(metrics);
                if self.transaction.is_none() {
                    self.tables()?.be_patient();
                    self.end_in_store()
                        .and_then(|()| self.commit())
                        .map_err(|failure| failure.with_output(error.output().clone()).with_metrics(metrics))?;
                }
                return Err(Failure { error, kept: true });
            }
            Err(error) => return Err(error.with_metrics(metrics).into()),
        };
        /// Who takes many numbers for tables runs at least so long.
        const LONG: u64 = 1 << 20;
        if metrics.instructions > LONG && self.transaction.is_none() {
            self.trim_ids()?;
        }
        if self.transaction.is_none()
            && (self.tables()?.is_open() || self.durable.is_some())
            && let Err(error) = self.end_in_store().and_then(|()| self.commit_in_time())
        {
            return Err(error.with_output(outcome.output).with_metrics(metrics).into());
        }
        Ok(Outcome { metrics, ..outcome })
    }

    /// Stores what a run wrote, unless it should have ended by now: a store that somebody waits for may have taken all
    /// of its time.
    #[inline]
    fn commit_in_time(&mut self) -> Result<()> {
        /// Less than this matters to nobody.
        const SHORT: Duration = Duration::from_millis(10);
        let host = self.host()?;
        let time = host.tables.commit_time();
        if time < SHORT && !host.tables.waits() {
            return self.commit();
        }
        if let Some(kind) = host.check_limits_within(time) {
            return Err(Error::limit(kind));
        }
        let error = match self.commit() {
            Err(error) if error.kind() == ErrorKind::Store => error,
            result => return result,
        };
        // It may have been left for that. A limit says that nothing was stored.
        let uncertain = std::error::Error::source(&error).is_some_and(|cause| cause.is::<Uncertain>());
        Err(match self.host()?.check_limits() {
            Some(kind) if !uncertain => Error::limit(kind).with_source(error),
            _ => error,
        })
    }

    #[cold]
    fn shrink_buffer(&mut self) {
        if let Ok(mut guest) = self.guest()
            && guest.revision() >= 2
            && (guest.reserve_buffer(0).is_err() || guest.refresh_buffer().is_err())
        {
            self.restart();
        }
    }

    /// Tells the guest which functions nobody needs any more.
    #[inline]
    pub(crate) fn release_handles(&mut self, cell: &SandboxCell) -> Result<()> {
        let released = cell.held.released.take();
        if released.is_empty() {
            return Ok(());
        }
        if let Instance::Live(guest) = &mut self.instance {
            let mut context = guest.get_mut();
            let number = context.settings().number;
            for (_, id) in released.into_iter().filter(|(instance, _)| *instance == number) {
                if let Err(error) = context.release_handle(id.cast_signed()) {
                    self.restart();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
