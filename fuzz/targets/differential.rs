//! Random programs give the same in luacell and in native PUC Lua 5.4.9: what they emit, and the error that ends them.
//!
//! Programs are made so that nothing in them depends on addresses, on the order of `pairs`, on time or on how much
//! memory there is.
#![no_main]

use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use luacell::{ComputeOptions, Sandbox};

unsafe extern "C" {
    fn luaL_newstate() -> *mut c_void;
    fn luaL_openlibs(state: *mut c_void);
    fn luaL_loadbufferx(state: *mut c_void, text: *const c_char, len: usize, name: *const c_char, mode: *const c_char) -> c_int;
    fn lua_pcallk(state: *mut c_void, args: c_int, results: c_int, handler: c_int, context: isize, k: *const c_void) -> c_int;
    fn luaL_tolstring(state: *mut c_void, index: c_int, len: *mut usize) -> *const c_char;
    fn lua_close(state: *mut c_void);
}

/// What the program emits, and its error; by native Lua.
fn native(source: &str) -> Vec<u8> {
    // SAFETY: a state of its own, used as Lua's manual says; the text is copied before the state is closed.
    unsafe {
        let state = luaL_newstate();
        luaL_openlibs(state);
        let name = c"=fuzz";
        if luaL_loadbufferx(state, source.as_ptr().cast(), source.len(), name.as_ptr(), c"t".as_ptr()) == 0 {
            lua_pcallk(state, 0, 1, 0, 0, std::ptr::null());
        }
        let mut len = 0;
        let text = luaL_tolstring(state, -1, &mut len);
        let copy = std::slice::from_raw_parts(text.cast::<u8>(), len).to_vec();
        lua_close(state);
        copy
    }
}

fn sandboxed(source: &str) -> Vec<u8> {
    thread_local! {
        static LUA: Sandbox = Sandbox::new().expect("a sandbox");
    }
    LUA.with(|lua| {
        lua.reset().expect("it starts anew");
        match lua.compute_with(source, ComputeOptions::new().name("=fuzz")) {
            Ok(outcome) => outcome.get::<luacell::LuaString>().map(|s| s.as_bytes().to_vec()).unwrap_or_default(),
            Err(error) => error.message_bytes().to_vec(),
        }
    })
}

/// Shows values without addresses; a NaN has no sign, which depends on the processor.
const PRELUDE: &str = "local out = {} \
local function show(v) local t = math.type(v) \
if t == 'integer' then return string.format('%d', v) elseif v ~= v then return 'nan' elseif t == 'float' then return string.format('%a', v) \
elseif type(v) == 'string' then return string.format('%q', v) elseif type(v) == 'table' then return 'table ' .. rawlen(v) \
elseif type(v) == 'boolean' or v == nil then return tostring(v) else return type(v) end end \
local function emit(...) for i = 1, select('#', ...) do out[#out + 1] = show((select(i, ...))) end out[#out + 1] = '' end \
local function plain(v) local t = type(v) return (t == 'table' or t == 'function' or t == 'thread') and t or v end \
local g1, g2, g3 = 1, 'two', {3, 4, x = 5} local depth = 0 ";

const NAMES: &[&str] = &["g1", "g2", "g3", "a", "b", "c"];
const NUMBERS: &[&str] = &[
    "0", "1", "-1", "2", "3", "7", "10", "255", "0x7fffffffffffffff", "math.mininteger", "math.maxinteger", "0.0", "-0.0", "0.5", "1e15", "1e100",
    "-1.5", "math.huge", "-math.huge", "3.0", "1e308", "5e-324", "0x1p-3", "2^53", "1/3",
];
const STRINGS: &[&str] = &["''", "'a'", "'abc'", "'10'", "'0x10'", "' 5 '", "'1e2'", "'\\0\\255'", "'%d %s'", "'a,b,,c'", "'äöü'", "('x'):rep(40)"];
const BINARY: &[&str] = &[
    "+", "-", "*", "/", "//", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or", "&", "|", "~", "<<", ">>",
];
const FORMATS: &[&str] = &["%d", "%5d", "%-5d|", "%x", "%g", "%.3f", "%5.1f", "%e", "%s", "%10s", "%.2s", "%q", "%c", "%i", "%a", "%%", "%o", "%u", "%X"];
const PATTERNS: &[&str] = &["'%a+'", "'(%w)(%w)'", "'.-'", "'^a'", "'c$'", "'[^,]*'", "'%d*'", "'()'", "'%f[%w]%w+'", "'%b()'", "'(a)%1'", "'['", "'%'"];

struct Program<'a, 'b> {
    from: &'a mut Unstructured<'b>,
    text: String,
    /// What is left of the size of the program.
    room: u32,
}

impl Program<'_, '_> {
    fn pick(&mut self, from: &'static [&'static str]) -> Result<&'static str> {
        self.from.choose(from).copied()
    }

    fn add(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn expression(&mut self) -> Result<()> {
        if self.room == 0 || self.from.is_empty() {
            self.add("1");
            return Ok(());
        }
        self.room -= 1;
        match self.from.int_in_range(0..=27)? {
            0..=3 => {
                let text = self.pick(NUMBERS)?;
                self.add(text);
            }
            4 => {
                let n = self.from.arbitrary::<i64>()?;
                let _ = write!(self.text, "({n})").map(|()| if n == i64::MIN { self.text.push_str(" // 1") });
            }
            5 => {
                let x = self.from.arbitrary::<f64>()?;
                if x.is_finite() {
                    let _ = write!(self.text, "({x:?})");
                } else {
                    self.add("(0/0)");
                }
            }
            6..=7 => {
                let text = self.pick(STRINGS)?;
                self.add(text);
            }
            8..=10 => {
                let text = self.pick(NAMES)?;
                self.add(text);
            }
            11..=15 => {
                let operator = self.pick(BINARY)?;
                self.add("(");
                self.expression()?;
                let _ = write!(self.text, " {operator} ");
                self.expression()?;
                self.add(")");
            }
            16 => {
                let operator = self.pick(&["-", "not ", "#", "~"])?;
                let _ = write!(self.text, "({operator}");
                self.expression()?;
                self.add(")");
            }
            17 => self.call("string.format", |p| {
                let format = p.pick(FORMATS)?;
                let _ = write!(p.text, "'{format}', plain(");
                p.expression()?;
                p.add(")");
                Ok(())
            })?,
            18 => {
                let name = self.pick(&[
                    "math.floor", "math.ceil", "math.abs", "math.tointeger", "tonumber", "math.type", "type", "string.len", "string.reverse",
                    "string.upper", "math.sqrt", "string.byte", "utf8.len", "utf8.char", "string.char", "next", "rawlen", "math.ult", "utf8.codepoint",
                ])?;
                self.call(name, Self::expression)?;
            }
            19 => {
                let name = self.pick(&[
                    "string.sub", "string.rep", "math.fmod", "math.max", "math.min", "rawequal", "tonumber", "select", "string.byte", "table.unpack",
                    "utf8.offset", "math.ult", "string.pack", "rawget",
                ])?;
                // Nothing large.
                let small = name == "string.rep" || name == "table.unpack";
                self.call(name, |p| {
                    p.expression()?;
                    if small {
                        p.add(", 3");
                        return Ok(());
                    }
                    p.add(", ");
                    p.expression()
                })?;
            }
            20 => {
                let name = self.pick(&["string.find", "string.match", "string.gsub"])?;
                let pattern = self.pick(PATTERNS)?;
                let replaced = if name == "string.gsub" { ", '<%0>'" } else { "" };
                self.add("(");
                self.call(name, |p| {
                    p.add("tostring(type(g2) == 'string' and g2 or ");
                    let text = p.pick(STRINGS)?;
                    let _ = write!(p.text, "{text}), {pattern}{replaced}");
                    Ok(())
                })?;
                self.add(")");
            }
            21 => {
                self.add("{");
                for _ in 0..self.from.int_in_range(0..=3)? {
                    self.expression()?;
                    self.add(", ");
                }
                self.add("x = ");
                self.expression()?;
                self.add("}");
            }
            22 => {
                self.add("(g3)[");
                self.expression()?;
                self.add("]");
            }
            23 => {
                self.add("(function(a, b, ...) local c = ... ");
                self.block(2)?;
                self.add(" return a, b, ... end)(");
                self.expression()?;
                self.add(", ");
                self.expression()?;
                self.add(")");
            }
            24 => {
                self.add("select(-1, pcall(function() local a, b, c = 1, 2, 3 ");
                self.block(2)?;
                self.add(" end))");
            }
            25 => {
                self.add("select(2, coroutine.resume(coroutine.create(function(a) local b, c = 1 ");
                self.block(1)?;
                self.add(" coroutine.yield(a) end), ");
                self.expression()?;
                self.add("))");
            }
            26 => {
                let event = self.pick(&["__add", "__index", "__eq", "__lt", "__concat", "__len", "__call", "__unm", "__tostring", "__close", "__name"])?;
                let _ = write!(self.text, "setmetatable({{}}, {{{event} = function(a, b) local c = 0 ");
                self.block(1)?;
                self.add(" return b end})");
            }
            _ => self.call("table.concat", |p| {
                p.add("{");
                p.expression()?;
                p.add(", ");
                p.expression()?;
                p.add("}, ',' ");
                Ok(())
            })?,
        }
        Ok(())
    }

    fn call(&mut self, name: &str, arguments: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let _ = write!(self.text, "{name}(");
        arguments(self)?;
        self.add(")");
        Ok(())
    }

    fn block(&mut self, most: u32) -> Result<()> {
        for _ in 0..self.from.int_in_range(0..=most)? {
            self.statement()?;
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<()> {
        if self.room == 0 || self.from.is_empty() {
            return Ok(());
        }
        self.room -= 1;
        match self.from.int_in_range(0..=11)? {
            0..=2 => self.call("emit", Self::expression)?,
            3..=4 => {
                let name = self.pick(NAMES)?;
                let _ = write!(self.text, "{name} = ");
                self.expression()?;
            }
            5 => {
                self.add("if ");
                self.expression()?;
                self.add(" then ");
                self.block(2)?;
                self.add(" else ");
                self.block(1)?;
                self.add(" end");
            }
            6 => {
                let step = self.pick(&["1", "2", "-1", "0.5", "3"])?;
                let _ = write!(self.text, "for c = 1, 4, {step} do local a, b = c ");
                self.block(2)?;
                self.add(" end");
            }
            7 => {
                self.add("do local a <const>, b <close> = 1, nil ");
                self.block(2)?;
                self.add(" end");
            }
            8 => {
                self.add("if type(g3) == 'table' then g3[");
                self.expression()?;
                self.add("] = ");
                self.expression()?;
                self.add(" end");
            }
            9 => {
                let call = self.pick(&["table.insert(g3, 1, 9)", "table.remove(g3)", "table.sort(g3)", "table.move(g3, 1, 3, 2)", "error(g1)", "error(g2, 2)"])?;
                self.add(call);
            }
            10 => {
                self.add("do local n = 0 ::again:: n = n + 1 if n < 3 then goto again end emit(n) end");
            }
            _ => {
                self.add("depth = depth + 1 if depth < 20 then local function f(a, ...) local b, c = ... ");
                self.block(2)?;
                self.add(" return a end emit(f(");
                self.expression()?;
                self.add(", g1, g2)) end");
            }
        }
        self.add("\n");
        Ok(())
    }
}

fn program(bytes: &[u8]) -> Option<String> {
    let mut from = Unstructured::new(bytes);
    let mut program = Program { from: &mut from, text: String::from(PRELUDE), room: 60 };
    program.add("local a, b, c = 0, 'b', 2.5 local ok, problem = pcall(function(...)\n");
    for _ in 0..8 {
        program.statement().ok()?;
    }
    program.add("end, 1, 2) out[#out + 1] = ok and 'ok' or show(problem) return table.concat(out, ' ')");
    Some(program.text)
}

/// Which of two wrong arguments is met first is up to the C compiler (math.fmod), so that is left out of messages.
fn comparable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut parts = text.split("bad argument #");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("bad argument");
        out.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    out
}

fuzz_target!(|bytes: &[u8]| {
    let Some(source) = program(bytes) else { return };
    let (theirs, ours) = (comparable(&native(&source)), comparable(&sandboxed(&source)));
    // The one has a limit for its memory, the other none.
    if ours.contains("not enough memory") {
        return;
    }
    assert!(
        theirs == ours,
        "{source}\nnative:  {theirs}\nluacell: {ours}"
    );
});
