//! Where guests come from.

use std::sync::{Arc, OnceLock};

use super::instance::{GuestLayout, GuestState};
use super::memory_delta::BaseMemory;
use super::{Guest, Host};
use crate::machine::{EngineConfig, GuestId, Machines, thread_stack};
use crate::tables::Tables;
use crate::value::{Error, Result};

/// The compiled guest, and a pool of instances.
pub(crate) struct GuestFactory {
    machines: Machines<GuestState>,
    /// What every instance of our own guest says of itself, once one was asked.
    layout: OnceLock<GuestLayout>,
    /// The memory of a new instance, once a snapshot needs it.
    base: OnceLock<Arc<BaseMemory>>,
    /// How large that is.
    fresh: OnceLock<u64>,
}

/// Why there is no instance, and the host that it was meant for.
pub(crate) struct NotStarted {
    pub(crate) error: Error,
    pub(crate) host: Host,
}

impl GuestFactory {
    /// Of our own guest, which is loaded when it is needed.
    pub(crate) fn new(config: EngineConfig) -> Self {
        GuestFactory::with(Machines::new(config))
    }

    /// Of somebody else's guest.
    pub(crate) fn from_wasm(wasm: &[u8], config: EngineConfig) -> Result<Self> {
        Ok(GuestFactory::with(Machines::from_wasm(wasm, config)?))
    }

    fn with(machines: Machines<GuestState>) -> Self {
        GuestFactory { machines, layout: OnceLock::new(), base: OnceLock::new(), fresh: OnceLock::new() }
    }

    /// Loads the guest now.
    pub(crate) fn load(&self) -> Result<()> {
        self.machines.load()
    }

    pub(crate) fn config(&self) -> &EngineConfig {
        self.machines.config()
    }

    /// Tells guests apart.
    pub(crate) fn guest_id(&self) -> &GuestId {
        self.machines.guest_id()
    }

    /// Whether it makes somebody else's guests, which may begin differently each time.
    pub(crate) fn is_foreign(&self) -> bool {
        self.machines.is_foreign()
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.machines.is_pooled()
    }

    pub(crate) fn max_memory(&self) -> u64 {
        self.config().max_memory
    }

    /// Whether this thread has stack enough for a run.
    #[inline]
    pub(crate) fn check_stack(&self) -> Result<()> {
        thread_stack::check(self.config().max_stack)
    }

    /// The memory of a new instance.
    pub(crate) fn base(&self) -> Result<Arc<BaseMemory>> {
        if let Some(base) = self.base.get() {
            return Ok(Arc::clone(base));
        }
        let mut guest = self.blank()?;
        let base = Arc::new(BaseMemory::new(guest.get_mut().memory()?));
        Ok(Arc::clone(self.base.get_or_init(|| base)))
    }

    /// An instance that belongs to no sandbox yet.
    pub(crate) fn blank(&self) -> Result<Guest> {
        self.instantiate(Host::new(Tables::in_memory())).map_err(|not_started| not_started.error)
    }

    /// A new instance of the guest.
    pub(crate) fn instantiate(&self, host: Host) -> Result<Guest, Box<NotStarted>> {
        let max_memory = usize::try_from(self.max_memory()).unwrap_or(usize::MAX);
        let state = GuestState::new(host, self.is_foreign());
        let machine = self.machines.instantiate(state, max_memory);
        let mut guest = machine
            .and_then(|machine| Guest::start(machine, &self.layout))
            .map_err(|not_started| Box::new(NotStarted { error: not_started.error, host: not_started.imports.host }))?;
        self.fresh.get_or_init(|| guest.get_mut().memory_size());
        Ok(guest)
    }

    /// By how much the memory of an instance has grown.
    #[inline]
    pub(crate) fn grown(&self, guest: &mut Guest) -> u64 {
        guest.get_mut().memory_size().saturating_sub(self.fresh.get().copied().unwrap_or_default())
    }
}
