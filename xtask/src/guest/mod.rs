//! `cargo xtask guest`: builds `core/guest/lua.wasm`.
//!
//! Sources are copied and patched (`patch`), compiled and linked (`build`, with the compiler of `toolchain`),
//! then errors are lowered to ordinary returns (`lower`). `check` guards the contract on both sides of that
//! pass. All settings are in `recipe`.

mod build;
mod callgraph;
mod check;
mod lower;
mod meter;
mod module;
mod patch;
pub mod recipe;
pub mod toolchain;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Options of `cargo xtask guest`.
#[derive(clap::Args)]
pub struct Args {
    /// Rebuild and compare with the committed module instead of writing it
    #[arg(long)]
    check: bool,
}

/// Writes a module that counts nothing, for measuring what counting costs.
pub fn write_unmetered(file: &Path) -> Result<()> {
    let folders = build::Folders::find()?;
    let (_, lowered) = make(&folders, false)?;
    fs::write(file, lowered.wasm).with_context(|| format!("writing {}", file.display()))
}

/// The linked and the finished module.
fn make(folders: &build::Folders, metered: bool) -> Result<(Vec<u8>, lower::Lowered)> {
    let linked = build::linked_module(folders, metered)?;
    check::linked(&linked)?;
    let metering = meter::Names {
        budget: recipe::BUDGET,
        spent: recipe::BUDGET_SPENT,
        checked: {
            let mut checked = meter::functions_of(&folders.lua, recipe::METERED_FILES)?;
            checked.extend(recipe::CHECKED_FUNCTIONS.map(str::to_owned));
            checked
        },
        uncounted: recipe::UNCOUNTED_LOOPS,
        interpreter: recipe::INTERPRETER,
    };
    let names = lower::Names {
        throw: recipe::THROW_IMPORT,
        catch: recipe::TRY_FUNCTION,
        stack_pointer: recipe::STACK_POINTER,
        dropped_exports: recipe::DROPPED_EXPORTS,
        initial_pages: recipe::INITIAL_PAGES,
        metering: metered.then_some(metering),
    };
    let lowered = lower::lower(&linked, &names).context("lowering errors")?;
    let escaping: Vec<&String> =
        lowered.throwing_exports.iter().filter(|name| !recipe::THROWING_EXPORTS.contains(&name.as_str())).collect();
    if !escaping.is_empty() {
        bail!("an error could leave through the exports {escaping:?}, where nothing catches it");
    }
    check::finished(&lowered.wasm).context("the finished module")?;
    if metered {
        let budget = module::Module::parse(&linked)?.address_of(recipe::BUDGET)?;
        check::counted(&lowered.wasm, &lowered.function_names, budget)?;
    }
    Ok((linked, lowered))
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let folders = build::Folders::find()?;
    let (linked, lowered) = make(&folders, true)?;

    // For whoever reads a wasm stack trace: the shipped module has no names.
    let names: String = lowered.function_names.iter().enumerate().map(|(i, name)| format!("{i} {name}\n")).collect();
    fs::write(folders.work.join("functions.txt"), names)?;
    fs::write(folders.work.join("counted.txt"), lowered.counted_functions.join("\n"))?;

    let digest: String = Sha256::digest(&lowered.wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    println!(
        "lua.wasm: {} bytes ({} before lowering, without names {}), {} calls checked, {} more return at once, \
         errors pass through {} functions, loops are metered in {}\nsha256 {digest}",
        lowered.wasm.len(),
        code_size(&linked)?,
        code_size(&lowered.wasm)?,
        lowered.checked_calls,
        lowered.tail_calls,
        lowered.throwing_functions,
        lowered.metered_functions,
    );

    let module = folders.guest.join("lua.wasm");
    let checksum = folders.guest.join("lua.wasm.sha256");
    let checksum_line = format!("{digest}  lua.wasm\n");
    if args.check {
        let committed = fs::read(&module).context("reading core/guest/lua.wasm")?;
        let committed_line = fs::read_to_string(&checksum).context("reading core/guest/lua.wasm.sha256")?;
        if committed != lowered.wasm {
            bail!(
                "core/guest/lua.wasm ({} bytes) is not what its sources give ({} bytes); \
                 run `cargo xtask guest` and commit the result",
                committed.len(),
                lowered.wasm.len()
            );
        }
        if committed_line != checksum_line {
            bail!("core/guest/lua.wasm.sha256 does not belong to core/guest/lua.wasm");
        }
        println!("core/guest/lua.wasm is up to date");
        return Ok(());
    }
    fs::write(&module, &lowered.wasm).context("writing core/guest/lua.wasm")?;
    fs::write(&checksum, checksum_line).context("writing core/guest/lua.wasm.sha256")
}

/// Size of the code section.
fn code_size(wasm: &[u8]) -> Result<usize> {
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let wasmparser::Payload::CodeSectionStart { range, .. } = payload? {
            return Ok(range.len());
        }
    }
    bail!("the module has no code")
}
