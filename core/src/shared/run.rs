//! A run, from the limits that hold in it to what is taken back when it fails.

use super::*;

impl Inner {
    /// Runs the guest: `enter` passes in what is to be run. When somebody else changed what the run had read, it is repeated.
    #[inline]
    pub(crate) fn run(
        &mut self,
        shared: &Arc<Shared>,
        set: Option<&SetLimits>,
        enter: impl Fn(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        let mut tries = 0;
        loop {
            let result = match self.begin_run(shared, set, &enter) {
                Ok(entry) => {
                    let executed = self.guest().and_then(|mut guest| guest.execute(entry));
                    self.end_run(executed)
                }
                Err(error) => Err(error),
            };
            self.clean_up(&result);
            if !self.repeats(&result, &mut tries) {
                return result;
            }
            std::thread::sleep(pause_before_retry(tries));
        }
    }

    /// Collects Lua's garbage, as a run: it may run finalizers.
    pub(crate) fn collect(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let tells = !self.engine.is_foreign();
        let begun = self.begin_run(shared, None, |_, _, _| Ok(Entry::Compute { len: 0 }));
        let result = begun.and_then(|_| {
            let collected = self.guest().and_then(|mut guest| {
                guest.run_gc()?;
                let failed = tells && guest.get_error_details()? != 0;
                Ok(-i32::from(failed))
            });
            self.end_run(collected)
        });
        self.clean_up(&result);
        result.map(|_| ())
    }

    /// Whether the run is to be repeated.
    #[inline]
    pub(crate) fn repeats(&mut self, result: &Result<Outcome>, tries: &mut u32) -> bool {
        match result {
            Err(error) if error.kind() == ErrorKind::Conflict && *tries < self.conflict_retries => {
                *tries += 1;
                self.host().is_ok_and(|host| !host.called_unrepeatable)
            }
            _ => false,
        }
    }

    /// The first part of a run: everything up to the guest's own work.
    #[inline]
    pub(crate) fn begin_run(
        &mut self,
        shared: &Arc<Shared>,
        set: Option<&SetLimits>,
        enter: impl FnOnce(&mut Context<'_>, &SandboxLinks, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Entry> {
        let started = Instant::now();
        self.check_transaction()?;
        self.release_handles(shared)?;
        let links = self.links(shared);
        let limits = set.map_or(self.limits, |set| self.limits.with(set));
        let mut args = std::mem::take(&mut self.args);
        args.clear();
        let mut applied = self.applied;
        self.ran = true;
        let mut guest = self.guest()?;
        guest.host().begin(started, &limits);
        let result = apply(&mut guest, &mut applied, &limits).and_then(|()| enter(&mut guest, &links, &mut args));
        guest.host().links = Some(links);
        self.applied = applied;
        if args.capacity() <= KEPT_BUFFER as usize {
            self.args = args;
        }
        result
    }

    /// The last part of a run: from what the guest answered.
    #[inline]
    pub(crate) fn end_run(&mut self, executed: Result<i32>) -> Result<Outcome> {
        let mut guest = self.guest()?;
        let metrics = guest.finish_metrics();
        let links = guest.host().links.take().ok_or_else(|| Error::internal("a run ends that never began"))?;
        let result = match executed {
            Ok(n) if n >= 0 => guest.read_success(n, &links),
            Ok(n) => Err(guest.read_failure(n, &links)),
            Err(error) => Err(error),
        };
        let host = guest.host();
        host.end(metrics.instructions);
        let failed = |error: Error, output| error.with_output(output).with_metrics(metrics);
        let keeps = host.limits.commit_on_error && host.doomed.is_none();
        let (output, values) = match result {
            Ok(read) => read,
            Err(error) if keeps && !error.is_fatal() => return Err(self.keep_failed(error.with_metrics(metrics))),
            Err(error) => return Err(error.with_metrics(metrics)),
        };
        if let Some(error) = host.doomed.take() {
            return Err(failed(error, output));
        }
        if self.transaction.is_none()
            && self.tables()?.is_open()
            && let Err(error) = self.commit()
        {
            self.commit_failed()?;
            return Err(failed(error, output));
        }
        Ok(Outcome { values, output, metrics })
    }

    /// Stores what a failed run wrote; the run's error, or why that was not possible.
    #[cold]
    fn keep_failed(&mut self, error: Error) -> Error {
        self.kept = true;
        if self.transaction.is_some() {
            return error;
        }
        match self.commit() {
            Ok(()) => error,
            Err(failure) => {
                self.kept = false;
                self.commit_failed().err().unwrap_or(failure)
            }
        }
    }

    /// After a run: what failed is taken back, what was unusually large is given back.
    #[inline]
    pub(crate) fn clean_up(&mut self, result: &Result<Outcome>) {
        if let Err(error) = result {
            self.abandon(error);
        }
        if let Running::Guest(guest) = &self.running
            && guest.buffer_size() > KEPT_BUFFER
        {
            self.shrink_buffer();
        }
    }

    /// Takes back what a failed run wrote. After a crash, or when the guest breaks its contract, the instance goes too.
    #[cold]
    pub(super) fn abandon(&mut self, error: &Error) {
        if std::mem::take(&mut self.kept) {
            if let Ok(host) = self.host() {
                host.end(0);
            }
            return;
        }
        self.fail_transaction(error);
        if error.is_fatal() {
            self.restart();
        } else if let Ok(host) = self.host() {
            host.end(0);
            host.tables.rollback();
        }
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
        let number = self.number;
        if let Running::Guest(guest) = &mut self.running {
            let mut context = guest.context();
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

/// Those who are in conflict come back at different times.
#[cold]
pub(crate) fn pause_before_retry(tries: u32) -> std::time::Duration {
    let mut random = [0; 4];
    // Without randomness all wait as long as they may.
    let random = getrandom::fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    let most = 200u64 << tries.min(9);
    std::time::Duration::from_micros(most * u64::from(random) / u64::from(u32::MAX))
}
