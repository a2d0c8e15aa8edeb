//! What passes through the guest's I/O buffer, and other bytes of its memory.

use super::GuestMut;
use super::instance::Buffer;
use super::memory_delta::MemoryDelta;
use crate::machine::Entry;
use crate::util::ByteReader;
use crate::value::{Error, ErrorKind, MemoryStats, Result};

impl GuestMut<'_> {
    /// Asks the guest where its buffer is now.
    pub(crate) fn refresh_buffer(&mut self) -> Result<()> {
        let ptr = self.get_buffer_ptr()?.cast_unsigned();
        let size = self.get_buffer_size()?.cast_unsigned();
        if u64::from(ptr) + u64::from(size) > self.memory_size() || ptr == 0 {
            return Err(Error::internal("the guest's buffer does not lie in its memory").fatal());
        }
        self.state_mut().layout.buffer = Buffer { ptr, size };
        Ok(())
    }

    /// Bytes of the guest's memory.
    #[inline]
    pub(crate) fn bytes(&self, ptr: u32, len: u32) -> Result<&[u8]> {
        let start = ptr as usize;
        self.memory()?
            .get(start..start + len as usize)
            .ok_or_else(|| Error::internal("the guest named bytes outside of its memory").fatal())
    }

    /// A number in the guest's memory.
    #[inline]
    pub(crate) fn u32_at(&self, ptr: u32) -> Result<u32> {
        Ok(ByteReader::new(self.bytes(ptr, 4)?).u32().unwrap_or_default())
    }

    /// The start of the I/O buffer. A guest may claim any length: what does not lie in the buffer is refused.
    #[inline]
    pub(crate) fn result(&self, len: u32) -> Result<&[u8]> {
        let buffer = self.state().layout.buffer;
        if len > buffer.size {
            return Err(Error::internal("the guest gave a result that is larger than its buffer").fatal());
        }
        self.bytes(buffer.ptr, len)
    }

    /// A run of the plain source of this length that lies in the buffer.
    #[inline]
    pub(crate) fn compute_entry(&self, len: usize) -> Entry {
        Entry::Compute { ptr: self.state().layout.buffer.ptr.cast_signed(), len: len as i32 }
    }

    /// Makes room in the I/O buffer.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        let size = self.state().layout.buffer.size as usize;
        if len <= size {
            return Ok(());
        }
        let too_large = || Error::new(ErrorKind::Memory, format!("{len} bytes are more than the guest has room for"));
        if self.revision() < 2 {
            return Err(Error::conversion(format!("{len} bytes are too large for this guest ({size} at most)")));
        }
        let wanted = i32::try_from(len).map_err(|_| too_large())?;
        let ptr = self.reserve_buffer(wanted)?;
        self.refresh_buffer()?;
        if ptr == 0 || (self.state().layout.buffer.size as usize) < len { Err(too_large()) } else { Ok(()) }
    }

    /// Writes the parts one behind another to the I/O buffer, which has to be large enough.
    #[inline]
    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut at = self.state().layout.buffer.ptr as usize;
        let (memory, _) = self.memory_and_host()?;
        for part in parts {
            memory
                .get_mut(at..at + part.len())
                .ok_or_else(|| Error::internal("the guest's buffer does not lie in its memory").fatal())?
                .copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    /// Makes this new instance one that goes on where the delta was taken.
    pub(crate) fn put_delta(&mut self, delta: &MemoryDelta, whole: bool) -> Result<()> {
        let memory = self.grown(delta.size())?;
        delta.put(memory, whole).ok_or_else(|| Error::internal("the delta does not fit the memory").fatal())?;
        self.refresh_buffer()
    }

    /// What the guest counted in its last run: ticks, and the most bytes in use at once.
    #[inline]
    pub(crate) fn run_metrics(&self) -> (u64, u64) {
        let at = self.state().layout.metrics;
        let mut reader = ByteReader::new(if at == 0 { &[] } else { self.bytes(at, 12).unwrap_or_default() });
        (reader.u64().unwrap_or_default(), reader.u32().unwrap_or_default().into())
    }

    /// What the last run printed, where the guest keeps it.
    pub(crate) fn captured_output(&self) -> &[u8] {
        let at = self.state().layout.metrics;
        let place = if at == 0 { &[] } else { self.bytes(at.saturating_add(16), 8).unwrap_or_default() };
        let mut reader = ByteReader::new(place);
        let (ptr, len) = (reader.u32().unwrap_or_default(), reader.u32().unwrap_or_default());
        self.bytes(ptr, len).unwrap_or_default()
    }

    pub(crate) fn memory_stats(&mut self) -> Result<MemoryStats> {
        let buffer = self.state().layout.buffer.ptr;
        self.get_memory_stats(buffer.cast_signed())?;
        let bytes = self.bytes(buffer, 12)?;
        let mut reader = ByteReader::new(bytes);
        let mut next = || u64::from(reader.u32().unwrap_or_default());
        let (buffer_bytes, lua_bytes) = (next(), next());
        Ok(MemoryStats { buffer_bytes, lua_bytes, wasm_bytes: self.memory_size() })
    }
}
