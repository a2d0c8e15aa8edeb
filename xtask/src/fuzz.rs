//! `cargo xtask fuzz`: the targets in `fuzz/`, run by libFuzzer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::{cargo, files, finish, make_folder, root};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// How long, all targets together
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Only this one
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
}

const TARGETS: [&str; 7] = ["wire", "keys", "differential", "limits", "files", "foreign", "c_abi"];

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let target = root().join("target/fuzz");
    finish(&mut build(&target))?;
    let chosen: Vec<&str> = TARGETS.into_iter().filter(|name| args.target.as_ref().is_none_or(|t| t == name)).collect();
    let seconds = (args.minutes * 60.0 / chosen.len() as f64).ceil() as u64;
    let mut table = format!("\n{:<14}{:>14}  findings\n", "target", "executions");
    let mut findings = Vec::new();
    for name in chosen {
        eprintln!("\n== {name}, {seconds} s");
        let (executions, found) = fuzz(name, &target, seconds)?;
        table.push_str(&format!("{name:<14}{executions:>14}  {}\n", found.len()));
        findings.extend(found);
    }
    print!("{table}");
    if !findings.is_empty() {
        let list: String = findings.iter().map(|file| format!("\n  {}", file.display())).collect();
        bail!("what went wrong is in these files, to be given to the target's program as an argument:{list}");
    }
    Ok(())
}

/// Cargo, to build targets into a folder.
pub fn build(target: &Path) -> Command {
    let mut build = cargo(&["build", "--release", "--locked"]);
    let folder = root().join("fuzz");
    build.env("RUSTC_WRAPPER", folder.join("instrument.sh")).env("RUSTFLAGS", "--cfg fuzzing");
    build.current_dir(folder).env("CARGO_TARGET_DIR", target);
    build
}

/// A target that was built into a folder, on its corpus; what it fails for goes to the folder `findings`.
pub fn program(name: &str, target: &Path) -> Result<Command> {
    let (grown, findings) = (target.join("corpus").join(name), target.join("findings").join(name));
    make_folder(&grown)?;
    make_folder(&findings)?;
    let mut program = Command::new(target.join("release").join(name));
    program.arg(&grown).arg(root().join("fuzz/corpus").join(name));
    program.arg(format!("-artifact_prefix={}/", findings.display())).args(["-print_final_stats=1", "-verbosity=0"]);
    Ok(program)
}

/// How often the target was run, and the inputs that it failed for.
fn fuzz(name: &str, target: &Path, seconds: u64) -> Result<(u64, Vec<PathBuf>)> {
    let mut program = program(name, target)?;
    let findings = target.join("findings").join(name);
    let before = files(&findings, "")?;
    program.arg(format!("-max_total_time={seconds}"));
    program.args(["-rss_limit_mb=4096", "-timeout=60", "-report_slow_units=60"]);
    if name == "limits" {
        // What a program of theirs is made of takes some bytes from the start.
        program.args(["-len_control=0", "-max_len=300"]);
    }
    let output = program.stdout(Stdio::inherit()).stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("cannot start the target {name}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let executions =
        log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok());
    let new: Vec<PathBuf> = files(&findings, "")?.into_iter().filter(|file| !before.contains(file)).collect();
    if !output.status.success() {
        eprintln!("{log}");
        if new.is_empty() {
            bail!("the target {name} ended with {}", output.status);
        }
    }
    Ok((executions.unwrap_or_default(), new))
}
