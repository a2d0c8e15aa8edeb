//! The lock of a sandbox, and who has it.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::{Inner, Shared};

/// A number that no other thread has, and never 0.
#[inline]
pub(super) fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// The sandbox, for the thread that works in it.
pub(crate) struct Locked<'a> {
    shared: &'a Shared,
    inner: MutexGuard<'a, Inner>,
}

impl<'a> Locked<'a> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, inner: MutexGuard<'a, Inner>) -> Self {
        shared.holder.store(this_thread(), Ordering::Relaxed);
        Locked { shared, inner }
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shared.holder.store(0, Ordering::Relaxed);
    }
}

impl Deref for Locked<'_> {
    type Target = Inner;

    #[inline]
    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}
