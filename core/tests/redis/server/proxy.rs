//! What stands between client and server, and gets in the way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use luacell::RedisStore;

/// Stands between client and server.
pub(super) struct Proxy {
    pub(super) port: u16,
    pub(super) state: Arc<ProxyState>,
}

#[derive(Default)]
pub(super) struct ProxyState {
    /// Answers come byte by byte, with a pause after each.
    pub(super) trickles: AtomicBool,
    /// Requests arrive, answers don't: the connection breaks.
    pub(super) loses: AtomicBool,
    /// The same, but it is closed for answers only.
    pub(super) half_closes: AtomicBool,
    /// Everything takes so many milliseconds longer.
    pub(super) delay: AtomicU32,
    /// Answers wait until they may go on.
    pub(super) holds: AtomicBool,
    /// Where it leads.
    pub(super) server: AtomicU16,
    /// How often somebody connected.
    pub(super) connections: AtomicU32,
    /// The next request stays here until this is set back; then it goes on its way, whoever waits for the answer.
    pub(super) parks: AtomicBool,
    pub(super) parked: AtomicU32,
    /// Nothing comes through.
    pub(super) swallows: AtomicBool,
    /// Answers wait until so many requests do.
    pub(super) together: AtomicU32,
    pub(super) waiting: AtomicU32,
    /// Of answers, while they trickle.
    pub(super) bytes: AtomicU32,
    /// That came while they were swallowed.
    pub(super) requests: AtomicU32,
}

pub(super) const TICK: Duration = Duration::from_millis(20);

impl Proxy {
    pub(super) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(ProxyState { server: server.into(), ..ProxyState::default() });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let server = shared.server.load(Ordering::SeqCst);
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server))) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let state = Arc::clone(&shared);
                std::thread::spawn(move || pump(from, to, |bytes, to| state.request(bytes, to)));
                let state = Arc::clone(&shared);
                std::thread::spawn(move || pump(server, client, |bytes, to| state.answer(bytes, to)));
            }
        });
        Proxy { port, state }
    }

    pub(super) fn open(&self, timeout: Duration) -> RedisStore {
        let url = format!("redis://127.0.0.1:{}", self.port);
        RedisStore::options().timeout(timeout).open(&url).unwrap()
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(&[u8], &mut TcpStream) -> std::io::Result<()>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if pass(&buffer[..n], &mut to).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

impl ProxyState {
    fn wait(&self) {
        std::thread::sleep(Duration::from_millis(self.delay.load(Ordering::SeqCst).into()));
    }

    fn request(&self, bytes: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        self.wait();
        if self.swallows.load(Ordering::SeqCst) {
            self.requests.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        if self.parks.load(Ordering::SeqCst) && self.parked.fetch_add(1, Ordering::SeqCst) == 0 {
            while self.parks.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.waiting.load(Ordering::SeqCst) < self.together.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        to.write_all(bytes)
    }

    fn answer(&self, bytes: &[u8], to: &mut TcpStream) -> std::io::Result<()> {
        self.wait();
        while self.holds.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.loses.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        if self.half_closes.load(Ordering::SeqCst) {
            return to.shutdown(std::net::Shutdown::Write);
        }
        if !self.trickles.load(Ordering::SeqCst) {
            return to.write_all(bytes);
        }
        for byte in bytes {
            to.write_all(&[*byte])?;
            self.bytes.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}
