//! Who calls whom, and which functions an error can pass through.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use wasmparser::{FuncType, Operator};

use super::module::Module;

/// Calls made by one function.
#[derive(Default)]
pub struct Calls {
    pub direct: BTreeSet<u32>,
    /// Type indices of indirect calls.
    pub indirect: BTreeSet<u32>,
}

/// The calls of all functions of a module, by function index.
pub struct CallGraph {
    calls: BTreeMap<u32, Calls>,
}

impl CallGraph {
    /// Reads all bodies.
    pub fn new(module: &Module<'_>) -> Result<Self> {
        let mut graph = BTreeMap::new();
        for (position, body) in module.bodies.iter().enumerate() {
            let mut calls = Calls::default();
            for operator in body.get_operators_reader()? {
                match operator? {
                    Operator::Call { function_index } => {
                        calls.direct.insert(function_index);
                    }
                    Operator::CallIndirect { type_index, .. } => {
                        calls.indirect.insert(type_index);
                    }
                    _ => {}
                }
            }
            graph.insert(module.index_of_body(position)?, calls);
        }
        Ok(Self { calls: graph })
    }

    /// Adds direct calls that a pass is going to insert.
    pub fn add_calls(&mut self, callers: &BTreeSet<u32>, callee: u32) {
        for caller in callers {
            self.calls.entry(*caller).or_default().direct.insert(callee);
        }
    }

    /// Functions with a direct call of this one.
    pub fn callers_of(&self, callee: u32) -> impl Iterator<Item = u32> + '_ {
        self.calls.iter().filter(move |(_, calls)| calls.direct.contains(&callee)).map(|(caller, _)| *caller)
    }

    /// Everything reachable from these functions and from the table.
    pub fn reachable(&self, module: &Module<'_>, roots: &[u32]) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut pending: Vec<u32> = roots.iter().chain(&module.table).copied().collect();
        while let Some(function) = pending.pop() {
            if found.insert(function)
                && let Some(calls) = self.calls.get(&function)
            {
                pending.extend(&calls.direct);
            }
        }
        found
    }

    /// Which calls can end in an error, given the function that raises one and the one that catches it.
    pub fn throwing(&self, module: &Module<'_>, throw: u32, catch: u32) -> Result<Throwing> {
        let mut throwing = Throwing { functions: BTreeSet::from([throw]), types: BTreeSet::new() };
        loop {
            let mut changed = false;
            for function in &module.table {
                if throwing.functions.contains(function) {
                    let ty = module.function_type(*function)?;
                    if !throwing.types.contains(ty) {
                        changed |= throwing.types.insert(ty.clone());
                    }
                }
            }
            for (function, calls) in &self.calls {
                if *function == catch || throwing.functions.contains(function) {
                    continue;
                }
                let direct = calls.direct.iter().any(|callee| throwing.call(*callee));
                let indirect = calls.indirect.iter().any(|ty| throwing.call_indirect(module, *ty));
                if direct || indirect {
                    changed |= throwing.functions.insert(*function);
                }
            }
            if !changed {
                return Ok(throwing);
            }
        }
    }
}

/// Calls that can end in an error.
pub struct Throwing {
    functions: BTreeSet<u32>,
    /// Signatures of the throwing functions in the table. Compared by structure: two type indices may mean the same.
    types: BTreeSet<FuncType>,
}

impl Throwing {
    /// Can a call of this function?
    pub fn call(&self, function: u32) -> bool {
        self.functions.contains(&function)
    }

    /// Can an indirect call with this type?
    pub fn call_indirect(&self, module: &Module<'_>, ty: u32) -> bool {
        let ty = module.types.get(ty as usize);
        ty.is_some_and(|ty| self.types.contains(ty))
    }
}
