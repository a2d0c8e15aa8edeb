//! One running guest, whatever executes it.

mod told;

use crate::host::Host;
use crate::image::Image;
pub(crate) use crate::machine::Entry;
use crate::machine::told::Told;
use crate::machine::{At, Buffer, Data, Export, Known, Machine, NotStarted, Owned};
use crate::protocol::{INSTRUCTION_GRANT, PROTOCOL_REVISION};
use crate::{Error, ErrorKind, MemoryStats, Result};

/// A guest that somebody has at hand: from outside, or inside a host function that it called.
pub(crate) struct Context<'a>(pub(crate) At<'a>);

/// One running guest.
pub(crate) struct Guest(Owned);

macro_rules! exports {
    ($($name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        impl Context<'_> {
            $(
                #[allow(dead_code, reason = "scripts are run through `execute`, which keeps what it has looked up")]
                pub(crate) fn $name(&mut self, $($param: $type),*) -> Result<exports!(@result $($result)?)> {
                    self.0.call(Export::$name, ($($param,)*))
                }
            )+
        }
    };
    (@result) => { () };
    (@result $result:ty) => { $result };
}

crate::machine::exports::for_each_export!(exports);

impl Guest {
    /// Makes the instance that of a sandbox which begins.
    pub(crate) fn start(instance: Owned) -> Result<Self, Box<NotStarted>> {
        let mut guest = Guest(instance);
        match guest.context().start() {
            Ok(()) => Ok(guest),
            Err(error) => Err(Box::new(NotStarted {
                error,
                host: guest.into_host(),
                #[cfg(not(feature = "static"))]
                exhausted: false,
            })),
        }
    }

    #[inline]
    pub(crate) fn context(&mut self) -> Context<'_> {
        Context(self.0.at())
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.0.data_mut().host
    }

    /// Sees to it that host functions may be futures; whether that was possible with this instance.
    #[cfg(feature = "async")]
    pub(crate) fn make_waiting(&mut self) -> bool {
        self.0.make_waiting()
    }

    /// Makes a blank instance that of a sandbox.
    pub(crate) fn take_over(&mut self, host: Host) {
        let data = self.0.data_mut();
        let waits = data.host.waits;
        data.host = host;
        data.host.revision = data.revision;
        data.host.waits = waits;
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_host(self) -> Host {
        self.0.into_data().host
    }

    /// Whether this is somebody else's guest.
    pub(crate) fn is_foreign(&self) -> bool {
        !self.0.facts().ready
    }

    #[inline]
    pub(crate) fn told(&self) -> &Told {
        &self.0.data().told
    }

    pub(crate) fn buffer_size(&self) -> u32 {
        self.0.data().buffer.size
    }
}

impl Context<'_> {
    #[inline]
    pub(crate) fn data(&self) -> &Data {
        self.0.data()
    }

    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        self.0.data_mut()
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.0.data_mut().host
    }

    /// The same guest, for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Context<'_> {
        Context(self.0.reborrow())
    }

    /// Runs the guest; what it answers.
    #[inline]
    pub(crate) fn execute(&mut self, entry: Entry) -> Result<i32> {
        self.0.execute(entry)
    }

    /// As [`execute`](Self::execute), for an instance whose host functions may be futures.
    #[cfg(feature = "async")]
    pub(crate) async fn execute_async(&mut self, entry: Entry) -> Result<i32> {
        self.0.execute_async(entry).await
    }

    /// Memory and host at the same time.
    #[inline]
    pub(crate) fn memory_and_host(&mut self) -> Result<(&mut [u8], &mut Host)> {
        let (bytes, data) = self.0.memory_and_data()?;
        Ok((bytes, &mut data.host))
    }

    fn start(&mut self) -> Result<()> {
        self.memory()?;
        let ready = self.0.facts().ready;
        if ready && let Some(known) = self.0.facts().known.get().copied() {
            self.set_known(known);
            return Ok(());
        }
        if !ready && self.init()? != 0 {
            return Err(Error::new(ErrorKind::Memory, "the guest could not start Lua"));
        }
        let mut revision = 1;
        if self.0.offers(Export::get_protocol_revision) {
            revision = self.get_protocol_revision()?.clamp(1, PROTOCOL_REVISION.cast_signed()).cast_unsigned();
        }
        if !ready && revision >= 2 {
            self.set_host_revision(PROTOCOL_REVISION.cast_signed())?;
            if self.0.offers(Export::set_transactional) {
                self.set_transactional(1)?;
            }
            if self.0.offers(Export::set_instruction_grant) {
                self.set_instruction_grant(INSTRUCTION_GRANT)?;
            }
        }
        let mut metrics = 0;
        if revision >= 2 && self.0.offers(Export::get_run_metrics) {
            metrics = self.get_run_metrics()?.cast_unsigned();
        }
        self.refresh_buffer()?;
        let known = Known { buffer: self.data().buffer, revision, metrics };
        self.set_known(known);
        if ready {
            let _ = self.0.facts().known.set(known);
        }
        Ok(())
    }

    fn set_known(&mut self, known: Known) {
        let data = self.data_mut();
        data.buffer = known.buffer;
        data.metrics = known.metrics;
        data.revision = known.revision;
        data.host.revision = known.revision;
    }

    /// Asks the guest where its buffer is now.
    pub(crate) fn refresh_buffer(&mut self) -> Result<()> {
        let ptr = self.get_buffer_ptr()?.cast_unsigned();
        let size = self.get_buffer_size()?.cast_unsigned();
        if u64::from(ptr) + u64::from(size) > self.memory_size() || ptr == 0 {
            return Err(Error::internal("the guest's buffer does not lie in its memory").fatal());
        }
        self.data_mut().buffer = Buffer { ptr, size };
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

    /// The start of the I/O buffer. A guest may claim any length: what does not lie in the buffer is refused.
    #[inline]
    pub(crate) fn result(&self, len: u32) -> Result<&[u8]> {
        let buffer = self.data().buffer;
        if len > buffer.size {
            return Err(Error::internal("the guest gave a result that is larger than its buffer").fatal());
        }
        self.bytes(buffer.ptr, len)
    }

    /// Makes room in the I/O buffer.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        let size = self.data().buffer.size as usize;
        if len <= size {
            return Ok(());
        }
        let too_large = || Error::new(ErrorKind::Memory, format!("{len} bytes are more than the guest has room for"));
        if self.data().revision < 2 {
            return Err(Error::conversion(format!("{len} bytes are too large for this guest ({size} at most)")));
        }
        let wanted = i32::try_from(len).map_err(|_| too_large())?;
        let ptr = self.reserve_buffer(wanted)?;
        self.refresh_buffer()?;
        if ptr == 0 || (self.data().buffer.size as usize) < len { Err(too_large()) } else { Ok(()) }
    }

    /// Writes the parts one behind another to the I/O buffer, which has to be large enough.
    #[inline]
    pub(crate) fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut at = self.data().buffer.ptr as usize;
        let (memory, _) = self.0.memory_and_data()?;
        for part in parts {
            memory
                .get_mut(at..at + part.len())
                .ok_or_else(|| Error::internal("the guest's buffer does not lie in its memory").fatal())?
                .copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }

    /// Makes this new instance one that goes on where another one stands between two runs. Then the memory is everything that a guest is: its wasm globals have
    /// their first values.
    #[cfg(feature = "async")]
    pub(crate) fn go_on_from(&mut self, other: &mut Context<'_>) -> Result<()> {
        let memory = other.memory()?;
        self.grown(memory.len())?.copy_from_slice(memory);
        *self.told() = *other.told();
        self.refresh_buffer()
    }

    /// So much of the memory, which grows when it has to.
    fn grown(&mut self, size: usize) -> Result<&mut [u8]> {
        const PAGE: u64 = 1 << 16;
        let missing = (size as u64).saturating_sub(self.memory_size());
        if missing > 0 {
            self.0.grow(missing.div_ceil(PAGE))?;
        }
        let room = self.0.memory_and_data()?.0.get_mut(..size);
        room.ok_or_else(|| Error::internal("the memory did not grow").fatal())
    }

    /// All of the guest's memory.
    #[inline]
    pub(crate) fn memory(&self) -> Result<&[u8]> {
        self.0.memory()
    }

    /// Makes this new instance one that goes on where the image was taken.
    pub(crate) fn put_image(&mut self, image: &Image, whole: bool) -> Result<()> {
        let memory = self.grown(image.size())?;
        image.put(memory, whole).ok_or_else(|| Error::internal("the image does not fit the memory").fatal())?;
        self.refresh_buffer()
    }

    /// What the guest counted in its last run: ticks, and the most bytes in use at once.
    #[inline]
    pub(crate) fn run_metrics(&self) -> (u64, u64) {
        let at = self.data().metrics;
        let bytes = if at == 0 { None } else { self.bytes(at, 12).ok() };
        let Some((ticks, rest)) = bytes.and_then(<[u8]>::split_first_chunk) else {
            return (0, 0);
        };
        let peak = rest.first_chunk().copied().map_or(0, u32::from_le_bytes);
        (u64::from_le_bytes(*ticks), u64::from(peak))
    }

    /// The next number that the guest would give a table, where it tells.
    #[inline]
    pub(crate) fn next_table_id(&mut self) -> Option<Result<u32>> {
        self.has_table_ids().then(|| self.0.next_table_id().map(i32::cast_unsigned))
    }

    /// What the last run printed, where the guest keeps it.
    pub(crate) fn captured_output(&self) -> &[u8] {
        let at = self.data().metrics;
        let bytes = if at == 0 { None } else { self.bytes(at.saturating_add(16), 8).ok() };
        let Some((ptr, len)) = bytes.and_then(<[u8]>::split_first_chunk) else {
            return &[];
        };
        let len = len.first_chunk().copied().map_or(0, u32::from_le_bytes);
        self.bytes(u32::from_le_bytes(*ptr), len).unwrap_or_default()
    }

    /// Bounds the whole wasm memory, for a guest that can't bound Lua's heap.
    pub(crate) fn set_max_memory(&mut self, bytes: u64) {
        let data = self.data_mut();
        data.max_memory = data.max_memory.min(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    pub(crate) fn memory_stats(&mut self) -> Result<MemoryStats> {
        let buffer = self.data().buffer.ptr;
        self.get_memory_stats(buffer.cast_signed())?;
        let bytes = self.bytes(buffer, 12)?;
        let mut numbers = bytes.chunks_exact(4).map(|c| c.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)));
        let mut next = || numbers.next().unwrap_or_default();
        let (buffer_bytes, lua_bytes) = (next(), next());
        Ok(MemoryStats { buffer_bytes, lua_bytes, wasm_bytes: self.memory_size() })
    }

    pub(crate) fn memory_size(&self) -> u64 {
        self.memory().map_or(0, |memory| memory.len() as u64)
    }
}

/// Which of the optional exports the guest has.
macro_rules! offers {
    ($($name:ident: $export:ident;)+) => {
        impl Context<'_> {
            $(
                pub(crate) fn $name(&self) -> bool {
                    self.0.offers(Export::$export)
                }
            )+
        }
    };
}

offers! {
    has_table_lists: list_table_ids;
    has_table_ids: allocate_table_ids;
    has_table_counter: set_table_counter;
    has_leave_tables: leave_tables;
    has_settle_random: settle_random;
    has_undo: undo_run;
    has_keep_failed: set_keep_failed;
    has_forget_handles: forget_handles;
    has_forget_tables: forget_tables;
    has_memory_limit: set_memory_limit;
    has_output_limit: set_output_limit;
    has_limit_review: review_limits;
    has_print_streaming: set_print_streaming;
    has_error_details: get_error_details;
    has_deterministic: set_deterministic;
    has_instruction_grant: set_instruction_grant;
}
