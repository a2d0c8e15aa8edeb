//! Encoded bytes from front to back, and the values in them that refer to nothing.

use super::{is_table, tag};
use crate::util::ByteReader;
use crate::value::{Error, ErrorKind, LuaString, Result, Slot, Value};

pub(super) fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the guest sent a malformed value: {what}")).fatal()
}

pub(super) fn unknown_tag(tag: u8) -> Error {
    malformed(&format!("unknown tag 0x{tag:02x}"))
}

/// A value that refers to nothing, as it lies in the message: strings become values of their own only where they are
/// put.
#[derive(Clone, Copy)]
pub(crate) enum Plain<'a> {
    Nil,
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(&'a [u8]),
}

impl From<Plain<'_>> for Value {
    #[inline]
    fn from(plain: Plain<'_>) -> Self {
        match plain {
            Plain::Nil => Value::Nil,
            Plain::Null => Value::Null,
            Plain::Boolean(b) => Value::Boolean(b),
            Plain::Integer(n) => Value::Integer(n),
            Plain::Float(x) => Value::Float(x),
            Plain::String(s) => Value::String(LuaString::new(s)),
        }
    }
}

impl From<Plain<'_>> for Slot {
    #[inline]
    fn from(plain: Plain<'_>) -> Self {
        Slot::Value(plain.into())
    }
}

/// Reads values from front to back.
pub(crate) struct Reader<'a>(pub(crate) ByteReader<'a>);

#[inline]
fn whole<T>(read: Option<T>) -> Result<T> {
    read.ok_or_else(|| malformed("it ends too early"))
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(ByteReader::new(bytes))
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8> {
        whole(self.0.u8())
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32> {
        whole(self.0.u32())
    }

    #[inline]
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        whole(self.0.take(n))
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let n = self.u32()?;
        self.take(n as usize)
    }

    /// The value behind this tag, when it is one that refers to nothing.
    #[inline]
    pub(crate) fn plain(&mut self, tag: u8) -> Result<Option<Plain<'a>>> {
        Ok(Some(match tag {
            tag::NIL => Plain::Nil,
            tag::NULL => Plain::Null,
            tag::BOOLEAN => Plain::Boolean(self.u8()? != 0),
            tag::INTEGER => Plain::Integer(i64::from_le_bytes(whole(self.0.array())?)),
            tag::FLOAT => Plain::Float(f64::from_le_bytes(whole(self.0.array())?)),
            // The host sees a big integer's digits.
            tag::STRING | tag::BIGINT => Plain::String(self.bytes()?),
            _ => return Ok(None),
        }))
    }

    /// Passes over one value, of a table only its head: what follows is values again, so that nobody has to recurse.
    /// Gives the id when it is a reference to a stored table.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<Option<u32>> {
        match self.u8()? {
            tag::NIL | tag::NULL => {}
            tag::BOOLEAN => drop(self.take(1)?),
            tag::INTEGER | tag::FLOAT | tag::HOST_OBJECT => drop(self.take(8)?),
            tag if is_table(tag) => drop(self.take(8)?),
            tag::STRING | tag::FUNCTION | tag::BUILTIN | tag::BIGINT => drop(self.bytes()?),
            tag::BACKREF | tag::HANDLE | tag::HOST_FUNCTION => drop(self.take(4)?),
            tag::EXTERNAL | tag::STORED_FUNCTION | tag::STORED_UPVALUE => return self.u32().map(Some),
            other => return Err(unknown_tag(other)),
        }
        Ok(None)
    }

    /// Hands the numbers behind these tags to `visit`, in all values that are left. Bytes that make no sense end the walk.
    pub(super) fn numbers_of(&mut self, tags: &[u8], mut visit: impl FnMut(u32)) {
        while let Some((first, number)) = self.0.rest.split_first() {
            if tags.contains(first)
                && let Some(number) = ByteReader::new(number).u32()
            {
                visit(number);
            }
            if self.skip().is_err() {
                return;
            }
        }
    }

    /// Passes over one value with all that is in it.
    #[cfg(feature = "serde")]
    pub(crate) fn skip_whole(&mut self) -> Result<()> {
        let mut left = 1u64;
        while left > 0 {
            left -= 1;
            if let Some((tag, counts)) = self.0.rest.split_first()
                && is_table(*tag)
            {
                let mut counts = ByteReader::new(counts);
                left += u64::from(whole(counts.u32())?) + 2 * u64::from(whole(counts.u32())?);
            }
            self.skip()?;
        }
        Ok(())
    }
}
