//! Which file it is, whatever it is called, and whether it is still there.

use std::fs::{File, Metadata};
use std::io;
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

/// What is asked of a file at each commit.
pub(super) struct Look {
    pub(super) identity: Identity,
    /// Whether the file has no name any more.
    pub(super) is_gone: bool,
    pub(super) len: u64,
}

impl Look {
    /// At what a path leads to.
    pub(super) fn at(path: &Path) -> io::Result<Look> {
        #[cfg(all(feature = "wasmtime", any(target_os = "linux", target_os = "android")))]
        if let Some(look) = linux::look(rustix::fs::CWD, path, rustix::fs::AtFlags::empty()) {
            return look;
        }
        Ok(Look::of(&std::fs::metadata(path)?, path))
    }

    /// At an open file, which this path led to.
    pub(super) fn at_open(file: &File, path: &Path) -> io::Result<Look> {
        #[cfg(all(feature = "wasmtime", any(target_os = "linux", target_os = "android")))]
        if let Some(look) = linux::look(file, Path::new(""), rustix::fs::AtFlags::EMPTY_PATH) {
            return look;
        }
        Ok(Look::of(&file.metadata()?, path))
    }

    fn of(metadata: &Metadata, path: &Path) -> Look {
        #[cfg(unix)]
        let is_gone = std::os::unix::fs::MetadataExt::nlink(metadata) == 0;
        // A file that is open can't be deleted there.
        #[cfg(not(unix))]
        let is_gone = false;
        Look { identity: identity_of(metadata, path), is_gone, len: metadata.len() }
    }
}

/// Who asks Linux for the times of a file makes its next change a more expensive one: a commit took a third longer.
#[cfg(all(feature = "wasmtime", any(target_os = "linux", target_os = "android")))]
mod linux {
    use std::io;
    use std::path::Path;

    use rustix::fd::AsFd;
    use rustix::fs::{AtFlags, StatxFlags, makedev, statx};
    use rustix::io::Errno;

    use super::Look;

    /// `None` where the system has no such call.
    pub(super) fn look(folder: impl AsFd, path: &Path, flags: AtFlags) -> Option<io::Result<Look>> {
        match statx(folder, path, flags, StatxFlags::INO | StatxFlags::NLINK | StatxFlags::SIZE) {
            Ok(about) => Some(Ok(Look {
                identity: (makedev(about.stx_dev_major, about.stx_dev_minor), about.stx_ino),
                is_gone: about.stx_nlink == 0,
                len: about.stx_size,
            })),
            Err(Errno::NOSYS) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}
