//! What host functions take, and how they fail, as Rust types.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::error::Error as _;

use luacell::{
    CallArgs, Caller, Class, Error, ErrorKind, FromArgs, FromValue, Function, Result, Sandbox, Value, Variadic,
    fallible,
};

fn sandbox() -> Sandbox {
    Sandbox::new().unwrap()
}

fn text(lua: &Sandbox, source: &str) -> String {
    lua.compute(source).unwrap().get().unwrap()
}

#[test]
fn a_list_is_one_argument() {
    let lua = sandbox();
    lua.register("sum", |list: Vec<i64>| Ok(list.iter().sum::<i64>())).unwrap();
    lua.register("rows", |rows: Vec<Vec<Value>>| Ok(rows.iter().map(Vec::len).sum::<usize>() as i64)).unwrap();
    lua.register("maps", |maps: Vec<BTreeMap<String, f64>>| Ok(maps.iter().map(|m| m["x"]).sum::<f64>())).unwrap();
    lua.register("count", |all: Vec<Value>| Ok(all.len() as i64)).unwrap();
    lua.register("maybe", |list: Option<Vec<bool>>| Ok(list.map_or(-1, |list| list.len() as i64))).unwrap();
    let script = "return table.concat({sum{1, 2, 3}, sum({4}, 9), rows{{1, nil}, {2, 3}}, maps{{x = 0.5}, {x = 1}}, \
                  count(1, nil, nil), count{1, 2}, maybe(), maybe{true}}, ' ')";
    assert_eq!(text(&lua, script), "6 4 3 1.5 3 1 -1 1");
    let message = text(&lua, "return select(2, pcall(sum, 1, 2))");
    assert_eq!(message, "bad argument #1 (expected a table, got number)");
    let message = text(&lua, "return select(2, pcall(sum, {x = 1}))");
    assert!(message.starts_with("bad argument #1 (expected a sequence"), "{message}");
}

#[test]
fn all_that_are_left() {
    let lua = sandbox();
    lua.register("all", |list: Variadic<i64>| Ok(list.iter().sum::<i64>())).unwrap();
    lua.register("behind", |(first, rest): (String, Variadic<String>)| Ok(format!("{first}:{}", rest.join(","))))
        .unwrap();
    lua.register("double", |list: Variadic<i64>| Ok(Variadic(list.into_iter().map(|n| 2 * n).collect()))).unwrap();
    let script = "return table.concat({all(), all(1, 2, 3), behind('a'), behind('a', 'b', 'c'), select('#', double(1, 2)), \
                  select(2, double(1, 2))}, ' ')";
    assert_eq!(text(&lua, script), "0 6 a: a:b,c 2 4");
    let message = text(&lua, "return select(2, pcall(behind, 'a', 'b', {}))");
    assert_eq!(message, "bad argument #3 (expected a string, got table)");
}

#[derive(Debug)]
struct Celsius(f64);

impl FromValue for Celsius {
    fn from_value(value: Value) -> Result<Self> {
        f64::from_value(value).map(Celsius)
    }
}

struct Pair(i64, String);

impl FromArgs for Pair {
    fn from_args(mut args: CallArgs<'_>) -> Result<Self> {
        let number = args.parameter()?;
        assert_eq!(args.len(), 1);
        Ok(Pair(number, args.parameter()?))
    }
}

#[test]
fn types_of_the_program() {
    let lua = sandbox();
    lua.register("kelvin", |degrees: Celsius| Ok(degrees.0 + 273.0)).unwrap();
    lua.register("warmest", |all: Vec<Celsius>| Ok(all.iter().map(|c| c.0).fold(f64::MIN, f64::max))).unwrap();
    lua.register("pair", |pair: Pair| Ok((pair.1, pair.0))).unwrap();
    assert_eq!(
        text(&lua, "return kelvin(1) .. ' ' .. warmest{1, 2.5} .. ' ' .. table.concat({pair(1, 'x')}, ' ')"),
        "274.0 2.5 x 1"
    );
}

#[test]
fn the_sandbox_that_calls() {
    let lua = sandbox();
    lua.register("eval", |(caller, source): (Caller, String)| Ok(caller.compute(source)?.values)).unwrap();
    lua.register("count", |caller: Caller| caller.home().set("n", 1)).unwrap();
    assert_eq!(
        lua.compute("x = 20 count() return eval('return x + 1'), _home.n").unwrap().values,
        [21.into(), 1.into()]
    );

    // As a value, and in another sandbox, it is that one's.
    let who = Function::new(|(caller, name): (Caller, String)| Ok(caller.compute(format!("return {name}"))?.values));
    let other = sandbox();
    for (sandbox, name) in [(&lua, "first"), (&other, "second")] {
        sandbox.compute(format!("name = '{name}' function apply(f) return f('name') end")).unwrap();
        assert_eq!(sandbox.call("apply", who.clone()).unwrap().get::<String>().unwrap(), name);
    }
    lua.register("into", {
        let who = who.clone();
        move |()| other.call("apply", who.clone()).map(|outcome| outcome.values)
    })
    .unwrap();
    assert_eq!(text(&lua, "return into()"), "second");
    let error = who.call("name").unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::InvalidArgument, "no sandbox calls this function: only Lua can")
    );

    // A method of an object, with the arguments behind it.
    let class = Class::<i64>::builder("Number").method("plus", |n, (caller, by): (Caller, i64)| {
        caller.compute(format!("return {n} + {by}")).map(|outcome| outcome.values)
    });
    let sandbox = sandbox();
    sandbox.compute("function call(n) return n:plus(2) end").unwrap();
    let sum = sandbox.call("call", class.build().object(40)).unwrap();
    assert_eq!(sum.get::<i64>().unwrap(), 42);
}

#[cfg(feature = "async")]
#[test]
fn the_sandbox_that_calls_a_future() {
    let lua = sandbox();
    lua.register_async("eval", |(caller, source): (Caller, String)| {
        let begun = caller.compute("return 'begun'").map(|outcome| outcome.values);
        async move {
            let mut values = begun?;
            values.extend(caller.compute(source)?.values);
            Ok(values)
        }
    })
    .unwrap();
    let script = "return eval('return 1, 2')";
    let expected: [Value; 3] = ["begun".into(), 1.into(), 2.into()];
    assert_eq!(lua.compute(script).unwrap().values, expected);
    let options = luacell::ComputeOptions::new();
    assert_eq!(pollster::block_on(lua.compute_async(script, options)).unwrap().values, expected);
}

#[derive(Debug)]
struct Secret;

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the password is 1234")
    }
}

impl std::error::Error for Secret {}

#[test]
fn any_error_leaves_a_function_and_tells_the_script_nothing() {
    type Any = Box<dyn std::error::Error + Send + Sync>;
    let lua = sandbox();
    lua.register("parse", |text: String| Ok(text.parse::<i64>()?)).unwrap();
    lua.register("secret", fallible(|()| -> Result<i64, Secret> { Err(Secret) })).unwrap();
    lua.register("boxed", |()| -> Result<i64> { Ok(Err::<i64, Any>(Box::new(Secret))?) }).unwrap();
    lua.register(
        "mixed",
        fallible(|text: String| -> Result<String, Any> {
            let number = text.parse::<f64>()?;
            if number < 0.0 {
                Err(Secret)?
            }
            if number > 9.0 {
                Err(Error::raise("too large"))?
            }
            Ok(String::from_utf8(vec![b'x'; number as usize])?)
        }),
    )
    .unwrap();
    assert_eq!(text(&lua, "return parse('12') .. mixed('2')"), "12xx");
    for call in ["parse('x')", "secret()", "boxed()", "mixed('-1')", "mixed('?')"] {
        let seen = text(&lua, &format!("return select(2, pcall(function() {call} end))"));
        assert!(seen.ends_with("the host function failed"), "{call}: {seen}");
        let error = lua.compute(call).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostFunction, "{call}");
        assert!(error.source().is_some(), "{call}");
    }
    let error = lua.compute("secret()").unwrap_err();
    assert!(error.source().unwrap().source().unwrap_or(error.source().unwrap()).to_string().contains("1234"));
    assert_eq!(text(&lua, "return select(2, pcall(mixed, '10'))"), "too large");
}
