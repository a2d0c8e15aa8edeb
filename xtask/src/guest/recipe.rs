//! Everything that decides what `lua.wasm` looks like: sources, flags, limits.
//! Change a value here and the module's checksum changes.

use super::meter::Uncounted;

/// Version of the crate that carries Lua's sources, and the folder in it.
pub const LUA_CRATE: &str = "lua-src";
pub const LUA_CRATE_VERSION: &str = "551.1.0";
pub const LUA_FOLDER: &str = "lua-5.4.9";

/// The compiler: clang with wasi-libc, from this PyPI wheel.
pub const ZIG_PACKAGE: &str = "ziglang";
pub const ZIG_VERSION: &str = "0.15.2";

/// Lua's own files. Left out: liolib and loadlib (no files here), linit (the guest has its own), the two programs.
pub const LUA_FILES: &[&str] = &[
    "lapi.c",
    "lauxlib.c",
    "lbaselib.c",
    "lcode.c",
    "lcorolib.c",
    "lctype.c",
    "ldblib.c",
    "ldebug.c",
    "ldo.c",
    "ldump.c",
    "lfunc.c",
    "lgc.c",
    "llex.c",
    "lmathlib.c",
    "lmem.c",
    "lobject.c",
    "lopcodes.c",
    "loslib.c",
    "lparser.c",
    "lstate.c",
    "lstring.c",
    "lstrlib.c",
    "ltable.c",
    "ltablib.c",
    "ltm.c",
    "lundump.c",
    "lutf8lib.c",
    "lvm.c",
    "lzio.c",
];

/// Where Lua's files and the guest's find headers.
pub const INCLUDES: &[&str] = &["-Ilua", "-Isrc", "-Isrc/lua"];

/// The header that every file is compiled with: the settings that Lua takes as macros.
pub const FORCED_INCLUDE: &str = "src/lua/luaconf_guest.h";

/// Compiler flags. The processor has what wasmtime, WAMR's fast interpreter, wazero and Node 20 all load.
pub const COMPILE_FLAGS: &[&str] = &[
    "-target",
    "wasm32-wasi",
    "-mcpu=mvp+bulk_memory+sign_ext+nontrapping_fptoint+mutable_globals",
    "-std=gnu11",
    "-O3",
    "-flto",
    "-fno-stack-protector",
    "-Wall",
    "-Wextra",
    // What the patches leave unused, such as Lua's `loadfile`.
    "-Wno-unused-function",
];

/// Files of the guest that are compiled for size: what they do takes long elsewhere, if at all.
pub const SMALL_FILES: &[&str] = &[
    "src/bigint/module.c",
    "src/bigint/number.c",
    "src/bigint/text.c",
    "src/json/decode.c",
    "src/json/encode.c",
    "src/json/module.c",
    "src/script/library.c",
    "src/script/modules.c",
    "src/script/scheduler.c",
    "src/script/task_module.c",
    "src/values/builtins.c",
    "src/values/host_values.c",
    "src/values/classes.c",
    "src/values/path.c",
];

/// Files of wasi-libc, in the wheel's `lib/libc`, that are compiled again with other settings than zig's, and so take
/// the place of those in its library: number formatting and parsing.
pub const LIBC_FILES: &[&str] = &[
    "wasi/libc-top-half/musl/src/stdio/vfprintf.c",
    "wasi/libc-top-half/musl/src/internal/floatscan.c",
    "wasi/libc-top-half/musl/src/stdlib/strtod.c",
];
pub const LIBC_FORCED_INCLUDE: &str = "src/lua/libc_numbers.h";

/// The guest's own file in place of one of the C library.
pub const LIBC_SUBSTITUTE: &str = "src/base/sbrk.c";

/// Where those files find the headers that are private to wasi-libc, in this order.
pub const LIBC_INCLUDES: &[&str] = &[
    "wasi/libc-top-half/musl/src/internal",
    "wasi/libc-top-half/musl/src/include",
    "musl/src/internal",
    "musl/src/include",
    "wasi/libc-top-half/headers/private",
];

/// Room for C's stack, at the start of the memory so that overrunning it traps.
pub const STACK_SIZE: u32 = 512 * 1024;

/// Initial memory: 32 pages, as the contract says.
pub const INITIAL_PAGES: u64 = 32;

/// The only functions that the finished module may import, and must: all five of them, from `env`.
pub const IMPORTS: &[&str] =
    &["js_ext_table_delete", "js_ext_table_get", "js_ext_table_keys", "js_ext_table_set", "js_ext_table_size"];

/// Exports that the linker adds and the module does not need.
pub const DROPPED_EXPORTS: &[&str] = &["_initialize", BUDGET, BUDGET_SPENT];

/// The linker's function that runs constructors. Nobody calls it in the finished module, so it must be empty.
pub const CONSTRUCTORS: &str = "__wasm_call_ctors";

/// Names that the lowering of errors goes by.
pub const THROW_IMPORT: &str = "luacell_throw";
pub const TRY_FUNCTION: &str = "luacell_try";
pub const STACK_POINTER: &str = "__stack_pointer";

/// Exports through which an error may leave although nothing would catch it. None should.
pub const THROWING_EXPORTS: &[&str] = &[];

/// Names that metering goes by: the variable with the budget and what to call when it is used up.
pub const BUDGET: &str = "luacell_budget";
pub const BUDGET_SPENT: &str = "luacell_budget_spent_here";

/// Files of Lua whose loops are metered and may be left by an error at each turn. The interpreter, tables, strings and
/// the collector are not among them: those are left where patch 51 says.
pub const METERED_FILES: &[&str] = &[
    "lauxlib.c",
    "lbaselib.c",
    "lcode.c",
    "lcorolib.c",
    "ldblib.c",
    "llex.c",
    "loslib.c",
    "lparser.c",
    "lstrlib.c",
    "ltablib.c",
    "lutf8lib.c",
];

/// Functions besides, of the C library and of Lua, that may be left by an error at each turn: they hold nothing, and
/// read text of any length.
pub const CHECKED_FUNCTIONS: [&str; 5] = ["luaO_str2num", "luacell_strtod", "strtod", "strpbrk", "strspn"];

/// The interpreter: the loops around its dispatch of instructions are left alone, because patch 40 counts what goes
/// round in them.
pub const INTERPRETER: &str = "luaV_execute";

/// Functions whose loops the pass leaves alone, because they are bounded or counted elsewhere. `cargo xtask guest`
/// fails when one has other loops than it is listed with.
pub const UNCOUNTED_LOOPS: &[Uncounted] = &[
    Uncounted { name: "luaS_newlstr", loops: 2, why: "a short string has 40 bytes, and its chain counts in patch 40" },
    Uncounted { name: "luaH_getstr", loops: 1, why: "chains count in patch 40" },
    Uncounted { name: "luaH_getint", loops: 1, why: "chains count in patch 40" },
    Uncounted { name: "luaH_get", loops: 3, why: "chains count in patch 40" },
    Uncounted { name: "getgeneric", loops: 1, why: "chains count in patch 40" },
    Uncounted { name: "luacell_memcmp", loops: 2, why: "it counts the bytes itself, 64 for one" },
    Uncounted { name: "luacell_memchr", loops: 2, why: "it counts the bytes itself, 64 for one" },
    Uncounted { name: "luacell_strcmp", loops: 1, why: "it counts the bytes itself, 64 for one" },
    Uncounted { name: "luacell_strlen", loops: 2, why: "it counts the bytes itself, 64 for one" },
    Uncounted { name: "luacell_strspn", loops: 2, why: "it counts the bytes itself, 64 for one; sets are short" },
    Uncounted { name: "luacell_decimal", loops: 1, why: "it takes no more than 19 digits" },
];
