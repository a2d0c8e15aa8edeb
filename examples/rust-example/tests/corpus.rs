//! The conformance corpus (`core/tests/cases`, its README says what stands in it), with a host of the first revision
//! and one of the last.
//! `cargo test --test corpus -- TEXT` runs only the cases whose name or file contains the text.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use rust_example::{Error, Message, Outcome, Revision, Table, Tables, Value, Vm, decode_key};
use serde_json::Value as Json;
use wasmtime::{Engine, Module};

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn main() -> ExitCode {
    let lua = std::env::var_os("LUA_WASM").map_or_else(|| folder("../../core/guest/lua.wasm"), PathBuf::from);
    let lua = Module::from_file(&Engine::default(), lua).expect("lua.wasm compiles");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder("../../core/tests/cases"))
        .expect("the corpus is there")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();

    let mut trials = Vec::new();
    for (number, revision) in [(1, Revision::One), (3, Revision::Three)] {
        let (mut run_here, mut unoffered) = (0, 0);
        for file in &files {
            let cases: Vec<Json> =
                serde_json::from_slice(&std::fs::read(file).expect("a readable file")).expect("a list of cases");
            for case in cases {
                if !items(&case["needs"]).iter().all(|need| offered(need, revision)) {
                    unoffered += 1;
                    continue;
                }
                run_here += 1;
                let name = case["name"].as_str().expect("a name");
                let name = format!("{}: {name}, revision {number}", file.file_name().unwrap_or_default().display());
                let lua = lua.clone();
                trials.push(Trial::test(name, move || Ok(run(&lua, &case, revision)?)));
            }
        }
        println!("corpus: {run_here} cases with revision {number}, {unoffered} need what a bare host has not");
        assert!(run_here > 0, "no case ran");
    }
    let mut arguments = Arguments::from_args();
    if arguments.format.is_none() {
        arguments.quiet = true; // a dot for each case
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether a host of that revision has what a case needs beyond five functions and `compute`.
fn offered(need: &Json, revision: Revision) -> bool {
    match need.as_str() {
        Some("reopen") => true,
        Some("args" | "call" | "input" | "large" | "table_keys" | "waiting") => revision == Revision::Three,
        _ => false,
    }
}

fn run(lua: &Module, case: &Json, revision: Revision) -> Result<(), String> {
    let open = |tables, next_table_id| -> Result<Vm, Error> {
        let mut vm = Vm::new(lua, tables, next_table_id, revision)?;
        items(&case["declare"]).iter().filter_map(Json::as_str).try_for_each(|name| vm.declare(name))?;
        Ok(vm)
    };
    let mut vm = open(Tables::new(), 0).map_err(text)?;
    for (number, step) in items(&case["steps"]).iter().enumerate() {
        for round in 1..=step["times"].as_u64().unwrap_or(1) {
            let done = run_step(open, vm, step, revision);
            vm = done.map_err(|problem| format!("step {}, round {round}: {problem}", number + 1))?;
        }
    }
    Ok(())
}

fn text(error: Error) -> String {
    error.to_string()
}

/// Does the step; the VM to go on with, which is another one after a reopen.
fn run_step(
    open: impl Fn(Tables, u32) -> Result<Vm, Error>,
    mut vm: Vm,
    step: &Json,
    revision: Revision,
) -> Result<Vm, String> {
    if step.get("reopen").is_some() {
        let next = vm.next_table_id().map_err(text)?;
        return open(vm.into_tables(), next).map_err(text);
    }
    if step.get("gc").is_some() {
        vm.collect_garbage().map_err(text)?;
    } else if let Some(input) = step.get("set_input") {
        let input = message(std::slice::from_ref(input));
        vm.compute_named("", "_io.input = ...", &input).map_err(text)?;
    } else {
        run_source(&mut vm, step, revision)?;
    }
    Ok(vm)
}

fn run_source(vm: &mut Vm, step: &Json, revision: Revision) -> Result<(), String> {
    let result = match step.get("waits") {
        Some(waits) => match start_and_answer(vm, step, items(waits))? {
            Ok(None) => return Ok(()), // cancelled
            result => result.map(Option::unwrap_or_default),
        },
        None => compute(vm, step),
    };
    let outcome = match (result, step.get("error")) {
        (Ok(outcome), None) => outcome,
        (Ok(outcome), Some(_)) => return Err(format!("no error, but {}", outcome.returned.show())),
        (Err(Error::Lua(got)), Some(want)) => {
            let whole = want.get("message").is_none_or(|message| bytes(message) == got);
            let part = want.get("message_contains").and_then(Json::as_str).unwrap_or("");
            let contains = part.is_empty() || got.windows(part.len()).any(|window| window == part.as_bytes());
            return if whole && contains { Ok(()) } else { Err(String::from_utf8_lossy(&got).into_owned()) };
        }
        (Err(error), _) => return Err(error.to_string()),
    };
    if step.get("output").is_some_and(|output| bytes(output) != outcome.output) {
        return Err(format!("output {}", String::from_utf8_lossy(&outcome.output)));
    }
    if step.get("values").is_some() && !same_values(vm, items(&step["values"]), &outcome.returned, revision) {
        return Err(format!("values {}", outcome.returned.show()));
    }
    Ok(())
}

fn same_values(vm: &mut Vm, want: &[Json], got: &Message, revision: Revision) -> bool {
    let mut comparison =
        Comparison { tables: vm.tables(), message: got, known: HashMap::new(), stored: HashMap::new() };
    let through = revision == Revision::One;
    want.len() == got.values.len()
        && want.iter().zip(&got.values).all(|(want, got)| comparison.same(want, got, through))
}

fn compute(vm: &mut Vm, step: &Json) -> Result<Outcome, Error> {
    let args = message(items(&step["args"]));
    if let Some(path) = step["call"].as_str() {
        vm.call(path, &args)
    } else if step.get("args").is_some() || step.get("chunk").is_some() {
        vm.compute_named(step["chunk"].as_str().unwrap_or(""), source(step), &args)
    } else {
        vm.compute(source(step))
    }
}

/// Starts the run and answers what it waits for. What it gives, nothing when the case has it cancelled; or in what it
/// waits for something else.
fn start_and_answer(vm: &mut Vm, step: &Json, waits: &[Json]) -> Result<Result<Option<Outcome>, Error>, String> {
    let args = message(items(&step["args"]));
    let mut result = match step["call"].as_str() {
        Some(path) => vm.start_call(path, &args),
        None => vm.start(source(step), &args),
    };
    for wait in waits {
        if !matches!(result, Ok(None)) {
            return Err(format!("it does not wait, but {result:?}"));
        }
        let want = items(&wait["requests"]);
        let got: Vec<_> = vm.requests().cloned().collect();
        let same = want.len() == got.len()
            && want.iter().zip(&got).all(|(want, got)| {
                want["id"] == got.id
                    && want["name"] == *got.name
                    && want.get("args").is_none_or(|args| same_values(vm, items(args), &got.args, Revision::Three))
            });
        if !same {
            return Err(format!("it waits for {got:?}"));
        }
        let Some(answers) = wait.get("answers") else {
            vm.cancel().map_err(text)?;
            break; // the step ends here
        };
        for answer in items(answers) {
            let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id");
            match answer["error"].as_str() {
                Some(problem) => vm.fail(id, problem),
                None => vm.answer(id, &message(items(&answer["values"]))),
            }
            .map_err(text)?;
        }
        result = vm.resume();
    }
    if vm.is_waiting() { Err("it waits once more".into()) } else { Ok(result) }
}

fn source(step: &Json) -> Vec<u8> {
    match (&step["source"], &step["source_hex"]) {
        (Json::String(source), _) => source.clone().into_bytes(),
        (_, Json::String(hex)) => from_hex(hex),
        _ => items(&step["source_parts"]).iter().flat_map(bytes).collect(),
    }
}

// ---- the corpus' way to write values

fn items(list: &Json) -> &[Json] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn is_text(v: &Json) -> bool {
    v.is_string() || v.get("hex").is_some() || v.get("repeat").is_some()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hexadecimal digits"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect()
}

fn bytes(v: &Json) -> Vec<u8> {
    if let Json::String(text) = v {
        return text.clone().into_bytes();
    }
    match (&v["hex"], items(&v["repeat"])) {
        (Json::String(hex), _) => from_hex(hex),
        (_, [part, count]) => bytes(part).repeat(count.as_u64().expect("a count") as usize),
        _ => panic!("no text: {v}"),
    }
}

fn int(v: &Json) -> Option<i64> {
    Some(v.get("int")?.as_str()?.parse().expect("an integer"))
}

fn float(v: &Json) -> Option<f64> {
    Some(v.get("float")?.as_str()?.parse().expect("a float"))
}

/// Keys and values of a table; an array's keys are its indices.
fn entries(v: &Json) -> Vec<(Json, &Json)> {
    let array = items(&v["array"]).iter().enumerate();
    let array = array.map(|(i, item)| (serde_json::json!({ "int": (i + 1).to_string() }), item));
    array.chain(items(&v["table"]).iter().map(|pair| (pair[0].clone(), &pair[1]))).collect()
}

/// Values to send.
fn message(list: &[Json]) -> Message {
    let mut message = Message::default();
    let mut known = HashMap::new();
    for v in list {
        let value = to_send(v, &mut message, &mut known);
        message.values.push(value);
    }
    message
}

fn to_send(v: &Json, message: &mut Message, known: &mut HashMap<u64, usize>) -> Value {
    match v {
        Json::Null => return Value::Nil,
        Json::Bool(flag) => return Value::Boolean(*flag),
        _ if is_text(v) => return Value::String(bytes(v)),
        _ => {}
    }
    if let Some(number) = int(v) {
        return Value::Integer(number);
    }
    if let Some(number) = float(v) {
        return Value::Float(number);
    }
    if let Some(id) = v["ref"].as_u64() {
        return Value::Table(known[&id]);
    }
    let table = message.tables.len();
    message.tables.push(Table::default());
    known.extend(v["id"].as_u64().map(|id| (id, table)));
    for _ in 1..v["deep"].as_u64().unwrap_or(1) {
        let next = message.tables.len();
        message.tables[next - 1].entries.push((Value::Integer(1), Value::Table(next)));
        message.tables.push(Table::default());
    }
    for (key, value) in entries(v) {
        let entry = (to_send(&key, message, known), to_send(value, message, known));
        message.tables[table].entries.push(entry);
    }
    Value::Table(table)
}

/// Which table something is.
#[derive(Clone, Copy, PartialEq)]
enum Identity {
    Inline(usize),
    Stored(u32),
}

/// Sets values that came beside expected ones.
struct Comparison<'a> {
    tables: &'a Tables,
    message: &'a Message,
    known: HashMap<u64, Identity>,
    stored: HashMap<u32, Table>,
}

impl Comparison<'_> {
    /// `through`: stored tables may stand where plain ones are expected.
    fn same(&mut self, want: &Json, got: &Value, through: bool) -> bool {
        match want {
            Json::Null => return *got == Value::Nil,
            Json::Bool(flag) => return *got == Value::Boolean(*flag),
            _ if is_text(want) => return matches!(got, Value::String(text) if *text == bytes(want)),
            _ if want.get("any").is_some() => return true,
            _ if want.get("function").is_some() => {
                use Value::{Builtin, Bytecode, Handle, StoredFunction};
                return matches!(got, Bytecode(_) | Builtin(_) | Handle(_) | StoredFunction(_));
            }
            _ => {}
        }
        if let Some(number) = int(want) {
            return *got == Value::Integer(number);
        }
        if let Some(number) = float(want) {
            let equal = |other: f64| number.to_bits() == other.to_bits() || number.is_nan() && other.is_nan();
            return matches!(got, Value::Float(other) if equal(*other));
        }
        if let Some(content) = want.get("stored") {
            return matches!(got, Value::External(_)) && self.same(content, got, true);
        }
        self.same_table(want, got, through)
    }

    fn same_table(&mut self, want: &Json, got: &Value, through: bool) -> bool {
        let Some((identity, mut left)) = self.table(got, through) else { return false };
        if let Some(id) = want["ref"].as_u64() {
            return self.known.get(&id) == Some(&identity);
        }
        self.known.extend(want["id"].as_u64().map(|id| (id, identity)));
        for _ in 1..want["deep"].as_u64().unwrap_or(1) {
            let [(Value::Integer(1), inner)] = left.as_slice() else { return false };
            match self.table(inner, through) {
                Some((_, content)) => left = content,
                None => return false,
            }
        }
        let expected = entries(want);
        expected.len() == left.len()
            && expected.iter().all(|(key, value)| {
                let at = left.iter().position(|(k, _)| self.same(key, k, through));
                at.is_some_and(|at| {
                    let (_, found) = left.swap_remove(at);
                    self.same(value, &found, through)
                })
            })
    }

    /// A table's entries, and which one it is; of a stored one the content.
    fn table(&mut self, got: &Value, through: bool) -> Option<(Identity, Vec<(Value, Value)>)> {
        match *got {
            Value::Table(index) => Some((Identity::Inline(index), self.message.tables.get(index)?.entries.clone())),
            Value::External(id) if through => {
                let tables = self.tables;
                let content = self.stored.entry(id).or_insert_with(|| {
                    let keys = tables.keys(id).unwrap_or_default().into_iter();
                    let value = |key| Message::decode(tables.get(id, key).unwrap_or_default()).expect("a stored value");
                    Table { entries: keys.map(|key| (decode_key(key), value(key).value(0).clone())).collect() }
                });
                Some((Identity::Stored(id), content.entries.clone()))
            }
            _ => None,
        }
    }
}
