//! The host by its parts.

#![allow(clippy::float_cmp, reason = "exact results")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rust_example::{Error, MemoryStats, Message, Outcome, Revision, Table, Tables, Value, Vm, decode_key};
use wasmtime::{Engine, Module};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn folder(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(path: PathBuf) -> Module {
    Module::from_file(&Engine::default(), path).expect("the module compiles")
}

/// The real guest, compiled once for all tests.
fn lua() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        load(std::env::var_os("LUA_WASM").map_or_else(|| folder("../../core/guest/lua.wasm"), PathBuf::from))
    })
}

/// A guest that lies.
fn hostile() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| load(folder("../testdata/hostile.wasm")))
}

fn vm(revision: Revision) -> Vm {
    Vm::new(lua(), Tables::new(), 0, revision).expect("the VM starts")
}

fn values(vm: &mut Vm, source: &str) -> Result<Vec<Value>, Error> {
    Ok(vm.compute(source)?.returned.values)
}

fn one(vm: &mut Vm, source: &str) -> Result<Value, Error> {
    Ok(vm.compute(source)?.returned.value(0).clone())
}

/// The bytes of the message of the Lua error that the run ends with.
fn failure(run: Result<Outcome, Error>) -> Vec<u8> {
    match run {
        Err(Error::Lua(message)) => message,
        other => panic!("no Lua error, but {other:?}"),
    }
}

#[test]
fn basic_arithmetic() -> TestResult {
    let vm = &mut vm(Revision::One);
    let results = values(vm, "return 1 + 1, 7 // 2, 7 / 2, 2^10, 1 == 1.0")?;
    assert_eq!(results, [2.into(), 3.into(), Value::Float(3.5), Value::Float(1024.0), Value::Boolean(true)]);
    assert_eq!(values(vm, "return math.maxinteger, math.mininteger")?, [i64::MAX.into(), i64::MIN.into()]);
    assert!(matches!(one(vm, "return -0.0")?, Value::Float(zero) if zero == 0.0 && zero.is_sign_negative()));
    assert!(matches!(one(vm, "return 0/0")?, Value::Float(nan) if nan.is_nan()));
    Ok(())
}

#[test]
fn string_operations() -> TestResult {
    let vm = &mut vm(Revision::One);
    assert_eq!(one(vm, "return ('lua'):upper() .. '!'")?, "LUA!".into());
    assert_eq!(one(vm, "return ('%d-%s'):format(7, 'x')")?, "7-x".into());
    assert_eq!(one(vm, "return (('hello world'):gsub('o', '0'))")?, "hell0 w0rld".into());
    assert_eq!(one(vm, "return 'grüße'")?, "grüße".into());
    assert_eq!(values(vm, r"return 'a\0\255', ''")?, [Value::String(vec![b'a', 0, 0xff]), "".into()]);
    Ok(())
}

#[test]
fn captured_output() -> TestResult {
    let vm = &mut vm(Revision::One);
    let outcome = vm.compute("print('a', 1) print() return 2")?;
    assert_eq!((outcome.output.as_slice(), outcome.returned.value(0)), (b"a\t1\n\n".as_slice(), &2.into()));
    let outcome = vm.compute("")?;
    assert!(outcome.output.is_empty() && outcome.returned.values.is_empty());
    Ok(())
}

#[test]
fn external_table_persistence() -> TestResult {
    let mut first = vm(Revision::One);
    first.compute("_home.count = 1 _home.list = {'a', 'b'} _home.empty = {}")?;
    let next = first.next_table_id()?;
    let mut second = Vm::new(lua(), first.into_tables(), next, Revision::One)?;
    let kept = values(&mut second, "return _home.count, #_home.list, _home.list[2]")?;
    assert_eq!(kept, [1.into(), 2.into(), "b".into()]);
    // Without the counter the new table would be the one that `empty` refers to.
    second.compute("_home.fresh = {1}")?;
    assert_eq!(one(&mut second, "return #_home.empty")?, 0.into());
    let home = second.home_table_id()?;
    let count = second.tables().get(home, "count").ok_or("no count")?;
    assert_eq!(Message::decode(count)?.values, [1.into()]);
    Ok(())
}

#[test]
fn data_in_and_out() -> TestResult {
    let vm = &mut vm(Revision::One);
    let io = vm.io_table_id()?;
    vm.tables().set(io, "input", &Message::new(["Ada".into()]).encode()?);
    vm.compute("_io.output = 'Hello, ' .. _io.input")?;
    let output = vm.tables().get(io, "output").ok_or("no output")?;
    assert_eq!(Message::decode(output)?.values, ["Hello, Ada".into()]);
    Ok(())
}

#[test]
fn error_handling() -> TestResult {
    let vm = &mut vm(Revision::One);
    for _ in 0..100 {
        assert!(failure(vm.compute("return 1 +")).ends_with(b"near <eof>"));
        assert!(failure(vm.compute("error('no')")).ends_with(b":1: no"));
        assert_eq!(failure(vm.compute(r"error('a\255', 0)")), b"a\xff");
        assert!(failure(vm.compute("local t = nil; return t.x")).ends_with(b"(local 't')"));
        assert_eq!(one(vm, "return 1 + 1")?, 2.into());
    }
    assert!(matches!(vm.compute(" ".repeat(65537)), Err(Error::TooLarge { size: 65537, room: 65536 })));
    assert!(failure(vm.compute("return ('x'):rep(70000)")).ends_with(b"(65536 at most)"));
    assert!(matches!(vm.call("f", &Message::default()), Err(Error::Revision(..))));
    assert_eq!(one(vm, "return 1 + 1")?, 2.into());

    let empty = Module::new(&Engine::default(), b"\0asm\x01\0\0\0")?;
    assert!(matches!(Vm::new(&empty, Tables::new(), 0, Revision::One), Err(Error::Protocol(_))));
    Ok(())
}

#[test]
fn memory_statistics() -> TestResult {
    fn stats(vm: &mut Vm) -> Result<MemoryStats, Error> {
        let stats = vm.memory_stats()?;
        assert_eq!((stats.buffer_size, stats.pages as usize * 65536), (65536, vm.memory_size()));
        assert!(stats.used > 0 && (stats.used as usize) < vm.memory_size());
        Ok(stats)
    }
    let vm = &mut vm(Revision::One);
    let before = stats(vm)?;
    vm.compute("kept = {} for i = 1, 300000 do kept[i] = i end")?;
    let grown = stats(vm)?;
    assert!(grown.pages > before.pages && grown.used > before.used + 300_000 * 8);
    vm.compute("kept = nil")?;
    vm.collect_garbage()?;
    assert!(stats(vm)?.used < grown.used - 300_000 * 8);
    Ok(())
}

#[test]
fn revision_2() -> TestResult {
    let vm = &mut vm(Revision::Two);
    let sent = vm.compute("local t = {10, x = {}} t.me = t return t")?.returned;
    let back = vm.compute_named("", "local t = ... return t, t.me == t", &sent)?.returned;
    assert_eq!(back.value(1), &Value::Boolean(true));
    assert_eq!(back.tables.iter().map(|table| table.entries.len()).collect::<Vec<_>>(), [3, 0]);

    vm.compute("function add(a, b) return a + b end")?;
    let sum = vm.call("add", &Message::new([1.into(), Value::Float(2.5)]))?;
    assert_eq!(sum.returned.values, [Value::Float(3.5)]);

    let long = "x".repeat(1_000_000);
    let args = Message::new([long.as_str().into()]);
    let outcome = vm.compute_named("", "_home.long = ... return ... .. 'y'", &args)?;
    assert_eq!(outcome.returned.values, [format!("{long}y").as_str().into()]);
    assert_eq!(one(vm, "return #_home.long")?, 1_000_000.into()); // `get` asks for a larger buffer

    assert_eq!(failure(vm.compute_named("=rules", "error('no')", &Message::default())), b"rules:1: no");
    let unsendable = Message::new([Value::StoredFunction(1)]);
    assert!(matches!(vm.call("f", &unsendable), Err(Error::Unsendable(_))));
    Ok(())
}

/// What the VM's run waits for: `id:name(args)`.
fn asked(vm: &Vm) -> Vec<String> {
    vm.requests().map(|request| format!("{}:{}({})", request.id, request.name, request.args.show())).collect()
}

/// The values of a run that has ended.
fn ended(run: Result<Option<Outcome>, Error>) -> Result<Vec<Value>, Error> {
    Ok(run?.expect("it does not wait").returned.values)
}

#[test]
fn revision_3() -> TestResult {
    let vm = &mut vm(Revision::Three);
    let none = Message::default();
    let waits = |vm: &mut Vm, source: &str, requests: &[&str]| {
        assert!(vm.start(source, &Message::default())?.is_none() && vm.is_waiting());
        assert_eq!(asked(vm), requests);
        Ok::<_, Error>(())
    };
    vm.declare("ask")?;
    vm.declare("web.fetch")?;

    let source = "local first, second = ask('a', {1}) return first + second, web.fetch(...)";
    assert!(vm.start(source, &Message::new(["u".into()]))?.is_none());
    assert_eq!(asked(vm), [r#"1:ask("a", {[1] = 1})"#]);
    vm.answer(1, &Message::new([1.into(), 2.into()]))?;
    assert!(vm.resume()?.is_none());
    assert_eq!(asked(vm), [r#"2:web.fetch("u")"#]);
    let long = "x".repeat(1_000_000);
    vm.answer(2, &Message::new([long.as_str().into()]))?;
    assert_eq!(ended(vm.resume())?, [3.into(), long.as_str().into()]);
    assert!(!vm.is_waiting());

    // Errors, of the script and of the host.
    waits(vm, "return pcall(ask)", &["1:ask()"])?;
    vm.fail(1, "no answer")?;
    assert_eq!(ended(vm.resume())?, [Value::Boolean(false), "no answer".into()]);
    waits(vm, "ask() error('after', 0)", &["1:ask()"])?;
    vm.answer(1, &none)?;
    assert!(matches!(vm.resume(), Err(Error::Lua(message)) if message == b"after"));
    assert!(failure(vm.compute("ask()")).ends_with(b"'ask' is answered by whoever starts the run"));
    let unable = vm.start("table.sort({1, 2}, ask)", &none);
    assert!(matches!(unable, Err(Error::Lua(message)) if message.ends_with(b"'ask' can't wait inside 'table.sort'")));
    let name = "a".repeat(10_000); // the message takes more room than the guest offers at first
    vm.declare(&name)?;
    assert!(failure(vm.compute(format!("{name}()"))).ends_with(b"a' is answered by whoever starts the run"));
    assert!(matches!(vm.declare("print.x"), Err(Error::Lua(_))));

    // Tasks, and a request that is given up.
    let race = "local task = require 'task'
        return task.race(function() return ask() end, function() task.sleep(0.5) return 'late' end)";
    waits(vm, race, &["1:ask()", "2:task.sleep(0.5)"])?;
    vm.answer(2, &none)?;
    assert_eq!(ended(vm.resume())?, ["late".into()]);

    // What can't be done now, and what the others of the same VM can do meanwhile.
    waits(vm, "kept = 1 ask() kept = ask()", &["1:ask()"])?;
    assert!(matches!(vm.start("return 1", &none), Err(Error::Run(_))));
    assert!(matches!(vm.start_call("f", &none), Err(Error::Run(_))));
    assert!(matches!(vm.answer(2, &none), Err(Error::Run(_))));
    assert!(matches!(vm.answer(1, &Message::new([Value::StoredFunction(1)])), Err(Error::Unsendable(_))));
    assert_eq!(one(vm, "return kept")?, 1.into());
    assert!(failure(vm.compute("ask()")).ends_with(b"inside a function that can't"));
    vm.answer(1, &none)?;
    assert!(matches!(vm.fail(1, "again"), Err(Error::Run(_))));
    assert!(vm.resume()?.is_none());

    // Nothing of the script runs any more.
    vm.answer(2, &Message::new([2.into()]))?;
    vm.cancel()?;
    assert_eq!(one(vm, "return kept")?, 1.into());
    let stubborn =
        "local c <close> = setmetatable({}, {__close = function() kept = 3 end}) repeat pcall(ask) until false";
    waits(vm, stubborn, &["1:ask()"])?;
    vm.cancel()?;
    vm.cancel()?;
    assert_eq!(one(vm, "return kept")?, 1.into());
    let gives_up =
        "local t = require('task').spawn(ask) function give_up() t:cancel() end pcall(t.wait, t) ask() kept = 4";
    waits(vm, gives_up, &["1:ask()"])?;
    vm.call("give_up", &none)?;
    assert!(vm.is_waiting() && asked(vm).is_empty());
    vm.cancel()?;
    assert_eq!(one(vm, "return kept")?, 1.into());
    assert!(!vm.is_waiting() && asked(vm).is_empty());
    assert!(matches!(vm.resume(), Err(Error::Run(_))));
    assert!(matches!(self::vm(Revision::Two).declare("ask"), Err(Error::Revision(..))));
    Ok(())
}

#[test]
fn hostile_requests() -> TestResult {
    let vm = &mut Vm::new(hostile(), Tables::new(), 0, Revision::Three)?;
    let none = Message::default();
    let sleep: &[u8] = &[0x09, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    let [text, unknown] = [&[0x04, 1], &[0x0d, 0]].map(|values| [sleep, values].concat());
    let bad: &[&[u8]] = &[
        // Nothing is asked, and yet it waits.
        &[],
        &[0x00],
        &[0x01],
        &[0x01, 0xff, 0xff, 0xff, 0xff],
        &[0x0a, 1, 0, 0],
        &[0xff],
        // Values that are none.
        &text,
        &unknown,
        // A function that was not declared.
        &[0x09, 0, 0, 0, 0, 1, 0, 0, 0],
    ];
    for request in bad.iter().copied().chain((0..sleep.len()).map(|length| &sleep[..length])) {
        let result = vm.start(request, &none);
        assert!(matches!(result, Err(Error::Protocol(_))), "{request:?}: {result:?}");
    }

    assert!(vm.start([sleep, &[0x02, 5, 0, 0, 0, 0, 0, 0, 0]].concat(), &none)?.is_none());
    assert_eq!(asked(vm), ["1:task.sleep(5)"]);
    assert!(vm.resume()?.is_none());
    vm.answer(1, &none)?;
    assert!(matches!(vm.resume(), Err(Error::Protocol(_))));
    assert!(!vm.is_waiting());
    assert!(vm.start(sleep, &none)?.is_none());
    assert!(matches!(vm.cancel(), Err(Error::Protocol(_))));
    assert!(!vm.is_waiting());
    Ok(())
}

#[test]
fn the_guided_tour_prints_what_it_should() -> TestResult {
    let expected = std::fs::read_to_string(folder("../testdata/tour.txt"))?;
    let tour = Command::new(env!("CARGO_BIN_EXE_rust-example")).current_dir("/").output()?;
    assert!(tour.status.success(), "{tour:?}");
    assert_eq!(String::from_utf8(tour.stdout)?, expected);
    let broken = Command::new(env!("CARGO_BIN_EXE_rust-example")).arg("no such file").output()?;
    assert!(!broken.status.success() && String::from_utf8(broken.stderr)?.contains("no such file"));
    Ok(())
}

#[test]
fn keys_come_back_as_they_were() -> TestResult {
    let vm = &mut vm(Revision::One);
    let keys = [
        "42", "-7", "'42'", "'007'", "'name'", "''", r"'a\nb'", r"'\\x'", r"'\255'", "0.5", "1e300", "1/0", "-1/0",
        "true", "'é'",
    ];
    for key in keys {
        let Value::External(id) = one(vm, &format!("t = ext.table() t[{key}] = true return t"))? else {
            panic!("no external table");
        };
        let stored: Vec<_> = vm.tables().keys(id).ok_or("no table")?.into_iter().map(decode_key).collect();
        assert_eq!(stored, [one(vm, &format!("return {key}"))?], "{key}");
    }
    let plain =
        [r"\", r"\q", r"\f", r"\fx", r"\f0x1p4", r"\s\", r"\s\x1", "9223372036854775808", "-0", r"\bmaybe", "", "é"];
    for text in plain {
        assert_eq!(decode_key(text), text.into());
    }
    Ok(())
}

#[test]
fn the_hostile_guest_is_what_its_text_says() -> TestResult {
    let text = wat::parse_file(folder("../testdata/hostile.wat"))?;
    assert_eq!(text, std::fs::read(folder("../testdata/hostile.wasm"))?);
    Ok(())
}

#[test]
fn damaged_results_are_refused() -> TestResult {
    let vm = &mut Vm::new(hostile(), Tables::new(), 0, Revision::One)?;
    // The hostile guest's answer is what stands in the source.
    let mut answer = |n: i32, content: &[u8]| vm.compute([n.to_le_bytes().as_slice(), content].concat());
    assert_eq!(answer(6, &[0, 0, 0, 0, 1, 1])?.returned.values, [Value::Boolean(true)]);
    let bad: &[(i32, &[u8])] = &[
        (1, &[]),
        (3, &[]),
        (65537, &[]),
        (i32::MAX, &[]),
        (-65538, &[]),
        (i32::MIN, &[]),
        // Output longer than the result.
        (5, &[2, 0, 0, 0, 0]),
        (5, &[0xff, 0xff, 0xff, 0xff, 0]),
        // Unknown tags.
        (5, &[0, 0, 0, 0, 0x0d]),
        (5, &[0, 0, 0, 0, 0xff]),
        // Cut off.
        (5, &[0, 0, 0, 0, 0x01]),
        (6, &[0, 0, 0, 0, 0x02, 0]),
        (6, &[0, 0, 0, 0, 0x03, 0]),
        (9, &[0, 0, 0, 0, 0x04, 1, 0, 0, 0]),
        (9, &[0, 0, 0, 0, 0x05, 0xff, 0xff, 0xff, 0xff]),
        (7, &[0, 0, 0, 0, 0x07, 1, 0]),
        // Entries that are not there, nil as a key, a table that did not begin.
        (13, &[0, 0, 0, 0, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (15, &[0, 0, 0, 0, 0x08, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
        (9, &[0, 0, 0, 0, 0x09, 0, 0, 0, 0]),
    ];
    for (n, content) in bad {
        let result = answer(*n, content);
        assert!(matches!(result, Err(Error::Protocol(_))), "{n} {content:?}: {result:?}");
    }
    Ok(())
}

#[test]
fn tables_nested_200_000_levels() -> TestResult {
    let levels = 200_000;
    let mut bytes = [0x08, 1, 0, 0, 0, 0, 0, 0, 0].repeat(levels);
    bytes.push(0);
    let message = Message::decode(&bytes)?;
    assert_eq!(message.tables.len(), levels);
    assert_eq!(message.tables.last(), Some(&Table::default()));
    assert_eq!(message.encode()?.len(), 9 * levels + 9 * (levels - 1)); // as pairs: with a key each
    assert!(message.show().contains("{...}"));
    Ok(())
}

#[test]
fn a_buffer_outside_the_memory() -> TestResult {
    let vm = &mut Vm::new(hostile(), Tables::new(), 0, Revision::One)?;
    for place in [(131_072, 65_536), (-4, 65_536), (131_070, 4), (0, 3), (-1, -1)] {
        vm.export::<(i32, i32), ()>("set_buffer", place)?;
        let result = vm.compute("12345");
        assert!(matches!(result, Err(Error::Protocol(_) | Error::TooLarge { .. })), "{place:?}: {result:?}");
        assert!(matches!(vm.memory_stats(), Err(Error::Protocol(_))), "{place:?}");
    }
    Ok(())
}

#[test]
fn a_trap_is_an_error_of_its_own() -> TestResult {
    let vm = &mut Vm::new(hostile(), Tables::new(), 0, Revision::Two)?;
    assert!(matches!(vm.call("f", &Message::default()), Err(Error::Wasm(_))));
    Ok(())
}

#[test]
fn hostile_pointers() -> TestResult {
    const SIZE: i32 = 2 * 65536;
    for revision in [Revision::One, Revision::Two] {
        let vm = &mut Vm::new(hostile(), Tables::new(), 0, revision)?;
        let poke = |vm: &mut Vm, at: i32, byte: i32| vm.export::<_, ()>("poke", (at, byte));
        let set = |vm: &mut Vm, params: (i32, i32, i32, i32, i32)| vm.export::<_, i32>("set", params);
        let get = |vm: &mut Vm, params: (i32, i32, i32, i32, i32)| vm.export::<_, i32>("get", params);
        let three = |vm: &mut Vm, name: &str, params: (i32, i32, i32)| vm.export::<_, i32>(name, params);
        let peek = |vm: &mut Vm, at: i32| vm.export::<_, i32>("peek", at);

        poke(vm, 8, 0x6b)?; // the key "k" at 8
        assert_eq!(set(vm, (1, 8, 1, 0, 4))?, 0);
        assert_eq!(get(vm, (1, 8, 1, 100, 4))?, 4);

        let outside = [
            (SIZE, 1),
            (SIZE - 1, 2),
            (-1, 1),
            (-1, -1),
            (0, -1),
            (0, SIZE + 1),
            (i32::MAX, i32::MAX),
            (8, -8),
            (i32::MIN, i32::MIN),
        ];
        for (ptr, len) in outside {
            assert_eq!(set(vm, (1, ptr, len, 0, 4))?, -1);
            assert_eq!(set(vm, (1, 8, 1, ptr, len))?, -1);
            assert_eq!(get(vm, (1, ptr, len, 100, 4))?, -1);
            assert_eq!(get(vm, (1, 8, 1, ptr, len))?, -1);
            assert_eq!(three(vm, "delete", (1, ptr, len))?, -1);
            assert_eq!(three(vm, "keys", (1, ptr, len))?, -1);
        }
        assert_eq!(vm.export::<_, i32>("size", 1)?, 1);

        // Exactly at the end, and nothing at the end.
        assert_eq!(set(vm, (1, 8, 1, SIZE - 4, 4))?, 0);
        assert_eq!(get(vm, (1, 8, 1, SIZE - 4, 4))?, 4);
        assert_eq!(set(vm, (2, SIZE, 0, SIZE, 0))?, 0);
        assert_eq!(get(vm, (2, SIZE, 0, SIZE, 0))?, 0);

        // Too small a buffer stays as it was.
        poke(vm, 200, 0x55)?;
        let (too_small_value, too_small_keys) = if revision == Revision::One { (-1, -1) } else { (-5, -2) };
        assert_eq!(get(vm, (1, 8, 1, 200, 3))?, too_small_value);
        assert_eq!(three(vm, "keys", (1, 200, 0))?, too_small_keys);
        assert_eq!(peek(vm, 200)?, 0x55);
        assert_eq!(three(vm, "keys", (1, 200, 1))?, 1);
        assert_eq!(peek(vm, 200)?, 0x6b);

        // Id 0 is no table, others do not exist.
        assert_eq!(set(vm, (0, 8, 1, 0, 4))?, -1);
        assert_eq!(get(vm, (0, 8, 1, 100, 4))?, -1);
        assert_eq!(three(vm, "delete", (0, 8, 1))?, -1);
        assert_eq!(vm.export::<_, i32>("size", 0)?, 0);
        assert_eq!(three(vm, "keys", (0, 100, 10))?, -1);
        assert_eq!(get(vm, (-1, 8, 1, 100, 4))?, -1);
        assert_eq!(three(vm, "delete", (77, 8, 1))?, -1);
        assert_eq!(three(vm, "keys", (77, 100, 10))?, -1);
        assert_eq!(three(vm, "delete", (1, 8, 1))?, 0);
        assert_eq!(three(vm, "delete", (1, 8, 1))?, 0);
        assert_eq!(three(vm, "keys", (1, 100, 10))?, 0);

        // A key that is not UTF-8.
        poke(vm, 9, 0xff)?;
        assert_eq!(set(vm, (1, 9, 1, 0, 4))?, -1);

        // After growth the new memory counts.
        assert_eq!(vm.export::<_, i32>("grow", 1)?, 2);
        poke(vm, SIZE + 8, 0x6b)?;
        assert_eq!(set(vm, (3, SIZE + 8, 1, SIZE, 100))?, 0);
        assert_eq!(get(vm, (3, 8, 1, SIZE + 200, 100))?, 100);
        assert_eq!(peek(vm, SIZE + 208)?, 0x6b);
        assert_eq!(get(vm, (3, 8, 1, SIZE + 65536 - 99, 100))?, -1);
    }
    Ok(())
}
