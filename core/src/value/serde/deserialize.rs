//! Lua to Rust.

use serde::de::value::BorrowedBytesDeserializer;
use serde::de::{self, DeserializeOwned, Error as _, IntoDeserializer, Unexpected, Visitor};

use crate::util::ByteReader;
use crate::value::codec::{Plain, Reader, is_table, tag};
use crate::value::path::path;
use crate::value::{Error, ErrorKind, Result, Value};

/// Rust types that contain themselves are built recursively.
const MAX_DEPTH: u32 = 128;

/// A table that is shared is read again at each place that has it: so many bytes at most in all.
const MAX_REPEATED: usize = 1 << 24;

/// What these results of a run are as this type.
pub(crate) fn results<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    list(bytes, true)
}

/// What these arguments of a host function are as this type.
pub(crate) fn arguments<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    list(bytes, false)
}

fn list<T: DeserializeOwned>(bytes: &[u8], are_results: bool) -> Result<T> {
    let mut source = Source::new(bytes);
    let value = T::deserialize(List { source: &mut source, are_results });
    value.map_err(|error| source.with_place(error, if are_results { "result" } else { "argument" }))
}

struct Source<'de> {
    reader: Reader<'de>,
    whole: &'de [u8],
    depth: u32,
    /// Where tables begin, by number; found when one is shared.
    tables: Option<Vec<usize>>,
    /// How many bytes were read again.
    repeated: usize,
    /// Where an error is, from the inside.
    place: Vec<Value>,
    /// A table was left in the middle: who goes on all the same would read something else.
    is_lost: bool,
}

impl<'de> Source<'de> {
    fn new(whole: &'de [u8]) -> Self {
        let reader = Reader::new(whole);
        Source { reader, whole, depth: 0, tables: None, repeated: 0, place: Vec::new(), is_lost: false }
    }

    /// Whether the list is one table and nothing else.
    fn is_one_table(&self) -> Result<bool> {
        let mut reader = Reader::new(self.whole);
        if !self.peek().is_some_and(is_table) {
            return Ok(false);
        }
        reader.skip_whole()?;
        Ok(reader.0.rest.is_empty())
    }

    #[cold]
    fn with_place(&mut self, error: Error, what: &str) -> Error {
        if error.kind() != ErrorKind::Conversion {
            return error;
        }
        let mut keys = std::mem::take(&mut self.place).into_iter().rev();
        let root = match keys.next() {
            Some(Value::Integer(n)) => format!("{what} {n}"),
            _ => what.to_owned(),
        };
        Error::new(error.kind(), format!("{} ({})", error.message(), path(&root, keys)))
    }

    /// After the last value of the list there is nil.
    fn nil_at_end(&mut self) {
        if self.reader.0.rest.is_empty() {
            self.reader = Reader::new(&[tag::NIL]);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.reader.0.rest.first().copied()
    }

    /// A value that is no table.
    fn plain(&mut self, tag: u8) -> Result<Plain<'de>> {
        self.reader.plain(tag)?.ok_or_else(|| {
            Error::conversion("a function or kept table can't be deserialized: take it as a `Value`, or copy the table")
        })
    }

    /// The next value: a plain one, or the counts of a table, whose values come next.
    fn next(&mut self) -> Result<Next<'de>> {
        self.check()?;
        let tag = self.reader.u8()?;
        match tag {
            tag if is_table(tag) => Ok(Next::Table(self.reader.u32()?, self.reader.u32()?, None)),
            tag::BACKREF => {
                let number = self.reader.u32()? as usize;
                let back = self.reader.0.rest;
                let start = self.table(number)?;
                self.reader = Reader::new(self.whole.get(start..).unwrap_or_default());
                let _ = self.reader.u8()?;
                Ok(Next::Table(self.reader.u32()?, self.reader.u32()?, Some(back)))
            }
            tag => self.plain(tag).map(Next::Plain),
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_lost {
            return Err(Error::conversion("an error within a table can't be passed over"));
        }
        Ok(())
    }

    /// Where the table with that number begins.
    fn table(&mut self, number: usize) -> Result<usize> {
        if self.tables.is_none() {
            let mut reader = Reader::new(self.whole);
            let mut tables = Vec::new();
            while let Some(tag) = reader.0.rest.first() {
                if is_table(*tag) {
                    tables.push(self.whole.len() - reader.0.rest.len());
                }
                reader.skip()?;
            }
            self.tables = Some(tables);
        }
        let start = self.tables.as_ref().and_then(|tables| tables.get(number).copied());
        start.ok_or_else(|| Error::internal("a value refers to a table that is not there"))
    }

    /// Reads a table with `f`. What it leaves is passed over.
    fn in_table<T>(
        &mut self,
        (array, entries, back): (u32, u32, Option<&'de [u8]>),
        f: impl FnOnce(&mut Contents<'_, 'de>) -> Result<T>,
    ) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::conversion(format!(
                "tables are nested more than {MAX_DEPTH} deep, or contain themselves"
            )));
        }
        self.depth += 1;
        let before = self.reader.0.rest.len();
        let mut contents = Contents { source: self, array, index: 0, entries, key: None };
        let result = f(&mut contents).and_then(|result| contents.source.check().map(|()| result));
        if result.is_err() {
            self.is_lost = true;
            return result;
        }
        let left = u64::from(contents.array - contents.index) + 2 * u64::from(contents.entries);
        if let Some(back) = back {
            /// What it takes to go there and back, in bytes that could be read instead.
            const JUMP: usize = 16;
            self.repeated += before.saturating_sub(self.reader.0.rest.len()) + JUMP;
            if self.repeated > MAX_REPEATED {
                self.is_lost = true;
                return Err(Error::conversion("a table is too large because other tables are shared in it many times"));
            }
            self.reader = Reader(ByteReader::new(back));
        } else {
            for _ in 0..left {
                self.reader.skip_whole()?;
            }
        }
        self.depth -= 1;
        result
    }
}

enum Next<'de> {
    Plain(Plain<'de>),
    /// Values of its array part, other entries; where to go on after a shared one.
    Table(u32, u32, Option<&'de [u8]>),
}

/// The results or arguments: a tuple is all of them, anything else the first.
struct List<'a, 'de> {
    source: &'a mut Source<'de>,
    are_results: bool,
}

impl<'de> List<'_, 'de> {
    /// The first value; nil when there is none.
    fn first<T>(self, f: impl FnOnce(One<'_, 'de>) -> Result<T>) -> Result<T> {
        let source = self.source;
        source.nil_at_end();
        f(One(source)).inspect_err(|_| source.place.push(Value::Integer(1)))
    }
}

/// Values up to so many; nil where there are no more.
struct Rest<'a, 'de> {
    source: &'a mut Source<'de>,
    given: usize,
    len: usize,
}

impl<'de> de::SeqAccess<'de> for Rest<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.given == self.len {
            return Ok(None);
        }
        self.given += 1;
        self.source.nil_at_end();
        let given = self.given as i64;
        let element = seed.deserialize(One(self.source));
        element.map(Some).inspect_err(|_| self.source.place.push(Value::Integer(given)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.len - self.given)
    }
}

macro_rules! first {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.first(|one| one.$method(visitor))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for List<'_, 'de> {
    type Error = Error;

    first! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        if self.are_results && len > 1 && self.source.is_one_table()? {
            return self.first(|one| one.deserialize_tuple(len, visitor));
        }
        visitor.visit_seq(Rest { source: self.source, given: 0, len })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        self.first(|one| one.deserialize_unit_struct(name, visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, name: &'static str, len: usize, visitor: V) -> Result<V::Value> {
        self.first(|one| one.deserialize_tuple_struct(name, len, visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.first(|one| one.deserialize_struct(name, fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.first(|one| one.deserialize_enum(name, variants, visitor))
    }
}

/// The value that comes next.
struct One<'a, 'de>(&'a mut Source<'de>);

fn unexpected<'a>(plain: &Plain<'a>) -> Unexpected<'a> {
    match *plain {
        Plain::Nil => Unexpected::Other("nil"),
        Plain::Null => Unexpected::Other("null"),
        Plain::Boolean(b) => Unexpected::Bool(b),
        Plain::Integer(n) => Unexpected::Signed(n),
        Plain::Float(x) => Unexpected::Float(x),
        Plain::String(s) => std::str::from_utf8(s).map_or(Unexpected::Bytes(s), Unexpected::Str),
    }
}

const TABLE: Unexpected<'static> = Unexpected::Other("table");

/// Whatever it is.
fn visit_plain<'de, V: Visitor<'de>>(plain: Plain<'de>, visitor: V) -> Result<V::Value> {
    match plain {
        Plain::Nil | Plain::Null => visitor.visit_unit(),
        Plain::Boolean(b) => visitor.visit_bool(b),
        Plain::Integer(n) => visitor.visit_i64(n),
        Plain::Float(x) => visitor.visit_f64(x),
        Plain::String(s) => match std::str::from_utf8(s) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(s),
        },
    }
}

impl<'de> One<'_, 'de> {
    fn is_nil(&self) -> bool {
        matches!(self.0.peek(), Some(tag::NIL | tag::NULL))
    }

    /// A value that has to be no table.
    fn plain<V: Visitor<'de>>(self, visitor: &V) -> Result<Plain<'de>> {
        match self.0.next()? {
            Next::Plain(plain) => Ok(plain),
            Next::Table(..) => Err(Error::invalid_type(TABLE, visitor)),
        }
    }

    /// An integer, or a float that is one.
    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let plain = self.plain(&visitor)?;
        match Value::from(plain).as_integer() {
            Some(n) => visitor.visit_i64(n),
            None => Err(Error::invalid_type(unexpected(&plain), &visitor)),
        }
    }

    fn float<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let plain = self.plain(&visitor)?;
        match Value::from(plain).as_number() {
            Some(x) => visitor.visit_f64(x),
            None => Err(Error::invalid_type(unexpected(&plain), &visitor)),
        }
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain(&visitor)? {
            Plain::String(s) => match std::str::from_utf8(s) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => Err(Error::invalid_value(Unexpected::Other("string that is not UTF-8"), &visitor)),
            },
            other => Err(Error::invalid_type(unexpected(&other), &visitor)),
        }
    }

    fn sequence<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0.next()? {
            Next::Table(array, entries, back) => self.0.in_table((array, entries, back), |contents| {
                if entries > 0 {
                    return Err(Error::invalid_type(
                        Unexpected::Other("table with other keys than 1, 2, 3, …"),
                        &visitor,
                    ));
                }
                visitor.visit_seq(contents)
            }),
            Next::Plain(plain) => Err(Error::invalid_type(unexpected(&plain), &visitor)),
        }
    }

    fn map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0.next()? {
            Next::Table(array, entries, back) => {
                self.0.in_table((array, entries, back), |contents| visitor.visit_map(contents))
            }
            Next::Plain(plain) => Err(Error::invalid_type(unexpected(&plain), &visitor)),
        }
    }
}

macro_rules! forward {
    ($($to:ident: $($method:ident)*;)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.$to(visitor)
        }
    )*)*};
}

impl<'de> de::Deserializer<'de> for One<'_, 'de> {
    type Error = Error;

    forward! {
        integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        float: deserialize_f32 deserialize_f64;
        text: deserialize_char deserialize_str deserialize_string;
        sequence: deserialize_seq;
        map: deserialize_map;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let tag = self.0.peek();
        let is_list = |array| tag == Some(tag::LIST) || array > 0 && tag != Some(tag::MAP);
        match self.0.next()? {
            Next::Plain(plain) => visit_plain(plain, visitor),
            Next::Table(array, 0, back) if is_list(array) => {
                self.0.in_table((array, 0, back), |contents| visitor.visit_seq(contents))
            }
            Next::Table(array, entries, back) => {
                self.0.in_table((array, entries, back), |contents| visitor.visit_map(contents))
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain(&visitor)? {
            Plain::Boolean(b) => visitor.visit_bool(b),
            other => Err(Error::invalid_type(unexpected(&other), &visitor)),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain(&visitor)? {
            Plain::String(s) => visitor.visit_borrowed_bytes(s),
            other => Err(Error::invalid_type(unexpected(&other), &visitor)),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.is_nil() {
            self.0.next()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain(&visitor)? {
            Plain::Nil | Plain::Null => visitor.visit_unit(),
            other => Err(Error::invalid_type(unexpected(&other), &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.sequence(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.0.next()? {
            Next::Plain(Plain::String(name)) => visitor.visit_enum(Variant { name, content: None }),
            Next::Plain(plain) => Err(Error::invalid_type(unexpected(&plain), &visitor)),
            Next::Table(0, 1, back) => self.0.in_table((0, 1, back), |contents| {
                let tag = contents.source.reader.u8()?;
                let Plain::String(name) = contents.source.plain(tag)? else {
                    return Err(Error::invalid_type(Unexpected::Other("table without a variant's name"), &visitor));
                };
                contents.entries = 0;
                let source = &mut *contents.source;
                let variant = visitor.visit_enum(Variant { name, content: Some(One(&mut *source)) });
                variant.inspect_err(|_| source.place.push(Value::from(name)))
            }),
            Next::Table(..) => {
                Err(Error::invalid_type(Unexpected::Other("table that is not {Variant = content}"), &visitor))
            }
        }
    }

    /// A field's name. An integer key is none.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.plain(&visitor)? {
            Plain::Integer(n) => visitor.visit_string(n.to_string()),
            plain => visit_plain(plain, visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.reader.skip_whole()?;
        visitor.visit_unit()
    }
}

/// What a table holds.
struct Contents<'a, 'de> {
    source: &'a mut Source<'de>,
    array: u32,
    /// Of the last value of the array part.
    index: u32,
    entries: u32,
    /// Where the key of the entry lies whose value comes next; `None` in the array part.
    key: Option<&'de [u8]>,
}

impl Contents<'_, '_> {
    #[cold]
    fn fails(&mut self) {
        let key = match self.key {
            None => Value::Integer(self.index.into()),
            Some(key) => {
                let mut reader = Reader::new(key);
                let plain = reader.u8().and_then(|tag| reader.plain(tag));
                plain.ok().flatten().map_or(Value::Nil, Value::from)
            }
        };
        self.source.place.push(key);
    }
}

impl<'de> de::SeqAccess<'de> for &mut Contents<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.index == self.array {
            return Ok(None);
        }
        self.index += 1;
        seed.deserialize(One(self.source)).map(Some).inspect_err(|_| self.fails())
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.array - self.index) as usize)
    }
}

impl<'de> de::MapAccess<'de> for &mut Contents<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if self.index < self.array {
            self.index += 1;
            return seed.deserialize(Index(self.index)).map(Some).inspect_err(|_| self.fails());
        }
        if self.entries == 0 {
            return Ok(None);
        }
        self.entries -= 1;
        self.key = Some(self.source.reader.0.rest);
        seed.deserialize(One(self.source)).map(Some).inspect_err(|_| self.fails())
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(One(self.source)).inspect_err(|_| self.fails())
    }

    fn size_hint(&self) -> Option<usize> {
        Some((self.array - self.index) as usize + self.entries as usize)
    }
}

/// A key of the array part.
struct Index(u32);

impl<'de> de::Deserializer<'de> for Index {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i64(self.0.into())
    }

    /// It is no field's name.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_string(self.0.to_string())
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum ignored_any
    }
}

/// A variant of an enum, with its content if it has one.
struct Variant<'a, 'de> {
    name: &'de [u8],
    content: Option<One<'a, 'de>>,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Error;
    type Variant = Content<'a, 'de>;

    fn variant_seed<V: de::DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a, 'de>)> {
        Ok((seed.deserialize(BorrowedBytesDeserializer::<Error>::new(self.name))?, Content(self.content)))
    }
}

struct Content<'a, 'de>(Option<One<'a, 'de>>);

impl<'de> de::VariantAccess<'de> for Content<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(Error::invalid_type(Unexpected::Other("variant with content"), &"one without")),
        }
    }

    /// Nil has no place in a table: then the variant is its name alone.
    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        match self.0 {
            None => seed.deserialize(().into_deserializer()),
            Some(content) => seed.deserialize(content),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        match self.0 {
            None => Err(Error::invalid_type(Unexpected::UnitVariant, &visitor)),
            Some(content) => content.sequence(visitor),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        match self.0 {
            None => Err(Error::invalid_type(Unexpected::UnitVariant, &visitor)),
            Some(content) => content.map(visitor),
        }
    }
}
