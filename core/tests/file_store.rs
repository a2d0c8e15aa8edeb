//! The file store: crashes, full disks, files of others, and several users.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

#[macro_use]
mod forward;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use luacell::{ComputeOptions, Durability, ErrorKind, FileStore, Sandbox, SandboxConfig, TableStore, Value};

fn open(path: &Path) -> Sandbox {
    Sandbox::with_config(SandboxConfig::new().store(path)).unwrap()
}

fn refused(path: &Path) -> String {
    let error = Sandbox::with_config(SandboxConfig::new().store(path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store, "{error}");
    assert!(error.message().contains(path.file_name().unwrap().to_str().unwrap()), "no file name in: {error}");
    error.message().to_owned()
}

/// This test program again, doing what `child` says.
fn process(task: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("LUACELL_CHILD", task).env("LUACELL_FILE", path).stdout(Stdio::piped());
    command
}

/// The first line after the test harness's own.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = BufReader::new(child.stdout.take().unwrap());
    output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("> ").map(str::to_owned))
}

fn say(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The harness writes the test's name without a newline.
    write!(out, "\n> {text}\n").unwrap();
    out.flush().unwrap();
}

/// Not a test: what child processes do.
#[test]
fn child() {
    let Ok(task) = std::env::var("LUACELL_CHILD") else { return };
    let path = PathBuf::from(std::env::var("LUACELL_FILE").unwrap());
    match task.as_str() {
        "count" | "count relaxed" => {
            let durability = if task == "count" { Durability::Full } else { Durability::Relaxed };
            let store = FileStore::options().durability(durability).open(&path).unwrap();
            let sandbox = Sandbox::with_config(SandboxConfig::new().store(store)).unwrap();
            loop {
                let n = sandbox.compute(COUNT).unwrap().get::<i64>().unwrap();
                say(n);
            }
        }
        "hold" => {
            let _sandbox = open(&path);
            say("open");
            let _ = std::io::stdin().read(&mut [0]);
        }
        "fill" => {
            let sandbox = open(&path);
            let mut kept = 0;
            let error = loop {
                let source = format!("_home[{}] = ('x'):rep(20000) _home.n = {}", kept + 1, kept + 1);
                match sandbox.compute(source) {
                    Ok(_) => kept += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Store);
            assert!(error.message().contains("full.luacell"), "{error}");
            // Lua agrees with the store, and the store still works.
            let n = sandbox.compute("return _home.n").unwrap().get::<i64>().unwrap();
            say(format!("{kept} {n} {error}"));
        }
        other => panic!("{other}"),
    }
}

/// Several writes, tables among them; all of a run or nothing.
const COUNT: &str = "
    local n = (_home.n or 0) + 1
    _home.n = n
    _home.history = _home.history or {}
    _home.history[n % 50 + 1] = {n = n}
    _home.text = ('x'):rep(n % 3000) .. n
    _home.also = n
    return n";

/// What `COUNT` left behind, as far as it goes together.
fn counted(path: &Path) -> i64 {
    let sandbox = open(path);
    let check = "
        local n = _home.n
        if n == nil then return 0, _home.history == nil and _home.text == nil and _home.also == nil end
        local whole = _home.also == n and _home.text == ('x'):rep(n % 3000) .. n and _home.history[n % 50 + 1].n == n
        for i = math.max(1, n - 49), n do whole = whole and _home.history[i % 50 + 1].n == i end
        return n, whole";
    let outcome = sandbox.compute(check).unwrap();
    assert!(outcome.get_at::<bool>(1).unwrap(), "half a commit: {:?}", sandbox.home().to_table().unwrap());
    outcome.get().unwrap()
}

/// Kills the counting process at random points.
fn kill_often(task: &str, rounds: u32, mut check: impl FnMut(i64, i64)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let mut random = 12345u64;
    let mut next = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    for _ in 0..rounds {
        let mut process = process(task, &path).spawn().unwrap();
        let mut output = lines(&mut process);
        let wanted = next(12);
        let mut acknowledged = 0;
        for _ in 0..=wanted {
            acknowledged = output.next().expect("the child ended by itself").parse().unwrap();
        }
        std::thread::sleep(Duration::from_micros(next(4000)));
        process.kill().unwrap();
        // What it had said before it died counts too.
        for line in output {
            acknowledged = line.parse().unwrap_or(acknowledged);
        }
        process.wait().unwrap();
        check(acknowledged, counted(&path));
    }
}

#[test]
fn killed_two_hundred_times() {
    kill_often("count", 200, |acknowledged, there| {
        assert!(
            there == acknowledged || there == acknowledged + 1,
            "{acknowledged} were acknowledged, {there} are there"
        );
    });
}

#[test]
fn killed_while_relaxed_loses_whole_commits_only() {
    let mut before = 0;
    kill_often("count relaxed", 30, |acknowledged, there| {
        assert!(there <= acknowledged + 1 && there >= before, "{acknowledged} were acknowledged, {there} are there");
        before = there;
    });
}

#[test]
#[cfg(unix)]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.luacell");
    open(&path).compute("_home.before = 'here'").unwrap();
    // A file may not grow beyond 4 MB: the same as a full disk, for this one process.
    let inner = process("fill", &path);
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 8000; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?)))).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let said = lines(&mut process).collect::<Vec<_>>().pop();
    assert!(process.wait().unwrap().success(), "{said:?}");
    let said = said.unwrap();
    let mut words = said.split(' ').map(|word| word.parse::<i64>());
    let (kept, n) = (words.next().unwrap().unwrap(), words.next().unwrap().unwrap());
    assert!(kept > 10, "{said}");
    assert_eq!(kept, n, "{said}");
    let sandbox = open(&path);
    let check = format!(
        "for i = 1, {kept} do assert(#_home[i] == 20000) end
        return _home.before, _home.n, _home[{kept} + 1]"
    );
    assert_eq!(sandbox.compute(check).unwrap().values, ["here".into(), kept.into(), Value::Nil]);
    sandbox.compute("for i = 1, _home.n + 100 do _home[i] = ('y'):rep(20000) end").unwrap();
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held.luacell");
    let mut process = process("hold", &path).stdin(Stdio::piped()).spawn().unwrap();
    assert_eq!(lines(&mut process).next().unwrap(), "open");
    let message = refused(&path);
    assert!(message.contains("in use by another process"), "{message}");
    drop(process.stdin.take());
    drop(process.wait_with_output().unwrap());
    open(&path).compute("_home.mine = true").unwrap();
}

/// The folder's only file, byte for byte and with its time.
fn snapshot(path: &Path) -> (Vec<u8>, std::time::SystemTime) {
    (std::fs::read(path).unwrap(), std::fs::metadata(path).unwrap().modified().unwrap())
}

/// A file with something in it, and what it looks like.
fn filled(folder: &Path) -> (PathBuf, Vec<u8>) {
    let path = folder.join("good.luacell");
    open(&path).compute("for i = 1, 2000 do _home['key ' .. i] = {i, 'some text'} end").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign.luacell");
    let mut files: Vec<Vec<u8>> =
        vec![b"x".to_vec(), b"SQLite format 3\0".repeat(300), vec![0; 100_000], b"redb\x1a\x0a\xa9\x0d\x0a".to_vec()];
    let noise: Vec<u8> = (0..50_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    files.push(noise.clone());
    files.push([b"redb\x1a\x0a\xa9\x0d\x0a".as_slice(), &noise].concat());
    for content in files {
        std::fs::write(&path, &content).unwrap();
        let before = snapshot(&path);
        refused(&path);
        assert_eq!(snapshot(&path), before);
    }
    // Somebody else's redb file, closed properly, and after a crash.
    std::fs::remove_file(&path).unwrap();
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<u64, &str>::new("theirs");
    transaction.open_table(table).unwrap().insert(1, "data").unwrap();
    transaction.commit().unwrap();
    let crashed = std::fs::read(&path).unwrap();
    drop(database);
    let before = snapshot(&path);
    assert!(refused(&path).contains("another program"));
    assert_eq!(snapshot(&path), before);
    std::fs::write(&path, crashed).unwrap();
    let before = snapshot(&path);
    assert!(refused(&path).contains("another program"));
    assert_eq!(snapshot(&path), before);
    // A folder, and a folder that is not there.
    let folder = folder.path().join("folder.luacell");
    std::fs::create_dir(&folder).unwrap();
    refused(&folder);
    refused(&folder.join("no").join("such.luacell"));
}

#[test]
fn a_later_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = filled(folder.path());
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let about = redb::TableDefinition::<&str, u64>::new("luacell");
        transaction.open_table(about).unwrap().insert("format", 4).unwrap();
        transaction.commit().unwrap();
    }
    let before = snapshot(&path);
    let message = refused(&path);
    assert!(message.contains("format 4"), "{message}");
    assert_eq!(snapshot(&path), before);
}

#[test]
fn what_was_cut_off_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = filled(folder.path());
    for len in [1, 8, 9, 63, 64, 300, 4095, 4096, 5000, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let before = snapshot(&path);
        refused(&path);
        assert_eq!(snapshot(&path), before, "{len} bytes");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&path).compute("return _home['key 2000'][1]").unwrap().get::<i64>().unwrap(), 2000);
}

/// Damaged bytes are refused or, where nobody looks, do not matter; nothing panics, and a refused file is left as it
/// is.
#[test]
fn damage_is_refused_or_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = filled(folder.path());
    for round in 0..150usize {
        let mut damaged = bytes.clone();
        // The header, then pages all over the file.
        let at = if round < 50 { round * 7 } else { round * bytes.len() / 150 };
        let end = (at + 1 + round % 40).min(damaged.len());
        damaged[at..end].iter_mut().for_each(|byte| *byte ^= 0x5A);
        std::fs::write(&path, &damaged).unwrap();
        let before = snapshot(&path);
        match Sandbox::with_config(SandboxConfig::new().store(&path)) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Store);
                assert_eq!(snapshot(&path), before, "round {round}");
            }
            Ok(sandbox) => {
                let result =
                    sandbox.compute("local n = 0 for k, v in pairs(_home) do n = n + (v[1] or 0) end return n");
                match result {
                    Ok(sum) => assert_eq!(sum.get::<i64>().unwrap(), 2000 * 2001 / 2, "round {round}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Store, "{error}"),
                }
                let _ = sandbox.compute("_home.more = 1");
            }
        }
    }
}

/// A value that was changed in the file is not believed, however the rest of the file looks: in a file that is read
/// whole when it is opened, and in one that is too large for that.
#[test]
fn a_changed_value_is_found() {
    for padding in [10, 3000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed.luacell");
        open(&path)
            .compute_with(
                "local n = ... for i = 1, 2000 do _home['key ' .. i] = 'value ' .. i .. ('.'):rep(n) end",
                luacell::ComputeOptions::new().args((padding,)),
            )
            .unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let wanted = b"value 77.";
        let places: Vec<usize> =
            (0..bytes.len() - wanted.len()).filter(|at| bytes[*at..].starts_with(wanted)).collect();
        assert!(!places.is_empty());
        places.iter().for_each(|at| bytes[*at] = b'w');
        std::fs::write(&path, &bytes).unwrap();
        let before = snapshot(&path);
        let error = match Sandbox::with_config(SandboxConfig::new().store(&path)) {
            Err(error) => error,
            Ok(sandbox) => {
                let error = sandbox.compute("return _home['key 77']").unwrap_err();
                assert_eq!(sandbox.compute("return #_home['key 78']").unwrap().get::<i64>().unwrap(), 8 + padding);
                assert!(sandbox.compute("for k in pairs(_home) do end").is_err());
                error
            }
        };
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("damaged"), "{error}");
        if padding == 10 {
            assert_eq!(snapshot(&path), before);
        }
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let file = tempfile::NamedTempFile::new().unwrap();
    open(file.path()).compute("_home.x = 1").unwrap();
    assert_eq!(open(file.path()).compute("return _home.x").unwrap().get::<i64>().unwrap(), 1);
}

#[test]
fn several_sandboxes_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.luacell");
    std::fs::write(folder.path().join("elsewhere"), "").unwrap();
    let a = open(&path);
    // By another name.
    let b = open(&folder.path().join(".").join("shared.luacell"));
    a.compute("_home.list = {1}").unwrap();
    b.compute("_home.list[2] = {2}").unwrap();
    assert_eq!(a.compute("return #_home.list, _home.list[2][1]").unwrap().values, [2.into(), 2.into()]);
    // What one has in _io is not the other's.
    a.set_input("for a").unwrap();
    b.set_input(vec!["for b"]).unwrap();
    assert_eq!(a.compute("return _io.input").unwrap().into_value(), "for a".into());
    assert_eq!(b.compute("return _io.input[1]").unwrap().into_value(), "for b".into());
    drop(a);
    b.compute("_home.list[3] = _io.input").unwrap();
    b.set_input(1).unwrap();
    drop(b);
    assert_eq!(open(&path).compute("return _home.list[3][1]").unwrap().into_value(), "for b".into());
}

#[test]
fn what_nothing_refers_to_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let tables = || {
        let mut n = 0;
        FileStore::open(&path).unwrap().tables(&mut |_| n += 1).unwrap();
        n
    };
    {
        let sandbox = open(&path);
        sandbox.compute("for i = 1, 100000 do _home.x = {i} end temp = ext.table() temp.x = {1}").unwrap();
        for i in 0..3000 {
            sandbox.set_input(vec![vec![i]]).unwrap();
        }
        assert_eq!(sandbox.compute("return _home.x[1], temp.x[1]").unwrap().values, [100_000.into(), 1.into()]);
        assert!(sandbox.table_count().unwrap().unwrap() < 1000);
        for _ in 0..100 {
            sandbox.compute("for i = 1, 10 do _home.x = {{i}} end").unwrap();
        }
        sandbox.compute("kept = {7} _home.y = kept _home.y = nil").unwrap();
        sandbox.compute("_home.z = {8} held = _home.z").unwrap();
        sandbox.compute("_home.z = nil").unwrap();
        sandbox.gc().unwrap();
        assert_eq!(sandbox.compute("return kept[1], held[1]").unwrap().values, [7.into(), 8.into()]);
    }
    // _home, x with its inner table, z that was held, and the library's own.
    assert_eq!(tables(), 5);
    // Also over sessions that each make a few only.
    for _ in 0..60 {
        open(&path).compute("for i = 1, 10 do _home.x = {{i}} end").unwrap();
    }
    for i in 0..60 {
        let sandbox = open(&path);
        for _ in 0..20 {
            sandbox.compute(format!("_home.x = {{{{{i}}}}}")).unwrap();
        }
    }
    assert!(tables() < 600, "{}", tables());
}

#[test]
fn a_script_that_fails_leaves_lua_and_store_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let (a, b) = (open(&path), open(&path));
    a.compute("_home.n = 0 local up = 0 _home.f = function() up = up + 1 return up end").unwrap();
    // A conflict in each try: the last one fails.
    let contended =
        Sandbox::with_config(SandboxConfig::new().store(Meddling(FileStore::open(&path).unwrap(), b))).unwrap();
    let error = contended.compute("t = {1, {2}} _home.n = _home.n + 1 _home.t = t g = _home.f return g()").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // The table is plain again, with its content, and the upvalue is what it was.
    assert_eq!(contended.compute("return t[1], t[2][1]").unwrap().values, [1.into(), 2.into()]);
    assert_eq!(a.compute("return _home.t, _home.f()").unwrap().values, [Value::Nil, 1.into()]);
    assert_eq!(contended.compute("return _home.t").unwrap().into_value(), Value::Nil);
    // Other writers do not matter when nothing of theirs was read.
    contended.compute("_home.mine = t").unwrap();
    assert_eq!(a.compute("return _home.mine[2][1]").unwrap().into_value(), 2.into());
}

/// Somebody else counts whenever this one reads the counter.
struct Meddling(FileStore, Sandbox);

impl TableStore for Meddling {
    pass_on!(set delete size keys);
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> luacell::StoreResult<bool> {
        let found = self.0.get(table, key, read)?;
        if key == "n" {
            self.1.compute("_home.n = _home.n + 1").unwrap();
        }
        Ok(found)
    }
    fn begin(&mut self) -> luacell::StoreResult<()> {
        self.0.begin()
    }
    fn commit(&mut self, batch: &mut luacell::Batch<'_>) -> luacell::StoreResult<()> {
        self.0.commit(batch)
    }
    fn rollback(&mut self) {
        self.0.rollback();
    }
    fn reserve_ids(&mut self, count: u32) -> luacell::StoreResult<Option<u32>> {
        self.0.reserve_ids(count)
    }
    fn is_shared(&self) -> bool {
        true
    }
}

#[test]
fn unknown_urls() {
    let error = Sandbox::with_config(SandboxConfig::new().store("ftp://x/y")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("ftp://"), "{error}");
}

#[test]
fn the_store_limit_bounds_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.luacell");
    let open = || FileStore::open(&path).unwrap();
    let model = |sandbox: &Sandbox| {
        // Counted anew: what a store in memory says of the same tables.
        let copy = Sandbox::new().unwrap();
        copy.import_home(&sandbox.export_home().unwrap()).unwrap();
        let count = "local n = 0 local function add(t) for k, v in pairs(t) do n = n + 1 if type(v) == 'table' then add(v) end end end add(_home) return n";
        copy.compute(count).unwrap().get::<i64>().unwrap() as u64
    };
    for round in 0..3i64 {
        let mut store = open();
        let sandbox = Sandbox::with_config(SandboxConfig::new().store(open())).unwrap();
        sandbox
            .compute_with(
                "for i = 1, 100 do _home[i + 100 * ...] = 'x' end _home.t = {1, 2, {3}}",
                ComputeOptions::new().args((round,)),
            )
            .unwrap();
        sandbox.compute("for i = 1, 20 do _home[i] = nil _home[i + 50] = i end").unwrap();
        sandbox.compute("_home.t = nil").unwrap();
        let used = luacell::TableStore::usage(&mut store).unwrap().unwrap();
        assert!(used.entries >= model(&sandbox), "{used:?}");
        drop(store);
        sandbox.gc().unwrap();
        let mut store = open();
        let used = luacell::TableStore::usage(&mut store).unwrap().unwrap();
        assert_eq!(used.entries, model(&sandbox), "{used:?}");
        let limit = luacell::StoreLimit::new(u64::MAX, used.entries + 5);
        let fill = |n: i64| {
            sandbox.compute_with(
                "for i = 1, ... do _home['new' .. i] = i end",
                ComputeOptions::new().args((n,)).store_limit(limit),
            )
        };
        fill(5).unwrap();
        assert_eq!(fill(6).unwrap_err().kind(), ErrorKind::StoreLimit);
        sandbox.compute("for i = 1, 5 do _home['new' .. i] = nil end").unwrap();
        assert_eq!(luacell::TableStore::usage(&mut store).unwrap().unwrap(), used);
    }
    // Nothing is left, and nothing is counted.
    let sandbox = Sandbox::with_config(SandboxConfig::new().store(open())).unwrap();
    sandbox.home().clear().unwrap();
    sandbox.gc().unwrap();
    assert_eq!(luacell::TableStore::usage(&mut open()).unwrap().unwrap(), luacell::Usage::default());
}

#[test]
fn a_conflict_names_what_was_changed_and_what_forbids_to_repeat_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path().join("state.luacell")).unwrap();
    let other = Sandbox::with_config(SandboxConfig::new().store(store.clone())).unwrap();
    let lua = Sandbox::with_config(SandboxConfig::new().store(store).conflict_retries(2)).unwrap();
    other.compute("_home.n = 1 _home.t = {1, 2} _home['odd key'] = 1").unwrap();
    lua.register_repeatable("change", move |source: String| other.compute(source).map(drop)).unwrap();
    let message = |source: &str| {
        let error = lua.compute(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        error.to_string()
    };
    let begins = "another sandbox changed what this one had read: ";
    let repeated = "; the run was repeated 2 times";
    for (read, changed, place) in [
        ("_home.n", "_home.n = _home.n + 1", "_home.n"),
        ("_home['odd key']", "_home['odd key'] = _home['odd key'] + 1", "_home[\"odd key\"]"),
        ("next(_home)", "_home.n = _home.n + 1", "the entries of _home"),
    ] {
        let source = format!("local x = {read} change([[{changed}]]) _home.written = 1");
        assert_eq!(message(&source), format!("{begins}{place}{repeated}"));
    }
    let table = message("local x = _home.t[1] change('_home.t[1] = _home.t[1] + 1') _home.written = 1");
    assert!(table.starts_with(&format!("{begins}table ")) && table.contains("[1]"), "{table}");
    lua.register("shop.price", |()| Ok(3.5)).unwrap();
    assert_eq!(
        message("local x = _home.n shop.price() change('_home.n = _home.n + 1') _home.written = 1"),
        format!("{begins}_home.n; the run is not repeated because it has called 'shop.price', which is not repeatable")
    );
}
