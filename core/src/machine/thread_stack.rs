//! What a thread has left of its stack.

use crate::value::{Error, Result};

/// For what runs below the guest: stores, what takes printed text, the beginning of host functions.
const OURS: usize = 64 << 10;

/// Refuses a run for which this thread's stack is too small, because nothing could stop it at the stack's end but the
/// system, with the process.
#[inline]
pub(crate) fn check(needed: usize) -> Result<()> {
    match left() {
        Some(left) if left < needed + OURS => Err(too_small(left, needed)),
        _ => Ok(()),
    }
}

#[cold]
fn too_small(left: usize, needed: usize) -> Error {
    Error::invalid(format!(
        "this thread has {left} bytes of stack left, and a run may need {} (max_stack and {OURS} more): give the thread a larger stack, or the engine a \
         smaller max_stack",
        needed + OURS
    ))
}

/// `None` where that is not known: code can also run on a stack that it brings itself.
#[inline]
fn left() -> Option<usize> {
    let place = 0u8;
    let here = (&raw const place).addr();
    let (low, high) = bounds()?;
    (low..high).contains(&here).then(|| here - low)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn bounds() -> Option<(usize, usize)> {
    thread_local! {
        static BOUNDS: Option<(usize, usize)> = ask();
    }
    BOUNDS.try_with(|bounds| *bounds).ok()?
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[cold]
#[allow(unsafe_code, reason = "the system is asked in C")]
fn ask() -> Option<(usize, usize)> {
    let mut attributes = std::mem::MaybeUninit::uninit();
    let (mut low, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the thread is the calling one; what is initialised is destroyed, and the pointers lead to places of the
    // right types.
    let found = unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let found = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        found
    };
    (found == 0).then(|| (low.addr(), low.addr() + size))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bounds() -> Option<(usize, usize)> {
    None
}
