//! The command line's options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Runs untrusted Lua 5.4 in a sandbox.
///
/// Exit status: 0 success, 1 a Lua error, 2 wrong usage, 3 a limit of the sandbox, 4 the run waits for answers.
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
    /// Type Lua and see what it returns
    Repl(ReplArgs),
    /// Look at a kept _home, change it, save it or load it
    #[command(subcommand)]
    Home(HomeCommand),
    /// Durable runs that wait in a kept _home: list them, answer them, go on with them
    #[command(subcommand)]
    Runs(RunsCommand),
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Print the names of the runs that wait, one per line as a JSON text
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Print what a run waits for, one request per line as JSON: {"id": 1, "name": "ask", "args": ["x"]}
    Show(PendingRunArgs),
    /// Answer requests and go on. Prints the result; or, if the run waits again, what it waits for, with exit status 4
    Resume {
        #[command(flatten)]
        run: PendingRunArgs,
        /// The answer to a request: its id, =, and a JSON value
        #[arg(long, value_name = "ID=JSON")]
        answer: Vec<String>,
        /// A request failed: its id, =, and a message, which the script can catch
        #[arg(long, value_name = "ID=MESSAGE")]
        fail: Vec<String>,
        #[command(flatten)]
        declare: DeclareArgs,
        /// Print the result as one JSON value, several results as an array; what the script prints goes to standard
        /// error
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        sandbox: SandboxArgs,
    },
    /// Remove a run that waits. What it has written stays
    Drop(PendingRunArgs),
}

/// A run that waits.
#[derive(Args, Debug)]
pub struct PendingRunArgs {
    /// The file, or the server's URL, that _home is kept in
    #[arg(value_name = "HOME")]
    pub store: String,
    /// The run's name
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Args, Debug)]
pub struct DeclareArgs {
    /// A function that the script can call and that is answered later, with `luacell runs resume`. May be given several
    /// times
    #[arg(long, value_name = "FUNCTION")]
    pub declare: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum HomeCommand {
    /// Write all of it to a file or to standard output
    Dump {
        #[command(flatten)]
        store: StoreArgs,
        /// Where to write; standard output if not given
        file: Option<PathBuf>,
        /// As JSON, for people; it is an error if something would not come back from JSON, such as functions, or
        /// numbers next to other keys
        #[arg(long)]
        json: bool,
    },
    /// Replace all of it with what a file or standard input holds
    Load {
        #[command(flatten)]
        store: StoreArgs,
        /// Where to read from; standard input if not given
        file: Option<PathBuf>,
        /// Accept functions too. They are bytecode, which Lua does not verify: only for data that nobody else could
        /// change
        #[arg(long)]
        trusted: bool,
        /// JSON: an object or an array. An empty array and an empty object are the same table; null in an array is an
        /// error
        #[arg(long)]
        json: bool,
    },
    /// Print a value as JSON
    Get {
        #[command(flatten)]
        store: StoreArgs,
        /// Keys joined with dots, digits for an integer key: players.1.name. Any key can be in brackets, as in Lua:
        /// ["1"], ["a.b"], [true], [0.5], ["\xff"]
        #[arg(allow_negative_numbers = true)]
        path: String,
    },
    /// Set a value; null removes it
    Set {
        #[command(flatten)]
        store: StoreArgs,
        /// Keys joined with dots or in brackets, as for get
        #[arg(allow_negative_numbers = true)]
        path: String,
        /// The value
        #[arg(allow_negative_numbers = true)]
        json: String,
    },
    /// Print the keys of _home, or of a table in it, one per line, in the form that get takes
    Keys {
        #[command(flatten)]
        store: StoreArgs,
        /// Keys joined with dots or in brackets, as for get
        #[arg(allow_negative_numbers = true)]
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
    /// Give the run a name in --home. When it waits, what it waits for is printed, as by `luacell runs show`, with exit
    /// status 4, and `luacell runs resume` goes on with it
    #[arg(long, value_name = "NAME", requires = "home")]
    pub durable: Option<String>,
    #[command(flatten)]
    pub declare: DeclareArgs,
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
    /// The most memory that Lua may use, in bytes or with K, M or G after the number
    #[arg(long, value_name = "SIZE", value_parser = luacell::parse_size)]
    pub memory: Option<u64>,
    /// End a run that takes longer, in seconds, or with ms, s, m or h after the number; Ctrl-C ends it in any case
    #[arg(long, value_name = "TIME", value_parser = luacell::parse_time)]
    pub timeout: Option<Duration>,
    /// End a run that takes more Lua instructions
    #[arg(long, value_name = "NUMBER")]
    pub instructions: Option<u64>,
    /// Where require finds modules: NAME.lua or NAME/init.lua in this folder. May be given several times; the first
    /// folder that has the module is used
    #[arg(long, value_name = "FOLDER")]
    pub module_path: Vec<PathBuf>,
    /// Make the run repeatable: random numbers from this seed, and a clock that counts instructions
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Keep _home in this file, or on the server with this URL (redis://...)
    #[arg(long, value_name = "FILE|URL")]
    pub home: Option<String>,
    /// Load no functions from _home, because others can write to it: they are bytecode, which Lua does not verify
    #[arg(long, requires = "home")]
    pub no_stored_functions: bool,
    /// Send what the script prints and returns to the terminal unchanged, including colours and cursor movements.
    /// Without this they are shown as escape sequences. Files and pipes always get all bytes
    #[arg(long)]
    pub raw: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
