//! What the guest is told before the first sandbox begins. The build script and the library share this file.

/// What each run of the guest starts with, see `limits::GRANT`.
pub(crate) const INSTRUCTION_GRANT: i32 = 100_000;

/// The limits that every guest begins with, so that a sandbox with defaults need not be told.
pub(crate) const DEFAULT_MEMORY_LIMIT: u32 = 256 << 20;
pub(crate) const DEFAULT_OUTPUT_LIMIT: u32 = 16 << 20;

/// Exports that are called after `init`, and with what. From then on the guest knows that its host speaks revision 2 and drops the writes of
/// failed runs.
#[cfg_attr(not(feature = "static"), allow(dead_code, reason = "the build script has called them"))]
pub(crate) const SETTINGS: [(&str, i32); 5] = [
    ("set_host_revision", 2),
    ("set_transactional", 1),
    ("set_instruction_grant", INSTRUCTION_GRANT),
    ("set_memory_limit", DEFAULT_MEMORY_LIMIT.cast_signed()),
    ("set_output_limit", DEFAULT_OUTPUT_LIMIT.cast_signed()),
];
