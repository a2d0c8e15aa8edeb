//! The guest's code is executed where it lies in the program's file. What the system maps is the process's, so this is
//! a program of its own.
#![cfg(all(any(target_os = "linux", target_os = "android"), not(feature = "static"), not(feature = "pulley")))]
#![allow(clippy::unwrap_used, reason = "tests")]

use luacell::{Engine, EngineConfig, SandboxConfig, Value};

/// Executable mappings of this program's file, and those of no file.
fn executable() -> (usize, usize) {
    let program = std::env::current_exe().unwrap();
    let program = program.to_string_lossy();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = (0, 0);
    for line in maps.lines() {
        let mut columns = line.split_whitespace();
        let (permissions, file) = (columns.nth(1).unwrap(), columns.nth(3).unwrap_or_default());
        assert!(!(permissions.contains('w') && permissions.contains('x')), "{line}");
        if permissions.contains('x') {
            found.0 += usize::from(file == program);
            found.1 += usize::from(file.is_empty());
        }
    }
    found
}

fn works(engine: &Engine) {
    let sandbox = engine.sandbox(SandboxConfig::new()).unwrap();
    assert_eq!(*sandbox.compute("return 1 + 1").unwrap().value(), Value::Integer(2));
    let error = sandbox.compute("local function f() return 1 + f() end return f()").unwrap_err();
    assert!(error.to_string().contains("stack overflow"), "{error}");
}

#[test]
fn the_first_engine_has_no_copy_and_further_ones_do() {
    let before = executable();
    for _ in 0..2 {
        let first = Engine::new(EngineConfig::new()).unwrap();
        works(&first);
        assert_eq!(executable(), (before.0 + 1, before.1));
        let second = Engine::new(EngineConfig::new()).unwrap();
        works(&second);
        assert_eq!(executable(), (before.0 + 1, before.1 + 1));
        drop(first);
        works(&second);
        let third = Engine::new(EngineConfig::new()).unwrap();
        works(&third);
        assert_eq!(executable(), (before.0 + 1, before.1 + 1));
        drop((second, third));
        assert_eq!(executable(), before);
    }
}
