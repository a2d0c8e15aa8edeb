//! Values and JSON.

#![allow(clippy::unwrap_used, reason = "tests")]

use luacell::{ErrorKind, Sandbox, Value};
use serde_json::{Value as Json, json};

fn from_lua(source: &str) -> Result<Json, luacell::Error> {
    Json::try_from(Sandbox::new()?.compute(source)?.value())
}

#[test]
fn both_ways() {
    let json = json!({
        "text": "a\nb", "yes": true, "int": -5, "float": 0.5, "list": [1, [2, "x"], {}], "empty": {},
        "deep": {"er": {"est": [[[1]]]}}
    });
    let sandbox = Sandbox::new().unwrap();
    sandbox.set_input(json.clone()).unwrap();
    assert_eq!(Json::try_from(sandbox.input().unwrap()).unwrap(), json);
    let source = "local i = _io.input return math.type(i.int), math.type(i.float), #i.list, i.list[2][2], i.deep.er.est[1][1][1]";
    let values = sandbox.compute(source).unwrap().values;
    assert_eq!(values, ["integer".into(), "float".into(), 3.into(), "x".into(), 1.into()]);
    for json in [json!(null), json!(1), json!("x"), json!([1, 2]), json!(1e300)] {
        assert_eq!(Json::try_from(Value::from(json.clone())).unwrap(), json);
    }
    assert_eq!(Value::from(json!([1, null, 3])).as_table().unwrap().get(3), 3.into());
    assert_eq!(Value::from(json!(18_446_744_073_709_551_615u64)), Value::Float(18_446_744_073_709_551_615.0));
}

#[test]
fn tables_become_arrays_or_objects() {
    assert_eq!(from_lua("return {1, 'a', {}}").unwrap(), json!([1, "a", {}]));
    assert_eq!(from_lua("return {[1] = 'a', [3] = 'b'}").unwrap(), json!({"1": "a", "3": "b"}));
    assert_eq!(from_lua("return {1, x = 2}").unwrap(), json!({"1": 1, "x": 2}));
    assert_eq!(from_lua("_home.t = {1, {x = 2}} return _home.t").unwrap(), json!([1, {"x": 2}]));
    assert_eq!(from_lua("local s = {} return {s, s}").unwrap(), json!([{}, {}]));
    assert_eq!(from_lua("return").unwrap(), json!(null));
}

#[test]
fn what_json_does_not_have_names_its_place() {
    for (source, part) in [
        ("return {a = {1, 0/0}}", "value.a[2]"),
        ("return {a = {b = math.huge}}", "value.a.b"),
        ("return {a = '\\xff'}", "value.a"),
        ("return {a = print}", "value.a"),
        ("return {[true] = 1}", "value[true]"),
        ("return {a = {[0.5] = 1}}", "value.a[0.5]"),
        ("local t = {} t.x = {t} return t", "value.x[1]"),
        ("return 1/0", "(value)"),
        ("return {[1] = 'number', ['1'] = 'text'}", "both keys 1 and \"1\""),
        ("return {a = {['-7'] = 1, [-7] = 2, [0] = 3}}", "value.a"),
        ("_home.a = {[3] = 1, ['3'] = 2} return _home", "value.a"),
    ] {
        let error = from_lua(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conversion, "{source}");
        assert!(error.message().contains(part), "{source}: {error}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = "local t = {} for i = 1, %d do t = {t} end return t";
    assert!(from_lua(&deep.replace("%d", "400")).is_ok());
    assert_eq!(from_lua(&deep.replace("%d", "100000")).unwrap_err().kind(), ErrorKind::Conversion);
    // A small value that would be 2^64 as text.
    let bomb = "local t = {} for i = 1, 64 do t = {t, t} end return t";
    assert_eq!(from_lua(bomb).unwrap_err().kind(), ErrorKind::Conversion);
}
