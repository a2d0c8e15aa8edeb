//! Cases run in a process of their own, which tells what it is at: one that does not end, or that crashes, is a finding
//! like any other.

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

/// The name of that engine, as against any other.
const HARDENED: &str = "hardened";

/// Beyond this a step of a case does not end.
const PATIENCE: Duration = Duration::from_secs(8);

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

/// When the step began that the worker is at.
static AT: Mutex<Option<(ProcessTime, Instant)>> = Mutex::new(None);

/// Another step begins. Each run of a script is one: a case may run its script a dozen times, on an interpreter for longer than [`PATIENCE`] in all.
pub fn step() {
    if let Ok(mut at) = AT.lock() {
        *at = Some((ProcessTime::now(), Instant::now()));
    }
}

/// Ends the process when a step does not.
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
pub fn work_if_asked(strict: bool) {
    let Ok(asked) = std::env::var(ASKED) else { return };
    let code = match work(&asked, strict) {
        Ok(()) => 0,
        Err(error) => {
            println!("@finding the worker failed: {error}");
            2
        }
    };
    std::process::exit(code);
}

fn work(asked: &str, strict: bool) -> Result<(), Box<dyn std::error::Error>> {
    let (from, selection) = asked.split_once(' ').ok_or("no selection")?;
    let (engine, selection) = selection.split_once(' ').ok_or("no selection")?;
    let only = from.strip_prefix("only:");
    let from: usize = only.unwrap_or(from).parse()?;
    let selection = Selection::parse(selection).ok_or("no such selection")?;
    let functions = match selection {
        Selection::Random { .. } => functions()?,
        _ => Vec::new(),
    };
    // Panics on purpose are nothing to look at.
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("on purpose") {
            let _ = writeln!(std::io::stdout(), "@finding a panic: {}", info.to_string().replace('\n', " "));
        }
    }));
    let pace = Pace::measure(strict)?;
    std::thread::spawn(watchdog);
    let (mut out, began) = (std::io::stdout(), Instant::now());
    for number in from.. {
        if let Selection::Random { seconds, .. } = selection
            && began.elapsed() > Duration::from_secs(seconds)
        {
            break;
        }
        if only.is_some() && number > from {
            break;
        }
        let Some(mut case) = selection.case(number, &functions) else { break };
        case.hardened = engine == HARDENED;
        if only.is_some() {
            writeln!(out, "{case}")?;
        }
        writeln!(out, "@begin {number}")?;
        out.flush()?;
        step();
        let found = check(&case, &pace);
        if let Ok(mut at) = AT.lock() {
            *at = None;
        }
        for what in &found.list {
            writeln!(out, "@finding {}", what.replace('\n', " "))?;
        }
        writeln!(out, "@done {} {}", found.worst_time, found.worst_memory)?;
    }
    writeln!(out, "@over")?;
    Ok(())
}

/// Runs workers until all cases are done, and calls `tell` for each case that something was found in.
///
/// # Errors
/// When a worker can't be started.
pub fn watch(selection: &Selection, hardened: bool, tell: impl FnMut(&str)) -> std::io::Result<Report> {
    let engine = if hardened { HARDENED } else { "plain" };
    let functions = functions().unwrap_or_default();
    let mut watched = Watched {
        selection: selection.clone(),
        engine,
        functions,
        at: None,
        over: false,
        found: Vec::new(),
        report: Report::default(),
        tell,
    };
    let (began, mut from) = (Instant::now(), 0);
    while let Some(next) = watched.work(from)? {
        from = next;
        if let (Selection::Random { seconds: all, .. }, Selection::Random { seconds, .. }) =
            (selection, &mut watched.selection)
        {
            *seconds = all.saturating_sub(began.elapsed().as_secs());
            if *seconds == 0 {
                break;
            }
        }
    }
    Ok(watched.report)
}

struct Watched<T> {
    selection: Selection,
    engine: &'static str,
    functions: Vec<String>,
    /// The case that is under way.
    at: Option<usize>,
    over: bool,
    /// What was found in it.
    found: Vec<String>,
    report: Report,
    tell: T,
}

impl<T: FnMut(&str)> Watched<T> {
    /// One worker, from a case on; with which case another one has to go on.
    fn work(&mut self, from: usize) -> std::io::Result<Option<usize>> {
        let mut worker = Command::new(std::env::current_exe()?)
            .env(ASKED, format!("{from} {} {}", self.engine, self.selection))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        if let Some(pipe) = worker.stdout.take() {
            for line in BufReader::new(pipe).split(b'\n') {
                self.read(&String::from_utf8_lossy(&line?));
            }
        }
        let status = worker.wait()?;
        let lost = self.at;
        if lost.is_some() || !self.over {
            self.found.push(match status.code() {
                Some(3) => format!("it did not end within {PATIENCE:?}"),
                _ => format!("the process ended: {status}"),
            });
            self.finish("0 0");
        }
        Ok(lost.map(|number| number + 1))
    }

    fn read(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix("@begin ") {
            self.at = number.parse().ok();
            self.report.cases += 1;
        } else if let Some(what) = line.strip_prefix("@finding ") {
            self.found.push(what.to_owned());
        } else if let Some(rest) = line.strip_prefix("@done ") {
            self.finish(rest);
        } else if line == "@over" {
            self.over = true;
        }
    }

    fn finish(&mut self, worst: &str) {
        let case = self.at.and_then(|number| self.selection.case(number, &self.functions));
        let mut parts = worst.split(' ').filter_map(|part| part.parse::<f64>().ok());
        for most in [&mut self.report.worst_time, &mut self.report.worst_memory] {
            let part = parts.next().unwrap_or_default();
            if part > most.0 {
                let case = case.as_ref();
                *most = (
                    part,
                    case.map(|case| format!("{} in {} ({:?})", case.attempt, case.way.name, case.limit))
                        .unwrap_or_default(),
                );
            }
        }
        let number = self.at.take();
        if self.found.is_empty() {
            return;
        }
        let mut text = self.found.join("\n");
        if let (Some(number), Some(case)) = (number, case) {
            text += &format!("\nagain: {ASKED}='only:{number} {} {}'\n{case}\n", self.engine, self.selection);
        }
        (self.tell)(&text);
        self.report.findings.push(text);
        self.found.clear();
    }
}
