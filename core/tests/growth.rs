//! A script can't make the process grow: with a memory limit M by no more than 4 M + 16 MiB beyond what it may store
//! and print. It is the memory of the whole process that tells, so each attempt runs in a process of its own: this
//! program, started again.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(feature = "static"), not(feature = "pulley")))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use luacell::{Error, Sandbox, SandboxConfig, StoreLimit, Value};

const MEMORY: u64 = 4 << 20;
const STORE: u64 = 1 << 20;
const OUTPUT: u64 = 1 << 20;

/// Of the promise, in bytes.
const BOUND: u64 = 4 * MEMORY + (16 << 20) + STORE + OUTPUT;

/// Names the attempt in the process that makes it.
const ATTEMPT: &str = "LUACELL_TEST_GROWTH";

/// Memory of this process in bytes: `VmRSS` now, `VmHWM` the most that it was.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Something that a script tries, with host functions that pass on, fail and forget.
struct Attempt {
    name: &'static str,
    source: &'static str,
}

const ATTEMPTS: &[Attempt] = &[
    Attempt { name: "strings", source: "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(i) end" },
    Attempt { name: "one string", source: "local s = 'x' while true do s = s .. s end" },
    Attempt {
        name: "one string in each slab of each size",
        source: "local base, keep = ('abcdefgh'):rep(100), {}
            for len = 41, 489, 8 do
              collectgarbage('stop')
              local k, per = {}, 4060 // ((len + 24) // 8 * 8)
              pcall(function()
                while collectgarbage('count') < 3400 do
                  for j = 1, per - 1 do local s = base:sub(1, len) end
                  k[#k + 1] = base:sub(1, len)
                end
              end)
              keep[#keep + 1] = k
              collectgarbage('restart') collectgarbage()
              if collectgarbage('count') > 3000 then break end
            end",
    },
    Attempt {
        name: "holes between large strings",
        source: "local keep = {}
            for size = 600, 60000, 200 do
              local k = {}
              pcall(function()
                for i = 1, 1e6 do
                  k[i] = ('x'):rep(size)
                  if collectgarbage('count') > 3400 then break end
                end
              end)
              local few = {}
              for i = 1, #k, 50 do few[#few + 1] = k[i] end
              keep[#keep + 1] = few
              k = nil
              collectgarbage()
            end",
    },
    Attempt {
        name: "tables that grow",
        source: "local all = {} for i = 1, 1e9 do local t = {} all[i] = t for j = 1, i * i do t[j] = j end end",
    },
    Attempt {
        name: "coroutines",
        source: "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() local a = i coroutine.yield() end) coroutine.resume(t[i]) end",
    },
    Attempt { name: "deletions of absent keys", source: "for i = 1, 1e9 do _home[i] = nil end" },
    Attempt {
        name: "deletions of long absent keys",
        source: "local s = ('x'):rep(100000) for i = 1, 1e9 do _home[s .. i] = nil end",
    },
    Attempt {
        name: "deletions of keys that were just set",
        source: "for i = 1, 1e9 do _home[i] = i _home[i] = nil end",
    },
    Attempt {
        name: "long keys",
        source: "local s = ('x'):rep(50000) for i = 1, 1e9 do _home[s .. i] = 1 _home[s .. i] = nil end",
    },
    Attempt {
        name: "deletions in new tables",
        source: "for i = 1, 1e9 do local t = ext.table() t.x = 1 t.x = nil end",
    },
    Attempt {
        name: "reads of absent keys",
        source: "local s = ('x'):rep(1000) for i = 1, 300000 do local v = _home[s .. i] end",
    },
    Attempt { name: "small entries", source: "for i = 1, 1e9 do _home[i] = true end" },
    Attempt { name: "one entry again and again", source: "for i = 1, 200000 do _home.x = 'text ' .. i end" },
    Attempt { name: "large entries again and again", source: "for i = 1, 2000 do _home.x = ('x'):rep(500000) end" },
    Attempt { name: "tables in tables", source: "for i = 1, 1e9 do _home.t = {{}, {}, {}} end" },
    Attempt { name: "tables with metatables", source: "for i = 1, 1e9 do setmetatable(ext.table(), {}) end" },
    Attempt {
        name: "going through many entries",
        source: "for i = 1, 50000 do _home[i] = i end for n = 1, 5 do for k, v in pairs(_home) do end end",
    },
    Attempt { name: "output", source: "while true do print(('x'):rep(1000)) end" },
    Attempt { name: "a large error", source: "error(('x'):rep(1000000))" },
    Attempt { name: "a large value as error", source: "local t = {} for i = 1, 30000 do t[i] = {} end error(t)" },
    Attempt { name: "errors of the host", source: "for i = 1, 500 do pcall(fail, ('x'):rep(500000) .. i) end" },
    Attempt {
        name: "errors of the host that are kept",
        source: "local t = {} for i = 1, 2000 do t[i] = select(2, pcall(fail, ('x'):rep(1000) .. i)) end fail('y')",
    },
    Attempt { name: "small errors of the host", source: "for i = 1, 100000 do pcall(fail, i) end" },
    Attempt {
        name: "values that the host raises",
        source: "local t = {} for i = 1, 20000 do t[i] = {} end for i = 1, 200 do pcall(raise, t) end",
    },
    Attempt { name: "a large string", source: "return ('x'):rep(1500000)" },
    Attempt {
        name: "a string many times",
        source: "local s = ('x'):rep(40) local t = {} for i = 1, 25000 do t[i] = s end return t",
    },
    Attempt { name: "many results", source: "return table.unpack({}, 1, 60000)" },
    Attempt { name: "empty tables", source: "local t = {} for i = 1, 30000 do t[i] = {} end return t" },
    Attempt { name: "small tables", source: "local t = {} for i = 1, 20000 do t[i] = {a = 1} end return t" },
    Attempt {
        name: "tables of nil",
        source: "local t = {} for i = 1, 100 do t[i] = {n = 1, table.unpack({}, 1, 2000)} t[i][2000] = 1 end return t",
    },
    Attempt { name: "one table many times", source: "local t = {} for i = 1, 100000 do t[i] = t end return t" },
    Attempt { name: "pairs", source: "local t = {} for i = 1, 30000 do t['k' .. i] = i end return t" },
    Attempt {
        name: "functions",
        source: "local t = {} for i = 1, 20000 do t[i] = function() return i end end return t",
    },
    Attempt { name: "one function many times", source: "local t = {} for i = 1, 60000 do t[i] = print end return t" },
    Attempt {
        name: "one stored table many times",
        source: "local s, t = ext.table(), {} for i = 1, 60000 do t[i] = s end return t",
    },
    Attempt {
        name: "arguments",
        source: "local t = {} for i = 1, 20000 do t[i] = {} end for i = 1, 20 do drop(t) end",
    },
    Attempt {
        name: "arguments that are too much",
        source: "local t = {} for i = 1, 1e9 do t[i] = {} if i % 10000 == 0 then pcall(drop, t) end end",
    },
    Attempt {
        name: "what the host gives back",
        source: "local t = {} for i = 1, 10000 do t[i] = {} end for i = 1, 30 do t = same(t) end",
    },
    Attempt { name: "modules that are missing", source: "for i = 1, 100000 do pcall(require, 'module' .. i) end" },
    Attempt {
        name: "long names of modules",
        source: "local s = ('x'):rep(10000) for i = 1, 5000 do pcall(require, s .. i) end",
    },
    Attempt { name: "sources", source: "for i = 1, 50000 do load('return ' .. i)() end" },
    Attempt {
        name: "finalizers",
        source: "for i = 1, 1e9 do setmetatable({}, {__gc = function() _home[i] = nil pcall(fail, 'x') end}) end",
    },
];

fn sandbox() -> Sandbox {
    let config = SandboxConfig::new()
        .memory_limit(MEMORY)
        .store_limit(StoreLimit::new(STORE, 100_000))
        .output_limit(OUTPUT)
        .instruction_limit(12_000_000)
        .timeout(None);
    let sandbox = Sandbox::with_config(config).unwrap();
    sandbox.register("fail", |text: String| Err::<(), _>(Error::host(text))).unwrap();
    sandbox.register("raise", |value: Value| Err::<(), _>(Error::raise(value))).unwrap();
    sandbox.register("drop", |_: Value| Ok(())).unwrap();
    sandbox.register("same", |value: Value| Ok(value)).unwrap();
    sandbox
}

/// In a process of its own: prints by how much it grew.
fn make(attempt: &Attempt) {
    let lua = sandbox();
    lua.compute("_home.before = 1 pcall(fail, 'x') return same({1, {}})").unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    // It may be done again, and by somebody who keeps what comes out of it.
    for _ in 0..2 {
        let kept = lua.compute(attempt.source);
        let kind = kept.as_ref().map_err(Error::kind).err();
        println!("{kind:?}");
        drop(kept);
    }
    println!("grew by {}", memory("VmHWM").saturating_sub(before));
    lua.compute("collectgarbage()").unwrap();
    assert_eq!(lua.compute("return 1 + 1").unwrap().values, [2.into()]);
    assert_eq!(lua.home().get("before").unwrap(), 1.into());
}

#[test]
fn no_script_makes_the_process_grow() {
    if let Ok(name) = std::env::var(ATTEMPT) {
        return make(ATTEMPTS.iter().find(|attempt| attempt.name == name).unwrap());
    }
    let mut wrong = Vec::new();
    for attempt in ATTEMPTS {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "no_script_makes_the_process_grow", "--nocapture"])
            .env(ATTEMPT, attempt.name)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let grown = text.lines().find_map(|line| line.strip_prefix("grew by ")).and_then(|n| n.parse::<u64>().ok());
        println!(
            "{}: {grown:?}, {}",
            attempt.name,
            text.lines().filter(|line| line.contains("one")).collect::<Vec<_>>().join(" ")
        );
        if !output.status.success() || grown.is_none_or(|bytes| bytes > BOUND) {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            wrong.push(format!("{}: {grown:?} of {BOUND} bytes\n{text}{error}", attempt.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
