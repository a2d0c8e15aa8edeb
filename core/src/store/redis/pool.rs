//! Connections to one server, or to whichever node of a cluster has the namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use rustls::ClientConfig;

use super::scripts::{self, Script};
use super::session::{Seen, bytes};
use super::wire::{self, Connection, Patience};
use super::{RedisOptions, address};
use crate::store::{CancelToken, StoreError, StoreResult, Turns, Uncertain};
use crate::util::lock;
use crate::util::process::{self, PerProcess};

/// More idle connections than this are closed.
const MAX_IDLE: usize = 32;

/// A connection that was idle for longer is tried before it is relied on.
const TRUSTED: Duration = Duration::from_secs(1);

/// The first wait before another try; each is twice as long as the one before, up to the longest, within the request's
/// time.
const BACK_OFF: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// A cluster may send a request on so often before there is a wait: while a slot moves, its nodes don't agree.
const QUICK_REDIRECTS: usize = 3;

/// How long the last one who leaves waits for an answer.
const FAREWELL: Duration = Duration::from_millis(250);

type Pools = Mutex<Option<HashMap<String, Weak<Pool>>>>;

const fn none() -> Pools {
    Mutex::new(None)
}

/// All pools, so that the same server is asked through the same connections.
static OPEN: PerProcess<Pools> = PerProcess::new(none());

/// A node of a cluster; `None` for the one of the URL.
type Node = Option<(String, u16)>;

pub(super) struct Pool {
    info: ConnectionInfo,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    /// For messages: no password.
    name: String,
    /// What all keys begin with.
    prefix: String,
    /// The node that has the namespace.
    node: Mutex<Node>,
    idle: Mutex<Vec<Idle>>,
    /// A connection is of no use to two processes.
    process: u32,
    read_only: bool,
    /// Who uses the namespace through this.
    users: Mutex<HashMap<String, Arc<Seen>>>,
    /// Those that the server has not been told of the end of.
    ended: Mutex<Vec<String>>,
    /// Who of this process waits for a turn.
    turns: Arc<Turns>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    node: Node,
}

/// What has to be done about an error.
enum Trouble {
    /// Another node has the slot.
    Moved(Node),
    /// Another node will have the slot, and has what is looked for already.
    Ask(Node),
    /// Nothing was done; the same later, at the same node or at the one that has the slot then.
    Later,
    /// Nothing was done, because somebody else is the master.
    Replica,
    /// Nobody knows what was done, and what comes on the connection later is the answer to something else.
    Broken,
    /// The server's last word.
    Refused,
}

/// The key that says whose turn it is.
const TURN: &str = "turn";

impl Pool {
    pub(super) fn open(url: &str, options: &RedisOptions) -> StoreResult<Arc<Pool>> {
        let address::Address { info, namespace, certificate, read_only } = address::parse(url)?;
        let namespace = options.namespace.clone().or(namespace).unwrap_or_else(|| "luacell".to_owned());
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            return Err("the namespace must not be empty and must not contain braces".into());
        }
        let key = format!("{url}\n{options:?}");
        let known = lock(OPEN.get(none)).as_ref().and_then(|open| open.get(&key)?.upgrade());
        if let Some(pool) = known {
            pool.check_permissions()?;
            return Ok(pool);
        }
        let name = format!("server {}", info.addr());
        let mut tls = None;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            if rustls::crypto::CryptoProvider::get_default().is_none() {
                // Somebody else may be faster, which is as good.
                let _ = rustls::crypto::ring::default_provider().install_default();
            }
            let mut root = options.root_certificate.clone();
            if let (None, Some(file)) = (&root, certificate) {
                root = Some(std::fs::read(&file).map_err(|error| format!("can't read {file}: {error}"))?);
            }
            let config = wire::tls_config(root.as_deref());
            tls = Some(config.map_err(|error| format!("{name}: its certificate can't be checked: {error}"))?);
        }
        let pool = Arc::new(Pool {
            tls,
            timeout: options.timeout,
            name,
            prefix: format!("{{{namespace}}}:"),
            node: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
            process: process::id(),
            read_only: options.read_only || read_only,
            users: Mutex::default(),
            ended: Mutex::default(),
            turns: Arc::default(),
            info,
        });
        pool.check_permissions()?;
        let mut open = lock(OPEN.get(none));
        let open = open.get_or_insert_with(HashMap::new);
        open.retain(|_, pool| pool.strong_count() > 0);
        open.insert(key, Arc::downgrade(&pool));
        Ok(pool)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The server gave an answer that the scripts never give.
    pub(super) fn strange(&self) -> StoreError {
        format!("{}: an answer that makes no sense; does {} hold something else?", self.name, self.prefix).into()
    }

    /// The name of a key.
    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    fn failed(&self, node: &Node, error: &RedisError, patience: &Patience) -> String {
        let what = match error.is_timeout() {
            true if patience.is_cancelled() => "the run had to end before there was an answer".to_owned(),
            true => format!("no answer within {:?}", self.timeout),
            false => words(error),
        };
        match node {
            Some((host, port)) => format!("{}, its node {host}:{port}: {what}", self.name),
            None => format!("{}: {what}", self.name),
        }
    }

    /// An error of the namespace.
    pub(super) fn error(&self, text: &str) -> StoreError {
        format!("{}, namespace {}: {text}", self.name, self.namespace()).into()
    }

    fn namespace(&self) -> &str {
        self.prefix.trim_matches(['{', '}', ':'])
    }

    /// Whether this process came from that which opened it. Some thread of that may have held a lock here.
    pub(super) fn is_of_other_process(&self) -> bool {
        self.process != process::id()
    }

    pub(super) fn read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn take_ended(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.ended))
    }

    pub(super) fn put_ended(&self, users: Vec<String>) {
        lock(&self.ended).extend(users);
    }

    pub(super) fn add_user(&self, user: &str, seen: &Arc<Seen>) {
        lock(&self.users).insert(user.to_owned(), Arc::clone(seen));
    }

    pub(super) fn remove_user(&self, user: String) {
        lock(&self.users).remove(&user);
        lock(&self.ended).push(user);
    }

    /// What users have seen, as far as that is certain.
    pub(super) fn users(&self) -> HashMap<String, u64> {
        lock(&self.users).iter().filter_map(|(user, seen)| Some((user.clone(), seen.exactly()?))).collect()
    }

    /// What the store needs is allowed, so that no commit finds out in the middle.
    fn check_permissions(&self) -> StoreResult<()> {
        if self.read_only {
            return Ok(());
        }
        let answer = self.run(&scripts::PROBE, &self.keys(&["t:0"], []), &[], true, &CancelToken::default())?;
        let Value::Array(denied) = answer else { return Err(self.strange()) };
        if denied.is_empty() {
            return Ok(());
        }
        let denied: Vec<String> =
            denied.into_iter().filter_map(|text| Some(String::from_utf8_lossy(&bytes(text)??).into_owned())).collect();
        Err(self.error(&format!("the server's user lacks permissions, see ACL SETUSER ({})", denied.join("; "))))
    }

    /// The names of keys: those of tables, and others before them.
    pub(super) fn keys(&self, others: &[&str], tables: impl IntoIterator<Item = u32>) -> Vec<String> {
        let others = others.iter().map(|name| self.key(name));
        others.chain(tables.into_iter().map(|id| format!("{}t:{id}", self.prefix))).collect()
    }

    /// Runs a script; see `with_connection`.
    pub(super) fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[Vec<u8>],
        repeatable: bool,
        cancel: &CancelToken,
    ) -> StoreResult<Value> {
        self.with_connection(repeatable, cancel, |connection| script.run(keys, arguments, connection))
    }

    /// The server's time.
    pub(super) fn now(&self, cancel: &CancelToken) -> StoreResult<SystemTime> {
        let (seconds, microseconds) =
            self.with_connection(true, cancel, |connection| redis::cmd("TIME").query::<(u64, u64)>(connection))?;
        let time = Duration::from_secs(seconds).saturating_add(Duration::from_micros(microseconds));
        SystemTime::UNIX_EPOCH.checked_add(time).ok_or_else(|| self.strange())
    }

    pub(super) fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.turns)
    }

    /// Takes the turn among all users of the namespace for so long; whether nobody else has it.
    pub(super) fn take_turn(&self, name: &str, term: Duration, cancel: &CancelToken) -> StoreResult<bool> {
        let (key, term) = (self.key(TURN), u64::try_from(term.as_millis()).unwrap_or(u64::MAX));
        // Once more does harm: it would be the turn of a name that nobody knows.
        self.with_connection(false, cancel, |connection| {
            redis::cmd("SET").arg(&key).arg(name).arg("NX").arg("PX").arg(term).query::<Option<String>>(connection)
        })
        .map(|answer| answer.is_some())
    }

    /// Gives the turn back.
    pub(super) fn end_turn(&self, name: &str) -> StoreResult<()> {
        let (keys, arguments) = ([self.key(TURN)], [name.as_bytes().to_vec()]);
        self.run(&scripts::END_TURN, &keys, &arguments, true, &CancelToken::default()).map(drop)
    }

    /// Removes a key, if the server is there.
    pub(super) fn remove(&self, name: &str) {
        let key = self.key(name);
        let _ = self.with_connection(true, &CancelToken::default(), |connection| {
            redis::cmd("UNLINK").arg(&key).query::<Value>(connection)
        });
    }

    /// Waits for somebody else.
    pub(super) fn wait(&self, time: Duration, cancel: &CancelToken) -> StoreResult<()> {
        let patience = Patience::new(self.timeout.max(2 * time), cancel.clone());
        patience.pause(time).map_err(|_| self.error("the run had to end before another run's commit was complete"))
    }

    /// Runs `f` on a connection to the node that has the namespace, which is followed when a cluster moves it. All of
    /// it has to be done within one time-out. What is `repeatable` is done once more when the connection broke; of
    /// anything else nobody knows then whether it was done. `f` sends one command at a time, and nothing behind one
    /// that was refused.
    ///
    /// redis has clients for clusters, which know nothing of such a time-out, or of runs that are interrupted. All of a
    /// namespace is in one slot, so little is to be done.
    fn with_connection<T>(
        &self,
        repeatable: bool,
        cancel: &CancelToken,
        mut f: impl FnMut(&mut Connection) -> RedisResult<T>,
    ) -> StoreResult<T> {
        if self.is_of_other_process() {
            return Err(format!("{}: the process was forked; the child has to open the store again", self.name).into());
        }
        let patience = Patience::new(self.timeout, cancel.clone());
        let (mut again, mut replica, mut redirects, mut wait) = (true, false, 0, BACK_OFF);
        let mut asked: Node = None;
        loop {
            let wanted = asked.take();
            let (mut connection, node) = self.connection(wanted.as_ref(), &patience)?;
            let asking = wanted.is_some() && wanted == node;
            let patience = if repeatable { patience.clone() } else { patience.with_grace() };
            connection.prepare(&patience, asking);
            let identified = connection.identify();
            let is_sent = identified.is_ok();
            let error = match identified.and_then(|()| f(&mut connection)) {
                Ok(result) => {
                    self.give_back(connection, node);
                    return Ok(result);
                }
                Err(error) => error,
            };
            let trouble = self.trouble(&error);
            if !matches!(trouble, Trouble::Broken) {
                self.give_back(connection, node.clone());
            }
            let at_once = match trouble {
                Trouble::Moved(owner) => {
                    *lock(&self.node) = owner;
                    redirects += 1;
                    redirects <= QUICK_REDIRECTS
                }
                Trouble::Ask(target) => {
                    asked = target;
                    redirects += 1;
                    redirects <= QUICK_REDIRECTS
                }
                Trouble::Later => false,
                Trouble::Replica if !replica => {
                    // A name may lead to the new master by now.
                    replica = true;
                    self.forget_connections();
                    true
                }
                Trouble::Broken => {
                    self.forget_connections();
                    if is_sent && !repeatable {
                        let failed = self.failed(&node, &error, &patience);
                        return Err(
                            Uncertain(format!("{failed}; the run's writes may have been stored, all or none")).into()
                        );
                    }
                    if !again || error.is_timeout() {
                        return Err(self.failed(&node, &error, &patience).into());
                    }
                    again = false;
                    true
                }
                Trouble::Replica | Trouble::Refused => return Err(self.failed(&node, &error, &patience).into()),
            };
            if !at_once {
                self.pause(&mut wait, &node, &error, &patience)?;
            }
        }
    }

    /// Waits before another try, if there is time for one.
    fn pause(&self, wait: &mut Duration, node: &Node, error: &RedisError, patience: &Patience) -> StoreResult<()> {
        if patience.left().is_ok_and(|left| left > *wait) && patience.pause(*wait).is_ok() {
            *wait = (2 * *wait).min(LONGEST_WAIT);
            return Ok(());
        }
        Err(self.failed(node, error, patience).into())
    }

    fn trouble(&self, error: &RedisError) -> Trouble {
        if let Some((address, _)) = error.redirect_node() {
            let node = self.target(address);
            let is_asked = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            return if is_asked { Trouble::Ask(node) } else { Trouble::Moved(node) };
        }
        match error.code() {
            Some("TRYAGAIN" | "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY") => Trouble::Later,
            Some("READONLY") => Trouble::Replica,
            None if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() => Trouble::Broken,
            _ => Trouble::Refused,
        }
    }

    /// Those that are idle are no better than the one that failed, and the URL's node knows who has the slot now.
    fn forget_connections(&self) {
        lock(&self.idle).clear();
        *lock(&self.node) = None;
    }

    /// `host:port` of a node; the host may be missing, and is the URL's then.
    fn target(&self, address: &str) -> Node {
        let (host, port) = address.rsplit_once(':')?;
        let host = match (host, self.info.addr()) {
            ("" | "?", ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
            (host, _) => host.to_owned(),
        };
        Some((host, port.parse().ok()?))
    }

    fn give_back(&self, connection: Connection, node: Node) {
        let mut idle = lock(&self.idle);
        if idle.len() == MAX_IDLE {
            idle.remove(0);
        }
        idle.push(Idle { connection, since: Instant::now(), node });
    }

    /// The last one that was used.
    fn idle(&self, node: &Node) -> Option<Idle> {
        let mut idle = lock(&self.idle);
        let at = idle.iter().rposition(|idle| idle.node == *node)?;
        Some(idle.remove(at))
    }

    /// A connection to this node, or to the one that has the namespace: an idle one, or a new one.
    fn connection(&self, asked: Option<&(String, u16)>, patience: &Patience) -> StoreResult<(Connection, Node)> {
        let node = asked.cloned().or_else(|| lock(&self.node).clone());
        while let Some(mut idle) = self.idle(&node) {
            if idle.since.elapsed() < TRUSTED {
                return Ok((idle.connection, node));
            }
            idle.connection.prepare(&patience.at_most(self.timeout / 4), false);
            match redis::cmd("PING").query::<Value>(&mut idle.connection) {
                Ok(_) => return Ok((idle.connection, node)),
                // The others would say nothing either, and there has to be time for a new one.
                Err(error) if error.is_timeout() => lock(&self.idle).clear(),
                Err(_) => {}
            }
        }
        let mut wait = BACK_OFF;
        let mut node = node;
        loop {
            let error = match self.connect(node.as_ref(), patience) {
                Ok(connection) => return Ok((connection, node)),
                Err(error) => error,
            };
            // It is gone: the URL's knows who has its place.
            let gone = node.take();
            *lock(&self.node) = None;
            if wire::is_final(&error) || error.is_timeout() {
                return Err(self.failed(&gone, &error, patience).into());
            }
            self.pause(&mut wait, &gone, &error, patience)?;
        }
    }

    fn connect(&self, node: Option<&(String, u16)>, patience: &Patience) -> RedisResult<Connection> {
        let mut info = self.info.clone();
        if let Some((host, port)) = node {
            let (host, port) = (host.clone(), *port);
            let addr = match info.addr().clone() {
                ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                    ConnectionAddr::TcpTls { host, port, insecure, tls_params }
                }
                _ => ConnectionAddr::Tcp(host, port),
            };
            info = info.set_addr(addr);
        }
        Connection::open(&info, self.tls.as_ref(), patience)
    }
}

impl Drop for Pool {
    /// Says who has ended, if that takes no time to speak of. What stays is forgotten in a day.
    fn drop(&mut self) {
        if self.is_of_other_process() {
            return;
        }
        let ended = self.take_ended();
        let node = lock(&self.node).clone();
        let Some(mut idle) = self.idle(&node) else { return };
        if ended.is_empty() {
            return;
        }
        idle.connection.prepare(&Patience::new(FAREWELL.min(self.timeout), CancelToken::default()), false);
        let arguments: Vec<Vec<u8>> = std::iter::once(String::new()).chain(ended).map(String::into_bytes).collect();
        let keys = self.keys(&["meta", "log", "users"], []);
        let _ = scripts::LEAVE.run(&keys, &arguments, &mut idle.connection);
    }
}

/// What the server or the system said.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}
