//! Helpers that have nothing to do with Lua.

#[cfg(feature = "async")]
mod block_on;
mod byte_reader;
mod coarse_clock;
pub(crate) mod compute_slot;
pub(crate) mod ordered_map;
pub(crate) mod process;
mod small_bytes;
mod stop_signal;

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "async")]
pub(crate) use self::block_on::block_on;
pub(crate) use self::byte_reader::ByteReader;
pub(crate) use self::coarse_clock::CoarseTick;
pub(crate) use self::small_bytes::SmallBytes;
pub(crate) use self::stop_signal::StopSignal;

/// Locks. Whoever panicked with the lock has left nothing half done: for data of which that is true.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
