//! Snapshots of sandboxes, and sandboxes from snapshots.

use super::{RestoreOptions, Snapshot};
use crate::api::{Engine, Sandbox, SandboxConfig};
use crate::value::Result;

impl Engine {
    /// A new sandbox that goes on where the snapshot was taken, as [`Sandbox::restore`] does it. Host functions that it
    /// uses are linked by their names when they are registered.
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
    /// Copies everything: globals, closures, coroutines that wait in the middle of something, and all tables. Host
    /// functions are in it by name only.
    ///
    /// The tables are those that `_home` and `_io` reach or that Lua holds, wherever they are kept: a snapshot of a
    /// sandbox with a store holds a copy of what the store holds.
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
    /// `Busy` also from within a host function of this sandbox; `Store` when the store fails, `Closed`, `Trap`.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.cell().access_whole(|state| state.snapshot(self.cell()))
    }

    /// Makes this sandbox what it, or another one, was when the snapshot was taken: all or nothing.
    ///
    /// Tables in memory become what they were then. A sandbox with a store of its own keeps its tables: nothing in the
    /// store changes, and Lua goes on with the `_home` that is there. [`restore_with`](Self::restore_with) gives the
    /// choice.
    ///
    /// Limits, where printed text goes and where modules come from stay as they are. Host functions are linked by their
    /// names: those that the snapshot uses and this sandbox does not have give an error when a script calls them, until
    /// they are registered; those that the snapshot does not know become globals. With a virtual clock that goes on
    /// from the time of the snapshot. Random numbers go on from where they were, in each copy.
    ///
    /// Functions that the host still has give `Closed` afterwards, and so do views of tables other than `_home` and
    /// `_io` when tables were restored.
    ///
    /// # Errors
    /// `InvalidArgument` for a snapshot of another guest; when the sandbox keeps its tables and Lua holds kept tables
    /// in the snapshot, in variables, upvalues or coroutines: they are not those of this store; when it does not, and
    /// others use its store at this time: theirs would be taken back too. `Memory` when there is no memory for it, or
    /// it is larger than this sandbox's limit; `StoreLimit` when its tables are; `Store` when the store fails, `Busy`
    /// also from within a host function of this sandbox, `Closed`, `Trap`. The sandbox is as before then.
    pub fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        self.restore_with(snapshot, &RestoreOptions::new())
    }

    /// As [`restore`](Self::restore), with a choice of what happens to the tables.
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

    /// A second sandbox that is as this one is now, with the same settings and host functions, and independent of it
    /// from here on. Its tables are a copy in memory, whatever store this one has. Memory that neither wrote since Lua
    /// started is shared; the rest is copied.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot); `Memory` when there is no memory for one more.
    pub fn fork(&self) -> Result<Sandbox> {
        Sandbox::around(self.cell().access_whole(|state| state.fork(self.cell()))?)
    }
}
