//! Machines and images of `runtime.c` as owned values.

use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ffi::{Api, Hooks, RawImage, RawMachine};
use crate::machine::EngineConfig;
use crate::util::lock;

/// A guest's memory, globals and table.
pub(super) struct Raw {
    pub(super) machine: NonNull<RawMachine>,
    pub(super) api: &'static Api,
    /// Where it came from and goes back to.
    image: Option<Arc<Image>>,
}

// SAFETY: a machine knows of no thread between calls; what refers to a thread is made anew by each call.
unsafe impl Send for Raw {}

// SAFETY: through a shared reference nothing but `memory` is called, which only reads what calls through an exclusive
// one write.
unsafe impl Sync for Raw {}

impl Raw {
    /// A guest that was not initialised. `None` when there is no memory for it. The clock has to outlive it.
    pub(super) fn uninitialised(
        api: &'static Api,
        hooks: &'static Hooks,
        clock: &AtomicU32,
        config: &EngineConfig,
    ) -> Option<Self> {
        let machine = new_machine(api, ptr::null(), hooks, clock, config)?;
        Some(Raw { machine, api, image: None })
    }

    /// A guest as in the image. `None` when there is no memory for it. Hooks, clock and settings are the same for all
    /// guests of an image, and the clock has to outlive them.
    pub(super) fn as_in(
        image: &Arc<Image>,
        hooks: &'static Hooks,
        clock: &AtomicU32,
        config: &EngineConfig,
    ) -> Option<Self> {
        let idle = image.idle().pop();
        let machine = match idle {
            Some(Idle(machine)) => machine,
            None => new_machine(image.api, image.image.as_ptr(), hooks, clock, config)?,
        };
        Some(Raw { machine, api: image.api, image: Some(Arc::clone(image)) })
    }

    #[inline]
    pub(super) fn memory(&self) -> &[u8] {
        let mut size = 0;
        // SAFETY: the machine is alive. Its memory is readable up to its size and stays where it is; it changes and
        // grows only in calls that need this machine exclusively, which ends this borrow.
        unsafe {
            let data = (self.api.machine_memory)(self.machine.as_ptr(), &mut size);
            std::slice::from_raw_parts(data, size)
        }
    }

    #[inline]
    pub(super) fn memory_mut(&mut self) -> &mut [u8] {
        let mut size = 0;
        // SAFETY: as in `memory`; it is writable as well, and nobody else has it.
        unsafe {
            let data = (self.api.machine_memory)(self.machine.as_ptr(), &mut size);
            std::slice::from_raw_parts_mut(data, size)
        }
    }

    pub(super) fn grow(&mut self, pages: u64, max_size: u64) -> bool {
        // SAFETY: the machine is alive and nobody else has it.
        unsafe { (self.api.machine_grow)(self.machine.as_ptr(), pages, max_size) != u64::MAX }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let kept = self.image.as_ref().is_some_and(|image| image.take_back(self.machine));
        if !kept {
            // SAFETY: it was made by `machine_new` and is not used any more.
            unsafe { (self.api.machine_free)(self.machine.as_ptr()) }
        }
    }
}

fn new_machine(
    api: &'static Api,
    image: *const RawImage,
    hooks: &'static Hooks,
    clock: &AtomicU32,
    config: &EngineConfig,
) -> Option<NonNull<RawMachine>> {
    let space = usize::try_from(config.max_memory).unwrap_or(usize::MAX);
    // SAFETY: the image is null or lives as long as this call, the hooks as long as the program, and the clock longer
    // than the machine.
    NonNull::new(unsafe { (api.machine_new)(image, hooks, clock, config.max_stack, space) })
}

/// How many guests wait to be used again, as with wasmtime. Each holds up to 1 MiB.
const MOST_IDLE: usize = 16;

/// A guest that is as it was when it was new.
struct Idle(NonNull<RawMachine>);

// SAFETY: as for `Raw`.
unsafe impl Send for Idle {}

/// The memory of a new guest, and guests that have it again.
pub(super) struct Image {
    image: NonNull<RawImage>,
    pub(super) api: &'static Api,
    idle: Mutex<Vec<Idle>>,
    most_idle: usize,
}

// SAFETY: nobody writes to an image once it is made.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    /// Of a guest. `None` when there is no memory for it.
    pub(super) fn of(machine: &Raw, config: &EngineConfig) -> Option<Self> {
        // SAFETY: the machine is alive, and nothing runs in it.
        let image = NonNull::new(unsafe { (machine.api.image_new)(machine.machine.as_ptr()) })?;
        let most_idle = MOST_IDLE.min(config.pool_size as usize);
        Some(Image { image, api: machine.api, idle: Mutex::default(), most_idle })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        lock(&self.idle)
    }

    /// Whether the guest was kept, which nobody uses any more.
    fn take_back(&self, machine: NonNull<RawMachine>) -> bool {
        if self.idle().len() >= self.most_idle {
            return false;
        }
        // SAFETY: the machine was made with this image, and nothing runs in it.
        if !unsafe { (self.api.machine_reset)(machine.as_ptr(), self.image.as_ptr()) } {
            return false;
        }
        // Some threads may have come here at once, which makes it a few more.
        self.idle().push(Idle(machine));
        true
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        for Idle(machine) in self.idle().drain(..) {
            // SAFETY: it was made by `machine_new` and is not used any more.
            unsafe { (self.api.machine_free)(machine.as_ptr()) }
        }
        // SAFETY: it was made by `image_new`, and machines keep nothing of it but mappings of the system's.
        unsafe { (self.api.image_free)(self.image.as_ptr()) }
    }
}
