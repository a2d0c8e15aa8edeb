//! What a script gets to see when its host fails, and what the host gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use luacell::{
    ComputeOptions, Error, ErrorKind, Folder, Function, MemoryStore, Module, Result, Sandbox, SandboxConfig,
    StoreResult, TableStore, Value,
};

/// What no script may read.
const SECRET: &str = "/srv/secret/password=hunter2";

#[derive(Debug)]
struct Down;
impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(SECRET)
    }
}
impl std::error::Error for Down {}

/// A store that fails when it is told to.
struct Failing(MemoryStore, Arc<AtomicBool>);

impl Failing {
    fn ok(&mut self) -> StoreResult<&mut MemoryStore> {
        if self.1.load(Ordering::SeqCst) { Err(Down.into()) } else { Ok(&mut self.0) }
    }
}

impl TableStore for Failing {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        self.ok()?.get(table, key, read)
    }
    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        self.ok()?.set(table, key, value)
    }
    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.ok()?.delete(table, key)
    }
    fn size(&mut self, table: u32) -> StoreResult<u64> {
        self.ok()?.size(table)
    }
    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        self.ok()?.keys(table, visit)
    }
}

/// What `pcall` and the handler of `xpcall` see of this code, as one text.
fn seen_by_script(lua: &Sandbox, code: &str) -> String {
    let seen = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&seen);
    lua.register("see", move |text: String| {
        all.lock().unwrap().push_str(&text);
        Ok(())
    })
    .unwrap();
    let source = format!(
        "local function f() {code} end
        see(tostring((select(2, pcall(f)))) .. '\\n')
        see(tostring((select(2, xpcall(f, debug.traceback)))) .. '\\n')
        see(tostring((select(2, coroutine.resume(coroutine.create(f))))))"
    );
    // With a store that is down the run itself may fail in the end.
    let _ = lua.compute_with(source, ComputeOptions::new().name("=x"));
    seen.lock().unwrap().clone()
}

/// The script sees none of the secret, and the error that nobody catches has it for the host, in its message and behind
/// it.
#[track_caller]
fn is_secret(lua: &Sandbox, code: &str, kind: ErrorKind, shown: &str, between: impl Fn()) {
    let seen = seen_by_script(lua, code);
    assert!(!seen.contains("secret") && seen.contains(shown), "{code}: {seen}");
    between();
    let error = lua.compute(code).unwrap_err();
    assert_eq!(error.kind(), kind);
    assert!(error.message().contains(shown) && error.message().ends_with(SECRET), "{error}");
    let mut sources = std::iter::successors(error.source(), |e| (*e).source());
    assert!(sources.any(|source| source.to_string().ends_with(SECRET)), "{error:?}");
    assert!(!error.traceback().unwrap_or_default().contains("secret"));
}

#[test]
fn host_functions() {
    let lua = Sandbox::new().unwrap();
    lua.register("opaque", |()| -> Result<()> { Err(Error::opaque(Down)) }).unwrap();
    lua.register("panics", |()| -> Result<()> { panic!("{SECRET}") }).unwrap();
    lua.register("chosen", |()| -> Result<()> { Err(Error::host("the price list is down").with_source(Down)) })
        .unwrap();
    lua.register("silent", |()| -> Result<()> { Err(Error::host("")) }).unwrap();
    is_secret(&lua, "opaque()", ErrorKind::HostFunction, "the host function failed", || ());
    let panic = seen_by_script(&lua, "panics()");
    assert!(!panic.contains("secret") && panic.contains("x:1: the host function failed"), "{panic}");
    assert!(lua.compute("panics()").unwrap_err().message().ends_with(SECRET));
    assert!(seen_by_script(&lua, "chosen()").contains("x:1: the price list is down"));
    let error = lua.compute_with("chosen()", ComputeOptions::new().name("=x")).unwrap_err();
    assert_eq!(error.message(), "x:1: the price list is down");
    assert!(error.source().unwrap().is::<Down>());
    assert!(seen_by_script(&lua, "silent()").contains("x:1: the host function failed"));
    // Raised again after others, it is still the one that it was.
    let error = lua.compute("local _, a = pcall(opaque) pcall(chosen) error(a, 0)").unwrap_err();
    assert!(error.message().ends_with(SECRET), "{error}");
}

#[test]
fn through_other_sandboxes_and_inner_runs() {
    let store = || SandboxConfig::new().store(Failing(MemoryStore::new(), Arc::new(AtomicBool::new(true))));
    let outer = Arc::new(Sandbox::new().unwrap());
    let inner = Sandbox::new().unwrap();
    inner.register("opaque", |()| -> Result<()> { Err(Error::opaque(Down)) }).unwrap();
    outer.register("elsewhere", move |()| inner.compute("opaque()").map(|_| ())).unwrap();
    outer.register("open", move |()| Sandbox::with_config(store()).map(|_| ())).unwrap();
    outer.register("opaque", |()| -> Result<()> { Err(Error::opaque(Down)) }).unwrap();
    let same = Arc::downgrade(&outer);
    outer.register("again", move |()| same.upgrade().unwrap().compute("opaque()").map(|_| ())).unwrap();
    let passed = "return pcall(pass, function() error('', 0) end)";
    outer.register("pass", |f: Function| f.call(()).map(|_| ())).unwrap();
    assert_eq!(outer.compute(passed).unwrap().values, [false.into(), "".into()]);
    for (name, shown) in
        [("elsewhere", "the host function failed"), ("open", "the store failed"), ("again", "the host function failed")]
    {
        let seen = seen_by_script(&outer, &format!("{name}()"));
        assert!(!seen.contains("secret") && seen.contains(shown), "{name}: {seen}");
        assert!(outer.compute(format!("{name}()")).unwrap_err().message().contains(SECRET), "{name}");
    }
}

#[test]
fn module_sources() {
    let resolve = |name: &str| -> Result<Option<Module>> {
        match name {
            "opaque" => Err(Error::opaque(Down)),
            "store" => Err(Error::new(ErrorKind::Store, SECRET).with_source(Down)),
            "chosen" => Err(Error::host("the module server is down").with_source(Down)),
            "panics" => panic!("{SECRET}"),
            _ => Ok(None),
        }
    };
    let lua = Sandbox::with_config(SandboxConfig::new().modules(resolve)).unwrap();
    is_secret(
        &lua,
        "require 'opaque'",
        ErrorKind::HostFunction,
        "error loading module 'opaque':\n\tthe host could not provide it",
        || (),
    );
    let seen = seen_by_script(&lua, "require 'store'") + &seen_by_script(&lua, "require 'panics'");
    assert!(!seen.contains("secret"), "{seen}");
    assert!(lua.compute("require 'store'").unwrap_err().source().is_some());
    let error = lua.compute("require 'panics'").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostFunction);
    let error = lua.compute("require 'chosen'").unwrap_err();
    assert_eq!(error.message(), "error loading module 'chosen':\n\tthe module server is down");
    assert!(error.source().unwrap().is::<Down>());
    // Of several failures the right one is the cause.
    let error = lua.compute("pcall(require, 'chosen') require 'opaque'").unwrap_err();
    assert!(error.message().ends_with(SECRET), "{error}");
}

#[test]
fn module_folders() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("lib");
    std::fs::create_dir_all(&root).unwrap();
    let lua = Sandbox::with_config(SandboxConfig::new().modules(Folder::new(&root))).unwrap();
    let path = folder.path().to_str().unwrap();
    let check = |name: &str| {
        let seen = seen_by_script(&lua, &format!("require '{name}'"));
        assert!(!seen.contains(path) && seen.contains("the host could not provide it"), "{seen}");
        let error = lua.compute(format!("require '{name}'")).unwrap_err();
        assert!(error.message().contains(path), "{error}");
    };
    #[cfg(unix)]
    {
        std::fs::write(folder.path().join("secret.lua"), "return 1").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.lua"), root.join("link.lua")).unwrap();
        std::os::unix::fs::symlink(root.join("loop.lua"), root.join("loop.lua")).unwrap();
        check("link");
        check("loop");
    }
    check(&"n".repeat(300));
    let seen = seen_by_script(&lua, "require 'none'");
    assert!(!seen.contains(path), "{seen}");
}

#[test]
fn stores() {
    let broken = Arc::new(AtomicBool::new(false));
    let config = SandboxConfig::new().store(Failing(MemoryStore::new(), Arc::clone(&broken)));
    let lua = Arc::new(Sandbox::with_config(config).unwrap());
    lua.compute("_home.t = {1, 2} _home.n = 1").unwrap();
    let same = Arc::downgrade(&lua);
    lua.register("host_reads", move |()| same.upgrade().unwrap().home().get("other")).unwrap();
    let breaks = Arc::clone(&broken);
    lua.register("breaks", move |()| {
        breaks.store(true, Ordering::SeqCst);
        Ok(())
    })
    .unwrap();
    let works = || broken.store(false, Ordering::SeqCst);
    for code in ["return _home.x", "return _home.t[1]"] {
        is_secret(&lua, &format!("breaks() {code}"), ErrorKind::Store, "the store failed", works);
        works();
    }
    let seen = seen_by_script(&lua, "breaks() host_reads()");
    assert!(!seen.contains("secret") && seen.contains("the store failed"), "{seen}");
    for code in ["breaks() return #_home", "breaks() for k in pairs(_home) do end", "breaks() _home.x = 1"] {
        works();
        let error = lua.compute(code).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains(SECRET) && error.source().unwrap().is::<Down>(), "{error}");
    }
    works();
    assert_eq!(lua.compute("return _home.t[2], _home.n").unwrap().values, [Value::Integer(2), Value::Integer(1)]);
}

#[test]
fn nothing_of_it_is_kept_after_the_run() {
    let kept = Arc::new(Mutex::new(()));
    #[derive(Debug)]
    struct Holds(#[expect(dead_code, reason = "it is there to be held")] Arc<Mutex<()>>);
    impl std::fmt::Display for Holds {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("held")
        }
    }
    impl std::error::Error for Holds {}
    let held = Arc::clone(&kept);
    let lua = Sandbox::with_config(
        SandboxConfig::new()
            .modules(move |_: &str| -> Result<Option<Module>> { Err(Error::opaque(Holds(Arc::clone(&held)))) }),
    )
    .unwrap();
    let before = Arc::strong_count(&kept);
    lua.compute("for i = 1, 100 do pcall(require, 'm' .. i) end").unwrap();
    drop(lua.compute("require 'x'").unwrap_err());
    assert_eq!(Arc::strong_count(&kept), before);
}

/// How many errors there are, one as the cause of the other, and the longest message.
fn causes(error: &Error) -> (usize, usize) {
    let (mut n, mut longest) = (0, error.message().len());
    let mut next = error.source();
    while let Some(cause) = next {
        n += 1;
        longest = longest.max(cause.to_string().len());
        next = cause.source();
    }
    (n, longest)
}

/// A script that raises what it caught, in runs that host functions start, again and again, makes no chain of causes
/// without an end: it would fill the host's memory, and whoever drops it needs a stack as long.
#[test]
fn causes_behind_each_other_come_to_an_end() {
    let lua = Arc::new(Sandbox::new().unwrap());
    lua.register("fail", |text: String| Err::<(), _>(Error::host(text))).unwrap();
    lua.register("opaque", |text: String| Err::<(), _>(Error::opaque(text))).unwrap();
    lua.register("call", |f: Function| f.call(()).map(|out| out.values)).unwrap();
    lua.register("wrap", |f: Function| f.call(()).map(|out| out.values).map_err(Error::host)).unwrap();
    lua.register("hide", |f: Function| f.call(()).map(|out| out.values).map_err(Error::opaque)).unwrap();
    let weak = Arc::downgrade(&lua);
    lua.register("later", move |text: String| weak.upgrade().unwrap().compute(text).map(|_| ()).map_err(Error::host))
        .unwrap();
    for (first, then, level) in [
        ("fail", "call", 0),
        ("fail", "wrap", 0),
        ("fail", "hide", 0),
        ("opaque", "call", 0),
        ("opaque", "hide", 0),
        ("opaque", "call", 1),
        ("fail", "later", 0),
    ] {
        let again = match then {
            "later" => "pcall(later, 'error(e, 0)')".to_owned(),
            _ => format!("pcall({then}, function() error(e, {level}) end)"),
        };
        let source = format!("_, e = pcall({first}, 'reason') for i = 1, 700 do _, e = {again} end error(e, 0)");
        let error = lua.compute_with(&source, ComputeOptions::new().name("=s")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostFunction, "{first} {then}");
        let (n, longest) = causes(&error);
        assert!(n < 200, "{first} {then}: {n} causes");
        assert!(longest < 1 << 17, "{first} {then}: a message of {longest} bytes");
        assert!(then == "hide" || error.message().ends_with("reason"), "{first} {then}");
    }
    // As many as there can be runs inside each other are all there.
    let deep = "function f(n) if n == 0 then fail('reason') end later(('f(%d)'):format(n - 1)) end f(30)";
    let error = lua.compute(deep).unwrap_err();
    assert!(causes(&error).0 > 30);
    let mut last: &dyn std::error::Error = &error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    assert_eq!(last.to_string(), "reason");
    // What came to an end doesn't count for what comes later.
    assert_eq!(causes(&lua.compute("fail('x')").unwrap_err()).0, 1);
}
