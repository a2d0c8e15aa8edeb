//! Functions and tables that the host holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use luacell::{ComputeOptions, ErrorKind, Function, Sandbox, SandboxConfig, Table, Value};

fn functions(lua: &Sandbox, source: &str) -> Vec<Function> {
    lua.compute(source).unwrap().values.iter().map(|value| value.as_function().unwrap().clone()).collect()
}

#[test]
fn the_same_function_is_equal_and_one_in_a_set() {
    let lua = Sandbox::new().unwrap();
    let all = functions(&lua, "function f() end function g() end return f, g, f, print, print, string.rep");
    assert!(all[0] == all[2] && all[0] != all[1] && all[3] == all[4] && all[3] != all[5] && all[0] != all[3]);
    let later = functions(&lua, "return f, g");
    assert!(later[0] == all[0] && later[1] == all[1]);
    assert_eq!(all.iter().chain(&later).collect::<HashSet<_>>().len(), 4);
    // As a key of a table too.
    let mut table = Table::new();
    table.set(all[0].clone(), 1).unwrap();
    table.set(all[2].clone(), 2).unwrap();
    assert_eq!((table.count(), table.get(later[0].clone())), (1, Value::Integer(2)));
    // Others have the same numbers, but are not the same.
    let other = Sandbox::new().unwrap();
    assert_ne!(functions(&other, "function f() end return f")[0], all[0]);
    lua.reset().unwrap();
    assert_ne!(functions(&lua, "function f() end return f")[0], all[0]);
}

/// Handlers can be told from each other, however often Lua passes them and the host lets go of some.
#[test]
fn a_function_that_is_passed_again_stays() {
    let lua = Sandbox::new().unwrap();
    let handlers = Arc::new(Mutex::new(Vec::<Function>::new()));
    let on = Arc::clone(&handlers);
    lua.register("on", move |f: Function| {
        on.lock().unwrap().push(f);
        Ok(())
    })
    .unwrap();
    let off = Arc::clone(&handlers);
    lua.register("off", move |f: Function| {
        let mut handlers = off.lock().unwrap();
        let before = handlers.len();
        handlers.retain(|handler| *handler != f);
        Ok((before - handlers.len()) as i64)
    })
    .unwrap();
    lua.compute("function f() return 'f' end function g() return 'g' end on(f) on(g) on(f)").unwrap();
    assert_eq!(lua.compute("return off(f), off(f)").unwrap().values, [2.into(), 0.into()]);
    for _ in 0..10 {
        drop(functions(&lua, "collectgarbage() return f, g, f"));
    }
    let left = handlers.lock().unwrap().clone();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].call(()).unwrap().values, ["g".into()]);
}

/// The sandbox's own limits hold for it, whatever those of the run were that gave it.
#[test]
fn a_function_that_is_called_after_the_run_has_the_limits_of_the_sandbox() {
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_secs(600)).instruction_limit(1_000_000))
        .unwrap();
    let options = ComputeOptions::new().instruction_limit(u64::MAX).timeout(None);
    let outcome = lua.compute_with("return function() while true do end end", options).unwrap();
    let error = outcome.values[0].as_function().unwrap().call(()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstructionLimit);
    let lua = Sandbox::with_config(SandboxConfig::new().timeout(Duration::from_millis(50))).unwrap();
    let options = ComputeOptions::new().timeout(None);
    let outcome = lua.compute_with("return function() while true do end end", options).unwrap();
    assert_eq!(outcome.values[0].as_function().unwrap().call(()).unwrap_err().kind(), ErrorKind::Timeout);
}

/// With a seed nothing in Lua depends on when the host lets go of functions and tables.
#[test]
fn a_seed_covers_what_the_host_holds() {
    let source = "
        print(collectgarbage('count'), tostring({}))
        local made = {}
        for i = 1, 50 do made[i] = function() return i end end
        for i = 1, 300 do _home['t' .. i] = {i} end
        local kept, loose = {}, {}
        for i = 1, 300 do kept[i] = _home['t' .. i] end
        for i = 1, 300 do loose[i] = ext.table() end
        collectgarbage()
        print(collectgarbage('count'), tostring({}), string.format('%p', made), tostring(coroutine.create(print)))
        collect(made, kept, loose)
        for i = 1, 300 do _home['t' .. i] = nil end
        return made, kept, loose";
    let run = |keeps: bool| {
        let lua = Sandbox::with_config(SandboxConfig::new().deterministic(5)).unwrap();
        let held = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&held);
        lua.register("collect", move |args: Vec<Value>| {
            if keeps {
                all.lock().unwrap().extend(args);
            }
            Ok(())
        })
        .unwrap();
        let mut seen = Vec::new();
        for i in 0..40 {
            let outcome = lua.compute(source).unwrap();
            seen.push(format!("{:?} {:?}", outcome.output, outcome.metrics));
            if keeps {
                held.lock().unwrap().extend(outcome.values);
            }
            if i % 10 == 9 {
                lua.gc().unwrap();
            }
        }
        seen
    };
    assert_eq!(run(true), run(false));
}
