//! What the guest is told before the first sandbox begins. The build script and the library share this file.

use crate::protocol::{DEFAULT_MEMORY_LIMIT, DEFAULT_OUTPUT_LIMIT, INSTRUCTION_GRANT, PROTOCOL_REVISION};

/// Exports that are called after `init`, and with what, so that a sandbox with defaults need not be told. From then on
/// the guest knows the revision that its host speaks and that it drops the writes of failed runs.
#[cfg_attr(not(feature = "static"), allow(dead_code, reason = "the build script has called them"))]
pub(crate) const SETTINGS: [(&str, i32); 5] = [
    ("set_host_revision", PROTOCOL_REVISION.cast_signed()),
    ("set_transactional", 1),
    ("set_instruction_grant", INSTRUCTION_GRANT),
    ("set_memory_limit", DEFAULT_MEMORY_LIMIT.cast_signed()),
    ("set_output_limit", DEFAULT_OUTPUT_LIMIT.cast_signed()),
];
