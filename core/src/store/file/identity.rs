//! Which file it is, whatever it is called.

use std::fs::Metadata;
use std::path::Path;

/// Equal for two names of one file.
#[cfg(unix)]
pub(super) type Identity = (u64, u64);
/// Equal for two ways to one path.
#[cfg(not(unix))]
pub(super) type Identity = std::path::PathBuf;

#[cfg(unix)]
pub(super) fn identity_of(metadata: &Metadata, _: &Path) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
pub(super) fn identity_of(_: &Metadata, path: &Path) -> Identity {
    path.to_owned()
}

/// Whether the file has no name any more.
#[cfg(unix)]
pub(super) fn is_gone(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 0
}

/// A file that is open can't be deleted there.
#[cfg(not(unix))]
pub(super) fn is_gone(_: &Metadata) -> bool {
    false
}
