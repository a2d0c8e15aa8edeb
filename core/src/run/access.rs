//! A sandbox that somebody may use now.

use std::sync::Arc;

use super::limits::LimitOverrides;
use super::sandbox_cell::SandboxCell;
use super::state::SandboxState;
use crate::guest::held_tables::allocate_ids;
use crate::guest::resolver::SandboxResolver;
use crate::guest::{GuestMut, Host};
use crate::machine::Entry;
use crate::tables::{StoreLimit, Tables};
use crate::value::{Error, Outcome, Result};

/// A sandbox that the caller may use now.
pub(crate) enum Access<'a> {
    /// Nothing else happens in it.
    Exclusive(&'a mut SandboxState),
    /// It runs a host function on this thread, which uses it.
    Reentrant(GuestMut<'a>),
}

impl Access<'_> {
    pub(crate) fn resolver(&mut self, shared: &Arc<SandboxCell>) -> Result<SandboxResolver> {
        match self {
            Access::Exclusive(state) => Ok(state.resolver(shared)),
            Access::Reentrant(guest) => guest.host().run.resolver.clone().ok_or_else(Error::busy),
        }
    }

    /// The tables, for reading and writing from the host.
    pub(crate) fn tables(&mut self) -> Result<&mut Tables> {
        match self {
            Access::Exclusive(state) => state.tables(),
            Access::Reentrant(guest) => Ok(&mut guest.host().tables),
        }
    }

    pub(crate) fn host(&mut self) -> Result<&mut Host> {
        match self {
            Access::Exclusive(state) => state.host(),
            Access::Reentrant(guest) => Ok(guest.host()),
        }
    }

    /// The guest; made anew when there is none.
    pub(crate) fn guest(&mut self) -> Result<GuestMut<'_>> {
        match self {
            Access::Exclusive(state) => {
                state.factory.check_stack()?;
                state.guest()
            }
            Access::Reentrant(guest) => Ok(guest.reborrow()),
        }
    }

    /// How much the tables may hold.
    pub(crate) fn store_limit(&mut self) -> StoreLimit {
        match self {
            Access::Exclusive(state) => state.settings.limits.store,
            Access::Reentrant(guest) => guest.host().run.limits.store,
        }
    }

    /// Takes this many table ids.
    pub(crate) fn allocate_ids(&mut self, count: u32) -> Result<u32> {
        let seen = self.tables()?.next_id();
        allocate_ids(&mut self.guest()?, seen, count)
    }

    /// Ends a write from the host: all of it is stored, or nothing. Inside a run it is stored with the run.
    pub(crate) fn finish_write(&mut self, result: Result<()>) -> Result<()> {
        match self {
            Access::Exclusive(state) => state.finish_write(result),
            Access::Reentrant(guest) => guest.or_ends_run(result),
        }
    }

    /// The result of a call into the guest that is no run.
    pub(crate) fn roll_back_on_error<T>(&mut self, result: Result<T>) -> Result<T> {
        match self {
            Access::Exclusive(state) => state.roll_back_on_error(result),
            Access::Reentrant(guest) => guest.or_ends_run(result),
        }
    }

    /// Runs the guest once: `enter` passes in what is to be run.
    #[inline]
    pub(crate) fn run(
        &mut self,
        shared: &Arc<SandboxCell>,
        set: Option<&LimitOverrides>,
        enter: impl Fn(&mut GuestMut<'_>, &SandboxResolver, &mut Vec<u8>) -> Result<Entry>,
    ) -> Result<Outcome> {
        match self {
            Access::Exclusive(state) => state.run(shared, set, enter),
            Access::Reentrant(guest) => guest.run_nested(set, enter),
        }
    }
}
