//! Connections to one server, or to whichever node of a cluster has the namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Script, Value};

use super::RedisOptions;
use super::wire::{Connection, Patience};
use crate::store::{CancelToken, StoreError, StoreResult};

/// More idle connections than this are closed.
const MAX_IDLE: usize = 32;

/// A connection that was idle for longer is tried before it is relied on.
const TRUSTED: Duration = Duration::from_secs(1);

/// The first wait before another try to connect; each is twice as long as the one before, up to the longest, within the request's time.
const BACK_OFF: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// A cluster may send a request on so often.
const MAX_REDIRECTS: usize = 5;

/// What the namespace holds; another one is somebody else's or a later version's.
const FORMAT: &str = "luacell 1";

/// All pools, so that the same server is asked through the same connections.
static OPEN: Mutex<Option<HashMap<String, Weak<Pool>>>> = Mutex::new(None);

pub(super) struct Pool {
    info: ConnectionInfo,
    root_certificate: Option<Vec<u8>>,
    timeout: Duration,
    /// For messages: no password.
    name: String,
    /// What all keys begin with.
    prefix: String,
    /// The node that has the namespace, when that is not the one of the URL.
    node: Mutex<Option<(String, u16)>>,
    idle: Mutex<Vec<Idle>>,
    read: Script,
    commit: Script,
    reserve: Script,
}

struct Idle {
    connection: Connection,
    since: Instant,
    node: Option<(String, u16)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The URL without the parts that are ours, and the namespace and certificate file that they name.
fn split(url: &str) -> (String, Option<String>, Option<String>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None, None);
    };
    let (query, fragment) = query.split_once('#').map_or((query, None), |(query, rest)| (query, Some(rest)));
    let (mut namespace, mut certificate, mut rest) = (None, None, Vec::new());
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("namespace", name)) => namespace = Some(name.to_owned()),
            Some(("ca", file)) => certificate = Some(file.to_owned()),
            _ => rest.push(part),
        }
    }
    let mut clean = base.to_owned();
    if !rest.is_empty() {
        clean = format!("{clean}?{}", rest.join("&"));
    }
    if let Some(fragment) = fragment {
        clean = format!("{clean}#{fragment}");
    }
    (clean, namespace, certificate)
}

impl Pool {
    pub(super) fn open(url: &str, options: &RedisOptions) -> StoreResult<Arc<Pool>> {
        let (clean, namespace, certificate) = split(url);
        let namespace = options.namespace.clone().or(namespace).unwrap_or_else(|| "luacell".to_owned());
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            return Err("the namespace must not be empty and must not contain braces".into());
        }
        let key = format!("{url}\n{options:?}");
        if let Some(pool) = lock(&OPEN).as_ref().and_then(|open| open.get(&key)?.upgrade()) {
            return Ok(pool);
        }
        // The URL may hold a password, so it is not shown.
        let info = clean
            .as_str()
            .into_connection_info()
            .map_err(|error| format!("the URL of the server makes no sense: {}", words(&error)))?;
        let name = format!("server {}", info.addr());
        let mut root_certificate = options.root_certificate.clone();
        if let (None, Some(file)) = (&root_certificate, certificate) {
            root_certificate = Some(std::fs::read(&file).map_err(|error| format!("can't read {file}: {error}"))?);
        }
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. })
            && rustls::crypto::CryptoProvider::get_default().is_none()
        {
            // Somebody else may be faster, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let pool = Arc::new(Pool {
            root_certificate,
            timeout: options.timeout,
            name,
            prefix: format!("{{{namespace}}}:"),
            node: Mutex::new(None),
            idle: Mutex::new(Vec::new()),
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

    fn failed(&self, error: &RedisError) -> StoreError {
        let what = if error.is_timeout() { format!("no answer within {:?}", self.timeout) } else { words(error) };
        format!("{}: {what}", self.name).into()
    }

    fn check_format(&self) -> StoreResult<()> {
        let key = format!("{}format", self.prefix);
        let format: String = self.with_connection(true, CancelToken::default(), |connection| {
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

    pub(super) fn read(&self, arguments: &[Vec<u8>], cancel: &CancelToken) -> StoreResult<Value> {
        self.with_connection(true, cancel.clone(), |connection| self.invoke(&self.read, arguments, connection))
    }

    pub(super) fn commit(&self, arguments: &[Vec<u8>]) -> StoreResult<Value> {
        self.with_connection(false, CancelToken::default(), |connection| {
            self.invoke(&self.commit, arguments, connection)
        })
    }

    pub(super) fn reserve(&self, count: u32, first: u32) -> StoreResult<u32> {
        let arguments = [count.to_string().into_bytes(), first.to_string().into_bytes()];
        let reserved = self.with_connection(count == 0, CancelToken::default(), |connection| {
            self.invoke(&self.reserve, &arguments, connection)
        })?;
        match reserved {
            Value::Int(id) => u32::try_from(id).map_err(|_| self.strange()),
            Value::Nil => Err("no table numbers are left".into()),
            _ => Err(self.strange()),
        }
    }

    pub(super) fn tables(&self, cancel: &CancelToken) -> StoreResult<Vec<u32>> {
        let key = format!("{}versions", self.prefix);
        let list = |connection: &mut Connection| redis::cmd("HKEYS").arg(&key).query(connection);
        let ids: Vec<String> = self.with_connection(true, cancel.clone(), list)?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    fn invoke(&self, script: &Script, arguments: &[Vec<u8>], connection: &mut Connection) -> RedisResult<Value> {
        let mut call = script.key(&self.prefix);
        for argument in arguments {
            call.arg(argument.as_slice());
        }
        call.invoke(connection)
    }

    /// Runs `f` on a connection; follows a cluster to the right node. What only reads is tried once more when the connection broke. All of it has to be done within
    /// one time-out.
    fn with_connection<T>(
        &self,
        reads: bool,
        cancel: CancelToken,
        mut f: impl FnMut(&mut Connection) -> RedisResult<T>,
    ) -> StoreResult<T> {
        let patience = Patience::new(self.timeout, cancel);
        let mut again = reads;
        let mut redirects = 0;
        loop {
            let (mut connection, node) = self.connection(&patience)?;
            connection.set_patience(&patience);
            let error = match f(&mut connection) {
                Ok(result) => {
                    self.give_back(connection, node);
                    return Ok(result);
                }
                Err(error) => error,
            };
            if let Some((address, _)) = error.redirect_node()
                && redirects < MAX_REDIRECTS
            {
                redirects += 1;
                let target = self.target(address);
                if error.kind() == ErrorKind::Server(redis::ServerErrorKind::Moved) {
                    *lock(&self.node) = target;
                } else if let Some(target) = target {
                    // The slot is on its way: this one request goes to where it will be.
                    let mut connection = self.connect(Some(&target), &patience).map_err(|error| self.failed(&error))?;
                    let asked = redis::cmd("ASKING").query::<Value>(&mut connection).and_then(|_| f(&mut connection));
                    return asked.map_err(|error| self.failed(&error));
                }
                self.give_back(connection, node);
                continue;
            }
            if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
                // What comes on this connection later is the answer to something else.
                drop(connection);
                lock(&self.idle).clear();
                *lock(&self.node) = None;
                if again && !error.is_timeout() {
                    again = false;
                    continue;
                }
            } else {
                self.give_back(connection, node);
            }
            return Err(self.failed(&error));
        }
    }

    /// `host:port` of a node; the host may be missing, and is the URL's then.
    fn target(&self, address: &str) -> Option<(String, u16)> {
        let (host, port) = address.rsplit_once(':')?;
        let host = match (host, self.info.addr()) {
            ("" | "?", ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
            (host, _) => host.to_owned(),
        };
        Some((host, port.parse().ok()?))
    }

    fn give_back(&self, connection: Connection, node: Option<(String, u16)>) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE && node == *lock(&self.node) {
            idle.push(Idle { connection, since: Instant::now(), node });
        }
    }

    /// An idle connection, or a new one.
    fn connection(&self, patience: &Patience) -> StoreResult<(Connection, Option<(String, u16)>)> {
        let node = lock(&self.node).clone();
        loop {
            let Some(mut idle) = lock(&self.idle).pop() else { break };
            if idle.node != node {
                continue;
            }
            if idle.since.elapsed() < TRUSTED {
                return Ok((idle.connection, node));
            }
            idle.connection.set_patience(&patience.at_most(self.timeout / 4));
            match redis::cmd("PING").query::<Value>(&mut idle.connection) {
                Ok(_) => return Ok((idle.connection, node)),
                // The others would say nothing either, and there has to be time for a new one.
                Err(error) if error.is_timeout() => lock(&self.idle).clear(),
                Err(_) => {}
            }
        }
        let mut wait = BACK_OFF;
        let mut target = node;
        loop {
            let error = match self.connect(target.as_ref(), patience) {
                Ok(connection) => return Ok((connection, target)),
                Err(error) => error,
            };
            if target.is_some() {
                // The node is gone: the URL's knows who has its place.
                *lock(&self.node) = None;
                target = None;
            }
            let final_answer = !(error.is_io_error() || error.is_connection_dropped()) || error.is_timeout();
            if final_answer || patience.left().map_or(true, |left| left <= wait) {
                return Err(self.failed(&error));
            }
            std::thread::sleep(wait);
            wait = (2 * wait).min(LONGEST_WAIT);
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
        Connection::open(&info, self.root_certificate.as_deref(), patience)
    }
}

/// What the server or the system said.
fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
