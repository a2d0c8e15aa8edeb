//! `cargo xtask fuzz`: the targets in `fuzz/`, run by libFuzzer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::steps::{cargo, finish, root};

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
    let root = root();
    let folder = root.join("fuzz");
    let target = root.join("target/fuzz");
    build(&folder, &target)?;
    let chosen: Vec<&str> = TARGETS.into_iter().filter(|name| args.target.as_ref().is_none_or(|t| t == name)).collect();
    let seconds = (args.minutes * 60.0 / chosen.len() as f64).ceil() as u64;
    let mut table = format!("\n{:<14}{:>14}  findings\n", "target", "executions");
    let mut findings = Vec::new();
    for name in chosen {
        eprintln!("\n== {name}, {seconds} s");
        let (executions, found) = fuzz(name, &folder, &target, seconds)?;
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

fn build(folder: &Path, target: &Path) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--release", "--locked"]).current_dir(folder).env("CARGO_TARGET_DIR", target);
    build.env("RUSTC_WRAPPER", folder.join("instrument.sh")).env("RUSTFLAGS", "--cfg fuzzing");
    finish(&mut build)
}

/// How often the target was run, and the inputs that it failed for.
fn fuzz(name: &str, folder: &Path, target: &Path, seconds: u64) -> Result<(u64, Vec<PathBuf>)> {
    let (grown, found) = (target.join("corpus").join(name), target.join("findings").join(name));
    for made in [&grown, &found] {
        fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
    }
    let before = files(&found)?;
    let output = Command::new(target.join("release").join(name))
        .arg(&grown)
        .arg(folder.join("corpus").join(name))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .args(["-print_final_stats=1", "-rss_limit_mb=4096", "-timeout=60", "-report_slow_units=60", "-verbosity=0"])
        // What a program of theirs is made of takes some bytes from the start.
        .args(if name == "limits" { &["-len_control=0", "-max_len=300"] } else { &[][..] })
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start the target {name}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let executions = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
        .unwrap_or_default();
    let new: Vec<PathBuf> = files(&found)?.into_iter().filter(|file| !before.contains(file)).collect();
    if !output.status.success() {
        eprintln!("{log}");
        if new.is_empty() {
            bail!("the target {name} ended with {}", output.status);
        }
    }
    Ok((executions, new))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
