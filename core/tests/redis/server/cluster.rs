//! Clusters of real servers, and slots that move.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use luacell::{ErrorKind, RedisStore, testkit};

use super::{COUNT, Server, counted, sandbox};

/// Three masters.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Server>,
}

impl Cluster {
    pub(super) fn start(options: &[&str]) -> Self {
        let mut all = vec!["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
        // A busy machine must not make a node look dead.
        all.extend(["--cluster-node-timeout", "60000"]);
        all.extend(options);
        let nodes: Vec<Server> = (0..3).map(|_| Server::start(&all)).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let mut args = vec!["--cluster", "create"];
        args.extend(addresses.iter().map(String::as_str));
        args.extend(["--cluster-replicas", "0", "--cluster-yes"]);
        let said = nodes[0].cli(&args);
        assert!(said.contains("All 16384 slots covered"), "{said}");
        let cluster = Cluster { nodes };
        cluster.wait();
        cluster
    }

    /// Each learns for itself that all are there.
    pub(super) fn wait(&self) {
        for node in &self.nodes {
            while !node.cli(&["cluster", "info"]).contains("cluster_state:ok") {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    pub(super) fn id(&self, node: usize) -> String {
        self.nodes[node].cli(&["cluster", "myid"])
    }

    fn open(&self, node: usize, namespace: &str, timeout: Duration) -> RedisStore {
        RedisStore::options().namespace(namespace).timeout(timeout).open(&self.nodes[node].url()).unwrap()
    }

    /// The node that has the slot.
    fn owner(&self, slot: u16) -> usize {
        let has = |node: &Server| {
            let nodes = node.cli(&["cluster", "nodes"]);
            let line = nodes.lines().find(|line| line.contains("myself")).unwrap().to_owned();
            line.split_whitespace().skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            })
        };
        self.nodes.iter().position(has).unwrap()
    }

    /// Says that the slot is on its way.
    fn begin(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let begin = |node: usize, what: &str, other: usize| {
            assert_eq!(self.nodes[node].cli(&["cluster", "setslot", &slot, what, &self.id(other)]), "OK");
        };
        begin(to, "importing", from);
        begin(from, "migrating", to);
    }

    fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].port.to_string();
        assert_eq!(self.nodes[from].cli(&["migrate", "127.0.0.1", &port, key, "0", "60000"]), "OK", "{key}");
    }

    fn move_back(&self, slot: u16, key: &str, from: usize, to: usize) {
        let set = |what: &[&str]| {
            let slot = slot.to_string();
            let said = self.nodes[from].cli(&[&["cluster", "setslot", &slot], what].concat());
            assert_eq!(said, "OK");
        };
        set(&["stable"]);
        self.move_key(key, to, from);
        set(&["migrating", &self.id(to)]);
    }

    fn end(&self, slot: u16, from: usize, to: usize) {
        for node in [to, from] {
            let said = self.nodes[node].cli(&["cluster", "setslot", &slot.to_string(), "node", &self.id(to)]);
            assert_eq!(said, "OK");
        }
    }

    /// What redis-cli does to move slots: the first ones that the node has.
    pub(super) fn reshard(&self, from: usize, to: usize, slots: u16) {
        let (from, to) = (self.id(from), self.id(to));
        let at = format!("127.0.0.1:{}", self.nodes[0].port);
        let slots = slots.to_string();
        let args = ["--cluster", "reshard", &at, "--cluster-from", &from, "--cluster-to", &to];
        let said = self.nodes[0].cli(&[&args[..], &["--cluster-slots", &slots, "--cluster-yes"]].concat());
        assert!(said.contains("Moving slot") && !said.contains("ERR"), "{said}");
    }
}

/// The slot of all keys of a namespace.
pub(super) fn slot_of(namespace: &str) -> u16 {
    let mut crc = 0u16;
    for byte in namespace.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % 16384
}

/// One that is among the first slots.
pub(super) fn namespace_below(slot: u16) -> String {
    (0..).map(|n| format!("moves {n}")).find(|name| slot_of(name) < slot).unwrap()
}

#[test]
fn whichever_node_is_named() {
    let mut cluster = Cluster::start(&["--appendonly", "yes"]);
    for namespace in ["a", "b", "c", "d", "e", "f"] {
        for node in &cluster.nodes {
            let open = || RedisStore::options().namespace(namespace).open(&node.url());
            let sandbox = sandbox(open().unwrap());
            sandbox.compute(COUNT).unwrap();
        }
        let store = RedisStore::options().namespace(namespace).open(&cluster.nodes[1].url()).unwrap();
        assert_eq!(counted(&sandbox(store)), 3);
    }
    testkit::shared(|| RedisStore::options().namespace("shared").open(&cluster.nodes[2].url())).unwrap();
    // Of a node that is gone the message says which.
    let owner = cluster.owner(slot_of("a"));
    let impatient = sandbox(cluster.open((owner + 1) % 3, "a", Duration::from_secs(3)));
    cluster.nodes[owner].kill();
    for source in ["return _home.n", COUNT] {
        let error = impatient.compute(source).unwrap_err();
        let names = |name: String| error.kind() == ErrorKind::Store && error.message().contains(&name);
        assert!(names(format!("127.0.0.1:{}", cluster.nodes[owner].port)), "{error}");
    }
    cluster.nodes[owner].restart();
    cluster.wait();
    assert_eq!(
        sandbox(cluster.open(owner, "b", Duration::from_secs(600)))
            .compute("return _home.n")
            .unwrap()
            .get::<i64>()
            .unwrap(),
        3
    );
}

/// Of a line of MONITOR.
fn words(command: &str) -> impl Iterator<Item = &str> {
    command.strip_prefix('"').unwrap().strip_suffix('"').unwrap().split("\" \"")
}

/// A cluster sees which keys a script uses by what is declared, and by nothing else.
#[test]
fn scripts_declare_all_keys_that_they_use() {
    let server = Server::start(&[]);
    let mut monitor = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(monitor).lines().map_while(Result::ok);
    assert_eq!(lines.next().unwrap(), "+OK");
    let mut n = 0;
    testkit::laws(|| {
        n += 1;
        // It takes long to write large values down for MONITOR.
        let patient = RedisStore::options().timeout(Duration::from_secs(600));
        patient.namespace(format!("laws{n}")).open(&server.url())
    })
    .unwrap();
    testkit::shared(|| RedisStore::options().namespace("shared").open(&server.url())).unwrap();
    let sandbox = server.sandbox();
    for _ in 0..3 {
        sandbox.compute(COUNT).unwrap();
        sandbox.compute("local n = 0 for _ in pairs(_home) do n = n + 1 end return n, #_home.history").unwrap();
    }
    sandbox.compute("for i = 1, 3000 do _home[i] = {i} end").unwrap();
    sandbox.compute("for i = 1, 3000 do _home[i] = nil end").unwrap();
    sandbox.gc().unwrap();
    server.cli(&["echo", "the end"]);
    let (mut declared, mut seen) = (String::new(), 0);
    for line in lines.take_while(|line| !line.contains("the end")) {
        let (from, command) = line.split_once("] ").unwrap();
        if !from.ends_with(" lua") {
            declared = command.to_owned();
            continue;
        }
        // A token of random bytes may have the middle of a key, not its beginning.
        for key in words(command).filter(|word| word.starts_with('{') && word.contains("}:")) {
            seen += 1;
            let keys: usize = words(&declared).nth(2).unwrap().parse().unwrap();
            assert!(words(&declared).skip(3).take(keys).any(|word| word == key), "{key} is used by {declared}");
        }
    }
    assert!(seen > 1000, "{seen}");
}

const ACCOUNT: &str = "if not _home.acc then _home.acc = {n = 0} end _home.acc.n = _home.acc.n + 1 return _home.acc.n";
const ACCOUNT_AND: &str = "if not _home.acc then _home.acc = {n = 0} end _home.acc.n = _home.acc.n + 1";

/// Whatever part of a namespace is on its way, a run sees all of it, waits, or fails; also where the scripts are not
/// known yet.
#[test]
fn a_slot_that_is_half_moved() {
    let cluster = Cluster::start(&[]);
    let namespace = "half";
    let slot = slot_of(namespace);
    let from = cluster.owner(slot);
    let to = (from + 1) % 3;
    let patient = [from, to].map(|node| sandbox(cluster.open(node, namespace, Duration::from_secs(600))));
    let impatient = sandbox(cluster.open(from, namespace, Duration::from_millis(150)));
    let mut n = 0;
    let works = |n: &mut i64| {
        for sandbox in &patient {
            *n += 1;
            assert_eq!(sandbox.compute(ACCOUNT).unwrap().get::<i64>().unwrap(), *n);
        }
    };
    works(&mut n);
    cluster.begin(slot, from, to);
    works(&mut n);
    let keys = cluster.nodes[from].cli(&["keys", "*"]);
    let keys: Vec<&str> = keys.lines().filter(|key| key.starts_with("{half}")).collect();
    assert!(keys.len() >= 3, "{keys:?}");
    let mut failed = 0;
    let mut is_whole_or_fails = |n: &mut i64| {
        for (source, adds) in [("return _home.acc.n", 0), (ACCOUNT, 1)] {
            match impatient.compute(source) {
                Ok(outcome) => {
                    *n += adds;
                    assert_eq!(outcome.into_value(), (*n).into());
                }
                Err(error) => {
                    failed += 1;
                    assert_eq!(error.kind(), ErrorKind::Store, "{error}");
                }
            }
        }
    };
    // Each alone on the other side, then each alone on this one.
    for key in &keys {
        cluster.move_key(key, from, to);
        is_whole_or_fails(&mut n);
        cluster.move_back(slot, key, from, to);
    }
    for key in &keys {
        cluster.move_key(key, from, to);
    }
    for key in &keys {
        cluster.move_back(slot, key, from, to);
        is_whole_or_fails(&mut n);
        cluster.move_key(key, from, to);
    }
    assert!(failed > 0);
    // All are there, and the slot is not yet.
    works(&mut n);
    cluster.nodes[to].cli(&["script", "flush"]);
    works(&mut n);
    // Half again, with somebody who waits for the rest.
    cluster.move_back(slot, "{half}:t:1", from, to);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| patient[0].compute(ACCOUNT).unwrap().get::<i64>().unwrap());
        let error = impatient.compute("return _home.acc.n").unwrap_err();
        assert!(error.message().contains("TRYAGAIN"), "{error}");
        cluster.move_key("{half}:t:1", from, to);
        cluster.end(slot, from, to);
        n += 1;
        assert_eq!(waits.join().unwrap(), n);
    });
    works(&mut n);
    let late = sandbox(cluster.open(from, namespace, Duration::from_secs(600)));
    assert_eq!(late.compute("return _home.acc.n").unwrap().into_value(), n.into());
}

/// A namespace that is there for the first time while its slot is on its way.
#[test]
fn a_slot_that_moves_before_anything_is_in_it() {
    let cluster = Cluster::start(&[]);
    let namespace = "new";
    let slot = slot_of(namespace);
    let from = cluster.owner(slot);
    let to = (from + 2) % 3;
    cluster.begin(slot, from, to);
    std::thread::scope(|scope| {
        let counts = [from, to].map(|node| {
            let store = RedisStore::options().namespace(namespace).timeout(Duration::from_secs(600));
            let url = cluster.nodes[node].url();
            scope.spawn(move || sandbox(store.open(&url).unwrap()).compute(ACCOUNT).unwrap().get::<i64>().unwrap())
        });
        cluster.end(slot, from, to);
        let mut counts = counts.map(|count| count.join().unwrap());
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    });
}

/// As `redis-cli --cluster reshard` does it, there and back, under load: what was acknowledged is what is there.
#[test]
fn slots_that_move_under_load() {
    let cluster = Cluster::start(&[]);
    let namespace = namespace_below(20);
    let (done, ready) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let (cluster, namespace, done, ready) = (&cluster, &namespace, &done, &ready);
                scope.spawn(move || {
                    let sandbox = sandbox(cluster.open(worker % 3, namespace, Duration::from_secs(600)));
                    let mut acknowledged = 0;
                    while !done.load(Ordering::SeqCst) {
                        // A table of everybody's, and now and then one that nobody has had.
                        let new = format!("_home['{worker} {acknowledged}'] = {{{acknowledged}}}");
                        let source = format!("{ACCOUNT_AND} {}", if acknowledged % 50 == 0 { &new } else { "" });
                        sandbox.compute(source).unwrap();
                        acknowledged += 1;
                        ready.fetch_add(1, Ordering::SeqCst);
                    }
                    acknowledged
                })
            })
            .collect();
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            let before = ready.load(Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < before + 100 && !workers.iter().any(|worker| worker.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if to == 2 {
                cluster.nodes[to].cli(&["script", "flush"]);
            }
            cluster.reshard(from, to, 20);
        }
        done.store(true, Ordering::SeqCst);
        let acknowledged: i64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        let sandbox = sandbox(cluster.open(2, &namespace, Duration::from_secs(600)));
        assert_eq!(sandbox.compute("return _home.acc.n").unwrap().into_value(), acknowledged.into());
        // Nothing of it is left elsewhere.
        let check = "local n = 0 for k, v in pairs(_home) do if k ~= 'acc' and v[1] then n = n + 1 end end return n";
        let tables = sandbox.compute(check).unwrap().get::<i64>().unwrap();
        assert!((acknowledged / 50..=acknowledged / 50 + 4).contains(&tables), "{tables} of {acknowledged}");
    });
}
