//! Lua's errors without exceptions: rewrites a linked module so that `luacell_throw` unwinds the wasm stack by
//! ordinary returns.
//!
//! `luacell_throw()` (an import, which disappears) becomes: set a flag, return. After every call that may end
//! in a throw, "flag set? return". `luacell_try` clears the flag after the call that it is there for and puts
//! C's stack pointer back. Results of a function that is left this way are zeros and nobody looks at them.
//!
//! All edits to a body happen in one walk over its instructions (`Body`), the place for further passes too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ExportSection, Function, FunctionSection, GlobalSection, GlobalType,
    ImportSection, Instruction, MemoryType, ValType,
};
use wasmparser::{
    BinaryReaderError, ExportSectionReader, FuncType, FunctionBody, FunctionSectionReader, GlobalSectionReader,
    ImportSectionReader, Operator, Parser,
};

use super::callgraph::{CallGraph, Throwing};
use super::meter::{self, Metering};
use super::module::Module;

/// The names that the pass goes by.
pub struct Names<'a> {
    /// The import, from `env`, that raises an error.
    pub throw: &'a str,
    /// The function that catches one: exactly one indirect call and no other.
    pub catch: &'a str,
    /// The global with C's stack pointer.
    pub stack_pointer: &'a str,
    /// Exports to leave out.
    pub dropped_exports: &'a [&'a str],
    /// Pages of memory to start with.
    pub initial_pages: u64,
    /// For metering; none without.
    pub metering: Option<meter::Names<'a>>,
}

/// A lowered module and what was done to it.
pub struct Lowered {
    pub wasm: Vec<u8>,
    /// Calls that are followed by a check now.
    pub checked_calls: usize,
    /// Calls that can throw but stand directly before a return, where a check would change nothing.
    pub tail_calls: usize,
    /// Functions that an error can pass through.
    pub throwing_functions: usize,
    /// Exports that an error could leave through.
    pub throwing_exports: Vec<String>,
    /// Functions whose loops are metered.
    pub metered_functions: usize,
    /// The names of those among them whose loops only count.
    pub counted_functions: Vec<String>,
    /// The names of its functions, by index.
    pub function_names: Vec<String>,
}

/// Lowers errors, and leaves out custom sections and functions that nothing reaches.
pub fn lower(wasm: &[u8], names: &Names<'_>) -> Result<Lowered> {
    let module = Module::parse(wasm)?;
    let mut calls = CallGraph::new(&module)?;
    let metering = names.metering.as_ref().map(|names| Metering::find(&module, names)).transpose()?;
    if let Some(metering) = &metering {
        calls.add_calls(&metering.checked, metering.spent);
    }
    let throw = module
        .imports
        .iter()
        .position(|import| import.module == "env" && import.name == names.throw)
        .with_context(|| format!("the module does not import env.{}", names.throw))?;
    let throw = u32::try_from(throw)?;
    if module.table.contains(&throw) {
        bail!("the address of {} is taken", names.throw);
    }
    let catch = module.function_named(names.catch)?;
    let throwing = calls.throwing(&module, throw, catch)?;

    let exports: Vec<_> = module.exports.iter().filter(|(name, _)| !names.dropped_exports.contains(name)).collect();
    let roots: Vec<u32> = exports.iter().map(|(_, function)| *function).collect();
    let mut reachable = calls.reachable(&module, &roots);
    // Imports stay, used or not, but for the one that is lowered.
    reachable.extend(0..u32::try_from(module.imports.len())?);
    reachable.remove(&throw);
    let function_names = reachable.iter().map(|f| module.display_name(*f)).collect();
    let new_index = reachable.iter().copied().zip(0..).collect();

    let mut rewriter = Rewriter {
        thrown: module.globals,
        stack_pointer: module.global_named(names.stack_pointer)?,
        module: &module,
        names,
        metering: metering.as_ref(),
        throwing: &throwing,
        throw,
        catch,
        new_index,
        next_body: 0,
        checked_calls: 0,
        tail_calls: 0,
    };
    let mut output = wasm_encoder::Module::new();
    rewriter.parse_core_module(&mut output, Parser::new(0), wasm).map_err(|error| match error {
        Error::UserError(error) => error,
        other => anyhow!("rewriting the module: {other}"),
    })?;
    Ok(Lowered {
        metered_functions: metering.as_ref().map_or(0, Metering::functions),
        counted_functions: metering.as_ref().map_or_else(Vec::new, |metering| metering.counted_names(&module)),
        checked_calls: rewriter.checked_calls,
        tail_calls: rewriter.tail_calls,
        throwing_functions: reachable.iter().filter(|f| throwing.call(**f)).count(),
        throwing_exports: exports
            .iter()
            .filter(|(_, function)| throwing.call(*function))
            .map(|(name, _)| (*name).to_owned())
            .collect(),
        wasm: output.finish(),
        function_names,
    })
}

type Outcome<T = ()> = Result<T, Error<anyhow::Error>>;

fn failed(error: impl Into<anyhow::Error>) -> Error<anyhow::Error> {
    Error::UserError(error.into())
}

/// Rewrites section by section.
struct Rewriter<'a> {
    module: &'a Module<'a>,
    names: &'a Names<'a>,
    metering: Option<&'a Metering>,
    throwing: &'a Throwing,
    throw: u32,
    catch: u32,
    /// The new global.
    thrown: u32,
    stack_pointer: u32,
    /// Old to new index of the functions that are kept.
    new_index: BTreeMap<u32, u32>,
    next_body: usize,
    checked_calls: usize,
    tail_calls: usize,
}

impl Reencode for Rewriter<'_> {
    type Error = anyhow::Error;

    fn function_index(&mut self, old: u32) -> Outcome<u32> {
        let new = self.new_index.get(&old).copied();
        new.ok_or_else(|| failed(anyhow!("removed function {old} is still used")))
    }

    fn parse_import_section(&mut self, imports: &mut ImportSection, section: ImportSectionReader<'_>) -> Outcome {
        for (index, import) in (0..).zip(section.into_imports()) {
            let import = import?;
            if index != self.throw {
                self.parse_import(imports, import)?;
            }
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Outcome {
        for (position, ty) in section.into_iter().enumerate() {
            let function = self.module.index_of_body(position).map_err(failed)?;
            if self.new_index.contains_key(&function) {
                functions.function(ty?);
            }
        }
        Ok(())
    }

    /// Not left to the linker, which would tell malloc that all of it is taken (`sbrk.c`).
    fn memory_type(&mut self, ty: wasmparser::MemoryType) -> Outcome<MemoryType> {
        let ty = utils::memory_type(self, ty);
        if ty.minimum > self.names.initial_pages {
            return Err(failed(anyhow!(
                "the module needs {} pages of memory, more than {}",
                ty.minimum,
                self.names.initial_pages
            )));
        }
        Ok(MemoryType { minimum: self.names.initial_pages, ..ty })
    }

    fn parse_global_section(&mut self, globals: &mut GlobalSection, section: GlobalSectionReader<'_>) -> Outcome {
        utils::parse_global_section(self, globals, section)?;
        let flag = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(flag, &ConstExpr::i32_const(0));
        Ok(())
    }

    fn parse_export_section(&mut self, exports: &mut ExportSection, section: ExportSectionReader<'_>) -> Outcome {
        for export in section {
            let export = export?;
            let dropped = self.names.dropped_exports.contains(&export.name);
            if !dropped {
                self.parse_export(exports, export)?;
            }
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        _module: &mut wasm_encoder::Module,
        _section: wasmparser::CustomSectionReader<'_>,
    ) -> Outcome {
        Ok(()) // names, producers, features: not for the shipped module
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Outcome {
        let function = self.module.index_of_body(self.next_body).map_err(failed)?;
        self.next_body += 1;
        if !self.new_index.contains_key(&function) {
            return Ok(());
        }
        let rewritten = if function == self.catch {
            self.catching_body(function, &body)
        } else {
            self.checked_body(function, &body)
        };
        let in_function = || format!("in {}", self.module.display_name(function));
        let rewritten = rewritten.map_err(|error| match error {
            Error::UserError(error) => failed(error.context(in_function())),
            other => failed(anyhow!("{other}").context(in_function())),
        })?;
        code.function(&rewritten);
        Ok(())
    }
}

/// What follows a call in a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing that would make a difference: the call can't throw, or the function ends here anyway.
    Nothing,
    /// A check of the flag.
    Check,
    /// The way out: the call was the throw itself.
    Leave,
}

impl Rewriter<'_> {
    /// A body with a check after each call that may throw. The body becomes a block, so that a check is two
    /// instructions and all of them share one way out:
    ///
    /// ```text
    /// block                   ;; left by a branch when an error is under way
    ///   ... call; global.get thrown; br_if <this block> ...
    ///   return
    /// end
    /// <zeros>
    /// ```
    fn checked_body(&mut self, function: u32, body: &FunctionBody<'_>) -> Outcome<Function> {
        let operators: Vec<Operator<'_>> =
            body.get_operators_reader()?.into_iter().collect::<Result<_, BinaryReaderError>>()?;
        let plan: Vec<After> = self.plan(&operators);
        let metering = self.metering;
        let meters = metering.filter(|metering| metering.meters(function));
        let checks = meters.filter(|metering| metering.checks(function));
        let wrapped = checks.is_some() || plan.iter().any(|after| *after != After::Nothing);
        let ty = self.module.function_type(function).map_err(failed)?;

        let left_alone = meters.map_or_else(BTreeSet::new, |metering| metering.left_alone(function, &operators));
        let copies = metering.is_some() && operators.iter().any(meter::is_bulk);
        let (mut output, length) = self.function_with_spare_local(ty, body, copies)?;
        if wrapped {
            output.instruction(&Instruction::Block(BlockType::Empty));
        }
        let mut depth = 0u32; // open blocks of the original body
        let last = operators.len().saturating_sub(1);
        let mut before_end = None;
        for (position, (operator, after)) in operators.into_iter().zip(plan).enumerate() {
            match &operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                Operator::End if position < last => depth = depth.saturating_sub(1),
                Operator::End if wrapped => {
                    close_wrapper(&mut output, ty, before_end.as_ref())?;
                    break;
                }
                _ => {}
            }
            if after == After::Leave {
                output.instruction(&Instruction::I32Const(1));
                output.instruction(&Instruction::GlobalSet(self.thrown));
                output.instruction(&Instruction::Br(depth));
            } else {
                let mut instruction = self.instruction(operator.clone())?;
                if wrapped {
                    skip_wrapper(&mut instruction, depth);
                }
                if let Some(metering) = metering.filter(|_| meter::is_bulk(&operator)) {
                    metering.bulk(&mut output, length);
                }
                output.instruction(&instruction);
            }
            if let (Some(metering), Operator::Loop { .. }, false) = (meters, &operator, left_alone.contains(&position))
            {
                metering.tick(&mut output);
                if checks.is_some() {
                    let spent = self.function_index(metering.spent)?;
                    metering.check(&mut output, spent, self.stack_pointer, self.thrown, depth);
                }
            }
            if after == After::Check {
                output.instruction(&Instruction::GlobalGet(self.thrown));
                output.instruction(&Instruction::BrIf(depth));
            }
            before_end = Some(operator);
        }
        Ok(output)
    }

    /// An empty body with the locals of the original, and one more if wanted, whose index is returned.
    fn function_with_spare_local(
        &mut self,
        ty: &FuncType,
        body: &FunctionBody<'_>,
        wanted: bool,
    ) -> Outcome<(Function, u32)> {
        let mut locals = Vec::new();
        let mut spare = u32::try_from(ty.params().len()).map_err(failed)?;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            locals.push((count, self.val_type(ty)?));
            spare += count;
        }
        if wanted {
            locals.push((1, ValType::I32));
        }
        Ok((Function::new(locals), spare))
    }

    /// Decides for each instruction what has to follow it.
    fn plan(&mut self, operators: &[Operator<'_>]) -> Vec<After> {
        let mut plan = Vec::with_capacity(operators.len());
        let last = operators.len().saturating_sub(1);
        for (position, operator) in operators.iter().enumerate() {
            let may_throw = match operator {
                Operator::Call { function_index } if *function_index == self.throw => {
                    plan.push(After::Leave);
                    continue;
                }
                Operator::Call { function_index } => self.throwing.call(*function_index),
                Operator::CallIndirect { type_index, .. } => self.throwing.call_indirect(self.module, *type_index),
                _ => false,
            };
            // The callee's zeros are as good as ours when they are returned at once.
            let returns = position + 1 == last || matches!(operators.get(position + 1), Some(Operator::Return));
            plan.push(match (may_throw, returns) {
                (false, _) => After::Nothing,
                (true, true) => {
                    self.tail_calls += 1;
                    After::Nothing
                }
                (true, false) => {
                    self.checked_calls += 1;
                    After::Check
                }
            });
        }
        plan
    }

    /// The catching function: clears the flag and restores the stack pointer after its one call.
    fn catching_body(&mut self, function: u32, body: &FunctionBody<'_>) -> Outcome<Function> {
        let ty = self.module.function_type(function).map_err(failed)?;
        let (mut output, saved) = self.function_with_spare_local(ty, body, true)?;
        output.instruction(&Instruction::GlobalGet(self.stack_pointer));
        output.instruction(&Instruction::LocalSet(saved));
        let mut indirect_calls = 0;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            match &operator {
                Operator::Call { .. } => return Err(failed(anyhow!("it makes a direct call"))),
                Operator::CallIndirect { type_index, .. } => {
                    indirect_calls += 1;
                    let callee = self.module.types.get(*type_index as usize);
                    if callee.is_none_or(|ty| !ty.results().is_empty()) {
                        return Err(failed(anyhow!("what it calls must return nothing")));
                    }
                    output.instruction(&self.instruction(operator)?);
                    for instruction in [
                        Instruction::GlobalGet(self.thrown),
                        Instruction::If(BlockType::Empty),
                        Instruction::I32Const(0),
                        Instruction::GlobalSet(self.thrown),
                        Instruction::LocalGet(saved),
                        Instruction::GlobalSet(self.stack_pointer),
                        Instruction::End,
                    ] {
                        output.instruction(&instruction);
                    }
                }
                _ => {
                    output.instruction(&self.instruction(operator)?);
                }
            }
        }
        if indirect_calls != 1 {
            return Err(failed(anyhow!("it must make exactly one indirect call but makes {indirect_calls}")));
        }
        Ok(output)
    }
}

/// Branches to the function's own end pass one more block now.
fn skip_wrapper(instruction: &mut Instruction<'_>, depth: u32) {
    let shift = |label: &mut u32| {
        if *label == depth {
            *label += 1;
        }
    };
    match instruction {
        Instruction::Br(label) | Instruction::BrIf(label) => shift(label),
        Instruction::BrTable(labels, default) => {
            labels.to_mut().iter_mut().for_each(shift);
            shift(default);
        }
        _ => {}
    }
}

/// Ends the block around a body: the ordinary way out, then the one of errors.
fn close_wrapper(output: &mut Function, ty: &FuncType, last: Option<&Operator<'_>>) -> Outcome {
    let leaves = matches!(last, Some(Operator::Return | Operator::Unreachable | Operator::Br { .. }));
    if !ty.results().is_empty() && !leaves {
        output.instruction(&Instruction::Return);
    }
    output.instruction(&Instruction::End);
    for result in ty.results() {
        output.instruction(&match result {
            wasmparser::ValType::I32 => Instruction::I32Const(0),
            wasmparser::ValType::I64 => Instruction::I64Const(0),
            wasmparser::ValType::F32 => Instruction::F32Const(0.0.into()),
            wasmparser::ValType::F64 => Instruction::F64Const(0.0.into()),
            other => return Err(failed(anyhow!("a result of type {other}"))),
        });
    }
    output.instruction(&Instruction::End);
    Ok(())
}

#[cfg(test)]
#[path = "lower_tests.rs"]
#[allow(clippy::indexing_slicing)]
mod tests;
