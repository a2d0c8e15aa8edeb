//! Kept tables that Lua holds, and numbers for new ones.

use super::GuestMut;
use crate::store::reserved::IO;
use crate::util::ByteReader;
use crate::value::{Error, ErrorKind, Result};

/// Table ids that a guest of revision 1 may have taken without the host hearing of it.
const UNSEEN_IDS: u32 = 1 << 16;

/// Takes this many table ids; `seen` is the lowest one that the host has not heard of.
pub(crate) fn allocate_ids(guest: &mut GuestMut<'_>, seen: u32, count: u32) -> Result<u32> {
    let none_left = || Error::new(ErrorKind::Store, "no table numbers are left");
    if guest.has_table_ids() {
        let first = guest.allocate_table_ids(count.cast_signed())?.cast_unsigned();
        // A guest that gives out numbers which are taken would mix up its own tables.
        if first < IO + 1 || first.checked_add(count).is_none_or(|end| end == u32::MAX) {
            return Err(none_left());
        }
        return Ok(first);
    }
    let first = seen.checked_add(UNSEEN_IDS).ok_or_else(none_left)?;
    let end = first.checked_add(count).filter(|end| *end < u32::MAX).ok_or_else(none_left)?;
    guest.sync_external_table_counter(end.cast_signed())?;
    Ok(first)
}

/// The stored tables that Lua holds; `None` when it can't tell, or has no memory for the list now.
pub(crate) fn held_tables(guest: &mut GuestMut<'_>) -> Result<Option<Vec<u32>>> {
    if !guest.has_table_lists() {
        return Ok(None);
    }
    let Ok(n) = u32::try_from(guest.list_table_ids()?) else {
        return Ok(None);
    };
    guest.refresh_buffer()?;
    let mut reader = ByteReader::new(guest.result(n)?);
    Ok(Some(std::iter::from_fn(|| reader.u32()).collect()))
}

/// Tells Lua which tables are gone: it may have kept their metatables.
pub(crate) fn forget_tables(guest: &mut GuestMut<'_>, gone: &[u32]) -> Result<()> {
    if !guest.has_forget_tables() {
        return Ok(());
    }
    // As many as the guest has room for in any case.
    for some in gone.chunks(4096) {
        let bytes: Vec<u8> = some.iter().flat_map(|id| id.to_le_bytes()).collect();
        guest.reserve(bytes.len())?;
        guest.write(&[&bytes])?;
        guest.forget_tables(bytes.len() as i32)?;
    }
    Ok(())
}
