//! Machines and images of `runtime.c` as owned values.

use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

use super::ffi::{Api, Hooks, RawImage, RawMachine};
use crate::engine::EngineConfig;

/// A guest's memory, globals and table.
pub(super) struct Raw {
    pub(super) machine: NonNull<RawMachine>,
    pub(super) api: &'static Api,
}

// SAFETY: a machine knows of no thread between calls; what refers to a thread is made anew by each call.
unsafe impl Send for Raw {}

// SAFETY: through a shared reference nothing but `memory` is called, which only reads what calls through an exclusive one write.
unsafe impl Sync for Raw {}

impl Raw {
    /// A guest as in the image, or without one a guest that was not initialised. `None` when there is no memory for it. The clock has to outlive it.
    pub(super) fn new(
        api: &'static Api,
        image: Option<&Image>,
        hooks: &'static Hooks,
        clock: &AtomicU32,
        config: &EngineConfig,
    ) -> Option<Self> {
        let image = image.map_or(ptr::null(), |image| image.image.as_ptr().cast_const());
        let space = usize::try_from(config.max_memory).unwrap_or(usize::MAX);
        // SAFETY: the image is null or lives as long as this call, the hooks as long as the program, and the clock longer than the machine.
        let machine = unsafe { (api.machine_new)(image, hooks, clock, config.max_stack, space) };
        NonNull::new(machine).map(|machine| Raw { machine, api })
    }

    #[inline]
    pub(super) fn memory(&self) -> &[u8] {
        let mut size = 0;
        // SAFETY: the machine is alive. Its memory is readable up to its size and stays where it is; it changes and grows only in calls that
        // need this machine exclusively, which ends this borrow.
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
        // SAFETY: it was made by `machine_new` and is not used any more.
        unsafe { (self.api.machine_free)(self.machine.as_ptr()) }
    }
}

/// The memory of a new guest.
pub(super) struct Image {
    pub(super) image: NonNull<RawImage>,
    pub(super) api: &'static Api,
}

// SAFETY: nobody writes to an image once it is made.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: it was made by `image_new`, and machines keep nothing of it but mappings of the system's.
        unsafe { (self.api.image_free)(self.image.as_ptr()) }
    }
}
