//! A linked module as the passes see it: what they need of each section, borrowed from its bytes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use wasmparser::{
    ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody, KnownCustom, Name, Operator, Parser, Payload,
    TypeRef,
};

/// An imported function.
pub struct Import<'a> {
    pub module: &'a str,
    pub name: &'a str,
}

/// The parts of a module that passes look at.
#[derive(Default)]
pub struct Module<'a> {
    pub types: Vec<FuncType>,
    /// Imported functions; their indices come before those of `bodies`.
    pub imports: Vec<Import<'a>>,
    /// Type index of every function, imported ones first.
    pub functions: Vec<u32>,
    pub bodies: Vec<FunctionBody<'a>>,
    /// Exported functions.
    pub exports: Vec<(&'a str, u32)>,
    /// Functions that an indirect call can reach.
    pub table: Vec<u32>,
    pub globals: u32,
    /// Values of the globals that are constants, such as addresses of exported variables.
    pub constants: BTreeMap<u32, i32>,
    /// Exported globals.
    pub global_exports: BTreeMap<&'a str, u32>,
    pub function_names: BTreeMap<u32, &'a str>,
    pub global_names: BTreeMap<u32, &'a str>,
}

impl<'a> Module<'a> {
    /// Reads a module. What our toolchain doesn't produce and the passes would get wrong is an error.
    pub fn parse(wasm: &'a [u8]) -> Result<Self> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        module.types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let TypeRef::Func(ty) = import.ty else {
                            bail!("import {}.{} is no function", import.module, import.name);
                        };
                        module.functions.push(ty);
                        module.imports.push(Import { module: import.module, name: import.name });
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        module.functions.push(ty?);
                    }
                }
                Payload::GlobalSection(section) => {
                    module.globals = section.count();
                    for (index, global) in (0..).zip(section) {
                        if let Ok(Operator::I32Const { value }) = global?.init_expr.get_operators_reader().read() {
                            module.constants.insert(index, value);
                        }
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            module.exports.push((export.name, export.index));
                        }
                        if export.kind == ExternalKind::Global {
                            module.global_exports.insert(export.name, export.index);
                        }
                    }
                }
                Payload::StartSection { .. } => bail!("the module has a start function"),
                Payload::ElementSection(section) => {
                    for element in section {
                        let element = element?;
                        let (ElementKind::Active { .. }, ElementItems::Functions(items)) =
                            (element.kind, element.items)
                        else {
                            bail!("the module has an element segment of an unknown form");
                        };
                        for function in items {
                            module.table.push(function?);
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => module.bodies.push(body),
                Payload::CustomSection(section) => {
                    if let KnownCustom::Name(names) = section.as_known() {
                        for name in names {
                            match name? {
                                Name::Function(map) => collect(map, &mut module.function_names)?,
                                Name::Global(map) => collect(map, &mut module.global_names)?,
                                _ => {}
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(module)
    }

    /// Type of a function.
    pub fn function_type(&self, function: u32) -> Result<&FuncType> {
        let ty = self.functions.get(function as usize);
        ty.and_then(|ty| self.types.get(*ty as usize)).with_context(|| format!("function {function} has no type"))
    }

    /// The function index of the body with this position in the code section.
    pub fn index_of_body(&self, position: usize) -> Result<u32> {
        Ok(u32::try_from(self.imports.len() + position)?)
    }

    /// A function's body; nothing for an imported one.
    pub fn body(&self, function: u32) -> Option<&FunctionBody<'a>> {
        let position = (function as usize).checked_sub(self.imports.len())?;
        self.bodies.get(position)
    }

    /// A function's name for messages.
    pub fn display_name(&self, function: u32) -> String {
        match self.function_names.get(&function) {
            Some(name) => (*name).to_owned(),
            None => format!("function {function}"),
        }
    }

    /// The one function with this name.
    pub fn function_named(&self, wanted: &str) -> Result<u32> {
        the_one(&self.function_names, wanted).with_context(|| format!("function {wanted}"))
    }

    /// Address of an exported variable.
    pub fn address_of(&self, variable: &str) -> Result<u32> {
        let global = self.global_exports.get(variable);
        let address = global.and_then(|global| self.constants.get(global));
        let address = address.with_context(|| format!("the variable {variable} is not exported"))?;
        Ok(u32::try_from(*address)?)
    }

    /// The one global with this name.
    pub fn global_named(&self, wanted: &str) -> Result<u32> {
        the_one(&self.global_names, wanted).with_context(|| format!("global {wanted}"))
    }
}

fn collect<'a>(names: wasmparser::NameMap<'a>, into: &mut BTreeMap<u32, &'a str>) -> Result<()> {
    for naming in names {
        let naming = naming?;
        into.insert(naming.index, naming.name);
    }
    Ok(())
}

fn the_one(names: &BTreeMap<u32, &str>, wanted: &str) -> Result<u32> {
    let mut found = names.iter().filter(|(_, name)| **name == wanted);
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(*index),
        (None, _) => bail!("not in the name section (was it inlined?)"),
        (Some(_), Some(_)) => bail!("there is more than one with this name"),
    }
}
