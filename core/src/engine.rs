//! The compiled guest and the pool of instances.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

use crate::host::Host;
use crate::image::Base;
use crate::instance::{Blueprint, Guest, NotStarted};
use crate::tables::Tables;
use crate::wasm_config::shared_config;
use crate::{Error, Result, Sandbox, SandboxConfig, Snapshot, watchdog};

/// Our guest, compiled for this platform by the build script.
static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.cwasm"));

/// The SHA-256 of our guest as it was before it was compiled.
static GUEST_ID: &GuestId = include_bytes!(concat!(env!("OUT_DIR"), "/guest.sha256"));

/// The SHA-256 of a `lua.wasm`.
pub(crate) type GuestId = [u8; 32];

/// Settings of an [`Engine`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    pool_size: u32,
    max_memory: u64,
    max_stack: usize,
    call_deadline: Option<Duration>,
    hardened: bool,
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
    /// does not bound itself. Default 1 GiB, at most 4 GiB.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes.min(4 << 30);
        self
    }

    /// The most native stack that a sandbox uses, in bytes. Default 512 KiB, at most 1.5 MiB. The threads that run sandboxes must have this much left.
    #[must_use]
    pub fn max_stack(mut self, bytes: usize) -> Self {
        self.max_stack = bytes.clamp(64 << 10, 1536 << 10);
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

    fn apply(&self, config: &mut Config) {
        config.max_wasm_stack(self.max_stack).epoch_interruption(self.hardened);
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
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    /// Somebody else's guest, if that is what this runs.
    foreign: Option<Foreign>,
    /// `None` when there is no pool.
    pooled: OnceLock<Option<Arc<Blueprint>>>,
    #[cfg(feature = "async")]
    waiting_pool: OnceLock<Option<Arc<Blueprint>>>,
    on_demand: OnceLock<Result<Arc<Blueprint>>>,
    /// The memory of a new instance, once a snapshot needs it.
    base: OnceLock<Arc<Base>>,
}

struct Foreign {
    blueprint: Arc<Blueprint>,
    id: GuestId,
}

impl Engine {
    /// An engine with these settings.
    ///
    /// # Errors
    /// `Internal` when the guest can't be loaded, for example because the processor lacks instructions that every x86-64 processor since 2009 has.
    pub fn new(config: EngineConfig) -> Result<Engine> {
        let engine = Engine::lazy(config);
        if engine.pooled().is_none() {
            engine.on_demand()?;
        }
        Ok(engine)
    }

    fn lazy(config: EngineConfig) -> Engine {
        Engine::with(config, None)
    }

    fn with(config: EngineConfig, foreign: Option<Foreign>) -> Engine {
        Engine(Arc::new(Inner {
            config,
            foreign,
            pooled: OnceLock::new(),
            #[cfg(feature = "async")]
            waiting_pool: OnceLock::new(),
            on_demand: OnceLock::new(),
            base: OnceLock::new(),
        }))
    }

    /// An engine around somebody else's `lua.wasm`, compiled here and now. The module is treated as hostile: it can reach
    /// nothing but the sandbox's tables, and whatever it does wrong gives errors. A module of revision 1 runs plain [`compute`](Sandbox::compute) only.
    ///
    /// # Errors
    /// `InvalidArgument` when the feature `jit` is off, or the bytes are no such module.
    pub fn from_wasm(wasm: impl AsRef<[u8]>, config: EngineConfig) -> Result<Engine> {
        let foreign = compile(wasm.as_ref(), &config)?;
        Ok(Engine::with(config, Some(foreign)))
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
        self.0.foreign.as_ref().map_or(GUEST_ID, |foreign| &foreign.id)
    }

    /// Whether it runs somebody else's guest, which may begin differently each time.
    pub(crate) fn is_foreign(&self) -> bool {
        self.0.foreign.is_some()
    }

    /// The memory of a new instance.
    pub(crate) fn base(&self) -> Result<Arc<Base>> {
        if let Some(base) = self.0.base.get() {
            return Ok(Arc::clone(base));
        }
        let mut guest = self.blank()?;
        let base = Arc::new(Base::new(guest.context().memory()?));
        Ok(Arc::clone(self.0.base.get_or_init(|| base)))
    }

    /// An instance that belongs to no sandbox yet.
    pub(crate) fn blank(&self) -> Result<Guest> {
        let host = Host::new(Tables::in_memory(), 1, Arc::default());
        self.instantiate(host, self.max_memory(), false).map_err(|not_started| not_started.error)
    }

    /// Whether sandboxes come from a pool; see [`EngineConfig::pool_size`].
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.0.foreign.is_none() && self.pooled().is_some()
    }

    pub(crate) fn max_memory(&self) -> u64 {
        self.0.config.max_memory
    }

    fn pooled(&self) -> Option<&Arc<Blueprint>> {
        self.0.pooled.get_or_init(|| self.load_pool(false)).as_ref()
    }

    /// As `pooled`, for instances that can wait.
    #[cfg(feature = "async")]
    fn waiting_pool(&self) -> Option<&Arc<Blueprint>> {
        self.0.waiting_pool.get_or_init(|| self.load_pool(true)).as_ref()
    }

    #[cfg_attr(not(feature = "async"), allow(unused_variables, reason = "nothing waits"))]
    fn load_pool(&self, waits: bool) -> Option<Arc<Blueprint>> {
        if self.0.config.pool_size == 0 {
            return None;
        }
        let mut pool = PoolingAllocationConfig::new();
        let n = self.0.config.pool_size;
        pool.total_core_instances(n)
            .total_memories(n)
            .total_tables(n)
            .max_memory_size(4 << 30)
            .max_core_instance_size(64 << 10)
            .table_keep_resident(64 << 10)
            .max_unused_warm_slots(16);
        // The guard pages of a thousand stacks are a thousand calls of the system, which would make the first sandbox wait for milliseconds.
        #[cfg(feature = "async")]
        pool.total_stacks(if waits { n } else { 1 });
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            // The system tells which pages a sandbox wrote to; those are restored by copying, and the next sandbox finds them in place.
            pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP_RESIDENT);
        }
        let mut config = shared_config();
        self.0.config.apply(&mut config);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        // Too little address space (a limit, a small machine) is no reason to fail: then there is no pool.
        load_own(&config, &self.0.config).ok().map(Arc::new)
    }

    fn on_demand(&self) -> Result<&Arc<Blueprint>> {
        let load = || {
            let mut config = shared_config();
            self.0.config.apply(&mut config);
            load_own(&config, &self.0.config).map(Arc::new)
        };
        self.0.on_demand.get_or_init(load).as_ref().map_err(Error::clone)
    }

    /// A new instance of the guest.
    pub(crate) fn instantiate(&self, mut host: Host, max_memory: u64, waits: bool) -> Result<Guest, Box<NotStarted>> {
        host.waits = waits;
        let max_memory = usize::try_from(max_memory.min(self.max_memory())).unwrap_or(usize::MAX);
        if let Some(foreign) = &self.0.foreign {
            return Guest::new(&foreign.blueprint, host, max_memory, waits);
        }
        #[cfg(feature = "async")]
        let pooled = if waits { self.waiting_pool() } else { self.pooled() };
        #[cfg(not(feature = "async"))]
        let pooled = self.pooled();
        if let Some(pooled) = pooled {
            match Guest::new(pooled, host, max_memory, waits) {
                Err(not_started) if not_started.exhausted => host = not_started.host,
                other => return other,
            }
        }
        match self.on_demand() {
            Ok(blueprint) => Guest::new(blueprint, host, max_memory, waits),
            Err(error) => Err(Box::new(NotStarted { error, host, exhausted: false })),
        }
    }
}

/// How much of the memory that a sandbox wrote to is kept for the next one; the rest is given back to the system.
const KEEP_RESIDENT: usize = 1 << 20;

impl Default for Engine {
    /// The engine that the whole process shares.
    fn default() -> Self {
        static SHARED: OnceLock<Engine> = OnceLock::new();
        SHARED.get_or_init(|| Engine::lazy(EngineConfig::default())).clone()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).field("foreign", &self.0.foreign.is_some()).finish()
    }
}

#[cfg(feature = "hardened")]
fn hardened_guest() -> Result<&'static [u8]> {
    Ok(include_bytes!(concat!(env!("OUT_DIR"), "/guest-hardened.cwasm")))
}

#[cfg(not(feature = "hardened"))]
fn hardened_guest() -> Result<&'static [u8]> {
    Err(Error::invalid("this build of luacell has no hardened guest; turn on the feature `hardened`"))
}

/// The build script packs the guest in programs that are built for size.
fn unpacked(code: &[u8]) -> Result<Cow<'_, [u8]>> {
    if cfg!(not(packed_guest)) {
        return Ok(Cow::Borrowed(code));
    }
    let unpacked = miniz_oxide::inflate::decompress_to_vec(code);
    unpacked.map(Cow::Owned).map_err(|e| Error::internal(format!("the packed guest is damaged: {e}")))
}

fn load_own(config: &Config, settings: &EngineConfig) -> Result<Blueprint> {
    let code = unpacked(if settings.hardened { hardened_guest()? } else { GUEST })?;
    let fail = |e: wasmtime::Error| Error::internal(format!("the compiled guest can't be loaded: {e:#}"));
    let engine = wasmtime::Engine::new(config).map_err(fail)?;
    // SAFETY: these bytes are what wasmtime's own `precompile_module` gave in this crate's build script, unchanged and embedded in the
    // program; wasmtime checks its version and settings besides.
    #[allow(unsafe_code, reason = "the only way to load code that was compiled ahead of time")]
    let module = unsafe { Module::deserialize(&engine, &code) }.map_err(fail)?;
    if !settings.hardened {
        return Blueprint::new(&module, true, None);
    }
    watchdog::start_clock(&engine)?;
    Blueprint::new(&module, true, Some(settings.call_deadline.unwrap_or(Duration::MAX)))
}

#[cfg(not(feature = "jit"))]
fn compile(_: &[u8], _: &EngineConfig) -> Result<Foreign> {
    Err(Error::invalid("this build of luacell can't compile wasm; turn on the feature `jit`"))
}

#[cfg(feature = "jit")]
fn compile(wasm: &[u8], settings: &EngineConfig) -> Result<Foreign> {
    use sha2::Digest;

    let mut config = shared_config();
    settings.apply(&mut config);
    config.epoch_interruption(true);
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    let engine = wasmtime::Engine::new(&config).map_err(|e| Error::internal(format!("{e:#}")))?;
    let module = Module::from_binary(&engine, wasm)
        .map_err(|e| Error::invalid(format!("this is no lua.wasm that luacell can run: {e:#}")))?;
    let longest_call = settings.call_deadline.unwrap_or(Duration::MAX);
    let blueprint = Arc::new(Blueprint::new(&module, false, Some(longest_call))?);
    watchdog::start_clock(&engine)?;
    Ok(Foreign { blueprint, id: sha2::Sha256::digest(wasm).into() })
}
