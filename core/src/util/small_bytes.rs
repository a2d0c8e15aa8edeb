//! Byte strings that need no allocation while they are short.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// How many bytes fit without an allocation: decimal keys, numbers, table references, short strings and most names of
/// fields do. A [`Value`](crate::Value) is no larger for it than with a reference.
const INLINE: usize = 22;

/// An immutable byte string of 24 bytes, short content inside, long content shared.
#[derive(Clone)]
pub(crate) enum SmallBytes {
    Inline(u8, [u8; INLINE]),
    Shared(Arc<[u8]>),
}

impl SmallBytes {
    #[inline]
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut data = [0; INLINE];
        match data.get_mut(..bytes.len()) {
            Some(part) => {
                part.copy_from_slice(bytes);
                SmallBytes::Inline(bytes.len() as u8, data)
            }
            None => SmallBytes::Shared(bytes.into()),
        }
    }

    /// What it takes besides its own size.
    #[inline]
    pub(crate) fn heap(&self) -> usize {
        const COUNTS_AND_HEADER: usize = 32;
        match self {
            SmallBytes::Inline(..) => 0,
            SmallBytes::Shared(data) => data.len() + COUNTS_AND_HEADER,
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            SmallBytes::Inline(len, data) => data.get(..usize::from(*len)).unwrap_or(&[]),
            SmallBytes::Shared(data) => data,
        }
    }
}

impl Default for SmallBytes {
    fn default() -> Self {
        SmallBytes::Inline(0, [0; INLINE])
    }
}

impl PartialEq for SmallBytes {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for SmallBytes {}

impl Hash for SmallBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl PartialOrd for SmallBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SmallBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl fmt::Debug for SmallBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_bytes_of_every_length() {
        assert_eq!(size_of::<SmallBytes>(), 24);
        for len in 0..64 {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let small = SmallBytes::new(&bytes);
            assert_eq!(small.as_slice(), bytes);
        }
    }
}
