//! Servers that are not where they were: what a sandbox saw is there, or it gets an error and nothing is mixed.

use std::path::Path;

use luacell::{Error, RedisStore, StoredTable};

use super::*;

/// A sandbox with tables of its own, one in a global, one viewed from the host, and numbers for more.
struct User {
    name: &'static str,
    sandbox: Sandbox,
    view: StoredTable,
}

impl User {
    fn new(server: &Server, name: &'static str) -> Self {
        let sandbox = server.sandbox();
        sandbox.compute(format!("_home.{name} = {{}}")).unwrap();
        let mut user = User { name, view: sandbox.home(), sandbox };
        user.make().unwrap();
        user.sandbox.compute(format!("held = _home.{name}[3] seen = _home.{name}[4]")).unwrap();
        let all = user.sandbox.home().get(name).unwrap();
        user.view = all.as_stored_table().unwrap().get(5).unwrap().as_stored_table().unwrap().clone();
        user
    }

    /// Tables that say whose they are.
    fn make(&self) -> Result<(), Error> {
        let name = self.name;
        let source = format!("for i = 1, 40 do _home.{name}[i] = {{owner = '{name}', i = i}} end");
        self.sandbox.compute(source).map(drop)
    }

    /// All that it can do: how it ended.
    fn tries(&self) -> Vec<Result<(), Error>> {
        let run = |source: &str| self.sandbox.compute(source).map(drop);
        vec![
            run("return held.owner"),
            run("held.owner = 'overwritten'"),
            run("_home.copied = seen"),
            run("for k, v in pairs(held) do end"),
            self.view.get("owner").map(drop),
            self.view.set("owner", "overwritten by the host"),
            self.make(),
            run("local n = 0 for _ in pairs(_home) do n = n + 1 end return n"),
            run("_home.blind = {{{1}}}"),
            run("_home.blind = nil"),
        ]
    }

    fn is_refused(&self, way: &str) {
        for (i, result) in self.tries().into_iter().enumerate() {
            let error = result.expect_err(&format!("{way}: {} went on with {i}", self.name));
            assert_eq!(error.kind(), ErrorKind::Store, "{way}: {error}");
            assert!(error.message().contains("lost") || error.message().contains("forgotten"), "{way}: {error}");
        }
        // Its Lua goes on.
        assert_eq!(self.sandbox.compute("return 1").unwrap().into_value(), 1.into());
    }

    fn goes_on(&self, way: &str) {
        for result in self.tries() {
            result.unwrap_or_else(|error| panic!("{way}: {error}"));
        }
    }
}

/// Whether each table says that it belongs to the one who made it.
fn nothing_is_mixed(server: &Server, way: &str) {
    let check = "local n = 0
        for name, list in pairs(_home) do
            for i, t in pairs(list) do
                assert(t.owner == name and t.i == i, name .. ' ' .. tostring(i) .. ' ' .. tostring(t.owner))
                n = n + 1
            end
        end
        return n";
    let n = server.sandbox().compute(check).unwrap_or_else(|error| panic!("{way}: {error}"));
    assert!(n.get::<i64>().unwrap() >= 40, "{way}");
}

/// Copies all keys to another database.
fn copy(server: &Server, to: &str) {
    for key in server.cli(&["keys", "*"]).lines() {
        assert_eq!(server.cli(&["copy", key, key, "db", to]), "1");
    }
}

type Forget = fn(&mut Server);

/// What happens before, when the server is as it will be again, and when it forgets.
const WAYS: [(&str, Forget, Forget); 6] = [
    (
        "an older dump",
        |server| assert_eq!(server.cli(&["save"]), "OK"),
        |server| {
            server.kill();
            server.restart();
        },
    ),
    ("flushall", |_| {}, |server| assert_eq!(server.cli(&["flushall"]), "OK")),
    ("another database", |_| {}, |server| assert_eq!(server.cli(&["swapdb", "0", "1"]), "OK")),
    ("an older copy", |server| copy(server, "1"), |server| assert_eq!(server.cli(&["swapdb", "0", "1"]), "OK")),
    (
        "an older dump in the same process",
        |server| assert_eq!(server.cli(&["save"]), "OK"),
        |server| assert_eq!(server.cli(&["debug", "reload", "nosave"]), "OK"),
    ),
    (
        "a replica that was behind",
        |server| {
            let replica = Server::start(&[]);
            replica.cli(&["replicaof", "127.0.0.1", &server.port.to_string()]);
            while !replica.cli(&["info", "replication"]).contains("master_link_status:up") {
                std::thread::sleep(Duration::from_millis(5));
            }
            replica.cli(&["replicaof", "no", "one"]);
            replica.cli(&["save"]);
            std::fs::copy(replica.folder.path().join("dump.rdb"), behind(server.folder.path())).unwrap();
        },
        |server| {
            // It takes the place of the one that is gone.
            server.kill();
            std::fs::copy(behind(server.folder.path()), server.folder.path().join("dump.rdb")).unwrap();
            server.restart();
        },
    ),
];

fn behind(folder: &Path) -> std::path::PathBuf {
    folder.join("behind.rdb")
}

#[test]
fn a_server_that_forgets() {
    for (way, before, forgets) in WAYS {
        // Before anybody else comes, and after somebody has made as many tables and commits as there were.
        for others in [0, 1, 60] {
            let mut server = Server::start(&["--enable-debug-command", "yes"]);
            let early = User::new(&server, "early");
            before(&mut server);
            let late = User::new(&server, "late");
            early.make().unwrap();
            late.make().unwrap();
            forgets(&mut server);
            while server.cli(&["ping"]) != "PONG" {
                std::thread::sleep(Duration::from_millis(5));
            }
            if others > 0 {
                let new = User::new(&server, "new");
                for _ in 0..others {
                    new.make().unwrap();
                }
                late.is_refused(way);
                early.is_refused(way);
                new.make().unwrap();
            } else {
                early.is_refused(way);
                late.is_refused(way);
                // Once refused, always refused.
                User::new(&server, "new").make().unwrap();
                early.is_refused(way);
            }
            nothing_is_mixed(&server, way);
        }
    }
}

/// Who only reads has no commits by which it would be known.
#[test]
fn a_reader_of_a_server_that_forgets() {
    for (way, before, forgets) in WAYS {
        let mut server = Server::start(&["--enable-debug-command", "yes"]);
        let writer = User::new(&server, "early");
        before(&mut server);
        let later = User::new(&server, "later");
        let (reader, only) = (server.sandbox(), format!("{}?read_only=true", server.url()));
        let only = Sandbox::with_config(SandboxConfig::new().store(only)).unwrap();
        for sandbox in [&reader, &only] {
            sandbox.compute("held = _home.later[7] _io.output = {1} assert(held.owner == 'later')").unwrap();
        }
        forgets(&mut server);
        while server.cli(&["ping"]) != "PONG" {
            std::thread::sleep(Duration::from_millis(5));
        }
        let new = User::new(&server, "new");
        for _ in 0..60 {
            new.make().unwrap();
        }
        for sandbox in [&reader, &only] {
            let error = sandbox.compute("return held.owner").expect_err(way);
            assert_eq!(error.kind(), ErrorKind::Store, "{way}: {error}");
        }
        drop((writer, later));
        nothing_is_mixed(&server, way);
    }
}

#[test]
fn a_server_that_forgets_nothing() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let users = [User::new(&server, "a"), User::new(&server, "b")];
    for _ in 0..3 {
        server.kill();
        server.restart();
        while server.cli(&["ping"]) != "PONG" {
            std::thread::sleep(Duration::from_millis(5));
        }
        for user in &users {
            user.goes_on("all is there");
        }
    }
    // In the same process.
    server.cli(&["bgrewriteaof"]);
    users[0].goes_on("all is there");
}

/// Behind some addresses there is now this server, now that one, all of the same data.
#[test]
fn a_server_that_is_somebody_else_again_and_again() {
    let server = Server::start(&[]);
    let (busy, idle) = (User::new(&server, "busy"), User::new(&server, "idle"));
    let late = server.sandbox();
    for _ in 0..150 {
        server.cli(&["hset", "{luacell}:meta", "server", "another"]);
        busy.sandbox.compute("_home.busy[1] = {owner = 'busy', i = 1}").unwrap();
    }
    idle.goes_on("all is there");
    // It has seen too little to be sure for so long, and knows of all epochs.
    for _ in 0..1100 {
        busy.sandbox.compute("_home.busy[1] = {owner = 'busy', i = 1}").unwrap();
    }
    idle.goes_on("all is there");
    server.cli(&["hset", "{luacell}:meta", "server", "another"]);
    for _ in 0..1100 {
        busy.sandbox.compute("_home.busy[1] = {owner = 'busy', i = 1}").unwrap();
    }
    idle.goes_on("all is there");
    // This one knew none of the last hundred.
    let error = late.compute("return _home.busy").unwrap_err();
    assert!(error.message().contains("forgotten"), "{error}");
}

/// Each key alone is lost: whoever needs it gets an error that names it, and nothing begins anew.
#[test]
fn a_server_that_loses_a_key() {
    let keys = |server: &Server| -> Vec<String> { server.cli(&["keys", "*"]).lines().map(str::to_owned).collect() };
    let count = {
        let server = Server::start(&[]);
        let _user = User::new(&server, "user");
        keys(&server).len()
    };
    for i in 0..count {
        let server = Server::start(&[]);
        let user = User::new(&server, "user");
        let mut keys = keys(&server);
        keys.sort();
        let key = &keys[i];
        assert_eq!(server.cli(&["del", key]), "1");
        let walk = "if not _home.user then _home.user = {} end
            for i, t in pairs(_home.user) do assert(t.owner == 'user' and t.i == i) end _home.found = #_home.user";
        let fresh = || Sandbox::with_config(SandboxConfig::new().store(server.url()));
        if key.ends_with(":meta") || key.contains(":t:") {
            let errors = [
                fresh().and_then(|sandbox| sandbox.compute(walk)).expect_err(key),
                user.sandbox.compute(walk).expect_err(key),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Store, "{key}: {error}");
                assert!(error.message().contains("lost"), "{key}: {error}");
            }
            assert_eq!(server.cli(&["exists", key]), "0", "{key}");
        } else {
            user.sandbox.compute(walk).unwrap();
            assert_eq!(fresh().unwrap().compute("return _home.found").unwrap().into_value(), 40.into(), "{key}");
        }
    }
}

/// What the server holds becomes what format 1 made of it.
const AS_FORMAT_1: &str = "
    local meta = '{luacell}:meta'
    redis.call('DEL', '{luacell}:versions')
    for _, id in ipairs(redis.call('HKEYS', meta)) do
        if string.find(id, '^%d') then
            redis.call('HSET', '{luacell}:versions', id, string.sub(redis.call('HGET', meta, id), 1, 8))
        end
    end
    redis.call('SET', '{luacell}:commits', redis.call('HGET', meta, 'position'))
    redis.call('SET', '{luacell}:next', redis.call('HGET', meta, 'next'))
    redis.call('SET', '{luacell}:format', 'luacell 1')
    redis.call('DEL', meta, '{luacell}:users')";

#[test]
fn namespaces_of_format_1() {
    let server = Server::start(&[]);
    User::new(&server, "old");
    server.cli(&["eval", AS_FORMAT_1, "0"]);
    let error = RedisStore::options().read_only(true).open(&server.url()).unwrap_err();
    assert!(error.message().contains("format"), "{error}");
    let new = User::new(&server, "new");
    new.goes_on("format 2");
    new.sandbox.compute("_home.copied = nil").unwrap();
    new.view.set("owner", "new").unwrap();
    new.make().unwrap();
    nothing_is_mixed(&server, "format 1");
    // What a version of luacell that knows format 1 alone does first, and before it writes.
    assert_eq!(server.cli(&["get", "{luacell}:format"]), "luacell 2");
    assert!(server.cli(&["hlen", "{luacell}:versions"]).contains("WRONGTYPE"));
    // Half way.
    server.cli(&[
        "eval",
        AS_FORMAT_1.replace("redis.call('DEL', meta", "redis.call('DEL', '{luacell}:versions'").as_str(),
        "0",
    ]);
    server.cli(&["hdel", "{luacell}:meta", "position"]);
    nothing_is_mixed(&server, "format 1");
}
