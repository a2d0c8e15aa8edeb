//! Metering of loops: every turn of every loop of the module takes one from the budget, and copying and filling memory
//! counts by the amount.
//!
//! In functions that an error may leave at any turn, a budget that is used up ends in a call into `refuse.c`, which may
//! end the run. In all others a turn is only counted, and whoever called them looks at the budget. The loops of a few
//! functions are left alone: the recipe lists them, how many they have, and why.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasm_encoder::{BlockType, Function, Instruction, MemArg};
use wasmparser::Operator;

use super::module::Module;

/// Bytes that are copied or filled for one from the budget, as a power of two.
const BYTES_PER_TICK_LOG2: i32 = 6;

/// Bytes below the stack pointer that the compiler may use in functions that call nothing.
const RED_ZONE: i32 = 128;

/// What the pass goes by.
pub struct Names<'a> {
    /// The exported variable that holds the budget.
    pub budget: &'a str,
    /// The function to call when it is used up.
    pub spent: &'a str,
    /// Names of the functions whose loops take from the budget and look at it.
    pub checked: BTreeSet<String>,
    /// The functions whose loops are left alone.
    pub uncounted: &'a [Uncounted],
    /// The function whose loops are left alone where they go around a large switch: the interpreter's dispatch.
    pub interpreter: &'a str,
}

/// A function whose loops the pass leaves alone.
pub struct Uncounted {
    pub name: &'static str,
    /// How many it has: one more needs a new look.
    pub loops: usize,
    /// What bounds them, or where else they are counted: for who reads the recipe.
    #[allow(dead_code, reason = "an entry without a reason would not be a reason to leave loops alone")]
    pub why: &'static str,
}

/// The same as indices into one module.
pub struct Metering {
    address: u64,
    pub spent: u32,
    pub checked: BTreeSet<u32>,
    counted: BTreeSet<u32>,
    interpreter: u32,
}

impl Metering {
    /// Looks the names up. Those of `checked` that were inlined away are no error, as their loops are where they went.
    pub fn find(module: &Module<'_>, names: &Names<'_>) -> Result<Self> {
        let mut metering = Self {
            address: u64::from(module.address_of(names.budget)?),
            spent: module.function_named(names.spent)?,
            checked: BTreeSet::new(),
            counted: BTreeSet::new(),
            interpreter: module.function_named(names.interpreter)?,
        };
        let mut left_alone = BTreeSet::new();
        for position in 0..module.bodies.len() {
            let function = module.index_of_body(position)?;
            let loops = count_loops(module, function)?;
            let display = module.display_name(function);
            // The linker's copies of a function are named with a dot.
            let name = display.split('.').next().unwrap_or(&display);
            let uncounted = names.uncounted.iter().find(|uncounted| uncounted.name == name);
            match uncounted {
                _ if loops == 0 => {}
                Some(uncounted) if uncounted.loops == loops => {
                    left_alone.insert(name.to_owned());
                }
                Some(uncounted) => bail!(
                    "{name} has {loops} loops and not {}: look again whether all are bounded or counted elsewhere, \
                     and change the recipe",
                    uncounted.loops
                ),
                None if names.checked.contains(name) => {
                    metering.checked.insert(function);
                }
                None => {
                    metering.counted.insert(function);
                }
            }
        }
        let stale: Vec<&str> =
            names.uncounted.iter().map(|uncounted| uncounted.name).filter(|name| !left_alone.contains(*name)).collect();
        if !stale.is_empty() {
            bail!("{stale:?}: the recipe leaves loops alone that are not there");
        }
        Ok(metering)
    }

    /// How many functions have metered loops.
    pub fn functions(&self) -> usize {
        self.checked.len() + self.counted.len()
    }

    /// The names of the functions whose loops are counted but not looked at.
    pub fn counted_names(&self, module: &Module<'_>) -> Vec<String> {
        self.counted.iter().map(|function| module.display_name(*function)).collect()
    }

    /// Does this function's every loop look at the budget?
    pub fn checks(&self, function: u32) -> bool {
        self.checked.contains(&function)
    }

    /// Are this function's loops metered at all?
    pub fn meters(&self, function: u32) -> bool {
        self.checks(function) || self.counted.contains(&function)
    }

    /// The positions of this function's loops that are left alone.
    pub fn left_alone(&self, function: u32, operators: &[Operator<'_>]) -> BTreeSet<usize> {
        if function == self.interpreter { dispatch_loops(operators) } else { BTreeSet::new() }
    }

    fn place(&self) -> MemArg {
        MemArg { offset: self.address, align: 3, memory_index: 0 }
    }

    /// Takes one from the budget.
    pub fn tick(&self, output: &mut Function) {
        for instruction in [
            Instruction::I32Const(0),
            Instruction::I32Const(0),
            Instruction::I64Load(self.place()),
            Instruction::I64Const(1),
            Instruction::I64Sub,
            Instruction::I64Store(self.place()),
        ] {
            output.instruction(&instruction);
        }
    }

    /// Calls `spent` when nothing is left; the error that it may raise leaves by the branch.
    ///
    /// A function that calls nothing keeps what it has on the stack below the pointer, where `spent` would overwrite it.
    pub fn check(&self, output: &mut Function, spent: u32, stack_pointer: u32, thrown: u32, leave: u32) {
        for instruction in [
            Instruction::I32Const(0),
            Instruction::I64Load(self.place()),
            Instruction::I64Const(0),
            Instruction::I64LtS,
            Instruction::If(BlockType::Empty),
            Instruction::GlobalGet(stack_pointer),
            Instruction::I32Const(RED_ZONE),
            Instruction::I32Sub,
            Instruction::GlobalSet(stack_pointer),
            Instruction::Call(spent),
            Instruction::GlobalGet(stack_pointer),
            Instruction::I32Const(RED_ZONE),
            Instruction::I32Add,
            Instruction::GlobalSet(stack_pointer),
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
            Instruction::I64Load(self.place()),
            Instruction::LocalGet(length),
            Instruction::I32Const(BYTES_PER_TICK_LOG2),
            Instruction::I32ShrU,
            Instruction::I64ExtendI32U,
            Instruction::I64Sub,
            Instruction::I64Store(self.place()),
            Instruction::LocalGet(length),
        ] {
            output.instruction(&instruction);
        }
    }
}

/// A switch with more cases than this is the interpreter's.
const DISPATCH_CASES: u32 = 64;

/// The positions of the loops that go around the interpreter's switch.
pub fn dispatch_loops(operators: &[Operator<'_>]) -> BTreeSet<usize> {
    let mut open = Vec::new();
    let mut found = BTreeSet::new();
    for (position, operator) in operators.iter().enumerate() {
        match operator {
            Operator::Loop { .. } => open.push(Some(position)),
            Operator::Block { .. } | Operator::If { .. } => open.push(None),
            Operator::End => {
                open.pop();
            }
            Operator::BrTable { targets } if targets.len() > DISPATCH_CASES => found.extend(open.iter().flatten()),
            _ => {}
        }
    }
    found
}

/// Do these operators begin with what `Metering::tick` writes?
pub fn is_tick(operators: &[Operator<'_>], budget: u32) -> bool {
    use Operator::{I32Const, I64Const, I64Load, I64Store, I64Sub};
    matches!(
        operators,
        [
            I32Const { value: 0 },
            I32Const { value: 0 },
            I64Load { memarg: from },
            I64Const { value: 1 },
            I64Sub,
            I64Store { memarg: to },
            ..
        ] if from.offset == u64::from(budget) && to.offset == from.offset
    )
}

/// Is this an operator that `Metering::bulk` belongs before?
pub fn is_bulk(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::MemoryCopy { .. } | Operator::MemoryFill { .. })
}

fn count_loops(module: &Module<'_>, function: u32) -> Result<usize> {
    let Some(body) = module.body(function) else {
        return Ok(0);
    };
    let mut loops = 0;
    for operator in body.get_operators_reader()? {
        loops += usize::from(matches!(operator?, Operator::Loop { .. }));
    }
    Ok(loops)
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
