//! What a sandbox weighs that nobody uses at the moment.

use std::fs;

use anyhow::{Context, Result};
use luacell::{Engine, EngineConfig};

/// Resident bytes of each of so many sandboxes that are there at once, after one run in each or none.
pub fn of_each(count: u32, run: bool) -> Result<f64> {
    let engine = Engine::new(EngineConfig::new().pool_size(count + 1))?;
    crate::one_plus_one(&crate::sandbox(&engine)?)?;
    let before = resident()?;
    let sandboxes = (0..count)
        .map(|_| {
            let sandbox = crate::sandbox(&engine)?;
            if run {
                crate::one_plus_one(&sandbox)?;
            }
            Ok(sandbox)
        })
        .collect::<Result<Vec<_>>>()?;
    let each = (resident()? - before) / f64::from(count);
    drop(sandboxes);
    Ok(each)
}

/// Resident bytes of this process, as Linux tells them.
pub fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok())
        .context("/proc/self/status has no VmRSS")?;
    Ok(kilobytes * 1024.0)
}
