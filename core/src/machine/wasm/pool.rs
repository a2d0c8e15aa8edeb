//! Instances of our own guest from a pool, and of somebody else's.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

use super::page_aligned::PageAligned;
use super::{Blueprint, Imports, NotStarted, Owned};
#[cfg(feature = "pulley")]
use crate::machine::wasm_config::interpreter;
use crate::machine::wasm_config::shared_config;
use crate::machine::{EngineConfig, GUEST_ID, GuestId, watchdog};
use crate::value::{Error, Result};

/// Our guest, compiled for this platform by the build script.
static GUEST: &PageAligned<[u8]> = &PageAligned(*include_bytes!(concat!(env!("OUT_DIR"), "/guest.cwasm")));

/// Where instances come from.
pub(crate) struct Machines<I: Imports> {
    config: EngineConfig,
    /// Somebody else's guest, if that is what this runs.
    foreign: Option<Foreign<I>>,
    /// `None` when there is no pool.
    pooled: OnceLock<Option<Arc<Blueprint<I>>>>,
    on_demand: OnceLock<Result<Arc<Blueprint<I>>>>,
}

struct Foreign<I: Imports> {
    blueprint: Arc<Blueprint<I>>,
    id: GuestId,
}

impl<I: Imports> Machines<I> {
    /// Of our own guest, which is loaded when it is needed.
    pub(crate) fn new(config: EngineConfig) -> Self {
        Machines::with(config, None)
    }

    /// Of somebody else's guest.
    pub(crate) fn from_wasm(wasm: &[u8], config: EngineConfig) -> Result<Self> {
        let foreign = compile(wasm, &config)?;
        Ok(Machines::with(config, Some(foreign)))
    }

    fn with(config: EngineConfig, foreign: Option<Foreign<I>>) -> Self {
        Machines { config, foreign, pooled: OnceLock::new(), on_demand: OnceLock::new() }
    }

    pub(crate) fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Loads the guest now.
    pub(crate) fn load(&self) -> Result<()> {
        if self.pooled().is_none() {
            self.on_demand()?;
        }
        Ok(())
    }

    pub(crate) fn guest_id(&self) -> &GuestId {
        self.foreign.as_ref().map_or(GUEST_ID, |foreign| &foreign.id)
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.foreign.is_none() && self.pooled().is_some()
    }

    fn pooled(&self) -> Option<&Arc<Blueprint<I>>> {
        self.pooled.get_or_init(|| self.load_pool()).as_ref()
    }

    fn load_pool(&self) -> Option<Arc<Blueprint<I>>> {
        if self.config.pool_size == 0 {
            return None;
        }
        let mut pool = PoolingAllocationConfig::new();
        let n = self.config.pool_size;
        pool.total_core_instances(n)
            .total_memories(n)
            .total_tables(n)
            .max_memory_size(4 << 30)
            .max_core_instance_size(64 << 10)
            .table_keep_resident(64 << 10)
            .max_unused_warm_slots(16);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            // The system tells which pages a sandbox wrote to; those are restored by copying, and the next sandbox
            // finds them in place.
            pool.pagemap_scan(Enabled::Yes).linear_memory_keep_resident(KEEP_RESIDENT);
        }
        let mut config = engine_config(&self.config).ok()?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        // Too little address space (a limit, a small machine) is no reason to fail: then there is no pool.
        load_own(&config, &self.config).ok().map(Arc::new)
    }

    fn on_demand(&self) -> Result<&Arc<Blueprint<I>>> {
        let load = || load_own(&engine_config(&self.config)?, &self.config).map(Arc::new);
        self.on_demand.get_or_init(load).as_ref().map_err(Error::clone)
    }

    /// A new instance.
    pub(crate) fn instantiate(&self, mut imports: I, max_memory: usize) -> Result<Owned<I>, Box<NotStarted<I>>> {
        if let Some(foreign) = &self.foreign {
            return Owned::new(&foreign.blueprint, imports, max_memory);
        }
        if let Some(pooled) = self.pooled() {
            match Owned::new(pooled, imports, max_memory) {
                Err(not_started) if not_started.exhausted => imports = not_started.imports,
                other => return other,
            }
        }
        match self.on_demand() {
            Ok(blueprint) => Owned::new(blueprint, imports, max_memory),
            Err(error) => Err(Box::new(NotStarted { error, imports, exhausted: false })),
        }
    }
}

/// How much of the memory that a sandbox wrote to is kept for the next one; the rest is given back to the system.
const KEEP_RESIDENT: usize = 1 << 20;

/// The configuration that our guest was compiled with, and the engine's own settings.
fn engine_config(settings: &EngineConfig) -> Result<Config> {
    let mut config = shared_config();
    config.max_wasm_stack(settings.max_stack).epoch_interruption(settings.hardened);
    #[cfg(feature = "pulley")]
    {
        let target = interpreter(&usize::BITS.to_string(), cfg!(target_endian = "big"));
        config.target(&target).map_err(|e| Error::internal(format!("{e:#}")))?;
    }
    Ok(config)
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

/// Makes the clock of this engine tick, as long as the engine lives.
fn start_clock(engine: &Engine) -> Result<()> {
    let weak = engine.weak();
    watchdog::start_clock(move || {
        weak.upgrade().is_some_and(|engine| {
            engine.increment_epoch();
            true
        })
    })
}

fn load_own<I: Imports>(config: &Config, settings: &EngineConfig) -> Result<Blueprint<I>> {
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(packed_guest), not(feature = "pulley")))]
    if !settings.hardened {
        // SAFETY: as below.
        #[allow(unsafe_code, reason = "as below")]
        if let Some(module) = unsafe { super::in_place::load(config, GUEST) } {
            return Blueprint::new(&module, None);
        }
    }
    let code = unpacked(if settings.hardened { hardened_guest()? } else { &GUEST.0 })?;
    let fail = |e: wasmtime::Error| Error::internal(format!("the compiled guest can't be loaded: {e:#}"));
    let engine = Engine::new(config).map_err(fail)?;
    // SAFETY: these bytes are what wasmtime's own `precompile_module` gave in this crate's build script, unchanged and
    // embedded in the program; wasmtime checks its version and settings besides.
    #[allow(unsafe_code, reason = "the only way to load code that was compiled ahead of time")]
    let module = unsafe { Module::deserialize(&engine, &code) }.map_err(fail)?;
    if !settings.hardened {
        return Blueprint::new(&module, None);
    }
    start_clock(&engine)?;
    Blueprint::new(&module, Some(settings.call_deadline.unwrap_or(Duration::MAX)))
}

#[cfg(not(feature = "jit"))]
fn compile<I: Imports>(_: &[u8], _: &EngineConfig) -> Result<Foreign<I>> {
    Err(Error::invalid("this build of luacell can't compile wasm; turn on the feature `jit`"))
}

#[cfg(feature = "jit")]
fn compile<I: Imports>(wasm: &[u8], settings: &EngineConfig) -> Result<Foreign<I>> {
    use sha2::Digest;

    let mut config = engine_config(settings)?;
    config.epoch_interruption(true);
    config.cranelift_opt_level(wasmtime::OptLevel::Speed);
    let engine = Engine::new(&config).map_err(|e| Error::internal(format!("{e:#}")))?;
    let module = Module::from_binary(&engine, wasm)
        .map_err(|e| Error::invalid(format!("this is not a lua.wasm that luacell can run: {e:#}")))?;
    let longest_call = settings.call_deadline.unwrap_or(Duration::MAX);
    let blueprint = Arc::new(Blueprint::new(&module, Some(longest_call))?);
    start_clock(&engine)?;
    Ok(Foreign { blueprint, id: sha2::Sha256::digest(wasm).into() })
}
