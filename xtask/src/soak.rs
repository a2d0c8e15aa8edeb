//! `cargo xtask soak`: builds and runs the program in `xtask/soak`, with a Redis server of its own when there is one to start. With `--faults`, the tests
//! in core/tests/redis/server/faults.rs for as long.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::{CORE_FEATURES, cargo, finish, root};

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub struct Args {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Instead: processes that share stores, while they, their servers and what is between them fail
    #[arg(long)]
    faults: bool,
    /// More options of the program
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let root = root();
    if args.faults {
        let mut tests = cargo();
        tests.args(["test", "--package", "luacell", "--features", CORE_FEATURES]);
        tests.args(["--test", "redis", "--", "server::faults", "--nocapture", "--test-threads=8"]);
        let seconds = (args.minutes * 60.0).to_string();
        return finish(tests.env("LUACELL_FAULTS_SECONDS", seconds).current_dir(root));
    }
    finish(cargo().args(["build", "--release", "--package", "soak"]).current_dir(root))?;
    let server = Server::start(root)?;
    let mut soak = Command::new(root.join("target/release/soak"));
    soak.arg(format!("--minutes={}", args.minutes)).arg(format!("--server={}", server.url())).args(&args.rest);
    finish(&mut soak)
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(root: &Path) -> Result<Server> {
        loop {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
            let process = command.current_dir(root.join("target")).stdout(Stdio::null()).spawn();
            let process = process.context("cannot start redis-server; apt-get install redis-server")?;
            let mut server = Server { process, port };
            if server.listens()? {
                return Ok(server);
            }
            // Somebody else took the port.
        }
    }

    fn listens(&mut self) -> Result<bool> {
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            match self.process.try_wait()? {
                None => std::thread::sleep(std::time::Duration::from_millis(10)),
                Some(status) if status.code() == Some(1) => return Ok(false),
                Some(status) => bail!("redis-server ended with {status}"),
            }
        }
        Ok(true)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
