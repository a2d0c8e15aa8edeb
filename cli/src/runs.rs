//! `luacell runs`, and runs with a name: they wait in a kept `_home`, and each answer is a command of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use luacell::{Error, Request, Run, Sandbox, Value};

use crate::args::{DeclareArgs, PendingRunArgs, RunsCommand, SandboxArgs, StoreArgs};
use crate::failure::Failure;
use crate::home::Use;
use crate::sandbox::Printed;
use crate::{home, json, output, run, sandbox};

/// What has become of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// For answers that come with another command.
    Waits,
}

/// The function that `task.sleep` calls.
const SLEEP: &str = "task.sleep";

/// Runs one of the commands.
pub fn run(command: RunsCommand) -> Result<Ended, Failure> {
    match command {
        RunsCommand::List { store } => {
            for pending in home::open(&store, Use::Look)?.pending_runs()? {
                output::json(&json::from_results(&[pending.name.into()])?)?;
            }
        }
        RunsCommand::Show(PendingRunArgs { store, name }) => {
            let sandbox = home::open(&StoreArgs { home: store }, Use::Look)?;
            print_requests(&sandbox.look_at_pending_run(&name)?)?;
        }
        RunsCommand::Resume { run, answer, fail, declare, json, sandbox } => {
            let answers = answer.iter().map(|answer| {
                let (id, text) = split(answer, "--answer")?;
                Ok((id, Ok(json::parse(text.as_bytes()).context("--answer")?)))
            });
            let failures = fail.iter().map(|fail| {
                let (id, message) = split(fail, "--fail")?;
                Ok((id, Err(Error::host(message))))
            });
            let answers = answers.chain(failures).collect::<anyhow::Result<Vec<_>>>()?;
            return resume(run, answers, &declare, json, sandbox);
        }
        RunsCommand::Drop(PendingRunArgs { store, name }) => {
            if !home::open(&StoreArgs { home: store }, Use::Change)?.drop_pending_run(&name)? {
                return Err(Failure::Usage(anyhow!("no run {name:?} waits there")));
            }
        }
    }
    Ok(Ended::Done)
}

fn split<'a>(argument: &'a str, option: &str) -> anyhow::Result<(u64, &'a str)> {
    let (id, rest) = argument.split_once('=').with_context(|| format!("{option}: there is no = in {argument:?}"))?;
    let id = id.trim().parse().with_context(|| format!("{option}: {id:?} is no id of a request"))?;
    Ok((id, rest))
}

fn resume(
    PendingRunArgs { store, name }: PendingRunArgs,
    answers: Vec<(u64, Result<Value, Error>)>,
    declared: &DeclareArgs,
    as_json: bool,
    settings: SandboxArgs,
) -> Result<Ended, Failure> {
    if settings.home.is_some() {
        return Err(Failure::Usage(anyhow!("the run's HOME is named already, without --home")));
    }
    let settings = SandboxArgs { home: Some(store), ..settings };
    let printed = if as_json { Printed::ToStderr } else { Printed::ToStdout };
    let sandbox = sandbox::open_with(&settings, printed, Use::Change)?;
    declare(&sandbox, declared)?;
    let mut run = sandbox.resume(&name)?;
    // What it has called once it will call again.
    for request in run.requests()?.iter().filter(|request| &*request.name != SLEEP) {
        sandbox.declare(&request.name)?;
    }
    for (id, answer) in answers {
        match answer {
            Ok(value) => run.answer(id, value)?,
            Err(error) => run.fail(id, error)?,
        }
    }
    run.resume()?;
    drive(run, as_json, settings.raw)
}

/// Makes these functions answered later.
pub fn declare(sandbox: &Sandbox, args: &DeclareArgs) -> Result<(), Failure> {
    Ok(args.declare.iter().try_for_each(|name| sandbox.declare(name))?)
}

/// Prints what the run gave, or what it waits for. A run that only sleeps goes on by itself.
pub fn drive(mut run: Run, as_json: bool, raw: bool) -> Result<Ended, Failure> {
    // Tasks sleep side by side: each from when it asked.
    let mut asked = HashMap::new();
    while run.is_waiting() {
        let requests = run.requests()?;
        let now = Instant::now();
        if requests.iter().any(|request| &*request.name != SLEEP) {
            print_requests(&requests)?;
            return Ok(Ended::Waits);
        }
        let left = requests.iter().map(|request| {
            let slept = now.duration_since(*asked.entry(request.id).or_insert(now));
            (duration(request).saturating_sub(slept), request.id)
        });
        let Some((left, id)) = left.min() else { return Ok(Ended::Waits) };
        sandbox::sleep(left);
        run.answer(id, ())?;
        run.resume()?;
    }
    run::print(&run.into_result()?, as_json, raw)?;
    Ok(Ended::Done)
}

fn duration(request: &Request) -> Duration {
    let seconds = request.args.first().and_then(Value::as_number).unwrap_or_default().max(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn print_requests(requests: &[Request]) -> Result<(), Failure> {
    for Request { id, name, args, .. } in requests {
        let name = json::from_results(&[(&**name).into()])?;
        let args: Result<Vec<_>, _> = args.iter().map(|arg| json::from_results(std::slice::from_ref(arg))).collect();
        // It waits all the same, and so do the others: an answer needs the id.
        let args = match args {
            Ok(args) => format!(r#""args": [{}]"#, args.join(", ")),
            Err(error) => {
                let error = json::from_results(&[error.to_string().into()])?;
                format!(r#""args": null, "error": {error}"#)
            }
        };
        output::json(&format!(r#"{{"id": {id}, "name": {name}, {args}}}"#))?;
    }
    Ok(())
}
