//! Connections to one server, or to whichever node of a cluster has the namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use rustls::ClientConfig;

use super::wire::{self, Connection, Patience};
use super::{RedisOptions, address};
use crate::store::{CancelToken, StoreError, StoreResult, Uncertain};

/// More idle connections than this are closed.
const MAX_IDLE: usize = 32;

/// A connection that was idle for longer is tried before it is relied on.
const TRUSTED: Duration = Duration::from_secs(1);

/// The first wait before another try; each is twice as long as the one before, up to the longest, within the request's time.
const BACK_OFF: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// A cluster may send a request on so often before there is a wait: while a slot moves, its nodes don't agree.
const QUICK_REDIRECTS: usize = 3;

/// What the namespace holds; another one is somebody else's or a later version's.
const FORMAT: &str = "luacell 1";

/// All pools, so that the same server is asked through the same connections.
static OPEN: Mutex<Option<HashMap<String, Weak<Pool>>>> = Mutex::new(None);

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
    read: Script,
    commit: Script,
    reserve: Script,
}

struct Idle {
    connection: Connection,
    since: Instant,
    node: Node,
}

/// A script for the server, and the name under which it may know it.
struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Script { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it. `keys` are all that it uses: a cluster that moves a slot looks at them, and refuses when it has not all of them in one place.
    fn run(&self, keys: &[String], arguments: &[Vec<u8>], connection: &mut Connection) -> RedisResult<Value> {
        let run = |how: &str, which: &str, connection: &mut Connection| {
            redis::cmd(how).arg(which).arg(keys.len()).arg(keys).arg(arguments).query(connection)
        };
        match run("EVALSHA", &self.hash, connection) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                run("EVAL", self.code, connection)
            }
            result => result,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Pool {
    pub(super) fn open(url: &str, options: &RedisOptions) -> StoreResult<Arc<Pool>> {
        let address::Address { info, namespace, certificate } = address::parse(url)?;
        let namespace = options.namespace.clone().or(namespace).unwrap_or_else(|| "luacell".to_owned());
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            return Err("the namespace must not be empty and must not contain braces".into());
        }
        let process = std::process::id();
        let key = format!("{process}\n{url}\n{options:?}");
        if let Some(pool) = lock(&OPEN).as_ref().and_then(|open| open.get(&key)?.upgrade()) {
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
            process,
            read: Script::new(include_str!("read.lua")),
            commit: Script::new(include_str!("commit.lua")),
            reserve: Script::new(include_str!("reserve.lua")),
            info,
        });
        pool.check_format()?;
        let mut open = lock(&OPEN);
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
    fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    fn failed(&self, error: &RedisError, patience: &Patience) -> String {
        let what = match error.is_timeout() {
            true if patience.is_cancelled() => "the run had to end before there was an answer".to_owned(),
            true => format!("no answer within {:?}", self.timeout),
            false => words(error),
        };
        format!("{}: {what}", self.name)
    }

    fn check_format(&self) -> StoreResult<()> {
        let key = self.key("format");
        let format: String = self.with_connection(true, &CancelToken::default(), |connection| {
            redis::cmd("SET").arg(&key).arg(FORMAT).arg("NX").query::<Value>(connection)?;
            redis::cmd("GET").arg(&key).query(connection)
        })?;
        if format == FORMAT {
            return Ok(());
        }
        Err(format!(
            "{}: {} holds '{format}', and this version of luacell reads '{FORMAT}' only",
            self.name, self.prefix
        )
        .into())
    }

    /// The keys of tables, and others.
    fn keys(&self, others: &[&str], tables: impl Iterator<Item = u32>) -> Vec<String> {
        let others = others.iter().map(|name| self.key(name));
        others.chain(tables.map(|id| format!("{}t:{id}", self.prefix))).collect()
    }

    /// `tables` are those that the arguments are about, each once.
    pub(super) fn read(
        &self,
        tables: impl Iterator<Item = u32>,
        arguments: &[Vec<u8>],
        cancel: &CancelToken,
    ) -> StoreResult<Value> {
        let keys = self.keys(&["format", "versions"], tables);
        self.with_connection(true, cancel, |connection| self.read.run(&keys, arguments, connection))
    }

    /// As `read`.
    pub(super) fn commit(
        &self,
        tables: impl Iterator<Item = u32>,
        arguments: &[Vec<u8>],
        cancel: &CancelToken,
    ) -> StoreResult<Value> {
        let keys = self.keys(&["format", "versions", "commits"], tables);
        self.with_connection(false, cancel, |connection| self.commit.run(&keys, arguments, connection))
    }

    pub(super) fn reserve(&self, count: u32, first: u32, cancel: &CancelToken) -> StoreResult<u32> {
        let keys = self.keys(&["format", "next"], std::iter::empty());
        let arguments = [count.to_string().into_bytes(), first.to_string().into_bytes()];
        // Numbers that nobody got are no loss.
        let reserved =
            self.with_connection(true, cancel, |connection| self.reserve.run(&keys, &arguments, connection))?;
        match reserved {
            Value::Int(id) => u32::try_from(id).map_err(|_| self.strange()),
            Value::Nil => Err("no table numbers are left".into()),
            _ => Err(self.strange()),
        }
    }

    pub(super) fn tables(&self, cancel: &CancelToken) -> StoreResult<Vec<u32>> {
        let key = self.key("versions");
        let list = |connection: &mut Connection| redis::cmd("HKEYS").arg(&key).query(connection);
        let ids: Vec<String> = self.with_connection(true, cancel, list)?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Runs `f` on a connection to the node that has the namespace, which is followed when a cluster moves it. All of it has to be done within one time-out. What is
    /// `repeatable` is done once more when the connection broke; of anything else nobody knows then whether it was done. `f` sends one command at a time, and
    /// nothing behind one that was refused.
    ///
    /// redis has clients for clusters, which know nothing of such a time-out, or of runs that are interrupted. All of a namespace is in one slot, so little
    /// is to be done.
    fn with_connection<T>(
        &self,
        repeatable: bool,
        cancel: &CancelToken,
        mut f: impl FnMut(&mut Connection) -> RedisResult<T>,
    ) -> StoreResult<T> {
        if std::process::id() != self.process {
            return Err(format!("{}: the process was forked; its child has to open the store anew", self.name).into());
        }
        let patience = Patience::new(self.timeout, cancel.clone());
        let (mut again, mut replica, mut redirects, mut wait) = (repeatable, false, 0, BACK_OFF);
        let mut asked: Node = None;
        loop {
            let wanted = asked.take();
            let (mut connection, node) = self.connection(wanted.as_ref(), &patience)?;
            let asking = wanted.is_some() && wanted == node;
            let patience = if repeatable { patience.clone() } else { patience.with_grace() };
            connection.prepare(&patience, asking);
            let error = match f(&mut connection) {
                Ok(result) => {
                    self.give_back(connection, node);
                    return Ok(result);
                }
                Err(error) => error,
            };
            let trouble = self.trouble(&error);
            if !matches!(trouble, Trouble::Broken) {
                self.give_back(connection, node);
            }
            let at_once = match trouble {
                Trouble::Moved(node) => {
                    *lock(&self.node) = node;
                    redirects += 1;
                    redirects <= QUICK_REDIRECTS
                }
                Trouble::Ask(node) => {
                    asked = node;
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
                    if !repeatable {
                        let failed = self.failed(&error, &patience);
                        return Err(
                            Uncertain(format!("{failed}; the run's writes may have been stored, all or none")).into()
                        );
                    }
                    if !again || error.is_timeout() {
                        return Err(self.failed(&error, &patience).into());
                    }
                    again = false;
                    true
                }
                Trouble::Replica | Trouble::Refused => return Err(self.failed(&error, &patience).into()),
            };
            if !at_once {
                self.pause(&mut wait, &patience, &error)?;
            }
        }
    }

    /// Waits before another try, if there is time for one.
    fn pause(&self, wait: &mut Duration, patience: &Patience, error: &RedisError) -> StoreResult<()> {
        if patience.left().is_ok_and(|left| left > *wait) && patience.pause(*wait).is_ok() {
            *wait = (2 * *wait).min(LONGEST_WAIT);
            return Ok(());
        }
        Err(self.failed(error, patience).into())
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
            if node.take().is_some() {
                // It is gone: the URL's knows who has its place.
                *lock(&self.node) = None;
            }
            if wire::is_final(&error) || error.is_timeout() {
                return Err(self.failed(&error, patience).into());
            }
            self.pause(&mut wait, patience, &error)?;
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

/// What the server or the system said.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}
