//! Where the figures come from: machine and versions.

use std::process::Command;

use super::native;

/// A list in Markdown.
pub fn describe(lua: &str, wasmtime: &str) -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |n| n.to_string());
    let lines = [
        format!("machine: {}, {cores} cores, {} {}", processor(), std::env::consts::OS, std::env::consts::ARCH),
        format!("native Lua: {lua}, {} -O3", first_line(&native::compiler(), &["--version"])),
        format!("luacell: {}, {}, wasmtime {wasmtime}", env!("CARGO_PKG_VERSION"), first_line("rustc", &["--version"])),
    ];
    lines.iter().map(|line| format!("- {line}\n")).collect()
}

fn processor() -> String {
    let table = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let from_table = table
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    from_table.unwrap_or_else(|| first_line("sysctl", &["-n", "machdep.cpu.brand_string"]))
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
