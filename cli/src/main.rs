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
mod sandbox;
mod show;
mod source;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::file(&args),
        Command::Eval(args) => run::code(&args),
        Command::Repl(args) => repl::run(&args),
        Command::Home(command) => home::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.exit_code()
        }
    }
}
