//! Functions as values.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use super::owner::{self, Owner};
use super::{LuaString, Nameless, StoredTable};

/// A Lua function, or a function of the host that Lua can be given.
///
/// A function that a script returned or passed can be called while its sandbox lives and was not reset; after that,
/// calls give `Closed`. When the last clone is dropped, Lua may collect the function. Functions read from a stored
/// table can be stored again, but not called from the host. Two values that are the same function in Lua are equal.
#[derive(Clone)]
pub struct Function(pub(crate) Arc<FunctionKind>);

pub(crate) enum FunctionKind {
    /// In a running sandbox.
    Live(Handle),
    /// Bytecode, from a store.
    Bytecode(LuaString),
    /// A built-in, by name.
    Builtin(Builtin),
    /// Described by a stored table.
    Stored(StoredTable),
    /// Of the host.
    Host(Nameless),
}

/// A built-in, or a host function, as Lua keeps it in stores.
pub(crate) struct Builtin {
    pub(crate) name: LuaString,
    /// Where it was seen.
    pub(crate) owner: Weak<dyn Owner>,
}

/// What keeps a function in the guest alive.
pub(crate) struct Handle {
    pub(crate) owner: Weak<dyn Owner>,
    /// Which of the sandbox's instances it belongs to.
    pub(crate) instance: u64,
    pub(crate) id: u32,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.held().released.push(self.instance, self.id);
        }
    }
}

impl Function {
    /// A built-in of that name, which belongs to no sandbox.
    pub(crate) fn detached(name: LuaString) -> Function {
        Function(Arc::new(FunctionKind::Builtin(Builtin { name, owner: owner::nobody() })))
    }

    /// By what the same function of the host is known, however it got here.
    pub(crate) fn identity(&self) -> usize {
        match &*self.0 {
            FunctionKind::Host(Nameless { origin: Some(origin), .. }) => origin.identity,
            _ => Arc::as_ptr(&self.0).addr(),
        }
    }

    /// The name of a built-in function, such as `string.format`, if this is one by name.
    #[must_use]
    pub fn builtin_name(&self) -> Option<&str> {
        match &*self.0 {
            FunctionKind::Builtin(builtin) => builtin.name.as_str(),
            _ => None,
        }
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.0, &other.0) {
            return true;
        }
        match (&*self.0, &*other.0) {
            (FunctionKind::Bytecode(a), FunctionKind::Bytecode(b)) => a == b,
            (FunctionKind::Builtin(a), FunctionKind::Builtin(b)) => a.name == b.name,
            (FunctionKind::Stored(a), FunctionKind::Stored(b)) => a == b,
            // Lua gives a function the same handle each time.
            (FunctionKind::Host(_), FunctionKind::Host(_)) => self.identity() == other.identity(),
            (FunctionKind::Live(a), FunctionKind::Live(b)) => {
                a.id == b.id && a.instance == b.instance && Weak::ptr_eq(&a.owner, &b.owner)
            }
            _ => false,
        }
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &*self.0 {
            FunctionKind::Live(handle) => (0u8, handle.instance, handle.id).hash(state),
            FunctionKind::Bytecode(code) => (1u8, code).hash(state),
            FunctionKind::Builtin(builtin) => (2u8, &builtin.name).hash(state),
            FunctionKind::Stored(table) => (3u8, table.id()).hash(state),
            FunctionKind::Host(_) => (4u8, self.identity()).hash(state),
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            FunctionKind::Live(handle) => write!(f, "function: {}", handle.id),
            FunctionKind::Bytecode(code) => write!(f, "function: {} bytes of code", code.len()),
            FunctionKind::Builtin(builtin) => write!(f, "function: builtin: {}", builtin.name),
            FunctionKind::Stored(table) => write!(f, "function: stored as table {}", table.id()),
            FunctionKind::Host(_) => write!(f, "function: of the host"),
        }
    }
}
