//! The methods by which a sandbox and a single run are given limits.

/// The methods by which a sandbox and a single run are given limits: the same ones.
macro_rules! limit_setters {
    ($type:ty) => {
        impl $type {
            /// At most this many bytes for Lua's heap and the buffers of the run. Beyond that, allocations fail as they
            /// do in Lua: "not enough memory", which `pcall` can catch. If nothing catches it, it is an error of the
            /// kind `Memory`. Default 256 MiB; the engine's [`max_memory`](crate::EngineConfig::max_memory) applies as
            /// well.
            #[must_use]
            pub fn memory_limit(mut self, bytes: u64) -> Self {
                self.limits.memory = Some(bytes);
                self
            }

            /// At most this many instructions, roughly those of the Lua machine; work in libraries counts by its size.
            /// Beyond: an error of the kind `InstructionLimit`, which a script can't catch. The count is the same in
            /// every run of the same script. Default: no limit, `u64::MAX`.
            #[must_use]
            pub fn instruction_limit(mut self, instructions: u64) -> Self {
                self.limits.instructions = Some(instructions);
                self
            }

            /// How long a run may take, including host functions that it waits for. Beyond: an error of the kind
            /// `Timeout`, which a script can't catch. A running host function is not stopped; the run ends when it
            /// returns. Default 60 seconds; `None` for no limit.
            #[must_use]
            pub fn timeout(mut self, timeout: impl Into<Option<std::time::Duration>>) -> Self {
                self.limits.timeout = Some(timeout.into());
                self
            }

            /// At most this many bytes of `print` in a run. Beyond: an error of the kind `OutputLimit`, which a script
            /// can't catch. Default 16 MiB.
            #[must_use]
            pub fn output_limit(mut self, bytes: u64) -> Self {
                self.limits.output = Some(bytes);
                self
            }

            /// How much stored tables may hold. If a script writes more, it gets an error of the kind `StoreLimit`,
            /// which it can't catch. What the host writes counts too, but is not refused. Default 1 GiB and 10 million
            /// entries.
            #[must_use]
            pub fn store_limit(mut self, limit: impl Into<$crate::tables::StoreLimit>) -> Self {
                self.limits.store = Some(limit.into());
                self
            }

            /// At most this many calls of host functions in a run. Beyond: an error of the kind `HostCallLimit`, which
            /// a script can't catch. Default: no limit, `u64::MAX`.
            #[must_use]
            pub fn host_call_limit(mut self, calls: u64) -> Self {
                self.limits.host_calls = Some(calls);
                self
            }

            /// At most this many bytes of source for one run. Longer source is refused with `InvalidArgument`. Default
            /// 16 MiB. What a script passes to `load` is limited by its memory.
            #[must_use]
            pub fn source_limit(mut self, bytes: u64) -> Self {
                self.limits.source = Some(bytes);
                self
            }

            /// Whether a failed run keeps what it wrote to tables before it failed, by an error or a limit. A crash of
            /// the guest (`Trap`) loses these writes all the same. Default: a run that fails stores nothing.
            #[must_use]
            pub fn commit_on_error(mut self, on: bool) -> Self {
                self.limits.commit_on_error = Some(on);
                self
            }
        }
    };
}

pub(crate) use limit_setters;
