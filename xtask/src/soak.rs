//! `cargo xtask soak`: builds and runs the program in `xtask/soak`, with a Redis server of its own when there is one to
//! start. With `--faults`, the tests in core/tests/redis/server/faults.rs for as long.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::{CORE_FEATURES, cargo, finish, target};

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
    if args.faults {
        let mut tests = cargo(&["test", "--package", "luacell", "--features", CORE_FEATURES, "--test", "redis"]);
        tests.env("LUACELL_FAULTS_SECONDS", (args.minutes * 60.0).to_string());
        return finish(tests.args(["--", "server::faults", "--nocapture", "--test-threads=8"]));
    }
    let server = Server::start()?;
    let mut soak = cargo(&["run", "--release", "--package", "soak", "--"]);
    soak.arg(format!("--minutes={}", args.minutes)).arg(format!("--server=redis://127.0.0.1:{}", server.port));
    finish(soak.args(&args.rest))
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Server> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        let process = command.current_dir(target()).stdout(Stdio::null()).spawn();
        let process = process.context("cannot start redis-server; apt-get install redis-server")?;
        let mut server = Server { process, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.process.try_wait()? {
                bail!("redis-server ended with {status}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
