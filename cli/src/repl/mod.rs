//! `luacell repl`.

mod history;
mod input;

use std::io::{BufRead, IsTerminal, Write};
use std::rc::Rc;

use anyhow::Context;
use luacell::{ComputeOptions, Error, Outcome, Sandbox};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use crate::args::ReplArgs;
use crate::failure::{Failure, describe};
use crate::sandbox::Printed;
use crate::source::skip_first_comment;
use crate::{output, sandbox, show};
use input::{Checker, Form};

const HELP: &str = "\
Type an expression to see its value, or a statement to run it. An unfinished statement goes on in the next line.
Globals stay from one input to the next, locals don't. _home is the sandbox's kept table.
  = EXPRESSION   the same as the expression alone
  :help          this text
  :quit          leave, as does Ctrl-D; Ctrl-C drops the input, or ends what runs
";

/// Reads, runs and prints until the end of input.
pub fn run(args: &ReplArgs) -> Result<(), Failure> {
    let sandbox = Rc::new(sandbox::open(&args.sandbox, Printed::ToStdout)?);
    if !std::io::stdin().is_terminal() {
        return piped(&sandbox);
    }
    let config = Config::builder().auto_add_history(false).max_history_size(1000).context("line editor")?.build();
    let mut editor: Editor<Checker, FileHistory> =
        Editor::with_config(config).context("cannot start the line editor")?;
    editor.set_helper(Some(Checker::new(Rc::clone(&sandbox))));

    let history = history::open(&mut editor);
    output::to_stdout(
        concat!("luacell ", env!("CARGO_PKG_VERSION"), ", Lua 5.4. :help explains, Ctrl-D leaves.\n").as_bytes(),
    )?;

    loop {
        match editor.readline("> ") {
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => {
                if let Some(history) = &history {
                    history.add(&mut editor, &line);
                }
                if let Said::Quit = obey(&sandbox, &line)? {
                    return Ok(());
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => {
                return Err(Failure::Usage(anyhow::Error::new(error).context("cannot read input")));
            }
        }
    }
}

/// The same without a person: from a pipe or a file.
fn piped(sandbox: &Sandbox) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    let (mut text, mut first) = (Vec::new(), true);
    loop {
        let read = input.read_until(b'\n', &mut text).context("cannot read standard input")?;
        if std::mem::take(&mut first) {
            text = skip_first_comment(text);
        }
        let lines = std::str::from_utf8(&text).context("the input is not UTF-8")?;
        if lines.trim().is_empty() {
            text.clear();
        } else if read == 0 {
            // Lua tells what is missing.
            return Ok(evaluate(sandbox, lines).map(drop)?);
        } else if command(lines).is_some() || input::form(sandbox, lines) != Form::Unfinished {
            if let Said::Quit = obey(sandbox, lines)? {
                return Ok(());
            }
            text.clear();
        }
        if read == 0 {
            return Ok(());
        }
    }
}

enum Said {
    More,
    Quit,
}

/// Does what one input says.
fn obey(sandbox: &Sandbox, line: &str) -> Result<Said, Failure> {
    match command(line) {
        None => answer(sandbox, line)?,
        Some("help" | "h") => output::to_stdout(HELP.as_bytes())?,
        Some("quit" | "q") => return Ok(Said::Quit),
        Some(other) => output::to_stderr(format!("there is no command :{other}; :help lists them\n").as_bytes())?,
    }
    Ok(Said::More)
}

/// `:help` and the like; a Lua label starts with two colons.
fn command(line: &str) -> Option<&str> {
    let name = line.trim().strip_prefix(':')?;
    (!name.starts_with(':')).then_some(name)
}

/// Runs one input and prints what it gives.
fn answer(sandbox: &Sandbox, line: &str) -> Result<(), Failure> {
    sandbox::forget_ctrl_c();
    match evaluate(sandbox, line) {
        Ok(outcome) => {
            let mut bytes = Vec::new();
            for value in &outcome.values {
                bytes.extend(show::readable(value).into_bytes());
                bytes.push(b'\n');
            }
            output::to_stdout(&bytes)
        }
        Err(error) => {
            // Both streams share the terminal: keep their order.
            let _ = std::io::stdout().flush();
            output::to_stderr(describe(&error).as_bytes())
        }
    }
}

fn evaluate(sandbox: &Sandbox, line: &str) -> Result<Outcome, Error> {
    let source = match input::form(sandbox, line) {
        Form::Expression(source) => source,
        Form::Statement | Form::Unfinished => line.to_owned(),
    };
    sandbox.compute_with(source, ComputeOptions::new().name(input::CHUNK))
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn commands_are_told_from_labels() {
        assert_eq!(command(" :help "), Some("help"));
        assert_eq!(command("::again::"), None);
        assert_eq!(command("f()"), None);
    }
}
