//! The compiler: a pinned wheel from PyPI in a virtual environment of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::recipe::{ZIG_PACKAGE, ZIG_VERSION};
use crate::steps::{finish, printed};
use crate::tools::environment;

/// An installed compiler.
pub struct Toolchain {
    python: PathBuf,
    cache: PathBuf,
}

impl Toolchain {
    /// Uses the compiler in `folder`, installing it if it is not there or of another version.
    pub fn install(folder: &Path) -> Result<Self> {
        let bin = environment(&folder.join("zig"), &format!("{ZIG_PACKAGE}=={ZIG_VERSION}"))?;
        Ok(Self { python: bin.join("python"), cache: folder.join("zig-cache") })
    }

    /// Runs the compiler in `folder`.
    pub fn compile(&self, folder: &Path, args: &[impl AsRef<OsStr>]) -> Result<()> {
        finish(self.zig().arg("cc").args(args).current_dir(folder))
            .with_context(|| format!("compiling in {}", folder.display()))
    }

    /// The folder with the sources of the C libraries inside the wheel.
    pub fn libc(&self) -> Result<PathBuf> {
        let script = "import os, ziglang; print(os.path.dirname(ziglang.__file__))";
        let folder = printed(Command::new(&self.python).args(["-c", script]))?;
        Ok(Path::new(folder.trim()).join("lib/libc"))
    }

    fn zig(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "ziglang"])
            .env("ZIG_GLOBAL_CACHE_DIR", &self.cache)
            .env("ZIG_LOCAL_CACHE_DIR", &self.cache);
        command
    }
}
