//! A run, from the limits that hold in it to what is taken back when it fails.

use super::*;
use crate::store::Uncertain;

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

impl Inner {
    /// Runs the guest: `enter` passes in what is to be run. When somebody else changed what the run had read, it is repeated.
    #[inline]
    pub(crate) fn run(
        &mut self,
        shared: &Arc<Shared>,
        set: Option<&SetLimits>,
        enter: impl Fn(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        self.engine.check_stack()?;
        let mut tries = 0;
        loop {
            let entry = self.begin_run(shared, set, tries, &enter)?;
            let executed = self.guest().and_then(|mut guest| guest.execute(entry));
            let conflict = match self.end_run(executed) {
                Err(error) if self.repeats(&error, &mut tries) => error,
                result => return result,
            };
            self.pause(tries, conflict)?;
        }
    }

    /// Collects Lua's garbage, as a run: it may run finalizers.
    pub(crate) fn collect(&mut self, shared: &Arc<Shared>) -> Result<()> {
        self.engine.check_stack()?;
        let tells = !self.engine.is_foreign();
        self.begin_run(shared, None, 0, |_, _, _| Ok(Entry::Compute { len: 0 }))?;
        let collected = self.guest().and_then(|mut guest| {
            guest.run_gc()?;
            let failed = tells && guest.get_error_details()? != 0;
            Ok(-i32::from(failed))
        });
        self.end_run(collected).map(|_| ())
    }

    /// Whether a run that failed is to be repeated.
    #[cold]
    pub(crate) fn repeats(&mut self, error: &Error, tries: &mut u32) -> bool {
        if error.kind() != ErrorKind::Conflict || *tries >= self.conflict_retries {
            return false;
        }
        *tries += 1;
        self.host().is_ok_and(|host| !host.called_unrepeatable)
    }

    /// Waits before a run is repeated, unless it has to end meanwhile; then with this error.
    #[cold]
    fn pause(&mut self, tries: u32, conflict: Error) -> Result<()> {
        let host = self.host()?;
        let until = pause_before_retry(tries);
        let until = host.deadline.map_or(until, |deadline| until.min(deadline));
        Arc::clone(&host.control).pause(until);
        match host.passed_limit() {
            Some(kind) => Err(stopped_between_tries(kind, conflict)),
            None => Ok(()),
        }
    }

    /// The first part of a run: everything up to the guest's own work. What fails is taken back. `tries` came before it: their time is the run's too.
    #[inline]
    pub(crate) fn begin_run(
        &mut self,
        shared: &Arc<Shared>,
        set: Option<&SetLimits>,
        tries: u32,
        enter: impl FnOnce(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Entry> {
        self.enter_run(shared, set, tries, enter).map_err(|error| {
            let error = self.take_back(error, false);
            self.forget_limits();
            error
        })
    }

    #[inline]
    fn enter_run(
        &mut self,
        shared: &Arc<Shared>,
        set: Option<&SetLimits>,
        tries: u32,
        enter: impl FnOnce(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Entry> {
        let started = Instant::now();
        self.check_transaction()?;
        self.release_handles(shared)?;
        let limits = set.map_or(self.limits, |set| self.limits.with(set));
        // What comes in and goes out belongs to the instance, which may be made here.
        let number = self.guest()?.told().number;
        let links = self.links_with(shared, &limits, number);
        let mut args = std::mem::take(&mut self.args);
        args.clear();
        let in_transaction = self.transaction.is_some();
        let mut guest = self.guest()?;
        if !in_transaction && let Some(next) = guest.host().tables.pass_by() {
            guest.sync_external_table_counter(next.cast_signed())?;
        }
        guest.told().ran = true;
        if tries == 0 {
            guest.host().begin(started, &limits);
        } else {
            guest.host().begin_again();
        }
        let result = guest.tell_limits(&limits).and_then(|()| enter(&mut guest, &links, &mut args));
        guest.host().links = Some(links);
        if args.capacity() <= KEPT_BUFFER as usize {
            self.args = args;
        }
        result
    }

    /// The last part of a run: from what the guest answered. What fails is taken back, what was unusually large is given back.
    #[inline]
    pub(crate) fn end_run(&mut self, executed: Result<i32>) -> Result<Outcome> {
        // Of a failed run the guest takes back its part by itself.
        let keeps = matches!(&self.running, Running::Guest(guest) if guest.told().limits.keep_failed);
        let undo = matches!(executed, Ok(n) if n >= 0 || keeps);
        let result = match self.settle(executed) {
            Err(Failure { error, kept: false }) => {
                let error = self.look_for_collision(error);
                Err(self.take_back(error, undo))
            }
            result => {
                self.note_numbers();
                result.map_err(|failure| failure.error)
            }
        };
        self.forget_limits();
        if let Running::Guest(guest) = &mut self.running {
            let kept = guest.host().limits.memory / 32;
            if u64::from(guest.buffer_size()) > kept.clamp(LEAST_BUFFER.into(), KEPT_BUFFER.into()) {
                self.shrink_buffer();
            }
        }
        result
    }

    /// A run that had a table of somebody else's for a new one of its own may have failed for that: then it has to be repeated.
    #[cold]
    fn look_for_collision(&mut self, error: Error) -> Error {
        let says_something = error.is_fatal() || self.host().is_ok_and(|host| host.refused.is_some());
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
            Err(conflict) if conflict.is_conflict() => store_error(conflict).with_source(error),
            _ => error,
        }
    }

    /// What is done from here on is no run's concern.
    #[inline]
    fn forget_limits(&mut self) {
        if let Ok(host) = self.host() {
            host.forget_refusal();
            host.tables.set_own_end(0);
            host.tables.set_deadline(None, None, u64::MAX);
        }
    }

    /// The last part of a run that nobody waits for any more: nothing of it is kept.
    #[cfg(feature = "async")]
    pub(crate) fn drop_run(&mut self, executed: Result<i32>) {
        if let Ok(host) = self.host() {
            host.refuse(ErrorKind::Interrupted);
            host.limits.commit_on_error = false;
        }
        let _ = self.end_run(executed);
    }

    /// Reads what the guest answered, and stores what the run wrote.
    #[inline]
    fn settle(&mut self, executed: Result<i32>) -> Result<Outcome, Failure> {
        let mut guest = self.guest()?;
        let metrics = guest.finish_metrics();
        let links = guest.host().links.take();
        let links = links.ok_or_else(|| Error::internal("a run ends that never began"))?;
        let read = match executed {
            Ok(n) if n >= 0 => guest.read_success(n, &links),
            Ok(n) => Err(guest.read_failure(n, &links)),
            Err(error) => Err(error),
        };
        let host = guest.host();
        host.end();
        let keeps = host.limits.commit_on_error;
        // What the guest was not told of, or did not mind.
        let unheard = host.doomed.take().or_else(|| host.refused.filter(|_| read.is_ok()).map(limit_error));
        if let Some(error) = unheard {
            let output = match read {
                Ok((output, _)) => output,
                Err(error) => error.output().clone(),
            };
            return Err(error.with_output(output).with_metrics(metrics).into());
        }
        let (output, values) = match read {
            Ok(read) => read,
            Err(error) if keeps && !error.is_fatal() => {
                let error = error.with_metrics(metrics);
                if self.transaction.is_none() {
                    self.tables()?.be_patient();
                    self.commit()
                        .map_err(|failure| failure.with_output(error.output().clone()).with_metrics(metrics))?;
                }
                return Err(Failure { error, kept: true });
            }
            Err(error) => return Err(error.with_metrics(metrics).into()),
        };
        /// Who takes many numbers for tables runs at least so long.
        const LONG: u64 = 1 << 20;
        if metrics.instructions > LONG && self.transaction.is_none() {
            self.trim_numbers()?;
        }
        if self.transaction.is_none()
            && self.tables()?.is_open()
            && let Err(error) = self.commit_in_time()
        {
            return Err(error.with_output(output).with_metrics(metrics).into());
        }
        Ok(Outcome { values, output, metrics })
    }

    /// Stores what a run wrote, unless it should have ended by now: a store that somebody waits for may have taken all of its time.
    #[inline]
    fn commit_in_time(&mut self) -> Result<()> {
        /// Less than this matters to nobody.
        const SHORT: Duration = Duration::from_millis(10);
        let host = self.host()?;
        let time = host.tables.commit_time();
        if time < SHORT && !host.tables.waits() {
            return self.commit();
        }
        if let Some(kind) = host.passes_limit_within(time) {
            return Err(limit_error(kind));
        }
        let error = match self.commit() {
            Err(error) if error.kind() == ErrorKind::Store => error,
            result => return result,
        };
        // It may have been left for that. A limit says that nothing was stored.
        let uncertain = std::error::Error::source(&error).is_some_and(|cause| cause.is::<Uncertain>());
        Err(match self.host()?.passed_limit() {
            Some(kind) if !uncertain => limit_error(kind).with_source(error),
            _ => error,
        })
    }

    /// Takes back what a run that failed, or could not be stored, has done; the error to report. `undo`: the guest would keep it.
    #[cold]
    pub(crate) fn take_back(&mut self, mut error: Error, undo: bool) -> Error {
        if undo
            && self.transaction.is_none()
            && !error.is_fatal()
            && let Err(failure) = self.undo()
        {
            error = failure;
        }
        self.abandon(&error);
        error
    }

    /// Lua takes back what it did in the last run, or in a transaction, while the host still has what was written. When it can't, it starts anew.
    pub(super) fn undo(&mut self) -> Result<()> {
        let Running::Guest(guest) = &mut self.running else {
            return Ok(());
        };
        guest.host().begin_undo();
        let mut guest = guest.context();
        if !guest.has_undo() {
            return Ok(());
        }
        let undone = guest.next_table_id().unwrap_or(Ok(0)).and_then(|next| {
            guest.host().tables.set_own_end(next);
            guest.undo_run()
        });
        guest.host().tables.set_own_end(0);
        if undone.is_err() {
            self.restart();
        }
        undone
    }

    /// Takes back what was written to tables. After a crash, or when the guest breaks its contract, the instance goes too.
    #[cold]
    pub(super) fn abandon(&mut self, error: &Error) {
        self.fail_transaction(error);
        if error.is_fatal() {
            return self.restart();
        }
        let mut used = 0;
        if let Ok(host) = self.host() {
            host.end();
            host.tables.rollback();
            used = host.tables.highest_in_lua();
        }
        self.give_numbers_back(used);
    }

    /// What was done stays: Lua goes on with the tables that it holds by now.
    #[inline]
    pub(crate) fn note_numbers(&mut self) {
        if self.transaction.is_some() {
            return;
        }
        let Running::Guest(guest) = &mut self.running else { return };
        let mut context = guest.context();
        match context.next_table_id() {
            Some(Ok(next)) => context.host().tables.note_lua(next),
            Some(Err(_)) => self.restart(),
            None => {}
        }
    }

    /// Numbers of tables that a run took and nobody uses are given again: those behind `used` and behind what the host has views of.
    pub(super) fn give_numbers_back(&mut self, used: u32) {
        let used = used.max(self.pins.highest());
        if let Running::Guest(guest) = &mut self.running {
            let takes_back = guest.context().has_table_counter();
            let tables = &mut guest.host().tables;
            let next = if takes_back { tables.give_back(used) } else { tables.next_id() };
            let mut context = guest.context();
            let told = match takes_back {
                true => context.set_table_counter(next.cast_signed()),
                false => context.sync_external_table_counter(next.cast_signed()),
            };
            if told.is_err() {
                self.restart();
            }
        }
    }

    /// After a run that took many numbers, before it is stored: those of tables that neither Lua holds nor anything that was written refers to are free again.
    #[cold]
    fn trim_numbers(&mut self) -> Result<()> {
        /// Fewer are not worth a collection.
        const MANY: u32 = 1 << 16;
        let mut guest = self.guest()?;
        if !guest.has_table_counter() {
            return Ok(());
        }
        let Some(next) = guest.next_table_id().transpose()? else { return Ok(()) };
        if guest.host().tables.taken(next) < MANY {
            return Ok(());
        }
        let Some(held) = held_tables(&mut guest)? else {
            return Ok(());
        };
        let written = guest.host().tables.highest_written();
        let used = held.into_iter().fold(written, u32::max);
        if used < next {
            self.give_numbers_back(used);
        }
        Ok(())
    }

    #[cold]
    fn shrink_buffer(&mut self) {
        if let Ok(mut guest) = self.guest()
            && guest.data().revision >= 2
            && (guest.reserve_buffer(0).is_err() || guest.refresh_buffer().is_err())
        {
            self.restart();
        }
    }

    /// Tells the guest which functions nobody needs any more.
    #[inline]
    pub(crate) fn release_handles(&mut self, shared: &Shared) -> Result<()> {
        let released = shared.released.take();
        if released.is_empty() {
            return Ok(());
        }
        if let Running::Guest(guest) = &mut self.running {
            let mut context = guest.context();
            let number = context.told().number;
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

/// A run had to end before it could be repeated.
#[cold]
pub(crate) fn stopped_between_tries(kind: ErrorKind, conflict: Error) -> Error {
    let (output, metrics) = (conflict.output().clone(), *conflict.metrics());
    limit_error(kind).with_output(output).with_metrics(metrics).with_source(conflict)
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
