//! Tables by value: graphs of nodes behind one reference count.
//!
//! All tables of one message from Lua are nodes of one [`Graph`], and refer to each other by number. So cycles cost
//! nothing and leak nothing, and dropping is a loop over nodes. A table that the host puts into another one brings its
//! own graph along.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use ahash::RandomState;

use super::{Value, exact_integer};
use crate::util::ordered_map::OrderedMap;
use crate::value::{Error, Result};

/// A table by value.
///
/// Sharing and cycles inside it are preserved. A clone is independent: changing one does not change the other.
///
/// Tables used as keys are found by identity ([`identity`](Self::identity)), as in Lua. A change to the outer table may
/// give its inner tables new identities.
#[derive(Clone)]
pub struct Table {
    pub(crate) graph: Arc<Graph>,
    pub(crate) node: u32,
}

#[derive(Clone, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    /// Whether some slot holds a table of another graph.
    nested: bool,
}

/// What a table is said to be by whoever made it. Lua has one kind of table; other languages have two, and which one is
/// meant does not show where a table is empty, or has the keys 1 to n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// Nothing was said.
    #[default]
    Unknown,
    /// A list, such as a `Vec`, a Python list, or what `json.array` marked.
    List,
    /// A map, such as a `HashMap` or a Python dict.
    Map,
}

/// One table. Invariant: the last slot of `array` is not nil, unless it is a list.
#[derive(Clone, Default)]
pub(crate) struct Node {
    array: Vec<Slot>,
    hash: OrderedMap<Slot, Slot>,
    pub(crate) shape: Shape,
}

/// A value inside a graph.
#[derive(Clone)]
pub(crate) enum Slot {
    /// A table here is one of another graph.
    Value(Value),
    /// A table of the same graph.
    Node(u32),
}

impl Slot {
    pub(crate) const NIL: Slot = Slot::Value(Value::Nil);
}

impl Default for Slot {
    fn default() -> Self {
        Slot::NIL
    }
}

/// A value as a slot of some other graph.
impl From<Value> for Slot {
    fn from(value: Value) -> Self {
        Slot::Value(value)
    }
}

/// Scripts choose the keys, so the hash is keyed.
fn hash_state() -> &'static RandomState {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new)
}

impl Slot {
    /// The hash as a table key.
    fn key_hash(&self) -> u64 {
        let mut hasher = hash_state().build_hasher();
        match self {
            Slot::Value(Value::Nil) => 0u8.hash(&mut hasher),
            Slot::Value(Value::Null) => 6u8.hash(&mut hasher),
            Slot::Value(Value::Boolean(b)) => (1u8, b).hash(&mut hasher),
            Slot::Value(Value::Integer(n)) => n.hash(&mut hasher),
            Slot::Value(Value::Float(x)) => x.to_bits().hash(&mut hasher),
            Slot::Value(Value::String(s)) => s.as_bytes().hash(&mut hasher),
            Slot::Value(Value::Table(t)) => t.identity().hash(&mut hasher),
            Slot::Value(Value::StoredTable(t)) => (3u8, t.id()).hash(&mut hasher),
            Slot::Value(Value::Function(f)) => (4u8, f).hash(&mut hasher),
            Slot::Value(Value::Object(object)) => (5u8, object).hash(&mut hasher),
            Slot::Node(n) => (2u8, n).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Equality as table keys: tables by identity.
    fn key_eq(&self, other: &Slot) -> bool {
        match (self, other) {
            (Slot::Node(a), Slot::Node(b)) => a == b,
            (Slot::Value(Value::Float(a)), Slot::Value(Value::Float(b))) => a.to_bits() == b.to_bits(),
            (Slot::Value(Value::Table(a)), Slot::Value(Value::Table(b))) => a.identity() == b.identity(),
            (Slot::Value(a), Slot::Value(b)) => a == b,
            _ => false,
        }
    }

    /// The value that this is in its graph.
    pub(crate) fn into_value(self, graph: &Arc<Graph>) -> Value {
        match self {
            Slot::Value(value) => value,
            Slot::Node(n) => Value::Table(Table::of_graph(graph, n)),
        }
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Slot::Value(Value::Nil))
    }

    /// Whether it is a table of another graph.
    fn is_foreign_table(&self) -> bool {
        matches!(self, Slot::Value(Value::Table(_)))
    }

    /// As a table key: floats that are integers become integers. `None` for nil and NaN.
    #[inline]
    pub(crate) fn into_key(self) -> Option<Slot> {
        match self {
            Slot::Value(Value::Nil) => None,
            Slot::Value(Value::Float(x)) if x.is_nan() => None,
            Slot::Value(Value::Float(x)) => Some(exact_integer(x).map_or(Value::Float(x), Value::Integer).into()),
            key => Some(key),
        }
    }
}

impl Node {
    pub(crate) fn with_capacity(array: usize, pairs: usize, shape: Shape) -> Self {
        Node { array: Vec::with_capacity(array), hash: OrderedMap::with_capacity(pairs), shape }
    }

    pub(crate) fn array(&self) -> &[Slot] {
        &self.array
    }

    pub(crate) fn hash(&self) -> &OrderedMap<Slot, Slot> {
        &self.hash
    }

    /// The first pair of the hash part at or after a position, 0 or one that this gave, and the position after it.
    pub(crate) fn pair_from(&self, position: usize) -> Option<(usize, &Slot, &Slot)> {
        self.hash.next_from(position)
    }

    pub(crate) fn hash_len(&self) -> usize {
        self.hash.len()
    }

    fn count(&self) -> usize {
        self.array.iter().filter(|slot| !slot.is_nil()).count() + self.hash_len()
    }

    /// Appends to the array part, nil included; [`finish_array`](Self::finish_array) has to follow.
    pub(crate) fn push_raw(&mut self, slot: Slot) {
        self.array.push(slot);
    }

    /// Restores the invariant after `push_raw`.
    pub(crate) fn finish_array(&mut self) {
        if self.shape != Shape::List {
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.array.last().is_some_and(Slot::is_nil) {
            self.array.pop();
        }
    }

    fn get(&self, key: &Slot) -> &Slot {
        if let Slot::Value(Value::Integer(n)) = key
            && let Some(i) = array_index(*n)
            && let Some(slot) = self.array.get(i)
        {
            return slot;
        }
        self.hash.get(key.key_hash(), |other| other.key_eq(key)).unwrap_or(&Slot::NIL)
    }

    /// Sets a value under a key that `into_key` made; whether there was one already.
    pub(crate) fn set(&mut self, key: Slot, value: Slot) -> bool {
        if let Slot::Value(Value::Integer(n)) = key
            && let Some(i) = array_index(n)
        {
            if let Some(slot) = self.array.get_mut(i) {
                let before = std::mem::replace(slot, value);
                self.trim();
                return !before.is_nil();
            }
            if i == self.array.len() && !value.is_nil() {
                let before = self.hash_remove(&key);
                self.array.push(value);
                self.migrate();
                return before.is_some();
            }
        }
        if value.is_nil() {
            return self.hash_remove(&key).is_some();
        }
        let hash = key.key_hash();
        self.hash.insert(hash, key, value, Slot::key_eq).is_some()
    }

    fn hash_remove(&mut self, key: &Slot) -> Option<Slot> {
        if self.hash_len() == 0 {
            return None;
        }
        self.hash.remove(key.key_hash(), |other| other.key_eq(key)).map(|(_, value)| value)
    }

    /// Moves what follows the array from the hash part into it.
    fn migrate(&mut self) {
        while self.hash_len() > 0 {
            let key = Slot::Value(Value::Integer(self.array.len() as i64 + 1));
            match self.hash_remove(&key) {
                Some(value) => self.array.push(value),
                None => break,
            }
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.array.iter().chain(self.hash.iter().flat_map(|(k, v)| [k, v]))
    }
}

/// The position in the array part of an integer key.
fn array_index(key: i64) -> Option<usize> {
    usize::try_from(key.checked_sub(1)?).ok()
}

impl Graph {
    pub(crate) fn new() -> Self {
        Graph::default()
    }

    pub(crate) fn add(&mut self, node: Node) -> Result<u32> {
        let number = u32::try_from(self.nodes.len()).map_err(|_| Error::conversion("too many tables in one value"))?;
        self.nodes.push(node);
        Ok(number)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    pub(crate) fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.nodes.get_mut(number as usize)
    }

    /// Sets a value in a node; a nil or NaN key is ignored.
    pub(crate) fn put(&mut self, number: u32, key: Slot, value: Slot) {
        self.nested |= key.is_foreign_table() || value.is_foreign_table();
        if let Some(key) = key.into_key()
            && let Some(node) = self.node_mut(number)
        {
            node.set(key, value);
        }
    }

    /// Moves the tables of other graphs out of this one, so that they can be dropped without recursion.
    fn take_nested(&mut self, pending: &mut Vec<Arc<Graph>>) {
        if !self.nested {
            return;
        }
        self.nested = false;
        for node in &mut self.nodes {
            let hash = std::mem::take(&mut node.hash);
            let slots = node.array.drain(..).chain(hash.into_entries().flat_map(|(k, v)| [k, v]));
            for slot in slots {
                if let Slot::Value(Value::Table(table)) = slot {
                    pending.push(table.graph);
                }
            }
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.take_nested(&mut pending);
        while let Some(graph) = pending.pop() {
            if let Some(mut graph) = Arc::into_inner(graph) {
                graph.take_nested(&mut pending);
            }
        }
    }
}

static EMPTY: Node = Node { array: Vec::new(), hash: OrderedMap::new(), shape: Shape::Unknown };

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Table { graph: Arc::new(Graph { nodes: vec![Node::default()], nested: false }), node: 0 }
    }

    pub(crate) fn of_graph(graph: &Arc<Graph>, node: u32) -> Self {
        Table { graph: Arc::clone(graph), node }
    }

    pub(crate) fn own_node(&self) -> &Node {
        self.graph.node(self.node).unwrap_or(&EMPTY)
    }

    /// A copy of this table and what it reaches inside its graph.
    fn extract(&self) -> Table {
        let mut numbers: hashbrown::HashMap<u32, u32, RandomState> =
            hashbrown::HashMap::with_hasher(RandomState::new());
        let mut order = vec![self.node];
        numbers.insert(self.node, 0);
        let mut done = 0;
        while let Some(&number) = order.get(done) {
            done += 1;
            for slot in self.graph.node(number).unwrap_or(&EMPTY).slots() {
                if let Slot::Node(child) = slot {
                    let next = order.len() as u32;
                    numbers.entry(*child).or_insert_with(|| {
                        order.push(*child);
                        next
                    });
                }
            }
        }
        let renumber = |slot: &Slot| match slot {
            Slot::Node(n) => Slot::Node(numbers.get(n).copied().unwrap_or_default()),
            other => other.clone(),
        };
        let nodes = order
            .iter()
            .map(|&number| {
                let old = self.graph.node(number).unwrap_or(&EMPTY);
                let array = old.array.iter().map(renumber).collect();
                let mut new = Node { array, hash: OrderedMap::new(), shape: old.shape };
                for (key, value) in old.hash.iter() {
                    new.set(renumber(key), renumber(value));
                }
                new
            })
            .collect();
        Table { graph: Arc::new(Graph { nodes, nested: self.graph.nested }), node: 0 }
    }

    fn slot_value(&self, slot: &Slot) -> Value {
        slot.clone().into_value(&self.graph)
    }

    /// The value under a key, or nil.
    pub fn get(&self, key: impl Into<Value>) -> Value {
        let slot = match key.into() {
            Value::Table(t) if Arc::ptr_eq(&t.graph, &self.graph) => Slot::Node(t.node),
            key => Slot::Value(key),
        };
        match slot.into_key() {
            Some(key) => self.slot_value(self.own_node().get(&key)),
            None => Value::Nil,
        }
    }

    /// Sets the value under a key; nil removes it. The value is taken as it is now: later changes to a clone of it have
    /// no effect here.
    ///
    /// # Errors
    /// `InvalidArgument` for a nil or NaN key.
    pub fn set(&mut self, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        let key = match key.into() {
            // A key that is a table of this very graph has to be named as the graph names it.
            Value::Table(t)
                if Arc::ptr_eq(&t.graph, &self.graph) && !self.own_node().get(&Slot::Node(t.node)).is_nil() =>
            {
                *self = Table { graph: Arc::new(Graph::clone(&self.graph)), node: self.node };
                Slot::Node(t.node)
            }
            key => Slot::Value(key),
        };
        let key = key.into_key().ok_or_else(|| Error::invalid("a table key must not be nil or NaN"))?;
        let value = Slot::Value(value.into());
        let nested = key.is_foreign_table() || value.is_foreign_table();
        let (graph, node) = self.graph_to_change();
        graph.nested |= nested;
        if let Some(node) = graph.node_mut(node) {
            node.set(key, value);
        }
        Ok(())
    }

    /// The graph, copied if anybody else has it, and this table's place in it.
    fn graph_to_change(&mut self) -> (&mut Graph, u32) {
        if Arc::get_mut(&mut self.graph).is_none() {
            *self = self.extract();
        }
        (Arc::make_mut(&mut self.graph), self.node)
    }

    /// Appends a value at the key [`len`](Self::len) + 1; nil changes nothing.
    pub fn push(&mut self, value: impl Into<Value>) {
        let next = self.len() as i64 + 1;
        // An integer is always a valid key.
        let _ = self.set(next, value);
    }

    /// The length of the sequence 1 to n, as `#` gives it in Lua. That of a list counts nils, also at its end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own_node().array.len()
    }

    /// Whether there are no entries at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own_node().array.is_empty() && self.own_node().hash_len() == 0
    }

    /// The number of all entries.
    #[must_use]
    pub fn count(&self) -> usize {
        self.own_node().count()
    }

    /// Whether the table is a sequence: its keys are exactly 1 to n, with n > 0.
    #[must_use]
    pub fn is_sequence(&self) -> bool {
        let node = self.own_node();
        !node.array.is_empty() && node.hash_len() == 0 && !node.array.iter().any(Slot::is_nil)
    }

    /// What it is said to be. Most Rust types say it; a table that a script made has no shape unless `json.array` gave it one.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.own_node().shape
    }

    /// The same table, said to be something else.
    #[must_use]
    pub fn with_shape(mut self, shape: Shape) -> Table {
        if self.shape() != shape {
            let (graph, node) = self.graph_to_change();
            if let Some(node) = graph.node_mut(node) {
                node.shape = shape;
                node.finish_array();
            }
        }
        self
    }

    /// Whether other languages should have it as a list: it is said to be one and has no keys but 1 to n, or nothing was
    /// said and it [is a sequence](Self::is_sequence).
    #[must_use]
    pub fn is_list(&self) -> bool {
        match self.shape() {
            Shape::List => self.own_node().hash_len() == 0,
            Shape::Map => false,
            Shape::Unknown => self.is_sequence(),
        }
    }

    /// Whether every key is a string, as in a record.
    #[must_use]
    pub fn has_string_keys_only(&self) -> bool {
        let node = self.own_node();
        node.array.is_empty() && node.hash().iter().all(|(key, _)| matches!(key, Slot::Value(Value::String(_))))
    }

    /// The values of the keys 1 to [`len`](Self::len), in order; nil where there is a gap.
    pub fn sequence(&self) -> impl ExactSizeIterator<Item = Value> + '_ {
        self.own_node().array.iter().map(|slot| self.slot_value(slot))
    }

    /// All entries: the sequence first, then the others in the order in which they were added.
    pub fn pairs(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        let node = self.own_node();
        let array = node.array.iter().enumerate().filter(|(_, slot)| !slot.is_nil());
        array
            .map(|(i, slot)| (Value::Integer(i as i64 + 1), self.slot_value(slot)))
            .chain(node.hash.iter().map(|(key, value)| (self.slot_value(key), self.slot_value(value))))
    }

    /// What distinguishes this table from all others: equal for two views of one table that is shared or part of a
    /// cycle. Valid while one of them lives.
    #[must_use]
    pub fn identity(&self) -> (usize, u32) {
        (Arc::as_ptr(&self.graph).addr(), self.node)
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl<V: Into<Value>> FromIterator<V> for Table {
    /// A list. Nil leaves a gap.
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        let mut nested = false;
        let mut node = Node { shape: Shape::List, ..Node::default() };
        for value in values {
            let slot = Slot::Value(value.into());
            nested |= slot.is_foreign_table();
            node.push_raw(slot);
        }
        Table { graph: Arc::new(Graph { nodes: vec![node], nested }), node: 0 }
    }
}

impl From<TableRef> for Slot {
    fn from(table: TableRef) -> Self {
        Slot::Node(table.0)
    }
}

/// Builds tables that share tables or contain themselves.
///
/// ```
/// # use luacell::{TableBuilder, Value};
/// let mut builder = TableBuilder::new();
/// let node = builder.table();
/// builder.set(node, "name", "a")?;
/// builder.set_table(node, "self", node)?;
/// let table = builder.finish(node);
/// assert_eq!(table.get("self").as_table().map(|t| t.identity()), Some(table.identity()));
/// # Ok::<(), luacell::Error>(())
/// ```
#[derive(Default)]
pub struct TableBuilder(Graph);

/// A table in a [`TableBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableRef(u32);

impl TableBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new empty table. At most `u32::MAX` per builder; after that, the last one is returned again.
    pub fn table(&mut self) -> TableRef {
        TableRef(self.0.add(Node::default()).unwrap_or(u32::MAX))
    }

    /// The same for one that is said to be a list or a map.
    pub fn shaped_table(&mut self, shape: Shape) -> TableRef {
        TableRef(self.0.add(Node::with_capacity(0, 0, shape)).unwrap_or(u32::MAX))
    }

    /// Appends to a list; nil leaves a gap.
    #[cfg(feature = "json")]
    pub(crate) fn push(&mut self, list: TableRef, value: Slot) {
        self.0.nested |= value.is_foreign_table();
        if let Some(node) = self.0.node_mut(list.0) {
            node.push_raw(value);
        }
    }

    /// Sets a value.
    ///
    /// # Errors
    /// `InvalidArgument` for a nil or NaN key.
    pub fn set(&mut self, table: TableRef, key: impl Into<Value>, value: impl Into<Value>) -> Result<()> {
        self.try_put(table, Slot::Value(key.into()), Slot::Value(value.into()))
    }

    /// Sets a table of this builder as a value.
    ///
    /// # Errors
    /// `InvalidArgument` for a nil or NaN key.
    pub fn set_table(&mut self, table: TableRef, key: impl Into<Value>, value: TableRef) -> Result<()> {
        self.try_put(table, Slot::Value(key.into()), Slot::Node(value.0))
    }

    /// Sets a value under a key that is a table of this builder.
    ///
    /// # Errors
    /// None at present.
    pub fn set_with_table_key(&mut self, table: TableRef, key: TableRef, value: impl Into<Value>) -> Result<()> {
        self.try_put(table, Slot::Node(key.0), Slot::Value(value.into()))
    }

    fn try_put(&mut self, table: TableRef, key: Slot, value: Slot) -> Result<()> {
        let key = key.into_key().ok_or_else(|| Error::invalid("a table key must not be nil or NaN"))?;
        self.put(table, key, value);
        Ok(())
    }

    /// Sets a value; a nil or NaN key is ignored.
    pub(crate) fn put(&mut self, table: TableRef, key: Slot, value: Slot) {
        self.0.put(table.0, key, value);
    }

    /// The finished table, with everything that can be reached from it.
    #[must_use]
    pub fn finish(self, table: TableRef) -> Table {
        Table { graph: Arc::new(self.0), node: table.0 }
    }
}
