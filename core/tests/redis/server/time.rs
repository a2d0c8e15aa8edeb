//! How long something takes: what is hopeless fails at once, and what waits ends with its run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use luacell::{ComputeOptions, ErrorKind, RedisStore, Sandbox, SandboxConfig};
use tempfile::TempDir;

use super::proxy::{Proxy, TICK};
use super::{COUNT, Command, Server, counted, sandbox};

/// A server with TLS and the password `word`; its authority's certificate.
fn with_tls(folder: &TempDir) -> (Server, String) {
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().expect("apt-get install openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (ca, key, cert) = (at("ca.pem"), at("key.pem"), at("cert.pem"));
    std::fs::write(at("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test CA",
        "-keyout",
        &at("ca.key"),
        "-out",
        &ca,
    ]);
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-keyout",
        &key,
        "-out",
        &at("request"),
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        &at("request"),
        "-CA",
        &ca,
        "-CAkey",
        &at("ca.key"),
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        &at("names"),
        "-out",
        &cert,
    ]);
    let server = Server::start(&[
        "--tls-port",
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "word",
    ]);
    (server, ca)
}

#[test]
fn tls() {
    let folder = tempfile::tempdir().unwrap();
    let (server, ca) = with_tls(&folder);
    let url = format!("rediss://:word@localhost:{}", server.port);
    let store = RedisStore::options().root_certificate(std::fs::read(&ca).unwrap()).open(&url).unwrap();
    sandbox(store).compute("_home.x = {'over TLS'}").unwrap();
    let named = Sandbox::with_config(SandboxConfig::new().store(format!("{url}?ca={ca}"))).unwrap();
    assert_eq!(named.compute("return _home.x[1]").unwrap().into_value(), "over TLS".into());
    // A certificate that nobody vouches for, and no TLS at all.
    assert_eq!(RedisStore::open(&url).unwrap_err().kind(), ErrorKind::Store);
    let plain = format!("redis://:word@localhost:{}", server.port);
    assert_eq!(
        RedisStore::options().timeout(Duration::from_secs(1)).open(&plain).unwrap_err().kind(),
        ErrorKind::Store
    );
}

/// A server that is not the right one stays so: nobody asks it twice.
#[test]
fn what_is_wrong_for_good_is_tried_once() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, ca) = with_tls(&folder);
    let plain = Server::start(&["--requirepass", "word", "--databases", "4"]);
    let wrong = |server: &Server, url: &str, expected: &str| {
        let proxy = Proxy::start(server.port);
        let patient = RedisStore::options().timeout(Duration::from_secs(3600));
        let error = patient.open(&url.replace("PORT", &proxy.port.to_string())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store, "{error}");
        assert!(error.message().contains(expected) && !error.message().contains("hunter"), "{error}");
        assert_eq!(proxy.state.connections.load(Ordering::SeqCst), 1, "{error}");
    };
    wrong(&tls, "rediss://:word@localhost:PORT", "UnknownIssuer");
    wrong(&tls, &format!("rediss://:word@127.0.0.2:PORT?ca={ca}"), "certificate");
    wrong(&tls, &format!("rediss://:hunter@localhost:PORT?ca={ca}"), "WRONGPASS");
    wrong(&plain, "redis://:hunter@localhost:PORT", "WRONGPASS");
    wrong(&plain, "redis://somebody:word@localhost:PORT", "WRONGPASS");
    wrong(&plain, "redis://:word@localhost:PORT/4", "DB index is out of range");
    wrong(&plain, "redis://localhost:PORT", "NOAUTH");
    let replica = Server::start(&["--replicaof", "127.0.0.1 1"]);
    let error = RedisStore::options().timeout(Duration::from_secs(3600)).open(&replica.url()).unwrap_err();
    assert!(error.message().contains("READONLY"), "{error}");
    // A certificate that is none.
    std::fs::write(folder.path().join("none"), "nothing").unwrap();
    let error = RedisStore::open(&format!("rediss://localhost:1?ca={}/none", folder.path().display())).unwrap_err();
    assert!(error.message().contains("no certificate"), "{error}");
}

/// The store would wait for an hour.
fn patient(port: u16) -> Sandbox {
    let store = RedisStore::options().timeout(Duration::from_secs(3600));
    sandbox(store.open(&format!("redis://127.0.0.1:{port}")).unwrap())
}

fn soon() -> ComputeOptions {
    ComputeOptions::new().timeout(Duration::from_millis(300))
}

/// What a run gives that its own time-out ends, and what one that somebody interrupts once `waits`.
fn ends(sandbox: &Sandbox, source: &str, waits: &(dyn Fn() -> bool + Sync)) -> [ErrorKind; 2] {
    let late = sandbox.compute_with(source, soon()).unwrap_err();
    let ended = AtomicBool::new(false);
    let interrupted = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !waits() {
                std::thread::sleep(TICK);
            }
            // One that comes before the run has begun does nothing.
            while !ended.load(Ordering::Relaxed) {
                sandbox.interrupt();
                std::thread::sleep(TICK);
            }
        });
        let error = sandbox.compute(source).unwrap_err();
        ended.store(true, Ordering::Relaxed);
        error
    });
    [late.kind(), interrupted.kind()]
}

#[test]
fn a_run_that_ends_does_not_wait_for_a_server_that_is_gone() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let proxy = Proxy::start(server.port);
    let (direct, behind) = (patient(server.port), patient(proxy.port));
    direct.compute(COUNT).unwrap();
    behind.compute(COUNT).unwrap();
    server.kill();
    let since = std::time::Instant::now();
    let waits = || since.elapsed() > Duration::from_secs(1);
    let limits = [ErrorKind::Timeout, ErrorKind::Interrupted];
    // The connection that is idle breaks first, and what was written to it is lost, or not.
    assert_eq!(direct.compute("_home.x = 1").unwrap_err().kind(), ErrorKind::Store);
    // Nothing was sent: it is certain that nothing was stored.
    for source in ["return _home.n", "_home.x = 2"] {
        assert_eq!(ends(&direct, source, &waits), limits, "{source}");
    }
    server.restart();
    assert_eq!(counted(&direct), 2);
    assert_eq!(direct.compute("return _home.x").unwrap().into_value(), luacell::Value::Nil);
    behind.compute("return _home.n").unwrap();
}

/// Who can't wait for the answer to a commit doesn't know what became of it, and a limit would say that nothing was
/// stored.
#[test]
fn a_run_that_ends_while_its_commit_is_under_way() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let sandbox = patient(proxy.port);
    sandbox.compute("_home.n = 0").unwrap();
    proxy.state.swallows.store(true, Ordering::SeqCst);
    let requests = || proxy.state.requests.load(Ordering::SeqCst);
    let error = sandbox.compute_with("_home.n = 1", soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("may have been stored"), "{error}");
    let before = requests();
    // It connects anew, which nobody answers either.
    let kinds = ends(&sandbox, "return _home.n", &|| requests() > before + 1);
    assert_eq!(kinds, [ErrorKind::Timeout, ErrorKind::Interrupted]);
    proxy.state.swallows.store(false, Ordering::SeqCst);
    assert_eq!(sandbox.compute("_home.n = _home.n + 1 return _home.n").unwrap().into_value(), 1.into());
}

/// Answers that get lost in every way; requests that arrived.
#[test]
fn a_proxy_that_drops_and_half_closes() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let far = sandbox(proxy.open(Duration::from_secs(600)));
    let near = server.sandbox();
    let state = &proxy.state;
    let (mut least, mut most) = (0, 0);
    for round in 0..6 {
        let fault = if round % 2 == 0 { &state.loses } else { &state.half_closes };
        far.compute(COUNT).unwrap();
        (least, most) = (least + 1, most + 1);
        fault.store(true, Ordering::SeqCst);
        // A commit that reads nothing, so that it is what fails.
        let error = far.compute("_home.blind = 2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("may have been stored"), "{error}");
        // It connects again and again, and the run does not wait for that.
        let error = far.compute_with(COUNT, soon()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Store | ErrorKind::Timeout), "{error}");
        fault.store(false, Ordering::SeqCst);
        let n = counted(&near);
        assert!((least..=most).contains(&n), "{n}");
        (least, most) = (n, n);
    }
    assert_eq!(near.compute("return _home.blind").unwrap().into_value(), 2.into());
}
