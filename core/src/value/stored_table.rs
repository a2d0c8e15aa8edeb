//! Views of stored tables, as values.

use std::fmt;
use std::sync::{Arc, Weak};

use super::owner::{self, HeldByHost, Owner};
use super::{Error, ErrorKind, Result, Table};
use crate::protocol::table_id::{HOME, IO};

/// The kept table `_home`.
pub type Home = StoredTable;

/// A live view of a table in the sandbox's store. Cloning gives another view of the same table. While a view exists,
/// the table is not removed.
///
/// Every method that reads or writes gives `Busy` while the sandbox runs, `Closed` if it is gone, and `Store` if the
/// store fails. Each write is a transaction of its own: it is made completely or not at all. A host function may use
/// tables of the sandbox that called it; what it writes is kept or dropped with the script's run.
#[derive(Clone)]
pub struct StoredTable(Arc<View>);

struct View {
    owner: Weak<dyn Owner>,
    id: u32,
    /// Which tables the number belongs to: a restored sandbox has others.
    era: u64,
    /// Holds an upvalue of a stored function.
    cell: bool,
}

impl Drop for View {
    fn drop(&mut self) {
        if self.id > IO
            && let Some(owner) = self.owner.upgrade()
        {
            owner.held().tables.remove(self.id, self.era);
        }
    }
}

impl StoredTable {
    pub(crate) fn new(owner: Weak<dyn Owner>, held: &HeldByHost, id: u32, cell: bool) -> Self {
        let era = if id > IO { held.tables.add(id) } else { 0 };
        StoredTable(Arc::new(View { owner, id, era, cell }))
    }

    /// A view of nothing.
    pub(crate) fn detached() -> Self {
        StoredTable(Arc::new(View { owner: owner::nobody(), id: 7, era: 0, cell: false }))
    }

    pub(crate) fn is_cell(&self) -> bool {
        self.0.cell
    }

    /// A deep copy as a plain table, taken at one moment; sharing and cycles are preserved. Stored functions stay what
    /// they are.
    ///
    /// # Errors
    /// See the type's description.
    pub fn to_table(&self) -> Result<Table> {
        self.owner()?.copy_table(self)
    }

    /// The sandbox.
    pub(crate) fn owner(&self) -> Result<Arc<dyn Owner>> {
        self.0.owner.upgrade().ok_or_else(Error::closed)
    }

    pub(crate) fn belongs_to(&self, owner: &dyn Owner) -> bool {
        std::ptr::addr_eq(self.0.owner.as_ptr(), owner)
    }

    /// Gives `Closed` if the number now means another table.
    pub(crate) fn check(&self, owner: &dyn Owner) -> Result<()> {
        if self.0.id > IO && owner.held().tables.era() != self.0.era {
            return Err(Error::new(ErrorKind::Closed, "the table is gone: its sandbox was restored from a snapshot"));
        }
        Ok(())
    }

    /// The table's number in the store. `_home` is 1.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }
}

impl PartialEq for StoredTable {
    /// Whether both are views of the same table.
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id && self.0.era == other.0.era && Weak::ptr_eq(&self.0.owner, &other.0.owner)
    }
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.id {
            HOME => f.write_str("table: _home"),
            IO => f.write_str("table: _io"),
            id => write!(f, "table: stored {id}"),
        }
    }
}
