//! One running guest, whatever executes it.

use std::sync::OnceLock;

use super::Host;
use super::settings::Settings;
use crate::machine::{At, Entry, Export, Machine, NotStarted, Owned};
use crate::protocol::{INSTRUCTION_GRANT, PROTOCOL_REVISION};
use crate::value::{Error, ErrorKind, Result};

/// One running guest.
pub(crate) struct Guest(Owned<GuestState>);

/// A guest that somebody has at hand: from outside, or inside a host function that it called.
pub(crate) struct GuestMut<'a>(At<'a, GuestState>);

/// What is kept with a guest.
pub(crate) struct GuestState {
    pub(crate) host: Host,
    pub(crate) settings: Settings,
    pub(crate) layout: GuestLayout,
    /// Whether this is somebody else's guest.
    foreign: bool,
}

impl GuestState {
    /// The first revision that takes functions of the host as values.
    const TAKES_HOST_VALUES: u32 = 4;

    /// Tells the host which revision the guest speaks.
    fn take_revision(&mut self) {
        self.host.revision = self.layout.revision;
        self.host.values.begin(self.layout.revision >= Self::TAKES_HOST_VALUES);
    }
}

/// Where the guest has what, as it says itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct GuestLayout {
    /// The I/O buffer.
    pub(crate) buffer: Buffer,
    /// The revision of the contract that it speaks.
    pub(crate) revision: u32,
    /// The metrics of its last run; 0 for nowhere.
    pub(crate) metrics: u32,
    /// The next number that it would give a table; 0 for nowhere.
    pub(crate) next_table_id: u32,
}

/// Where a guest's I/O buffer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer {
    pub(crate) ptr: u32,
    pub(crate) size: u32,
}

impl GuestState {
    pub(super) fn new(host: Host, foreign: bool) -> Self {
        let layout = GuestLayout { revision: 1, ..GuestLayout::default() };
        GuestState { host, settings: Settings::of_new_instance(foreign), layout, foreign }
    }
}

macro_rules! exports {
    ($($name:ident($($param:ident: $type:ty),*) $(-> $result:ty)?;)+) => {
        impl GuestMut<'_> {
            $(
                #[allow(dead_code, reason = "scripts are run through `execute`, which keeps what it has looked up")]
                pub(crate) fn $name(&mut self, $($param: $type),*) -> Result<exports!(@result $($result)?)> {
                    self.0.call(Export::$name, ($($param,)*))
                }
            )+
        }
    };
    (@result) => { () };
    (@result $result:ty) => { $result };
}

crate::machine::exports::for_each_export!(exports);

impl Guest {
    /// Makes the instance that of a sandbox which begins. `layout`: what every instance of our own guest says.
    pub(super) fn start(
        instance: Owned<GuestState>,
        layout: &OnceLock<GuestLayout>,
    ) -> Result<Self, Box<NotStarted<GuestState>>> {
        let mut guest = Guest(instance);
        match guest.get_mut().start(layout) {
            Ok(()) => Ok(guest),
            Err(error) => Err(Box::new(NotStarted {
                error,
                imports: guest.0.into_imports(),
                #[cfg(not(feature = "static"))]
                exhausted: false,
            })),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self) -> GuestMut<'_> {
        GuestMut(self.0.at())
    }

    #[inline]
    fn state(&self) -> &GuestState {
        &self.0.data().imports
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.0.data_mut().imports.host
    }

    /// Makes a blank instance that of a sandbox.
    pub(crate) fn take_over(&mut self, host: Host) {
        let state = &mut self.0.data_mut().imports;
        state.host = host;
        state.take_revision();
    }

    /// Ends the instance and gives back what outlives it.
    pub(crate) fn into_host(self) -> Host {
        let host = self.0.into_imports().host;
        host.values.begin(false);
        host
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.state().foreign
    }

    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        &self.state().settings
    }

    pub(crate) fn buffer_size(&self) -> u32 {
        self.state().layout.buffer.size
    }
}

impl<'a> GuestMut<'a> {
    pub(super) fn new(guest: At<'a, GuestState>) -> Self {
        GuestMut(guest)
    }
}

impl GuestMut<'_> {
    #[inline]
    pub(crate) fn state(&self) -> &GuestState {
        &self.0.data().imports
    }

    #[inline]
    pub(crate) fn state_mut(&mut self) -> &mut GuestState {
        &mut self.0.data_mut().imports
    }

    #[inline]
    pub(crate) fn host(&mut self) -> &mut Host {
        &mut self.state_mut().host
    }

    #[inline]
    pub(crate) fn revision(&self) -> u32 {
        self.state().layout.revision
    }

    /// The same guest, for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> GuestMut<'_> {
        GuestMut(self.0.reborrow())
    }

    /// Runs the guest; what it answers.
    #[inline]
    pub(crate) fn execute(&mut self, entry: Entry) -> Result<i32> {
        self.0.execute(entry)
    }

    /// All of the guest's memory.
    #[inline]
    pub(crate) fn memory(&self) -> Result<&[u8]> {
        self.0.memory()
    }

    pub(crate) fn memory_size(&self) -> u64 {
        self.memory().map_or(0, |memory| memory.len() as u64)
    }

    /// Memory and host at the same time.
    #[inline]
    pub(crate) fn memory_and_host(&mut self) -> Result<(&mut [u8], &mut Host)> {
        let (bytes, data) = self.0.memory_and_data()?;
        Ok((bytes, &mut data.imports.host))
    }

    /// So much of the memory, which grows when it has to.
    pub(super) fn grown(&mut self, size: usize) -> Result<&mut [u8]> {
        const PAGE: u64 = 1 << 16;
        let missing = (size as u64).saturating_sub(self.memory_size());
        if missing > 0 {
            self.0.grow(missing.div_ceil(PAGE))?;
        }
        let room = self.0.memory_and_data()?.0.get_mut(..size);
        room.ok_or_else(|| Error::internal("the memory did not grow").fatal())
    }

    /// Bounds the whole wasm memory, for a guest that can't bound Lua's heap.
    pub(crate) fn set_max_memory(&mut self, bytes: u64) {
        let data = self.0.data_mut();
        data.max_memory = data.max_memory.min(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    fn start(&mut self, layout: &OnceLock<GuestLayout>) -> Result<()> {
        self.memory()?;
        let foreign = self.state().foreign;
        if !foreign && let Some(layout) = layout.get() {
            self.set_layout(*layout);
            return Ok(());
        }
        if foreign && self.init()? != 0 {
            return Err(Error::new(ErrorKind::Memory, "the guest could not start Lua"));
        }
        let mut revision = 1;
        if self.offers(Export::get_protocol_revision) {
            revision = self.get_protocol_revision()?.clamp(1, PROTOCOL_REVISION.cast_signed()).cast_unsigned();
        }
        if foreign && revision >= 2 {
            self.set_host_revision(PROTOCOL_REVISION.cast_signed())?;
            if self.offers(Export::set_transactional) {
                self.set_transactional(1)?;
            }
            if self.offers(Export::set_instruction_grant) {
                self.set_instruction_grant(INSTRUCTION_GRANT)?;
            }
        }
        let mut metrics = 0;
        if revision >= 2 && self.offers(Export::get_run_metrics) {
            metrics = self.get_run_metrics()?.cast_unsigned();
        }
        let mut next_table_id = 0;
        if revision >= 3 && metrics != 0 {
            next_table_id = self.u32_at(metrics.saturating_add(24))?;
        }
        self.refresh_buffer()?;
        let says = GuestLayout { buffer: self.state().layout.buffer, revision, metrics, next_table_id };
        self.set_layout(says);
        if !foreign {
            let _ = layout.set(says);
        }
        Ok(())
    }

    fn set_layout(&mut self, layout: GuestLayout) {
        let state = self.state_mut();
        state.layout = layout;
        state.take_revision();
    }

    fn offers(&self, export: Export) -> bool {
        self.0.offers(export)
    }

    /// The next number that the guest would give a table, where it tells.
    #[inline]
    pub(crate) fn next_table_id(&mut self) -> Option<Result<u32>> {
        let at = self.state().layout.next_table_id;
        if at != 0 {
            return Some(self.u32_at(at));
        }
        self.has_table_ids().then(|| self.allocate_table_ids(0).map(i32::cast_unsigned))
    }
}

/// Which of the optional exports the guest has.
macro_rules! offers {
    ($($name:ident: $export:ident;)+) => {
        impl GuestMut<'_> {
            $(
                pub(crate) fn $name(&self) -> bool {
                    self.0.offers(Export::$export)
                }
            )+
        }
    };
}

offers! {
    has_table_lists: list_table_ids;
    has_table_ids: allocate_table_ids;
    has_table_counter: set_table_counter;
    has_leave_tables: leave_tables;
    has_settle_random: settle_random;
    has_undo: undo_run;
    has_keep_failed: set_keep_failed;
    has_forget_handles: forget_handles;
    has_forget_tables: forget_tables;
    has_memory_bounds: get_memory_end;
    has_memory_limit: set_memory_limit;
    has_output_limit: set_output_limit;
    has_limit_review: review_limits;
    has_print_streaming: set_print_streaming;
    has_error_details: get_error_details;
    has_deterministic: set_deterministic;
    has_instruction_grant: set_instruction_grant;
    has_waiting: set_waiting;
    has_checkpoints: begin_checkpoint;
}
