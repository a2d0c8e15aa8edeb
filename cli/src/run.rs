//! `luacell run` and `luacell eval`.

use std::ffi::OsStr;
use std::fs::File;

use anyhow::{Context, anyhow, bail};
use luacell::{ComputeOptions, LuaString, Outcome, Sandbox, Value};

use crate::args::{EvalArgs, RunArgs, SandboxArgs, TaskArgs};
use crate::failure::Failure;
use crate::runs::{self, Ended};
use crate::sandbox::Printed;
use crate::source::{MOST_DATA, Source, read_to_end};
use crate::{json, output, sandbox, show};

/// Runs a file.
pub fn file(args: &RunArgs) -> Result<Ended, Failure> {
    let source = Source::read(&args.file)?;
    let Some(name) = &args.durable else {
        if !args.declare.declare.is_empty() {
            return Err(Failure::Usage(anyhow!("--declare needs --durable: nobody would answer")));
        }
        return task(&source, &args.task, &args.sandbox).map(|()| Ended::Done);
    };
    let (sandbox, options) = prepare(&source, &args.task, &args.sandbox)?;
    runs::declare(&sandbox, &args.declare)?;
    let run = sandbox.start(&source.text, options.durable(name.as_str()))?;
    runs::drive(run, args.task.json, args.sandbox.raw)
}

/// Runs code from the command line.
pub fn code(args: &EvalArgs) -> Result<(), Failure> {
    let source = Source { text: args.code.as_encoded_bytes().to_vec(), chunk: "=(command line)".to_owned() };
    task(&source, &args.task, &args.sandbox)
}

fn task(source: &Source, task: &TaskArgs, settings: &SandboxArgs) -> Result<(), Failure> {
    let (sandbox, options) = prepare(source, task, settings)?;
    print(&sandbox.compute_with(&source.text, options)?, task.json, settings.raw)
}

fn prepare(source: &Source, task: &TaskArgs, settings: &SandboxArgs) -> Result<(Sandbox, ComputeOptions), Failure> {
    // Before anything runs: wrong use must not leave half a job behind.
    let input = task.input.as_deref().map(input).transpose()?;
    let printed = if task.json { Printed::ToStderr } else { Printed::ToStdout };
    let sandbox = sandbox::open(settings, printed)?;
    if let Some(input) = input {
        sandbox.set_input(input)?;
    }
    let args: Vec<Value> = task.args.iter().map(|arg| string(arg)).collect();
    Ok((sandbox, ComputeOptions::new().name(&source.chunk).args(args)))
}

/// Prints what a run gave.
pub fn print(outcome: &Outcome, as_json: bool, raw: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(&json::from_results(&outcome.values)?);
    }
    let mut bytes = Vec::new();
    for value in &outcome.values {
        bytes.extend(show::result(value));
        bytes.push(b'\n');
    }
    output::script_text(&bytes, raw)
}

/// The value of --input: JSON, or `@` and a file with JSON.
fn input(argument: &OsStr) -> anyhow::Result<Value> {
    let Some(argument) = argument.to_str() else { bail!("--input is not UTF-8") };
    match argument.strip_prefix('@') {
        Some(file) => {
            let text = File::open(file).and_then(|file| read_to_end(file, MOST_DATA));
            let text = text.with_context(|| format!("--input: cannot read {file}"))?;
            json::parse(&text).with_context(|| format!("--input: {file}"))
        }
        None => json::parse(argument.as_bytes()).context("--input"),
    }
}

/// An argument as a Lua string, byte by byte where the platform has bytes.
fn string(argument: &OsStr) -> Value {
    Value::String(LuaString::from(argument.as_encoded_bytes()))
}
