//! What belongs to one process.

use std::sync::OnceLock;

/// The number of this process.
#[inline]
pub(crate) fn id() -> u32 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(id) = linux::known() {
        return id;
    }
    std::process::id()
}

/// Asking the kernel costs as much as reading an entry, and a commit would ask a dozen times. So the answer is kept
/// where a fork wipes it.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code, reason = "memory of the system's: each block says why it is sound")]
mod linux {
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

    /// Where it is; null before the first question. No lock: a fork may come in between.
    static KEPT: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
    /// It is here where the kernel wipes nothing (before Linux 4.14).
    static NOWHERE: AtomicU32 = AtomicU32::new(0);

    #[inline]
    pub(super) fn known() -> Option<u32> {
        let mut kept = KEPT.load(Ordering::Acquire);
        if kept.is_null() {
            kept = begin();
        }
        if ptr::eq(kept, &NOWHERE) {
            return None;
        }
        // SAFETY: neither null nor ever unmapped.
        let kept = unsafe { &*kept };
        Some(match kept.load(Ordering::Relaxed) {
            0 => {
                let id = std::process::id();
                kept.store(id, Ordering::Relaxed);
                id
            }
            id => id,
        })
    }

    #[cold]
    fn begin() -> *mut AtomicU32 {
        let page = map().unwrap_or(ptr::from_ref(&NOWHERE).cast_mut());
        // Another thread may have been faster; then a page stays unused.
        KEPT.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire).err().unwrap_or(page)
    }

    fn map() -> Option<*mut AtomicU32> {
        const LEN: usize = size_of::<AtomicU32>();
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of our own. It is zero, a valid AtomicU32, and aligned to a page.
        unsafe {
            let page = libc::mmap(ptr::null_mut(), LEN, access, kind, -1, 0);
            if page == libc::MAP_FAILED {
                return None;
            }
            if libc::madvise(page, LEN, libc::MADV_WIPEONFORK) != 0 {
                libc::munmap(page, LEN);
                return None;
            }
            Some(page.cast())
        }
    }
}

/// Something of which each process has its own. One that came from a fork has none of its parent's threads, and some of
/// them may have held locks in it.
pub(crate) struct PerProcess<T> {
    process: u32,
    value: T,
    /// That of a process that came from this one.
    next: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    /// Of no process.
    pub(crate) const fn new(value: T) -> Self {
        PerProcess { process: 0, value, next: OnceLock::new() }
    }

    /// That of this process.
    pub(crate) fn get(&'static self, make: fn() -> T) -> &'static T {
        let process = id();
        let mut own = self;
        while own.process != process {
            own = own.next.get_or_init(|| Box::new(PerProcess { process, value: make(), next: OnceLock::new() }));
        }
        &own.value
    }
}
