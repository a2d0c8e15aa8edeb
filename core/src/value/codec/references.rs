//! The tables that an encoded value refers to, without reading the value itself.

use super::reader::Reader;
use super::{is_table, tag};
use crate::util::ByteReader;

/// Whether an encoded value may refer to a table: most don't, and show it at once.
#[inline]
pub(crate) fn may_refer(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| {
        is_table(*first) || matches!(*first, tag::EXTERNAL | tag::STORED_FUNCTION | tag::STORED_UPVALUE)
    })
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
        // These mean something to one running instance only.
        if matches!(reader.0.rest.first(), Some(&(tag::HANDLE | tag::HOST_FUNCTION | tag::HOST_OBJECT))) {
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

/// Whether these bytes are one value that can be kept, whole and with nothing behind it.
pub(crate) fn is_kept(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    // Values that are to come, as far as it is known.
    let (mut left, mut tables) = (1u64, 0u32);
    while left > 0 {
        let mut value = ByteReader::new(reader.0.rest);
        let Some(tag) = value.u8() else { return false };
        let makes_sense = match tag {
            tag if is_table(tag) => {
                tables = tables.saturating_add(1);
                let (Some(array), Some(pairs)) = (value.u32(), value.u32()) else { return false };
                left += u64::from(array) + 2 * u64::from(pairs);
                left <= value.rest.len() as u64 + 1
            }
            tag::BACKREF => value.u32().is_some_and(|number| number < tables),
            tag::BIGINT => value.u32().and_then(|length| value.take(length as usize)).is_some_and(|text| {
                let digits = text.strip_prefix(b"-").unwrap_or(text);
                !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
            }),
            tag::NIL => left > 1 || tables > 0,
            tag => !matches!(tag, tag::HANDLE | tag::HOST_FUNCTION | tag::HOST_OBJECT),
        };
        if !makes_sense || reader.skip().is_err() {
            return false;
        }
        left -= 1;
    }
    reader.0.rest.is_empty()
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

/// Whether there is anything among these values that belongs to a sandbox.
#[cfg(feature = "serde")]
pub(crate) fn needs_sandbox(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    while let Some(tag) = reader.0.rest.first() {
        if matches!(*tag, tag::HANDLE | tag::BUILTIN | tag::HOST_FUNCTION | tag::HOST_OBJECT)
            || !matches!(reader.skip(), Ok(None))
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_kept_is_one_whole_value() {
        let string = [tag::STRING, 1, 0, 0, 0, b'x'];
        let table = |array: u8, pairs: u8| [tag::TABLE, array, 0, 0, 0, pairs, 0, 0, 0];
        let big = |text: &[u8]| [&[tag::BIGINT, text.len() as u8, 0, 0, 0], text].concat();
        let backref = [tag::BACKREF, 0, 0, 0, 0];
        for whole in [
            &string[..],
            &table(0, 0),
            &[&table(2, 1)[..], &string, &backref, &string, &[tag::NIL]].concat(),
            &big(b"-10"),
            &big(b"7"),
        ] {
            assert!(is_kept(whole), "{whole:?}");
            assert!(!is_kept(&whole[..whole.len() - 1]), "{whole:?}");
            assert!(!is_kept(&[whole, &string].concat()), "{whole:?}");
        }
        for odd in
            [&[][..], &[tag::NIL], &backref, &[tag::HANDLE, 1, 0, 0, 0], &big(b""), &big(b"-"), &big(b"1x"), &[99]]
        {
            assert!(!is_kept(odd), "{odd:?}");
        }
        assert!(!is_kept(&[tag::TABLE, 255, 255, 255, 255, 255, 255, 255, 255, tag::NIL]));
    }

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
