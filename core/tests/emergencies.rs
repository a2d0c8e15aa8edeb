//! Where memory is short, any allocation collects what nothing holds. What is being written, read or moved at that
//! moment may be held by nothing but a weak table, and is not freed all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::{Arc, Mutex};

use luacell::{Engine, EngineConfig, ErrorKind, Outcome, Result, Sandbox, SandboxConfig, Table, Value};

/// `fill()` leaves no memory, but for `reserve` bytes that it had put aside.
const FILLING: &str = "
    local sub, pcall, collect = string.sub, pcall, collectgarbage
    local base = ('x'):rep(9000)
    local kept, n = {}, 0
    for i = 1, 20000 do kept[i] = false end
    local function take(size) n = n + 1 kept[n] = sub(base, 1, size) end
    local sizes = {8000, 4000, 2000, 1000, 600, 300, 150, 100, 50, 41}
    local reserved
    function reserve(bytes) reserved = sub(base, 1, bytes) collect() collect('stop') end
    function fill()
      for i = 1, #sizes do while pcall(take, sizes[i]) do end end
      reserved = nil
      collect() collect('stop')
    end
    function free() kept, n = {}, 0 collect('restart') collect() end
    -- Tables that only a weak one holds, in the end: functions and marks by turns.
    function victims(count)
      local weak, hold = setmetatable({}, {__mode = 'v'}), {}
      for j = 1, 3 do
        local e = {}
        for i = 1, count do
          local up = {i}
          e[2 * i - 1] = function() return up[1] end
          e[2 * i] = 'mark' .. j .. '_' .. i
        end
        hold[j] = e
        weak[j] = e
      end
      return weak, hold
    end";

fn sandbox() -> Sandbox {
    let lua = Sandbox::with_config(SandboxConfig::new().memory_limit(2 << 20)).unwrap();
    lua.compute(FILLING).unwrap();
    lua
}

/// Each table is whole, or there was no memory for it.
fn check_marks(table: &Table) {
    for j in 1..=3 {
        let Value::Table(inner) = table.get(j) else { continue };
        for i in 1..=inner.len() as i64 / 2 {
            assert!(inner.get(2 * i - 1).as_function().is_some(), "{j} {i}");
            assert_eq!(inner.get(2 * i).as_str(), Some(&*format!("mark{j}_{i}")));
        }
    }
}

fn check(result: &Result<Outcome>) {
    match result {
        Ok(outcome) => outcome.values.iter().for_each(|value| check_marks(value.as_table().unwrap())),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Memory, "{error}"),
    }
}

/// Numbers of functions and bytes that are left.
fn each_room(mut f: impl FnMut(usize, usize)) {
    for count in [20, 100, 300] {
        for room in (500..9000).step_by(700) {
            f(count, room);
        }
    }
}

#[test]
fn results_that_only_a_weak_table_holds() {
    each_room(|count, room| {
        let lua = sandbox();
        check(
            &lua.compute(format!("reserve({room}) local weak, hold = victims({count}) fill() hold = nil return weak")),
        );
        lua.compute("free()").unwrap();
        assert_eq!(lua.compute("return 1").unwrap().get::<i64>().unwrap(), 1);
    });
}

#[test]
fn arguments_that_only_a_weak_table_holds() {
    each_room(|count, room| {
        let lua = sandbox();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        lua.register("see", move |table: Table| {
            sink.lock().unwrap().push(table);
            Ok(())
        })
        .unwrap();
        let source = format!(
            "reserve({room}) local see, pcall = see, pcall local weak, hold = victims({count})
             fill() hold = nil local ok, e = pcall(see, weak) free() return ok, e"
        );
        lua.compute(source).unwrap();
        seen.lock().unwrap().drain(..).for_each(|table| check_marks(&table));
    });
}

#[test]
fn stored_values_that_only_a_weak_table_holds() {
    each_room(|count, room| {
        let lua = sandbox();
        let source = format!(
            "reserve({room}) local home, weak, hold = _home, victims({count})
             local function store() home.weak = weak end
             fill() hold = nil local ok, e = pcall(store) free() return ok, e"
        );
        lua.compute(source).unwrap();
        lua.compute(
            "for j, t in pairs(_home.weak or {}) do
               for i = 1, #t / 2 do assert(t[2 * i - 1]() == i and t[2 * i] == 'mark' .. j .. '_' .. i) end
             end",
        )
        .unwrap();
    });
}

/// An array that becomes so small that it moves to a slab, which may take memory.
#[test]
fn a_weak_table_whose_array_shrinks() {
    let engine = Engine::new(EngineConfig::new().pool_size(0).max_memory(6 << 20)).unwrap();
    for places in [8, 16, 32] {
        let lua = engine.sandbox(SandboxConfig::new()).unwrap();
        lua.compute(FILLING).unwrap();
        let source = format!(
            "local places = {places}
             local sub, pcall, collect, base = string.sub, pcall, collectgarbage, ('x'):rep(600)
             local weak = setmetatable(table.pack(table.unpack({{}}, 1, 2 * places)), {{__mode = 'v'}})
             local hold, new, same, n = {{}}, {{}}, {{}}, 0
             for i = 1, 20 do hold[i], new[i] = false, false end
             for i = 1, 20000 do same[i] = false end
             for i = 1, places // 2 + 2 do weak[i] = true end
             for i = 1, 4 do hold[i] = {{'victim'}} weak[places + i] = hold[i] end
             local function take() n = n + 1 same[n] = sub(base, 1, places * 16 - 17) end
             local function shrink() weak.x = true end
             local function others() for i = 1, 20 do new[i] = {{'other'}} end end
             -- Places for the new nodes and for tables, none for the new array.
             local spare = {{}}
             for i = 1, 40 do spare[i] = {{i, sub(base, 1, 170), x = i}} end
             fill()
             while pcall(take) do end
             spare = nil
             collect() collect('stop')
             while pcall(take) do end
             for i = 5, 8 do hold[i] = same[n - i] same[n - i] = false end
             hold = nil
             pcall(shrink)
             pcall(others)
             local first, last = rawget(weak, 1), rawget(weak, places // 2 + 2)
             for i = 1, 4 do
               local v = rawget(weak, places + i)
               if v ~= nil and (type(v) ~= 'table' or v[1] ~= 'victim') then first = 'it is something else now' end
             end
             same, new = nil, nil free()
             return first, last"
        );
        let outcome = lua.compute(source).unwrap();
        assert_eq!(outcome.values, [true.into(), true.into()]);
    }
}
