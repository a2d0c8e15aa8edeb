//! Somebody else's `lua.wasm`: a plain one works, and one that lies gives errors, never a panic, a hang or a huge
//! allocation.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use luacell::{ComputeOptions, Engine, EngineConfig, Error, ErrorKind, Outcome, Sandbox, SandboxConfig, Value};

/// A module with everything of revision 1, in which parts can be replaced. Its `compute` returns the source as a
/// string.
struct Guest {
    parts: HashMap<&'static str, String>,
    extra: String,
}

impl Guest {
    fn new() -> Self {
        let parts = [
            ("memory", "(memory (export \"memory\") 32)"),
            ("init", "(func (export \"init\") (result i32) (i32.const 0))"),
            ("get_buffer_ptr", "(func (export \"get_buffer_ptr\") (result i32) (i32.const 1024))"),
            ("get_buffer_size", "(func (export \"get_buffer_size\") (result i32) (i32.const 65536))"),
            (
                "compute",
                "(func (export \"compute\") (param $p i32) (param $n i32) (result i32)
                   (memory.copy (i32.const 1033) (local.get $p) (local.get $n))
                   (i32.store (i32.const 1024) (i32.const 0))
                   (i32.store8 (i32.const 1028) (i32.const 4))
                   (i32.store (i32.const 1029) (local.get $n))
                   (i32.add (local.get $n) (i32.const 9)))",
            ),
            ("get_memory_stats", "(func (export \"get_memory_stats\") (param i32))"),
            ("run_gc", "(func (export \"run_gc\"))"),
            ("attach_memory_table", "(func (export \"attach_memory_table\") (param i32))"),
            ("sync_external_table_counter", "(func (export \"sync_external_table_counter\") (param i32))"),
        ];
        Guest { parts: parts.into_iter().map(|(name, text)| (name, text.to_owned())).collect(), extra: String::new() }
    }

    fn with(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.parts.insert(name, text.into());
        self
    }

    /// `compute` with this body; `$p` and `$n` are its parameters.
    fn compute(self, body: &str) -> Self {
        let text = format!("(func $compute (export \"compute\") (param $p i32) (param $n i32) (result i32) {body})");
        self.with("compute", text)
    }

    /// `compute` that answers these bytes, and that it wrote `claimed` of them.
    fn answer(self, bytes: &[u8], claimed: i32) -> Self {
        let escaped: String = bytes.iter().map(|b| format!("\\{b:02x}")).collect();
        self.compute(&format!(
            "(memory.init $answer (i32.const 1024) (i32.const 0) (i32.const {})) (i32.const {claimed})",
            bytes.len()
        ))
        .extra(&format!("(data $answer \"{escaped}\")"))
    }

    fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    fn wasm(&self) -> Vec<u8> {
        let mut names: Vec<_> = self.parts.keys().collect();
        names.sort();
        let parts: String = names.iter().map(|name| self.parts[*name].as_str()).collect::<Vec<_>>().join("\n");
        // Imports have to come first.
        let text = format!(
            "(module
               (import \"env\" \"js_ext_table_set\" (func $set (param i32 i32 i32 i32 i32) (result i32)))
               (import \"env\" \"js_ext_table_get\" (func $get (param i32 i32 i32 i32 i32) (result i32)))
               (import \"env\" \"js_ext_table_keys\" (func $keys (param i32 i32 i32) (result i32)))
               {parts} {})",
            self.extra
        );
        wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn engine(&self) -> Result<Engine, Error> {
        Engine::from_wasm(self.wasm(), config())
    }

    fn sandbox(&self) -> Result<Sandbox, Error> {
        self.engine()?.sandbox(SandboxConfig::new())
    }

    fn run(&self) -> Result<Outcome, Error> {
        self.sandbox()?.compute("source")
    }
}

fn config() -> EngineConfig {
    EngineConfig::new().call_deadline(Duration::from_millis(300)).max_memory(64 << 20)
}

/// Revision 2 on top; the functions do nothing useful.
fn revision_2() -> Guest {
    Guest::new()
        .with("get_protocol_revision", "(func (export \"get_protocol_revision\") (result i32) (i32.const 2))")
        .with("set_host_revision", "(func (export \"set_host_revision\") (param i32))")
        .with("reserve_buffer", "(func (export \"reserve_buffer\") (param i32) (result i32) (i32.const 0))")
        .with("get_error_details", "(func (export \"get_error_details\") (result i32) (i32.const 0))")
        .with("allocate_table_ids", "(func (export \"allocate_table_ids\") (param i32) (result i32) (i32.const 0))")
        .with("list_table_ids", "(func (export \"list_table_ids\") (result i32) (i32.const -1))")
}

#[test]
fn a_plain_module_works() {
    let sandbox = Guest::new().sandbox().unwrap();
    for source in ["x", "a longer one", "ü"] {
        assert_eq!(sandbox.compute(source).unwrap().values, [source.into()]);
    }
    sandbox.home().set("a", vec![1, 2]).unwrap();
    assert_eq!(sandbox.home().get("a").unwrap().as_stored_table().unwrap().len().unwrap(), 2);
    sandbox.gc().unwrap();
    sandbox.reset().unwrap();
    assert_eq!(sandbox.home().len().unwrap(), 1);
    // What needs revision 2 says so.
    let error = sandbox.compute_with("x", ComputeOptions::new().args((1,))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(sandbox.call("f", ()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(sandbox.compute(" ".repeat(70_000)).unwrap_err().kind(), ErrorKind::Conversion);
    assert_eq!(sandbox.compute("still there").unwrap().values, ["still there".into()]);
}

#[test]
fn our_own_guest_can_be_loaded_like_that() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/lua.wasm");
    let engine = Engine::from_wasm_file(path, EngineConfig::new().call_deadline(Duration::from_secs(5))).unwrap();
    let sandbox = engine.sandbox(SandboxConfig::new().memory_limit(8 << 20)).unwrap();
    let outcome = sandbox
        .compute_with("print('x') _home.t = {...} return #_home.t, {1}", ComputeOptions::new().args((1, 2, 3)))
        .unwrap();
    assert_eq!(outcome.values, [3.into(), vec![1].into()]);
    assert_eq!(outcome.output, "x\n");
    assert_eq!(sandbox.compute("error('no', 0)").unwrap_err().message(), "no");
    assert_eq!(sandbox.compute("return ('x'):rep(1e8)").unwrap_err().kind(), ErrorKind::Memory);
    sandbox.reset().unwrap();
    assert_eq!(sandbox.compute("return _home.t[3]").unwrap().values, [3.into()]);
    assert!(Engine::from_wasm_file("no such file", EngineConfig::new()).is_err());
    let hanging = engine.sandbox(SandboxConfig::new()).unwrap();
    hanging.compute("_home.kept = 1").unwrap();
    let error = hanging.compute("_home.kept = 2 while true do end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(hanging.compute("return _home.kept").unwrap().values, [1.into()]);
}

#[test]
fn what_is_no_such_module_is_refused() {
    let refused = [
        Vec::new(),
        b"\0asm".to_vec(),
        b"not wasm at all".to_vec(),
        wat::parse_str("(module)").unwrap(),
        wat::parse_str(
            "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))))",
        )
        .unwrap(),
        wat::parse_str("(module (import \"env\" \"js_ext_table_size\" (func (param i64) (result i32))))").unwrap(),
        wat::parse_str("(module (import \"env\" \"js_ext_table_size\" (func (param i32) (result i32 i32))))").unwrap(),
        wat::parse_str("(module (import \"env\" \"memory\" (memory 1)))").unwrap(),
        wat::parse_str("(module (import \"other\" \"js_ext_table_size\" (func (param i32) (result i32))))").unwrap(),
        Guest::new()
            .with("memory", "(memory (export \"memory\") i64 32)")
            .with("compute", "(func (export \"compute\") (param i32 i32) (result i32) (i32.const 0))")
            .wasm(),
        Guest::new().with("init", "").wasm(),
        Guest::new().with("init", "(func (export \"init\"))").wasm(),
        Guest::new().with("init", "(global (export \"init\") i32 (i32.const 0))").wasm(),
        Guest::new().with("run_gc", "(func (export \"run_gc\") (param i64))").wasm(),
        Guest::new().with("memory", "(memory 32) (func (export \"memory\"))").wasm(),
    ];
    for (i, wasm) in refused.iter().enumerate() {
        let error = Engine::from_wasm(wasm, config()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{i}: {error}");
    }
}

#[test]
fn a_start_that_fails() {
    let cases = [
        (Guest::new().with("init", "(func (export \"init\") (result i32) (i32.const -1))"), ErrorKind::Memory),
        (Guest::new().with("init", "(func (export \"init\") (result i32) unreachable)"), ErrorKind::Trap),
        (
            Guest::new().with("init", "(func (export \"init\") (result i32) (loop $l (br $l)) unreachable)"),
            ErrorKind::Timeout,
        ),
        (Guest::new().extra("(func $s (loop $l (br $l))) (start $s)"), ErrorKind::Timeout),
        (Guest::new().extra("(func $s unreachable) (start $s)"), ErrorKind::Trap),
        (Guest::new().with("memory", "(memory (export \"memory\") 65536)"), ErrorKind::Memory),
        (Guest::new().extra("(table 10000000 funcref)"), ErrorKind::Memory),
    ];
    for (i, (guest, kind)) in cases.into_iter().enumerate() {
        let started = Instant::now();
        let error = guest.sandbox().unwrap_err();
        assert_eq!(error.kind(), kind, "{i}: {error}");
        assert!(started.elapsed() < Duration::from_secs(20), "{i}");
    }
    // A start function may call the host before there is a memory to speak of.
    let calls =
        "(func $s (drop (call $set (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 4)))) (start $s)";
    Guest::new().extra(calls).run().unwrap();
}

#[test]
fn a_buffer_that_is_nowhere() {
    for ptr in ["-1", "0", "0x7fffffff", "0x200000", "0x1f0001"] {
        let guest = Guest::new()
            .with("get_buffer_ptr", format!("(func (export \"get_buffer_ptr\") (result i32) (i32.const {ptr}))"));
        assert_eq!(guest.sandbox().unwrap_err().kind(), ErrorKind::Internal, "{ptr}");
    }
    for size in ["-1", "0x7fffffff", "0x200000"] {
        let guest = Guest::new()
            .with("get_buffer_size", format!("(func (export \"get_buffer_size\") (result i32) (i32.const {size}))"));
        assert_eq!(guest.sandbox().unwrap_err().kind(), ErrorKind::Internal, "{size}");
    }
    let none = Guest::new().with("get_buffer_size", "(func (export \"get_buffer_size\") (result i32) (i32.const 0))");
    assert_eq!(none.run().unwrap_err().kind(), ErrorKind::Conversion);
}

#[test]
fn results_that_lie() {
    let answer = |bytes: &[u8]| Guest::new().answer(bytes, bytes.len() as i32);
    let value = |bytes: &[u8]| answer(&[&[0, 0, 0, 0], bytes].concat());
    let cases = [
        ("longer than the buffer", Guest::new().answer(b"", 65_537)),
        ("the largest length", Guest::new().answer(b"", i32::MAX)),
        ("no room for the first length", Guest::new().answer(b"xyz", 3)),
        ("more output than there is", answer(b"\xff\xff\xff\x7fabc")),
        ("negative output", answer(b"\xff\xff\xff\xffabc")),
        ("an unknown tag", value(b"\xff")),
        ("a boolean without value", value(b"\x01")),
        ("half an integer", value(b"\x02\x01\x02\x03")),
        ("half a float", value(b"\x03\x01\x02\x03")),
        ("a string that is too long", value(b"\x04\xff\xff\xff\xffabc")),
        ("a function that is too long", value(b"\x05\x10\0\0\0abc")),
        ("a built-in that is too long", value(b"\x06\x10\0\0\0abc")),
        ("table 0", value(b"\x07\0\0\0\0")),
        ("half a table id", value(b"\x07\0\0")),
        ("a huge array", value(b"\x08\xff\xff\xff\xff\0\0\0\0")),
        ("a huge number of pairs", value(b"\x08\0\0\0\0\xff\xff\xff\xff")),
        ("huge both", value(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0")),
        ("a table that announces too much", value(b"\x08\x02\0\0\0\0\0\0\0\x00")),
        ("nested announcements", value(&[b"\x08\x09\0\0\0\0\0\0\0".as_slice(); 10].concat())),
        ("a nil key", value(b"\x08\0\0\0\0\x01\0\0\0\0\0")),
        ("a NaN key", value(&[b"\x08\0\0\0\0\x01\0\0\0\x03".as_slice(), &f64::NAN.to_le_bytes(), b"\0"].concat())),
        ("a table that is not there", value(b"\x09\0\0\0\0")),
        ("a later table", value(b"\x08\x01\0\0\0\0\0\0\0\x09\x01\0\0\0")),
    ];
    for (what, guest) in cases {
        let sandbox = guest.sandbox().unwrap();
        for _ in 0..2 {
            let error = sandbox.compute("x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{what}: {error}");
        }
        sandbox.home().set("usable", 1).unwrap();
    }
    // The smallest message there is, and odd but valid ones.
    assert_eq!(answer(b"\0\0\0\0").run().unwrap().values, []);
    assert_eq!(answer(b"\x01\0\0\0\xff\0").run().unwrap().values, [Value::Nil]);
    let own = value(b"\x08\x01\0\0\0\0\0\0\0\x09\0\0\0\0").run().unwrap().into_value();
    assert_eq!(own.as_table().unwrap().get(1), own);
    let handle = value(b"\x0a\x07\0\0\0").run().unwrap().into_value();
    assert!(matches!(handle, Value::Function(_)));
    // As deep as fits the buffer.
    let deep = [[8, 1, 0, 0, 0, 0, 0, 0, 0].repeat(7000), vec![0]].concat();
    let deep = value(&deep).run().unwrap().into_value();
    assert!(deep.as_table().is_some());
}

#[test]
fn errors_that_lie() {
    let cases = [(-1, ""), (i32::MIN, ""), (-65_538, ""), (-65_537, ""), (-6, "hello")];
    for (n, message) in cases {
        let error = Guest::new().answer(message.as_bytes(), n).run().unwrap_err();
        let kind = if n < -65_537 { ErrorKind::Internal } else { ErrorKind::Runtime };
        assert_eq!(error.kind(), kind, "{n}: {error}");
    }
    let error = Guest::new().answer(b"[string \"a:1: b\"]:12: oh: no", -29).run().unwrap_err();
    assert_eq!((error.chunk(), error.line()), (Some("[string \"a:1: b\"]"), Some(12)), "{error:?}");
    let error = Guest::new().answer(b"script.lua:3: no", -17).run().unwrap_err();
    assert_eq!((error.chunk(), error.line()), (Some("script.lua"), Some(3)));
    let error = Guest::new().answer(b"\xff\xfe", -3).run().unwrap_err();
    assert_eq!(error.message_bytes(), b"\xff\xfe");
    // Details that are none.
    for details in ["-1", "0x7fffffff", "70000", "4"] {
        let guest = revision_2().answer(b"\xee\xee\xee\xee", -5).with(
            "get_error_details",
            format!("(func (export \"get_error_details\") (result i32) (i32.const {details}))"),
        );
        assert_eq!(guest.run().unwrap_err().kind(), ErrorKind::Internal, "{details}");
    }
}

#[test]
fn crashes_keep_the_tables() {
    let deep = "(call $compute (i32.add (local.get $p) (i32.const 1)) (i32.const 0)) (i32.const 1) (i32.add)";
    let cases = [
        ("unreachable", ErrorKind::Trap),
        ("(i32.load (i32.const 0x7fffffff))", ErrorKind::Trap),
        ("(i32.div_u (i32.const 1) (i32.const 0))", ErrorKind::Trap),
        (deep, ErrorKind::Trap),
        ("(loop $l (br $l)) (i32.const 0)", ErrorKind::Timeout),
    ];
    for (body, kind) in cases {
        let set = "(drop (call $set (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 1024) (i32.const 1)))";
        let sandbox = Guest::new().compute(&format!("{set} {body}")).sandbox().unwrap();
        sandbox.home().set("kept", 1).unwrap();
        for _ in 0..2 {
            let started = Instant::now();
            let error = sandbox.compute("x").unwrap_err();
            assert_eq!(error.kind(), kind, "{body}: {error}");
            assert!(started.elapsed() < Duration::from_secs(20), "{body}");
        }
        assert_eq!(sandbox.home().entries().unwrap(), [("kept".into(), 1.into())], "{body}");
    }
}

#[test]
fn memory_that_grows() {
    // To the limit and no further.
    let grow = "(block $done (loop $l (br_if $done (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br $l)))
                (i32.store (i32.const 1024) (i32.const 0)) (i32.store8 (i32.const 1028) (i32.const 2))
                (i64.store (i32.const 1029) (i64.extend_i32_u (memory.size))) (i32.const 13)";
    let pages = Guest::new().compute(grow).run().unwrap().get::<i64>().unwrap();
    assert_eq!(pages, (64 << 20) / 65_536);
    let limited =
        Guest::new().compute(grow).engine().unwrap().sandbox(SandboxConfig::new().memory_limit(4 << 20)).unwrap();
    assert_eq!(limited.compute("x").unwrap().get::<i64>().unwrap(), 64);
    // The buffer moves to new memory: what is there is read.
    let guest = revision_2()
        .extra("(global $at (mut i32) (i32.const 1024))")
        .with("get_buffer_ptr", "(func (export \"get_buffer_ptr\") (result i32) (global.get $at))")
        .with("get_buffer_size", "(func (export \"get_buffer_size\") (result i32) (select (i32.const 65536) (i32.const 100000) (i32.eq (global.get $at) (i32.const 1024))))")
        .compute(
            "(global.set $at (i32.shl (memory.grow (i32.const 2)) (i32.const 16)))
             (i32.store8 offset=4 (global.get $at) (i32.const 4)) (i32.store offset=5 (global.get $at) (i32.const 69991)) (i32.const 70000)",
        );
    assert_eq!(guest.run().unwrap().value().as_bytes().unwrap().len(), 69_991);
}

#[test]
fn revision_2_that_lies() {
    let table = || Value::from(vec![vec![1]]);
    for first in ["0", "1", "2", "-1", "-2"] {
        let guest = revision_2().with(
            "allocate_table_ids",
            format!("(func (export \"allocate_table_ids\") (param i32) (result i32) (i32.const {first}))"),
        );
        let sandbox = guest.sandbox().unwrap();
        assert_eq!(sandbox.home().set("x", table()).unwrap_err().kind(), ErrorKind::Store, "{first}");
        assert!(sandbox.home().is_empty().unwrap());
    }
    for answer in ["0", "-1", "1024", "0x7fffffff"] {
        let guest = revision_2().with(
            "reserve_buffer",
            format!("(func (export \"reserve_buffer\") (param i32) (result i32) (i32.const {answer}))"),
        );
        let sandbox = guest.sandbox().unwrap();
        assert_eq!(sandbox.compute("x".repeat(70_000)).unwrap_err().kind(), ErrorKind::Memory, "{answer}");
        assert!(sandbox.compute("x").is_ok());
    }
    for (answer, good) in [("-1", true), ("3", true), ("8", true), ("0x7fffffff", false), ("70000", false)] {
        let guest = revision_2()
            .with("list_table_ids", format!("(func (export \"list_table_ids\") (result i32) (i32.const {answer}))"));
        assert_eq!(guest.sandbox().unwrap().gc().is_ok(), good, "{answer}");
    }
    let wrong = revision_2()
        .with("list_table_ids", "(func (export \"list_table_ids\") (param i64) (result i64) (i64.const 1))");
    assert!(wrong.sandbox().unwrap().gc().is_err());
    for revision in ["-5", "0", "3", "0x7fffffff"] {
        let guest = revision_2().with(
            "get_protocol_revision",
            format!("(func (export \"get_protocol_revision\") (result i32) (i32.const {revision}))"),
        );
        guest.run().unwrap();
    }
}

#[test]
fn host_functions_are_called_with_nonsense() {
    // Every combination of odd numbers; the sum of the answers comes back, so nothing is optimised away.
    let odd = ["0", "1", "-1", "0x7fffffff", "0x80000000", "0x1fffff", "0x200000", "3"];
    let mut body = String::from("(local $sum i32)\n");
    for a in odd {
        for b in odd {
            for c in odd {
                body.push_str(&format!(
                    "(local.set $sum (i32.add (local.get $sum) (call $set (i32.const {a}) (i32.const {b}) (i32.const {c}) (i32.const {b}) (i32.const {c}))))
                     (local.set $sum (i32.add (local.get $sum) (call $get (i32.const {a}) (i32.const {b}) (i32.const {c}) (i32.const {c}) (i32.const {b}))))
                     (local.set $sum (i32.add (local.get $sum) (call $keys (i32.const {a}) (i32.const {b}) (i32.const {c}))))\n"
                ));
            }
        }
    }
    body.push_str(
        "(i32.store (i32.const 1024) (i32.const 0)) (i32.store8 (i32.const 1028) (i32.const 0)) (i32.const 5)",
    );
    let sandbox = Guest::new().compute(&body).sandbox().unwrap();
    for _ in 0..3 {
        sandbox.compute("x").unwrap();
    }
    sandbox.home().keys().unwrap();
}

#[test]
fn what_the_guest_stores_may_be_nonsense() {
    // Under the key "x" (the source) it stores its source as value.
    let guest = Guest::new().compute(
        "(drop (call $set (i32.const 1) (local.get $p) (i32.const 1) (local.get $p) (local.get $n))) (i32.const 0)",
    );
    let sandbox = guest.sandbox().unwrap();
    for value in
        [b"x\x07\0\0\0".as_slice(), b"\x07", b"\x08\xff\xff\xff\xff", b"\x07\0\0\0\0", b"\x04\xff\xff\xff\xffa"]
    {
        sandbox.compute(value).unwrap();
        let home = sandbox.home();
        assert_eq!(home.entries().unwrap_err().kind(), ErrorKind::Store);
        assert_eq!(home.to_table().unwrap_err().kind(), ErrorKind::Store);
        for key in home.keys().unwrap() {
            assert_eq!(home.get(key.clone()).unwrap_err().kind(), ErrorKind::Store);
            assert!(home.remove(key).unwrap());
        }
    }
    // A reference to itself, and to a table that does not exist.
    sandbox.compute(b"\x07\x07\x07\x07\x07").unwrap();
    sandbox.gc().unwrap();
    assert!(sandbox.home().get("\x07").unwrap().as_stored_table().unwrap().is_empty().unwrap());
}
