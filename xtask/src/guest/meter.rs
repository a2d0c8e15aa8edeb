//! Metering of loops in the C libraries: `budget.c` meters the Lua machine itself, this pass what is outside of it.
//!
//! In functions of the library files every turn of a loop takes one from the budget and, when that is used up, calls
//! into `budget.c`, which may end the run with an error. In some functions that must not be left by an error (those of
//! the C library) a turn is only counted. Copying and filling memory counts by the amount, wherever it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasm_encoder::{BlockType, Function, Instruction, MemArg};
use wasmparser::Operator;

use super::module::Module;

/// Bytes that are copied or filled for one from the budget, as a power of two.
const BYTES_PER_TICK_LOG2: i32 = 6;

/// What the pass goes by.
pub struct Names<'a> {
    /// The exported variable that holds the budget.
    pub budget: &'a str,
    /// The function to call when it is used up.
    pub spent: &'a str,
    /// Names of the functions whose loops take from the budget and look at it.
    pub checked: BTreeSet<String>,
    /// Names of those whose loops only take from it.
    pub counted: &'a [&'a str],
}

/// The same as indices into one module.
pub struct Metering {
    address: u64,
    pub spent: u32,
    pub checked: BTreeSet<u32>,
    counted: BTreeSet<u32>,
}

impl Metering {
    /// Looks the names up; those that were inlined away are no error, as their loops are where they went.
    pub fn find(module: &Module<'_>, names: &Names<'_>) -> Result<Self> {
        let with_name = |wanted: &dyn Fn(&str) -> bool| -> BTreeSet<u32> {
            let base = |name: &&str| wanted(name.split('.').next().unwrap_or(name));
            module.function_names.iter().filter(|(_, name)| base(name)).map(|(index, _)| *index).collect()
        };
        let checked: BTreeSet<u32> = with_name(&|name| names.checked.contains(name));
        let checked = checked.into_iter().filter(|function| has_loop(module, *function)).collect();
        let counted = with_name(&|name| names.counted.contains(&name));
        Ok(Self {
            address: u64::from(module.address_of(names.budget)?),
            spent: module.function_named(names.spent)?,
            checked,
            counted,
        })
    }

    /// How many functions have metered loops.
    pub fn functions(&self) -> usize {
        self.checked.len() + self.counted.len()
    }

    /// Does this function's every loop look at the budget?
    pub fn checks(&self, function: u32) -> bool {
        self.checked.contains(&function)
    }

    /// Are this function's loops metered at all?
    pub fn meters(&self, function: u32) -> bool {
        self.checks(function) || self.counted.contains(&function)
    }

    fn place(&self) -> MemArg {
        MemArg { offset: self.address, align: 2, memory_index: 0 }
    }

    /// Takes one from the budget.
    pub fn tick(&self, output: &mut Function) {
        for instruction in [
            Instruction::I32Const(0),
            Instruction::I32Const(0),
            Instruction::I32Load(self.place()),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::I32Store(self.place()),
        ] {
            output.instruction(&instruction);
        }
    }

    /// Calls `spent` when nothing is left; the error that it may raise leaves by the branch.
    pub fn check(&self, output: &mut Function, spent: u32, thrown: u32, leave: u32) {
        for instruction in [
            Instruction::I32Const(0),
            Instruction::I32Load(self.place()),
            Instruction::I32Const(0),
            Instruction::I32LtS,
            Instruction::If(BlockType::Empty),
            Instruction::Call(spent),
            Instruction::GlobalGet(thrown),
            Instruction::BrIf(leave + 1),
            Instruction::End,
        ] {
            output.instruction(&instruction);
        }
    }

    /// Takes what copying or filling costs; its length is on the stack and stays there.
    pub fn bulk(&self, output: &mut Function, length: u32) {
        for instruction in [
            Instruction::LocalSet(length),
            Instruction::I32Const(0),
            Instruction::I32Const(0),
            Instruction::I32Load(self.place()),
            Instruction::LocalGet(length),
            Instruction::I32Const(BYTES_PER_TICK_LOG2),
            Instruction::I32ShrU,
            Instruction::I32Sub,
            Instruction::I32Store(self.place()),
            Instruction::LocalGet(length),
        ] {
            output.instruction(&instruction);
        }
    }
}

/// Is this an operator that `Metering::bulk` belongs before?
pub fn is_bulk(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::MemoryCopy { .. } | Operator::MemoryFill { .. })
}

fn has_loop(module: &Module<'_>, function: u32) -> bool {
    let operators = module.body(function).and_then(|body| body.get_operators_reader().ok());
    operators.is_some_and(|operators| operators.into_iter().flatten().any(|op| matches!(op, Operator::Loop { .. })))
}

/// Names of the functions that these source files define. Lua's own style is regular: a definition starts in the first
/// column and has a space before its parameters.
pub fn functions_of(folder: &Path, files: &[&str]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in files {
        let source = fs::read(folder.join(file)).with_context(|| format!("reading {file}"))?;
        let source = String::from_utf8_lossy(&source);
        let before = names.len();
        names.extend(source.lines().filter_map(defined_name).map(str::to_owned));
        if names.len() == before {
            bail!("{file} defines no function that could be recognised");
        }
    }
    Ok(names)
}

fn defined_name(line: &str) -> Option<&str> {
    let (head, _) = line.split_once(" (")?;
    let name = head.rsplit([' ', '*']).next()?;
    let is_definition = !line.trim_end().ends_with(';')
        && line.starts_with(|c: char| c.is_ascii_alphabetic())
        && head.contains(' ')
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_definition.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::defined_name;

    #[test]
    fn definitions_are_recognised() {
        assert_eq!(defined_name("static int str_find_aux (lua_State *L, int find) {"), Some("str_find_aux"));
        assert_eq!(
            defined_name("LUALIB_API char *luaL_prepbuffsize (luaL_Buffer *B, size_t sz) {"),
            Some("luaL_prepbuffsize")
        );
        assert_eq!(defined_name("static const char *match (MatchState *ms, const char *s, const char *p);"), None);
        assert_eq!(defined_name("  while (n-- > 0) {"), None);
    }
}
