//! Values as bytes and back. The format is in `docs/MEMORY_PROTOCOL.md`.
//!
//! Incoming bytes are untrusted: every length is checked against what is there before anything is allocated for it.
//! Nothing recurses.

mod decode;
mod encode;
mod reader;
mod references;

pub(crate) use self::decode::{decode, decode_into, decode_simple};
pub(crate) use self::encode::{
    encode_args, encode_reference, encode_stored, put_boolean, put_bytes, put_number, put_reference, put_u32,
};
#[cfg(feature = "serde")]
pub(crate) use self::reader::{Plain, Reader};
#[cfg(feature = "serde")]
pub(crate) use self::references::needs_sandbox;
pub(crate) use self::references::{has_function, is_kept, may_refer, references, renumber};
pub(crate) use crate::protocol::tag;
use crate::value::host_values::HostValue;
use crate::value::{Error, Function, Handle, LuaString, Result, Shape, StoredTable};

/// How a table with its content begins.
#[inline]
pub(crate) fn table_tag(shape: Shape) -> u8 {
    match shape {
        Shape::Unknown => tag::TABLE,
        Shape::List => tag::LIST,
        Shape::Map => tag::MAP,
    }
}

/// What a table that begins so is; `None` for what is no table with its content.
#[inline]
pub(crate) fn shape_of(tag: u8) -> Option<Shape> {
    match tag {
        tag::TABLE => Some(Shape::Unknown),
        tag::LIST => Some(Shape::List),
        tag::MAP => Some(Shape::Map),
        _ => None,
    }
}

#[inline]
pub(crate) fn is_table(tag: u8) -> bool {
    shape_of(tag).is_some()
}

/// What values of one sandbox refer to.
pub(crate) trait Resolver {
    /// A view of a stored table; `cell` for one that holds an upvalue.
    fn stored(&self, id: u32, cell: bool) -> StoredTable;
    /// The function behind a handle.
    fn handle(&self, id: u32) -> Function;
    /// The built-in of that name.
    fn builtin(&self, name: LuaString) -> Function;
    /// The id of a table, if it belongs to this sandbox.
    fn id_of(&self, table: &StoredTable) -> Result<u32>;
    /// The handle of a function, if it is in this sandbox's present instance.
    fn handle_of(&self, function: &Handle) -> Result<u32>;
    /// The function or object of the host behind a number that it was given; `None` when there is none.
    fn host_value(&self, number: u32) -> Option<HostValue> {
        let _ = number;
        None
    }
    /// The object behind such a number. Only who does not know it by the number alone looks at the class.
    fn host_object(&self, number: u32, class: u32) -> Option<HostValue> {
        let _ = class;
        self.host_value(number)
    }
    /// The number of a function or object of the host, which the guest is given once more.
    fn give(&self, value: HostValue) -> Result<u32> {
        let _ = value;
        Err(Error::conversion("a function or object of the host can only be given to a running sandbox"))
    }
    /// A message with this number is not sent.
    fn take_back(&self, number: u32) {
        let _ = number;
    }
    /// Whether the other side knows lists, maps and null.
    fn takes_shapes(&self) -> bool {
        true
    }
    /// The most that the tables and references of one message may take as values.
    fn room(&self) -> usize {
        usize::MAX
    }
    /// The number of any function, for who gives numbers to all of them.
    fn number_of(&self, function: &Function) -> Option<u32> {
        let _ = function;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::{Table, Value};

    /// A sandbox that knows no tables and no functions.
    struct Nothing;

    impl Resolver for Nothing {
        fn stored(&self, _: u32, _: bool) -> StoredTable {
            StoredTable::detached()
        }
        fn handle(&self, _: u32) -> Function {
            self.builtin(LuaString::default())
        }
        fn builtin(&self, name: LuaString) -> Function {
            Function::detached(name)
        }
        fn id_of(&self, _: &StoredTable) -> Result<u32> {
            Ok(7)
        }
        fn handle_of(&self, _: &Handle) -> Result<u32> {
            Ok(7)
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<f64>().prop_filter("NaN equals nothing", |x| !x.is_nan()).prop_map(Value::Float),
            prop::collection::vec(any::<u8>(), 0..30).prop_map(|b| Value::String(b.into())),
            "[a-z.]{1,12}".prop_map(|name| Value::Function(Nothing.builtin(name.into()))),
        ];
        plain.prop_recursive(5, 60, 8, |inner| {
            let entries = prop::collection::vec((any::<bool>(), inner.clone(), inner), 0..8);
            entries.prop_map(|entries| {
                let mut table = Table::new();
                for (push, key, value) in entries {
                    if push {
                        table.push(value);
                    } else if !matches!(key, Value::Table(_)) {
                        let _ = table.set(key, value);
                    }
                }
                Value::Table(table)
            })
        })
    }

    proptest! {
        #[test]
        fn values_survive(values in prop::collection::vec(values(), 0..5)) {
            let mut bytes = Vec::new();
            encode_args(&values, &mut bytes, &Nothing).unwrap();
            prop_assert_eq!(decode(&bytes, &Nothing).unwrap(), values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, &Nothing);
            references(&bytes, &mut |_| {});
        }

        #[test]
        fn likely_bytes_are_read_or_refused(bytes in prop::collection::vec(0..=tag::BIGINT, 0..200)) {
            if let Ok(values) = decode(&bytes, &Nothing) {
                // What was read can be written, and reads back the same.
                let mut again = Vec::new();
                encode_args(&values, &mut again, &Nothing).unwrap();
                decode(&again, &Nothing).unwrap();
            }
        }

        #[test]
        fn what_is_cut_short_is_refused(values in prop::collection::vec(values(), 1..4), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode_args(&values, &mut bytes, &Nothing).unwrap();
            bytes.truncate(cut.index(bytes.len()));
            if let Ok(fewer) = decode(&bytes, &Nothing) {
                prop_assert!(fewer.len() < values.len());
            }
        }
    }
}
