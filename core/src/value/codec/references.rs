//! The tables that an encoded value refers to, without reading the value itself.

use super::reader::Reader;
use super::tag;

/// Whether an encoded value may refer to a table: most don't, and show it at once.
#[inline]
pub(crate) fn may_refer(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(&(tag::EXTERNAL | tag::TABLE | tag::STORED_FUNCTION | tag::STORED_UPVALUE)))
}

/// Hands the ids of all tables that an encoded value refers to, to `visit`. Bytes that make no sense end the walk: they
/// refer to nothing.
pub(crate) fn references(bytes: &[u8], visit: &mut dyn FnMut(u32)) {
    let mut reader = Reader::new(bytes);
    while !reader.0.rest.is_empty() {
        match reader.skip() {
            Ok(id) => id.into_iter().for_each(&mut *visit),
            Err(_) => return,
        }
    }
}

/// The value with other numbers for the tables that it refers to; `None` when the bytes are no value.
pub(crate) fn renumber(bytes: &[u8], number: &mut dyn FnMut(u32) -> u32) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    let mut reader = Reader::new(bytes);
    while !reader.0.rest.is_empty() {
        // A handle means something to one running instance only.
        if reader.0.rest.first() == Some(&tag::HANDLE) {
            return None;
        }
        if let Some(id) = reader.skip().ok()? {
            // The id is the last that was read.
            let end = bytes.len() - reader.0.rest.len();
            out.get_mut(end - 4..end)?.copy_from_slice(&number(id).to_le_bytes());
        }
    }
    (!bytes.is_empty()).then_some(out)
}

/// Whether a value is a Lua function, or holds one: bytecode, which Lua does not verify.
pub(crate) fn has_function(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.0.rest.first() {
        if matches!(*tag, tag::FUNCTION | tag::STORED_FUNCTION | tag::STORED_UPVALUE) {
            return true;
        }
        if reader.skip().is_err() {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_wherever_they_stand() {
        let bytes = [
            &[tag::TABLE, 2, 0, 0, 0, 1, 0, 0, 0][..],
            &[tag::EXTERNAL, 5, 0, 0, 0],
            &[tag::STRING, 5, 0, 0, 0, 7, 9, 9, 9, 9],
            &[tag::BOOLEAN, 1],
            &[tag::STORED_FUNCTION, 6, 0, 0, 0],
            &[tag::STORED_UPVALUE, 7, 0, 0, 0],
        ]
        .concat();
        let mut found = Vec::new();
        references(&bytes, &mut |id| found.push(id));
        assert_eq!(found, [5, 6, 7]);
    }
}
