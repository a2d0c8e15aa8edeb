//! Tables by value: as handles, and as lists of nodes to build them from and to take them apart, each in one call.

use std::collections::HashMap;
use std::sync::Arc;

use luacell::{Args, Table, Value};

use crate::error::{LuaError, guarded, invalid};
use crate::value::{LuaEntry, LuaValue, entries, from_lua};

/// A table by value. It does not change; tables in it may be shared, and may contain each other in cycles.
///
/// It may be used from any thread, and does not need its sandbox any more.
#[derive(Debug, uniffi::Object)]
#[uniffi::export(Debug, Eq, Hash)]
pub struct LuaTable(pub(crate) Table);

/// One table of several that refer to each other by number.
#[derive(Clone, Debug, uniffi::Record)]
pub struct TableNode {
    /// The values of the keys 1 to n; nil leaves a gap.
    pub items: Vec<NodeValue>,
    /// The other entries.
    pub entries: Vec<NodeEntry>,
}

/// An entry of a node.
#[derive(Clone, Debug, uniffi::Record)]
pub struct NodeEntry {
    /// The key.
    pub key: NodeValue,
    /// The value.
    pub value: NodeValue,
}

/// A value in a node.
#[derive(Clone, Debug, uniffi::Enum)]
pub enum NodeValue {
    /// A value that stands for itself.
    Plain {
        /// The value.
        value: LuaValue,
    },
    /// A table: the node of this number, from 0.
    Node {
        /// The number.
        number: i32,
    },
}

#[uniffi::export]
impl LuaTable {
    /// The table that is the first of these nodes, with everything that it reaches.
    ///
    /// Errors: `InvalidArgument` for the number of a node that is not there, and for a key that is nil or NaN.
    #[uniffi::constructor]
    pub fn from_nodes(nodes: Vec<TableNode>) -> Result<Self, LuaError> {
        guarded(|| build(nodes).map(LuaTable))
    }

    /// The table and all tables that it reaches, itself first.
    pub fn nodes(&self) -> Vec<TableNode> {
        take_apart(&self.0)
    }

    /// The value under a key; nil when there is none.
    pub fn get(&self, key: LuaValue) -> LuaValue {
        self.0.get(key).into()
    }

    /// The length of the sequence 1 to n.
    pub fn length(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// The number of all entries.
    pub fn count(&self) -> i32 {
        i32::try_from(self.0.count()).unwrap_or(i32::MAX)
    }

    /// Whether the keys are exactly 1 to n, with n > 0.
    pub fn is_sequence(&self) -> bool {
        self.0.is_sequence()
    }

    /// The values of the keys 1 to n, in order.
    pub fn sequence(&self) -> Vec<LuaValue> {
        from_lua(self.0.sequence().collect())
    }

    /// All entries: the sequence first.
    pub fn entries(&self) -> Vec<LuaEntry> {
        entries(self.0.pairs())
    }

    /// Whether both are the very same table of one value, not only equal.
    pub fn is_same(&self, other: Arc<LuaTable>) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl PartialEq for LuaTable {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for LuaTable {}

impl std::hash::Hash for LuaTable {
    /// Equal tables have as many entries.
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.count().hash(state);
    }
}

/// All that is in a node, in the order in which it is written.
fn content(node: TableNode) -> std::vec::IntoIter<NodeValue> {
    let pairs = node.entries.into_iter().flat_map(|entry| [entry.key, entry.value]);
    node.items.into_iter().chain(pairs).collect::<Vec<_>>().into_iter()
}

/// Written as arguments are: there a table may be a key and a value at once. Without recursion, for nodes may be nested
/// deeply.
fn build(nodes: Vec<TableNode>) -> luacell::Result<Table> {
    let mut nodes: Vec<Option<TableNode>> = nodes.into_iter().map(Some).collect();
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    // Finished tables that were put into nodes become nodes as well.
    let mut added: HashMap<(usize, u32), usize> = HashMap::new();
    let mut args = Args::new();
    // Nodes whose content is being written.
    let mut open = Vec::new();
    let mut next = Some(NodeValue::Node { number: 0 });
    loop {
        let Some(value) = next.take().or_else(|| open.last_mut().and_then(Iterator::next)) else {
            if open.pop().is_none() {
                break;
            }
            continue;
        };
        match value {
            NodeValue::Node { number } => {
                let number = usize::try_from(number).map_err(|_| invalid("there is no node of a negative number"))?;
                let place = nodes.get_mut(number).ok_or_else(|| invalid(format!("there is no node {number}")))?;
                match place.take() {
                    Some(node) => {
                        if node.entries.iter().any(|entry| is_no_key(&entry.key)) {
                            return Err(invalid("a table key must not be nil or NaN"));
                        }
                        numbers.insert(number, args.table(node.items.len(), node.entries.len())?);
                        open.push(content(node));
                    }
                    None => args.table_again(numbers.get(&number).copied().unwrap_or_default())?,
                }
            }
            NodeValue::Plain { value: LuaValue::Table { table } } => {
                let first = nodes.len();
                let number = *added.entry(table.0.identity()).or_insert(first);
                if number == first {
                    nodes.extend(take_apart(&table.0).into_iter().map(|node| Some(moved(node, first))));
                }
                next = Some(NodeValue::Node { number: numbered(number)? });
            }
            NodeValue::Plain { value } => put(&mut args, &value)?,
        }
    }
    match args.into_values()?.into_iter().next() {
        Some(Value::Table(table)) => Ok(table),
        _ => Err(luacell::Error::new(luacell::ErrorKind::Internal, "the nodes made no table")),
    }
}

fn numbered(number: usize) -> luacell::Result<i32> {
    i32::try_from(number).map_err(|_| invalid("too many tables in one value"))
}

/// The node in a list where its list begins at `first`.
fn moved(mut node: TableNode, first: usize) -> TableNode {
    let pairs = node.entries.iter_mut().flat_map(|entry| [&mut entry.key, &mut entry.value]);
    for value in node.items.iter_mut().chain(pairs) {
        if let NodeValue::Node { number } = value {
            *number = number.saturating_add(i32::try_from(first).unwrap_or(i32::MAX));
        }
    }
    node
}

fn is_no_key(key: &NodeValue) -> bool {
    match key {
        NodeValue::Plain { value: LuaValue::Nil } => true,
        NodeValue::Plain { value: LuaValue::Float { value } } => value.is_nan(),
        _ => false,
    }
}

fn put(args: &mut Args, value: &LuaValue) -> luacell::Result<()> {
    match value {
        LuaValue::Nil => args.nil(),
        LuaValue::Bool { value } => args.boolean(*value),
        LuaValue::Integer { value } => args.integer(*value),
        LuaValue::Float { value } => args.float(*value),
        LuaValue::Text { value } => args.string(value.as_bytes())?,
        LuaValue::Data { value } => args.string(value)?,
        LuaValue::Table { .. } => {}
        LuaValue::Stored { table } => args.stored_table(&table.0),
        LuaValue::Function { function } => args.function(&function.0),
    }
    Ok(())
}

fn take_apart(root: &Table) -> Vec<TableNode> {
    let mut numbers = HashMap::from([(root.identity(), 0)]);
    let mut tables = vec![root.clone()];
    let mut nodes = Vec::new();
    while let Some(table) = tables.get(nodes.len()).cloned() {
        let mut refer = |value: Value| match value {
            Value::Table(inner) => {
                let new = i32::try_from(tables.len()).unwrap_or(i32::MAX);
                let number = *numbers.entry(inner.identity()).or_insert(new);
                if number == new {
                    tables.push(inner);
                }
                NodeValue::Node { number }
            }
            plain => NodeValue::Plain { value: plain.into() },
        };
        let items: Vec<NodeValue> = table.sequence().map(&mut refer).collect();
        let in_sequence = table.sequence().filter(|value| !value.is_nil()).count();
        let rest = table.pairs().skip(in_sequence);
        let entries = rest.map(|(key, value)| NodeEntry { key: refer(key), value: refer(value) }).collect();
        nodes.push(TableNode { items, entries });
    }
    nodes
}
