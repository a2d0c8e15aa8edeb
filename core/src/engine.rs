//! The compiled guest and the pool of instances.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::host::Host;
use crate::image::Base;
use crate::instance::Guest;
pub(crate) use crate::machine::GuestId;
use crate::machine::{Machines, NotStarted};
use crate::tables::Tables;
use crate::{Error, Result, Sandbox, SandboxConfig, Snapshot, thread_stack};

/// Settings of an [`Engine`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    pub(crate) pool_size: u32,
    pub(crate) max_memory: u64,
    pub(crate) max_stack: usize,
    pub(crate) call_deadline: Option<Duration>,
    pub(crate) hardened: bool,
}

impl EngineConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sandboxes at a time come from a pool of prepared memory, which makes them cheap to create. Default 1000. Each takes about
    /// 4 GiB of address space, not of memory. Further sandboxes work as well and take a little longer to make; 0 turns the pool
    /// off. When the system refuses that much address space, there is no pool.
    #[must_use]
    pub fn pool_size(mut self, sandboxes: u32) -> Self {
        self.pool_size = sandboxes;
        self
    }

    /// The most memory that a sandbox's wasm module may take, in bytes, everything included: a ceiling that also holds for a guest that
    /// does not bound itself. Default 1 GiB; from 2 MiB, with which a guest starts, to 4 GiB.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes;
        self
    }

    /// The most native stack that a sandbox uses, in bytes. Default 512 KiB, from 64 KiB to 1.5 MiB. The threads that run sandboxes must have this much
    /// left and 64 KiB more, for luacell itself: on Linux and Android a run on a thread with less is refused with `InvalidArgument`.
    #[must_use]
    pub fn max_stack(mut self, bytes: usize) -> Self {
        self.max_stack = bytes;
        self
    }

    /// A second line of defence, for hosts that distrust the guest itself: its code is compiled with checks that a clock outside of
    /// it drives, so that a guest whose Lua was taken over, and which ignores its limits, is stopped soon after its timeout or an
    /// interrupt, or after the [`call_deadline`](Self::call_deadline). The sandbox then continues with a new guest and its kept tables. Costs about a
    /// quarter of the speed. Needs the feature `hardened`. Default: off.
    #[must_use]
    pub fn hardened(mut self, on: bool) -> Self {
        self.hardened = on;
        self
    }

    /// For [`Engine::from_wasm`] and [hardened](Self::hardened) engines: how long one call into the guest may take before it is stopped with
    /// the kind `Timeout`, whatever the sandbox's own timeout is. Default 60 seconds; `None` for no bound.
    #[must_use]
    pub fn call_deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.call_deadline = deadline.into();
        self
    }
}

impl EngineConfig {
    /// Refuses what no engine can have.
    fn check(&self) -> Result<()> {
        let range = |name: &str, bytes: u64, (least, most): (u64, u64)| {
            if (least..=most).contains(&bytes) {
                return Ok(());
            }
            Err(Error::invalid(format!("{name} is {bytes} bytes; it can be from {least} to {most}")))
        };
        range("max_memory", self.max_memory, (2 << 20, 4 << 30))?;
        range("max_stack", self.max_stack as u64, (64 << 10, 1536 << 10))
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            pool_size: 1000,
            max_memory: 1 << 30,
            max_stack: 512 << 10,
            call_deadline: Some(Duration::from_secs(60)),
            hardened: false,
        }
    }
}

/// The compiled guest, shared by any number of sandboxes and threads. Cloning is cheap and gives the same engine.
///
/// [`Engine::default`] is one that the whole process shares. Loading the guest takes a fraction of a millisecond and happens with the first sandbox.
///
/// Threads that create and drop many thousand sandboxes a second wait for each other a little when they share an engine: give each its own, for 1 MB more.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    machines: Machines,
    /// The memory of a new instance, once a snapshot needs it.
    base: OnceLock<Arc<Base>>,
    /// How large that is.
    fresh: OnceLock<u64>,
}

impl Engine {
    /// An engine with these settings.
    ///
    /// # Errors
    /// `Internal` when the guest can't be loaded, for example because the processor lacks instructions that every x86-64 processor since 2009 has;
    /// `InvalidArgument` for settings out of their range.
    pub fn new(config: EngineConfig) -> Result<Engine> {
        config.check()?;
        let engine = Engine::with(Machines::new(config));
        engine.0.machines.load()?;
        Ok(engine)
    }

    fn with(machines: Machines) -> Engine {
        Engine(Arc::new(Inner { machines, base: OnceLock::new(), fresh: OnceLock::new() }))
    }

    /// An engine around somebody else's `lua.wasm`, compiled here and now. The module is treated as hostile: it can reach
    /// nothing but the sandbox's tables, and whatever it does wrong gives errors. A module of revision 1 runs plain [`compute`](Sandbox::compute) only.
    ///
    /// # Errors
    /// `InvalidArgument` when the feature `jit` is off, the bytes are no such module, or a setting is out of its range.
    pub fn from_wasm(wasm: impl AsRef<[u8]>, config: EngineConfig) -> Result<Engine> {
        config.check()?;
        Ok(Engine::with(Machines::from_wasm(wasm.as_ref(), config)?))
    }

    /// As [`from_wasm`](Self::from_wasm), from a file.
    ///
    /// # Errors
    /// As `from_wasm`; `InvalidArgument` also when the file can't be read.
    pub fn from_wasm_file(path: impl AsRef<Path>, config: EngineConfig) -> Result<Engine> {
        let path = path.as_ref();
        let wasm = std::fs::read(path)
            .map_err(|e| Error::invalid(format!("can't read {}: {e}", path.display())).with_source(e))?;
        Engine::from_wasm(wasm, config)
    }

    /// A new sandbox.
    ///
    /// # Errors
    /// `Memory` when there is no memory for one more, `Store` when the store fails.
    pub fn sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        Sandbox::create(self.clone(), config, None)
    }

    /// A new sandbox that goes on where the snapshot was taken, as [`Sandbox::restore`] does it. Host functions that it uses are linked by their names
    /// when they are registered.
    ///
    /// # Errors
    /// As [`sandbox`](Self::sandbox) and [`Sandbox::restore`].
    pub fn sandbox_from(&self, snapshot: &Snapshot, config: SandboxConfig) -> Result<Sandbox> {
        Sandbox::create(self.clone(), config, Some(snapshot))
    }

    /// Tells guests apart.
    pub(crate) fn guest_id(&self) -> &GuestId {
        self.0.machines.guest_id()
    }

    /// Whether it runs somebody else's guest, which may begin differently each time.
    pub(crate) fn is_foreign(&self) -> bool {
        self.0.machines.is_foreign()
    }

    /// The memory of a new instance.
    pub(crate) fn base(&self) -> Result<Arc<Base>> {
        if let Some(base) = self.0.base.get() {
            return Ok(Arc::clone(base));
        }
        let mut guest = self.blank(false)?;
        let base = Arc::new(Base::new(guest.context().memory()?));
        Ok(Arc::clone(self.0.base.get_or_init(|| base)))
    }

    /// An instance that belongs to no sandbox yet.
    pub(crate) fn blank(&self, waits: bool) -> Result<Guest> {
        let host = Host::new(Tables::in_memory(), 1, Arc::default());
        self.instantiate(host, self.max_memory(), waits).map_err(|not_started| not_started.error)
    }

    /// Whether sandboxes come from a pool; see [`EngineConfig::pool_size`].
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.0.machines.is_pooled()
    }

    pub(crate) fn max_memory(&self) -> u64 {
        self.0.machines.config().max_memory
    }

    /// Whether this thread has stack enough for a run.
    #[inline]
    pub(crate) fn check_stack(&self) -> Result<()> {
        thread_stack::check(self.0.machines.config().max_stack)
    }

    /// A new instance of the guest.
    pub(crate) fn instantiate(&self, mut host: Host, max_memory: u64, waits: bool) -> Result<Guest, Box<NotStarted>> {
        host.waits = waits;
        let max_memory = usize::try_from(max_memory.min(self.max_memory())).unwrap_or(usize::MAX);
        let mut guest = Guest::start(self.0.machines.instantiate(host, max_memory, waits)?)?;
        self.0.fresh.get_or_init(|| guest.context().memory_size());
        Ok(guest)
    }

    /// By how much the memory of an instance has grown.
    #[inline]
    pub(crate) fn grown(&self, guest: &mut Guest) -> u64 {
        guest.context().memory_size().saturating_sub(self.0.fresh.get().copied().unwrap_or_default())
    }
}

impl Default for Engine {
    /// The engine that the whole process shares.
    fn default() -> Self {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        SHARED.get_or_init(|| Engine::with(Machines::new(EngineConfig::default()))).clone()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", self.0.machines.config()).field("foreign", &self.is_foreign()).finish()
    }
}
