//! Byte strings that need no allocation while they are short.

use std::fmt;

/// How many bytes fit without an allocation: decimal keys, numbers, table references and short strings do.
const INLINE: usize = 22;

/// An immutable byte string of 24 bytes, short content inside.
#[derive(Clone)]
pub(crate) enum SmallBytes {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
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
            None => SmallBytes::Heap(bytes.into()),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            SmallBytes::Inline(len, data) => data.get(..usize::from(*len)).unwrap_or(&[]),
            SmallBytes::Heap(data) => data,
        }
    }
}

impl Default for SmallBytes {
    fn default() -> Self {
        SmallBytes::Inline(0, [0; INLINE])
    }
}

impl PartialEq for SmallBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
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
