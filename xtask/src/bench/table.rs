//! The table of results, as text for the terminal and as Markdown for `docs/performance.md`.

use anyhow::{Context, Result};

use super::measure::Pair;
use crate::steps::{read, root, write};

/// One line of the table.
#[derive(Default)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The peer's figure.
    pub peer: String,
    /// Ours.
    pub ours: String,
    /// Ours to the peer's.
    pub ratio: String,
    /// What it has to be, and whether it is; empty when there is no goal.
    pub goal: String,
}

const HEAD: [&str; 5] = ["what", "peer", "luacell", "ratio", "goal"];

impl Row {
    /// A line that says what the following ones are about.
    pub fn heading(text: &str) -> Self {
        Self::note(&format!("**{text}**"), "")
    }

    /// A line without figures: with a goal, or with the reason why there are none.
    pub fn note(what: &str, goal: &str) -> Self {
        Self { what: what.to_owned(), goal: goal.to_owned(), ..Self::default() }
    }

    /// What both sides took, without a goal.
    pub fn pair(what: &str, pair: &Pair) -> Self {
        Self { peer: time(pair.native()), ours: time(pair.ours()), ratio: ratio(pair.ratio()), ..Self::note(what, "") }
    }

    /// The same with the goal to be no slower.
    pub fn ahead(what: &str, pair: &Pair) -> Self {
        Self { goal: at_most(pair.ratio(), 1.0, ratio), ..Self::pair(what, pair) }
    }

    fn cells(&self) -> [&str; 5] {
        [&self.what, &self.peer, &self.ours, &self.ratio, &self.goal]
    }
}

/// The goal "at most `limit`" with the verdict on `value`.
pub fn at_most(value: f64, limit: f64, show: impl Fn(f64) -> String) -> String {
    format!("at most {}: {}", show(limit), if value <= limit { "met" } else { "MISSED" })
}

/// The table as aligned Markdown, readable in a terminal too.
pub fn render(rows: &[Row]) -> String {
    let mut lines = vec![HEAD];
    lines.extend(rows.iter().map(Row::cells));
    let mut widths = [0; 5];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        push_line(&mut text, line, &widths);
        if number == 0 {
            text.push_str("|---|--:|--:|--:|---|\n");
        }
    }
    text
}

fn push_line(text: &mut String, cells: &[&str; 5], widths: &[usize; 5]) {
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        let numeric = (1..4).contains(&column);
        if numeric {
            text.push_str(&format!("| {cell:>width$} "));
        } else {
            text.push_str(&format!("| {cell:<width$} "));
        }
    }
    text.push_str("|\n");
}

/// Puts a table between its markers, `<!-- name:begin -->` and `<!-- name:end -->`, in docs/performance.md.
pub fn write_to_page(name: &str, text: &str) -> Result<()> {
    let path = root().join("docs/performance.md");
    let page = replace_between_markers(&read(&path)?, name, &format!("\n{text}\n"))?;
    write(&path, page)?;
    eprintln!("written to docs/performance.md");
    Ok(())
}

fn replace_between_markers(page: &str, name: &str, text: &str) -> Result<String> {
    let begin = format!("<!-- {name}:begin -->\n");
    let end = format!("<!-- {name}:end -->");
    let (before, rest) = page.split_once(&begin).with_context(|| format!("the marker {} is missing", begin.trim()))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the marker {end} is missing"))?;
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

/// Nanoseconds with a unit that fits.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        t if t.abs() < 1e3 => format!("{t:.0} ns"),
        t if t.abs() < 1e6 => format!("{:.2} µs", t / 1e3),
        t if t.abs() < 1e9 => format!("{:.2} ms", t / 1e6),
        t => format!("{:.3} s", t / 1e9),
    }
}

/// A ratio.
pub fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// Bytes of a file.
pub fn megabytes(bytes: f64) -> String {
    format!("{:.2} MB", bytes / 1e6)
}

/// Bytes of memory.
pub fn memory(bytes: f64) -> String {
    if bytes < 10_240.0 { format!("{bytes:.0} bytes") } else { format!("{:.1} KiB", bytes / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() -> Result<()> {
        let page = |text| format!("a\n<!-- x:begin -->\n{text}<!-- x:end -->\nb\n");
        assert_eq!(replace_between_markers(&page("old\n"), "x", "new\n")?, page("new\n"));
        assert!(replace_between_markers("a\n", "x", "new").is_err());
        Ok(())
    }

    #[test]
    fn times_have_readable_units() {
        assert_eq!(time(412.4), "412 ns");
        assert_eq!(time(5_230.0), "5.23 µs");
        assert_eq!(time(1_500_000.0), "1.50 ms");
        assert_eq!(memory(1473.0), "1473 bytes");
        assert_eq!(memory(131_072.0), "128.0 KiB");
    }
}
