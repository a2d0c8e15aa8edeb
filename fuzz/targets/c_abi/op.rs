//! What is called, with what.

use std::ffi::c_char;
use std::ptr::null;

use arbitrary::Arbitrary;
use luacell_ffi::config::{LUACELL_UNLIMITED, LUACELL_ZERO, luacell_limits};

/// An object of its kind by number, or NULL.
pub type Slot = u8;

#[derive(Arbitrary, Clone, Debug)]
pub enum Text {
    Known(u8),
    Any(Vec<u8>),
    Null,
}

#[derive(Arbitrary, Clone, Debug)]
pub struct Limits {
    pub instructions: u16,
    pub others: [u8; 6],
    pub size: u8,
}

#[derive(Arbitrary, Clone, Debug)]
pub struct Config {
    pub limits: Limits,
    pub store: Option<Slot>,
    pub flags: u8,
    pub seed: u64,
    pub retries: i8,
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Read {
    Boolean,
    Integer,
    Number,
    Bytes,
    Name,
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Io {
    Input,
    Output,
    Meta,
    Home,
    Export,
    Clear,
    Collect,
    Stats,
    Tables,
}

#[derive(Arbitrary, Clone, Debug)]
pub enum Op {
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Bytes(Text),
    Table,
    Clone(Slot),
    Read(Slot, Read),
    Compare(Slot, Slot),
    List,
    Push(Slot, Slot),
    PushOther(Slot, Text),
    PushOwn(Slot, u8),
    Put(Slot, u8, Slot),
    PutOwn(Slot, u8, u8),
    Item(Slot, u8),
    TableGet(Slot, Slot),
    TableField(Slot, Text),
    TableSet(Slot, Slot, Slot),
    TableSetField(Slot, Text, Slot),
    TableAppend(Slot, Slot),
    TableCount(Slot),
    TableEntries(Slot),
    TableCopy(Slot),
    TableClear(Slot),
    Builder,
    BuilderAdd(Slot),
    BuilderSet(Slot, u8, Slot, Slot),
    BuilderSetTable(Slot, u8, Slot, u8),
    BuilderSetKey(Slot, u8, u8, Slot),
    BuilderFinish(Slot, u8),
    Sandbox(Option<Config>),
    SandboxFrom(Slot, Option<Config>),
    Compute { sandbox: Slot, source: Text, options: Option<(Text, Slot, Option<Limits>)> },
    Call { sandbox: Slot, name: Text, options: Option<(Text, Slot, Option<Limits>)> },
    CallFunction(Slot, Slot),
    Declare(Slot, Text),
    Start { sandbox: Slot, source: Text, is_call: bool, options: Option<(Text, Slot, Option<Limits>)> },
    WaitingRun(Slot),
    Requests(Slot),
    AnswerRequest { run: Slot, request: u8, values: Slot },
    FailRequest { run: Slot, request: u8, error: Slot },
    Resume(Slot),
    Result(Slot),
    CancelRun(Slot),
    Outcome(Slot),
    Io(Slot, Io),
    SetIo(Slot, Io, Slot),
    Import(Slot, Text),
    ImportOwn(Slot, Slot),
    Register { sandbox: Slot, name: Text, function: bool, repeatable: bool },
    Unregister(Slot, Text),
    Reset(Slot),
    Close(Slot),
    Interrupt(Slot),
    Interrupter(Slot),
    InterruptLater(Slot),
    Snapshot(Slot),
    Restore(Slot, Slot),
    Fork(Slot),
    SnapshotBytes(Slot),
    SnapshotOf(Text),
    SnapshotOfOwn(Slot),
    Store { missing: bool },
    SyncStore(Slot),
    Error(Text),
    Raise(Slot),
    Inspect(Slot),
    /// From a host function, ends what it does: how it answers.
    Answer(u8, Slot),
    FreeValue(Slot),
    FreeList(Slot),
    FreeOutcome(Slot),
    FreeRun(Slot),
    FreeError(Slot),
    FreeSandbox(Slot),
    FreeSnapshot(Slot),
    FreeStore(Slot),
    FreeInterrupter(Slot),
    FreeBuilder(Slot),
}

#[derive(Arbitrary, Debug)]
pub struct Input {
    /// What stores and module searches answer.
    pub answers: Vec<u8>,
    pub ops: Vec<Op>,
}

pub const TEXTS: [&str; 27] = [
    "f",
    "game.f",
    "x",
    "_home",
    "string",
    "m",
    "return 1",
    "return ...",
    "return {1, 2, x = {y = 3}}, f, print",
    "function x(...) return ... end return x",
    "x = (x or 0) + 1 _home.n = x _home.t = {x} return _home, _home.t, x",
    "return f(1, 'two', {3}, print)",
    "return pcall(f, ...)",
    "print('a', 1) error({code = 1})",
    "return coroutine.wrap(function(...) return f(...) end)(...)",
    "while true do end",
    "local t = {} while true do t[#t + 1] = ('x'):rep(10000) end",
    "return require('m')",
    "for k, v in pairs(_home) do _home[k] = nil end _home.f = f _home[1] = math.pi",
    "_io.output = _io.input return _io.meta",
    "setmetatable({}, {__gc = function() f(1) end}) collectgarbage()",
    "local t <close> = setmetatable({}, {__close = function() f() end}) f() error('x')",
    "return game.f(function(...) return f(...) end)",
    "return ext.table(), ('x'):rep(1000), 0/0, -0.0, math.mininteger",
    "local a = f(1) _home.n = a return pcall(f, {a}, print)",
    "local task = require 'task' return task.all(function() return f(1) end, function() return pcall(f, 2) end)",
    "return require 'task'.each({1, 2, 3}, f, {limit = 2})",
];

impl Text {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Text::Known(n) => TEXTS[*n as usize % TEXTS.len()].as_bytes(),
            Text::Any(bytes) => bytes,
            Text::Null => &[],
        }
    }

    pub fn data(&self) -> *const c_char {
        match self {
            Text::Null => null(),
            _ => self.bytes().as_ptr().cast(),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Text::Null => 3,
            _ => self.bytes().len(),
        }
    }
}

/// Of no version of any structure.
const WRONG_SIZE: usize = 5;

/// Whether there is a structure that has to be refused.
pub fn is_wrong(limits: *const luacell_limits) -> bool {
    unsafe { limits.as_ref() }.is_some_and(|limits| limits.size == WRONG_SIZE)
}

pub fn limits(given: &Limits) -> luacell_limits {
    let small = |n: u8| match n {
        0..100 => 0,
        100..110 => LUACELL_ZERO,
        110..120 => LUACELL_UNLIMITED,
        n => u64::from(n) * u64::from(n),
    };
    let [memory, output, store, entries, calls, source] = given.others;
    let size = match given.size {
        0..230 => size_of::<luacell_limits>(),
        230..240 => 24,
        _ => WRONG_SIZE,
    };
    luacell_limits {
        size,
        memory_limit: small(memory).saturating_mul(1000),
        // Never without: a run has to end.
        instruction_limit: if given.instructions == 0 { LUACELL_ZERO } else { u64::from(given.instructions) },
        timeout_ms: 0,
        output_limit: small(output),
        store_limit: small(store),
        store_entries: small(entries),
        host_call_limit: small(calls),
        source_limit: small(source),
    }
}
