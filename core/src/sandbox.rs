//! One isolated Lua with its state.

use crate::value::{IntoArgs, LuaString, Table, Value};
use crate::{Error, FromValue, MemoryStats, Metrics, Result, TableStore};

fn stub<T>() -> Result<T> {
    Err(Error::internal("not built yet"))
}

/// Settings of one sandbox.
#[derive(Default)]
#[non_exhaustive]
pub struct SandboxConfig {
    memory_limit: Option<u64>,
    store: Option<Box<dyn TableStore>>,
}

impl SandboxConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most this many bytes of Lua heap.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Where kept tables live.
    #[must_use]
    pub fn store(mut self, store: impl TableStore + 'static) -> Self {
        self.store = Some(Box::new(store));
        self
    }
}

/// Settings of one run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ComputeOptions {
    name: Option<String>,
    args: Vec<Value>,
}

impl ComputeOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunk name for messages, as in Lua: `=name` as it is, `@file` for a file.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The arguments of the chunk, its `...`.
    #[must_use]
    pub fn args(mut self, args: impl IntoArgs) -> Self {
        self.args = args.into_args();
        self
    }
}

/// What a run gave.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// All returned values, in order.
    pub values: Vec<Value>,
    /// What the script printed.
    pub output: LuaString,
    /// What the run used.
    pub metrics: Metrics,
}

impl Outcome {
    /// The first returned value, or nil.
    pub fn value(&self) -> &Value {
        self.values.first().unwrap_or(&Value::Nil)
    }

    /// The first returned value, or nil.
    pub fn into_value(self) -> Value {
        self.values.into_iter().next().unwrap_or_default()
    }

    /// The first returned value as a Rust type; `Conversion` when it does not fit.
    pub fn get<T: FromValue>(&self) -> Result<T> {
        T::from_value(self.value().clone())
    }
}

/// One isolated Lua with its state. Used by one caller at a time: a second one gets `Busy`.
#[derive(Debug)]
pub struct Sandbox(());

impl Sandbox {
    /// A sandbox of the default engine with default settings.
    pub fn new() -> Result<Sandbox> {
        Sandbox::with_config(SandboxConfig::default())
    }

    /// A sandbox of the default engine.
    pub fn with_config(config: SandboxConfig) -> Result<Sandbox> {
        crate::Engine::default().sandbox(config)
    }

    /// Runs Lua source.
    pub fn compute(&self, _source: impl AsRef<[u8]>) -> Result<Outcome> {
        stub()
    }

    /// Runs Lua source with a chunk name and arguments.
    pub fn compute_with(&self, _source: impl AsRef<[u8]>, _options: ComputeOptions) -> Result<Outcome> {
        stub()
    }

    /// Calls a global function; dots reach into tables.
    pub fn call(&self, _path: &str, _args: impl IntoArgs) -> Result<Outcome> {
        stub()
    }

    /// `_io.input`
    pub fn input(&self) -> Result<Value> {
        stub()
    }

    /// Sets `_io.input`.
    pub fn set_input(&self, _value: impl Into<Value>) -> Result<()> {
        stub()
    }

    /// `_io.output`
    pub fn output(&self) -> Result<Value> {
        stub()
    }

    /// Sets `_io.output`.
    pub fn set_output(&self, _value: impl Into<Value>) -> Result<()> {
        stub()
    }

    /// `_io.meta`
    pub fn meta(&self) -> Result<Value> {
        stub()
    }

    /// Sets `_io.meta`.
    pub fn set_meta(&self, _value: impl Into<Value>) -> Result<()> {
        stub()
    }

    /// Removes `_io.input`, `_io.output` and `_io.meta`.
    pub fn clear_io(&self) -> Result<()> {
        stub()
    }

    /// The kept table `_home`.
    pub fn home(&self) -> Home {
        StoredTable(())
    }

    /// Memory use at this moment.
    pub fn memory_stats(&self) -> Result<MemoryStats> {
        stub()
    }

    /// A full collection in Lua, and of tables that nothing refers to.
    pub fn gc(&self) -> Result<()> {
        stub()
    }

    /// Back to a fresh Lua; kept tables stay.
    pub fn reset(&self) -> Result<()> {
        stub()
    }

    /// Ends the sandbox: every later call gives `Closed`.
    pub fn close(&self) {}
}

/// The kept table `_home`.
pub type Home = StoredTable;

/// A live view of a table in the sandbox's store. Cloning gives another view of the same table; while one exists, the
/// table is not removed. Every method gives `Busy` while the sandbox runs, `Closed` when it is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTable(());

impl StoredTable {
    /// The table's id in the store.
    pub fn id(&self) -> u32 {
        0
    }

    /// The value under a key; nil when there is none. Nested tables come as live views.
    pub fn get(&self, _key: impl Into<Value>) -> Result<Value> {
        stub()
    }

    /// Sets a value; nil removes it. A nested [`Table`] becomes a stored table itself, deeply.
    pub fn set(&self, _key: impl Into<Value>, _value: impl Into<Value>) -> Result<()> {
        stub()
    }

    /// Removes a key; whether it was there.
    pub fn remove(&self, _key: impl Into<Value>) -> Result<bool> {
        stub()
    }

    /// The number of entries.
    pub fn len(&self) -> Result<usize> {
        stub()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// All keys.
    pub fn keys(&self) -> Result<Vec<Value>> {
        stub()
    }

    /// All entries, read at this moment.
    pub fn entries(&self) -> Result<Vec<(Value, Value)>> {
        stub()
    }

    /// A deep copy as a plain table; sharing and cycles are kept.
    pub fn to_table(&self) -> Result<Table> {
        stub()
    }
}
