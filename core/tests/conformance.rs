//! Runs every case of the conformance corpus. Its format is described in `cases/README.md`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use luacell::{
    ComputeOptions, Error, Function, Outcome, Run, Sandbox, SandboxConfig, StoreLimit, Table, TableBuilder, TableRef,
    Value,
};
use serde_json::{Map, Value as Json};

type Result<T = (), E = String> = std::result::Result<T, E>;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let mut names = std::collections::HashSet::new();
    let mut trials = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let cases: Vec<Json> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for case in cases {
            let name =
                case["name"].as_str().unwrap_or_else(|| panic!("{}: a case without name", file.display())).to_owned();
            assert!(names.insert(name.clone()), "two cases are named '{name}'");
            trials.push(Trial::test(format!("{stem}: {name}"), move || run(&case).map_err(Failed::from)));
        }
    }
    assert!(!trials.is_empty(), "no case was found in {}", folder.display());
    println!("corpus: {} cases", trials.len());
    trials.push(Trial::test("README.md", || example().and_then(|case| run(&case)).map_err(Failed::from)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The case that the corpus's README shows.
fn example() -> Result<Json> {
    let page = include_str!("cases/README.md");
    let case = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    serde_json::from_str(case.ok_or("the README has no case")?).map_err(|e| e.to_string())
}

/// An object of which every field has to be used.
struct Fields<'a> {
    what: &'static str,
    rest: Map<String, Json>,
    all: &'a Json,
}

impl<'a> Fields<'a> {
    fn new(what: &'static str, json: &'a Json) -> Result<Self> {
        let rest = json.as_object().ok_or_else(|| format!("{what} is no object: {json}"))?.clone();
        Ok(Fields { what, rest, all: json })
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        self.rest.remove(name)
    }

    fn done(&self) -> Result {
        match self.rest.keys().next() {
            Some(name) => Err(format!("unknown field '{name}' in {}: {}", self.what, self.all)),
            None => Ok(()),
        }
    }
}

fn text(json: &Json) -> Result<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| format!("no text: {json}"))
}

/// Text, or what `hex` or `repeat` say.
fn bytes(json: &Json) -> Result<Vec<u8>> {
    match plain(json)? {
        Value::String(s) => Ok(s.as_bytes().to_vec()),
        _ => Err(format!("no text: {json}")),
    }
}

/// For messages: what is too long to read is cut.
fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.len() <= 2000 { text } else { text.chars().take(2000).collect::<String>() + "..." }
}

fn list(json: &Json) -> Result<&Vec<Json>> {
    json.as_array().ok_or_else(|| format!("no list: {json}"))
}

fn bytes_of_hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u32> =
        text.chars().map(|c| c.to_digit(16).ok_or_else(|| format!("no hex: {text}"))).collect::<Result<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err(format!("no hex: {text}"));
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

fn repeated(json: &Json) -> Result<String> {
    match list(json)?.as_slice() {
        [part, times] => Ok(text(part)?.repeat(times.as_u64().ok_or("repeat needs a number")? as usize)),
        _ => Err(format!("repeat needs two parts: {json}")),
    }
}

fn run(case: &Json) -> Result {
    let mut fields = Fields::new("case", case)?;
    fields.take("name");
    let known = [
        "args",
        "call",
        "input",
        "clock",
        "host_functions",
        "large",
        "limits",
        "modules",
        "reopen",
        "table_keys",
        "transactions",
        "waiting",
    ];
    let needs = fields.take("needs").map_or(Ok(Vec::new()), |needs| list(&needs)?.iter().map(text).collect())?;
    if let Some(need) = needs.iter().find(|need| !known.contains(&need.as_str())) {
        return Err(format!("unknown need '{need}'"));
    }
    let mut config = SandboxConfig::new();
    if cfg!(feature = "pulley") || std::env::var_os("LUACELL_NATIVE_GUEST").is_some() {
        // An interpreter within an interpreter, or a guest with sanitizers: the time that runs have by default is for
        // machine code.
        config = config.timeout(None);
    }
    if let Some(limits) = fields.take("limits") {
        let mut limits = Fields::new("limits", &limits)?;
        let mut take = |name| -> Result<Option<u64>> {
            limits.take(name).map(|n| n.as_u64().ok_or_else(|| format!("{name} is no number"))).transpose()
        };
        if let Some(bytes) = take("memory_limit")? {
            config = config.memory_limit(bytes);
        }
        if let Some(instructions) = take("instruction_limit")? {
            config = config.instruction_limit(instructions);
        }
        if let Some(milliseconds) = take("timeout")? {
            config = config.timeout(Duration::from_millis(milliseconds));
        }
        if let Some(bytes) = take("output_limit")? {
            config = config.output_limit(bytes);
        }
        let store = (take("store_limit")?, take("store_entries")?);
        if store != (None, None) {
            config = config.store_limit(StoreLimit::new(store.0.unwrap_or(u64::MAX), store.1.unwrap_or(u64::MAX)));
        }
        if let Some(calls) = take("host_call_limit")? {
            config = config.host_call_limit(calls);
        }
        if let Some(bytes) = take("source_limit")? {
            config = config.source_limit(bytes);
        }
        limits.done()?;
    }
    if let Some(modules) = fields.take("modules") {
        let sources = modules.as_object().ok_or("modules is no object")?.iter();
        let sources = sources.map(|(name, source)| Ok((name.clone(), bytes(source)?)));
        config = config.modules(sources.collect::<Result<HashMap<String, Vec<u8>>>>()?);
    }
    let functions = fields.take("functions").map_or(Ok(Vec::new()), |names| list(&names).cloned())?;
    let declared = fields.take("declare").map_or(Ok(Vec::new()), |names| list(&names).cloned())?;
    let steps = fields.take("steps").ok_or("a case without steps")?;
    fields.done()?;
    for (field, need) in
        [("args", "args"), ("chunk", "args"), ("call", "call"), ("set_input", "input"), ("reopen", "reopen")]
    {
        // A bare host would take a case whose needs are not said for one that it has to pass.
        if list(&steps)?.iter().any(|step| step.get(field).is_some()) && !needs.iter().any(|known| known == need) {
            return Err(format!("a step has '{field}', so the case needs '{need}'"));
        }
    }
    let sandbox = Sandbox::with_config(config).map_err(|e| e.to_string())?;
    for name in functions {
        register(&sandbox, &text(&name)?)?;
    }
    for name in declared {
        sandbox.declare(&text(&name)?).map_err(|e| e.to_string())?;
    }
    for (number, step) in list(&steps)?.iter().enumerate() {
        run_step(&sandbox, step).map_err(|e| format!("step {}: {e}", number + 1))?;
    }
    Ok(())
}

/// The host functions that `cases/README.md` describes.
fn register(sandbox: &Sandbox, name: &str) -> Result {
    match name {
        "host.echo" => sandbox.register(name, |args: Vec<Value>| Ok(args)),
        "host.add" => sandbox.register(name, |(a, b): (i64, i64)| Ok(a.wrapping_add(b))),
        "host.fail" => sandbox.register(name, |message: String| Err::<(), _>(Error::host(message))),
        "host.raise" => sandbox.register(name, |value: Value| Err::<(), _>(Error::raise(value))),
        "host.call" => sandbox.register(name, |mut args: Vec<Value>| {
            let function: Function = if args.is_empty() { Value::Nil } else { args.remove(0) }.try_into()?;
            function.call(args).map(|out| out.values)
        }),
        _ => return Err(format!("unknown host function '{name}'")),
    }
    .map_err(|e| e.to_string())
}

fn run_step(sandbox: &Sandbox, step: &Json) -> Result {
    let mut fields = Fields::new("step", step)?;
    let times = fields.take("times").map_or(Some(1), |n| n.as_u64()).ok_or("times is no number")?;
    let args = fields.take("args").map_or(Ok(Vec::new()), |args| build(list(&args)?))?;
    let name = fields.take("chunk").map_or(Ok(String::new()), |name| text(&name))?;
    let values = fields.take("values");
    let output = fields.take("output").map(|output| bytes(&output)).transpose()?;
    let error = fields.take("error");
    let waits = fields.take("waits").map(|waits| list(&waits).cloned()).transpose()?;
    let mut source = None;
    if let Some(json) = fields.take("source") {
        source = Some(text(&json)?.into_bytes());
    } else if let Some(json) = fields.take("source_hex") {
        source = Some(bytes_of_hex(&text(&json)?)?);
    } else if let Some(json) = fields.take("source_parts") {
        let mut all = String::new();
        for part in list(&json)? {
            match part {
                Json::String(part) => all.push_str(part),
                part => {
                    let mut part = Fields::new("part", part)?;
                    all.push_str(&repeated(&part.take("repeat").ok_or("a part without repeat")?)?);
                    part.done()?;
                }
            }
        }
        source = Some(all.into_bytes());
    }
    let call = fields.take("call").map(|path| text(&path)).transpose()?;
    let input = fields.take("set_input").map(|value| build(std::slice::from_ref(&value))).transpose()?;
    let reopen = fields.take("reopen").is_some();
    let gc = fields.take("gc").is_some();
    fields.done()?;
    let kinds = [source.is_some(), call.is_some(), input.is_some(), reopen, gc];
    if kinds.iter().filter(|k| **k).count() != 1 {
        return Err(format!("a step has to do exactly one thing: {step}"));
    }
    for _ in 0..times {
        let result = if let Some(waits) = &waits {
            let options = ComputeOptions::new().name(&name).args(args.as_slice());
            let run = match (&source, &call) {
                (Some(source), _) => sandbox.start(source, options),
                (_, Some(path)) => sandbox.start_call(path, options),
                _ => return Err(format!("what is started is source or a call: {step}")),
            };
            match drive(run.map_err(|e| short(&e))?, waits)? {
                Some(result) => result,
                None => continue,
            }
        } else if let Some(source) = &source {
            if args.is_empty() && name.is_empty() {
                sandbox.compute(source)
            } else {
                sandbox.compute_with(source, ComputeOptions::new().name(&name).args(args.as_slice()))
            }
        } else if let Some(path) = &call {
            sandbox.call(path, args.as_slice())
        } else if let Some(input) = &input {
            sandbox.set_input(&input[0]).map(|()| Outcome::default())
        } else if reopen {
            sandbox.reset().map(|()| Outcome::default())
        } else {
            sandbox.gc().map(|()| Outcome::default())
        };
        check(result, &values, &output, &error)?;
    }
    Ok(())
}

/// Answers what a run waits for, each time that it waits; how it ends, or `None` when it is cancelled.
fn drive(mut run: Run, waits: &[Json]) -> Result<Option<Result<Outcome, Error>>> {
    for (number, wait) in waits.iter().enumerate() {
        let mut fields = Fields::new("wait", wait)?;
        let requests = run.requests().map_err(|e| e.to_string())?;
        let expected = fields.take("requests").ok_or("a wait without requests")?;
        let expected = list(&expected)?;
        let mut same = run.is_waiting() && expected.len() == requests.len();
        for (request, expected) in requests.iter().zip(expected) {
            let mut fields = Fields::new("request", expected)?;
            same &= fields.take("id") == Some(request.id.into()) && fields.take("name") == Some((*request.name).into());
            if let Some(args) = fields.take("args") {
                let (args, mut seen) = (list(&args)?, HashMap::new());
                same &= args.len() == request.args.len()
                    && args.iter().zip(&request.args).all(|(e, v)| matches(e, v, &mut seen));
            }
            fields.done()?;
        }
        if !same {
            let found = if run.is_waiting() { short(&requests) } else { short(&run.into_result()) };
            return Err(format!("wait {}: expected {}, got {found}", number + 1, short(&expected)));
        }
        let Some(answers) = fields.take("answers") else {
            fields.done()?;
            run.cancel();
            return Ok(None);
        };
        fields.done()?;
        for answer in list(&answers)? {
            let mut fields = Fields::new("answer", answer)?;
            let id = fields.take("id").and_then(|id| id.as_u64()).ok_or("an answer without an id")?;
            match (fields.take("values"), fields.take("error")) {
                (Some(values), None) => run.answer(id, build(list(&values)?)?),
                (None, Some(error)) => run.fail(id, Error::host(text(&error)?)),
                _ => return Err(format!("an answer has values or an error: {answer}")),
            }
            .map_err(|e| e.to_string())?;
            fields.done()?;
        }
        run.resume().map_err(|e| e.to_string())?;
    }
    if run.is_waiting() {
        return Err(format!("it waits once more, for {}", short(&run.requests())));
    }
    Ok(Some(run.into_result()))
}

fn check(
    result: Result<Outcome, Error>,
    values: &Option<Json>,
    output: &Option<Vec<u8>>,
    error: &Option<Json>,
) -> Result {
    let printed = match (result, error) {
        (Ok(outcome), None) => {
            if let Some(values) = values {
                let values = list(values)?;
                let mut seen = HashMap::new();
                let same = values.len() == outcome.values.len()
                    && values.iter().zip(&outcome.values).all(|(e, v)| matches(e, v, &mut seen));
                if !same {
                    return Err(format!("expected {}, got {}", short(&values), short(&outcome.values)));
                }
            }
            outcome.output
        }
        (Err(failure), Some(expected)) => {
            check_error(&failure, expected)?;
            failure.output().clone()
        }
        (Ok(outcome), Some(expected)) => {
            return Err(format!("expected the error {}, got {}", short(expected), short(&outcome.values)));
        }
        (Err(failure), None) => return Err(short(&failure)),
    };
    match output {
        Some(output) if printed.as_bytes() != output.as_slice() => {
            Err(format!("expected the output {}, got {}", short(&luacell::LuaString::new(output)), short(&printed)))
        }
        _ => Ok(()),
    }
}

fn check_error(error: &Error, expected: &Json) -> Result {
    let mut fields = Fields::new("error", expected)?;
    let message = fields.take("message").map(|message| bytes(&message)).transpose()?;
    let contains = |whole: Option<&str>, part: &Json| whole.zip(part.as_str()).is_some_and(|(w, p)| w.contains(p));
    let fits = [
        fields.take("kind").is_none_or(|kind| kind == error.kind().name()),
        message.is_none_or(|message| message == error.message_bytes()),
        fields.take("message_contains").is_none_or(|part| contains(Some(error.message()), &part)),
        fields.take("line").is_none_or(|line| line.as_u64() == error.line().map(u64::from)),
        fields.take("chunk").is_none_or(|chunk| chunk.as_str() == error.chunk()),
        fields.take("traceback_contains").is_none_or(|part| contains(error.traceback(), &part)),
    ];
    fields.done()?;
    if fits.iter().all(|f| *f) {
        Ok(())
    } else {
        Err(format!("expected the error {}, got {}", short(expected), short(error)))
    }
}

/// A list of values, in which tables may be shared.
fn build(list: &[Json]) -> Result<Vec<Value>> {
    let mut builder = TableBuilder::new();
    let root = builder.table();
    let mut named = HashMap::new();
    for (i, json) in list.iter().enumerate() {
        let item = build_item(json, &mut builder, &mut named)?;
        put(&mut builder, root, Item::Value((i as i64 + 1).into()), item)?;
    }
    let root = builder.finish(root);
    Ok((1..=list.len() as i64).map(|i| root.get(i)).collect())
}

enum Item {
    Value(Value),
    Table(TableRef),
}

fn put(builder: &mut TableBuilder, table: TableRef, key: Item, value: Item) -> Result {
    match (key, value) {
        (Item::Value(key), Item::Value(value)) => builder.set(table, key, value),
        (Item::Value(key), Item::Table(value)) => builder.set_table(table, key, value),
        (Item::Table(key), Item::Value(value)) => builder.set_with_table_key(table, key, value),
        (Item::Table(_), Item::Table(_)) => return Err("a table under a table as key: not supported".into()),
    }
    .map_err(|e| e.to_string())
}

fn build_item(json: &Json, builder: &mut TableBuilder, named: &mut HashMap<i64, TableRef>) -> Result<Item> {
    if !json.is_object() {
        return plain(json).map(Item::Value);
    }
    let mut fields = Fields::new("value", json)?;
    let item = if let Some(id) = fields.take("ref") {
        let id = id.as_i64().ok_or("ref is no number")?;
        Item::Table(*named.get(&id).ok_or("ref to nothing")?)
    } else if let Some(levels) = fields.take("deep") {
        let top = builder.table();
        let mut at = top;
        for _ in 1..levels.as_u64().ok_or("deep is no number")? {
            let next = builder.table();
            builder.set_table(at, 1, next).map_err(|e| e.to_string())?;
            at = next;
        }
        Item::Table(top)
    } else if fields.rest.contains_key("array") || fields.rest.contains_key("table") {
        let table = builder.table();
        if let Some(id) = fields.take("id") {
            named.insert(id.as_i64().ok_or("id is no number")?, table);
        }
        if let Some(items) = fields.take("array") {
            for (i, item) in list(&items)?.iter().enumerate() {
                let value = build_item(item, builder, named)?;
                put(builder, table, Item::Value((i as i64 + 1).into()), value)?;
            }
        }
        for pair in fields.take("table").iter().map(list).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            let [key, value] = list(pair)?.as_slice() else {
                return Err(format!("no pair: {pair}"));
            };
            let key = build_item(key, builder, named)?;
            let value = build_item(value, builder, named)?;
            put(builder, table, key, value)?;
        }
        Item::Table(table)
    } else {
        return plain(json).map(Item::Value);
    };
    fields.done()?;
    Ok(item)
}

/// A value that is no table.
fn plain(json: &Json) -> Result<Value> {
    match json {
        Json::Null => Ok(Value::Nil),
        Json::Bool(b) => Ok((*b).into()),
        Json::String(s) => Ok(s.as_str().into()),
        Json::Object(_) => {
            let mut fields = Fields::new("value", json)?;
            let value = if let Some(n) = fields.take("int") {
                let n: i64 = text(&n)?.parse().map_err(|e| format!("{json}: {e}"))?;
                n.into()
            } else if let Some(x) = fields.take("float") {
                let x: f64 = text(&x)?.parse().map_err(|e| format!("{json}: {e}"))?;
                x.into()
            } else if let Some(hex) = fields.take("hex") {
                luacell::LuaString::from(bytes_of_hex(&text(&hex)?)?).into()
            } else if let Some(parts) = fields.take("repeat") {
                repeated(&parts)?.into()
            } else {
                return Err(format!("no value: {json}"));
            };
            fields.done()?;
            Ok(value)
        }
        _ => Err(format!("no value: {json}")),
    }
}

#[derive(PartialEq)]
enum Identity {
    Table((usize, u32)),
    Stored(u32),
}

/// Whether a value is what the case expects.
fn matches(expected: &Json, value: &Value, seen: &mut HashMap<i64, Identity>) -> bool {
    let Some(object) = expected.as_object() else {
        return plain(expected).is_ok_and(|e| same(&e, value));
    };
    let field = |name: &str| object.get(name);
    let size = object.len() - usize::from(object.contains_key("id"));
    assert_eq!(size, 1, "a value has one form: {expected}");
    if field("any").is_some() {
        return true;
    }
    if field("function").is_some() {
        return matches!(value, Value::Function(_));
    }
    if let Some(inner) = field("stored") {
        let Value::StoredTable(stored) = value else { return false };
        return stored.to_table().is_ok_and(|table| matches(inner, &Value::Table(table), seen));
    }
    let identity = match value {
        Value::Table(t) => Some(Identity::Table(t.identity())),
        Value::StoredTable(t) => Some(Identity::Stored(t.id())),
        _ => None,
    };
    if let Some(id) = field("ref") {
        return identity.is_some() && identity.as_ref() == id.as_i64().and_then(|id| seen.get(&id));
    }
    if let (Some(id), Some(identity)) = (field("id").and_then(Json::as_i64), identity) {
        seen.insert(id, identity);
    }
    if let Some(levels) = field("deep") {
        let mut left = levels.as_u64().expect("a number");
        let mut at = value.clone();
        while let Value::Table(t) = &at {
            left = left.wrapping_sub(1);
            if t.count() > 1 {
                return false;
            }
            at = t.get(1);
        }
        return left == 0 && at.is_nil();
    }
    if let Some(items) = field("array") {
        let Value::Table(table) = value else { return false };
        let items = items.as_array().expect("a list");
        return table.count() == items.iter().filter(|i| !i.is_null()).count()
            && items.iter().enumerate().all(|(i, item)| matches(item, &table.get(i as i64 + 1), seen));
    }
    if let Some(pairs) = field("table") {
        let Value::Table(table) = value else { return false };
        let pairs = pairs.as_array().expect("a list");
        return table.count() == pairs.len() && pairs.iter().all(|pair| matches_pair(pair, table, seen));
    }
    plain(expected).is_ok_and(|e| same(&e, value))
}

fn matches_pair(pair: &Json, table: &Table, seen: &mut HashMap<i64, Identity>) -> bool {
    let pair = pair.as_array().expect("a pair");
    match plain(&pair[0]) {
        Ok(key) => matches(&pair[1], &table.get(key), seen),
        // A table as key: some entry has to fit.
        Err(_) => table.pairs().any(|(k, v)| matches(&pair[0], &k, seen) && matches(&pair[1], &v, seen)),
    }
}

/// Equal bit by bit, except that every NaN equals every other.
fn same(expected: &Value, value: &Value) -> bool {
    match (expected, value) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::Table(_), _) | (_, Value::Table(_)) => false,
        (a, b) => a == b,
    }
}
