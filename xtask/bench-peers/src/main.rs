//! mlua's side of `cargo xtask bench --peers`: the modes of bench-runner, with the same work in each.
//!
//! ```text
//! bench-peers program FILE   prints nanoseconds, a tab and the result
//! bench-peers create|first|compute|call|hostcall|records-in|records-out|api-get|api-set COUNT   prints nanoseconds for each
//! ```

use std::hint::black_box;

use anyhow::{Context, Result, bail, ensure};
use mlua::{Function, Lua, Table, Value};

const RECORDS: i64 = 1000;
const TOTAL: f64 = 760_643.0;

/// As in the bench runner's values.rs.
const FUNCTIONS: &str = "function sum(a, b) return a + b end \
    function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.value + #r.name end return s end \
    local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end \
    function make() return kept end";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, argument] = args.as_slice() else {
        bail!("usage: bench-peers program FILE | bench-peers MODE COUNT");
    };
    if mode == "program" {
        return program(argument);
    }
    let count: u32 = argument.parse().with_context(|| format!("{argument} is no count"))?;
    let lua = Lua::new();
    lua.load(FUNCTIONS).exec()?;
    let nanoseconds = match mode.as_str() {
        "create" => each(count, || {
            black_box(Lua::new());
            Ok(())
        }),
        "first" => each(count, || one_plus_one(&Lua::new())),
        "compute" => each(count, || one_plus_one(&lua)),
        "call" => each(count, || call(&lua)),
        "hostcall" => host_calls(&lua, count),
        "records-in" => each(count, || records_in(&lua)),
        "records-out" => each(count, || records_out(&lua)),
        "api-get" => {
            let table = table(&lua)?;
            each(count, || {
                ensure!(table.get::<i64>("key")? == 1, "the table holds something else");
                Ok(())
            })
        }
        "api-set" => {
            let table = table(&lua)?;
            each(count, || Ok(table.set("key", 1)?))
        }
        _ => bail!("{mode} is not known"),
    }?;
    println!("{nanoseconds:.2}");
    Ok(())
}

fn one_plus_one(lua: &Lua) -> Result<()> {
    ensure!(lua.load("return 1+1").eval::<i64>()? == 2, "1+1 is not 2");
    Ok(())
}

fn call(lua: &Lua) -> Result<()> {
    let sum: Function = lua.globals().get("sum")?;
    ensure!(sum.call::<i64>((1, 2))? == 3, "1+2 is not 3");
    Ok(())
}

fn host_calls(lua: &Lua, count: u32) -> Result<f64> {
    lua.globals().set("add", lua.create_function(|_, (a, b): (i64, i64)| Ok(a + b))?)?;
    let run = lua.load("local add = add for i = 1, ... do add(i, 2) end").into_function()?;
    run.call::<()>(count)?;
    let start = now();
    run.call::<()>(count)?;
    Ok((now() - start) / f64::from(count))
}

fn records_in(lua: &Lua) -> Result<()> {
    let list = lua.create_table_with_capacity(RECORDS as usize, 0)?;
    for i in 1..=RECORDS {
        let record = lua.create_table_with_capacity(0, 3)?;
        record.raw_set("id", i)?;
        record.raw_set("name", format!("record {i}"))?;
        record.raw_set("value", i as f64 * 0.5)?;
        list.raw_set(i, record)?;
    }
    let total = lua.globals().get::<Function>("total")?.call::<f64>(list)?;
    ensure!(total == TOTAL, "the records add up to {total}");
    Ok(())
}

struct Record {
    id: i64,
    name: String,
    value: f64,
}

fn records_out(lua: &Lua) -> Result<()> {
    let list: Table = lua.globals().get::<Function>("make")?.call(())?;
    let mut records = Vec::with_capacity(RECORDS as usize);
    for record in list.sequence_values::<Table>() {
        let record = record?;
        records.push(Record {
            id: record.raw_get("id")?,
            name: record.raw_get("name")?,
            value: record.raw_get("value")?,
        });
    }
    let total: f64 = black_box(&records).iter().map(|r| r.id as f64 + r.value + r.name.len() as f64).sum();
    ensure!(total == TOTAL, "the records add up to {total}");
    Ok(())
}

fn table(lua: &Lua) -> Result<Table> {
    let table = lua.create_table()?;
    table.set("key", 1)?;
    Ok(table)
}

fn program(file: &str) -> Result<()> {
    let source = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let lua = Lua::new();
    let start = now();
    let value: Value = lua.load(source).set_name("=program").eval()?;
    let nanoseconds = now() - start;
    println!("{nanoseconds:.0}\t{}", value.to_string()?);
    Ok(())
}

/// Mean nanoseconds of one call, after a tenth as many that do not count.
fn each(count: u32, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..count / 10 {
        call()?;
    }
    let start = now();
    for _ in 0..count {
        call()?;
    }
    Ok((now() - start) / f64::from(count))
}

/// Processor time of this thread in nanoseconds, as in bench-runner.
fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
