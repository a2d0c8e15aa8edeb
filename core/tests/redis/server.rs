//! The server store, on real servers that come and go. Needs redis-server, redis-cli and openssl.

mod cluster;
mod durable;
mod faults;
mod forgets;
mod gc;
mod large;
mod proxy;
mod refused;
mod time;
mod url;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use luacell::{ComputeOptions, ErrorKind, RedisOptions, RedisStore, Sandbox, SandboxConfig, Value, testkit};
use tempfile::TempDir;

use self::proxy::{Proxy, TICK};

const INSTALL: &str = "apt-get install redis-server";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server of its own for each test.
struct Server {
    process: Child,
    folder: TempDir,
    port: u16,
    options: Vec<String>,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut folder = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        loop {
            let port = free_port();
            let process = Server::launch(port, folder.path(), &options);
            let mut server = Server { process, folder, port, options: options.clone() };
            if server.wait_until_it_listens() {
                return server;
            }
            // Somebody else took the port.
            folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
        }
    }

    fn launch(port: u16, folder: &Path, options: &[String]) -> Child {
        // Valkey's has the same options.
        let program = std::env::var_os("LUACELL_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let mut command = Command::new(program);
        if !options.iter().any(|option| option == "--tls-port") {
            command.args(["--port", &port.to_string()]);
        } else {
            command.args(["--port", "0", "--tls-port", &port.to_string()]);
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
        command.args(options.iter().filter(|option| *option != "--tls-port"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap_or_else(|error| panic!("redis-server can't be started ({error}); {INSTALL}"))
    }

    fn wait_until_it_listens(&mut self) -> bool {
        loop {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn open(&self) -> RedisStore {
        RedisStore::open(&self.url()).unwrap()
    }

    fn sandbox(&self) -> Sandbox {
        sandbox(self.open())
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = Server::launch(self.port, self.folder.path(), &self.options);
        assert!(self.wait_until_it_listens());
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn cli(&self, args: &[&str]) -> String {
        cli(self.port, args)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(args).output().expect(INSTALL);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn sandbox(store: RedisStore) -> Sandbox {
    Sandbox::with_config(SandboxConfig::new().store(store).conflict_retries(10_000)).unwrap()
}

#[test]
fn laws() {
    let server = Server::start(&[]);
    let mut n = 0;
    testkit::laws(|| {
        n += 1;
        RedisStore::options().namespace(format!("laws {n}")).open(&server.url())
    })
    .unwrap();
    testkit::kept(|| RedisStore::options().namespace("kept").open(&server.url())).unwrap();
    testkit::shared(|| RedisStore::open(&format!("{}/3?namespace=shared", server.url()))).unwrap();
}

#[test]
fn a_run_takes_few_round_trips() {
    let server = Server::start(&[]);
    let setup = server.sandbox();
    setup.compute("for i = 1, 10 do _home['small ' .. i] = i end").unwrap();
    let trips = || -> i64 {
        let stats = server.cli(&["info", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        line.split_once("calls=").unwrap().1.split_once(',').unwrap().0.parse().unwrap()
    };
    let source = |kind: &str| {
        format!(
            "local s = 0 for i = 1, 10 do s = s + _home['{kind} ' .. i] end for i = 1, 10 do _home['new ' .. i] = s end return s"
        )
    };
    // A small table comes as a whole.
    let sandbox = server.sandbox();
    let before = trips();
    assert_eq!(sandbox.compute(source("small")).unwrap().get::<i64>().unwrap(), 55);
    assert!(trips() - before <= 2, "{} round trips", trips() - before);
    // Of a large one, what the last run read.
    setup.compute("for i = 1, 5000 do _home['large ' .. i] = i end").unwrap();
    let sandbox = server.sandbox();
    sandbox.compute(source("large")).unwrap();
    let before = trips();
    sandbox.compute(source("large")).unwrap();
    assert!(trips() - before <= 2, "{} round trips", trips() - before);
}

#[test]
fn password_namespace_and_wrong_urls() {
    let server = Server::start(&["--requirepass", "secret word"]);
    let refused = |url: &str| {
        let error = Sandbox::with_config(SandboxConfig::new().store(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{error}");
        assert!(!error.message().contains("secret"), "{error}");
        error.message().to_owned()
    };
    let at = format!("127.0.0.1:{}", server.port);
    assert!(refused(&format!("redis://{at}")).contains("NOAUTH"));
    refused(&format!("redis://:wrong@{at}"));
    refused(&format!("redis://{at}/notanumber"));
    refused(&format!("redis://:secret%20word@{at}?namespace=a{{b}}"));
    let url = format!("redis://:secret%20word@{at}?namespace=");
    let open = |namespace: &str| Sandbox::with_config(SandboxConfig::new().store(format!("{url}{namespace}"))).unwrap();
    open("one").compute("_home.x = 1").unwrap();
    open("two").compute("_home.x = 2").unwrap();
    assert_eq!(open("one").compute("return _home.x").unwrap().into_value(), 1.into());
    let keys = server.cli(&["-a", "secret word", "--no-auth-warning", "keys", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("{one}:") || key.starts_with("{two}:")), "{keys}");
    // Another program's data, and a later format.
    server.cli(&["-a", "secret word", "--no-auth-warning", "set", "{later}:format", "luacell 9"]);
    assert!(refused(&format!("{url}later")).contains("luacell 9"));
    server.cli(&["-a", "secret word", "--no-auth-warning", "set", "{other}:t:1", "text"]);
    assert!(refused(&format!("{url}other")).contains("{other}"));
    // One table of the namespace becomes something else while it is used.
    let other = open("three");
    other.compute("_home.t = {1} t = _home.t").unwrap();
    server.cli(&["-a", "secret word", "--no-auth-warning", "set", "{three}:t:1", "text"]);
    for source in ["return _home.x", "_home.x = 1", "ext.table() _home.y = {1}", "t[1] = 2 _home.x = 1"] {
        assert_eq!(other.compute(source).unwrap_err().kind(), ErrorKind::Store);
    }
    assert_eq!(other.compute("return t[1]").unwrap().into_value(), 1.into());
    assert_eq!(server.cli(&["-a", "secret word", "--no-auth-warning", "get", "{other}:t:1"]), "text");
    let unreachable = Instant::now();
    refused(&format!("redis://127.0.0.1:{}?namespace=x", free_port()));
    assert!(unreachable.elapsed() < Duration::from_secs(60));
}

/// Several writes, tables among them; all of a run or nothing.
const COUNT: &str = "
    local n = (_home.n or 0) + 1
    _home.n = n
    _home.history = _home.history or {}
    _home.history[n % 20 + 1] = {n = n}
    _home.text = ('x'):rep(n % 2000) .. n
    _home.also = n
    return n";

const WHOLE: &str = "
    local n = _home.n or 0
    if n == 0 then return 0, _home.also == nil end
    return n, _home.also == n and _home.text == ('x'):rep(n % 2000) .. n and _home.history[n % 20 + 1].n == n";

fn counted(sandbox: &Sandbox) -> i64 {
    let outcome = sandbox.compute(WHOLE).unwrap();
    assert!(outcome.get_at::<bool>(1).unwrap(), "half a commit: {:?}", sandbox.home().to_table().unwrap());
    outcome.get().unwrap()
}

#[test]
fn the_server_is_killed_and_restarted() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::options().timeout(Duration::from_secs(1)).open(&server.url()).unwrap();
    let sandbox = sandbox(store);
    sandbox.compute("lua = 0").unwrap();
    let mut least = 0;
    for round in 0..15u64 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let used = &sandbox;
        let (failed, acknowledged) = std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let (sandbox, mut last) = (used, least);
                loop {
                    match sandbox.compute(COUNT) {
                        Ok(outcome) => {
                            last = outcome.get::<i64>().unwrap();
                            let _ = sender.send(());
                        }
                        Err(error) => return (error, last),
                    }
                }
            });
            // In the middle of the work.
            for _ in 0..=round % 4 {
                // On a slow machine the time-out may be faster, and that has to be all or nothing too.
                if receiver.recv().is_err() {
                    break;
                }
            }
            std::thread::sleep(Duration::from_micros(round * 97 % 700));
            server.kill();
            worker.join().unwrap()
        });
        assert_eq!(failed.kind(), ErrorKind::Store, "{failed}");
        assert_eq!(sandbox.compute("return _home.n").unwrap_err().kind(), ErrorKind::Store);
        assert_eq!(sandbox.compute("lua = lua + 1 return lua").unwrap().get::<i64>().unwrap(), round as i64 + 1);
        server.restart();
        // It may still be reading its log.
        while server.cli(&["ping"]) != "PONG" {
            std::thread::sleep(Duration::from_millis(5));
        }
        least = counted(&sandbox);
        assert!(
            least == acknowledged || least == acknowledged + 1,
            "{acknowledged} were acknowledged, {least} are there"
        );
    }
}

#[test]
fn the_server_freezes() {
    let server = Server::start(&[]);
    let store = RedisStore::options().timeout(Duration::from_millis(300)).open(&server.url()).unwrap();
    let sandbox = sandbox(store);
    sandbox.compute(COUNT).unwrap();
    for _ in 0..3 {
        let before = counted(&sandbox);
        server.signal("-STOP");
        let error = sandbox.compute(COUNT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("no answer"), "{error}");
        // Blind writes too.
        assert_eq!(sandbox.compute("_home.blind = {1, 2}").unwrap_err().kind(), ErrorKind::Store);
        server.signal("-CONT");
        let after = counted(&sandbox);
        assert!(after == before || after == before + 1);
        assert_eq!(sandbox.compute(COUNT).unwrap().get::<i64>().unwrap(), after + 1);
    }
}

#[test]
fn the_server_is_out_of_memory() {
    let server = Server::start(&["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"]);
    let sandbox = server.sandbox();
    let mut kept = 0;
    let error = loop {
        let source = format!("for j = 1, 20 do _home[{kept} * 20 + j] = ('x'):rep(5000) end _home.n = {kept} + 1");
        match sandbox.compute(source) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000);
    };
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("OOM"), "{error}");
    let check = "local n = 0 for k in pairs(_home) do if k ~= 'n' then n = n + 1 end end return _home.n, n";
    assert_eq!(sandbox.compute(check).unwrap().values, [kept.into(), (kept * 20).into()]);
    server.cli(&["config", "set", "maxmemory", "200mb"]);
    sandbox.compute("_home.more = {('y'):rep(100000)}").unwrap();
    assert_eq!(sandbox.compute("return #_home.more[1]").unwrap().into_value(), 100_000.into());
}

/// Not a test: what a second process does.
#[test]
fn child() {
    let Ok(url) = std::env::var("LUACELL_URL") else { return };
    count_in_threads(&url);
    println!("\n> done");
    std::io::stdout().flush().unwrap();
}

const TIMES: i64 = 50;

fn count_in_threads(url: &str) {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let sandbox = sandbox(RedisStore::open(url).unwrap());
                for _ in 0..TIMES {
                    sandbox.compute(COUNT).unwrap();
                }
            });
        }
    });
}

#[test]
fn two_processes_with_four_threads_each_on_one_counter() {
    let server = Server::start(&[]);
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::child", "--nocapture"])
        .env("LUACELL_URL", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    count_in_threads(&server.url());
    let output = BufReader::new(other.stdout.take().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line == "> done"));
    other.wait().unwrap();
    assert_eq!(counted(&server.sandbox()), 8 * TIMES);
}

#[test]
fn conflicts_that_do_not_end() {
    let server = Server::start(&[]);
    let never = Sandbox::with_config(SandboxConfig::new().store(server.open()).conflict_retries(0)).unwrap();
    let meddler = server.sandbox();
    // Somebody writes while the script runs: the script waits for it.
    never.compute("_home.x = 0 _home.go = 0").unwrap();
    let error = std::thread::scope(|scope| {
        let worker = scope.spawn(|| never.compute("local x = _home.x for i = 1, 3e7 do end _home.x = x + 1"));
        while !worker.is_finished() {
            meddler.compute("_home.x = (_home.x or 0) + 1").unwrap();
        }
        worker.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.message(), "another sandbox changed what this one had read: _home.x");
    never.compute("_home.x = -1").unwrap();
    assert_eq!(meddler.compute("return _home.x").unwrap().into_value(), (-1).into());
    assert_eq!(never.compute("return _home.y").unwrap().into_value(), Value::Nil);
}

/// Whatever ends it first: the store's time-out, the run's, or an interrupt. An answer of 1000 bytes would take 20
/// seconds and more.
#[test]
fn a_server_that_sends_byte_after_byte() {
    const MANY: u32 = 500;
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let (quick, patient) = (proxy.open(Duration::from_millis(200)), proxy.open(Duration::from_secs(3600)));
    let (quick, patient) = (sandbox(quick), sandbox(patient));
    quick.compute("_home.s = ('x'):rep(1000)").unwrap();
    patient.compute("_home.n = 1").unwrap();
    let read = "x = 1 pcall(function() return #_home.s end) return 1";
    let trickled = |run: &dyn Fn() -> Option<ErrorKind>| {
        proxy.state.trickles.store(true, Ordering::SeqCst);
        proxy.state.bytes.store(0, Ordering::SeqCst);
        let kind = run();
        let bytes = proxy.state.bytes.load(Ordering::SeqCst);
        assert!(bytes < MANY, "{bytes} bytes were waited for");
        proxy.state.trickles.store(false, Ordering::SeqCst);
        kind
    };
    let kind = trickled(&|| quick.compute("return #_home.s").err().map(|error| error.kind()));
    assert_eq!(kind, Some(ErrorKind::Store));
    let kind = trickled(&|| quick.compute("_home.y = 1").err().map(|error| error.kind()));
    assert!(matches!(kind, None | Some(ErrorKind::Store)), "{kind:?}");
    let options = || ComputeOptions::new().timeout(Duration::from_millis(200));
    let kind = trickled(&|| patient.compute_with(read, options()).err().map(|error| error.kind()));
    assert_eq!(kind, Some(ErrorKind::Timeout));
    let kind = trickled(&|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // It waits by now.
                while proxy.state.bytes.load(Ordering::SeqCst) < 3 {
                    std::thread::sleep(TICK);
                }
                patient.interrupt();
            });
            patient.compute(read).err().map(|error| error.kind())
        })
    });
    assert_eq!(kind, Some(ErrorKind::Interrupted));
    for sandbox in [quick, patient] {
        assert_eq!(sandbox.compute("return #_home.s, _home.n").unwrap().values, [1000.into(), 1.into()]);
    }
}

#[test]
fn a_server_that_swallows_everything_costs_one_timeout() {
    const CONNECTIONS: u32 = 8;
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let store = proxy.open(Duration::from_secs(4));
    let sandboxes: Vec<Sandbox> = (0..CONNECTIONS).map(|_| sandbox(store.clone())).collect();
    // Each has a connection of its own when all wait for the server.
    proxy.state.waiting.store(0, Ordering::SeqCst);
    proxy.state.together.store(CONNECTIONS, Ordering::SeqCst);
    std::thread::scope(|scope| {
        for sandbox in &sandboxes {
            scope.spawn(|| sandbox.compute("return _home.x"));
        }
    });
    proxy.state.together.store(0, Ordering::SeqCst);
    // They are not relied on any more.
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1100) {
        std::thread::sleep(TICK);
    }
    proxy.state.swallows.store(true, Ordering::SeqCst);
    let error = sandboxes[0].compute("return _home.x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("no answer"), "{error}");
    // One to an idle connection and one to a new one.
    let requests = proxy.state.requests.load(Ordering::SeqCst);
    assert!(requests <= 2, "{requests}");
    proxy.state.swallows.store(false, Ordering::SeqCst);
    for sandbox in &sandboxes {
        sandbox.compute("_home.x = 1").unwrap();
    }
}

#[test]
fn runs_that_take_turns_collide_no_more() {
    let server = Server::start(&[]);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let server = &server;
            scope.spawn(move || {
                // Other options make a pool of its own, as another process would have.
                let store = RedisStore::options().timeout(Duration::from_secs(60 + number)).open(&server.url());
                let config = SandboxConfig::new().store(store.unwrap()).queue_runs(true).conflict_retries(0);
                let lua = Sandbox::with_config(config).unwrap();
                for _ in 0..25 {
                    lua.compute("local n = _home.n or 0 for i = 1, 1000 do end _home.n = n + 1").unwrap();
                }
            });
        }
    });
    assert_eq!(server.sandbox().compute("return _home.n").unwrap().into_value(), 100.into());
}
