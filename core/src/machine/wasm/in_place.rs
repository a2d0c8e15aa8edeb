//! Executes the guest's code directly from the program's file, not from a copy of it: a start touches a tenth of the
//! pages, and processes share them.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{MprotectFlags, mprotect};
use wasmtime::{Config, CustomCodeMemory, Engine, Module};

use super::page_aligned::PageAligned;

const PAGE: usize = align_of::<PageAligned<u8>>();

/// wasmtime keeps what it executes by address, and can't have the same code twice: only one module at a time is in
/// place.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Loads the code, which has to be wasmtime's own for these settings; `None` when it has to be copied.
///
/// # Safety
///
/// `code` is what `Engine::precompile_module` gave, and always the same.
#[allow(unsafe_code, reason = "the only way to load code that was compiled ahead of time")]
pub(super) unsafe fn load(config: &Config, code: &'static PageAligned<[u8]>) -> Option<Module> {
    if rustix::param::page_size() > PAGE || TAKEN.swap(true, Ordering::AcqRel) {
        return None;
    }
    let place = Arc::new(Place);
    let mut config = config.clone();
    config.with_custom_code_memory(Some(place));
    let engine = Engine::new(&config).ok()?;
    // SAFETY: the caller vouches for the code, and nobody writes to what is static and constant.
    unsafe { Module::deserialize_raw(&engine, NonNull::from(&code.0)) }.ok()
}

/// Gives the place free when wasmtime lets go of it, which is with the last module and instance.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

impl CustomCodeMemory for Place {
    fn required_alignment(&self) -> usize {
        PAGE
    }

    fn publish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        // Pages of a file that nobody wrote to: no copy is made, and no rule against writable code is broken.
        protect(code, length, MprotectFlags::READ | MprotectFlags::EXEC)
    }

    fn unpublish_executable(&self, code: *const u8, length: usize) -> wasmtime::Result<()> {
        // A failure does no harm: the pages stay executable and are never written to. wasmtime would panic.
        let _ = protect(code, length, MprotectFlags::READ);
        Ok(())
    }
}

#[allow(unsafe_code, reason = "changing what may be done with pages")]
fn protect(code: *const u8, length: usize, flags: MprotectFlags) -> wasmtime::Result<()> {
    // SAFETY: the range lies in `code` of `load`, which nobody writes to, and stays readable.
    unsafe { mprotect(code.cast_mut().cast(), length, flags) }?;
    Ok(())
}
