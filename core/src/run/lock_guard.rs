//! The lock of a sandbox, and who holds it.

use std::ops::{Deref, DerefMut};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::access_lock::SandboxCell;
use super::state::SandboxState;

/// A number that no other thread has, and never 0.
#[inline]
pub(super) fn this_thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// The sandbox, for the thread that works in it.
pub(crate) struct Locked<'a> {
    cell: &'a SandboxCell,
    state: MutexGuard<'a, SandboxState>,
}

impl<'a> Locked<'a> {
    #[inline]
    pub(super) fn new(cell: &'a SandboxCell, state: MutexGuard<'a, SandboxState>) -> Self {
        cell.holder.store(this_thread(), Ordering::Relaxed);
        Locked { cell, state }
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        self.cell.holder.store(0, Ordering::Relaxed);
    }
}

impl Deref for Locked<'_> {
    type Target = SandboxState;

    #[inline]
    fn deref(&self) -> &SandboxState {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut SandboxState {
        &mut self.state
    }
}
