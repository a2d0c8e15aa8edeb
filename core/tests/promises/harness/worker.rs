//! Cases run in a process of their own, which tells what it is at: one that does not end, or that crashes, is a finding like any other.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::case::{Case, functions};
use super::check::{Pace, check};
use crate::scripts::ATTEMPTS;

/// The variable that makes this program a worker.
const ASKED: &str = "LUACELL_PROMISES";

/// Beyond this a case does not end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which cases.
#[derive(Clone, Debug)]
pub enum Selection {
    /// A way with every so manieth attempt.
    Way { way: usize, stride: usize },
    /// A function, so many times.
    Function { name: String, times: usize },
    /// Any, for so many seconds.
    Random { seed: u64, seconds: u64 },
}

/// What workers found.
#[derive(Default)]
pub struct Report {
    pub cases: usize,
    pub findings: Vec<String>,
    pub worst_time: (f64, String),
    pub worst_memory: (f64, String),
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Way { way, stride } => write!(f, "way {way} {stride}"),
            Selection::Function { name, times } => write!(f, "function {times} {name}"),
            Selection::Random { seed, seconds } => write!(f, "random {seed} {seconds}"),
        }
    }
}

impl Selection {
    fn parse(text: &str) -> Option<Selection> {
        let (what, rest) = text.split_once(' ')?;
        let (first, second) = rest.split_once(' ')?;
        Some(match what {
            "way" => Selection::Way { way: first.parse().ok()?, stride: second.parse().ok()? },
            "function" => Selection::Function { times: first.parse().ok()?, name: second.to_owned() },
            "random" => Selection::Random { seed: first.parse().ok()?, seconds: second.parse().ok()? },
            _ => return None,
        })
    }

    /// The case with this number, if there are so many.
    fn case(&self, number: usize, functions: &[String]) -> Option<Case> {
        match self {
            Selection::Way { way, stride } => {
                let attempt = way % stride + number * stride;
                (attempt < ATTEMPTS.len()).then(|| Case::of_matrix(*way, attempt))?
            }
            Selection::Function { name, times } => (number < *times).then(|| Case::of_function(name, number as u64)),
            Selection::Random { seed, .. } => {
                Some(Case::at_random(seed.wrapping_mul(1_000_003).wrapping_add(number as u64), functions))
            }
        }
    }
}

/// What the worker is at.
static AT: Mutex<Option<(ProcessTime, Instant)>> = Mutex::new(None);

/// Ends the process when a case does not.
fn watchdog() {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let at = AT.lock().ok().and_then(|at| *at);
        if at.is_some_and(|(cpu, wall)| cpu.elapsed() > PATIENCE || wall.elapsed() > PATIENCE * 30) {
            std::process::exit(3);
        }
    }
}

/// When this process was started as a worker: works, and does not return.
pub fn work_if_asked(hardened: bool, strict: bool) {
    let Ok(asked) = std::env::var(ASKED) else { return };
    let code = match work(&asked, hardened, strict) {
        Ok(()) => 0,
        Err(error) => {
            println!("@finding the worker failed: {error}\n@end");
            2
        }
    };
    std::process::exit(code);
}

fn work(asked: &str, hardened: bool, strict: bool) -> Result<(), Box<dyn std::error::Error>> {
    let (skip, selection) = asked.split_once(' ').ok_or("no selection")?;
    let skip: usize = skip.parse()?;
    let selection = Selection::parse(selection).ok_or("no such selection")?;
    let functions = match selection {
        Selection::Random { .. } => functions()?,
        _ => Vec::new(),
    };
    // Panics on purpose are nothing to look at.
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("on purpose") {
            println!("@panic {}", info.to_string().replace('\n', " "));
        }
    }));
    let pace = Pace::measure(strict)?;
    std::thread::spawn(watchdog);
    let (mut out, began) = (std::io::stdout(), Instant::now());
    for number in skip.. {
        if let Selection::Random { seconds, .. } = selection
            && began.elapsed() > Duration::from_secs(seconds)
        {
            break;
        }
        let Some(mut case) = selection.case(number, &functions) else { break };
        case.hardened = hardened;
        writeln!(out, "@begin {number}")?;
        out.flush()?;
        if let Ok(mut at) = AT.lock() {
            *at = Some((ProcessTime::now(), Instant::now()));
        }
        let found = check(&case, &pace);
        if let Ok(mut at) = AT.lock() {
            *at = None;
        }
        for what in &found.list {
            writeln!(out, "@finding {what}\n@end")?;
        }
        writeln!(out, "@done {} {}", found.worst_time, found.worst_memory)?;
    }
    writeln!(out, "@over {pace:?}")?;
    Ok(())
}

/// Runs workers until all cases are done, and calls `tell` for each case that something was found in.
///
/// # Errors
/// When a worker can't be started.
pub fn watch(selection: &Selection, report: &mut Report, mut tell: impl FnMut(&str)) -> std::io::Result<()> {
    let names = functions().unwrap_or_default();
    let began = Instant::now();
    let mut selection = selection.clone();
    let mut skip = 0;
    loop {
        let mut worker = Command::new(std::env::current_exe()?)
            .env(ASKED, format!("{skip} {selection}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let mut at = None;
        let mut over = false;
        let mut findings: Vec<String> = Vec::new();
        let mut open = false;
        if let Some(pipe) = worker.stdout.take() {
            for line in BufReader::new(pipe).split(b'\n') {
                let line = String::from_utf8_lossy(&line?).into_owned();
                if let Some(number) = line.strip_prefix("@begin ") {
                    at = number.parse::<usize>().ok();
                    report.cases += 1;
                } else if let Some(what) = line.strip_prefix("@finding ") {
                    findings.push(what.to_owned());
                    open = true;
                } else if line == "@end" {
                    open = false;
                } else if let Some(what) = line.strip_prefix("@panic ") {
                    findings.push(format!("a panic: {what}"));
                } else if let Some(rest) = line.strip_prefix("@done ") {
                    finish(&selection, at, &names, rest, report, &mut findings, &mut tell);
                    at = None;
                } else if line.starts_with("@over") {
                    over = true;
                } else if open && let Some(last) = findings.last_mut() {
                    last.push('\n');
                    last.push_str(&line);
                }
            }
        }
        let status = worker.wait()?;
        match at {
            Some(number) => {
                findings.push(match status.code() {
                    Some(3) => format!("it did not end within {PATIENCE:?}"),
                    _ => format!("the process crashed: {status}"),
                });
                finish(&selection, at, &names, "0 0", report, &mut findings, &mut tell);
                skip = number + 1;
            }
            None => {
                if !over {
                    findings.push(format!("a worker ended: {status}"));
                    finish(&selection, None, &names, "0 0", report, &mut findings, &mut tell);
                }
                return Ok(());
            }
        }
        if let Selection::Random { seconds, .. } = &mut selection {
            let spent = began.elapsed().as_secs();
            if spent >= *seconds {
                return Ok(());
            }
            *seconds -= spent;
        }
    }
}

fn finish(
    selection: &Selection,
    at: Option<usize>,
    names: &[String],
    worst: &str,
    report: &mut Report,
    findings: &mut Vec<String>,
    tell: &mut impl FnMut(&str),
) {
    let case = at.and_then(|number| selection.case(number, names));
    let mut parts = worst.split(' ').filter_map(|part| part.parse::<f64>().ok());
    let (time, memory) = (parts.next().unwrap_or(0.0), parts.next().unwrap_or(0.0));
    let name = || {
        case.as_ref().map_or(String::new(), |case| format!("{} in {} ({:?})", case.attempt, case.way.name, case.limit))
    };
    if time > report.worst_time.0 {
        report.worst_time = (time, name());
    }
    if memory > report.worst_memory.0 {
        report.worst_memory = (memory, name());
    }
    if findings.is_empty() {
        return;
    }
    let number = at.unwrap_or(0);
    let case = case.map_or_else(|| "no case".to_owned(), |case| case.to_string());
    let text = format!("{}\nagain: {ASKED}='{number} {selection}'\n{case}\n", findings.join("\n"));
    tell(&text);
    report.findings.push(text);
    findings.clear();
}

/// As [`watch`], all at once.
///
/// # Errors
/// What was found.
pub fn run_selected(selection: &Selection) -> Result<usize, String> {
    let mut report = Report::default();
    watch(selection, &mut report, |_| {}).map_err(|error| error.to_string())?;
    if report.findings.is_empty() { Ok(report.cases) } else { Err(report.findings.join("\n")) }
}
