//! The command line's options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Runs untrusted Lua 5.4 in a sandbox.
///
/// Exit status: 0 success, 1 a Lua error, 2 wrong use, 3 a limit of the sandbox.
#[derive(Debug, Parser)]
#[command(name = "luacell", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a Lua file and print what it returns
    Run(RunArgs),
    /// Run Lua code from the command line and print what it returns
    Eval(EvalArgs),
    /// Type Lua and see what it gives
    Repl(ReplArgs),
    /// Look into a kept _home, change it, save it or load it
    #[command(subcommand)]
    Home(HomeCommand),
}

#[derive(Debug, Subcommand)]
pub enum HomeCommand {
    /// Write all of it to a file or to standard output
    Dump {
        #[command(flatten)]
        store: StoreArgs,
        /// Where to; standard output when it is not given
        file: Option<PathBuf>,
        /// As JSON, for people; what JSON does not have, such as functions, is an error
        #[arg(long)]
        json: bool,
    },
    /// Replace all of it by what a file or standard input holds
    Load {
        #[command(flatten)]
        store: StoreArgs,
        /// Where from; standard input when it is not given
        file: Option<PathBuf>,
        /// JSON: an object or an array
        #[arg(long)]
        json: bool,
    },
    /// Print a value as JSON
    Get {
        #[command(flatten)]
        store: StoreArgs,
        /// Keys joined with dots, digits for an integer key: players.1.name
        path: String,
    },
    /// Set a value; null removes it
    Set {
        #[command(flatten)]
        store: StoreArgs,
        /// Keys joined with dots, digits for an integer key
        path: String,
        /// The value
        json: String,
    },
    /// Print the keys of _home, or of a table in it, one per line
    Keys {
        #[command(flatten)]
        store: StoreArgs,
        /// Keys joined with dots, digits for an integer key
        path: Option<String>,
    },
}

#[derive(Args, Debug)]
pub struct StoreArgs {
    /// The file, or the server's URL, that _home is kept in
    #[arg(value_name = "HOME")]
    pub home: String,
}

#[derive(Args, Debug)]
pub struct RunArgs {
    /// The Lua file; - is standard input
    pub file: PathBuf,
    #[command(flatten)]
    pub task: TaskArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

#[derive(Args, Debug)]
pub struct EvalArgs {
    /// The Lua code
    pub code: OsString,
    #[command(flatten)]
    pub task: TaskArgs,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

#[derive(Args, Debug)]
pub struct ReplArgs {
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// What goes into one run and how its results come out.
#[derive(Args, Debug)]
pub struct TaskArgs {
    /// Data for the script, as _io.input: JSON text, or @ and the name of a JSON file
    #[arg(long, value_name = "JSON|@FILE")]
    pub input: Option<OsString>,
    /// Print the result as one JSON value, several results as an array; what the script prints goes to standard error
    #[arg(long)]
    pub json: bool,
    /// Arguments for the script, its ...
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// Settings of the sandbox, the same for every command.
#[derive(Args, Debug)]
pub struct SandboxArgs {
    /// At most so much memory for Lua, in bytes or with K, M or G behind the number
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// End a run that takes longer, in seconds, or with ms, s, m or h behind the number; without it Ctrl-C ends it
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// End a run that takes more instructions of the Lua machine
    #[arg(long, value_name = "NUMBER")]
    pub instructions: Option<u64>,
    /// Where require finds modules: NAME.lua or NAME/init.lua in this folder. May be given several times; the first that has it counts
    #[arg(long, value_name = "FOLDER")]
    pub module_path: Vec<PathBuf>,
    /// Make the run repeatable: random numbers from this seed, and a clock that instructions drive
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Keep _home in this file, or on the server with this URL (redis://...)
    #[arg(long, value_name = "FILE|URL")]
    pub home: Option<String>,
}

/// `65536`, `64K`, `16M`, `1G`.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1),
    };
    let bytes = number.and_then(|number| number.parse::<u64>().ok()).and_then(|number| number.checked_mul(unit));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "a size such as 65536, 64K or 16M is expected".to_owned())
}

/// `2`, `0.5`, `500ms`, `1.5s`, `2m`, `1h`.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) =
        units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1.0));
    let seconds = number.parse::<f64>().ok().map(|number| number * unit).filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a time such as 2, 0.5, 500ms or 1m is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!(time("2"), Ok(Duration::from_secs(2)));
        assert_eq!(time("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(time("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "s", "-1", "0", "1x", "1e400", "nan", "inf"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("64K"), Ok(65536));
        assert_eq!(size("1g"), Ok(1 << 30));
        for wrong in ["", "M", "-1", "0", "1.5M", "99999999999G", "é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
