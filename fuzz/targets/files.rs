//! Snapshots, exports and store files with some bytes changed: an error that says what is wrong, or what was stored;
//! never a panic.
#![no_main]

use std::sync::OnceLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use luacell::{Engine, FileStore, Sandbox, SandboxConfig, Snapshot};

#[derive(Arbitrary, Debug)]
enum Kind {
    Snapshot,
    Export,
    Store,
}

#[derive(Arbitrary, Debug)]
enum Change {
    Set { at: u32, to: u8 },
    Cut { at: u32 },
    Insert { at: u32, bytes: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    changes: Vec<Change>,
    /// Instead of a changed file, when there are no changes.
    anything: Vec<u8>,
}

const SCRIPT: &str = "counter = 0 function tick() counter = counter + 1 return counter end \
    _home.list = {1, 2, {3}} _home.text = ('x'):rep(300) _home.f = function(x) return x + counter end for i = 1, 40 do _home[i] = i end";

struct Originals {
    engine: Engine,
    snapshot: Vec<u8>,
    export: Vec<u8>,
    store: Vec<u8>,
}

fn originals() -> &'static Originals {
    static ORIGINALS: OnceLock<Originals> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        // What a damaged store file makes redb say about itself is no finding.
        std::panic::set_hook(Box::new(|_| ()));
        let engine = Engine::default();
        let lua = engine.sandbox(SandboxConfig::new()).expect("a sandbox");
        lua.compute(SCRIPT).expect("the script runs");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store");
        let kept = Sandbox::with_config(SandboxConfig::new().store(FileStore::open(&file).expect("a store"))).expect("a sandbox");
        kept.compute(SCRIPT).expect("the script runs");
        drop(kept);
        Originals {
            snapshot: lua.snapshot().and_then(|s| s.to_bytes()).expect("a snapshot"),
            export: lua.export_home().expect("an export"),
            store: std::fs::read(&file).expect("the file"),
            engine,
        }
    })
}

fn changed(original: &[u8], input: &Input) -> Vec<u8> {
    if input.changes.is_empty() {
        return input.anything.clone();
    }
    let mut bytes = original.to_vec();
    for change in &input.changes {
        let len = bytes.len().max(1);
        match change {
            Change::Set { at, to } => {
                if let Some(byte) = bytes.get_mut(*at as usize % len) {
                    *byte = *to;
                }
            }
            Change::Cut { at } => bytes.truncate(*at as usize % len),
            Change::Insert { at, bytes: more } => {
                let at = (*at as usize % len).min(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
    bytes
}

/// Whatever was loaded works like a sandbox.
fn works(lua: &Sandbox) {
    let _ = lua.compute("local n = 0 for k, v in pairs(_home) do n = n + 1 end return n, _home.text, tick and tick()");
    let _ = lua.home().entries();
}

fuzz_target!(|input: Input| {
    let originals = originals();
    match input.kind {
        Kind::Snapshot => {
            if let Ok(snapshot) = Snapshot::from_bytes(&originals.engine, &changed(&originals.snapshot, &input)) {
                let limits = SandboxConfig::new().memory_limit(32 << 20).instruction_limit(1_000_000);
                if let Ok(lua) = originals.engine.sandbox_from(&snapshot, limits) {
                    works(&lua);
                }
            }
        }
        Kind::Export => {
            let lua = originals.engine.sandbox(SandboxConfig::new()).expect("a sandbox");
            lua.compute("_home.before = 1").expect("it runs");
            if lua.import_home(&changed(&originals.export, &input)).is_err() {
                // Nothing is lost.
                assert_eq!(lua.home().len().expect("it can be asked"), 1);
            }
            works(&lua);
        }
        Kind::Store => {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("store");
            std::fs::write(&file, changed(&originals.store, &input)).expect("it can be written");
            if let Ok(store) = FileStore::open(&file)
                && let Ok(lua) = Sandbox::with_config(SandboxConfig::new().store(store))
            {
                works(&lua);
                let _ = lua.compute("_home.more = {1}");
            }
        }
    }
});
