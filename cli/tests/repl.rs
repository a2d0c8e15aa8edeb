//! The interactive program in a terminal of its own.

#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use rexpect::session::{PtySession, spawn_command};
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing waits this long unless it fails.
const TIMEOUT: Option<u64> = Some(60_000);

fn command(home: &TempDir) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("luacell"));
    command.arg("repl").env("XDG_STATE_HOME", home.path()).env("TERM", "xterm");
    command
}

fn start(home: &TempDir) -> PtySession {
    let mut session = spawn_command(command(home), TIMEOUT).unwrap();
    session.exp_string("Ctrl-D leaves.").unwrap();
    session.exp_string("> ").unwrap();
    session
}

/// Call it after the last result was seen: what comes next is a prompt. Before that the terminal itself would take
/// Ctrl-D.
fn leave(mut session: PtySession) {
    session.exp_string("> ").unwrap();
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn expressions_statements_and_globals() {
    let home = TempDir::new().unwrap();
    let mut session = start(&home);
    session.send_line("1 + 41").unwrap();
    session.exp_string("\r\n42\r\n").unwrap();
    session.send_line("x = 'kept'").unwrap();
    session.send_line("x, #x").unwrap();
    session.exp_string("\r\n\"kept\"\r\n4\r\n").unwrap();
    session.send_line("= {x, n = 1}").unwrap();
    session.exp_string("{\"kept\", n = 1}").unwrap();
    session.send_line("print('out') return 7").unwrap();
    session.exp_string("\r\nout\r\n7\r\n").unwrap();
    leave(session);
}

#[test]
fn unfinished_input_goes_on() {
    let home = TempDir::new().unwrap();
    let mut session = start(&home);
    session.send_line("for i = 1, 2 do").unwrap();
    session.send_line("print('turn ' .. i)").unwrap();
    session.send_line("end").unwrap();
    session.exp_string("\r\nturn 1\r\nturn 2\r\n").unwrap();
    session.send_line("40 +").unwrap();
    session.send_line("2").unwrap();
    session.exp_string("\r\n42\r\n").unwrap();
    leave(session);
}

#[test]
fn errors_are_told_and_the_session_goes_on() {
    let home = TempDir::new().unwrap();
    let mut session = start(&home);
    session.send_line("error('no')").unwrap();
    session.exp_string("stdin:1: no").unwrap();
    session.exp_string("stack traceback:").unwrap();
    session.send_line("x y").unwrap();
    session.exp_string("stdin:1: syntax error near 'y'").unwrap();
    session.send_line("6 * 7").unwrap();
    session.exp_string("\r\n42\r\n").unwrap();
    leave(session);
}

#[test]
fn control_c_drops_the_input() {
    let home = TempDir::new().unwrap();
    let mut session = start(&home);
    session.send_line("function unfinished(").unwrap();
    session.send("nonsense").unwrap();
    session.flush().unwrap();
    session.exp_string("nonsense").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("> ").unwrap();
    session.send_line("5 * 5").unwrap();
    session.exp_string("\r\n25\r\n").unwrap();
    leave(session);
}

#[test]
fn commands() {
    let home = TempDir::new().unwrap();
    let mut session = start(&home);
    session.send_line(":help").unwrap();
    session.exp_string(":quit").unwrap();
    session.send_line(":nonsense").unwrap();
    session.exp_string("there is no command :nonsense").unwrap();
    session.send_line(":quit").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn history_is_kept_between_sessions() {
    let home = TempDir::new().unwrap();
    let mut session = start(&home);
    session.send_line("1000 + 234").unwrap();
    session.exp_string("\r\n1234\r\n").unwrap();
    leave(session);

    let mut session = start(&home);
    // Arrow up, Enter.
    session.send("\u{1b}[A\r").unwrap();
    session.flush().unwrap();
    session.exp_string("\r\n1234\r\n").unwrap();
    leave(session);
    assert!(home.path().join("luacell").join("history").exists());
}

#[test]
fn piped_input_needs_no_terminal_and_leaves_no_history() {
    let home = TempDir::new().unwrap();
    let mut command = assert_cmd::Command::from_std(command(&home));
    command.write_stdin("x = 20\nx + 1\nif x then\n  print('yes')\nend\nerror('no')\nx + 2\n");
    let output = command.assert().success().get_output().clone();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "21\nyes\n22\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("stdin:1: no\n"));
    assert!(!home.path().join("luacell").exists());
}
