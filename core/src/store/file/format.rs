//! What is in the file.
//!
//! One redb table `luacell` of text to numbers says that it is ours and in which format; another one, `entries`, holds everything
//! else. Its keys begin with the table's number, big-endian, so that a table lies together. A 0 follows for the
//! number of entries (u64, little-endian; absent when there are none), or a 1 and the key for an entry. Table 0 is none: under its number of entries
//! is what all tables but the library's own hold, bytes and entries (u64 both); absent in files of before that was counted.

use ahash::HashMap;
use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition};

use crate::store::{StoreError, StoreResult, Usage, Write};
use crate::tables::OWN;

pub(super) const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("luacell");
pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// [`ENTRIES`] for reading and for writing.
pub(super) type Entries = ReadOnlyTable<&'static [u8], &'static [u8]>;
pub(super) type EntriesMut<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// The key in [`ABOUT`] and the format that this version reads and writes.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: u64 = 1;

const COUNT: u8 = 0;
const ENTRY: u8 = 1;
/// Behind all of a table.
const END: u8 = 2;

/// What redb begins each file with.
pub(super) const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// Room for short keys without an allocation.
const SHORT: usize = 64;

/// A key as it is in the file.
pub(super) enum Key {
    Short(usize, [u8; SHORT]),
    Long(Vec<u8>),
}

impl Key {
    fn new(table: u32, kind: u8, key: &[u8]) -> Self {
        let len = 5 + key.len();
        let [a, b, c, d] = table.to_be_bytes();
        let head = [a, b, c, d, kind];
        let mut short = [0; SHORT];
        if let Some((first, rest)) = short.get_mut(..len).and_then(|room| room.split_at_mut_checked(5)) {
            first.copy_from_slice(&head);
            rest.copy_from_slice(key);
            return Key::Short(len, short);
        }
        let mut long = Vec::with_capacity(len + 1);
        long.extend_from_slice(&head);
        long.extend_from_slice(key);
        Key::Long(long)
    }

    pub(super) fn entry(table: u32, key: &str) -> Self {
        Key::new(table, ENTRY, key.as_bytes())
    }

    pub(super) fn count(table: u32) -> Self {
        Key::new(table, COUNT, &[])
    }

    pub(super) fn end(table: u32) -> Self {
        Key::new(table, END, &[])
    }

    /// The least key that is greater.
    pub(super) fn successor(&self) -> Self {
        let mut next = self.as_slice().to_vec();
        next.push(0);
        Key::Long(next)
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Key::Short(len, bytes) => bytes.get(..*len).unwrap_or_default(),
            Key::Long(bytes) => bytes,
        }
    }
}

/// The key within its table.
pub(super) fn entry_key(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(5..)?).ok()
}

pub(super) fn table_of(key: &[u8]) -> Option<u32> {
    key.first_chunk().map(|number| u32::from_be_bytes(*number))
}

pub(super) fn read_count(bytes: &[u8]) -> StoreResult<u64> {
    let bytes = bytes.try_into().map_err(|_| StoreError::from("the size of a table is malformed"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// What the file says that its tables hold.
fn noted_usage(entries: &impl ReadableTable<&'static [u8], &'static [u8]>) -> StoreResult<Option<Usage>> {
    let noted = entries.get(Key::count(0).as_slice())?;
    let numbers = noted.as_ref().and_then(|bytes| bytes.value().split_first_chunk());
    let Some((bytes, count)) = numbers else {
        return Ok(None);
    };
    Ok(Some(Usage { bytes: u64::from_le_bytes(*bytes), entries: read_count(count)? }))
}

/// What the tables hold.
pub(super) fn usage(entries: &impl ReadableTable<&'static [u8], &'static [u8]>) -> StoreResult<Usage> {
    if let Some(usage) = noted_usage(entries)? {
        return Ok(usage);
    }
    let mut usage = Usage::default();
    let end = Key::count(OWN);
    for entry in entries.range::<&[u8]>(..end.as_slice())? {
        let (key, value) = entry?;
        usage.entries += u64::from(key.value().get(4) == Some(&ENTRY));
        usage.bytes += size_of_entry(key.value(), value.value());
    }
    Ok(usage)
}

/// How much an entry counts; 0 for what is none.
fn size_of_entry(key: &[u8], value: &[u8]) -> u64 {
    if key.get(4) == Some(&ENTRY) { (key.len() - 5 + value.len()) as u64 } else { 0 }
}

/// How much tables grow.
#[derive(Default)]
struct Growth {
    /// Entries of each table, but for the last.
    tables: HashMap<u32, i64>,
    /// Most commits write to few tables, many times in a row.
    last: (u32, i64),
    bytes: i64,
    entries: i64,
}

impl Growth {
    fn add(&mut self, table: u32, entries: i64, bytes: i64) {
        if self.last.0 != table {
            self.finish();
            self.last.0 = table;
        }
        self.last.1 += entries;
        self.count(table, entries, bytes);
    }

    /// What is not counted by table.
    fn count(&mut self, table: u32, entries: i64, bytes: i64) {
        if table != OWN {
            self.entries += entries;
            self.bytes += bytes;
        }
    }

    fn finish(&mut self) {
        let (table, entries) = std::mem::take(&mut self.last);
        if entries != 0 {
            *self.tables.entry(table).or_default() += entries;
        }
    }
}

/// Writes everything and brings the sizes up to date. What all tables hold then, when that has changed.
pub(super) fn apply<'a>(
    entries: &mut EntriesMut<'_>,
    writes: impl Iterator<Item = Write<'a>>,
) -> StoreResult<Option<Usage>> {
    let mut growth = Growth::default();
    for write in writes {
        match write {
            Write::Set { table, key, value } => {
                let old = entries.insert(Key::entry(table, key).as_slice(), value)?.map(|old| old.value().len());
                match old {
                    Some(old) => growth.add(table, 0, value.len() as i64 - old as i64),
                    None => growth.add(table, 1, (key.len() + value.len()) as i64),
                }
            }
            Write::Delete { table, key } => {
                let old = entries.remove(Key::entry(table, key).as_slice())?.map(|old| old.value().len());
                if let Some(old) = old {
                    growth.add(table, -1, -((key.len() + old) as i64));
                }
            }
            Write::RemoveTable { table } => {
                let (start, end) = (Key::count(table), Key::end(table));
                let (mut count, mut bytes) = (0, 0);
                entries.retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |key, value| {
                    count += i64::from(key.get(4) == Some(&ENTRY));
                    bytes += size_of_entry(key, value) as i64;
                    false
                })?;
                growth.finish();
                growth.tables.remove(&table);
                growth.count(table, -count, -bytes);
            }
        }
    }
    growth.finish();
    for (table, by) in growth.tables {
        let key = Key::count(table);
        let before = match entries.get(key.as_slice())? {
            Some(bytes) => read_count(bytes.value())?,
            None => 0,
        };
        match before.saturating_add_signed(by) {
            0 => drop(entries.remove(key.as_slice())?),
            count => drop(entries.insert(key.as_slice(), count.to_le_bytes().as_slice())?),
        }
    }
    if growth.entries == 0 && growth.bytes == 0 {
        return Ok(None);
    }
    let now = match noted_usage(entries)? {
        Some(before) => Usage {
            bytes: before.bytes.saturating_add_signed(growth.bytes),
            entries: before.entries.saturating_add_signed(growth.entries),
        },
        None => usage(entries)?,
    };
    let noted = [now.bytes.to_le_bytes(), now.entries.to_le_bytes()].concat();
    entries.insert(Key::count(0).as_slice(), noted.as_slice())?;
    Ok(Some(now))
}
