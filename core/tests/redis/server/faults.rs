//! Processes that move money between accounts while they, their server and what is between them fail in every way. What
//! was acknowledged is there, nothing is there twice or by half, and who is in doubt is told so. A few seconds each, or
//! LUACELL_FAULTS_SECONDS.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::panic::AssertUnwindSafe;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use luacell::{Error, ErrorKind, FileStore, RedisStore, Sandbox, SandboxConfig, TableStore};

use super::cluster::{Cluster, namespace_below};
use super::proxy::Proxy;
use super::{Server, sandbox};

const ACCOUNTS: i64 = 8;
const MONEY: i64 = 1000;

fn seconds() -> Duration {
    let seconds = std::env::var("LUACELL_FAULTS_SECONDS").ok().map(|text| text.parse().unwrap());
    Duration::from_secs_f64(seconds.unwrap_or(3.0))
}

/// How long a worker waits for a server.
const TIMEOUT: Duration = Duration::from_millis(500);

fn open(place: &str, timeout: Duration) -> luacell::Result<Sandbox> {
    let store: Box<dyn TableStore> = match place.contains("://") {
        true => Box::new(RedisStore::options().timeout(timeout).open(place)?),
        false => Box::new(FileStore::open(place)?),
    };
    Sandbox::with_config(
        SandboxConfig::new().store(store).conflict_retries(10_000).timeout(Some(Duration::from_secs(600))),
    )
}

/// What a worker does: the sum stays, and its own count tells how often.
const TRANSFER: &str = "
    local who, n, from, to, amount = ...
    local accounts, worker = _home.accounts, _home.workers[who]
    if worker.n ~= n - 1 then error('after ' .. worker.n .. ' comes no ' .. n, 0) end
    accounts[from].money = accounts[from].money - amount
    accounts[to].money = accounts[to].money + amount
    worker.n = n
    worker.last = {n = n, text = ('x'):rep(n % 500)}";

fn accounts_for(workers: i64) -> String {
    format!(
        "_home.accounts, _home.workers = {{}}, {{}}
        for i = 1, {ACCOUNTS} do _home.accounts[i] = {{money = {MONEY}}} end
        for i = 1, {workers} do _home.workers[i] = {{n = 0}} end"
    )
}

const COUNT: &str = "
    local worker = _home.workers[...]
    return worker.n, worker.n == 0 or worker.last.n == worker.n and #worker.last.text == worker.n % 500";

const SUM: &str = "
    local sum, n = 0, 0
    for _, account in pairs(_home.accounts) do sum, n = sum + account.money, n + 1 end
    return sum, n";

/// Only what the server can't help.
fn is_down(error: &Error) -> bool {
    assert!(matches!(error.kind(), ErrorKind::Store), "{error}");
    let worrying = ["makes no sense", "malformed", "corrupt", "lost", "WRONGTYPE", "CROSSSLOT", "Script attempted"];
    assert!(!worrying.iter().any(|word| error.message().contains(word)), "{error}");
    true
}

/// Until it works.
fn insist<T>(mut f: impl FnMut() -> luacell::Result<T>) -> T {
    loop {
        match f() {
            Ok(value) => return value,
            Err(error) if is_down(&error) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn count(sandbox: &Sandbox, who: i64) -> i64 {
    let args = || luacell::ComputeOptions::new().args([who]);
    let outcome = insist(|| sandbox.compute_with(COUNT, args()));
    assert!(outcome.get_at::<bool>(1).unwrap(), "worker {who}: half a commit");
    outcome.get().unwrap()
}

/// Not a test: a process of workers, each of which says what it begins with, and what was acknowledged.
#[test]
fn worker() {
    let Ok(place) = std::env::var("LUACELL_WORK_AT") else { return };
    let who: Vec<i64> = std::env::var("LUACELL_WORKERS").unwrap().split(' ').map(|who| who.parse().unwrap()).collect();
    let done = AtomicBool::new(false);
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| out.flush());
    };
    std::thread::scope(|scope| {
        for who in who {
            let (place, done) = (&place, &done);
            scope.spawn(move || {
                if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| work(place, who, done, &say))) {
                    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    say(format!("! {who} {text}"));
                    std::process::exit(3);
                }
            });
        }
        // Until the parent has enough.
        let _ = std::io::stdin().read(&mut [0]);
        done.store(true, Ordering::SeqCst);
    });
    say("> done".to_owned());
}

fn work(place: &str, who: i64, done: &AtomicBool, say: &dyn Fn(String)) {
    let sandbox = insist(|| open(place, TIMEOUT));
    let mut n = count(&sandbox, who);
    say(format!("begins {who} {n}"));
    while !done.load(Ordering::SeqCst) {
        let (from, to) = (fastrand::i64(1..=ACCOUNTS), fastrand::i64(1..=ACCOUNTS));
        let args = luacell::ComputeOptions::new().args([who, n + 1, from, to, fastrand::i64(1..10)]);
        match sandbox.compute_with(TRANSFER, args) {
            Ok(_) => n += 1,
            Err(error) => {
                is_down(&error);
                let now = count(&sandbox, who);
                assert!(
                    now == n || now == n + 1 && error.message().contains("may have been stored"),
                    "{n}, {now}: {error}"
                );
                n = now;
            }
        }
        say(format!("has {who} {n}"));
    }
}

/// Processes of workers.
struct Workers {
    /// What each process works at, and who is in it.
    processes: Vec<(Child, String, Vec<i64>)>,
    acknowledged: Arc<Mutex<HashMap<i64, i64>>>,
    complaints: Arc<Mutex<Vec<String>>>,
    /// Who reads what they say.
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Workers {
    fn start(place: &str, processes: &[(&str, &[i64])]) -> Self {
        // The sandbox goes before others open a file.
        {
            let sandbox = open(place, Duration::from_secs(600)).unwrap();
            let most = processes.iter().flat_map(|(_, who)| who.iter()).max().unwrap();
            sandbox.compute(accounts_for(*most)).unwrap();
        }
        let mut workers = Workers {
            processes: Vec::new(),
            acknowledged: Arc::default(),
            complaints: Arc::default(),
            readers: Vec::new(),
        };
        for (place, who) in processes {
            let process = workers.launch(place, who);
            workers.processes.push((process, (*place).to_owned(), who.to_vec()));
        }
        workers
    }

    fn launch(&mut self, place: &str, who: &[i64]) -> Child {
        let names: Vec<String> = who.iter().map(i64::to_string).collect();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::faults::worker", "--nocapture"])
            .envs([("LUACELL_WORK_AT", place), ("LUACELL_WORKERS", &names.join(" "))])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (acknowledged, complaints) = (Arc::clone(&self.acknowledged), Arc::clone(&self.complaints));
        self.readers.push(std::thread::spawn(move || {
            // What was killed while it wrote has no end of a line.
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let mut words = line.split(' ');
                let what = words.next();
                let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
                match (what, number(), number()) {
                    (Some("begins"), Some(who), Some(n)) => {
                        let last = acknowledged.lock().unwrap().get(&who).copied().unwrap_or(0);
                        if n != last && n != last + 1 {
                            complaints.lock().unwrap().push(format!("{last} were acknowledged, and then {line}"));
                        }
                        acknowledged.lock().unwrap().insert(who, n);
                    }
                    (Some("has"), Some(who), Some(n)) => {
                        acknowledged.lock().unwrap().insert(who, n);
                    }
                    (Some("!"), ..) => complaints.lock().unwrap().push(line),
                    _ => {}
                }
            }
        }));
        process
    }

    fn total(&self) -> i64 {
        self.acknowledged.lock().unwrap().values().sum()
    }

    fn check(&mut self) {
        for (process, ..) in &mut self.processes {
            let ended = process.try_wait().unwrap();
            let complaints = self.complaints.lock().unwrap();
            assert!(complaints.is_empty() && ended.is_none(), "{ended:?} {complaints:?}");
        }
    }

    /// Until that many more were made, by whomever.
    fn progress(&mut self, more: i64) {
        let enough = self.total() + more;
        while self.total() < enough {
            self.check();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill_one(&mut self) {
        let which = fastrand::usize(..self.processes.len());
        let (process, place, who) = &mut self.processes[which];
        process.kill().unwrap();
        process.wait().unwrap();
        let (place, who) = (place.clone(), who.clone());
        // All that it said has to be heard before the next one begins.
        let reader = self.readers.swap_remove(which);
        reader.join().unwrap();
        let process = self.launch(&place, &who);
        let last = self.readers.len() - 1;
        self.readers.swap(which, last);
        self.processes[which].0 = process;
    }

    /// All end; what was acknowledged is what is there.
    fn finish(mut self, place: &str) {
        self.check();
        for (process, ..) in &mut self.processes {
            drop(process.stdin.take());
        }
        for (process, ..) in &mut self.processes {
            assert!(process.wait().unwrap().success(), "{:?}", self.complaints);
        }
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let sandbox = open(place, Duration::from_secs(600)).unwrap();
        is_balanced(&sandbox);
        for (who, n) in self.acknowledged.lock().unwrap().iter() {
            assert_eq!(count(&sandbox, *who), *n, "worker {who}");
        }
        println!("{place}: {} transfers", self.total());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (process, ..) in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn is_balanced(sandbox: &Sandbox) {
    let outcome = insist(|| sandbox.compute(SUM));
    assert_eq!(outcome.values, [(ACCOUNTS * MONEY).into(), ACCOUNTS.into()]);
}

const ALWAYS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn wait_for(server: &Server) {
    // It may still be reading its log.
    while server.cli(&["ping"]) != "PONG" {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn processes_on_a_server() {
    let mut server = Server::start(&ALWAYS);
    let proxy = Proxy::start(server.port);
    let far = format!("redis://127.0.0.1:{}", proxy.port);
    let near = server.url();
    let mut workers = Workers::start(&near, &[(&near, &[1]), (&near, &[2]), (&far, &[3]), (&far, &[4, 5])]);
    let audit = sandbox(RedisStore::options().timeout(TIMEOUT).open(&near).unwrap());
    let until = Instant::now() + seconds();
    let mut round = 0;
    while round < 10 || Instant::now() < until {
        let state = &proxy.state;
        let short = Duration::from_millis(fastrand::u64(1..100));
        let for_a_while = |fault: &AtomicBool| {
            fault.store(true, Ordering::SeqCst);
            std::thread::sleep(short);
            fault.store(false, Ordering::SeqCst);
        };
        match round % 10 {
            0 | 5 => workers.kill_one(),
            1 | 6 => {
                server.kill();
                std::thread::sleep(short);
                server.restart();
                wait_for(&server);
            }
            2 => for_a_while(&state.loses),
            3 => for_a_while(&state.half_closes),
            4 => for_a_while(&state.trickles),
            7 => for_a_while(&state.swallows),
            8 => {
                server.signal("-STOP");
                // Longer than the workers wait.
                std::thread::sleep(if round % 20 == 8 { short } else { 2 * TIMEOUT });
                server.signal("-CONT");
            }
            _ => {
                state.delay.store(20, Ordering::SeqCst);
                std::thread::sleep(short);
                state.delay.store(0, Ordering::SeqCst);
            }
        }
        workers.progress(20);
        is_balanced(&audit);
        round += 1;
    }
    workers.finish(&near);
}

#[test]
fn processes_on_a_cluster() {
    let mut cluster = Cluster::start(&ALWAYS);
    let namespace = namespace_below(20);
    let at = |node: &Server| format!("{}?namespace={}", node.url(), namespace.replace(' ', "%20"));
    let urls: Vec<String> = cluster.nodes.iter().map(at).collect();
    let mut workers =
        Workers::start(&urls[0], &[(&urls[0], &[1]), (&urls[1], &[2]), (&urls[2], &[3]), (&urls[0], &[4])]);
    let audit = open(&urls[1], TIMEOUT).unwrap();
    let until = Instant::now() + seconds();
    let (mut owner, mut round) = (0, 0);
    while round < 4 || Instant::now() < until {
        let next = (owner + 1) % 3;
        match round % 4 {
            1 => workers.kill_one(),
            3 => {
                let which = fastrand::usize(..3);
                cluster.nodes[which].kill();
                cluster.nodes[which].restart();
                wait_for(&cluster.nodes[which]);
                cluster.wait();
            }
            _ => {
                if round % 8 == 2 {
                    cluster.nodes[next].cli(&["script", "flush"]);
                }
                cluster.reshard(owner, next, 20);
                owner = next;
            }
        }
        workers.progress(20);
        is_balanced(&audit);
        round += 1;
    }
    workers.finish(&urls[2]);
}

#[test]
fn threads_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.luacell");
    let file = file.to_str().unwrap();
    let mut workers = Workers::start(file, &[(file, &[1, 2, 3, 4])]);
    let until = Instant::now() + seconds();
    let mut round = 0;
    while round < 4 || Instant::now() < until {
        workers.progress(fastrand::i64(1..50));
        workers.kill_one();
        round += 1;
    }
    workers.progress(20);
    workers.finish(file);
}

/// A sandbox, who uses it, and what was acknowledged.
struct User {
    sandbox: Sandbox,
    who: i64,
    n: i64,
    /// One more may have been made.
    is_in_doubt: bool,
}

impl User {
    fn new(url: &str, who: i64) -> Self {
        let sandbox = insist(|| open(url, TIMEOUT));
        let n = count(&sandbox, who);
        User { sandbox, who, n, is_in_doubt: false }
    }

    fn transfer(&mut self) -> luacell::Result<()> {
        let (from, to) = (fastrand::i64(1..=ACCOUNTS), fastrand::i64(1..=ACCOUNTS));
        let args = luacell::ComputeOptions::new().args([self.who, self.n + 1, from, to, fastrand::i64(1..10)]);
        let result = self.sandbox.compute_with(TRANSFER, args);
        match &result {
            Ok(_) => self.n += 1,
            Err(error) => self.is_in_doubt |= error.message().contains("may have been stored"),
        }
        result.map(drop)
    }

    /// Whether the last one was made.
    fn look(&mut self) -> luacell::Result<()> {
        let args = luacell::ComputeOptions::new().args([self.who]);
        let now = self.sandbox.compute_with(COUNT, args)?.get::<i64>().unwrap();
        assert!(now == self.n || now == self.n + 1 && self.is_in_doubt, "{now} after {}", self.n);
        (self.n, self.is_in_doubt) = (now, false);
        Ok(())
    }

    /// Whether it can, once its server is there; otherwise it is told that something is gone.
    fn goes_on(&mut self) -> bool {
        loop {
            match self.look().and_then(|()| self.transfer()) {
                Ok(()) => return true,
                Err(error) if error.message().contains("forgotten") => return false,
                Err(error) => assert!(is_down(&error)),
            }
        }
    }
}

/// Makes one follow the other, through a proxy, and waits until it does.
fn follow(replica: &Server, master: &Server, link: &Proxy) {
    link.state.server.store(master.port, Ordering::SeqCst);
    assert_eq!(replica.cli(&["replicaof", "127.0.0.1", &link.port.to_string()]), "OK");
    while !replica.cli(&["info", "replication"]).contains("master_link_status:up") {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Until the replica has heard of all.
fn catch_up(replica: &Server, master: &Server) {
    let offset = |server: &Server, name: &str| -> i64 {
        let info = server.cli(&["info", "replication"]);
        info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    while offset(replica, "slave_repl_offset:") < offset(master, "master_repl_offset:") {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What a master had acknowledged and its replica had not heard of is gone when that takes its place. Who has seen it
/// is told so, each time; who has not goes on.
#[test]
fn a_replica_takes_over() {
    let options = [&ALWAYS[..], &["--repl-diskless-sync-delay", "0"]].concat();
    let (mut master, mut replica) = (Server::start(&options), Server::start(&options));
    let (clients, link) = (Proxy::start(master.port), Proxy::start(master.port));
    let url = format!("redis://127.0.0.1:{}", clients.port);
    open(&url, Duration::from_secs(600)).unwrap().compute(accounts_for(3)).unwrap();
    let until = Instant::now() + seconds();
    let mut round = 0;
    while round < 4 || Instant::now() < until {
        let (lags, is_killed) = (round % 2 == 0, round % 4 < 2);
        follow(&replica, &master, &link);
        let mut users: Vec<User> = (1..=3).map(|who| User::new(&url, who)).collect();
        users.iter_mut().for_each(|user| assert!(user.goes_on()));
        // This one sees nothing of what comes.
        let mut idle = users.pop().unwrap();
        catch_up(&replica, &master);
        link.state.holds.store(lags, Ordering::SeqCst);
        let in_the_middle = is_killed && !lags;
        let ready = &AtomicU32::new(0);
        std::thread::scope(|scope| {
            let workers: Vec<_> = users
                .iter_mut()
                .map(|user| {
                    scope.spawn(move || {
                        (0..10).for_each(|_| assert!(user.goes_on()));
                        ready.fetch_add(1, Ordering::SeqCst);
                        while in_the_middle && user.transfer().is_ok() {}
                    })
                })
                .collect();
            if in_the_middle {
                while ready.load(Ordering::SeqCst) < 2 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(fastrand::u64(..100)));
                master.kill();
            }
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
        if is_killed {
            let _ = master.process.kill();
            let _ = master.process.wait();
        } else if !lags {
            catch_up(&replica, &master);
        }
        assert_eq!(replica.cli(&["replicaof", "no", "one"]), "OK");
        if !is_killed {
            assert_eq!(master.cli(&["replicaof", "127.0.0.1", &replica.port.to_string()]), "OK");
            // Nothing is written to who is no master any more.
            for user in &mut users {
                let error = user.transfer().unwrap_err();
                assert!(is_down(&error));
            }
        }
        link.state.holds.store(false, Ordering::SeqCst);
        clients.state.server.store(replica.port, Ordering::SeqCst);
        if !is_killed {
            // Clients are sent away, as Sentinel does it.
            master.cli(&["client", "kill", "type", "normal"]);
        }
        assert!(idle.goes_on());
        for user in &mut users {
            let goes_on = user.goes_on();
            assert!(!(lags && goes_on) && (lags || in_the_middle || goes_on), "round {round}: {goes_on}");
            let fresh = User::new(&url, user.who);
            assert!(if goes_on { fresh.n == user.n } else { fresh.n <= user.n + 1 }, "{} {}", fresh.n, user.n);
            for source in
                ["return _home.accounts[1].money", "_home.x = 1", "return 1 + #_home.accounts", "_home.y = {}"]
            {
                let result = user.sandbox.compute(source);
                assert_eq!(result.is_ok(), goes_on, "{result:?}");
                assert!(result.err().is_none_or(|error| error.message().contains("forgotten")));
            }
        }
        is_balanced(&idle.sandbox);
        if is_killed {
            master.restart();
            wait_for(&master);
        }
        std::mem::swap(&mut master, &mut replica);
        round += 1;
    }
}

/// A connection of two processes would mix their answers.
#[test]
#[allow(unsafe_code, reason = "to fork")]
fn a_forked_child_opens_anew() {
    let server = Server::start(&[]);
    let sandbox = server.sandbox();
    sandbox.compute("_home.n = 1").unwrap();
    // SAFETY: the child runs what a forked process may run here, and ends without going back into the test.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let works = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for source in ["return _home.n", "_home.n = 2", "_home.t = {}"] {
                let error = sandbox.compute(source).unwrap_err();
                assert!(error.kind() == ErrorKind::Store && error.message().contains("forked"), "{error}");
            }
            server.sandbox().compute("_home.n = _home.n + 1").unwrap();
        }));
        // SAFETY: ends the process, without what was set up by the parent.
        unsafe { libc::_exit(i32::from(works.is_err())) };
    }
    let mut status = 0;
    // SAFETY: waits for the child from above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(sandbox.compute("_home.n = _home.n + 1 return _home.n").unwrap().into_value(), 3.into());
}
