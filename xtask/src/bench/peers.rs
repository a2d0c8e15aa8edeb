//! `cargo xtask bench --peers`: other ways for a program to run Lua, each compared with luacell in the same run. mlua
//! is a program of its own. extism is its library from PyPI, with a plug-in that the guest's compiler makes. The plain
//! host of lua.wasm is the example in JavaScript.

use anyhow::Result;

use super::programs::{self, Runner};
use super::table::Row;
use super::{Rounds, build, cases, extism, languages};

/// Builds everything, and measures.
pub fn rows(quick: bool, rounds: Rounds) -> Result<Vec<Row>> {
    let contestants = build::contestants(None)?;
    let mlua = build::mlua()?;
    let plugin = extism::build()?;
    let mut rows = vec![Row::heading("luacell / mlua 0.12.2 with its own Lua 5.4")];
    rows.push(programs::mean(&Runner::new(&mlua), &contestants, rounds.few, Some(1.0))?);
    rows.extend(cases::beside_mlua(&contestants, &mlua, rounds.usual)?);
    rows.extend(extism::rows(&contestants, &plugin, rounds.usual)?);
    rows.extend(languages::node_host(quick)?);
    Ok(rows)
}
