//! A sandbox: what stays from run to run.

use std::sync::Arc;
use std::time::Duration;

use super::durable::DurableRun;
use super::host_transaction::Transaction;
use super::sandbox_cell::SandboxCell;
use crate::guest::factory::GuestFactory;
use crate::guest::limits::Limits;
use crate::guest::registration::register_all;
use crate::guest::resolver::SandboxResolver;
use crate::guest::{Guest, GuestMut, Host};
use crate::store::Turn;
use crate::store::reserved::{HOME, IO};
use crate::tables::Tables;
use crate::value::{Error, ErrorKind, HeldByHost, Owner, Result};

/// So much may the tables of a message take as values, however low the memory limit is.
const LEAST_ROOM: u64 = 1 << 20;

/// The part of a sandbox that one caller at a time works with.
pub(crate) struct SandboxState {
    pub(crate) factory: Arc<GuestFactory>,
    pub(crate) instance: Instance,
    pub(crate) settings: SandboxSettings,
    /// Encoded arguments, kept for its room.
    pub(super) args: Vec<u8>,
    pub(crate) held: Arc<HeldByHost>,
    /// What the host does as one transaction.
    pub(super) transaction: Option<Transaction>,
    /// A run that waits for answers, while no thread is at work for it.
    pub(crate) waiting: Option<Waiting>,
    /// What is known of the run that is under way, if it has a name in the store.
    pub(crate) durable: Option<Box<DurableRun>>,
    /// The turn on the store that the run has.
    pub(super) turn: Option<Turn>,
}

/// Whose a run is that waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It is a future. Whether threads of the library drive it, so that it ends whatever others do.
    #[cfg(feature = "async")]
    Driven { by_library: bool },
    /// Somebody has started it, on this thread, who may use the sandbox for it. How much of its time is left.
    Started { thread: usize, left: Option<Duration> },
    /// It came with a snapshot, and nobody has taken it over.
    Restored { left: Option<Duration> },
}

/// How a sandbox is set up.
#[derive(Clone, Copy)]
pub(crate) struct SandboxSettings {
    pub(crate) limits: Limits,
    pub(crate) no_memory_alias: bool,
    pub(crate) deterministic: bool,
    /// How often a run is repeated after a conflict.
    pub(crate) conflict_retries: u32,
    /// How long a durable run is claimed for each time.
    pub(crate) claim_term: Duration,
    /// Whether runs take turns with others on the same store.
    pub(crate) queue_runs: bool,
}

/// The guest of a sandbox.
pub(crate) enum Instance {
    Live(Box<Guest>),
    /// No instance could be made; the next call tries again.
    Stopped(Box<Host>),
    Closed,
}

impl Instance {
    /// The host, wherever it is; `None` when somebody else has it.
    pub(crate) fn host(&mut self) -> Option<&mut Host> {
        match self {
            Instance::Live(guest) => Some(guest.host()),
            Instance::Stopped(host) => Some(host),
            _ => None,
        }
    }
}

impl SandboxState {
    /// A sandbox that has no instance yet.
    pub(crate) fn new(factory: Arc<GuestFactory>, settings: SandboxSettings, host: Host) -> Self {
        let held = Arc::new(HeldByHost::new(settings.deterministic, Arc::clone(&host.values)));
        SandboxState {
            factory,
            instance: Instance::Stopped(Box::new(host)),
            settings,
            args: Vec::new(),
            held,
            transaction: None,
            waiting: None,
            durable: None,
            turn: None,
        }
    }

    pub(crate) fn resolver(&self, cell: &Arc<SandboxCell>) -> SandboxResolver {
        // Without an instance there are no functions of one.
        let number = match &self.instance {
            Instance::Live(guest) => guest.settings().number,
            _ => 0,
        };
        self.links_with(cell, &self.settings.limits, number)
    }

    /// For a run with these limits in the instance of this number.
    pub(crate) fn links_with(&self, cell: &Arc<SandboxCell>, limits: &Limits, number: u64) -> SandboxResolver {
        let most = limits.memory.min(self.factory.max_memory()).max(LEAST_ROOM);
        let room = usize::try_from(most).unwrap_or(usize::MAX);
        SandboxResolver::new(Arc::clone(cell) as Arc<dyn Owner>, number, room)
    }

    pub(crate) fn host(&mut self) -> Result<&mut Host> {
        self.instance.host().ok_or_else(Error::closed)
    }

    pub(crate) fn tables(&mut self) -> Result<&mut Tables> {
        Ok(&mut self.host()?.tables)
    }

    /// What was only read needs no end of its own, and what somebody began to write and did not finish is dropped.
    #[inline]
    pub(super) fn end_access(&mut self) {
        if self.waiting.is_some() {
            return;
        }
        let open = self.transaction.is_some();
        if let Ok(tables) = self.tables() {
            tables.set_deadline(None, None, u64::MAX);
            if !open {
                if tables.is_dirty() {
                    tables.rollback();
                }
                tables.end();
            }
        }
    }

    /// How much more memory the sandbox takes than a new one.
    #[inline]
    pub(super) fn grown(&mut self) -> u64 {
        let guest = match &mut self.instance {
            Instance::Live(guest) => self.factory.grown(guest),
            _ => 0,
        };
        let tables = self.instance.host().map_or(0, |host| host.tables.weight());
        guest.saturating_add(tables)
    }

    /// The guest; made anew when there is none.
    #[inline]
    pub(crate) fn guest(&mut self) -> Result<GuestMut<'_>> {
        if !matches!(self.instance, Instance::Live(_)) {
            self.start()?;
        }
        match &mut self.instance {
            Instance::Live(guest) => Ok(guest.get_mut()),
            _ => Err(Error::closed()),
        }
    }

    /// Makes an instance for the tables that there are.
    #[cold]
    pub(crate) fn start(&mut self) -> Result<()> {
        let pinned = self.held.tables.highest();
        let host = match std::mem::replace(&mut self.instance, Instance::Closed) {
            Instance::Stopped(mut host) => {
                if pinned == 0 {
                    // What can't be done now is tried again with the next instance.
                    let _ = host.tables.compact();
                }
                *host
            }
            other => {
                self.instance = other;
                return Ok(());
            }
        };
        // Without the guest's own bound the whole memory has to be bounded.
        match self.factory.instantiate(host) {
            Ok(mut guest) => match self.prepare(&mut guest) {
                Ok(()) => {
                    self.instance = Instance::Live(Box::new(guest));
                    Ok(())
                }
                Err(error) => {
                    self.instance = Instance::Stopped(Box::new(guest.into_host()));
                    Err(error)
                }
            },
            Err(not_started) => {
                self.instance = Instance::Stopped(Box::new(not_started.host));
                Err(not_started.error)
            }
        }
    }

    /// Tells a new instance how this sandbox is set up.
    fn prepare(&mut self, guest: &mut Guest) -> Result<()> {
        let foreign = guest.is_foreign();
        let mut context = guest.get_mut();
        context.set_limits(&self.settings.limits)?;
        if self.settings.no_memory_alias {
            context.set_memory_alias_enabled(0)?;
        }
        if context.host().print.is_some() && context.has_print_streaming() {
            context.set_print_streaming(1)?;
        }
        if self.settings.deterministic && context.has_deterministic() {
            context.set_deterministic(1)?;
        }
        if foreign {
            context.attach_memory_table(HOME.cast_signed())?;
        }
        let next = context.host().tables.next_id();
        if next > IO + 1 {
            context.sync_external_table_counter(next.cast_signed())?;
        }
        let functions: Vec<_> = context.host().functions.iter().collect();
        register_all(&mut context, functions)
    }

    /// Gives up the instance, with everything that was not stored.
    #[cold]
    pub(crate) fn restart(&mut self) {
        self.waiting = None;
        self.instance = match std::mem::replace(&mut self.instance, Instance::Closed) {
            Instance::Live(guest) => Instance::Stopped(Box::new(guest.into_host())),
            other => other,
        };
        let pinned = self.held.tables.highest();
        if let Instance::Stopped(host) = &mut self.instance {
            host.tables.rollback();
            host.tables.note_lua(0);
            host.tables.give_back(pinned);
            host.end_script();
        }
        if let Some(transaction) = &mut self.transaction {
            // What earlier runs of it had written is gone.
            transaction
                .failed
                .get_or_insert_with(|| Error::new(ErrorKind::Trap, "Lua was restarted during the transaction"));
        }
    }
}
