//! Clock and randomness that are the same in every run.

use crate::protocol::clock;

/// 2000-01-01 00:00:00 UTC in nanoseconds since 1970.
const START: i64 = 946_684_800_000_000_000;

/// A clock that instructions drive, and seeds that follow from one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VirtualClock {
    state: u64,
    /// Ticks of all runs before the present one.
    passed: u64,
}

impl VirtualClock {
    pub(crate) fn new(seed: u64) -> Self {
        VirtualClock { state: seed, passed: 0 }
    }

    /// What it is made of: the state that seeds come from, and the ticks that have passed.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.state, self.passed)
    }

    pub(crate) fn from_parts(state: u64, passed: u64) -> Self {
        VirtualClock { state, passed }
    }

    /// A run has taken this many ticks.
    pub(crate) fn pass(&mut self, ticks: u64) {
        self.passed = self.passed.saturating_add(ticks);
    }

    /// Nanoseconds on this clock.
    pub(crate) fn read(&self, which: u8, ticks: u64) -> Option<i64> {
        let total = i64::try_from(self.passed.saturating_add(ticks)).unwrap_or(i64::MAX);
        match which {
            clock::WALL => Some(START.saturating_add(total)),
            clock::PROCESSOR => Some(i64::try_from(ticks).unwrap_or(i64::MAX)),
            _ => None,
        }
    }

    /// The next seed.
    pub(crate) fn seed(&mut self) -> [u8; 16] {
        let mut seed = [0; 16];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes());
        }
        seed
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
