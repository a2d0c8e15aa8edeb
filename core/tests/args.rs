//! Arguments that are written as they cross.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use luacell::{Args, ComputeOptions, Sandbox, Value};

#[test]
fn what_is_written_reads_back() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.compute("_home.t = {5}").unwrap();
    let function = sandbox.compute("return function() return 7 end").unwrap().into_value();
    let mut args = Args::new();
    args.nil();
    let outer = args.table(1, 3).unwrap();
    args.boolean(true);
    args.string(b"self").unwrap();
    args.table_again(outer).unwrap();
    args.float(0.5);
    args.stored_table(sandbox.home().get("t").unwrap().as_stored_table().unwrap());
    args.string(b"f").unwrap();
    args.function(function.as_function().unwrap());
    args.function(sandbox.compute("return string.upper").unwrap().value().as_function().unwrap());
    args.integer(-1);
    let source = "local n, t, up, m = ... return n, t[1], t.self == t, t[0.5][1], t.f(), up('x'), m";
    let options = ComputeOptions::new().encoded_args(args.clone());
    let expected: [Value; 7] = [Value::Nil, true.into(), true.into(), 5.into(), 7.into(), "X".into(), (-1).into()];
    assert_eq!(sandbox.compute_with(source, options).unwrap().values, expected);
    let values = args.into_values().unwrap();
    assert_eq!(sandbox.compute_with(source, ComputeOptions::new().args(values)).unwrap().values, expected);
}

#[test]
fn wrong_use_is_an_error() {
    let sandbox = Sandbox::new().unwrap();
    let mut args = Args::new();
    assert!(args.table_again(0).is_err());
    args.table(3, 1).unwrap();
    assert!(args.clone().into_values().is_err());
    assert!(sandbox.compute_with("return ...", ComputeOptions::new().encoded_args(args)).is_err());
    assert_eq!(sandbox.compute("return 1").unwrap().get::<i64>().unwrap(), 1);
    let other = Sandbox::new().unwrap();
    let mut args = Args::new();
    args.stored_table(&other.home());
    assert!(sandbox.compute_with("return ...", ComputeOptions::new().encoded_args(args)).is_err());
}
