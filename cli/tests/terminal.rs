//! What a terminal gets to see of a script's text.

#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use rexpect::session::spawn_command;

/// Long enough for a loaded machine; nothing waits this long unless it fails.
const TIMEOUT: Option<u64> = Some(60_000);

/// All that the program writes to a terminal of its own.
fn on_terminal(args: &[&str]) -> String {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("luacell"));
    command.args(args).env("TERM", "xterm");
    let text = spawn_command(command, TIMEOUT).unwrap().exp_eof().unwrap();
    // rexpect makes a character of each byte.
    String::from_utf8(text.chars().map(|c| u8::try_from(c).unwrap()).collect()).unwrap()
}

fn shows(args: &[&str], expected: &str) {
    assert_eq!(on_terminal(args), expected, "{args:?}");
}

#[test]
fn hidden_characters_are_escaped() {
    let text = r"'a\27[31mb\155\u{9b}\u{202e}\rc\tünï'";
    let shown = "a\\x1b[31mb\\x9b\\u{9b}\\u{202e}\\x0dc\tünï\r\n";
    shows(&["eval", &format!("return {text}")], shown);
    shows(&["eval", &format!("print({text})")], shown);
    shows(&["eval", "--json", &format!("print({text})")], &format!("{shown}null\r\n"));
    shows(&["eval", "--json", r"return 'a\u{9b}\u{202e}ü'"], "\"a\\u009b\\u202eü\"\r\n");
    shows(&["eval", r"return {['\u{202e}'] = '\27'}"], "{[\"\\u{202e}\"] = \"\\x1b\"}\r\n");
    assert!(on_terminal(&["eval", r"error('\27[31m')"]).contains(r": \x1b[31m"));
}

#[test]
fn raw_text_is_for_those_who_ask_for_it() {
    shows(&["eval", "--raw", r"print('\27[31mred') return '\27[0m'"], "\u{1b}[31mred\r\n\u{1b}[0m\r\n");
    // An error is nobody's wish.
    assert!(on_terminal(&["eval", "--raw", r"error('\27[31m')"]).contains(r": \x1b[31m"));
}

#[test]
fn keys_of_home_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.luacell");
    let file = file.to_str().unwrap();
    shows(&["eval", r"_home['\27]0;title\7'] = '\u{9b}2J'", "--home", file], "");
    shows(&["home", "keys", file], "[\"\\x1b]0;title\\x07\"]\r\n");
    shows(&["home", "dump", "--json", file], "{\"\\u001b]0;title\\u0007\":\"\\u009b2J\"}\r\n");
    shows(&["home", "get", file, "\u{1b}]0;title\u{7}"], "\"\\u009b2J\"\r\n");
}
