//! All of `_home` as one blob, for backups and for moving it to another store. The format is in `docs/state.md`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ahash::RandomState;

use crate::api::Sandbox;
use crate::api::stored_table::retrying;
use crate::store::reserved::HOME;
use crate::tables::Tables;
use crate::util::ByteReader;
use crate::value::{Error, ErrorKind, Result, codec, keys};

const MAGIC: &[u8; 8] = b"LUACELL\n";
const FORMAT: u32 = 1;

/// Magic, format, checksum and length of what follows.
const HEAD: usize = 8 + 4 + 4 + 8;

/// How a blob is imported, for [`Sandbox::import_home_with`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    trusted: bool,
}

impl ImportOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        ImportOptions::default()
    }

    /// Whether functions in the blob are imported. They are bytecode, which Lua does not verify: with bytecode made on
    /// purpose a script can take over the guest, and then only the limits of [`EngineConfig`](crate::EngineConfig)
    /// hold. So use this only for blobs that nobody else could change.
    #[must_use]
    pub fn trusted(mut self, trusted: bool) -> Self {
        self.trusted = trusted;
        self
    }
}

/// One table: keys and encoded values, in which tables have the blob's numbers.
type Entries<'a> = Vec<(Cow<'a, str>, &'a [u8])>;

impl Sandbox {
    /// Everything that `_home` holds, including nested tables and stored functions, as one portable blob with a version
    /// and a checksum.
    ///
    /// # Errors
    /// `Store` if the store fails, `Busy`, `Closed`.
    pub fn export_home(&self) -> Result<Vec<u8>> {
        self.cell().access(|access| export(access.tables()?))
    }

    /// Replaces everything that `_home` holds with what [`export_home`](Self::export_home) returned, in one
    /// transaction. A blob with functions is refused: see [`import_home_with`](Self::import_home_with).
    ///
    /// # Errors
    /// `InvalidArgument` if the blob is damaged, is not such a blob, has a later version, or holds functions;
    /// `StoreLimit` if it holds more than the sandbox's limit allows. Nothing is changed then. `Store` if the store
    /// fails, `Busy`, `Closed`.
    pub fn import_home(&self, blob: &[u8]) -> Result<()> {
        self.import_home_with(blob, &ImportOptions::new())
    }

    /// Like [`import_home`](Self::import_home), but can also accept a blob with functions.
    ///
    /// # Errors
    /// As `import_home`.
    pub fn import_home_with(&self, blob: &[u8], options: &ImportOptions) -> Result<()> {
        let all = parse(blob)?;
        let others = u32::try_from(all.len().saturating_sub(1)).map_err(|_| invalid("it has too many tables"))?;
        if !options.trusted {
            refuse_functions(&all)?;
        }
        let limit = self.cell().access(|access| Ok(access.store_limit()))?;
        let sizes = all.iter().flatten().map(|(key, value)| (key.len() + value.len()) as u64);
        let (bytes, entries) = sizes.fold((0, 0), |(bytes, entries), size| (bytes + size, entries + 1));
        if bytes > limit.bytes || entries > limit.entries {
            let text = format!(
                "the blob holds {bytes} bytes in {entries} entries, more than the sandbox's store_limit allows"
            );
            return Err(Error::new(ErrorKind::StoreLimit, text));
        }
        retrying(|| {
            self.cell().access(|access| {
                let result = (|| {
                    let first = if others > 0 { access.allocate_ids(others)? } else { 0 };
                    let id_of = |number: u32| if number == 1 { HOME } else { first + (number - 2) };
                    let tables = access.tables()?;
                    let mut old = Vec::new();
                    tables.keys(HOME, &mut |key| old.push(key.to_owned()))?;
                    for key in old {
                        tables.delete(HOME, &key);
                    }
                    for (number, entries) in (1..).zip(&all) {
                        for (key, value) in entries {
                            let value = codec::renumber(value, &mut |number| id_of(number)).unwrap_or_default();
                            tables.set_by_host(id_of(number), key, &value)?;
                        }
                    }
                    Ok(())
                })();
                access.finish_write(result)
            })
        })
    }
}

fn refuse_functions(all: &[Entries<'_>]) -> Result<()> {
    for (number, entries) in all.iter().enumerate() {
        if let Some((key, _)) = entries.iter().find(|(_, value)| codec::has_function(value)) {
            let table = if number == 0 { "_home".to_owned() } else { format!("table {}", number + 1) };
            return Err(invalid(&format!(
                "there is a function in {table}, under '{}', and functions are bytecode that may do anything to Lua; they are taken from a \
                 trusted source only",
                key.escape_debug()
            )));
        }
    }
    Ok(())
}

fn export(tables: &mut Tables) -> Result<Vec<u8>> {
    // Tables are numbered in the order in which they are met.
    let mut numbers = HashMap::from([(HOME, 1u32)]);
    let mut order = vec![HOME];
    let mut body = Vec::new();
    let mut at = 0;
    while let Some(id) = order.get(at).copied() {
        at += 1;
        let start = body.len();
        body.extend_from_slice(&[0; 8]);
        let mut count = 0u64;
        let mut malformed = None;
        tables.scan(id, &mut |key, value| {
            count += 1;
            put_bytes(&mut body, key.as_bytes());
            let renumbered = codec::renumber(value, &mut |id| {
                let next = numbers.len() as u32 + 1;
                *numbers.entry(id).or_insert_with(|| {
                    order.push(id);
                    next
                })
            });
            match renumbered {
                Some(value) => put_bytes(&mut body, &value),
                None => malformed = Some(format!("table {id} holds a malformed value under '{key}'")),
            }
        })?;
        if let Some(message) = malformed {
            return Err(Error::new(ErrorKind::Store, message));
        }
        if let Some(place) = body.get_mut(start..start + 8) {
            place.copy_from_slice(&count.to_le_bytes());
        }
    }
    let mut blob = Vec::with_capacity(HEAD + 4 + body.len());
    blob.extend_from_slice(MAGIC);
    blob.extend_from_slice(&FORMAT.to_le_bytes());
    blob.extend_from_slice(&[0; 4]);
    blob.extend_from_slice(&(body.len() as u64 + 4).to_le_bytes());
    blob.extend_from_slice(&(order.len() as u32).to_le_bytes());
    blob.extend_from_slice(&body);
    let sum = checksum(&blob);
    if let Some(place) = blob.get_mut(12..16) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    Ok(blob)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Of everything but the checksum itself.
fn checksum(blob: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(blob.get(..12).unwrap_or_default());
    hasher.update(blob.get(16..).unwrap_or_default());
    hasher.finalize()
}

fn invalid(why: &str) -> Error {
    Error::invalid(format!("this exported _home can't be loaded: {why}"))
}

/// Everything in the blob, checked.
fn parse(blob: &[u8]) -> Result<Vec<Entries<'_>>> {
    let cut_off = || invalid("it was cut off");
    if !blob.starts_with(MAGIC) {
        return Err(invalid("its first bytes are wrong"));
    }
    let (head, rest) = blob.split_at_checked(HEAD).ok_or_else(cut_off)?;
    let mut numbers = ByteReader::new(head.get(MAGIC.len()..).unwrap_or_default());
    let (format, checked, len) = (numbers.u32(), numbers.u32(), numbers.u64());
    if format != Some(FORMAT) {
        let format = format.unwrap_or_default();
        return Err(invalid(&format!("it has format {format}, but this version of luacell reads only {FORMAT}")));
    }
    if len != Some(rest.len() as u64) {
        return Err(cut_off());
    }
    if checked != Some(checksum(blob)) {
        return Err(invalid("it is damaged: its checksum is wrong"));
    }
    let mut reader = ByteReader::new(rest);
    let mut read = || -> Option<Vec<Entries<'_>>> {
        let tables = reader.u32()?;
        let mut all = Vec::new();
        for _ in 0..tables {
            let count = reader.u64()?;
            let mut entries = Vec::new();
            let mut keys = HashSet::with_hasher(RandomState::new());
            for _ in 0..count {
                // Lua finds an entry under one form of its key only.
                let key = keys::canonical(std::str::from_utf8(reader.bytes_64()?).ok()?);
                let value = reader.bytes_64()?;
                let mut known = codec::is_kept(value) && keys.insert(key.clone());
                codec::renumber(value, &mut |number| {
                    known &= (1..=tables).contains(&number);
                    number
                })?;
                if !known {
                    return None;
                }
                entries.push((key, value));
            }
            all.push(entries);
        }
        Some(all)
    };
    let all = read().filter(|all| !all.is_empty()).ok_or_else(|| invalid("its content makes no sense"))?;
    if reader.rest.is_empty() { Ok(all) } else { Err(invalid("there is something after its content")) }
}
