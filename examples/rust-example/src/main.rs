//! A guided tour: everything that a host of `lua.wasm` does, in the order in which you meet it.
//!
//! ```text
//! rust-example [path of lua.wasm]
//! rust-example --time FILE     time one Lua file instead; prints nanoseconds, a tab, its result
//! ```

use std::error::Error as StdError;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use rust_example::{Error, Message, Request, Revision, Tables, Value, Vm, decode_key};
use wasmtime::{Engine, Module};

const DEFAULT_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../core/guest/lua.wasm");

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rust-example: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Box<dyn StdError>> {
    let fallback = std::env::var_os("LUA_WASM").map_or_else(|| DEFAULT_PATH.into(), PathBuf::from);
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.as_slice() {
        [] => tour(&load(&fallback)?),
        [option, file] if option == "--time" => time(&load(&fallback)?, Path::new(file)),
        [path] if !path.to_string_lossy().starts_with('-') => tour(&load(Path::new(path))?),
        _ => Err("usage: rust-example [path of lua.wasm] | rust-example --time FILE".into()),
    }
}

/// Compiles the module. A real program does that once, and can keep the result (`Module::serialize`).
fn load(path: &Path) -> Result<Module, Box<dyn StdError>> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(Module::new(&Engine::default(), bytes)?)
}

fn tour(module: &Module) -> Result<(), Box<dyn StdError>> {
    let mut vm = Vm::new(module, Tables::new(), 0, Revision::One)?;

    title("Arithmetic");
    run(&mut vm, "return 1 + 1")?;
    run(&mut vm, "return 7 // 2, 7 / 2, 2^10, 3 | 4")?;

    title("Strings");
    run(&mut vm, "return ('lua'):upper() .. '!', #'four'")?;
    run(&mut vm, r"return 'any bytes: \0\255'")?;

    title("Every kind of value");
    run(&mut vm, "return nil, true, 42, 2.5, 'text'")?;
    run(&mut vm, "return string.format, function() end")?;
    run(&mut vm, "return ext.table()")?;

    title("Output");
    run(&mut vm, "print('hello', 'from Lua') print(1, 2.0) return 'done'")?;

    title("Errors");
    run(&mut vm, "return 1 +")?;
    run(&mut vm, "error('out of stock')")?;
    run(&mut vm, "return ('x'):rep(100000)")?;
    run(&mut vm, "return 'still working'")?;

    title("Data in and out");
    let io = vm.io_table_id()?;
    vm.tables().set(io, "input", &Message::new(["Ada".into()]).encode()?);
    run(&mut vm, "_io.output = 'Hello, ' .. _io.input")?;
    let output = Message::decode(vm.tables().get(io, "output").ok_or("no output")?)?;
    println!("_io.output is {}", output.show());

    title("Memory");
    let before = vm.memory_size();
    run(&mut vm, "local t = {} for i = 1, 300000 do t[i] = i end return #t")?;
    vm.collect_garbage()?;
    let stats = vm.memory_stats()?;
    println!("the I/O buffer has {} bytes", stats.buffer_size);
    println!("Lua's use is within bounds: {}", stats.used > 0 && (stats.used as usize) < vm.memory_size());
    println!("the pages are the memory's: {}", stats.pages as usize * 65536 == vm.memory_size());
    println!("the memory has grown: {}", vm.memory_size() > before);

    title("A table that outlives its VM");
    run(&mut vm, "_home.visits = 1 _home.log = {'first'}")?;
    let next_table_id = vm.next_table_id()?;
    let mut second = Vm::new(module, vm.into_tables(), next_table_id, Revision::One)?;
    run(&mut second, "_home.visits = _home.visits + 1 table.insert(_home.log, 'second') return _home.visits")?;
    run(&mut second, "_home.more = {} return _home.log, _home.more")?;
    let home = second.home_table_id()?;
    show_table(second.tables(), home)?;

    title("Revision 2: tables by value, arguments, calls");
    let mut newer = Vm::new(module, Tables::new(), 0, Revision::Two)?;
    run(&mut newer, "local t = {10, 20, {deep = true}} t.me = t return t")?;
    run(&mut newer, "function greet(name) return 'Hello, ' .. name end")?;
    let greeting = newer.call("greet", &Message::new(["Grace".into()]))?;
    println!("greet(\"Grace\") gives {}", greeting.returned.show());
    if let Value::String(long) = newer.compute("return ('x'):rep(100000)")?.returned.value(0) {
        println!("a long string has {} bytes", long.len());
    }

    title("Revision 3: a run that waits");
    let mut host = Vm::new(module, Tables::new(), 0, Revision::Three)?;
    host.declare("ask")?;
    let source = "local task = require 'task' return task.all(function() return ask('tea?') end, function() return ask('cake?') end)";
    println!("> {source}");
    let mut outcome = host.start(source, &Message::default())?;
    while outcome.is_none() {
        // Here a program does something else until it has an answer; nothing of the run is on any stack.
        let requests: Vec<_> = host.requests().cloned().collect();
        for Request { id, name, args } in requests {
            println!("request {id}: {name}({})", args.show());
            host.answer(id, &Message::new(["yes".into()]))?;
        }
        outcome = host.resume()?;
    }
    println!("{}", outcome.unwrap_or_default().returned.show());
    Ok(())
}

fn title(text: &str) {
    println!("\n== {text}");
}

/// Runs source and prints everything that results. Errors of Lua are part of the tour; others are ours.
fn run(vm: &mut Vm, source: &str) -> Result<(), Error> {
    println!("> {source}");
    match vm.compute(source) {
        Ok(outcome) => {
            for line in String::from_utf8_lossy(&outcome.output).lines() {
                println!("| {line}");
            }
            if !outcome.returned.values.is_empty() {
                println!("{}", outcome.returned.show());
            }
        }
        Err(error @ Error::Lua(_)) => println!("error: {error}"),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Prints a stored table as the host sees it, sorted: the order of its keys is the table map's own.
fn show_table(tables: &Tables, id: u32) -> Result<(), Error> {
    println!("table {id} has {} entries:", tables.size(id));
    let mut keys = tables.keys(id).unwrap_or_default();
    keys.sort_unstable();
    for key in keys {
        let value = Message::decode(tables.get(id, key).unwrap_or_default())?;
        println!("  [{}] = {}", Message::new([decode_key(key)]).show(), value.show());
    }
    Ok(())
}

fn time(module: &Module, file: &Path) -> Result<(), Box<dyn StdError>> {
    let source = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let mut vm = Vm::new(module, Tables::new(), 0, Revision::Two)?;
    let start = Instant::now();
    let outcome = vm.compute(source)?;
    let elapsed = start.elapsed().as_nanos();
    match outcome.returned.value(0) {
        Value::String(text) => println!("{elapsed}\t{}", String::from_utf8_lossy(text)),
        _ => println!("{elapsed}\t{}", outcome.returned.show()),
    }
    Ok(())
}
