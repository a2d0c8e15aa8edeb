//! Bytes that lie on pages of their own.

/// What begins where a page does, in systems with pages of 4 KiB.
#[repr(C, align(4096))]
pub(super) struct PageAligned<B: ?Sized>(pub(super) B);
