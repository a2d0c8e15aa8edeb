//! A whole sandbox at one moment, and as bytes. The format is in `docs/state.md`.

mod restoring;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::guest::factory::GuestFactory;
use crate::guest::host_functions::FunctionNames;
use crate::guest::limits::Limits;
use crate::guest::memory_delta::{BLOCK, MemoryDelta, PAGE};
use crate::guest::virtual_clock::VirtualClock;
use crate::machine::GuestId;
use crate::run::waiting_run::WaitingRun;
use crate::store::reserved::is_valid;
use crate::store::{MemoryStore, WriteList};
use crate::tables::{StoreLimit, TableSnapshot};
use crate::util::{ByteReader, SmallBytes};
use crate::value::{Error, Result, host_values};

const MAGIC: &[u8; 8] = b"LUASNAP\n";
const FORMAT: u32 = 3;

/// Magic, format, checksum, guest, checksum of a new guest's memory.
const HEAD: usize = 8 + 4 + 4 + 32 + 4;

/// The content is packed in pieces of this size, and unpacked one at a time.
const PIECE: usize = 4 << 20;

/// A copy of a whole sandbox: globals, closures, suspended coroutines and tables. See
/// [`Sandbox::snapshot`](crate::Sandbox::snapshot).
///
/// It belongs to no sandbox: any number of sandboxes, of any engine with the same guest, can be restored from it.
/// Cloning gives the same snapshot. It holds the pages of memory that were written to since Lua started, and a copy of
/// the tables.
#[derive(Clone)]
pub struct Snapshot(Arc<Parts>);

/// How a snapshot is restored, for [`Sandbox::restore_with`](crate::Sandbox::restore_with).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    pub(crate) tables: Option<bool>,
    pub(crate) whatever_size: bool,
}

impl RestoreOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        RestoreOptions::default()
    }

    /// Whether `_home` and all other tables become those of the snapshot too. Then everything else that the sandbox's
    /// store holds is **removed**. By default this is done for tables in memory, while a sandbox with its own store
    /// keeps what the store holds.
    #[must_use]
    pub fn tables(mut self, tables: bool) -> Self {
        self.tables = Some(tables);
        self
    }

    /// For bindings that make a fork by restoring: it is what the sandbox is, whatever a run was allowed.
    #[doc(hidden)]
    #[must_use]
    pub fn whatever_size(mut self) -> Self {
        self.whatever_size = true;
        self
    }
}

/// What a snapshot is made of.
pub(crate) struct Parts {
    pub(crate) guest: GuestId,
    pub(crate) memory: MemoryDelta,
    pub(crate) functions: FunctionNames,
    pub(crate) virtual_clock: Option<VirtualClock>,
    pub(crate) tables: TableSnapshot,
    pub(crate) waiting: Option<WaitingRun>,
    /// Functions of the host without a name, which bytes can't hold.
    pub(crate) values: host_values::List,
}

impl Snapshot {
    pub(crate) fn new(parts: Parts) -> Self {
        Snapshot(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The snapshot as bytes: packed, with a checksum, for any platform. They are for this version of the guest: in a
    /// program with another `lua.wasm`, [`from_bytes`](Self::from_bytes) refuses them. For data that has to outlive
    /// versions, use [`Sandbox::export_home`](crate::Sandbox::export_home).
    ///
    /// # Errors
    /// `Conversion` if Lua held [functions of the host](crate::Function::new) that have no name.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let parts = &*self.0;
        let held = parts.values.len();
        if held > 0 {
            return Err(Error::conversion(format!(
                "Lua holds {held} functions of the host that have no name, which can't be kept outside of the process: register them by a name, or let Lua let go of them"
            )));
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&parts.guest);
        bytes.extend_from_slice(&parts.memory.base().sum().to_le_bytes());
        let content = content(parts);
        for piece in content.chunks(PIECE) {
            let packed = lz4_flex::block::compress(piece);
            bytes.extend_from_slice(&(piece.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&packed);
        }
        let sum = checksum(&bytes);
        if let Some(place) = bytes.get_mut(12..16) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        Ok(bytes)
    }

    /// What [`to_bytes`](Self::to_bytes) returned, which may be anything.
    pub(crate) fn parse(factory: &GuestFactory, bytes: &[u8]) -> Result<Snapshot> {
        if !bytes.starts_with(MAGIC) {
            return Err(invalid("its first bytes are wrong"));
        }
        let (head, packed) = bytes.split_at_checked(HEAD).ok_or_else(|| invalid("it was cut off"))?;
        let number = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |n| u32::from_le_bytes(*n));
        let format = number(8);
        if format != FORMAT {
            return Err(invalid(&format!("it has format {format}, but this version of luacell reads only {FORMAT}")));
        }
        if number(12) != checksum(bytes) {
            return Err(invalid("it is damaged or was cut off: its checksum is wrong"));
        }
        let guest: GuestId = head.get(16..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        check_guest(factory, &guest)?;
        let base = factory.base()?;
        if number(48) != base.sum() {
            return Err(invalid("it was made by another version of luacell, with a different guest"));
        }
        let broken = || invalid("its content makes no sense");
        let most = factory.max_memory();
        let mut content = Content::new(packed).ok_or_else(broken)?;
        let size = content.u64().ok_or_else(broken)?;
        if size > most {
            return Err(too_large(&format!("{size} bytes of memory"), most));
        }
        let (numbers, pages) = content.pages(size).ok_or_else(broken)?;
        let memory = MemoryDelta::from_differences(&base, size, numbers, pages).ok_or_else(broken)?;
        let mut room = most;
        let functions = content.functions(&mut room).ok_or_else(broken)?;
        let functions = functions.ok_or_else(|| too_large("host functions", most))?;
        let virtual_clock = content.virtual_clock().ok_or_else(broken)?;
        let tables = content.tables(&mut room).ok_or_else(broken)?.ok_or_else(|| too_large("tables", most))?;
        let waiting = content.waiting(&mut room, tables.next_id()).ok_or_else(broken)?;
        let waiting = waiting.ok_or_else(|| too_large("writes of a run that waits", most))?;
        if content.left > 0 {
            return Err(invalid("there is something after its content"));
        }
        let values = host_values::List::default();
        Ok(Snapshot::new(Parts { guest, memory, functions, virtual_clock, tables, waiting, values }))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("pages", &self.0.memory.page_count())
            .field("tables", &self.0.tables.store().ids().count())
            .finish()
    }
}

/// Gives an error when a snapshot is not of the guest that the engine runs.
pub(crate) fn check_guest(factory: &GuestFactory, guest: &GuestId) -> Result<()> {
    if factory.guest_id() == guest {
        return Ok(());
    }
    let hex = |id: &GuestId| id.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    Err(Error::invalid(format!(
        "the snapshot belongs to another guest: its lua.wasm has the SHA-256 {}..., and this one has {}...",
        hex(guest),
        hex(factory.guest_id())
    )))
}

fn too_large(what: &str, most: u64) -> Error {
    invalid(&format!("its {what} are more than the {most} bytes that the engine's max_memory allows"))
}

fn invalid(why: &str) -> Error {
    Error::invalid(format!("this snapshot can't be restored: {why}"))
}

/// Of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(..12).unwrap_or_default());
    hasher.update(bytes.get(16..).unwrap_or_default());
    hasher.finalize()
}

/// Everything behind the head, not packed yet.
fn content(parts: &Parts) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&(parts.memory.size() as u64).to_le_bytes());
    out.extend_from_slice(&(parts.memory.page_count() as u32).to_le_bytes());
    parts.memory.put_differences(&mut out);
    out.extend_from_slice(&parts.functions.next.to_le_bytes());
    out.extend_from_slice(&(parts.functions.list.len() as u32).to_le_bytes());
    for (number, name) in &parts.functions.list {
        out.extend_from_slice(&number.to_le_bytes());
        put_bytes(&mut out, name.as_bytes());
    }
    let (state, passed) = parts.virtual_clock.map(VirtualClock::parts).unwrap_or_default();
    out.push(u8::from(parts.virtual_clock.is_some()));
    out.extend_from_slice(&state.to_le_bytes());
    out.extend_from_slice(&passed.to_le_bytes());
    let store = parts.tables.store();
    let mut ids: Vec<u32> = store.ids().collect();
    ids.sort_unstable();
    out.extend_from_slice(&parts.tables.next_id().to_le_bytes());
    out.extend_from_slice(&(ids.len() as u32).to_le_bytes());
    for id in ids {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&(store.entries(id).count() as u64).to_le_bytes());
        for (key, value) in store.entries(id) {
            put_bytes(&mut out, key.as_bytes());
            put_bytes(&mut out, value);
        }
    }
    out.push(u8::from(parts.waiting.is_some()));
    if let Some(run) = &parts.waiting {
        put_waiting(&mut out, run);
    }
    out
}

/// Times are nanoseconds, or the largest number for none.
fn put_waiting(out: &mut Vec<u8>, run: &WaitingRun) {
    let nanoseconds =
        |time: Option<Duration>| time.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(u64::MAX);
    let Limits { memory, instructions, timeout, output, store, host_calls, source, commit_on_error } = run.limits;
    let numbers = [memory, instructions, nanoseconds(timeout), output, store.bytes, store.entries, host_calls, source];
    let so_far = [nanoseconds(run.left), run.host_calls, run.bytes_stored, run.last_error.into()];
    for number in numbers.into_iter().chain(so_far) {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(commit_on_error));
    out.extend_from_slice(&(run.writes.removed.len() as u32).to_le_bytes());
    for table in &run.writes.removed {
        out.extend_from_slice(&table.to_le_bytes());
    }
    out.extend_from_slice(&(run.writes.entries.len() as u32).to_le_bytes());
    for (table, key, value) in &run.writes.entries {
        out.extend_from_slice(&table.to_le_bytes());
        put_bytes(out, key.as_slice());
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put_bytes(out, value.as_slice());
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What an entry takes in memory beside long keys and values, and what a table does beside its entries. A function is
/// no more than an entry.
const ENTRY: u64 = 96;
const TABLE: u64 = 128;

/// Content that may be anything, unpacked as far as it is read.
struct Content<'a> {
    packed: &'a [u8],
    piece: Vec<u8>,
    /// How much of the piece was read.
    at: usize,
    /// How much there is to read in all.
    left: u64,
}

/// Whether there is room for so many bytes more.
fn take(room: &mut u64, bytes: u64) -> bool {
    room.checked_sub(bytes).map(|rest| *room = rest).is_some()
}

/// The next piece, unpacked length first, and what follows it.
fn split_piece(packed: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let mut reader = ByteReader::new(packed);
    let (len, packed_len) = (reader.u32()? as usize, reader.u32()? as usize);
    let piece = reader.take(packed_len)?;
    // A packed byte stands for 255 at most.
    (len > 0 && len <= PIECE && len / 255 <= piece.len()).then_some((len, piece, reader.rest))
}

impl<'a> Content<'a> {
    fn new(packed: &'a [u8]) -> Option<Self> {
        let (mut rest, mut left) = (packed, 0);
        while !rest.is_empty() {
            let (len, _, after) = split_piece(rest)?;
            left += len as u64;
            rest = after;
        }
        Some(Content { packed, piece: Vec::new(), at: 0, left })
    }

    fn next_piece(&mut self) -> Option<()> {
        let (len, packed, rest) = split_piece(self.packed)?;
        self.packed = rest;
        self.piece.resize(len, 0);
        self.at = 0;
        (lz4_flex::block::decompress_into(packed, &mut self.piece).ok()? == len).then_some(())
    }

    fn read(&mut self, mut to: &mut [u8]) -> Option<()> {
        self.left = self.left.checked_sub(to.len() as u64)?;
        while !to.is_empty() {
            if self.at == self.piece.len() {
                self.next_piece()?;
            }
            let from = self.piece.get(self.at..)?;
            let n = from.len().min(to.len());
            let (now, later) = to.split_at_mut_checked(n)?;
            now.copy_from_slice(from.get(..n)?);
            self.at += n;
            to = later;
        }
        Some(())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes).map(|()| bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let n = self.u64().filter(|n| *n <= self.left)?;
        let mut bytes = vec![0; usize::try_from(n).ok()?];
        self.read(&mut bytes).map(|()| bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    /// Page numbers and pages of a memory of this size, as what they differ by.
    fn pages(&mut self, size: u64) -> Option<(Vec<u32>, Vec<u8>)> {
        let count = self.u32()?;
        if u64::from(count) > size / PAGE as u64 || u64::from(count) * (4 + 8) > self.left {
            return None;
        }
        let (mut numbers, mut bytes) = (Vec::new(), vec![0; count as usize * PAGE]);
        for page in bytes.chunks_exact_mut(PAGE) {
            numbers.push(self.u32()?);
            let differ = self.u64()?;
            let blocks = page.chunks_exact_mut(BLOCK).enumerate();
            for (_, block) in blocks.filter(|(i, _)| differ >> i & 1 != 0) {
                self.read(block)?;
            }
        }
        Some((numbers, bytes))
    }

    /// The functions; `None` inside when they would take more memory than there is room.
    fn functions(&mut self, room: &mut u64) -> Option<Option<FunctionNames>> {
        let number = |n: u32| i32::try_from(n).ok();
        let next = number(self.u32()?)?;
        let mut list = Vec::new();
        for _ in 0..self.u32()? {
            let number = number(self.u32()?).filter(|number| *number < next)?;
            let name = self.text()?;
            if !take(room, ENTRY + name.len() as u64) {
                return Some(None);
            }
            list.push((number, name.into()));
        }
        Some(Some(FunctionNames { list, next }))
    }

    fn virtual_clock(&mut self) -> Option<Option<VirtualClock>> {
        let there = self.u8()? != 0;
        let time = VirtualClock::from_parts(self.u64()?, self.u64()?);
        Some(there.then_some(time))
    }

    /// The tables; `None` inside when they would take more memory than there is room.
    fn tables(&mut self, room: &mut u64) -> Option<Option<TableSnapshot>> {
        let next_id = self.u32()?;
        let count = self.u32()?;
        let mut store = MemoryStore::new();
        for _ in 0..count {
            let id = self.u32().filter(|id| is_valid(*id))?;
            if !take(room, TABLE) {
                return Some(None);
            }
            for _ in 0..self.u64()? {
                let (key, value) = (self.text()?, self.bytes()?);
                if !take(room, ENTRY + key.len() as u64 + value.len() as u64) {
                    return Some(None);
                }
                store.put_entry(id, &key, &value);
            }
        }
        TableSnapshot::new(store, next_id).map(Some)
    }

    /// A run that waits; `None` inside when it would take more memory than there is room.
    fn waiting(&mut self, room: &mut u64, next_id: u32) -> Option<Option<Option<WaitingRun>>> {
        if self.u8()? == 0 {
            return Some(Some(None));
        }
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = self.u64()?;
        }
        let time = |nanoseconds: u64| (nanoseconds != u64::MAX).then(|| Duration::from_nanos(nanoseconds));
        let [memory, instructions, timeout, output, bytes, entries, host_calls, source, so_far @ ..] = numbers;
        let [left, calls, bytes_stored, last_error] = so_far;
        let last_error = u32::try_from(last_error).ok()?;
        let limits = Limits {
            memory,
            instructions,
            timeout: time(timeout),
            output,
            store: StoreLimit::new(bytes, entries),
            host_calls,
            source,
            commit_on_error: self.u8()? != 0,
        };
        let mut writes = WriteList::default();
        for _ in 0..self.u32()? {
            if !take(room, TABLE) {
                return Some(None);
            }
            writes.removed.push(self.u32().filter(|id| is_valid(*id) && *id < next_id)?);
        }
        for _ in 0..self.u32()? {
            let table = self.u32().filter(|id| is_valid(*id) && *id < next_id)?;
            let key = self.text()?;
            let value = if self.u8()? != 0 { Some(self.bytes()?) } else { None };
            if !take(room, ENTRY + key.len() as u64 + value.as_ref().map_or(0, Vec::len) as u64) {
                return Some(None);
            }
            let value = value.map(|value| SmallBytes::new(&value));
            writes.entries.push((table, SmallBytes::new(key.as_bytes()), value));
        }
        Some(Some(Some(WaitingRun { limits, left: time(left), host_calls: calls, bytes_stored, last_error, writes })))
    }
}
