//! Snapshots of sandboxes, and sandboxes from snapshots.

use super::{Engine, Sandbox, SandboxConfig};
use crate::snapshot::{RestoreOptions, Snapshot};
use crate::value::Result;

impl Snapshot {
    /// Reads what [`to_bytes`](Self::to_bytes) returned, in this or another process.
    ///
    /// The checksum detects accidents, not intent. Bytes that somebody made on purpose can do what a script that has
    /// taken over the guest could do: they can't reach anything outside the sandbox, but they can run endlessly inside
    /// it, past every limit. If you don't trust where a snapshot comes from, restore it only in a
    /// [hardened](crate::EngineConfig::hardened) engine, which stops that.
    ///
    /// # Errors
    /// `InvalidArgument` if the bytes are not a snapshot, are damaged, or belong to another format or another guest.
    /// Also if the guest's memory or the tables in it are larger than the engine's
    /// [`max_memory`](crate::EngineConfig::max_memory), which is checked before they are unpacked. `Memory` if there is
    /// not enough memory for a guest.
    pub fn from_bytes(engine: &Engine, bytes: &[u8]) -> Result<Snapshot> {
        Snapshot::parse(&engine.0, bytes)
    }
}

impl Engine {
    /// A new sandbox that continues from the moment of the snapshot, as after [`Sandbox::restore`]. Host functions that
    /// it uses are linked by their names when they are registered.
    ///
    /// # Errors
    /// As [`sandbox`](Self::sandbox) and [`Sandbox::restore`].
    pub fn sandbox_from(&self, snapshot: &Snapshot, config: SandboxConfig) -> Result<Sandbox> {
        let mut state = config.into_state(self)?;
        state.restore(snapshot, &RestoreOptions::new(), true)?;
        Sandbox::around(state)
    }
}

impl Sandbox {
    /// Copies everything: globals, closures, suspended coroutines, and all tables. Host functions are included by name
    /// only. A [started](Self::start) run that waits is included too, with its requests and what it has written so far;
    /// see [`waiting_run`](Self::waiting_run).
    ///
    /// The tables are those that `_home` and `_io` reach or that Lua holds, wherever they are kept: a snapshot of a
    /// sandbox with a store contains a copy of what the store holds.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// let sandbox = luacell::Sandbox::new()?;
    /// sandbox.compute("next = coroutine.wrap(function() for i = 1, 9 do coroutine.yield(i) end end) next()")?;
    /// let snapshot = sandbox.snapshot()?;
    /// assert_eq!(sandbox.call("next", ())?.get::<i64>()?, 2);
    /// sandbox.restore(&snapshot)?;
    /// assert_eq!(sandbox.call("next", ())?.get::<i64>()?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Busy`, also inside a host function of this sandbox; `Store` if the store fails, `Closed`, `Trap`.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.cell().access_waiting(|state| state.snapshot(self.cell()))
    }

    /// Makes this sandbox what it, or another one, was when the snapshot was taken: all or nothing.
    ///
    /// Tables in memory become what they were then. A sandbox with its own store keeps its tables: nothing in the store
    /// changes, and Lua goes on with the `_home` that is there. With [`restore_with`](Self::restore_with) you can
    /// choose.
    ///
    /// Limits, the target of printed text and the source of modules stay as they are. Host functions are linked by
    /// their names. If the snapshot uses functions that this sandbox does not have, they give an error when a script
    /// calls them, until they are registered. If this sandbox has functions that the snapshot does not know, they
    /// become globals. A virtual clock continues from the time of the snapshot. Random numbers continue from where they
    /// were, in each copy.
    ///
    /// Functions that the host still has give `Closed` afterwards. If tables were restored, so do views of tables other
    /// than `_home` and `_io`.
    ///
    /// # Errors
    /// `InvalidArgument` for a snapshot of another guest; also if the sandbox keeps its tables and Lua holds kept
    /// tables in the snapshot, in variables, upvalues or coroutines (they are not tables of this store); and if it does
    /// not keep its tables and others are using its store (their tables would be rolled back too). `Memory` if there is
    /// not enough memory for the snapshot, or it is larger than this sandbox's limit; `StoreLimit` if its tables are;
    /// `Store` if the store fails; `Busy`, also inside a host function of this sandbox; `Closed`, `Trap`. The sandbox
    /// is then as it was before.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        self.restore_with(snapshot, &RestoreOptions::new())
    }

    /// Like [`restore`](Self::restore), but you choose what happens to the tables.
    ///
    /// ```
    /// # fn main() -> Result<(), luacell::Error> {
    /// use luacell::{MemoryStore, RestoreOptions, Sandbox, SandboxConfig};
    ///
    /// let template = Sandbox::new()?;
    /// template.compute("function visit() _home.n = (_home.n or 0) + 1 return _home.n end")?;
    /// let template = template.snapshot()?;
    /// let user = Sandbox::with_config(SandboxConfig::new().store(MemoryStore::new()))?;
    /// user.home().set("n", 41)?;
    /// user.restore(&template)?;
    /// assert_eq!(user.call("visit", ())?.get::<i64>()?, 42);
    /// user.restore_with(&template, &RestoreOptions::new().tables(true))?;
    /// assert_eq!(user.call("visit", ())?.get::<i64>()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As `restore`.
    pub fn restore_with(&self, snapshot: &Snapshot, options: &RestoreOptions) -> Result<()> {
        self.cell().access_whole(|state| state.restore(snapshot, options, !options.whatever_size))
    }

    /// A second sandbox in the same state as this one, with the same settings and host functions, and independent of it
    /// from now on. Its tables are a copy in memory, whatever store this sandbox has. Memory that neither has written
    /// to since Lua started is shared; the rest is copied.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot); `Memory` if there is not enough memory for another sandbox.
    pub fn fork(&self) -> Result<Sandbox> {
        Sandbox::around(self.cell().access_waiting(|state| state.fork(self.cell()))?)
    }
}
