//! Types that serde knows as arguments and results.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use luacell::{Args, ComputeOptions, ErrorKind, Function, LuaString, Sandbox, Value};
use proptest::prelude::*;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    small: i8,
    large: i64,
    unsigned: u32,
    float: f64,
    letter: char,
    text: String,
    bytes: LuaString,
    maybe: Option<u16>,
    list: Vec<String>,
    pair: (i32, f64),
    three: [u8; 3],
    map: BTreeMap<String, Shape>,
    numbered: BTreeMap<i64, bool>,
    inner: Option<Box<Everything>>,
    #[serde(default)]
    unit: (),
    wrapped: Wrapped,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wrapped(i64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Circle(f64),
    Maybe(Option<i32>),
    Line(i32, i32),
    Rectangle { width: f64, height: f64 },
}

fn compute<T: DeserializeOwned>(source: &str) -> luacell::Result<T> {
    Sandbox::new().unwrap().compute_as(source, ComputeOptions::new())
}

fn message<T: DeserializeOwned + std::fmt::Debug>(source: &str) -> String {
    let error = compute::<T>(source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conversion);
    error.message().to_owned()
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Empty),
        any::<i32>().prop_map(|x| Shape::Circle(f64::from(x) / 8.0)),
        any::<Option<i32>>().prop_map(Shape::Maybe),
        any::<(i32, i32)>().prop_map(|(a, b)| Shape::Line(a, b)),
        any::<(i32, i32)>().prop_map(|(a, b)| Shape::Rectangle { width: a.into(), height: b.into() }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let flat = (
        any::<(bool, i8, i64, u32, char, String)>(),
        prop::num::f64::NORMAL | prop::num::f64::ZERO,
        any::<(Vec<u8>, Option<u16>, Vec<String>, (i32, i32), [u8; 3])>(),
        prop::collection::btree_map(any::<String>(), shape(), 0..4),
        prop::collection::btree_map(any::<i64>(), any::<bool>(), 0..4),
        any::<i64>(),
    );
    let flat = flat.prop_map(|(a, float, b, map, numbered, wrapped)| Everything {
        flag: a.0,
        small: a.1,
        large: a.2,
        unsigned: a.3,
        letter: a.4,
        text: a.5,
        float,
        bytes: LuaString::new(&b.0),
        maybe: b.1,
        list: b.2,
        pair: (b.3.0, b.3.1.into()),
        three: b.4,
        map,
        numbered,
        inner: None,
        unit: (),
        wrapped: Wrapped(wrapped),
    });
    flat.prop_recursive(3, 8, 1, |inner| {
        (inner.clone(), inner).prop_map(|(outer, inner)| Everything { inner: Some(Box::new(inner)), ..outer })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_goes_in_comes_out(value in everything()) {
        thread_local!(static LUA: Sandbox = {
            let lua = Sandbox::new().unwrap();
            lua.compute("function same(...) return ... end").unwrap();
            lua.register_as("through", |value: Everything| Ok(value)).unwrap();
            lua
        });
        LUA.with(|lua| {
            let back: Everything = lua.call_as("same", &(&value,)).unwrap();
            prop_assert_eq!(&back, &value);
            let back: Everything = lua.call_as("through", &(&value,)).unwrap();
            prop_assert_eq!(&back, &value);
            let tree = Value::from_serialize(&value).unwrap();
            prop_assert_eq!(&tree.deserialize::<Everything>().unwrap(), &value);
            Ok(())
        })?;
    }
}

#[test]
fn several_results_are_a_tuple() {
    assert_eq!(compute::<(i64, String)>("return 1, 'x', 'more'").unwrap(), (1, "x".to_owned()));
    assert_eq!(compute::<(i64, Option<bool>)>("return 1").unwrap(), (1, None));
    assert_eq!(compute::<(i64,)>("return 1").unwrap(), (1,));
    assert_eq!(compute::<i64>("return 1, 2").unwrap(), 1);
    assert_eq!(compute::<Option<i64>>("").unwrap(), None);
    compute::<()>("").unwrap();
    assert_eq!(compute::<[i64; 3]>("return {1, 2, 3}").unwrap(), [1, 2, 3]);
    assert_eq!(compute::<(Vec<i64>, i64)>("return {1}, 2").unwrap(), (vec![1], 2));
}

#[test]
fn tables_are_what_is_asked_for() {
    assert_eq!(compute::<Vec<i64>>("return {}").unwrap(), Vec::<i64>::new());
    assert_eq!(compute::<HashMap<String, i64>>("return {}").unwrap(), HashMap::new());
    let numbered = compute::<BTreeMap<i64, String>>("return {'a', 'b', [10] = 'c'}").unwrap();
    assert_eq!(numbered.into_iter().collect::<Vec<_>>(), [(1, "a".into()), (2, "b".into()), (10, "c".into())]);

    #[derive(Debug, Deserialize, PartialEq)]
    struct Named {
        name: String,
    }
    // What the type does not know is passed over, functions too.
    let source = "return {'array', 2, name = 'x', f = print, g = function() end, t = {1, {2}}, home = _home}";
    assert_eq!(compute::<Named>(source).unwrap(), Named { name: "x".into() });
    assert_eq!(compute::<(Named, i64)>(&format!("{source}, 5")).unwrap().1, 5);
}

#[test]
fn numbers_fit_or_fail() {
    assert_eq!(compute::<u8>("return 255").unwrap(), 255);
    assert_eq!(compute::<u8>("return 3.0").unwrap(), 3);
    assert_eq!(compute::<f64>("return 3").unwrap().to_bits(), 3.0f64.to_bits());
    assert_eq!(message::<u8>("return 256"), "invalid value: integer `256`, expected u8 (result 1)");
    assert_eq!(message::<i64>("return 1.5"), "invalid type: floating point `1.5`, expected i64 (result 1)");
    assert_eq!(message::<f64>("return 2^53 | 1"), "invalid type: integer `9007199254740993`, expected f64 (result 1)");

    let mut args = Args::new();
    let error = args.serialize(&u64::MAX).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Conversion, "18446744073709551615 does not fit a Lua integer")
    );
}

#[test]
fn errors_name_the_place() {
    type List = Vec<BTreeMap<String, Vec<bool>>>;
    assert_eq!(
        message::<List>("return {{}, {['odd key'] = {true, 'x'}}}"),
        "invalid type: string \"x\", expected a boolean (result 1[2][\"odd key\"][2])"
    );
    assert_eq!(message::<(i64, bool)>("return 1, {}"), "invalid type: table, expected a boolean (result 2)");
    assert_eq!(message::<Shape>("return {Circle = {}}"), "invalid type: table, expected f64 (result 1.Circle)");
    assert!(message::<Shape>("return 'Square'").starts_with("unknown variant `Square`"));
    assert!(message::<Everything>("return {}").starts_with("missing field"));
    assert_eq!(
        message::<Vec<i64>>("return {1, x = 2}"),
        "invalid type: table with other keys than 1, 2, 3, …, expected a sequence (result 1)"
    );
    assert_eq!(
        message::<String>("return '\\xff'"),
        "invalid value: string that is not UTF-8, expected a string (result 1)"
    );
    assert!(message::<String>("return print").starts_with("a function or kept table can't be deserialized"));

    let lua = Sandbox::new().unwrap();
    lua.register_as("f", |(_, list): (String, Vec<u8>)| Ok(list.len())).unwrap();
    let error = lua.compute("f('x', {1, 2, -3})").unwrap_err();
    assert!(error.message().contains("invalid value: integer `-3`, expected u8 (argument 2[3])"), "{error}");
}

#[test]
fn keys_that_no_table_has_are_refused() {
    let refused = |map: &dyn erased::Serializable| map.add(&mut Args::new()).unwrap_err().message().to_owned();
    assert_eq!(refused(&BTreeMap::from([(None::<i64>, 1)])), "nil can't be a key of a table");
    assert_eq!(refused(&BTreeMap::from([(vec![1], 1)])), "a table can't be a key here");
    assert_eq!(refused(&Nan), "NaN can't be a key of a table");

    struct Nan;
    impl Serialize for Nan {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([(f64::NAN, 1)])
        }
    }

    mod erased {
        pub trait Serializable {
            fn add(&self, args: &mut luacell::Args) -> luacell::Result<()>;
        }
        impl<T: serde::Serialize> Serializable for T {
            fn add(&self, args: &mut luacell::Args) -> luacell::Result<()> {
                args.serialize(self)
            }
        }
    }
}

#[test]
fn functions_are_called_with_types() {
    let lua = Sandbox::new().unwrap();
    let f: Function = lua.compute("return function(p, n) return {x = p.x * n} end").unwrap().get().unwrap();
    let point: BTreeMap<String, f64> = f.call_as(&(BTreeMap::from([("x", 2)]), 3)).unwrap();
    assert_eq!(point, BTreeMap::from([("x".into(), 6.0)]));
    let max: Function = lua.compute("return math.max").unwrap().get().unwrap();
    assert_eq!(max.call_as::<i64>(&(3, 9, 4)).unwrap(), 9);
}

#[test]
fn within_a_run_too() {
    let lua = Arc::new(Sandbox::new().unwrap());
    let inner = Arc::downgrade(&lua);
    lua.compute("function twice(t) return {n = 2 * t.n} end").unwrap();
    lua.register_as("go", move |n: i64| {
        inner.upgrade().unwrap().call_as::<BTreeMap<String, i64>>("twice", &(BTreeMap::from([("n", n)]),))
    })
    .unwrap();
    assert_eq!(lua.compute("return go(4).n").unwrap().get::<i64>().unwrap(), 8);
}

/// How the outer run's results are read is nothing to those inside it.
#[test]
fn runs_inside_one_have_values_as_ever() {
    let lua = Arc::new(Sandbox::new().unwrap());
    let inner = Arc::downgrade(&lua);
    lua.register("double", move |n: i64| {
        let lua = inner.upgrade().unwrap();
        let outcome = lua.compute_with("return 2 * ...", ComputeOptions::new().args(n))?;
        outcome.get::<i64>()
    })
    .unwrap();
    assert_eq!(lua.compute_as::<i64>("return double(21)", ComputeOptions::new()).unwrap(), 42);
    lua.compute("function quadruple(n) return double(double(n)) end").unwrap();
    assert_eq!(lua.call_as::<i64>("quadruple", &(3,)).unwrap(), 12);
}

/// What the run wrote stays, as with any result that the host can't use.
#[test]
fn a_result_of_another_type_is_no_failed_run() {
    let lua = Sandbox::new().unwrap();
    lua.compute_as::<bool>("_home.n = 1 return 'x'", ComputeOptions::new()).unwrap_err();
    assert_eq!(lua.compute("return _home.n").unwrap().get::<i64>().unwrap(), 1);
}

/// No handle of a function stays behind.
#[test]
fn functions_among_results_are_let_go() {
    let lua = Sandbox::new().unwrap();
    lua.compute("weak = setmetatable({}, {__mode = 'k'})").unwrap();
    for _ in 0..3 {
        lua.compute_as::<IgnoredAny>("local f = function() end weak[f] = true return f", ComputeOptions::new())
            .unwrap();
    }
    lua.compute("").unwrap();
    lua.gc().unwrap();
    assert!(lua.compute("return next(weak) == nil").unwrap().get::<bool>().unwrap());
}

#[derive(Debug, Deserialize)]
struct Tree {
    #[serde(default)]
    children: Vec<Tree>,
}

#[test]
fn shapes_that_have_no_end_are_refused() {
    let cycle = message::<Tree>("local t = {} t.children = {t} return t");
    assert!(cycle.starts_with("tables are nested more than 128 deep, or contain themselves"), "{cycle}");
    let deep = message::<Tree>("local t = {} for i = 1, 100000 do t = {children = {t}} end return t");
    assert!(deep.starts_with("tables are nested more than 128 deep"), "{deep}");
    // Doubled sixty times, with content to be read and content to be passed over.
    for more in ["", ", skipped = ('x'):rep(1000)"] {
        let doubled =
            message::<Tree>(&format!("local t = {{}} for i = 1, 60 do t = {{children = {{t, t}}{more}}} end return t"));
        assert!(
            doubled.starts_with("a table is too large because other tables are shared in it many times"),
            "{doubled}"
        );
    }
    // Shared a few times is nothing odd.
    let list = compute::<Vec<Tree>>("local t = {children = {{}, {}}} return {t, t, t}").unwrap();
    assert_eq!(list.iter().map(|tree| tree.children.len()).sum::<usize>(), 6);
}

/// A type that has a default for what it can't read does not get something else instead.
#[test]
fn errors_within_tables_are_not_passed_over() {
    fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
        Ok(Vec::deserialize(deserializer).unwrap_or_default())
    }
    #[derive(Debug, Deserialize)]
    struct Lenient {
        #[serde(deserialize_with = "lenient", rename = "list")]
        _list: Vec<i64>,
    }
    assert!(
        message::<Lenient>("return {list = {1, 'x', 3}}").starts_with("an error within a table can't be passed over")
    );
    compute::<Lenient>("return {list = 'x'}").unwrap();
}
