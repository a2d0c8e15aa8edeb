//! The command line program `luacell`.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]
mod args;
mod failure;
mod home;
mod json;
mod number;
mod output;
mod path;
mod repl;
mod run;
mod runs;
mod sandbox;
mod show;
mod source;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use runs::Ended;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::file(&args),
        Command::Eval(args) => run::code(&args).map(|()| Ended::Done),
        Command::Repl(args) => repl::run(&args).map(|()| Ended::Done),
        Command::Home(command) => home::run(&command).map(|()| Ended::Done),
        Command::Runs(command) => runs::run(command),
    };
    match result {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Waits) => ExitCode::from(4),
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}
