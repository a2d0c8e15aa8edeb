//! What the linked module and the finished module must look like.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use wasmparser::{Operator, Parser, Payload, Validator, WasmFeatures};

use super::callgraph::CallGraph;
use super::meter;
use super::module::Module;
use super::recipe;

/// Checks the linked module: a function from outside that the contract doesn't know is named with its callers.
pub fn linked(wasm: &[u8]) -> Result<()> {
    let module = Module::parse(wasm)?;
    let calls = CallGraph::new(&module)?;
    let mut unwanted = String::new();
    for (index, import) in (0..).zip(&module.imports) {
        let known = import.name == recipe::THROW_IMPORT || recipe::IMPORTS.contains(&import.name);
        if import.module != "env" || !known {
            let callers: Vec<String> = callers(&module, &calls, index, 4);
            unwanted += &format!("\n  {}.{}, called by {}", import.module, import.name, callers.join(", by "));
        }
    }
    if !unwanted.is_empty() {
        bail!("lua.wasm must not import:{unwanted}");
    }
    constructors(&module)
}

/// Chains of callers, up to a depth, as "a (from b (from c))".
fn callers(module: &Module<'_>, calls: &CallGraph, function: u32, depth: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for caller in calls.callers_of(function) {
        let name = module.display_name(caller);
        let further = match depth {
            0 => Vec::new(),
            _ => callers(module, calls, caller, depth - 1),
        };
        lines.push(match further.first() {
            Some(from) => format!("{name} (from {from})"),
            None => name,
        });
    }
    lines
}

fn constructors(module: &Module<'_>) -> Result<()> {
    let Ok(function) = module.function_named(recipe::CONSTRUCTORS) else {
        return Ok(());
    };
    let Some(body) = module.body(function) else {
        return Ok(());
    };
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::End => {}
            Operator::Call { function_index } => {
                bail!("{} is a constructor, and nothing would call it", module.display_name(function_index))
            }
            other => bail!("{} does something: {other:?}", recipe::CONSTRUCTORS),
        }
    }
    Ok(())
}

/// Checks that every loop of the finished module begins with a tick, apart from those that the recipe leaves alone.
/// `names` are those of its functions, `budget` is the address of the budget.
pub fn counted(wasm: &[u8], names: &[String], budget: u32) -> Result<()> {
    let module = Module::parse(wasm)?;
    let mut uncounted = Vec::new();
    for (position, body) in module.bodies.iter().enumerate() {
        let operators: Vec<Operator<'_>> = body.get_operators_reader()?.into_iter().collect::<Result<_, _>>()?;
        let name = names.get(module.index_of_body(position)? as usize).map_or("?", String::as_str);
        let base = name.split('.').next().unwrap_or(name);
        if recipe::UNCOUNTED_LOOPS.iter().any(|listed| listed.name == base) {
            continue;
        }
        let dispatch = if base == recipe::INTERPRETER { meter::dispatch_loops(&operators) } else { BTreeSet::new() };
        for (at, operator) in operators.iter().enumerate() {
            if matches!(operator, Operator::Loop { .. })
                && !dispatch.contains(&at)
                && !operators.get(at + 1..).is_some_and(|rest| meter::is_tick(rest, budget))
            {
                uncounted.push(name);
            }
        }
    }
    if !uncounted.is_empty() {
        bail!("loops that nothing counts, in {uncounted:?}");
    }
    Ok(())
}

/// Checks the finished module: the features it uses, its imports, memory and exports.
pub fn finished(wasm: &[u8]) -> Result<()> {
    let features = WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::FLOATS;
    Validator::new_with_features(features).validate_all(wasm)?;

    let module = Module::parse(wasm)?;
    let mut imports: Vec<&str> = module.imports.iter().map(|import| import.name).collect();
    imports.sort_unstable();
    if imports != recipe::IMPORTS {
        bail!("lua.wasm must import {:?}, but imports {imports:?}", recipe::IMPORTS);
    }
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    if memory.initial != recipe::INITIAL_PAGES || memory.maximum.is_some() {
                        bail!("unexpected memory: {memory:?}");
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let expected = match export.kind {
                        wasmparser::ExternalKind::Func => true,
                        wasmparser::ExternalKind::Memory => export.name == "memory",
                        _ => false,
                    };
                    if !expected {
                        bail!("unexpected export {:?} {}", export.kind, export.name);
                    }
                }
            }
            Payload::CustomSection(section) => bail!("custom section {}", section.name()),
            _ => {}
        }
    }
    Ok(())
}
