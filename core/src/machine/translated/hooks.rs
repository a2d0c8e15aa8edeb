//! What the guest calls: the five functions, and what its memory and its clock ask.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ffi::{ABANDON, Hooks};
#[cfg(feature = "async")]
use super::fiber;
use super::{At, Cell};
use crate::functions;
use crate::host::Host;
use crate::instance::Context;
#[cfg(feature = "hardened")]
use crate::machine::watchdog::Stopped;

/// For a running guest: each takes a pointer to its [`Cell`].
pub(super) static HOOKS: Hooks = Hooks { set, get, delete, size, keys, max_memory, tick };

/// What a hook gives back to C. No panic passes.
///
/// # Safety
/// `host` is what `At::enter` passed for the call that is under way.
#[inline]
unsafe fn hook(host: *mut c_void, f: impl FnOnce(&mut Context<'_>) -> i32) -> i64 {
    // SAFETY: the caller's promise: it is a cell, whose borrow waits in `At::enter` while this one lasts.
    let cell = unsafe { &mut *host.cast::<Cell>() };
    match catch_unwind(AssertUnwindSafe(|| f(&mut Context(At(cell))))) {
        Ok(answer) => i64::from(answer),
        Err(panic) => {
            // SAFETY: as above; the borrow of the call that panicked is over.
            unsafe { (*host.cast::<Cell>()).panic = Some(panic) };
            ABANDON
        }
    }
}

/// Memory and host of the guest that calls.
#[inline]
fn with_host(context: &mut Context<'_>, f: impl FnOnce(&mut [u8], &mut Host) -> i32) -> i32 {
    context.memory_and_host().map_or(-1, |(memory, host)| f(memory, host))
}

unsafe extern "C" fn set(host: *mut c_void, t: u32, k: u32, kl: u32, v: u32, vl: u32) -> i64 {
    let [t, k, kl, v, vl] = [t, k, kl, v, vl].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, |context| with_host(context, |memory, host| host.set(memory, t, k, kl, v, vl))) }
}

unsafe extern "C" fn get(host: *mut c_void, t: u32, k: u32, kl: u32, v: u32, max: u32) -> i64 {
    let [t, k, kl, v, max] = [t, k, kl, v, max].map(u32::cast_signed);
    let answer = |context: &mut Context<'_>| {
        if t != 0 {
            return with_host(context, |memory, host| host.get(memory, t, k, kl, v, max));
        }
        // A request over the channel: it may run a host function, which may come back into the guest.
        if context.memory().is_ok_and(|memory| Host::is_call(memory, k, kl)) {
            return functions::answer_call(context, k, kl, v, max);
        }
        with_host(context, |memory, host| host.request(memory, k, kl, v, max))
    };
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, answer) }
}

unsafe extern "C" fn delete(host: *mut c_void, t: u32, k: u32, kl: u32) -> i64 {
    let [t, k, kl] = [t, k, kl].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, |context| with_host(context, |memory, host| host.delete(memory, t, k, kl))) }
}

unsafe extern "C" fn size(host: *mut c_void, t: u32) -> i64 {
    let t = t.cast_signed();
    let answer = |context: &mut Context<'_>| {
        #[cfg(feature = "async")]
        if t == 0 && context.host().waits {
            return fiber::wait(context);
        }
        context.host().size(t)
    };
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, answer) }
}

unsafe extern "C" fn keys(host: *mut c_void, t: u32, b: u32, max: u32) -> i64 {
    let [t, b, max] = [t, b, max].map(u32::cast_signed);
    // SAFETY: C passes the host of the present call.
    unsafe { hook(host, |context| with_host(context, |memory, host| host.keys(memory, t, b, max))) }
}

unsafe extern "C" fn max_memory(host: *mut c_void) -> u64 {
    // SAFETY: C passes the host of the present call, a cell that nobody uses in the meantime.
    unsafe { (*host.cast::<Cell>()).data.max_memory as u64 }
}

/// The clock has ticked.
unsafe extern "C" fn tick(host: *mut c_void) -> i64 {
    #[cfg(feature = "hardened")]
    {
        // SAFETY: C passes the host of the present call, a cell that nobody uses in the meantime.
        let cell = unsafe { &mut *host.cast::<Cell>() };
        let verdict = cell.watchdog.as_mut().and_then(|watchdog| watchdog.verdict(&mut cell.data.host));
        if let Some(kind) = verdict {
            cell.stopped = Some(Stopped(kind));
            return ABANDON;
        }
    }
    let _ = host;
    0
}

/// For a guest that starts: no table exists then, and no host. Each takes a pointer to the most that the memory may grow to.
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
