//! Small modules, lowered and run.

use anyhow::{Result, anyhow};
use wasmtime::{Engine, Instance, Module, Store, Val};

use super::{Lowered, Names, lower};

const NAMES: Names<'static> = Names {
    throw: "luacell_throw",
    catch: "luacell_try",
    stack_pointer: "__stack_pointer",
    dropped_exports: &["_initialize"],
    initial_pages: 2,
    metering: None,
};

/// What every module starts with. `$try` runs table entry `f` with the argument `ud`.
const PRELUDE: &str = r#"
  (type $body (func (param i32 i32)))
  (import "env" "luacell_throw" (func $throw))
  (memory (export "memory") 1)
  (global $__stack_pointer (mut i32) (i32.const 1024))
  (func $luacell_try (param $f i32) (param $L i32) (param $ud i32)
    (call_indirect (type $body) (local.get $L) (local.get $ud) (local.get $f)))
  (func (export "sp") (result i32) (global.get $__stack_pointer))
"#;

fn lowered(body: &str) -> Result<Lowered> {
    let wasm = wat::parse_str(format!("(module {PRELUDE} {body})"))?;
    lower(&wasm, &NAMES)
}

fn failed(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:?}")
}

struct Run {
    store: Store<()>,
    instance: Instance,
}

impl Run {
    fn new(body: &str) -> Result<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, lowered(body)?.wasm).map_err(failed)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).map_err(failed)?;
        Ok(Self { store, instance })
    }

    fn call(&mut self, name: &str, argument: i32) -> Result<i32> {
        let function = self.instance.get_func(&mut self.store, name);
        let function = function.ok_or_else(|| anyhow!("no export {name}"))?;
        let mut results = [Val::I32(0)];
        let arguments = [Val::I32(argument)];
        let count = function.ty(&self.store).params().len();
        let arguments = arguments.get(..count).unwrap_or_default();
        function.call(&mut self.store, arguments, &mut results).map_err(failed)?;
        results[0].i32().ok_or_else(|| anyhow!("{name} returned no i32"))
    }
}

/// Frames of all result types between the throw and the catch, which must not run on after it.
const FRAMES: &str = r#"
  (table 1 funcref) (elem (i32.const 0) $top)
  (global $trace (mut i32) (i32.const 0))
  (func $note (param i32) (global.set $trace
    (i32.add (i32.mul (global.get $trace) (i32.const 10)) (local.get 0))))
  (func $check (param i32)
    (if (local.get 0) (then (call $throw) (unreachable))))
  (func $int (param i32) (result i32)
    (call $check (local.get 0)) (call $note (i32.const 1)) (i32.const 7))
  (func $long (param i32) (result i64)
    (i64.extend_i32_u (call $int (local.get 0))) (call $note (i32.const 2)))
  (func $float (param i32) (result f32)
    (f32.convert_i64_u (call $long (local.get 0))) (call $note (i32.const 3)))
  (func $double (param i32) (result f64)
    (local f64)
    ;; operands below the call, and a branch to the function's end
    (local.set 1 (f64.add (f64.const 1) (f64.promote_f32 (call $float (local.get 0)))))
    (block (loop (br_if 1 (local.get 0)) (br 2 (local.get 1))))
    (f64.const 0))
  (func $top (param i32 i32)
    (global.set $__stack_pointer (i32.sub (global.get $__stack_pointer) (i32.const 64)))
    (drop (call $double (local.get 1)))
    (call $note (i32.const 4))
    (global.set $__stack_pointer (i32.add (global.get $__stack_pointer) (i32.const 64))))
  (func (export "run") (param i32) (result i32)
    (global.set $trace (i32.const 0))
    (call $luacell_try (i32.const 0) (i32.const 0) (local.get 0))
    (call $note (i32.const 9))
    (global.get $trace))
"#;

#[test]
fn a_throw_leaves_all_frames_and_the_next_call_is_sound() -> Result<()> {
    let mut run = Run::new(FRAMES)?;
    for _ in 0..3 {
        assert_eq!(run.call("run", 0)?, 12349);
        assert_eq!(run.call("run", 1)?, 9);
        assert_eq!(run.call("sp", 0)?, 1024);
    }
    Ok(())
}

#[test]
fn only_calls_that_may_throw_are_checked() -> Result<()> {
    let lowered = lowered(FRAMES)?;
    // check, int, long, float and double, each called once; what they call to note is safe.
    assert_eq!(lowered.checked_calls, 5);
    assert_eq!(lowered.throwing_functions, 6);
    assert!(lowered.throwing_exports.is_empty());
    Ok(())
}

#[test]
fn an_indirect_call_throws_if_a_function_of_its_type_in_the_table_does() -> Result<()> {
    let body = r#"
      (table 3 funcref) (elem (i32.const 0) $top $bad $good)
      (type $one (func (param i32) (result i32)))
      (global $past (mut i32) (i32.const 0))
      (func $bad (type $one) (call $throw) (unreachable))
      (func $good (param i32) (result i32) (local.get 0))
      (func $other (param i64))
      (func $top (param i32 i32)
        (drop (call_indirect (type $one) (i32.const 5) (local.get 1)))
        (global.set $past (i32.const 1)))
      (func (export "run") (param i32) (result i32)
        (global.set $past (i32.const 0))
        (call $luacell_try (i32.const 0) (i32.const 0) (local.get 0))
        (global.get $past))
    "#;
    let mut run = Run::new(body)?;
    assert_eq!(run.call("run", 2)?, 1);
    assert_eq!(run.call("run", 1)?, 0);
    // Without the thrower in the table the same call needs no check.
    assert_eq!(lowered(body)?.checked_calls, 1);
    assert_eq!(lowered(&body.replace("$top $bad $good", "$top $good"))?.checked_calls, 0);
    Ok(())
}

#[test]
fn tries_nest_and_a_caught_error_can_be_followed_by_another() -> Result<()> {
    let mut run = Run::new(
        r#"
      (table 2 funcref) (elem (i32.const 0) $outer $inner)
      (global $trace (mut i32) (i32.const 0))
      (func $note (param i32) (global.set $trace
        (i32.add (i32.mul (global.get $trace) (i32.const 10)) (local.get 0))))
      (func $push (global.set $__stack_pointer
        (i32.sub (global.get $__stack_pointer) (i32.const 16))))
      (func $inner (param i32 i32)
        (call $push)
        (call $note (i32.const 1))
        (call $throw) (unreachable))
      (func $outer (param i32 i32)
        (call $push)
        (call $luacell_try (i32.const 1) (i32.const 0) (i32.const 0))
        (call $note (i32.const 2))
        ;; only this function's own room is in use
        (if (i32.ne (global.get $__stack_pointer) (i32.const 1008)) (then (call $note (i32.const 8))))
        (if (local.get 1) (then (call $throw) (unreachable)))
        (call $note (i32.const 3))
        (global.set $__stack_pointer (i32.const 1024)))
      (func (export "run") (param i32) (result i32)
        (global.set $trace (i32.const 0))
        (call $luacell_try (i32.const 0) (i32.const 0) (local.get 0))
        (global.get $trace))
    "#,
    )?;
    assert_eq!(run.call("run", 0)?, 123);
    assert_eq!(run.call("run", 1)?, 12);
    assert_eq!(run.call("sp", 0)?, 1024);
    Ok(())
}

#[test]
fn branch_tables_to_the_end_of_the_function_still_go_there() -> Result<()> {
    let mut run = Run::new(
        r#"
      (table 1 funcref) (elem (i32.const 0) $top)
      (global $result (mut i32) (i32.const 0))
      (func $maybe (param i32)
        (if (i32.eq (local.get 0) (i32.const 9)) (then (call $throw) (unreachable))))
      (func $pick (param i32) (result i32)
        (call $maybe (local.get 0))
        (block (result i32)
          (block (result i32)
            (br_table 0 1 2 (i32.const 10) (local.get 0)))
          (i32.add (i32.const 1)))
        (i32.add (i32.const 100)))
      (func $top (param i32 i32)
        (global.set $result (call $pick (local.get 1))))
      (func (export "run") (param i32) (result i32)
        (global.set $result (i32.const -1))
        (call $luacell_try (i32.const 0) (i32.const 0) (local.get 0))
        (global.get $result))
    "#,
    )?;
    assert_eq!(run.call("run", 0)?, 111);
    assert_eq!(run.call("run", 1)?, 110);
    assert_eq!(run.call("run", 2)?, 10);
    assert_eq!(run.call("run", 9)?, -1);
    Ok(())
}

#[test]
fn exports_that_throw_are_reported_and_unused_ones_dropped() -> Result<()> {
    let lowered = lowered(
        r#"
      (table 1 funcref) (elem (i32.const 0) $top)
      (func $top (param i32 i32) (call $throw))
      (func (export "bare") (call $throw))
      (func (export "safe") (call $luacell_try (i32.const 0) (i32.const 0) (i32.const 0)))
      (func $unused (result i32) (i32.const 1))
      (func (export "_initialize") (drop (call $unused)))
    "#,
    )?;
    assert_eq!(lowered.throwing_exports, ["bare"]);
    let module = super::Module::parse(&lowered.wasm)?;
    let exports: Vec<_> = module.exports.iter().map(|(name, _)| *name).collect();
    assert_eq!(exports, ["sp", "bare", "safe"]);
    assert_eq!(module.bodies.len(), 5);
    assert!(module.imports.is_empty() && module.function_names.is_empty());
    Ok(())
}

#[test]
fn what_the_pass_would_get_wrong_is_an_error() {
    let message = |body: &str, from: &str, to: &str| {
        let text = format!("(module {PRELUDE} (table 1 funcref) {body})").replace(from, to);
        let lowered = wat::parse_str(text).map_err(Into::into).and_then(|wasm| lower(&wasm, &NAMES));
        format!("{:#}", lowered.err().unwrap_or_else(|| anyhow!("none")))
    };
    let inlined = message("", "$luacell_try", "$other");
    assert!(inlined.contains("luacell_try: not in the name section"), "{inlined}");
    let two_calls = "(local.get $f))
      (call_indirect (type $body) (local.get $L) (local.get $ud) (local.get $f)))";
    let twice = message("(export \"t\" (func $luacell_try))", "(local.get $f)))", two_calls);
    assert!(twice.contains("in luacell_try: it must make exactly one"), "{twice}");
    let no_import = message("", "\"luacell_throw\"", "\"other\"");
    assert!(no_import.contains("does not import env.luacell_throw"), "{no_import}");
    let taken = message("(elem (i32.const 0) $throw)", "", "");
    assert!(taken.contains("address of luacell_throw"), "{taken}");
    let start = message("(func $s) (start $s)", "", "");
    assert!(start.contains("start function"), "{start}");
}
