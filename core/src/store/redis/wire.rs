//! A connection whose every wait ends in time: redis's own has a time-out for each piece that arrives, so that a server which sends one byte after another holds its
//! client for ever.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, ConnectionAddr, ConnectionInfo, ConnectionLike, ErrorKind, Parser, RedisError, RedisResult, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::store::CancelToken;

/// How often it is looked whether somebody interrupts.
const LOOK: Duration = Duration::from_millis(20);

/// How long all that belongs to one request may take.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    until: Instant,
    cancel: CancelToken,
}

impl Patience {
    pub(super) fn new(timeout: Duration, cancel: CancelToken) -> Self {
        let until = Instant::now() + timeout;
        Patience { until: cancel.deadline().map_or(until, |deadline| until.min(deadline)), cancel }
    }

    /// The same, for something that may take so much of the rest only.
    pub(super) fn at_most(&self, time: Duration) -> Self {
        Patience { until: self.until.min(Instant::now() + time), cancel: self.cancel.clone() }
    }

    /// What is left.
    pub(super) fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() || self.cancel.is_cancelled() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }

    /// Does something that takes a time-out, again and again until it is done or the time is over.
    fn within<T>(&self, mut attempt: impl FnMut(Duration) -> io::Result<T>) -> io::Result<T> {
        loop {
            let wait = self.left()?.min(LOOK);
            match attempt(wait) {
                Err(error) if is_only_late(&error) => {}
                result => return result,
            }
        }
    }
}

fn is_only_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

trait Socket: Read + Write {
    fn set_timeouts(&self, time: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

#[cfg(unix)]
impl Socket for UnixStream {
    fn set_timeouts(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

/// A socket for the time of one request after the other.
struct Bounded {
    socket: Box<dyn Socket + Send>,
    patience: Patience,
}

impl Read for Bounded {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Bounded { socket, patience } = self;
        patience.within(|wait| {
            socket.set_timeouts(wait)?;
            socket.read(buf)
        })
    }
}

impl Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let Bounded { socket, patience } = self;
        patience.within(|wait| {
            socket.set_timeouts(wait)?;
            socket.write(buf)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

enum Stream {
    Plain(Bounded),
    Tls(Box<StreamOwned<ClientConnection, Bounded>>),
}

/// A connection to a server.
pub(super) struct Connection {
    stream: Stream,
    parser: Parser,
    db: i64,
    /// An answer may be missing: what comes next belongs to something else.
    broken: bool,
}

impl Connection {
    /// Connects, and says who is there. `root` is a certificate in PEM form instead of those that the system trusts.
    pub(super) fn open(info: &ConnectionInfo, root: Option<&[u8]>, patience: &Patience) -> RedisResult<Self> {
        let bounded = |socket: Box<dyn Socket + Send>| Bounded { socket, patience: patience.clone() };
        let stream = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Stream::Plain(bounded(Box::new(connect(host, *port, patience)?))),
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                let name = ServerName::try_from(host.as_str()).map_err(io::Error::other)?.to_owned();
                let client = ClientConnection::new(tls_config(root)?, name).map_err(io::Error::other)?;
                let socket = bounded(Box::new(connect(host, *port, patience)?));
                Stream::Tls(Box::new(StreamOwned::new(client, socket)))
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => Stream::Plain(bounded(Box::new(UnixStream::connect(path)?))),
            _ => return Err((ErrorKind::InvalidClientConfig, "this kind of address is not supported").into()),
        };
        let settings = info.redis_settings();
        let mut connection = Connection { stream, parser: Parser::new(), db: settings.db(), broken: false };
        if let Some(password) = settings.password() {
            connection.authenticate(settings.username(), password)?;
        }
        if settings.db() != 0 {
            redis::cmd("SELECT").arg(settings.db()).exec(&mut connection)?;
        }
        Ok(connection)
    }

    fn authenticate(&mut self, user: Option<&str>, password: &str) -> RedisResult<()> {
        let Some(user) = user else {
            return redis::cmd("AUTH").arg(password).exec(self);
        };
        match redis::cmd("AUTH").arg(user).arg(password).exec(self) {
            // Before version 6 there was one user.
            Err(error) if error.detail().is_some_and(|text| text.contains("wrong number of arguments")) => {
                redis::cmd("AUTH").arg(password).exec(self)
            }
            result => result,
        }
    }

    /// For what comes from here on.
    pub(super) fn set_patience(&mut self, patience: &Patience) {
        let bounded = match &mut self.stream {
            Stream::Plain(bounded) => bounded,
            Stream::Tls(stream) => &mut stream.sock,
        };
        bounded.patience = patience.clone();
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn receive(&mut self) -> RedisResult<Value> {
        match &mut self.stream {
            Stream::Plain(stream) => self.parser.parse_value(stream),
            Stream::Tls(stream) => self.parser.parse_value(&mut **stream),
        }
    }

    fn exchange(&mut self, bytes: &[u8], answers: usize) -> RedisResult<Vec<Value>> {
        if self.broken {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        self.broken = true;
        self.send(bytes)?;
        let answers = (0..answers).map(|_| self.receive()).collect::<RedisResult<_>>()?;
        self.broken = false;
        Ok(answers)
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, cmd: &[u8]) -> RedisResult<Value> {
        Ok(self.exchange(cmd, 1)?.pop().unwrap_or_default())
    }

    fn req_packed_commands(&mut self, cmd: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        Ok(self.exchange(cmd, offset + count)?.split_off(offset))
    }

    fn req_command(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        self.req_packed_command(&cmd.get_packed_command())
    }

    fn get_db(&self) -> i64 {
        self.db
    }

    fn check_connection(&mut self) -> bool {
        redis::cmd("PING").exec(self).is_ok()
    }

    fn is_open(&self) -> bool {
        !self.broken
    }
}

/// The first address that answers.
fn connect(host: &str, port: u16, patience: &Patience) -> io::Result<TcpStream> {
    let mut last = io::Error::other(format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience.left()?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tls_config(root: Option<&[u8]>) -> RedisResult<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificates = match root {
        Some(pem) => CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            match found.errors.into_iter().next() {
                Some(error) if found.certs.is_empty() => return Err(RedisError::from(io::Error::other(error))),
                _ => found.certs,
            }
        }
    };
    for certificate in certificates {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}
