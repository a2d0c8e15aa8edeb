//! Functions that the host no longer needs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::util::lock;

/// Handles whose last clone was dropped. The guest hears of them at the next entry: a drop never runs the guest.
#[derive(Default)]
pub(crate) struct ReleaseQueue {
    /// In a sandbox with a seed nothing is released: Lua's memory would depend on when the host, or its garbage
    /// collector, lets go.
    keeps: bool,
    len: AtomicUsize,
    queue: Mutex<Vec<(u64, u32)>>,
}

impl ReleaseQueue {
    pub(crate) fn new(keeps: bool) -> Self {
        ReleaseQueue { keeps, ..Self::default() }
    }

    pub(super) fn push(&self, instance: u64, id: u32) {
        if self.keeps {
            return;
        }
        let mut queue = lock(&self.queue);
        queue.push((instance, id));
        self.len.store(queue.len(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Everything that was queued so far.
    #[inline]
    pub(crate) fn take(&self) -> Vec<(u64, u32)> {
        if self.len() == 0 {
            return Vec::new();
        }
        let mut queue = lock(&self.queue);
        self.len.store(0, Ordering::Release);
        std::mem::take(&mut *queue)
    }
}
