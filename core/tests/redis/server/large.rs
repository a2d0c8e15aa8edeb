//! Commits of any size: all or nothing, and without keeping others waiting.

use super::*;

/// So many that they come in parts.
const MANY: i64 = 120_000;

fn limits() -> SandboxConfig {
    SandboxConfig::new().timeout(Duration::from_secs(3600)).conflict_retries(10_000)
}

#[test]
fn a_commit_of_any_size() {
    let server = Server::start(&[]);
    let open = || {
        let store = RedisStore::options().timeout(Duration::from_secs(600)).open(&server.url()).unwrap();
        Sandbox::with_config(limits().store(store)).unwrap()
    };
    let (sandbox, other) = (open(), open());
    let fill = format!(
        "for i = 1, {MANY} do _home[i] = i end _home.tables = {{}} for i = 1, 5000 do _home.tables[i] = {{i}} end"
    );
    // Somebody else counts meanwhile.
    std::thread::scope(|scope| {
        let fills = scope.spawn(|| sandbox.compute(&fill).unwrap());
        let mut n = 0;
        while !fills.is_finished() {
            n += 1;
            assert_eq!(other.compute("_home.n = (_home.n or 0) + 1 return _home.n").unwrap().into_value(), n.into());
        }
        assert!(n > 10, "{n}");
    });
    let check = format!(
        "local n = 0 for i = 1, {MANY}, 97 do assert(_home[i] == i) n = n + 1 end
        for i = 1, 5000 do assert(_home.tables[i][1] == i) end
        return #_home, n"
    );
    let checked = open().compute(check).unwrap();
    assert_eq!(checked.values, [MANY.into(), (MANY / 97 + 1).into()]);
    // In conflict with somebody, it is made again.
    let source = format!("local x = _home.x or 0 for i = 1, {MANY} do _home[i] = -i end _home.x = x + 1");
    std::thread::scope(|scope| {
        let fills = scope.spawn(|| sandbox.compute(&source).unwrap());
        let mut n = 0;
        while !fills.is_finished() && n < 3 {
            n += 1;
            other.compute("_home.x = (_home.x or 0) + 1").unwrap();
        }
        fills.join().unwrap();
        assert_eq!(open().compute("return _home.x, _home[7]").unwrap().values, [(n + 1).into(), (-7).into()]);
    });
    // And removed.
    sandbox.compute("for k in pairs(_home) do _home[k] = nil end").unwrap();
    assert_eq!(other.compute("return next(_home)").unwrap().into_value(), Value::Nil);
    assert_eq!(server.cli(&["keys", "*commit*"]), "");
}

/// Not a test: what a second process does.
#[test]
fn large_child() {
    let Ok(url) = std::env::var("LUACELL_LARGE_URL") else { return };
    let sandbox = Sandbox::with_config(limits().store(url.as_str())).unwrap();
    for n in 1.. {
        let source = format!("for i = 1, 20000 do _home[i] = {n} end _home.n = {n}");
        if sandbox.compute(source).is_err() {
            break;
        }
    }
}

/// What all entries are, or a panic.
fn one_value(sandbox: &Sandbox) -> i64 {
    let check = "local n = _home.n or 0 local count = 0
        for k, v in pairs(_home) do assert(v == n, tostring(k) .. ' ' .. tostring(v) .. ' ' .. tostring(n)) count = count + 1 end
        assert(count == (n == 0 and 0 or 20001), count)
        return n";
    sandbox.compute(check).unwrap().get().unwrap()
}

#[test]
fn a_client_is_killed_in_the_middle() {
    let server = Server::start(&[]);
    let store = RedisStore::options().timeout(Duration::from_secs(600)).open(&server.url()).unwrap();
    let sandbox = Sandbox::with_config(limits().store(store)).unwrap();
    let mut half = 0;
    for round in 0..200u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::large::large_child"])
            .env("LUACELL_LARGE_URL", server.url())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere in it.
        while server.cli(&["keys", "*commit*"]).is_empty() {}
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_millis(round * 37 % 200));
        } else {
            while server.cli(&["hexists", "{luacell}:meta", "pending"]) == "0" {}
        }
        child.kill().unwrap();
        child.wait().unwrap();
        half += i32::from(server.cli(&["hexists", "{luacell}:meta", "pending"]) == "1");
        one_value(&sandbox);
        if round >= 4 && half >= 2 {
            break;
        }
    }
    assert!(half >= 2);
    // What was never finished goes by itself.
    for key in server.cli(&["keys", "*commit*"]).lines() {
        assert!(server.cli(&["ttl", key]).parse::<i64>().unwrap() > 0);
    }
}

#[test]
fn the_server_is_killed_in_the_middle_of_a_large_commit() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::options().timeout(Duration::from_secs(600)).open(&server.url()).unwrap();
    let sandbox = Sandbox::with_config(limits().store(store)).unwrap();
    let mut last = 0;
    for round in 1..=6i64 {
        let source = format!("for i = 1, 20000 do _home[i] = {round} end _home.n = {round}");
        let stored = std::thread::scope(|scope| {
            let worker = scope.spawn(|| sandbox.compute(source).is_ok());
            while !worker.is_finished() && server.cli(&["keys", "*commit*"]).is_empty() {}
            std::thread::sleep(Duration::from_millis(round as u64 * 61 % 250));
            server.kill();
            // It was not done, or is now; a commit that waits for the server to come back would wait for long.
            std::thread::sleep(Duration::from_millis(20));
            server.restart();
            worker.join().unwrap()
        });
        while server.cli(&["ping"]) != "PONG" {
            std::thread::sleep(Duration::from_millis(5));
        }
        let now = one_value(&sandbox);
        assert!(now == round || now == last && !stored, "{now} after {last}, {round} stored: {stored}");
        last = now;
    }
}

/// Entries one by one, and tables one by one, take a few looks.
#[test]
fn reading_one_after_another() {
    let server = Server::start(&[]);
    let trips = || -> i64 {
        let stats = server.cli(&["info", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        line.split_once("calls=").unwrap().1.split_once(',').unwrap().0.parse().unwrap()
    };
    let fill = "_home.list = {} _home.named = {} _home.mixed = {} _home.tables = {}
        for i = 1, 5000 do
            _home.list[i] = i _home.named['user ' .. i] = i _home.mixed[('%x'):format(i * 7919 % 65536) .. 'h'] = i
        end
        for i = 1, 1000 do _home.tables[i] = {n = i} end";
    server.sandbox().compute(fill).unwrap();
    for (source, sum) in [
        ("for i = 1, 1000 do s = s + _home.list[i] end", 500_500),
        ("for i = 1000, 1, -1 do s = s + _home.list[i] end", 500_500),
        ("for i = 1, 1000 do s = s + _home.named['user ' .. i] end", 500_500),
        ("for i = 2, 2000, 2 do s = s + _home.list[i] end", 1_001_000),
        ("for i = 1, 1000 do s = s + _home.mixed[('%x'):format(i * 7919 % 65536) .. 'h'] end", 500_500),
        ("for i = 1, 1000 do s = s + _home.tables[i].n end", 500_500),
        ("for i, t in pairs(_home.tables) do s = s + t.n end", 500_500),
        ("for i, n in ipairs(_home.list) do s = s + n end", 12_502_500),
    ] {
        let sandbox = server.sandbox();
        let before = trips();
        let outcome = sandbox.compute(format!("local s = 0 {source} return s")).unwrap();
        assert_eq!(outcome.into_value(), sum.into(), "{source}");
        assert!(trips() - before <= 40, "{source}: {} round trips", trips() - before);
    }
}

/// A table that is larger than a run may hold is not read to its end before the run has to.
#[test]
fn large_tables_count_while_they_come() {
    let server = Server::start(&[]);
    let writer = Sandbox::with_config(limits().store(server.open())).unwrap();
    for i in 0..40 {
        writer.compute(format!("for i = 1, 500 do _home[{i} * 500 + i] = ('x'):rep(2000) end")).unwrap();
    }
    let sent = || -> u64 {
        let stats = server.cli(&["info", "stats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
        line.trim().parse().unwrap()
    };
    let small = limits().store(server.open()).memory_limit(4 << 20).store_limit(1 << 20);
    let reader = Sandbox::with_config(small).unwrap();
    for source in ["local n = 0 for _ in pairs(_home) do n = n + 1 end return n", "return next(_home)"] {
        let before = sent();
        let error = reader.compute(source).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreLimit, "{error}");
        assert!(sent() - before < 24 << 20, "{source}: {}", sent() - before);
    }
    assert_eq!(reader.compute("return #_home[7]").unwrap().into_value(), 2000.into());
}
