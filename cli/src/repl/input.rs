//! What the user has typed: an expression, a statement, or the beginning of something.

use std::rc::Rc;

use luacell::{ComputeOptions, ErrorKind, Sandbox};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Helper, Result};

/// The chunk name, as in the standalone Lua interpreter.
pub const CHUNK: &str = "=stdin";

/// How an input is to be run.
#[derive(Debug, PartialEq)]
pub enum Form {
    /// As this source, which returns its value.
    Expression(String),
    /// As it is (also when it is wrong, for Lua's own message).
    Statement,
    /// Not yet: more has to come.
    Unfinished,
}

/// Finds out by asking Lua's parser.
pub fn form(sandbox: &Sandbox, text: &str) -> Form {
    // `= x`, an old habit of Lua users.
    let (text, explicit) = match text.trim_start().strip_prefix('=') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let expression = format!("return {text}");
    let as_expression = parse(sandbox, &expression);
    if as_expression == Parsed::Valid || explicit && as_expression == Parsed::Invalid {
        return Form::Expression(expression);
    }
    match parse(sandbox, text) {
        Parsed::Valid if !explicit => Form::Statement,
        parsed if parsed == Parsed::Unfinished || as_expression == Parsed::Unfinished => Form::Unfinished,
        _ => Form::Statement,
    }
}

#[derive(Debug, PartialEq)]
enum Parsed {
    Valid,
    Unfinished,
    Invalid,
}

/// Parses without running: the chunk leaves before its first statement.
fn parse(sandbox: &Sandbox, source: &str) -> Parsed {
    let guarded = format!("do return end {source}");
    match sandbox.compute_with(guarded, ComputeOptions::new().name(CHUNK)) {
        Err(error) if error.kind() == ErrorKind::Syntax => {
            if error.message().ends_with("<eof>") {
                Parsed::Unfinished
            } else {
                Parsed::Invalid
            }
        }
        _ => Parsed::Valid,
    }
}

/// Tells the line editor whether Enter ends the input or starts another line.
pub struct Checker(Rc<Sandbox>);

impl Checker {
    pub fn new(sandbox: Rc<Sandbox>) -> Self {
        Self(sandbox)
    }
}

impl Validator for Checker {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        let text = context.input();
        if super::command(text).is_some() {
            return Ok(ValidationResult::Valid(None));
        }
        Ok(match form(&self.0, text) {
            Form::Unfinished => ValidationResult::Incomplete,
            Form::Expression(_) | Form::Statement => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Checker {
    type Candidate = String;
}

impl Hinter for Checker {
    type Hint = String;
}

impl Highlighter for Checker {}

impl Helper for Checker {}
