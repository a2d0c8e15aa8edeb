//! Numbers that several languages know: `core/guest/protocol.toml` has them, and each language a file made from it.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

const TABLE: &str = "core/guest/protocol.toml";
const HEAD: &str = "Made from core/guest/protocol.toml by `cargo xtask verify-generated --write`.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Protocol {
    kind: Vec<Kind>,
    set: Vec<Set>,
    number: Vec<Number>,
}

/// A kind of failure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    name: String,
    number: u16,
    doc: String,
    /// What scripts read when they reach this limit.
    limit: Option<String>,
}

/// Numbers of one kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    doc: String,
    #[serde(rename = "type")]
    ty: Type,
    values: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    name: String,
    number: i64,
    doc: Option<String>,
    only: Option<Only>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    name: String,
    doc: String,
    #[serde(rename = "type")]
    ty: Type,
    number: i64,
    only: Option<Only>,
}

/// Types of Rust.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    U8,
    U32,
    I32,
    I64,
}

/// Who needs it, if not everybody.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Only {
    Hosts,
}

/// Names and texts of the files.
pub fn files(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let text = std::fs::read_to_string(root.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    let protocol: Protocol = toml::from_str(&text).with_context(|| format!("reading {TABLE}"))?;
    Ok(vec![
        ("core/guest/src/protocol.h", protocol.c()?),
        ("core/src/protocol/mod.rs", protocol.rust()?),
        ("ffi-c/src/status/kinds.rs", protocol.statuses()?),
        ("node/shared/protocol.ts", protocol.typescript()?),
    ])
}

impl Protocol {
    fn c(&self) -> Result<String> {
        let mut out = format!(
            "/*\n** Numbers that guest and hosts agree on.\n**\n** {HEAD}\n*/\n#ifndef protocol_h\n#define protocol_h\n\n#include <stdint.h>\n"
        );
        writeln!(out, "\n/* What kind of failure an error is. */\nenum {{")?;
        for kind in &self.kind {
            writeln!(out, "  KIND_{} = {}, /* {} */", screaming(&kind.name), kind.number, kind.doc)?;
        }
        writeln!(
            out,
            "}};\n\n/* What scripts read when they reach a limit, by its kind. */\n#define LIMIT_MESSAGES \\"
        )?;
        for (kind, message) in self.limits() {
            writeln!(out, "  [KIND_{}] = {message:?}, \\", screaming(&kind.name))?;
        }
        out.push('\n');
        for set in &self.set {
            writeln!(out, "/* {} */\nenum {{", set.doc)?;
            for value in set.values.iter().filter(|value| value.only.is_none()) {
                let prefix = set.name.to_uppercase();
                write!(out, "  {prefix}_{} = {},", value.name, c_number(set.ty, value.number))?;
                writeln!(out, "{}", value.doc.as_ref().map_or(String::new(), |doc| format!(" /* {doc} */")))?;
            }
            out.push_str("};\n\n");
        }
        for number in self.number.iter().filter(|number| number.only.is_none()) {
            let value = match number.ty {
                Type::U8 | Type::U32 => format!("{}u", number.number),
                Type::I32 => c_number(number.ty, number.number),
                Type::I64 => format!("((int64_t){})", number.number),
            };
            writeln!(out, "/* {} */\n#define {} {value}\n", number.doc, number.name)?;
        }
        out.push_str("#endif\n");
        Ok(out)
    }

    fn rust(&self) -> Result<String> {
        let mut out = format!("//! Numbers that guest and hosts agree on.\n//!\n//! {HEAD}\n\n");
        out.push_str("#![allow(dead_code, unused_macros, reason = \"each host needs some\")]\n\n");
        out.push_str("/// Gives another macro all kinds of failure, with their numbers and what they mean.\n");
        out.push_str("#[doc(hidden)]\n#[macro_export]\nmacro_rules! for_each_error_kind {\n    ($then:ident) => {\n");
        out.push_str("        $then! {\n");
        for kind in &self.kind {
            writeln!(out, "            /// {}\n            {} = {},", kind.doc, kind.name, kind.number)?;
        }
        out.push_str("        }\n    };\n}\n\n");
        out.push_str("/// What scripts read when they reach a limit, by the number of its kind.\n");
        let count = self.limits().count();
        writeln!(out, "pub(crate) const LIMIT_MESSAGES: [(u16, &str); {count}] = [")?;
        for (kind, message) in self.limits() {
            writeln!(out, "    ({}, {message:?}),", kind.number)?;
        }
        out.push_str("];\n");
        for set in &self.set {
            writeln!(out, "\n/// {}\npub(crate) mod {} {{", set.doc, set.name)?;
            for value in &set.values {
                if let Some(doc) = &value.doc {
                    writeln!(out, "    /// {doc}")?;
                }
                let ty = set.ty.rust();
                writeln!(out, "    pub(crate) const {}: {ty} = {};", value.name, number(set.ty, value.number))?;
            }
            out.push_str("}\n");
        }
        for Number { name, doc, ty, number: n, .. } in &self.number {
            writeln!(out, "\n/// {doc}\npub(crate) const {name}: {} = {};", ty.rust(), number(*ty, *n))?;
        }
        Ok(out)
    }

    /// The statuses of the C library: cbindgen reads them, so they stand there as numbers.
    fn statuses(&self) -> Result<String> {
        let mut out = format!("//! The kinds of errors as statuses.\n//!\n//! {HEAD}\n\nuse super::luacell_status;\n");
        for kind in &self.kind {
            let name = screaming(&kind.name);
            writeln!(out, "\n/// {}\npub const LUACELL_{name}: luacell_status = {};", kind.doc, kind.number)?;
        }
        Ok(out)
    }

    fn typescript(&self) -> Result<String> {
        let mut out = format!(
            "// Numbers that guest and hosts agree on.\n// {HEAD}\n\n/** Kinds of failure with their numbers. */\nexport const ErrorKinds = {{\n"
        );
        for kind in &self.kind {
            writeln!(out, "  /** {} */\n  {}: {},", kind.doc, kind.name, kind.number)?;
        }
        out.push_str(
            "} as const;\n\n/** What scripts read when they reach a limit. */\nexport const limitMessages = {\n",
        );
        for (kind, message) in self.limits() {
            writeln!(out, "  {}: '{message}',", kind.name)?;
        }
        out.push_str("} as const;\n");
        for set in &self.set {
            writeln!(out, "\n/** {} */\nexport const {} = {{", set.doc, pascal(&set.name))?;
            for value in &set.values {
                if let Some(doc) = &value.doc {
                    writeln!(out, "  /** {doc} */")?;
                }
                writeln!(out, "  {}: {},", pascal(&value.name), number(set.ty, value.number).to_lowercase())?;
            }
            out.push_str("} as const;\n");
        }
        for Number { name, doc, ty, number: n, .. } in &self.number {
            writeln!(out, "\n/** {doc} */\nexport const {name} = {};", number(*ty, *n).to_lowercase())?;
        }
        Ok(out)
    }

    fn limits(&self) -> impl Iterator<Item = (&Kind, &str)> {
        self.kind.iter().filter_map(|kind| Some((kind, kind.limit.as_deref()?)))
    }
}

impl Type {
    fn rust(self) -> &'static str {
        match self {
            Type::U8 => "u8",
            Type::U32 => "u32",
            Type::I32 => "i32",
            Type::I64 => "i64",
        }
    }
}

/// A number as Rust and TypeScript write it.
fn number(ty: Type, n: i64) -> String {
    if ty == Type::U8 {
        return format!("0x{n:02X}");
    }
    let digits = n.unsigned_abs().to_string();
    let mut out = if n < 0 { "-".to_owned() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

/// A number of an enumeration in C, which has no literal for the smallest one.
fn c_number(ty: Type, n: i64) -> String {
    match ty {
        Type::U8 => format!("0x{n:02X}"),
        _ if n == i64::from(i32::MIN) => "INT32_MIN".to_owned(),
        _ => n.to_string(),
    }
}

/// `InstructionLimit` as `INSTRUCTION_LIMIT`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if i > 0 && c.is_uppercase() {
            out.push('_');
        }
        out.extend(c.to_uppercase());
    }
    out
}

/// `STORE_FAILURE` and `store_failure` as `StoreFailure`.
fn pascal(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..].to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_each_language() {
        assert_eq!(screaming("HostCallLimit"), "HOST_CALL_LIMIT");
        assert_eq!(pascal("STORE_FAILURE"), "StoreFailure");
        assert_eq!(pascal("table_id"), "TableId");
        assert_eq!(number(Type::U8, 10), "0x0A");
        assert_eq!(number(Type::U32, 4_294_967_295), "4_294_967_295");
        assert_eq!(number(Type::I64, -1), "-1");
        assert_eq!(c_number(Type::I32, i32::MIN.into()), "INT32_MIN");
    }

    #[test]
    fn no_number_is_given_twice() -> Result<()> {
        let text = std::fs::read_to_string(crate::steps::root().join(TABLE))?;
        let protocol: Protocol = toml::from_str(&text)?;
        let ascends = |numbers: Vec<i64>| numbers.is_sorted_by(|a, b| a < b);
        assert!(ascends(protocol.kind.iter().map(|kind| kind.number.into()).collect()));
        for set in protocol.set.iter().filter(|set| set.name != "code") {
            assert!(ascends(set.values.iter().map(|value| value.number).collect()), "{}", set.name);
        }
        Ok(())
    }
}
