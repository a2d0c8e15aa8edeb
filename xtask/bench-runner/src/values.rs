//! Values that cross the border: calls, and 1,000 records in and out.

use std::hint::black_box;

use anyhow::{Result, ensure};
use luacell::{Engine, Function, Outcome, Sandbox, Value};
use serde::{Deserialize, Serialize};

use crate::{each, sandbox};

const RECORDS: i64 = 1000;

/// What all records' fields add up to, the names by their lengths.
const TOTAL: f64 = 760_643.0;

/// As in `native.c` and `ffi.c`.
const FUNCTIONS: &str = "function sum(a, b) return a + b end \
    function total(list) local s = 0 for i = 1, #list do local r = list[i] s = s + r.id + r.value + #r.name end return s end \
    local kept = {} for i = 1, 1000 do kept[i] = {id = i, name = 'record ' .. i, value = i * 0.5} end \
    function make() return kept end";

/// Nanoseconds for each of `count`; `None` when the mode is not one of these.
pub fn measure(engine: &Engine, mode: &str, count: u32) -> Result<Option<f64>> {
    let operation: fn(&Sandbox) -> Result<()> = match mode {
        "call" => call,
        "call-handle" => {
            let sandbox = sandbox(engine)?;
            let sum: Function = sandbox.compute("return function(a, b) return a + b end")?.get()?;
            return each(count, || is_three(&sum.call((1, 2))?)).map(Some);
        }
        "api-get" => api_get,
        "api-set" => api_set,
        "records-in" => records_in,
        "records-out" => records_out,
        _ => return Ok(None),
    };
    let sandbox = sandbox(engine)?;
    sandbox.compute(FUNCTIONS)?;
    sandbox.home().set("key", 1)?;
    each(count, || operation(&sandbox)).map(Some)
}

fn call(sandbox: &Sandbox) -> Result<()> {
    is_three(&sandbox.call("sum", (1, 2))?)
}

fn is_three(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.value() == &Value::Integer(3), "1+2 is not 3");
    Ok(())
}

/// What a program keeps, and what becomes of a table.
#[derive(Serialize, Deserialize)]
struct Record {
    id: i64,
    name: String,
    value: f64,
}

fn records_in(sandbox: &Sandbox) -> Result<()> {
    let record = |id: i64| Record { id, name: format!("record {id}"), value: id as f64 * 0.5 };
    let records: Vec<Record> = (1..=RECORDS).map(record).collect();
    let total: f64 = sandbox.call_as("total", &(records,))?;
    ensure!(total == TOTAL, "the records add up to {total}");
    Ok(())
}

/// A field of `_home`, read by the host.
fn api_get(sandbox: &Sandbox) -> Result<()> {
    ensure!(sandbox.home().get("key")? == Value::Integer(1), "the table holds something else");
    Ok(())
}

fn api_set(sandbox: &Sandbox) -> Result<()> {
    Ok(sandbox.home().set("key", 1)?)
}

fn records_out(sandbox: &Sandbox) -> Result<()> {
    let records: Vec<Record> = sandbox.call_as("make", &())?;
    let total: f64 = black_box(&records).iter().map(|r| r.id as f64 + r.value + r.name.len() as f64).sum();
    ensure!(total == TOTAL, "the records add up to {total}");
    Ok(())
}
