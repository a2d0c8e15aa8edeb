//! What a server refuses is refused before anything is written.

use super::*;

/// A sandbox of a user who may do so much.
fn as_user(server: &Server, rules: &[&str], options: RedisOptions) -> Result<Sandbox, luacell::Error> {
    let mut args = vec!["acl", "setuser", "user", "reset", "on", ">word"];
    args.extend(rules);
    assert_eq!(server.cli(&args), "OK", "{rules:?}");
    let url = format!("redis://user:word@127.0.0.1:{}", server.port);
    Ok(sandbox(options.open(&url)?))
}

/// All kinds of writes in one run.
const WRITES: &str = "
    local n = (_home.n or 0) + 1
    _home.n, _home.also = n, n
    _home['new ' .. n], _home['new ' .. n - 1] = {n}, nil
    for i = 1, 20 do _home.list[i] = n end
    _home.list[n % 20 + 21], _home.list[(n - 1) % 20 + 21] = n, nil";

const ALL_OR_NOTHING: &str = "
    local n = _home.n or 0
    assert(_home.also == _home.n)
    for i = 1, 20 do assert(_home.list[i] == _home.n) end
    assert(n == 0 or _home['new ' .. n][1] == n and _home['new ' .. n - 1] == nil)
    return n";

/// Commands that a user may lose while the store is open, and must have when it is opened.
const NEEDED: [&str; 14] = [
    "hset", "hdel", "hget", "hmget", "hlen", "hkeys", "hgetall", "hexists", "hscan", "hstrlen", "unlink", "setrange",
    "rpush", "lpop",
];

#[test]
fn a_user_who_lacks_a_permission() {
    let server = Server::start(&[]);
    let owner = server.sandbox();
    owner.compute("_home.list = {}").unwrap();
    let all = ["~{luacell}:*", "+@all", "-@dangerous", "-@admin"];
    let user = as_user(&server, &all, RedisStore::options()).unwrap();
    let mut n = 0;
    let count = |sandbox: &Sandbox| sandbox.compute(ALL_OR_NOTHING).unwrap().get::<i64>().unwrap();
    for needed in NEEDED {
        let without = format!("-{needed}");
        let rules = [all.as_slice(), &[without.as_str()]].concat();
        let error = as_user(&server, &rules, RedisStore::options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().to_lowercase().contains(needed), "{needed}: {error}");
        // The other one has lost it too, in the middle of its work.
        let mut failed = 0;
        for _ in 0..2 {
            match user.compute(WRITES) {
                Ok(_) => n += 1,
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), ErrorKind::Store, "{needed}: {error}");
                }
            }
            assert_eq!(count(&owner), n, "{needed}");
        }
        assert!(failed == 2 || !["hset", "hdel", "setrange"].contains(&needed), "{needed}");
        as_user(&server, &all, RedisStore::options()).unwrap();
        n += 1;
        user.compute(WRITES).unwrap();
        assert_eq!(count(&owner), n, "{needed}");
    }
    // Keys of the namespace alone, and those of another one.
    let error = as_user(&server, &["~other:*", "+@all"], RedisStore::options()).unwrap_err();
    assert!(error.message().contains("permission") || error.message().contains("NOPERM"), "{error}");
}

/// The commands that docs/state.md names.
#[test]
fn the_commands_that_are_needed_are_enough() {
    let server = Server::start(&[]);
    let state = include_str!("../../../../docs/state.md");
    let list = state.split("These are needed:").nth(1).and_then(|rest| rest.split(", on keys").next()).unwrap();
    let commands: Vec<String> =
        list.split('`').skip(1).step_by(2).map(|name| format!("+{}", name.to_lowercase())).collect();
    assert!(commands.len() > 30, "{commands:?}");
    let rules: Vec<&str> = std::iter::once("~{luacell}:*").chain(commands.iter().map(String::as_str)).collect();
    drop(as_user(&server, &rules, RedisStore::options()).unwrap());
    let url = format!("redis://user:word@127.0.0.1:{}", server.port);
    let config = || SandboxConfig::new().store(RedisStore::open(&url).unwrap()).queue_runs(true);
    let [lua, other] = [(); 2].map(|()| Sandbox::with_config(config()).unwrap());
    lua.declare("ask").unwrap();
    // A turn that could not be given back would last for half a minute.
    let begun = Instant::now();
    lua.compute(WRITES.replace("_home.list", "_home").as_str()).unwrap();
    let mut run = lua.start("_home.x = {ask()} return 1", ComputeOptions::new().durable("r")).unwrap();
    other.compute("_home.y = _home.x").unwrap();
    run.answer(1, 1).unwrap();
    run.resume().unwrap();
    run.into_result().unwrap();
    lua.gc().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn who_only_reads() {
    let server = Server::start(&[]);
    let owner = server.sandbox();
    owner.compute("_home.list = {1, 2, 3} _home.n = 1").unwrap();
    let rules = ["~{luacell}:*", "+@read", "+@scripting", "-@dangerous"];
    as_user(&server, &rules, RedisStore::options()).unwrap_err();
    let by_option = as_user(&server, &rules, RedisStore::options().read_only(true)).unwrap();
    let url = format!("redis://user:word@127.0.0.1:{}?read_only=true", server.port);
    let by_url = Sandbox::with_config(SandboxConfig::new().store(url)).unwrap();
    let replica = Server::start(&[]);
    replica.cli(&["replicaof", "127.0.0.1", &server.port.to_string()]);
    while !replica.cli(&["info", "replication"]).contains("master_link_status:up") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = RedisStore::open(&replica.url()).unwrap_err();
    assert!(error.message().contains("READONLY"), "{error}");
    let on_replica = sandbox(RedisStore::options().read_only(true).open(&replica.url()).unwrap());
    let keys = server.cli(&["keys", "*"]);
    for sandbox in [by_option, by_url, on_replica] {
        let sum = "local s = 0 for _, n in pairs(_home.list) do s = s + n end return s, #_home.list, _home.n";
        assert_eq!(sandbox.compute(sum).unwrap().values, [6.into(), 3.into(), 1.into()]);
        for source in ["_home.n = 2", "_home.list[1] = nil", "_home.new = {}", "_home.list = nil"] {
            let error = sandbox.compute(source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store, "{error}");
            assert!(error.message().contains("reading only"), "{error}");
        }
        assert_eq!(sandbox.home().set("n", 2).unwrap_err().kind(), ErrorKind::Store);
        // Its own tables are none of the server's.
        sandbox
            .compute("local list = {} for i = 1, 50 do list[i] = {i} end _io.output = list kept = _home.list")
            .unwrap();
        assert_eq!(sandbox.compute("return _io.output[50][1], kept[2]").unwrap().values, [50.into(), 2.into()]);
        sandbox.gc().unwrap();
    }
    owner.compute("for i = 1, 50 do _home[i] = {i} end").unwrap();
    assert_eq!(owner.compute("return _home.n, #_home.list").unwrap().values, [1.into(), 3.into()]);
    assert!(keys.lines().all(|key| key != "{luacell}:t:0"), "{keys}");
    let nothing = RedisStore::options().namespace("nothing").read_only(true).open(&server.url()).unwrap_err();
    assert!(nothing.message().contains("nothing to read"), "{nothing}");
    assert_eq!(server.cli(&["keys", "*nothing*"]), "");
}

/// Memory runs out in the middle of a large commit, for one user of the server by another.
#[test]
fn memory_that_ends_in_the_middle() {
    let server = Server::start(&["--maxmemory", "24mb", "--maxmemory-policy", "noeviction"]);
    let sandbox =
        Sandbox::with_config(SandboxConfig::new().store(server.open()).timeout(Duration::from_secs(600))).unwrap();
    let fill = |n: i64, count: i64| {
        sandbox.compute(format!(
            "for i = 1, {count} do _home[i] = ('x'):rep(400) .. {n} end _home.n = {n} _home.count = {count}"
        ))
    };
    let whole =
        "for i = 1, _home.count do assert(_home[i] == ('x'):rep(400) .. _home.n) end return _home.n, _home.count";
    fill(1, 3000).unwrap();
    let error = fill(2, 60_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("OOM"), "{error}");
    assert_eq!(sandbox.compute(whole).unwrap().values, [1.into(), 3000.into()]);
    // What was set aside is not in the way.
    fill(3, 6000).unwrap();
    assert_eq!(sandbox.compute(whole).unwrap().values, [3.into(), 6000.into()]);
    // Deleting needs no memory.
    server.cli(&["config", "set", "maxmemory", "1mb"]);
    assert_eq!(sandbox.compute("_home.more = ('x'):rep(1000)").unwrap_err().kind(), ErrorKind::Store);
    sandbox.compute("for i = 1, 2000 do _home[i] = nil end").unwrap();
    assert_eq!(
        sandbox.compute("return _home.n, _home[1], _home.more").unwrap().values,
        [3.into(), Value::Nil, Value::Nil]
    );
}

/// What was given up does not come back over what was stored since.
#[test]
fn a_commit_that_arrives_late() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let sandbox = sandbox(proxy.open(Duration::from_millis(500)));
    let near = server.sandbox();
    let position = || server.cli(&["hget", "{luacell}:meta", "position"]).parse::<u64>().unwrap();
    let calls = || -> u64 {
        let stats = server.cli(&["info", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        line.split_once("calls=").unwrap().1.split_once(',').unwrap().0.parse().unwrap()
    };
    let wait = |number: &dyn Fn() -> u64| {
        let before = number();
        proxy.state.parks.store(false, Ordering::SeqCst);
        while number() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // It has numbers for tables left.
    sandbox.compute("_home.a = {1}").unwrap();
    sandbox.compute("_home.a = {{1}}").unwrap();
    for arrives_before in [false, true] {
        sandbox.compute("_home.x = 'first' _home.n = 0").unwrap();
        proxy.state.parked.store(0, Ordering::SeqCst);
        proxy.state.parks.store(true, Ordering::SeqCst);
        let error = sandbox.compute("_home.x = {'late'}").unwrap_err();
        assert!(error.message().contains("may have been stored"), "{error}");
        if arrives_before {
            wait(&position);
        }
        // It goes on in either case.
        sandbox.compute("_home.x = 'second' _home.n = _home.n + 1").unwrap();
        near.compute("_home.also = {_home.x}").unwrap();
        if !arrives_before {
            wait(&calls);
        }
        for sandbox in [&sandbox, &near] {
            assert_eq!(sandbox.compute("return _home.x, _home.n").unwrap().values, ["second".into(), 1.into()]);
        }
        sandbox.compute("for i = 1, 40 do _home[i] = {i} end").unwrap();
    }
}
