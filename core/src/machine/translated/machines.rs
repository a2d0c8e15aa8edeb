//! Where instances come from: a guest that was started once, and copies of it.

use std::marker::PhantomData;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use super::ffi::{api, code};
use super::hooks::STARTING;
use super::raw::{Image, Raw};
use super::{Cell, Owned, trap};
use crate::machine::preset::SETTINGS;
use crate::machine::{Data, EngineConfig, Export, GUEST_ID, GuestId, Imports, NotStarted};
#[cfg(feature = "hardened")]
use crate::machine::{watchdog, watchdog::Watchdog};
use crate::value::{Error, ErrorKind, Result};

/// What is the same in all guests of an engine.
pub(super) struct Blueprint {
    /// Changes with each tick, where the guest is hardened.
    clock: Arc<AtomicU32>,
    image: Arc<Image>,
    pub(super) config: EngineConfig,
}

impl Blueprint {
    /// Starts the guest once, as the build script does it for wasmtime.
    fn new(config: &EngineConfig) -> Result<Self> {
        let api = api(config.hardened)?;
        let clock = Arc::<AtomicU32>::default();
        let none = || Error::new(ErrorKind::Memory, "not enough memory for the guest");
        let machine = Raw::uninitialised(api, &STARTING, &clock, config).ok_or_else(none)?;
        let call = |number: u32, argument: i32| {
            let mut result = 0;
            let max_memory: *const u64 = &raw const config.max_memory;
            // SAFETY: the machine is alive and nobody else has it; the hooks that it was made with take a pointer to
            // this number.
            let code = unsafe {
                (api.machine_call)(
                    machine.machine.as_ptr(),
                    max_memory.cast_mut().cast(),
                    number,
                    argument.cast_unsigned(),
                    0,
                    0,
                    &mut result,
                )
            };
            if code == code::DONE { Ok(result) } else { Err(trap(code)) }
        };
        if call(Export::init as u32, 0)? != 0 {
            return Err(Error::internal("the guest's init failed"));
        }
        for (name, argument) in SETTINGS {
            if let Some(number) = Export::NAMES.iter().position(|known| *known == name) {
                call(number as u32, argument)?;
            }
        }
        let image = Image::of(&machine, config).ok_or_else(none)?;
        start_clock(config, &clock)?;
        Ok(Blueprint { clock, image: Arc::new(image), config: config.clone() })
    }

    fn machine<I: Imports>(&self) -> Option<Raw> {
        Raw::as_in(&self.image, Cell::<I>::HOOKS, &self.clock, &self.config)
    }
}

/// Where instances come from.
pub(crate) struct Machines<I> {
    config: EngineConfig,
    blueprint: OnceLock<Result<Arc<Blueprint>>>,
    imports: PhantomData<fn(I)>,
}

impl<I: Imports> Machines<I> {
    pub(crate) fn new(config: EngineConfig) -> Self {
        Machines { config, blueprint: OnceLock::new(), imports: PhantomData }
    }

    pub(crate) fn from_wasm(_: &[u8], _: EngineConfig) -> Result<Self> {
        Err(Error::invalid(
            "this build of luacell has its guest built in and runs no other; that needs a build without the feature `static`, and with `jit`",
        ))
    }

    pub(crate) fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Starts the guest now.
    pub(crate) fn load(&self) -> Result<()> {
        self.blueprint().map(|_| ())
    }

    pub(crate) fn guest_id(&self) -> &GuestId {
        GUEST_ID
    }

    pub(crate) fn is_foreign(&self) -> bool {
        false
    }

    /// Some are used again, but none are there before the first ones have gone.
    pub(crate) fn is_pooled(&self) -> bool {
        false
    }

    fn blueprint(&self) -> Result<&Arc<Blueprint>> {
        let make = || Blueprint::new(&self.config).map(Arc::new);
        self.blueprint.get_or_init(make).as_ref().map_err(Error::clone)
    }

    /// A new instance.
    pub(crate) fn instantiate(&self, imports: I, max_memory: usize) -> Result<Owned<I>, Box<NotStarted<I>>> {
        let fail = |error, imports| Err(Box::new(NotStarted { error, imports }));
        let blueprint = match self.blueprint() {
            Ok(blueprint) => Arc::clone(blueprint),
            Err(error) => return fail(error, imports),
        };
        let Some(raw) = blueprint.machine::<I>() else {
            return fail(
                Error::new(ErrorKind::Memory, "can't make a sandbox: the system gives no more memory"),
                imports,
            );
        };
        #[cfg(feature = "hardened")]
        let watchdog =
            self.config.hardened.then(|| Watchdog::new(self.config.call_deadline.unwrap_or(std::time::Duration::MAX)));
        let data = Data { imports, max_memory };
        Ok(Owned {
            cell: Cell {
                data,
                raw,
                blueprint,
                panic: None,
                #[cfg(feature = "hardened")]
                watchdog,
                #[cfg(feature = "hardened")]
                stopped: None,
            },
        })
    }
}

/// Makes the clock tick as long as the engine lives, where there are checks for it.
#[cfg(feature = "hardened")]
fn start_clock(config: &EngineConfig, clock: &Arc<AtomicU32>) -> Result<()> {
    if !config.hardened {
        return Ok(());
    }
    let clock = Arc::downgrade(clock);
    watchdog::start_clock(move || {
        clock.upgrade().is_some_and(|clock| {
            clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            true
        })
    })
}

#[cfg(not(feature = "hardened"))]
fn start_clock(_: &EngineConfig, _: &Arc<AtomicU32>) -> Result<()> {
    Ok(())
}
