//! Taking and restoring snapshots.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Parts, RestoreOptions, Snapshot, check_guest};
use crate::guest::Guest;
use crate::guest::held_tables::held_tables;
use crate::guest::held_values;
use crate::guest::limits::most_memory;
use crate::guest::memory_delta::MemoryDelta;
use crate::guest::registration::register_all;
use crate::guest::settings::GuestLimits;
use crate::run::waiting_run::WaitingRun;
use crate::run::{Instance, SandboxCell, SandboxState};
use crate::tables::{TableSnapshot, Tables};
use crate::value::{Error, ErrorKind, Result};

/// Which tables Lua has afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TablesOf {
    /// Those of the snapshot, in place of the sandbox's.
    Snapshot,
    /// The sandbox's, which Lua knows nothing of.
    Sandbox,
    /// The sandbox's, and Lua knows them: it comes from the same store.
    Store,
}

impl SandboxState {
    pub(crate) fn snapshot(&mut self, cell: &SandboxCell) -> Result<Snapshot> {
        self.outside_transaction("a snapshot")?;
        self.release_handles(cell)?;
        let wants_held = self.tables()?.wants_held();
        let waits = self.waiting.is_some();
        let result = self.guest().and_then(|mut guest| {
            if guest.host().values.len() > 0 && !wants_held {
                // What is garbage already need not be kept.
                guest.run_gc()?;
            }
            let held = if wants_held { held_tables(&mut guest)?.unwrap_or_default() } else { Vec::new() };
            // An answer may be on its way to a run that waits.
            if guest.host().values.len() > 0 && !waits {
                held_values::compare(&mut guest)?;
            }
            Ok((held, guest.next_table_id().transpose()?.unwrap_or(0)))
        });
        let (held, next) = self.roll_back_on_error(result)?;
        let tables = self.tables()?.snapshot(held, next)?;
        let waiting = self.waiting_run()?;
        let snapshot = self.snapshot_with(tables, waiting);
        self.roll_back_on_error(snapshot)
    }

    /// A snapshot of Lua with these tables and this run.
    pub(crate) fn snapshot_with(&mut self, tables: TableSnapshot, waiting: Option<WaitingRun>) -> Result<Snapshot> {
        let (base, guest) = (self.factory.base()?, *self.factory.guest_id());
        let mut context = self.guest()?;
        // All that are made of it go on with the same random numbers.
        if context.has_settle_random() {
            context.settle_random()?;
        }
        let used = if context.has_memory_bounds() {
            context.get_memory_start()?.cast_unsigned()..context.get_memory_end()?.cast_unsigned()
        } else {
            0..u32::MAX
        };
        let memory = MemoryDelta::of(&base, context.memory()?, used);
        let host = context.host();
        let (functions, virtual_clock, values) = (host.functions.names(), host.virtual_clock, host.values.list());
        Ok(Snapshot::new(Parts { guest, memory, functions, virtual_clock, tables, waiting, values }))
    }

    /// Goes on where the snapshot was taken. The present guest stays until its successor is ready. `keep_limits`: a
    /// snapshot that is larger than this sandbox may be is refused.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot, options: &RestoreOptions, keep_limits: bool) -> Result<()> {
        let parts = snapshot.parts();
        self.outside_transaction("restoring a snapshot")?;
        check_guest(&self.factory, &parts.guest)?;
        let with_tables = options.tables.unwrap_or(!self.tables()?.has_store());
        if parts.waiting.is_some() && !with_tables {
            return Err(Error::invalid("the snapshot has a run that waits, which can't go on without its tables"));
        }
        if with_tables && self.tables()?.is_shared() {
            return Err(Error::invalid(
                "a store that others use too can't be reset to a snapshot; restore it in a sandbox with its own store",
            ));
        }
        let tables = if with_tables { TablesOf::Snapshot } else { TablesOf::Sandbox };
        self.host()?.signal.begin();
        self.restore_as(snapshot, tables, keep_limits)
    }

    /// A run goes on here that is stored where this sandbox has its tables.
    pub(crate) fn restore_stored_run(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.restore_as(snapshot, TablesOf::Store, true)
    }

    fn restore_as(&mut self, snapshot: &Snapshot, tables: TablesOf, keep_limits: bool) -> Result<()> {
        let parts = snapshot.parts();
        if keep_limits {
            self.check_size(parts, tables)?;
        }
        let mut guest = self.factory.blank()?;
        let functions = self.host()?.functions.renumbered(&parts.functions)?;
        let known: HashSet<i32> = parts.functions.list.iter().map(|(number, _)| *number).collect();
        let added: Vec<_> = functions.iter().filter(|(number, _)| !known.contains(number)).collect();
        self.prepare_restored(&mut guest, snapshot)?;
        let in_use = guest.get_mut().memory_stats()?.lua_bytes;
        if keep_limits && in_use > self.settings.limits.memory {
            return Err(self.too_large(in_use));
        }
        register_all(&mut guest.get_mut(), added)?;
        match tables {
            TablesOf::Snapshot => {
                self.tables()?.restore(&parts.tables)?;
                let next = self.tables()?.next_id();
                if let Err(error) = guest.get_mut().sync_external_table_counter(next.cast_signed()) {
                    // What the present Lua knows of tables is not so any more.
                    self.restart();
                    return Err(error);
                }
            }
            TablesOf::Store => {
                let next = self.tables()?.next_id_beyond(parts.tables.next_id());
                guest.get_mut().sync_external_table_counter(next.cast_signed())?;
                self.tables()?.restore_io(&parts.tables);
            }
            TablesOf::Sandbox => self.leave_tables(&mut guest)?,
        }
        // From here on nothing fails.
        let mut host = match std::mem::replace(&mut self.instance, Instance::Closed) {
            Instance::Live(old) => old.into_host(),
            Instance::Stopped(host) => *host,
            Instance::Closed => return Err(Error::closed()),
        };
        host.functions = functions;
        if host.virtual_clock.is_some() && parts.virtual_clock.is_some() {
            host.virtual_clock = parts.virtual_clock;
        }
        guest.take_over(host);
        guest.host().values.replace(parts.values.clone());
        self.instance = Instance::Live(Box::new(guest));
        self.note_ids();
        if tables != TablesOf::Sandbox {
            self.held.tables.end_era();
        }
        match &parts.waiting {
            Some(run) => self.restore_waiting_run(run, &parts.functions.list),
            None => Ok(()),
        }
    }

    /// Lua goes on with this sandbox's tables, whose numbers meant others when the snapshot was taken.
    fn leave_tables(&mut self, guest: &mut Guest) -> Result<()> {
        let tables = self.tables()?;
        tables.rollback();
        let next = tables.next_id();
        let mut context = guest.get_mut();
        let left = if context.has_leave_tables() { context.leave_tables(next.cast_signed())? } else { -1 };
        match left {
            0 => Ok(()),
            1.. => Err(Error::invalid(format!(
                "Lua holds {left} kept tables in the snapshot, in variables, upvalues or coroutines, and they are not those of this sandbox's store; \
                 take the snapshot without them, or restore it with its tables"
            ))),
            _ => Err(Error::invalid("this guest can't be restored without its tables")),
        }
    }

    fn too_large(&self, bytes: u64) -> Error {
        let text = format!(
            "the snapshot's {bytes} bytes are more than this sandbox's memory_limit of {} bytes has room for",
            self.settings.limits.memory
        );
        Error::new(ErrorKind::Memory, text)
    }

    /// Whether this sandbox could have become so large, as far as that shows before anything is unpacked.
    fn check_size(&self, parts: &Parts, tables: TablesOf) -> Result<()> {
        let size = parts.memory.size() as u64;
        if size > most_memory(self.settings.limits.memory) {
            return Err(self.too_large(size));
        }
        let held = parts.tables.store().held();
        let usage = parts.waiting.as_ref().map_or(held, |run| parts.tables.usage_with(&run.writes));
        let limit = self.settings.limits.store;
        if tables == TablesOf::Snapshot && (usage.bytes > limit.bytes || usage.entries > limit.entries) {
            let (bytes, entries) = (usage.bytes, usage.entries);
            let text = format!(
                "the snapshot's tables hold {bytes} bytes in {entries} entries, more than the sandbox's store_limit allows"
            );
            return Err(Error::new(ErrorKind::StoreLimit, text));
        }
        Ok(())
    }

    /// Puts the memory in place and tells the guest how this sandbox is set up, whatever it was told before.
    fn prepare_restored(&mut self, guest: &mut Guest, snapshot: &Snapshot) -> Result<()> {
        let host = self.host()?;
        let streams = host.print.is_some();
        let whole = self.factory.is_foreign();
        let mut context = guest.get_mut();
        context.put_delta(&snapshot.parts().memory, whole)?;
        if context.has_forget_handles() {
            context.forget_handles()?;
        }
        if context.has_print_streaming() {
            context.set_print_streaming(i32::from(streams))?;
        }
        if context.has_deterministic() {
            context.set_deterministic(i32::from(self.settings.deterministic))?;
        }
        if context.has_waiting() {
            context.set_waiting(0)?;
        }
        let settings = context.settings();
        settings.limits = GuestLimits::of(&self.settings.limits).none_of_these();
        context.set_limits(&self.settings.limits)
    }

    /// A sandbox that is as this one is now, with its tables in memory.
    pub(crate) fn fork(&mut self, cell: &SandboxCell) -> Result<SandboxState> {
        let snapshot = self.snapshot(cell)?;
        let host = self.host()?.forked(Tables::in_memory());
        let mut fork = SandboxState::new(Arc::clone(&self.factory), self.settings, host);
        fork.restore(&snapshot, &RestoreOptions::new(), false)?;
        Ok(fork)
    }
}
