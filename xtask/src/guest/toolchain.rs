//! The compiler: a pinned wheel from PyPI in a virtual environment of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::recipe::{ZIG_PACKAGE, ZIG_VERSION};
use crate::steps::{finish, printed};

/// An installed compiler.
pub struct Toolchain {
    python: PathBuf,
    cache: PathBuf,
}

impl Toolchain {
    /// Uses the compiler in `folder`, installing it if it is not there or of another version.
    pub fn install(folder: &Path) -> Result<Self> {
        let venv = folder.join("zig");
        let toolchain = Self {
            python: venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" }),
            cache: folder.join("zig-cache"),
        };
        if toolchain.version().as_deref() == Some(ZIG_VERSION) {
            return Ok(toolchain);
        }
        println!("installing {ZIG_PACKAGE} {ZIG_VERSION} into {}", venv.display());
        finish(Command::new(system_python()?).args(["-m", "venv"]).arg(&venv)).context(
            "making a Python virtual environment failed; on Debian and Ubuntu install it with: \
             apt-get install python3-venv",
        )?;
        finish(
            Command::new(&toolchain.python)
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
                .args(["--only-binary", ":all:", "--no-deps"])
                .arg(format!("{ZIG_PACKAGE}=={ZIG_VERSION}")),
        )?;
        match toolchain.version() {
            Some(version) if version == ZIG_VERSION => Ok(toolchain),
            found => bail!("{ZIG_PACKAGE} reports version {found:?}, wanted {ZIG_VERSION}"),
        }
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

    fn version(&self) -> Option<String> {
        let output = self.zig().arg("version").output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| version.trim().to_owned())
    }
}

/// The name of a Python that runs.
pub fn system_python() -> Result<&'static str> {
    for name in ["python3", "python"] {
        let found = Command::new(name).arg("--version").output();
        if found.is_ok_and(|output| output.status.success()) {
            return Ok(name);
        }
    }
    bail!(
        "python3 is missing (the compiler comes as a Python wheel); install it, on Debian and Ubuntu with: \
         apt-get install python3 python3-venv"
    )
}
