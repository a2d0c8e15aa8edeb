//! A clock that costs next to nothing to read.

/// What the clock showed last. It goes on in steps of a few milliseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CoarseTick(i64, i64);

impl CoarseTick {
    /// Whether the clock has gone on since it was looked at last. Where there is no such clock it always has.
    #[inline]
    pub(crate) fn passed(&mut self) -> bool {
        match CoarseTick::now() {
            Some(now) => std::mem::replace(self, now) != now,
            None => true,
        }
    }

    #[cfg(all(feature = "wasmtime", any(target_os = "linux", target_os = "android")))]
    #[inline]
    #[allow(clippy::useless_conversion, reason = "the type is another one on processors of 32 bits")]
    fn now() -> Option<CoarseTick> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        Some(CoarseTick(now.tv_sec, now.tv_nsec.into()))
    }

    #[cfg(not(all(feature = "wasmtime", any(target_os = "linux", target_os = "android"))))]
    fn now() -> Option<CoarseTick> {
        None
    }
}
