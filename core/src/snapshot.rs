//! A whole sandbox at one moment, and as bytes. The format is in `docs/state.md`.

use std::fmt;
use std::sync::Arc;

use crate::engine::GuestId;
use crate::image::{Image, PAGE};
use crate::store::{MemoryStore, TableStore};
use crate::tables::{TableImage, is_valid};
use crate::virtual_time::VirtualTime;
use crate::{Engine, Error, Result};

const MAGIC: &[u8; 8] = b"LUASNAP\n";
const FORMAT: u32 = 1;

/// Magic, format, checksum, guest, checksum of a new guest's memory.
const HEAD: usize = 8 + 4 + 4 + 32 + 4;

/// The content is packed in pieces of this size, so that a lie about lengths costs nobody much memory.
const PIECE: usize = 4 << 20;

/// A copy of a whole sandbox: globals, closures, suspended coroutines and tables. See [`Sandbox::snapshot`](crate::Sandbox::snapshot).
///
/// It belongs to no sandbox: any number of sandboxes, of any engine with the same guest, can be restored from it. Cloning gives the same snapshot. It holds the pages
/// of memory that were written since Lua started, and a copy of the tables.
#[derive(Clone)]
pub struct Snapshot(Arc<Parts>);

/// What a snapshot is made of.
pub(crate) struct Parts {
    pub(crate) guest: GuestId,
    pub(crate) memory: Image,
    /// Host functions by the numbers that the guest knows them by, and whether they were there.
    pub(crate) functions: Vec<(Arc<str>, bool)>,
    pub(crate) virtual_time: Option<VirtualTime>,
    pub(crate) tables: TableImage,
}

impl Snapshot {
    pub(crate) fn new(parts: Parts) -> Self {
        Snapshot(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The snapshot as bytes: packed, with a checksum, for any platform. They are for this version of the guest: [`from_bytes`](Self::from_bytes) of a
    /// program with another `lua.wasm` refuses them. For data that has to outlive versions there is [`Sandbox::export_home`](crate::Sandbox::export_home).
    ///
    /// # Errors
    /// None so far.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let parts = &*self.0;
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

    /// What [`to_bytes`](Self::to_bytes) gave, in this or another process.
    ///
    /// The checksum finds accidents, not intent. Bytes that somebody made on purpose can do what a script could do that has taken over the guest:
    /// nothing outside of the sandbox, but run in circles inside, past every limit. Restore snapshots from people whom you don't trust in a
    /// [hardened](crate::EngineConfig::hardened) engine only, which ends that.
    ///
    /// # Errors
    /// `InvalidArgument` when the bytes are no snapshot, damaged, of another format, or of another guest; `Memory` when there is no memory for a guest.
    pub fn from_bytes(engine: &Engine, bytes: &[u8]) -> Result<Snapshot> {
        if !bytes.starts_with(MAGIC) {
            return Err(invalid("it begins otherwise"));
        }
        let (head, packed) = bytes.split_at_checked(HEAD).ok_or_else(|| invalid("it was cut off"))?;
        let number = |at: usize| head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |n| u32::from_le_bytes(*n));
        let format = number(8);
        if format != FORMAT {
            return Err(invalid(&format!("it has format {format}, and this version of luacell reads {FORMAT} only")));
        }
        if number(12) != checksum(bytes) {
            return Err(invalid("it is damaged or was cut off: its checksum is wrong"));
        }
        let guest: GuestId = head.get(16..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        check_guest(engine, &guest)?;
        let base = engine.base()?;
        if number(48) != base.sum() {
            return Err(invalid("it was made by another version of luacell, whose guest starts otherwise"));
        }
        let broken = || invalid("its content makes no sense");
        let content = unpack(packed).ok_or_else(broken)?;
        let mut reader = Reader(&content);
        let (size, numbers, pages) = reader.pages().ok_or_else(broken)?;
        if size > engine.max_memory() {
            return Err(invalid(&format!("its {size} bytes of memory are more than the engine allows")));
        }
        let memory = Image::from_differences(&base, size, numbers, pages).ok_or_else(broken)?;
        let functions = reader.functions().ok_or_else(broken)?;
        let virtual_time = reader.virtual_time().ok_or_else(broken)?;
        let tables = reader.tables().ok_or_else(broken)?;
        if !reader.0.is_empty() {
            return Err(invalid("something follows its content"));
        }
        Ok(Snapshot::new(Parts { guest, memory, functions, virtual_time, tables }))
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
pub(crate) fn check_guest(engine: &Engine, guest: &GuestId) -> Result<()> {
    if engine.guest_id() == guest {
        return Ok(());
    }
    let hex = |id: &GuestId| id.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    Err(Error::invalid(format!(
        "the snapshot belongs to another guest: its lua.wasm has the SHA-256 {}..., and this one has {}...",
        hex(guest),
        hex(engine.guest_id())
    )))
}

fn invalid(why: &str) -> Error {
    Error::invalid(format!("this is no snapshot that can be restored: {why}"))
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
    for (number, page) in parts.memory.differences() {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&page);
    }
    out.extend_from_slice(&(parts.functions.len() as u32).to_le_bytes());
    for (name, there) in &parts.functions {
        out.push(u8::from(*there));
        put_bytes(&mut out, name.as_bytes());
    }
    let (state, passed) = parts.virtual_time.map(VirtualTime::parts).unwrap_or_default();
    out.push(u8::from(parts.virtual_time.is_some()));
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
    out
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(packed);
    let mut content = Vec::new();
    while !reader.0.is_empty() {
        let (len, packed) = (reader.u32()? as usize, reader.u32()?);
        let packed = reader.take(packed.into())?;
        // A packed byte stands for 255 at most.
        if len > PIECE || len / 255 > packed.len() {
            return None;
        }
        let start = content.len();
        content.resize(start + len, 0);
        if lz4_flex::block::decompress_into(packed, content.get_mut(start..)?).ok()? != len {
            return None;
        }
    }
    Some(content)
}

/// Reads bytes that may be anything.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = rest;
        Some(part)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = self.u64()?;
        self.take(n)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The size of the memory, page numbers and pages.
    fn pages(&mut self) -> Option<(u64, Vec<u32>, Vec<u8>)> {
        let size = self.u64()?;
        let count = self.u32()?;
        let (mut numbers, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            numbers.push(self.u32()?);
            bytes.extend_from_slice(self.take(PAGE as u64)?);
        }
        Some((size, numbers, bytes))
    }

    fn functions(&mut self) -> Option<Vec<(Arc<str>, bool)>> {
        let count = self.u32()?;
        let mut all = Vec::new();
        for _ in 0..count {
            let there = self.u8()? != 0;
            all.push((self.text()?.into(), there));
        }
        Some(all)
    }

    fn virtual_time(&mut self) -> Option<Option<VirtualTime>> {
        let there = self.u8()? != 0;
        let time = VirtualTime::from_parts(self.u64()?, self.u64()?);
        Some(there.then_some(time))
    }

    fn tables(&mut self) -> Option<TableImage> {
        let next_id = self.u32()?;
        let count = self.u32()?;
        let mut store = MemoryStore::new();
        for _ in 0..count {
            let id = self.u32().filter(|id| is_valid(*id))?;
            for _ in 0..self.u64()? {
                let (key, value) = (self.text()?, self.bytes()?);
                store.set(id, key, value).ok()?;
            }
        }
        TableImage::new(store, next_id)
    }
}
