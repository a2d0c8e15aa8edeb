//! A connection on which every wait ends in time. redis's own has a time-out for each piece that arrives, so a server
//! that sends one byte after another could hold its client for ever.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use redis::{Cmd, ConnectionAddr, ConnectionInfo, ConnectionLike, ErrorKind, Parser, RedisError, RedisResult, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::store::CancelToken;

/// How often it is looked whether somebody interrupts.
const LOOK: Duration = Duration::from_millis(20);

/// A commit that was sent is waited for so much longer when its run has to end: the answer that is on its way tells
/// done from unknown.
const GRACE: Duration = Duration::from_millis(250);

/// How long all that belongs to one request may take.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    until: Instant,
    cancel: CancelToken,
    /// How long after it was cancelled.
    grace: Duration,
    cancelled: Cell<Option<Instant>>,
}

impl Patience {
    pub(super) fn new(timeout: Duration, cancel: CancelToken) -> Self {
        Patience { until: Instant::now() + timeout, cancel, grace: Duration::ZERO, cancelled: Cell::new(None) }
    }

    /// The same, for something that may take so much of the rest only.
    pub(super) fn at_most(&self, time: Duration) -> Self {
        Patience { until: self.until.min(Instant::now() + time), ..self.clone() }
    }

    /// The same, for what can't be left without knowing what became of it.
    pub(super) fn with_grace(&self) -> Self {
        Patience { grace: GRACE, ..self.clone() }
    }

    /// Whether it ended because of the one who waits.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// What is left.
    pub(super) fn left(&self) -> io::Result<Duration> {
        let now = Instant::now();
        let mut until = self.until;
        if self.cancel.is_cancelled() {
            let since = self.cancelled.get().unwrap_or(now);
            self.cancelled.set(Some(since));
            until = until.min(since + self.grace);
        }
        let left = until.saturating_duration_since(now);
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
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

    /// Waits; an error when the time is over sooner.
    pub(super) fn pause(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let left = self.left()?;
            if rest.is_zero() {
                return Ok(());
            }
            std::thread::sleep(rest.min(left).min(LOOK));
        }
    }

    /// Does something that the system can't be told to leave. It goes on by itself when the time is over.
    fn elsewhere<T: Send + 'static>(&self, f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let worker = std::thread::Builder::new().name("luacell connects".to_owned());
        worker.spawn(move || sender.send(f()))?;
        self.within(|wait| match receiver.recv_timeout(wait) {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread that connects has ended")),
        })?
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
    /// What the server calls itself from its start to its end; empty when it tells nobody.
    server: Option<String>,
    /// The node is asked for a slot that is on its way to it.
    asking: bool,
    /// An answer may be missing: what comes next belongs to something else.
    broken: bool,
}

impl Connection {
    /// Connects, and says who is there. `tls` is for addresses with TLS.
    pub(super) fn open(
        info: &ConnectionInfo,
        tls: Option<&Arc<ClientConfig>>,
        patience: &Patience,
    ) -> RedisResult<Self> {
        let bounded = |socket: Box<dyn Socket + Send>| Bounded { socket, patience: patience.clone() };
        let connect = |host: &str, port: u16| {
            let (host, left) = (host.to_owned(), patience.left()?);
            patience.elsewhere(move || connect(&host, port, left))
        };
        let stream = match (info.addr(), tls) {
            (ConnectionAddr::Tcp(host, port), _) => Stream::Plain(bounded(Box::new(connect(host, *port)?))),
            (ConnectionAddr::TcpTls { host, port, insecure: false, .. }, Some(tls)) => {
                let name = ServerName::try_from(host.as_str()).map_err(unusable)?.to_owned();
                let mut client = ClientConnection::new(Arc::clone(tls), name).map_err(unusable)?;
                let mut socket = bounded(Box::new(connect(host, *port)?));
                while client.is_handshaking() {
                    client.complete_io(&mut socket)?;
                }
                Stream::Tls(Box::new(StreamOwned::new(client, socket)))
            }
            #[cfg(unix)]
            (ConnectionAddr::Unix(path), _) => {
                let path = path.clone();
                Stream::Plain(bounded(Box::new(patience.elsewhere(move || UnixStream::connect(path))?)))
            }
            _ => return Err((ErrorKind::InvalidClientConfig, "this kind of address is not supported").into()),
        };
        let settings = info.redis_settings();
        let parser = Parser::new();
        let mut connection =
            Connection { stream, parser, db: settings.db(), server: None, asking: false, broken: false };
        if let Some(password) = settings.password() {
            connection.authenticate(settings.username(), password)?;
        }
        if settings.db() != 0 {
            redis::cmd("SELECT").arg(settings.db()).exec(&mut connection)?;
        }
        Ok(connection)
    }

    /// Asks the server who it is, unless that is known.
    pub(super) fn identify(&mut self) -> RedisResult<()> {
        if self.server.is_some() {
            return Ok(());
        }
        self.server = match redis::cmd("INFO").arg("server").query::<String>(self) {
            Ok(info) => info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned()),
            // Not everybody may know.
            Err(error) if error.code() == Some("NOPERM") => None,
            Err(error) => return Err(error),
        }
        .or_else(|| Some(String::new()));
        Ok(())
    }

    pub(super) fn server(&self) -> &str {
        self.server.as_deref().unwrap_or_default()
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

    /// For what comes from here on: the time, and whether the slot is on its way to this node.
    pub(super) fn prepare(&mut self, patience: &Patience, asking: bool) {
        self.asking = asking;
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
        if self.asking {
            // It is for the one command behind it.
            let mut both = redis::cmd("ASKING").get_packed_command();
            both.extend_from_slice(bytes);
            self.send(&both)?;
            self.receive()?;
        } else {
            self.send(bytes)?;
        }
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

/// The first address that answers. Each has its part of the time.
fn connect(host: &str, port: u16, time: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + time;
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::other(format!("{host} has no address"));
    for (address, others) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
        let left = until.saturating_duration_since(Instant::now()) / others;
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unusable(error: impl std::error::Error) -> RedisError {
    (ErrorKind::InvalidClientConfig, "TLS can't be used", error.to_string()).into()
}

/// `root` is a certificate in PEM form instead of those that the system trusts.
pub(super) fn tls_config(root: Option<&[u8]>) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificates = match root {
        Some(pem) => CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            match found.errors.into_iter().next() {
                Some(error) if found.certs.is_empty() => return Err(io::Error::other(error)),
                _ => found.certs,
            }
        }
    };
    if certificates.is_empty() {
        return Err(io::Error::other("there is no certificate to trust"));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Whether trying again has no use: the other side speaks something else, or is not who it should be.
pub(super) fn is_final(error: &RedisError) -> bool {
    let io = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let kind = io.and_then(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind);
    !error.is_io_error() || matches!(kind, Some(io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that nobody looks up, a host that swallows everything: what the system would wait for is left behind.
    #[test]
    fn what_can_not_be_left_goes_on_by_itself() {
        let (end, ended) = mpsc::channel::<()>();
        let (says, said) = mpsc::channel();
        let cancel = CancelToken::new(Some(Instant::now() + Duration::from_millis(50)), None);
        let patience = Patience::new(Duration::from_secs(3600), cancel);
        let late = patience.elsewhere(move || {
            let _ = ended.recv();
            let _ = says.send(());
            Ok(())
        });
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(said.try_recv().is_err());
        drop(end);
        said.recv().unwrap();
        let patience = Patience::new(Duration::from_secs(3600), CancelToken::default());
        assert_eq!(patience.elsewhere(|| Ok(7)).unwrap(), 7);
        // The system's own time-out is an answer, and not a reason to wait on.
        let own = patience.elsewhere(|| Err::<(), _>(io::ErrorKind::TimedOut.into()));
        assert_eq!(own.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
