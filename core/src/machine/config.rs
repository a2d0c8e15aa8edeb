//! Settings of what executes guests.

use std::time::Duration;

use crate::value::{Error, Result};

/// Settings of an [`Engine`](crate::Engine).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    pub(crate) pool_size: u32,
    pub(crate) max_memory: u64,
    pub(crate) max_stack: usize,
    pub(crate) call_deadline: Option<Duration>,
    pub(crate) hardened: bool,
}

impl EngineConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sandboxes at a time come from a pool of prepared memory, which makes them cheap to create. Default
    /// 1000. Each takes about 4 GiB of address space, not of memory. Further sandboxes work as well and take a little
    /// longer to make; 0 turns the pool off. If the system refuses that much address space, there is no pool.
    #[must_use]
    pub fn pool_size(mut self, sandboxes: u32) -> Self {
        self.pool_size = sandboxes;
        self
    }

    /// The most memory that a sandbox's wasm module may take, in bytes, everything included. This ceiling holds even
    /// for a guest that ignores its own limits. Default 1 GiB; from 2 MiB, with which a guest starts, to 4 GiB.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes;
        self
    }

    /// The most native stack that a sandbox uses, in bytes. Default 512 KiB, from 64 KiB to 1.5 MiB. The threads that
    /// run sandboxes must have this much left, and 64 KiB more for luacell itself: on Linux and Android a run on a
    /// thread with less is refused with `InvalidArgument`.
    #[must_use]
    pub fn max_stack(mut self, bytes: usize) -> Self {
        self.max_stack = bytes;
        self
    }

    /// A second line of defence, for hosts that distrust the guest itself. Its code is compiled with checks that are
    /// driven by a clock outside it. Even a guest whose Lua was taken over, and which ignores its limits, is stopped
    /// soon after its timeout or an interrupt, or after the [`call_deadline`](Self::call_deadline). The sandbox then
    /// continues with a new guest and its kept tables. Costs about a quarter of the speed. Needs the feature
    /// `hardened`. Default: off.
    #[must_use]
    pub fn hardened(mut self, on: bool) -> Self {
        self.hardened = on;
        self
    }

    /// For [`Engine::from_wasm`](crate::Engine::from_wasm) and [hardened](Self::hardened) engines: how long one call
    /// into the guest may take before it is stopped with the kind `Timeout`, whatever the sandbox's own timeout is.
    /// Default 60 seconds; `None` for no limit.
    #[must_use]
    pub fn call_deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.call_deadline = deadline.into();
        self
    }
}

impl EngineConfig {
    /// Refuses what no engine can have.
    pub(crate) fn check(&self) -> Result<()> {
        let range = |name: &str, bytes: u64, (least, most): (u64, u64)| {
            if (least..=most).contains(&bytes) {
                return Ok(());
            }
            Err(Error::invalid(format!("{name} is {bytes} bytes; it can be from {least} to {most}")))
        };
        range("max_memory", self.max_memory, (2 << 20, 4 << 30))?;
        range("max_stack", self.max_stack as u64, (64 << 10, 1536 << 10))
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            pool_size: 1000,
            max_memory: 1 << 30,
            max_stack: 512 << 10,
            call_deadline: Some(Duration::from_secs(60)),
            hardened: false,
        }
    }
}
