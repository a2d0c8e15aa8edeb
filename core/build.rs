//! Makes the guest a part of the library: as code for wasmtime, or translated to C.

#[cfg(feature = "static")]
#[path = "src/machine/exports.rs"]
mod exports;
#[cfg(not(feature = "static"))]
#[path = "src/machine/preset.rs"]
mod preset;
#[cfg(not(feature = "static"))]
#[path = "src/protocol/mod.rs"]
mod protocol;
#[cfg(feature = "static")]
#[path = "build/translated.rs"]
mod translated;
#[cfg(all(feature = "wasmtime", not(feature = "static")))]
#[path = "build/wasm.rs"]
mod wasm;
#[cfg(feature = "static")]
#[path = "build/wasm2c.rs"]
mod wasm2c;
#[cfg(all(feature = "wasmtime", not(feature = "static")))]
#[path = "src/machine/wasm_config.rs"]
mod wasm_config;

use std::env;
use std::error::Error;
use std::path::Path;

use sha2::{Digest, Sha256};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const GUEST: &str = "guest/lua.wasm";

/// For measuring: the path of another build of the guest to take instead.
const OTHER_GUEST: &str = "LUACELL_BENCH_GUEST";

fn main() -> Result<()> {
    for file in [
        "build.rs",
        "build",
        "src/protocol/mod.rs",
        "src/machine/preset.rs",
        "src/machine/wasm_config.rs",
        "src/machine/exports.rs",
        GUEST,
    ] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed={OTHER_GUEST}");
    println!("cargo:rustc-check-cfg=cfg(packed_guest)");
    let guest = env::var(OTHER_GUEST).unwrap_or_else(|_| GUEST.to_owned());
    let wasm = std::fs::read(&guest).map_err(|e| format!("can't read {guest}: {e}"))?;
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    std::fs::write(out.join("guest.sha256"), Sha256::digest(&wasm))?;
    #[cfg(feature = "static")]
    translated::build(Path::new(&guest), out)?;
    #[cfg(all(feature = "wasmtime", not(feature = "static")))]
    wasm::build(&wasm, out)?;
    Ok(())
}
