//! Numbers and keys of tables that mean something to the library.

pub(crate) use crate::protocol::table_id::{FIRST_FREE, HOME, IO, OWN, RUNS};
use crate::value::codec::tag;

/// The next free table number.
pub(crate) const NEXT_KEY: &str = "next";
/// What an interrupted commit has to take back.
pub(crate) const UNDO_KEY: &str = "undo";
/// Who has written to a store last that gives no numbers for tables: its users would give the same ones.
pub(crate) const WRITER_KEY: &str = "writer";

/// The next free id is written down in steps of this, so that not every new table costs a write.
const ID_STEP: u32 = 64;

/// The next free id as it is written down: never one that somebody has.
pub(crate) fn noted_next(next: u32) -> u32 {
    next.checked_next_multiple_of(ID_STEP).unwrap_or(RUNS)
}

/// Whether a guest may use this id.
#[inline]
pub(crate) fn is_valid(id: u32) -> bool {
    id != 0 && !is_own(id)
}

/// Whether this is a table of the library's own.
#[inline]
pub(crate) fn is_own(id: u32) -> bool {
    id >= RUNS
}

/// The next free id as it is stored: an integer, as scripts store it.
pub(crate) fn encode_next(next: u32) -> [u8; 9] {
    let mut number = [tag::INTEGER; 9];
    if let Some(part) = number.last_chunk_mut() {
        *part = i64::from(next).to_le_bytes();
    }
    number
}

pub(crate) fn decode_next(value: &[u8]) -> Option<u32> {
    let [tag::INTEGER, number @ ..] = value else {
        return None;
    };
    u32::try_from(i64::from_le_bytes(number.try_into().ok()?)).ok()
}
