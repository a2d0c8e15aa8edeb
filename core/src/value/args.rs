//! Arguments that are written in the form in which they cross the border, for callers who convert objects of another
//! language and don't want a `Value` in between.

use crate::value::codec::{self, Resolver, tag};
use crate::value::host_values::HostValue;
use crate::value::{Error, ErrorKind, Function, LuaString, Object, Result, Shape, Slot, StoredTable, Value};

/// Values on their way into Lua, written one after the other.
///
/// A table is announced by [`table`](Self::table), and everything in it follows: first the values of its array part,
/// then key and value of each other entry in turn. Nested tables are followed by their own content.
///
/// ```
/// # use luacell::{Args, ComputeOptions, Sandbox};
/// let mut args = Args::new();
/// args.table(2, 1)?; // {10, 20, name = "x"}
/// args.integer(10);
/// args.integer(20);
/// args.string(b"name")?;
/// args.string(b"x")?;
/// let options = ComputeOptions::new().encoded_args(args);
/// let outcome = Sandbox::new()?.compute_with("local t = ... return #t, t.name", options)?;
/// assert_eq!(outcome.values, [2.into(), "x".into()]);
/// # Ok::<(), luacell::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Args {
    bytes: Vec<u8>,
    /// What belongs to a sandbox: the bytes hold a place for it, whose number is the position here.
    references: Vec<(usize, Value)>,
    tables: u32,
}

fn count(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::conversion("a table has too many entries"))
}

/// Tag and number.
const PLACE: usize = 5;

/// A position among the values.
#[cfg(feature = "serde")]
#[derive(Clone, Copy)]
pub(crate) struct Place {
    at: usize,
    /// How many tables come before it.
    tables: u32,
}

impl Args {
    /// No values yet.
    #[must_use]
    pub fn new() -> Self {
        Args { bytes: Vec::with_capacity(64), references: Vec::new(), tables: 0 }
    }

    /// Adds nil.
    #[inline]
    pub fn nil(&mut self) {
        self.bytes.push(tag::NIL);
    }

    /// Adds null.
    pub fn null(&mut self) {
        self.bytes.push(tag::NULL);
    }

    /// Adds a boolean.
    #[inline]
    pub fn boolean(&mut self, b: bool) {
        codec::put_boolean(&mut self.bytes, b);
    }

    /// Adds an integer.
    #[inline]
    pub fn integer(&mut self, n: i64) {
        codec::put_number(&mut self.bytes, tag::INTEGER, n.to_le_bytes());
    }

    /// Adds a float.
    #[inline]
    pub fn float(&mut self, x: f64) {
        codec::put_number(&mut self.bytes, tag::FLOAT, x.to_le_bytes());
    }

    /// Adds a string of these bytes.
    ///
    /// # Errors
    /// `Conversion` for a string of 4 GiB or more.
    #[inline]
    pub fn string(&mut self, bytes: &[u8]) -> Result<()> {
        codec::put_bytes(&mut self.bytes, tag::STRING, bytes)
    }

    /// Begins a table with this many array values and other entries. Returns its number, for
    /// [`table_again`](Self::table_again).
    ///
    /// # Errors
    /// `Conversion` if there are more than a table can have.
    pub fn table(&mut self, array: usize, entries: usize) -> Result<u32> {
        self.shaped_table(Shape::Unknown, array, entries)
    }

    /// The same for a table that is said to be a list or a map.
    ///
    /// # Errors
    /// As `table`.
    pub fn shaped_table(&mut self, shape: Shape, array: usize, entries: usize) -> Result<u32> {
        let (array, entries) = (count(array)?, count(entries)?);
        codec::put_u32(&mut self.bytes, codec::table_tag(shape), array);
        self.bytes.extend_from_slice(&entries.to_le_bytes());
        let number = self.tables;
        self.tables = number.checked_add(1).ok_or_else(|| Error::conversion("too many tables in one value"))?;
        Ok(number)
    }

    /// Adds a table that was begun before, itself. This is how tables are shared and how cycles are made.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no table with that number.
    pub fn table_again(&mut self, number: u32) -> Result<()> {
        if number >= self.tables {
            return Err(Error::invalid(format!("there is no table {number} yet")));
        }
        codec::put_u32(&mut self.bytes, tag::BACKREF, number);
        Ok(())
    }

    /// Adds a view of a stored table.
    pub fn stored_table(&mut self, table: &StoredTable) {
        self.reference(if table.is_cell() { tag::STORED_UPVALUE } else { tag::EXTERNAL }, table.into());
    }

    /// Adds a function.
    pub fn function(&mut self, function: &Function) {
        self.reference(tag::HANDLE, function.into());
    }

    /// Adds an object.
    pub fn object(&mut self, object: &Object) {
        self.reference(tag::HOST_FUNCTION, object.into());
    }

    fn reference(&mut self, tag: u8, value: Value) {
        let at = self.bytes.len();
        self.references.push((at, value));
        // Never 0, which stands for no table.
        codec::put_u32(&mut self.bytes, tag, self.references.len() as u32);
    }

    /// The same as values.
    ///
    /// # Errors
    /// `InvalidArgument` if a table was announced that did not follow, or not completely.
    pub fn into_values(self) -> Result<Vec<Value>> {
        let resolver = References(&self.references);
        codec::decode(&self.bytes, &resolver).map_err(|e| match e.kind() {
            ErrorKind::Conversion => e,
            _ => Error::invalid(e.message().replacen("the guest sent", "this is", 1)),
        })
    }

    /// The bytes for the guest; `room` is used where they have to be put together.
    pub(crate) fn encoded<'a>(&'a self, room: &'a mut Vec<u8>, resolver: &dyn Resolver) -> Result<&'a [u8]> {
        if !resolver.takes_shapes() {
            codec::encode_args(&self.clone().into_values()?, room, resolver)?;
            return Ok(room);
        }
        if self.references.is_empty() {
            return Ok(&self.bytes);
        }
        let mut done = 0;
        for (at, value) in &self.references {
            room.extend_from_slice(self.bytes.get(done..*at).unwrap_or_default());
            codec::put_reference(room, &Slot::Value(value.clone()), resolver)?;
            done = at + PLACE;
        }
        room.extend_from_slice(self.bytes.get(done..).unwrap_or_default());
        Ok(room)
    }
}

/// For values of which it shows only at their end how many they are, or whether they have a place.
#[cfg(feature = "serde")]
impl Args {
    /// Where the next value will be.
    pub(crate) fn end(&self) -> Place {
        Place { at: self.bytes.len(), tables: self.tables }
    }

    /// What kind of value begins there.
    pub(crate) fn tag_at(&self, place: Place) -> Option<u8> {
        self.bytes.get(place.at).copied()
    }

    pub(crate) fn is_nan_at(&self, place: Place) -> bool {
        self.tag_at(place) == Some(tag::FLOAT)
            && self
                .bytes
                .get(place.at + 1..)
                .and_then(|rest| rest.first_chunk())
                .is_some_and(|bytes| f64::from_le_bytes(*bytes).is_nan())
    }

    /// Takes back what was added since.
    pub(crate) fn take_back(&mut self, place: Place) {
        self.bytes.truncate(place.at);
        self.tables = place.tables;
    }

    /// What the table whose head is there has turned out to hold.
    ///
    /// # Errors
    /// `Conversion` if that is more than a table can.
    pub(crate) fn set_counts(&mut self, head: Place, array: usize, entries: usize) -> Result<()> {
        if let Some(place) = self.bytes.get_mut(head.at + 1..).and_then(|rest| rest.first_chunk_mut::<8>()) {
            let (first, second) = (count(array)?.to_le_bytes(), count(entries)?.to_le_bytes());
            place.iter_mut().zip(first.into_iter().chain(second)).for_each(|(place, byte)| *place = byte);
        }
        Ok(())
    }
}

/// Values in the encoding of `docs/MEMORY_PROTOCOL.md`, which go to the guest as they are: see [`wire`](crate::wire).
/// Without functions and stored tables; what is malformed fails the run.
impl From<Vec<u8>> for Args {
    fn from(bytes: Vec<u8>) -> Self {
        Args { bytes, ..Args::default() }
    }
}

impl From<&[u8]> for Args {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

/// Finds again what the places stand for.
struct References<'a>(&'a [(usize, Value)]);

impl References<'_> {
    fn get(&self, number: u32) -> Option<&Value> {
        self.0.get((number as usize).checked_sub(1)?).map(|(_, value)| value)
    }
}

impl Resolver for References<'_> {
    fn stored(&self, id: u32, _: bool) -> StoredTable {
        match self.get(id) {
            Some(Value::StoredTable(table)) => table.clone(),
            _ => StoredTable::detached(),
        }
    }

    fn handle(&self, id: u32) -> Function {
        match self.get(id) {
            Some(Value::Function(function)) => function.clone(),
            _ => self.builtin(LuaString::default()),
        }
    }

    fn builtin(&self, name: LuaString) -> Function {
        Function::detached(name)
    }

    fn host_value(&self, number: u32) -> Option<HostValue> {
        match self.get(number) {
            Some(Value::Object(object)) => Some(HostValue::Object(object.clone())),
            _ => None,
        }
    }

    fn id_of(&self, table: &StoredTable) -> Result<u32> {
        Ok(table.id())
    }

    fn handle_of(&self, function: &crate::value::Handle) -> Result<u32> {
        Ok(function.id)
    }
}

/// The arguments of a run.
#[derive(Clone, Debug)]
pub(crate) enum ArgList {
    Values(Vec<Value>),
    Encoded(Args),
}

impl Default for ArgList {
    fn default() -> Self {
        ArgList::Values(Vec::new())
    }
}

impl ArgList {
    /// The bytes for the guest, in `room` if need be.
    #[inline]
    pub(crate) fn encoded<'a>(&'a self, room: &'a mut Vec<u8>, resolver: &dyn Resolver) -> Result<&'a [u8]> {
        match self {
            ArgList::Values(values) => {
                codec::encode_args(values, room, resolver)?;
                Ok(room)
            }
            ArgList::Encoded(args) => args.encoded(room, resolver),
        }
    }
}
