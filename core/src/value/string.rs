//! Lua strings: bytes.

use std::borrow::{Borrow, Cow};
use std::fmt;

use crate::util::SmallBytes;

/// A Lua string: any bytes, often UTF-8. Immutable; cloning is cheap.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LuaString(SmallBytes);

impl LuaString {
    /// The string with these bytes.
    #[must_use]
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        LuaString(SmallBytes::new(bytes))
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// The text, if it is valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// The text, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for LuaString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_string_lossy())
    }
}

impl fmt::Debug for LuaString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) => write!(f, "{text:?}"),
            None => write!(f, "\"{}\"", self.as_bytes().escape_ascii()),
        }
    }
}

impl AsRef<[u8]> for LuaString {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Borrow<[u8]> for LuaString {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&[u8]> for LuaString {
    fn from(bytes: &[u8]) -> Self {
        LuaString::new(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for LuaString {
    fn from(bytes: &[u8; N]) -> Self {
        LuaString::new(bytes)
    }
}

impl From<Vec<u8>> for LuaString {
    fn from(bytes: Vec<u8>) -> Self {
        LuaString::new(&bytes)
    }
}

impl From<&str> for LuaString {
    fn from(text: &str) -> Self {
        LuaString::new(text.as_bytes())
    }
}

impl From<String> for LuaString {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl PartialEq<str> for LuaString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for LuaString {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<[u8]> for LuaString {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_bytes() == other
    }
}
