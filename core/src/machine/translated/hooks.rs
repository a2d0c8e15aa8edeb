//! What the guest calls: the five functions, and what its memory and its clock ask.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ffi::{ABANDON, Hooks};
use super::{At, Cell, Imports, Machine};
#[cfg(feature = "hardened")]
use crate::machine::watchdog::Stopped;

impl<I: Imports> Cell<I> {
    /// For a running guest: each takes a pointer to the cell.
    pub(super) const HOOKS: &Hooks = &Hooks {
        set: set::<I>,
        get: get::<I>,
        delete: delete::<I>,
        size: size::<I>,
        keys: keys::<I>,
        max_memory: max_memory::<I>,
        tick: tick::<I>,
    };
}

/// What a hook gives back to C. No panic passes.
///
/// # Safety
/// `host` is what `At::enter` passed for the call that is under way.
#[inline]
unsafe fn hook<I: Imports>(host: *mut c_void, f: impl FnOnce(&mut At<'_, I>) -> i32) -> i64 {
    // SAFETY: the caller's promise: it is a cell, whose borrow waits in `At::enter` while this one lasts.
    let cell = unsafe { &mut *host.cast::<Cell<I>>() };
    match catch_unwind(AssertUnwindSafe(|| f(&mut At(cell)))) {
        Ok(answer) => i64::from(answer),
        Err(panic) => {
            // SAFETY: as above; the borrow of the call that panicked is over.
            unsafe { (*host.cast::<Cell<I>>()).panic = Some(panic) };
            ABANDON
        }
    }
}

/// Hands memory and imports of the guest that calls to `f`.
///
/// # Safety
/// As for `hook`.
#[inline]
unsafe fn with_imports<I: Imports>(host: *mut c_void, f: impl FnOnce(&mut [u8], &mut I) -> i32) -> i64 {
    let answer =
        |guest: &mut At<'_, I>| guest.memory_and_data().map_or(-1, |(memory, data)| f(memory, &mut data.imports));
    // SAFETY: the caller's promise.
    unsafe { hook(host, answer) }
}

unsafe extern "C" fn set<I: Imports>(host: *mut c_void, t: u32, k: u32, kl: u32, v: u32, vl: u32) -> i64 {
    let [t, k, kl, v, vl] = [t, k, kl, v, vl].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { with_imports(host, |memory, imports: &mut I| imports.set(memory, t, k, kl, v, vl)) }
}

unsafe extern "C" fn get<I: Imports>(host: *mut c_void, t: u32, k: u32, kl: u32, v: u32, max: u32) -> i64 {
    let [t, k, kl, v, max] = [t, k, kl, v, max].map(u32::cast_signed);
    if t == 0 {
        // SAFETY: C passes the host of the present call.
        return unsafe { hook(host, |guest: &mut At<'_, I>| I::request(guest, k, kl, v, max)) };
    }
    // SAFETY: as above.
    unsafe { with_imports(host, |memory, imports: &mut I| imports.get(memory, t, k, kl, v, max)) }
}

unsafe extern "C" fn delete<I: Imports>(host: *mut c_void, t: u32, k: u32, kl: u32) -> i64 {
    let [t, k, kl] = [t, k, kl].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { with_imports(host, |memory, imports: &mut I| imports.delete(memory, t, k, kl)) }
}

unsafe extern "C" fn size<I: Imports>(host: *mut c_void, t: u32) -> i64 {
    let t = t.cast_signed();
    let answer = |guest: &mut At<'_, I>| guest.data_mut().imports.size(t);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, answer) }
}

unsafe extern "C" fn keys<I: Imports>(host: *mut c_void, t: u32, b: u32, max: u32) -> i64 {
    let [t, b, max] = [t, b, max].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { with_imports(host, |memory, imports: &mut I| imports.keys(memory, t, b, max)) }
}

unsafe extern "C" fn max_memory<I: Imports>(host: *mut c_void) -> u64 {
    // SAFETY: C passes the host of the present call, a cell that nobody uses in the meantime.
    unsafe { (*host.cast::<Cell<I>>()).data.max_memory as u64 }
}

/// The clock has ticked.
unsafe extern "C" fn tick<I: Imports>(host: *mut c_void) -> i64 {
    #[cfg(feature = "hardened")]
    {
        // SAFETY: C passes the host of the present call, a cell that nobody uses in the meantime.
        let cell = unsafe { &mut *host.cast::<Cell<I>>() };
        let verdict = cell.watchdog.as_mut().and_then(|watchdog| watchdog.verdict(&mut cell.data.imports));
        if let Some(kind) = verdict {
            cell.stopped = Some(Stopped(kind));
            return ABANDON;
        }
    }
    let _ = host;
    0
}

/// For a guest that starts: no table exists then, and no host. Each takes a pointer to the most that the memory may
/// grow to.
pub(super) static STARTING: Hooks = Hooks {
    set: absent5,
    get: absent5,
    delete: absent3,
    size: absent1,
    keys: absent3,
    max_memory: starting_memory,
    tick: absent0,
};

unsafe extern "C" fn absent5(_: *mut c_void, _: u32, _: u32, _: u32, _: u32, _: u32) -> i64 {
    -1
}

unsafe extern "C" fn absent3(_: *mut c_void, _: u32, _: u32, _: u32) -> i64 {
    -1
}

unsafe extern "C" fn absent0(_: *mut c_void) -> i64 {
    0
}

unsafe extern "C" fn absent1(_: *mut c_void, _: u32) -> i64 {
    -1
}

unsafe extern "C" fn starting_memory(host: *mut c_void) -> u64 {
    // SAFETY: `Blueprint::new` passes a pointer to this number.
    unsafe { *host.cast::<u64>() }
}
