//! How values in messages are tied to their sandbox.

use std::sync::{Arc, Weak};

use crate::value::codec::Resolver;
use crate::value::host_values::HostValue;
use crate::value::{Builtin, Error, ErrorKind, Function, FunctionKind, Handle, LuaString, Owner, Result, StoredTable};

/// How values in messages are tied to a sandbox.
#[derive(Clone)]
pub(crate) struct SandboxResolver {
    owner: Arc<dyn Owner>,
    /// The instance whose functions these are.
    instance: u64,
    /// See [`Resolver::room`].
    room: usize,
    /// Whether results are wanted as they are, see [`Self::keep_encoded`].
    #[cfg(feature = "serde")]
    encoded: std::cell::Cell<bool>,
}

impl SandboxResolver {
    pub(crate) fn new(owner: Arc<dyn Owner>, instance: u64, room: usize) -> Self {
        SandboxResolver {
            owner,
            instance,
            room,
            #[cfg(feature = "serde")]
            encoded: std::cell::Cell::new(false),
        }
    }

    /// The run's results are left as bytes, in the outcome's `encoded`. They become values only if there is anything
    /// among them that belongs to the sandbox, and has to be let go.
    #[cfg(feature = "serde")]
    pub(crate) fn keep_encoded(&self) {
        self.encoded.set(true);
    }

    #[cfg(feature = "serde")]
    pub(crate) fn keeps_encoded(&self) -> bool {
        self.encoded.get()
    }

    /// For a run inside this one, which says for itself how its results are read.
    pub(crate) fn for_nested_run(&self) -> Self {
        Self::new(Arc::clone(&self.owner), self.instance, self.room)
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Arc<dyn Owner> {
        &self.owner
    }

    /// Functions of this instance that nobody needs any more.
    pub(crate) fn take_released(&self) -> impl Iterator<Item = u32> + use<> {
        let number = self.instance;
        let all = self.owner.held().released.take().into_iter();
        all.filter(move |(instance, _)| *instance == number).map(|(_, id)| id)
    }

    fn weak(&self) -> Weak<dyn Owner> {
        Arc::downgrade(&self.owner)
    }
}

impl Resolver for SandboxResolver {
    fn stored(&self, id: u32, cell: bool) -> StoredTable {
        StoredTable::new(self.weak(), self.owner.held(), id, cell)
    }

    fn handle(&self, id: u32) -> Function {
        let handle = Handle { owner: self.weak(), instance: self.instance, id };
        Function(Arc::new(FunctionKind::Live(handle)))
    }

    fn builtin(&self, name: LuaString) -> Function {
        Function(Arc::new(FunctionKind::Builtin(Builtin { name, owner: self.weak() })))
    }

    fn host_value(&self, number: u32) -> Option<HostValue> {
        self.owner.held().host_values.get(number)
    }

    fn give(&self, value: HostValue) -> Result<u32> {
        self.owner.held().host_values.give(value)
    }

    fn take_back(&self, number: u32) {
        // It is the caller's own, who has it still.
        drop(self.owner.held().host_values.release(number, 1));
    }

    fn takes_shapes(&self) -> bool {
        self.owner.held().host_values.are_taken()
    }

    fn room(&self) -> usize {
        self.room
    }

    fn id_of(&self, table: &StoredTable) -> Result<u32> {
        if table.belongs_to(&*self.owner) {
            table.check(&*self.owner)?;
            Ok(table.id())
        } else {
            Err(Error::invalid("a stored table of another sandbox can't be passed; copy it with to_table"))
        }
    }

    fn handle_of(&self, function: &Handle) -> Result<u32> {
        if !std::ptr::addr_eq(function.owner.as_ptr(), Arc::as_ptr(&self.owner)) {
            return Err(Error::invalid("a function of another sandbox can't be passed"));
        }
        if function.instance != self.instance {
            return Err(Error::new(ErrorKind::Closed, "the function is gone: its sandbox was restarted"));
        }
        Ok(function.id)
    }
}
