//! Engines.

use luacell::{Engine, EngineConfig};

use crate::config::number;
use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{Opaque, Place, borrow, from_raw};
use crate::size_prefixed;
use crate::status::luacell_status;

/// The compiled guest and a pool of prepared memory, shared by any number of sandboxes and threads. Few programs need
/// one: where NULL is given for an engine, one that the whole process shares is used.
pub struct luacell_engine {
    _private: (),
}

impl Opaque for luacell_engine {
    type Behind = Engine;
}

/// Settings of an engine. Zero in all fields except size means the defaults. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_engine_config {
    /// sizeof(luacell_engine_config)
    pub size: usize,
    /// How many sandboxes at a time come from a pool, which makes them cheap to create. Each takes about 4 GiB of
    /// address space, not of memory. Further ones work too. 0: the default, 1000; LUACELL_ZERO: no pool.
    pub pool_size: u64,
    /// The most memory that a sandbox may take in bytes, everything included. 0: the default, 1 GiB. From 2 MiB to 4
    /// GiB.
    pub max_memory: u64,
    /// The most native stack that a sandbox uses, in bytes; threads that run sandboxes must have this much left, and 64
    /// KiB: with less a call gives LUACELL_INVALID_ARGUMENT (on Linux; elsewhere the process may crash). 0: the
    /// default, 512 KiB. From 64 KiB to 1.5 MiB.
    pub max_stack: u64,
}

// SAFETY: numbers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_engine_config {}

/// Makes an engine. `config` may be NULL. LUACELL_INTERNAL when the guest can't be loaded, LUACELL_INVALID_ARGUMENT for
/// settings out of their range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_engine_new(
    config: *const luacell_engine_config,
    engine: *mut *mut luacell_engine,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (given, place) = (size_prefixed::read(config, "luacell_engine_config")?, Place::new(engine, "engine")?);
        let mut config = EngineConfig::new();
        if let Some(given) = given {
            if let Some(sandboxes) = number(given.pool_size) {
                config = config.pool_size(u32::try_from(sandboxes).unwrap_or(u32::MAX));
            }
            if let Some(bytes) = number(given.max_memory) {
                config = config.max_memory(bytes);
            }
            if let Some(bytes) = number(given.max_stack) {
                config = config.max_stack(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
        }
        place.give(Engine::new(config)?);
        Ok(())
    })
}

/// Ends a handle. Sandboxes of the engine keep it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_engine_free(engine: *mut luacell_engine) {
    guard::plain((), || drop(from_raw(engine)));
}

/// Whether sandboxes come from a pool; NULL asks about the shared engine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_engine_is_pooled(engine: *const luacell_engine) -> bool {
    guard::plain(false, || engine_or_default(engine).is_pooled())
}

pub(crate) unsafe fn engine_or_default(engine: *const luacell_engine) -> Engine {
    borrow(engine, "engine").cloned().unwrap_or_default()
}
