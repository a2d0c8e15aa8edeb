//! Rust to Lua.

use serde::ser::{self, Serialize};

use crate::value::args::Place;
use crate::value::codec::{is_table, tag};
use crate::value::{Args, Error, Result, Shape};

impl Args {
    /// Adds what a value serializes to.
    ///
    /// Structs and maps become tables with their names or keys, sequences and tuples become sequences. `None`, `()` and
    /// unit structs are nil: as a field they are left out, in a sequence they leave a gap. A variant of an enum is its
    /// name, or a table `{Name = content}` if it has content. Bytes are strings, as text is.
    ///
    /// ```
    /// # use luacell::{Args, ComputeOptions, Sandbox};
    /// #[derive(serde::Serialize)]
    /// struct Item<'a> {
    ///     name: &'a str,
    ///     price: f64,
    /// }
    ///
    /// let mut args = Args::new();
    /// args.serialize(&[Item { name: "tea", price: 3.5 }, Item { name: "milk", price: 1.0 }])?;
    /// let options = ComputeOptions::new().encoded_args(args);
    /// let outcome = Sandbox::new()?.compute_with("local items = ... return items[1].name, #items", options)?;
    /// assert_eq!(outcome.values, ["tea".into(), 2.into()]);
    /// # Ok::<(), luacell::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Conversion` for integers that Lua does not have, for keys that no table can have or that are tables themselves,
    /// and for whatever the type's own serialization fails with. What was added before stays, so nothing of these
    /// arguments should be used then.
    pub fn serialize<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(Serializer(self))
    }
}

/// Several values that can be serialized, as arguments or results: a tuple of up to eight.
pub trait SerializeArgs {
    /// Adds the values, in order.
    ///
    /// # Errors
    /// As [`Args::serialize`].
    fn serialize_into(&self, args: &mut Args) -> Result<()>;
}

macro_rules! tuples {
    ($(($($name:ident)*))*) => {$(
        impl<$($name: Serialize),*> SerializeArgs for ($($name,)*) {
            #[allow(non_snake_case, unused_variables, clippy::unused_unit, reason = "one macro for all lengths")]
            fn serialize_into(&self, args: &mut Args) -> Result<()> {
                let ($($name,)*) = self;
                $(args.serialize($name)?;)*
                Ok(())
            }
        }
    )*};
}

tuples! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }

struct Serializer<'a>(&'a mut Args);

/// A table whose end is not known yet: its head lies there.
struct Open<'a> {
    args: &'a mut Args,
    head: Place,
    count: usize,
    /// Of the entry that is being added.
    key: Place,
}

impl<'a> Serializer<'a> {
    fn integer(self, n: impl TryInto<i64> + Copy + std::fmt::Display) -> Result<()> {
        match n.try_into() {
            Ok(n) => {
                self.0.integer(n);
                Ok(())
            }
            Err(_) => Err(Error::conversion(format!("{n} does not fit a Lua integer"))),
        }
    }

    fn open(self, shape: Shape) -> Result<Open<'a>> {
        let head = self.0.end();
        self.0.shaped_table(shape, 0, 0)?;
        Ok(Open { args: self.0, head, count: 0, key: head })
    }

    /// The table around the content of a variant, up to the content.
    fn variant(self, name: &str) -> Result<Self> {
        self.0.shaped_table(Shape::Map, 0, 1)?;
        self.0.string(name.as_bytes())?;
        Ok(self)
    }
}

impl Open<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.count += 1;
        self.args.serialize(value)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = self.args.end();
        self.args.serialize(key)?;
        match self.args.tag_at(self.key) {
            Some(tag::NIL) => Err(Error::conversion("nil can't be a key of a table")),
            Some(tag) if is_table(tag) => Err(Error::conversion("a table can't be a key here")),
            _ if self.args.is_nan_at(self.key) => Err(Error::conversion("NaN can't be a key of a table")),
            _ => Ok(()),
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let at = self.args.end();
        self.args.serialize(value)?;
        if self.args.tag_at(at) == Some(tag::NIL) {
            self.args.take_back(self.key);
        } else {
            self.count += 1;
        }
        Ok(())
    }

    fn end_sequence(self) -> Result<()> {
        self.args.set_counts(self.head, self.count, 0)
    }

    fn end_map(self) -> Result<()> {
        self.args.set_counts(self.head, 0, self.count)
    }
}

macro_rules! integers {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, n: $type) -> Result<()> {
            self.integer(n)
        }
    )*};
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Open<'a>;
    type SerializeTuple = Open<'a>;
    type SerializeTupleStruct = Open<'a>;
    type SerializeTupleVariant = Open<'a>;
    type SerializeMap = Open<'a>;
    type SerializeStruct = Open<'a>;
    type SerializeStructVariant = Open<'a>;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_bool(self, b: bool) -> Result<()> {
        self.0.boolean(b);
        Ok(())
    }

    integers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_f32(self, x: f32) -> Result<()> {
        self.serialize_f64(x.into())
    }

    fn serialize_f64(self, x: f64) -> Result<()> {
        self.0.float(x);
        Ok(())
    }

    fn serialize_char(self, c: char) -> Result<()> {
        self.0.string(c.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn serialize_str(self, text: &str) -> Result<()> {
        self.0.string(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<()> {
        self.0.string(bytes)
    }

    fn serialize_none(self) -> Result<()> {
        self.0.nil();
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<()> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<()> {
        let start = self.0.end();
        let inside = self.variant(name)?;
        let at = inside.0.end();
        value.serialize(Serializer(&mut *inside.0))?;
        if inside.0.tag_at(at) == Some(tag::NIL) {
            inside.0.take_back(start);
            return inside.serialize_str(name);
        }
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'a>> {
        self.open(Shape::List)
    }

    fn serialize_tuple(self, _: usize) -> Result<Open<'a>> {
        self.open(Shape::List)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Open<'a>> {
        self.open(Shape::List)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Open<'a>> {
        self.variant(name)?.open(Shape::List)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Open<'a>> {
        self.open(Shape::Map)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'a>> {
        self.open(Shape::Map)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, name: &'static str, _: usize) -> Result<Open<'a>> {
        self.variant(name)?.open(Shape::Map)
    }
}

macro_rules! sequences {
    ($($trait:ident::$method:ident)*) => {$(
        impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.item(value)
            }

            fn end(self) -> Result<()> {
                self.end_sequence()
            }
        }
    )*};
}

sequences! {
    SerializeSeq::serialize_element SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field SerializeTupleVariant::serialize_field
}

impl ser::SerializeMap for Open<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.end_map()
    }
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Open<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
                self.key(name)?;
                self.value(value)
            }

            fn end(self) -> Result<()> {
                self.end_map()
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }
