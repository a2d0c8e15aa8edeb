//! The program as its users see it: arguments in, output, errors and exit status out.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::{contains, starts_with};
use tempfile::TempDir;

fn luacell(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("luacell").unwrap();
    command.args(args).timeout(Duration::from_secs(60));
    command
}

fn script(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn eval(code: &str, expected: &'static str) {
    luacell(&["eval", code]).assert().success().stdout(expected).stderr("");
}

#[test]
fn results_are_printed_one_per_line() {
    eval("return 1+1", "2\n");
    eval("return 3, 3.0, 'text', true, nil", "3\n3.0\ntext\ntrue\nnil\n");
    eval("local nothing", "");
    eval("", "");
    eval(
        "return 1e15, 0.1, 1/0, -1/0, 2^53, math.mininteger",
        "1e+15\n0.1\ninf\n-inf\n9.007199254741e+15\n-9223372036854775808\n",
    );
}

#[test]
fn strings_are_raw_as_results_and_quoted_in_tables() {
    eval(r#"return 'a"b\n'"#, "a\"b\n\n");
    luacell(&["eval", r"return '\xff\0'"]).assert().success().stdout(&b"\xff\0\n"[..]);
    eval(r#"return {'a"b\n', '\xff\0', 'é'}"#, "{\"a\\\"b\\n\", \"\\xff\\x00\", \"é\"}\n");
}

#[test]
fn tables_are_readable() {
    eval("return {}", "{}\n");
    eval("return {1, {2, {3}}}", "{1, {2, {3}}}\n");
    eval(
        "return {b = 2, a = 1, [10] = 'ten', ['end'] = 0, ['x y'] = 1, [true] = 0, [0.5] = 0}",
        "{[0.5] = 0, [10] = \"ten\", a = 1, b = 2, [\"end\"] = 0, [\"x y\"] = 1, [true] = 0}\n",
    );
    eval(
        "return {name = ('x'):rep(50), list = {('y'):rep(40), 2}}",
        "{\n  list = {\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\", 2},\n  \
         name = \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",\n}\n",
    );
    eval("return {print, function() end}", "{<function>, <function>}\n");
}

#[test]
fn tables_that_occur_again_are_marked() {
    eval("local t = {1} t.self = t return t", "<1>{1, self = <table 1>}\n");
    eval("local s = {'s'} return {s, s}", "{\n  <1>{\"s\"},\n  <table 1>,\n}\n");
    // Each level twice: written out in full this would be 2^60 lines.
    luacell(&["eval", "local t = {} for _ = 1, 60 do t = {t, t} end return t"])
        .assert()
        .success()
        .stdout(contains("<table 60>"));
}

#[test]
fn deep_tables_do_not_exhaust_the_stack() {
    let deep = "local t = {} for _ = 1, 100000 do t = {t} end return t";
    luacell(&["eval", deep]).assert().success().stdout(contains("{...}"));
    luacell(&["eval", "--json", deep]).assert().code(1).stdout("").stderr(contains("nested this deeply"));
}

#[test]
fn deep_keys_do_not_exhaust_the_stack() {
    let deep = |what: &str| format!("local t = {{}} for _ = 1, 300000 do t = {what} end ");
    for what in ["{[t] = 1}", "{[t] = t}", "{[{t}] = 1}", "{{[t] = 1}, n = {[t] = 2}}"] {
        luacell(&["eval", &(deep(what) + "return t")]).assert().success().stdout(contains("{...}"));
        luacell(&["eval", &(deep(what) + "error(t)")]).assert().code(1).stderr(contains("error value: "));
        luacell(&["eval", "--json", &(deep(what) + "return t")]).assert().code(1).stdout("").stderr(contains("JSON"));
        let mut repl = luacell(&["repl"]);
        let input = format!("{}x = t\nx\nerror(x)\n6 * 7\n", deep(what));
        repl.env_remove("HOME").env_remove("XDG_STATE_HOME").write_stdin(input);
        repl.assert().success().stdout(contains("{...}").and(predicates::str::ends_with("42\n")));
    }
}

#[test]
fn tables_as_keys_are_shown_while_they_have_room() {
    eval("return {[{1}] = 2}", "{[{1}] = 2}\n");
    eval("return {[{[{[{}] = 1}] = 2}] = 3}", "{[{[{[{}] = 1}] = 2}] = 3}\n");
    eval("return {[{('x'):rep(80)}] = 2}", "{[{...}] = 2}\n");
}

#[test]
fn kept_tables_are_shown_with_their_content() {
    eval("_home.x = {1, 2} return _home", "{x = {1, 2}}\n");
    eval("_home.me = _home return _home", "<1>{me = <table 1>}\n");
    eval("_home.x = {'x'} return {_home.x, _home.x, _home}", "{\n  <1>{\"x\"},\n  <table 1>,\n  {x = <table 1>},\n}\n");
}

#[test]
fn views_of_one_chain_are_not_copied_each() {
    // Written out, each of them would hold all that come after it.
    let code =
        "local all, t = {}, _home for i = 1, 3000 do t.next = {('x'):rep(500)} t = t.next all[i] = t end return all";
    let assert = luacell(&["eval", "--timeout", "60s", code]).assert().success();
    assert!(assert.get_output().stdout.len() < 10 << 20, "{} bytes", assert.get_output().stdout.len());
}

#[test]
fn printed_text_comes_first() {
    eval("print('a', 1) return 2", "a\t1\n2\n");
    luacell(&["eval", "print('before') error('no')"]).assert().code(1).stdout("before\n").stderr(contains("no"));
}

#[test]
fn json_is_one_value_and_nothing_else() {
    let json = |code: &str, expected: &'static str| {
        luacell(&["eval", "--json", code]).assert().success().stdout(expected).stderr("");
    };
    json("return 1", "1\n");
    json("return", "null\n");
    json("return 1, 2.0, 'x', nil", "[1,2.0,\"x\",null]\n");
    json("return {1, {a = true}}", "[1,{\"a\":true}]\n");
    json("return {}", "{}\n");
    json("_home.list = {1, 2} return _home", "{\"list\":[1,2]}\n");
    luacell(&["eval", "--json", "print('log') return 1"]).assert().success().stdout("1\n").stderr("log\n");
}

#[test]
fn what_json_cannot_hold_is_an_error_with_its_place() {
    let fails = |code: &str, message: &'static str| {
        luacell(&["eval", "--json", code]).assert().code(1).stdout("").stderr(contains(message));
    };
    fails("return 1, {a = {print}}", "a function can't be written as JSON (value.a[1])");
    fails("return 0/0", "a float that is not finite can't be written as JSON");
    fails("return {x = '\\xff'}", "a string that is not UTF-8 can't be written as JSON (value.x)");
    fails("local t = {} t.t = t return t", "a cycle can't be written as JSON");
}

#[test]
fn errors_name_chunk_line_and_traceback() {
    let folder = TempDir::new().unwrap();
    let file = script(&folder, "bad.lua", "local function f()\n  error('no')\nend\nf()\n");
    luacell(&["run", file.to_str().unwrap()])
        .assert()
        .code(1)
        .stdout("")
        .stderr(starts_with("luacell: ").and(contains("bad.lua:2: no\nstack traceback:\n\t")));
    luacell(&["eval", "x.y = 1"]).assert().code(1).stderr(starts_with(
        "luacell: (command line):1: attempt to index a nil value (global 'x')\nstack traceback:\n",
    ));
    luacell(&["eval", "return 1 +"])
        .assert()
        .code(1)
        .stderr(starts_with("luacell: (command line):1: unexpected symbol near <eof>\n"));
    luacell(&["eval", "error({code = 7})"]).assert().code(1).stderr(contains("error value: {code = 7}\n"));
}

/// What a terminal obeys, or does not show.
const HOSTILE: &str = r"a\27[31mb\r\155c\u{9b}d\u{202e}e\u{2066}f\u{200b}g";

fn is_harmless(text: &[u8]) -> bool {
    let text = std::str::from_utf8(text).unwrap();
    text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control() && !"\u{202e}\u{2066}\u{200b}".contains(c))
}

#[test]
fn text_of_scripts_is_escaped_in_errors_and_tables() {
    for code in [
        format!("error('{HOSTILE}')"),
        format!("error({{['{HOSTILE}'] = '{HOSTILE}'}})"),
        format!("error(setmetatable({{}}, {{__tostring = function() return '{HOSTILE}' end}}))"),
        format!("load('error()', '={HOSTILE}')()"),
        format!("load('error()', '@{HOSTILE}')()"),
        format!("load('x = = 1 {HOSTILE}', '{HOSTILE}')()"),
        format!("local f <close> = setmetatable({{}}, {{__close = function() error('{HOSTILE}') end}})"),
        format!("require '{HOSTILE}'"),
        format!("_ENV['{HOSTILE}']()"),
        format!("local t = {{}} t['{HOSTILE}'] = function() error('x') end t['{HOSTILE}']()"),
        format!("return _home['{HOSTILE}'].x"),
        format!("_home['{HOSTILE}'] = coroutine.create(print)"),
        format!("string.format('%{HOSTILE}')"),
        format!("string.pack('{HOSTILE}')"),
    ] {
        let output = luacell(&["eval", &code]).assert().code(1).get_output().clone();
        assert!(is_harmless(&output.stderr), "{code}: {:?}", String::from_utf8_lossy(&output.stderr));
    }
    let output =
        luacell(&["eval", &format!("return {{['{HOSTILE}'] = '{HOSTILE}'}}")]).assert().success().get_output().clone();
    assert!(is_harmless(&output.stdout), "{:?}", String::from_utf8_lossy(&output.stdout));
    luacell(&["eval", r"error('\27[31mred')"]).assert().code(1).stderr(contains(r": \x1b[31mred"));
    let mut repl = luacell(&["repl"]);
    repl.env_remove("HOME").env_remove("XDG_STATE_HOME");
    let input = format!("{{['{HOSTILE}'] = '{HOSTILE}'}}\n'{HOSTILE}'\nerror('{HOSTILE}')\n");
    let output = repl.write_stdin(input).assert().success().get_output().clone();
    assert!(is_harmless(&output.stdout) && is_harmless(&output.stderr), "{output:?}");
}

#[test]
fn files_and_pipes_get_all_bytes() {
    let bytes = b"a\x1b[31mb\r\x9bc\xc2\x9bd\xe2\x80\xae\n";
    let code = r"local s = 'a\27[31mb\r\155c\u{9b}d\u{202e}'";
    luacell(&["eval", &format!("{code} print(s)")]).assert().success().stdout(&bytes[..]);
    luacell(&["eval", &format!("{code} return s")]).assert().success().stdout(&bytes[..]);
    luacell(&["eval", "--json", &format!("{code} print(s)")]).assert().success().stderr(&bytes[..]).stdout("null\n");
}

#[test]
fn a_limit_has_its_own_status() {
    luacell(&["eval", "--memory", "2M", "return #('x'):rep(50000000)"])
        .assert()
        .code(3)
        .stdout("")
        .stderr(contains("not enough memory"));
}

#[test]
fn limits_end_scripts() {
    for (option, value, message) in
        [("--timeout", "50ms", "time limit reached"), ("--instructions", "100000", "instruction limit reached")]
    {
        luacell(&["eval", option, value, "while true do pcall(function() while true do end end) end"])
            .assert()
            .code(3)
            .stdout("")
            .stderr(contains(message));
    }
    luacell(&["eval", "--timeout", "1m", "--instructions", "1000000", "return 1"]).assert().success().stdout("1\n");
}

#[test]
fn modules_come_from_folders() {
    let folder = TempDir::new().unwrap();
    script(&folder, "greet.lua", "return function(name) return 'hello ' .. name end");
    let path = folder.path().to_str().unwrap();
    luacell(&["eval", "--module-path", path, "return require 'greet' 'you'"]).assert().success().stdout("hello you\n");
    luacell(&["eval", "--module-path", "nowhere", "--module-path", path, "return require 'missing'"])
        .assert()
        .code(1)
        .stderr(contains("no file 'missing.lua'"));
    luacell(&["eval", "return require('bigint').new(2):pow(100):tostring()"])
        .assert()
        .success()
        .stdout("1267650600228229401496703205376\n");
}

#[test]
fn a_seed_makes_runs_repeatable() {
    let run = |seed| {
        let code = "return math.random(0), os.time(), tostring({})";
        luacell(&["eval", "--seed", seed, code]).assert().success().get_output().stdout.clone()
    };
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_script() {
    let folder = TempDir::new().unwrap();
    // The store has it, from the first wait on.
    let source = "local task = require 'task' task.sleep(0) print('going') task.sleep(1e9)";
    let file = script(&folder, "sleep.lua", source);
    let (file, home) = (file.to_str().unwrap(), folder.path().join("home"));
    let home = home.to_str().unwrap();
    for args in [
        &["eval", "print('going') while true do pcall(function() while true do end end) end"][..],
        &["run", file],
        &["run", file, "--durable", "sleeps", "--home", home],
    ] {
        interrupted(args);
    }
    // That is not its end.
    luacell(&["runs", "list", home]).assert().success().stdout("\"sleeps\"\n");
}

/// Runs something that prints `going` and does not end by itself.
#[cfg(unix)]
fn interrupted(args: &[&str]) {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("luacell"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // What is printed comes out at once.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "going\n");
    let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{args:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"), "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_has_no_end_is_not_read_to_it() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("home");
    let home = home.to_str().unwrap();
    luacell(&["run", "/dev/zero"]).assert().code(2).stderr(contains("more than 67108864 bytes"));
    luacell(&["home", "load", home, "/dev/zero"]).assert().code(2).stderr(contains("its first bytes are wrong"));
    let blob = folder.path().join("blob");
    luacell(&["home", "set", home, "a", "1"]).assert().success();
    luacell(&["home", "dump", home, blob.to_str().unwrap()]).assert().success();
    let mut bytes = std::fs::read(&blob).unwrap();
    luacell(&["home", "load", home]).write_stdin(bytes.clone()).assert().success();
    bytes.push(0);
    luacell(&["home", "load", home]).write_stdin(bytes).assert().code(2).stderr(contains("cut off"));
}

#[test]
fn scripts_get_arguments_and_input() {
    let folder = TempDir::new().unwrap();
    let file = script(&folder, "args.lua", "return select('#', ...), ...");
    let file = file.to_str().unwrap();
    luacell(&["run", file]).assert().success().stdout("0\n");
    luacell(&["run", file, "--", "a", "", "--json", "é"]).assert().success().stdout("4\na\n\n--json\né\n");
    luacell(&["eval", "return ...", "--", "x"]).assert().success().stdout("x\n");

    let input = r#"{"list": [1, 2.0, null, "x"], "deep": {"ok": true}}"#;
    let code = "local i = _io.input return i.list[1], i.list[2], i.list[3], i.list[4], i.deep.ok";
    luacell(&["eval", code, "--input", input]).assert().success().stdout("1\n2.0\nnil\nx\ntrue\n");
    let data = script(&folder, "data.json", input);
    let at = format!("@{}", data.display());
    luacell(&["eval", code, "--input", &at]).assert().success().stdout("1\n2.0\nnil\nx\ntrue\n");
}

#[cfg(unix)]
#[test]
fn arguments_and_code_are_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    luacell(&["eval", "return #..., (...):byte()", "--"])
        .arg(OsStr::from_bytes(b"\xff"))
        .assert()
        .success()
        .stdout("1\n255\n");
    luacell(&["eval"]).arg(OsStr::from_bytes(b"return ('\xff'):byte()")).assert().success().stdout("255\n");
}

#[test]
fn a_first_line_for_unix_is_skipped_and_counted() {
    let folder = TempDir::new().unwrap();
    let file = script(&folder, "shebang.lua", "#!/usr/bin/env -S luacell run\nerror('here')");
    luacell(&["run", file.to_str().unwrap()]).assert().code(1).stderr(contains("shebang.lua:2: here"));
}

#[test]
fn a_dash_is_standard_input() {
    luacell(&["run", "-"]).write_stdin("return 6 * 7").assert().success().stdout("42\n");
    luacell(&["run", "-"]).write_stdin("\nerror('no')").assert().code(1).stderr(starts_with("luacell: stdin:2: no\n"));
    luacell(&["run", "-"]).write_stdin("").assert().success().stdout("");
}

#[test]
fn sources_and_results_may_be_large() {
    let large = format!("return #'{}', ('ab'):rep(500000)", "x".repeat(300_000));
    let expected = format!("300000\n{}\n", "ab".repeat(500_000));
    luacell(&["run", "-"]).write_stdin(large).assert().success().stdout(expected);
}

#[test]
fn wrong_use_is_status_2_and_runs_nothing() {
    for args in [
        &["run", "no-such-file.lua"][..],
        &["run"],
        &["eval"],
        &["eval", "print('ran')", "--input", "{oops"],
        &["eval", "print('ran')", "--input", "@no-such-file.json"],
        &["eval", "print('ran')", "--memory", "much"],
        &["eval", "print('ran')", "--no-such-option"],
        &["eval", "print('ran')", "argument without dashes"],
        &["no-such-command"],
        &[],
    ] {
        luacell(args).assert().code(2).stdout("").stderr(predicate::str::is_empty().not());
    }
    luacell(&["run", "no-such-file.lua"]).assert().stderr(starts_with("luacell: cannot read no-such-file.lua: "));
}

#[test]
fn version_and_help() {
    luacell(&["--version"]).assert().success().stdout(concat!("luacell ", env!("CARGO_PKG_VERSION"), "\n"));
    luacell(&["help", "run"]).assert().success().stdout(contains("--input"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("luacell"))
        .args(["eval", "return ('x'):rep(3000000)"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Some bytes are read, then the pipe is closed with most of the text unwritten.
    let mut start = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

const ORDER: &str = "
    local task = require 'task'
    local article = ...
    print('order', article)
    local price, stock = task.all(function() return ask('price', article) end, function() return ask('stock') end)
    task.sleep(0.001)
    _home.total = price * stock
    local ok, why = pcall(pay, {total = _home.total})
    return _home.total, ok, why";

#[test]
fn a_durable_run_is_answered_by_other_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (script, file) = (script(&folder, "order.lua", ORDER), folder.path().join("state.luacell"));
    let (script, file) = (script.to_str().unwrap(), file.to_str().unwrap());
    let price = "{\"id\": 1, \"name\": \"ask\", \"args\": [\"price\", \"tea\"]}\n";
    let stock = "{\"id\": 2, \"name\": \"ask\", \"args\": [\"stock\"]}\n";
    let run = ["run", script, "--durable", "order 17", "--home", file, "--declare", "ask", "--", "tea"];
    luacell(&run).assert().code(4).stdout(format!("order\ttea\n{price}{stock}"));
    luacell(&run).assert().code(2).stderr(contains("resume it"));
    luacell(&["runs", "list", file]).assert().success().stdout("\"order 17\"\n");
    luacell(&["runs", "show", file, "order 17"]).assert().success().stdout(format!("{price}{stock}"));
    let resume = |rest: &[&str]| luacell(&[&["runs", "resume", file, "order 17"], rest].concat());
    resume(&["--answer", "2=10"]).assert().code(4).stdout(price);
    resume(&["--answer", "2=10"]).assert().code(2).stderr(contains("no open request 2"));
    for wrong in [["--answer", "10"], ["--answer", "x=10"], ["--answer", "1=x"], ["--home", file]] {
        resume(&wrong).assert().code(2);
    }
    let pay = "{\"id\": 4, \"name\": \"pay\", \"args\": [{\"total\":35.0}]}\n";
    resume(&["--answer", "1=3.5", "--declare", "pay"]).assert().code(4).stdout(pay);
    resume(&["--fail", "4=no money", "--json"]).assert().success().stdout("[35.0,false,\"no money\"]\n");
    luacell(&["runs", "list", file]).assert().success().stdout("");
    luacell(&["runs", "show", file, "order 17"]).assert().code(2).stderr(contains("waits in the store"));
    luacell(&["home", "get", file, "total"]).assert().success().stdout("35.0\n");
}

#[test]
fn what_is_no_json_is_waited_for_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let source =
        "local t = require 'task' return t.all(function() return ask(print) end, function() return ask(2) end)";
    let (script, file) = (script(&folder, "x.lua", source), folder.path().join("state.luacell"));
    let (script, file) = (script.to_str().unwrap(), file.to_str().unwrap());
    let first =
        "{\"id\": 1, \"name\": \"ask\", \"args\": null, \"error\": \"a function can't be written as JSON (value)\"}\n";
    let both = format!("{first}{{\"id\": 2, \"name\": \"ask\", \"args\": [2]}}\n");
    let run = ["run", script, "--durable", "r", "--home", file, "--declare", "ask"];
    luacell(&run).assert().code(4).stdout(both.clone());
    luacell(&["runs", "show", file, "r"]).assert().success().stdout(both);
    let resume = ["runs", "resume", file, "r", "--answer", "1=1", "--answer", "2=2", "--json"];
    luacell(&resume).assert().success().stdout("[1,2]\n");
}

#[test]
fn tasks_of_a_durable_run_sleep_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let source = "local t = require 'task'
        local all = {} for i = 1, 40 do all[i] = i end
        t.each(all, function() t.sleep(0.5) end)";
    let (script, file) = (script(&folder, "x.lua", source), folder.path().join("state.luacell"));
    let begun = std::time::Instant::now();
    luacell(&["run", script.to_str().unwrap(), "--durable", "r", "--home", file.to_str().unwrap()]).assert().success();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(10), "one after another: {took:?}");
}

#[test]
fn durable_runs_are_dropped_and_fail() {
    let folder = tempfile::tempdir().unwrap();
    let (script, file) =
        (script(&folder, "x.lua", "_home.n = 1 ask() error('no')"), folder.path().join("state.luacell"));
    let (script, file) = (script.to_str().unwrap(), file.to_str().unwrap());
    let run = ["run", script, "--durable", "r", "--home", file, "--declare", "ask"];
    luacell(&run).assert().code(4);
    luacell(&["runs", "drop", file, "r"]).assert().success();
    luacell(&["runs", "drop", file, "r"]).assert().code(2);
    luacell(&run).assert().code(4);
    luacell(&["runs", "resume", file, "r", "--answer", "1=null"]).assert().code(1).stderr(contains("no"));
    luacell(&["runs", "list", file]).assert().success().stdout("");
    luacell(&["run", script, "--declare", "ask"]).assert().code(2).stderr(contains("--durable"));
    luacell(&["run", script, "--durable", "r"]).assert().code(2).stderr(contains("--home"));
    luacell(&["runs", "list", "nowhere.luacell"]).assert().code(2);
}

#[test]
fn runs_are_looked_for_without_making_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no where.luacell");
    let url = format!("file://{}", file.to_str().unwrap().replace(' ', "%20"));
    for home in [file.to_str().unwrap(), &url, &format!("{url}?read_only=false")] {
        let commands = [&["runs", "show", home, "r"][..], &["runs", "drop", home, "r"], &["runs", "resume", home, "r"]];
        let looks = [&["runs", "list", home][..], &["home", "dump", home], &["home", "get", home, "x"]];
        for command in commands.iter().chain(&looks).chain(&[&["home", "keys", home][..]]) {
            luacell(command).assert().code(2).stderr(contains("there is no"));
            assert!(!file.exists(), "{command:?}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn showing_a_run_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("state.luacell");
    let file = home.to_str().unwrap();
    let script = folder.path().join("order.lua");
    std::fs::write(&script, "_home.x = {1} ask(_home.x, 'q')").unwrap();
    let run = ["run", script.to_str().unwrap(), "--durable", "r", "--home", file, "--declare", "ask"];
    luacell(&run).assert().code(4);
    let before = std::fs::read(&home).unwrap();
    let mut permissions = std::fs::metadata(&home).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&home, permissions).unwrap();
    for home in [file, &format!("file://{file}")] {
        let shown = "{\"id\": 1, \"name\": \"ask\", \"args\": [[1], \"q\"]}\n";
        luacell(&["runs", "show", home, "r"]).assert().success().stdout(shown);
    }
    assert_eq!(std::fs::read(&home).unwrap(), before);
}

#[test]
fn home_is_kept_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.luacell");
    let file = file.to_str().unwrap();
    for n in ["1\n", "2\n"] {
        let code = "_home.n = (_home.n or 0) + 1 _home.list = {'a', {b = true}} return _home.n";
        luacell(&["eval", code, "--home", file]).assert().success().stdout(n);
    }
    luacell(&["home", "get", file, "list.2"]).assert().success().stdout("{\"b\":true}\n");
    luacell(&["home", "get", file, "nothing"]).assert().success().stdout("null\n");
    luacell(&["home", "keys", file]).assert().success().stdout("list\nn\n");
    luacell(&["home", "keys", file, "list"]).assert().success().stdout("1\n2\n");
    luacell(&["home", "keys", file, "n"]).assert().code(1).stderr(contains("not a table"));
    luacell(&["home", "set", file, "list.2.c", "[1, 2.5]"]).assert().success();
    luacell(&["home", "set", file, "n", "null"]).assert().success();
    let dumped = "{\"list\":[\"a\",{\"b\":true,\"c\":[1,2.5]}]}\n";
    luacell(&["home", "dump", file, "--json"]).assert().success().stdout(dumped);
    // Functions too, to another store, and back as JSON.
    luacell(&["eval", "local n = 4 _home.f = function() n = n + 1 return n end", "--home", file]).assert().success();
    luacell(&["home", "dump", file, "--json"]).assert().code(1).stderr(contains("function"));
    let blob = folder.path().join("blob");
    let (blob, other) = (blob.to_str().unwrap(), folder.path().join("other.luacell"));
    let other = other.to_str().unwrap();
    luacell(&["home", "dump", file, blob]).assert().success();
    luacell(&["eval", "_home.gone = 1", "--home", other]).assert().success();
    luacell(&["home", "load", other, blob]).assert().code(2).stderr(contains("trusted"));
    luacell(&["home", "load", other, blob, "--trusted"]).assert().success();
    luacell(&["eval", "return _home.f(), _home.gone, #_home.list", "--home", other])
        .assert()
        .success()
        .stdout("5\nnil\n2\n");
    luacell(&["home", "load", other, "--json"]).write_stdin("[[1], {\"x\": 2}]").assert().success();
    luacell(&["home", "dump", other, "--json"]).assert().success().stdout("[[1],{\"x\":2}]\n");
    // What is wrong changes nothing.
    let mut bytes = std::fs::read(blob).unwrap();
    bytes[40] ^= 1;
    std::fs::write(blob, &bytes).unwrap();
    luacell(&["home", "load", other, blob]).assert().code(2).stderr(contains("checksum"));
    luacell(&["home", "load", other, "--json"]).write_stdin("3").assert().code(2);
    luacell(&["home", "dump", other, "--json"]).assert().success().stdout("[[1],{\"x\":2}]\n");
    let absent = folder.path().join("absent");
    luacell(&["home", "keys", absent.to_str().unwrap()]).assert().code(2).stderr(contains("there is no"));
    assert!(!absent.exists());
    luacell(&["eval", "return 1", "--home", blob]).assert().code(1).stderr(contains("not a luacell store"));
}

#[test]
fn a_dump_replaces_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("state.luacell"), folder.path().join("other"));
    let (file, other) = (file.to_str().unwrap(), other.to_str().unwrap());
    luacell(&["eval", "_home.n = 7", "--home", file]).assert().success();
    std::fs::hard_link(file, other).unwrap();
    for target in [file, other] {
        for more in [&[][..], &["--json"]] {
            let args = [&["home", "dump", file, target][..], more].concat();
            luacell(&args).assert().code(2).stderr(contains("is a store"));
        }
    }
    luacell(&["eval", "return _home.n", "--home", file]).assert().success().stdout("7\n");
}

/// Here because no file that the process writes may be larger than 2 MiB.
#[cfg(unix)]
#[test]
fn a_dump_that_fails_leaves_the_one_before() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (file, dump) = (folder.path().join("state.luacell"), folder.path().join("dump"));
    let (home, target) = (file.to_str().unwrap(), dump.to_str().unwrap());
    luacell(&["eval", "_home.n = 7", "--home", home]).assert().success();
    luacell(&["home", "dump", home, target]).assert().success();
    std::fs::set_permissions(&dump, std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = std::fs::read(&dump).unwrap();

    luacell(&["eval", "for i = 1, 300 do _home[i] = ('x'):rep(10000) end", "--home", home]).assert().success();
    let script = "ulimit -f 4096; trap '' XFSZ; exec \"$@\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", script, "sh"]).arg(assert_cmd::cargo::cargo_bin("luacell"));
    limited.args(["home", "dump", home, target]).assert().code(2).stderr(contains("cannot write"));
    assert_eq!(std::fs::read(&dump).unwrap(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");

    luacell(&["home", "dump", home, target]).assert().success();
    assert!(std::fs::read(&dump).unwrap().len() > 3_000_000);
    assert_eq!(std::fs::metadata(&dump).unwrap().permissions().mode() & 0o777, 0o640);
}

/// Whoever only looks does not write to the file, so others may look at the same time, and makes none.
#[test]
fn who_only_looks_at_home_opens_it_for_reading() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.luacell");
    let file = file.to_str().unwrap();
    let url = format!("file://{file}");
    luacell(&["eval", "_home.n = 1", "--home", file]).assert().success();
    let reader = luacell::FileStore::options().read_only(true).open(file).unwrap();
    for home in [file, &url] {
        luacell(&["home", "get", home, "n"]).assert().success().stdout("1\n");
        luacell(&["home", "keys", home]).assert().success().stdout("n\n");
        luacell(&["home", "dump", home, "--json"]).assert().success().stdout("{\"n\":1}\n");
        luacell(&["home", "set", home, "n", "2"]).assert().code(1).stderr(contains("in use by another process"));
    }
    drop(reader);
    luacell(&["home", "set", &url, "n", "2"]).assert().success();
    luacell(&["home", "get", &format!("{url}?read_only=false"), "n"]).assert().success().stdout("2\n");
    let absent = format!("{url}.absent");
    luacell(&["home", "keys", &absent]).assert().code(2).stderr(contains("absent"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn functions_of_a_home_can_be_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.luacell");
    let file = file.to_str().unwrap();
    luacell(&["eval", "_home.n, _home.f = 1, function() return 7 end", "--home", file]).assert().success();
    luacell(&["eval", "return _home.f()", "--home", file]).assert().success().stdout("7\n");
    let without = ["--no-stored-functions", "--home", file];
    luacell(&[&["eval", "return _home.n"], &without[..]].concat()).assert().success().stdout("1\n");
    luacell(&[&["eval", "return _home.f()"], &without[..]].concat())
        .assert()
        .code(1)
        .stderr(contains("stored_functions"));
    luacell(&["eval", "return 1", "--no-stored-functions"]).assert().code(2);
}

#[test]
fn home_reaches_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.luacell");
    let file = file.to_str().unwrap();
    let keys = r#"1, '1', 'a', 'a.b', 'a[1]', '', true, 'true', 0.5, '0.5', 1/3, 1e300, math.huge, -math.huge, math.mininteger,
        '\xff', '\n', 'x\x1b[31m', '\u{9b}2J', '\u{202e}', ']', '"', "'", '\\', '[', ' ', 'é'"#;
    let code = format!("for i, key in ipairs {{{keys}}} do _home[key] = {{n = i}} end return #{{{keys}}}");
    luacell(&["eval", &code, "--home", file]).assert().success().stdout("27\n");
    let shown = luacell(&["home", "keys", file]).assert().success().get_output().stdout.clone();
    let shown = String::from_utf8(shown).unwrap();
    assert!(!shown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
    let mut numbers: Vec<String> = Vec::new();
    for key in shown.lines() {
        luacell(&["home", "keys", file, key]).assert().success().stdout("n\n");
        let get = luacell(&["home", "get", file, &format!("{key}.n")]).assert().success().get_output().stdout.clone();
        numbers.push(String::from_utf8(get).unwrap());
        luacell(&["home", "set", file, key, "null"]).assert().success();
    }
    numbers.sort_by_key(|n| n.trim().parse::<i32>().unwrap());
    assert_eq!(numbers, (1..=27).map(|n| format!("{n}\n")).collect::<Vec<_>>());
    luacell(&["home", "dump", file, "--json"]).assert().success().stdout("{}\n");
    luacell(&["home", "set", file, "-1", "-5"]).assert().success();
    luacell(&["home", "get", file, "-1"]).assert().success().stdout("-5\n");
    luacell(&["home", "get", file, "a[1"]).assert().code(2).stderr(contains("a ] is missing"));
}

#[test]
fn json_of_home_comes_back_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let dump = |file: &str| luacell(&["home", "dump", file, "--json"]).assert().success().get_output().stdout.clone();
    let deep = format!("local t = {{}} _home.deep = t for i = 1, {} do t[1] = {{}} t = t[1] end", 400);
    for code in [
        "_home.list = {1, 2.0, -0.0, {x = 'é\\n'}, {}} _home.max = math.maxinteger _home.min = math.mininteger",
        "_home.third = 1/3 _home.large = 1e300 _home.e = 2.0^63 _home['1'] = 'text' _home.x = 0.1 + 0.2",
        &deep,
    ] {
        luacell(&["eval", &format!("for k in pairs(_home) do _home[k] = nil end {code}"), "--home", one])
            .assert()
            .success();
        let text = dump(one);
        luacell(&["home", "load", two, "--json"]).write_stdin(text.clone()).assert().success();
        assert_eq!(dump(two), text);
        let same = "return _home.max == math.maxinteger, _home.third == 1/3, _home['1'], math.type(_home.e)";
        let seen = |file| luacell(&["eval", same, "--home", file]).assert().success().get_output().stdout.clone();
        assert_eq!(seen(two), seen(one));
    }
    for (code, part) in [
        ("_home.a = {[1] = 'number', ['1'] = 'text'}", "both keys 1 and"),
        ("_home.a = {1, nil, 3}", "_home: a"),
        ("_home.a = {b = {[7] = 1}}", "a.b.7"),
        ("_home.a = {} _home.b = _home.a", "two places"),
        ("_home.a = {[true] = 1}", "key"),
    ] {
        luacell(&["eval", &format!("for k in pairs(_home) do _home[k] = nil end {code}"), "--home", one])
            .assert()
            .success();
        luacell(&["home", "dump", one, "--json"]).assert().code(1).stdout("").stderr(contains(part));
    }
    let before = dump(two);
    for (text, part) in [
        ("{\"a\": [1, null]}", "line 1 column 14"),
        ("{\"a\": 9223372036854775808}", "9223372036854775808 at line 1 column 7"),
        ("{\"a\": 1, \"a\": 2}", "twice"),
    ] {
        luacell(&["home", "load", two, "--json"]).write_stdin(text).assert().code(2).stderr(contains(part));
        luacell(&["home", "set", two, "x", text]).assert().code(2).stderr(contains(part));
    }
    assert_eq!(dump(two), before);
    luacell(&["eval", "return {[1] = 'number', ['1'] = 'text'}", "--json"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("both keys 1"));
}

#[test]
fn what_is_unfinished_at_the_end_is_an_error() {
    let repl = |input: &str| luacell(&["repl"]).write_stdin(input).assert();
    repl("print('one')\nfunction f()\nprint('two')\n").code(1).stdout("one\n").stderr(contains("'end' expected"));
    repl("return (1 +").code(1).stderr(contains("<eof>"));
    repl("x = 'open\n").success();
    repl("function f()\n  return 7\nend\nf()").success().stdout("7\n").stderr("");
    repl("error('no')\n1 + 1\n:quit\nprint('never')\n").success().stdout("2\n").stderr(contains("no"));
    repl("").success().stdout("");
    luacell(&["run", "-"]).write_stdin("function f()\n").assert().code(1).stderr(contains("'end' expected"));
}

#[test]
fn marks_of_editors_are_skipped_in_files() {
    let folder = TempDir::new().unwrap();
    let mark = "\u{feff}";
    let file = script(&folder, "a.lua", format!("{mark}#!/usr/bin/env lua\nreturn require('b'), _io.input.x"));
    script(&folder, "b.lua", format!("{mark}return 'module'"));
    let data = script(&folder, "data.json", format!("{mark}{{\"x\": 1}}"));
    let (path, at) = (folder.path().to_str().unwrap(), format!("@{}", data.display()));
    let run = ["run", file.to_str().unwrap(), "--module-path", path, "--input", &at];
    luacell(&run).assert().success().stdout("module\n1\n");
    let home = folder.path().join("home");
    let home = home.to_str().unwrap();
    luacell(&["home", "load", home, data.to_str().unwrap(), "--json"]).assert().success();
    luacell(&["home", "get", home, "x"]).assert().success().stdout("1\n");
    luacell(&["repl"]).write_stdin(format!("{mark}1 + 1\n")).assert().success().stdout("2\n");
}
